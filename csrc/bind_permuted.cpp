// The operations on 0/1 assignments of rows, as bits.
#include "assignments.hpp"
#include "bind_arrays.hpp"

namespace py = pybind11;
using namespace py::literals;

namespace isthmus {
namespace {

using Words = Array<std::uint64_t>;

std::size_t need_bits(const Words& bits, std::size_t rows) {
    need(bits.ndim() == 2 && std::size_t(bits.shape(1)) == words_in(rows) && (bits.flags() & py::array::c_style),
         "bits must be C-contiguous (b, words)");
    return std::size_t(bits.shape(0));
}

double* doubles(Array<double>& x, std::size_t count, const char* message) {
    need(x.ndim() == 1 && std::size_t(x.shape(0)) == count && (x.flags() & py::array::c_style), message);
    return x.mutable_data();
}

template <class T>
void bind_sums(py::module_& m) {
    m.def(
        "permuted_sums",
        [](const Array<T>& z, const std::vector<TermTuple>& terms, const Words& bits, Array<double> sums,
           Array<double> row_sums, const std::string& level, unsigned n_threads) {
            need(z.ndim() == 2, "z must be 2-D");
            const std::size_t d = std::size_t(z.shape(1));
            const Rows<T> rows = rows_of(z, d);
            const std::size_t count = need_bits(bits, rows.count);
            double* to = doubles(sums, count, "sums must be contiguous (b,)");
            double* to_rows = doubles(row_sums, rows.count, "row_sums must be contiguous (n,)");
            const std::uint64_t* from = bits.data();
            const KernelSum kernel = kernel_sum(terms);
            const Run run = run_on(level, n_threads);
            without_gil([&] { permuted_sums(run, rows, d, kernel, from, count, to, to_rows); });
        },
        "z"_a.noconvert(), "terms"_a, "bits"_a.noconvert(), "sums"_a.noconvert(), "row_sums"_a.noconvert(),
        py::kw_only(), "level"_a, "n_threads"_a);
}

}  // namespace

void bind_permuted(py::module_& m) {
    bind_sums<float>(m);
    bind_sums<double>(m);
    m.def(
        "random_assignments",
        [](std::uint64_t key0, std::uint64_t key1, std::size_t rows, std::size_t ones, Words bits, unsigned n_threads) {
            need(rows > 0 && ones <= rows, "ones must be at most rows");
            const std::size_t count = need_bits(bits, rows);
            std::uint64_t* to = bits.mutable_data();
            const std::uint64_t key[2] = {key0, key1};
            const Run run = run_on("base", n_threads);
            without_gil([&] { random_assignments(run, key, count, rows, ones, to); });
        },
        "key0"_a, "key1"_a, "rows"_a, "ones"_a, "bits"_a.noconvert(), py::kw_only(), "n_threads"_a);
    m.def(
        "subset_sums",
        [](const Words& bits, const Array<double>& values, Array<double> sums, unsigned n_threads) {
            need(values.ndim() == 1 && (values.flags() & py::array::c_style), "values must be contiguous (n,)");
            const std::size_t rows = std::size_t(values.shape(0)), count = need_bits(bits, rows);
            double* to = doubles(sums, count, "sums must be contiguous (b,)");
            const double* from = values.data();
            const std::uint64_t* words = bits.data();
            const Run run = run_on("base", n_threads);
            without_gil([&] { subset_sums(run, words, count, rows, from, to); });
        },
        "bits"_a.noconvert(), "values"_a.noconvert(), "sums"_a.noconvert(), py::kw_only(), "n_threads"_a);
}

}  // namespace isthmus
