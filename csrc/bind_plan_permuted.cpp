// The plans of permuted_sums, and of what it starts from and is followed by, for Python.
#include "assignments.hpp"
#include "bind_described.hpp"

using namespace py::literals;

namespace isthmus {
namespace {

template <class T>
py::list plan_permuted_sums(const ChipTuple& chip, const py::function& allocate, const Described& z,
                            const KernelSum& kernel, const Described& bits, bool rounded, const Described& sums,
                            const Described& row_sums) {
    const std::size_t d = std::get<1>(z).at(1), count = std::get<1>(bits).at(0);
    const Rows<T> rows = rows_of<T>(z, d);
    const std::uint64_t* const from = output_of<std::uint64_t>(bits, {count, words_in(rows.count)});
    return given(gpu::permuted_sums(device_of(chip, allocate), rows, d, kernel, from, count, rounded,
                                    output_of<double>(sums, {count}), output_of<double>(row_sums, {rows.count})));
}

}  // namespace

void bind_plan_permuted(py::module_& m) {
    m.def(
        "plan_random_assignments",
        [](std::uint64_t key0, std::uint64_t key1, std::size_t rows, std::size_t ones, const Described& bits) {
            const std::size_t count = std::get<1>(bits).at(0);
            need(rows > 0 && ones <= rows, "ones must be at most rows");
            const std::uint64_t key[2] = {key0, key1};
            auto* const to = output_of<std::uint64_t>(bits, {count, words_in(rows)});
            return given(gpu::random_assignments(key, count, rows, ones, to));
        },
        "key0"_a, "key1"_a, "rows"_a, "ones"_a, "bits"_a);
    m.def(
        "plan_subset_sums",
        [](const Described& bits, const Described& values, const Described& sums) {
            const std::size_t count = std::get<1>(bits).at(0), rows = std::get<1>(values).at(0);
            return given(gpu::subset_sums(output_of<std::uint64_t>(bits, {count, words_in(rows)}), count, rows,
                                          output_of<double>(values, {rows}), output_of<double>(sums, {count})));
        },
        "bits"_a, "values"_a, "sums"_a);
    m.def(
        "plan_permuted_sums",
        [](const ChipTuple& chip, const py::function& allocate, const std::string& dtype, const Described& z,
           const std::vector<TermTuple>& terms, const Described& bits, bool rounded, const Described& sums,
           const Described& row_sums) {
            return for_dtype(dtype, [&](auto number) {
                return plan_permuted_sums<decltype(number)>(chip, allocate, z, kernel_sum(terms), bits, rounded, sums,
                                                            row_sums);
            });
        },
        "chip"_a, "allocate"_a, "dtype"_a, "z"_a, "terms"_a, "bits"_a, "rounded"_a, "sums"_a, "row_sums"_a);
}

}  // namespace isthmus
