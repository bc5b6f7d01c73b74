// The plans of csrc/cuda for Python: addresses in, launches out. Arrays on a GPU are described, never touched.
#include "bind_described.hpp"

using namespace py::literals;

namespace isthmus {
namespace {

template <class T>
py::list plan_block_sums(const ChipTuple& chip, const py::function& allocate, const std::vector<Described>& stacks,
                         const std::vector<std::optional<Described>>& weights, const Array<std::int64_t>& pairs,
                         const KernelSum& kernel, bool fast, const Described& sums, const Described& diagonals) {
    need(!stacks.empty() && (weights.empty() || weights.size() == stacks.size()), "weights must be as many as stacks");
    std::vector<Block<T>> blocks;
    const std::size_t items = std::get<1>(stacks[0]).at(0), d = std::get<1>(stacks[0]).at(2);
    for (std::size_t s = 0; s < stacks.size(); ++s) {
        need_described(stacks[s], 3);
        const auto& [address, shape, strides] = stacks[s];
        need(shape[0] == items && shape[2] == d, "stacks must agree in c and d");
        const T* w = nullptr;
        if (!weights.empty() && weights[s]) w = output_of<T>(*weights[s], {items, shape[1]});
        for (std::size_t i = 0; i < items; ++i)
            blocks.push_back(
                {{reinterpret_cast<const T*>(address) + std::ptrdiff_t(i) * strides[0], strides[1], shape[1]},
                 w ? w + i * shape[1] : nullptr,
                 i});
    }
    need(pairs.ndim() == 2 && pairs.shape(1) == 2 && pairs.shape(0) > 0, "pairs must be (p, 2)");
    std::vector<Pair> pair_list;
    for (py::ssize_t p = 0; p < pairs.shape(0); ++p) {
        const std::int64_t a = pairs.at(p, 0), b = pairs.at(p, 1);
        need(a >= 0 && b >= 0 && std::size_t(a) < blocks.size() && std::size_t(b) < blocks.size(),
             "pairs must name blocks");
        pair_list.push_back({std::size_t(a), std::size_t(b)});
    }
    return given(gpu::block_sums(device_of(chip, allocate), blocks, d, pair_list, kernel, fast,
                                 output_of<double>(sums, {pair_list.size()}),
                                 output_of<double>(diagonals, {blocks.size()})));
}

template <class T>
py::list plan_kernel_matrix(const ChipTuple& chip, const py::function& allocate, const Described& x,
                            const std::optional<Described>& y, const KernelSum& kernel, bool fast,
                            const Described& out) {
    const std::size_t d = std::get<1>(x).at(1);
    const Rows<T> left = rows_of<T>(x, d), right = rows_of<T>(y ? *y : x, d);
    return given(gpu::kernel_matrix(device_of(chip, allocate), left, right, d, kernel, fast,
                                    output_of<T>(out, {left.count, right.count}), right.count));
}

template <class T>
py::list plan_kernel_matmul(const ChipTuple& chip, const py::function& allocate, const Described& x,
                            const std::optional<Described>& y, const Described& v, const KernelSum& kernel, bool fast,
                            bool skip_diagonal, const Described& out) {
    const std::size_t d = std::get<1>(x).at(1);
    const Rows<T> left = rows_of<T>(x, d), right = rows_of<T>(y ? *y : x, d);
    need_described(v, 2);
    const std::size_t n_columns = std::get<1>(v)[1];
    need(!skip_diagonal || left.count == right.count, "skip_diagonal needs as many rows on both sides");
    return given(gpu::kernel_matmul(device_of(chip, allocate), left, right, d,
                                    static_cast<const T*>(output_of<T>(v, {right.count, n_columns})), n_columns, kernel,
                                    fast, skip_diagonal, output_of<T>(out, {left.count, n_columns})));
}

}  // namespace

void bind_plan(py::module_& m) {
    m.def("gpu_entries", [] {
        py::dict all;
        for (const gpu::Entry& e : gpu::entries())
            all[e.name] = py::make_tuple(e.body, e.threads, e.shared_bytes, e.task_bytes);
        return all;
    });
    m.def(
        "plan_block_sums",
        [](const ChipTuple& chip, const py::function& allocate, const std::string& dtype,
           const std::vector<Described>& stacks, const std::optional<std::vector<std::optional<Described>>>& weights,
           const Array<std::int64_t>& pairs, const std::vector<TermTuple>& terms, bool fast, const Described& sums,
           const Described& diagonals) {
            const std::vector<std::optional<Described>> w = weights.value_or(std::vector<std::optional<Described>>{});
            return for_dtype(dtype, [&](auto number) {
                return plan_block_sums<decltype(number)>(chip, allocate, stacks, w, pairs, kernel_sum(terms), fast,
                                                         sums, diagonals);
            });
        },
        "chip"_a, "allocate"_a, "dtype"_a, "stacks"_a, "weights"_a.none(true), "pairs"_a.noconvert(), "terms"_a,
        "fast"_a, "sums"_a, "diagonals"_a);
    m.def(
        "plan_kernel_matrix",
        [](const ChipTuple& chip, const py::function& allocate, const std::string& dtype, const Described& x,
           const std::optional<Described>& y, const std::vector<TermTuple>& terms, bool fast, const Described& out) {
            return for_dtype(dtype, [&](auto number) {
                return plan_kernel_matrix<decltype(number)>(chip, allocate, x, y, kernel_sum(terms), fast, out);
            });
        },
        "chip"_a, "allocate"_a, "dtype"_a, "x"_a, "y"_a.none(true), "terms"_a, "fast"_a, "out"_a);
    m.def(
        "plan_kernel_matmul",
        [](const ChipTuple& chip, const py::function& allocate, const std::string& dtype, const Described& x,
           const std::optional<Described>& y, const Described& v, const std::vector<TermTuple>& terms, bool fast,
           bool skip_diagonal, const Described& out) {
            return for_dtype(dtype, [&](auto number) {
                return plan_kernel_matmul<decltype(number)>(chip, allocate, x, y, v, kernel_sum(terms), fast,
                                                            skip_diagonal, out);
            });
        },
        "chip"_a, "allocate"_a, "dtype"_a, "x"_a, "y"_a.none(true), "v"_a, "terms"_a, "fast"_a, "skip_diagonal"_a,
        "out"_a);
}

}  // namespace isthmus
