// The module _native: refuses, unwraps, releases the GIL, calls. Arrays are never converted or copied here.
#include <optional>

#include "bind_arrays.hpp"

using namespace py::literals;

namespace isthmus {

void bind_mmd2(py::module_& m);
void bind_permuted(py::module_& m);
void bind_plan(py::module_& m);
void bind_plan_project(py::module_& m);
void bind_plan_permuted(py::module_& m);
void bind_plan_mmd2(py::module_& m);

namespace {

template <class T>
void bind_block_sums(const std::vector<py::object>& stacks, const std::vector<py::object>& weights,
                     const Array<std::int64_t>& pairs, const KernelSum& kernel, Array<double>& sums,
                     Array<double>& diagonals, const Run& run) {
    std::vector<Block<T>> blocks;
    std::size_t d = 0, items = 0;
    for (std::size_t s = 0; s < stacks.size(); ++s) {
        need(is<T>(stacks[s]), "stacks must be arrays of one dtype, float32 or float64");
        const auto x = py::reinterpret_borrow<Array<T>>(stacks[s]);
        need(x.ndim() == 3 && x.shape(0) > 0, "a stack must be (c, n, d) with c > 0");
        need_rows(x);
        if (s == 0) d = std::size_t(x.shape(2)), items = std::size_t(x.shape(0));
        need(std::size_t(x.shape(2)) == d && std::size_t(x.shape(0)) == items, "stacks must agree in c and d");
        const T* w = nullptr;
        if (!weights.empty() && !weights[s].is_none()) {
            need(is<T>(weights[s]), "weights must have the stacks' dtype");
            const auto array = py::reinterpret_borrow<Array<T>>(weights[s]);
            need(array.ndim() == 2 && array.shape(0) == x.shape(0) && array.shape(1) == x.shape(1) &&
                     (array.flags() & py::array::c_style),
                 "weights must be C-contiguous (c, n)");
            w = array.data();
        }
        for (std::size_t i = 0; i < items; ++i) {
            const T* first =
                reinterpret_cast<const T*>(reinterpret_cast<const char*>(x.data()) + std::ptrdiff_t(i) * x.strides(0));
            blocks.push_back({{first, x.strides(1) / std::ptrdiff_t(sizeof(T)), std::size_t(x.shape(1))},
                              w ? w + i * std::size_t(x.shape(1)) : nullptr,
                              i});
        }
    }
    need(pairs.ndim() == 2 && pairs.shape(1) == 2 && (pairs.flags() & py::array::c_style), "pairs must be (p, 2)");
    std::vector<Pair> pair_list;
    for (py::ssize_t p = 0; p < pairs.shape(0); ++p) {
        const std::int64_t a = pairs.at(p, 0), b = pairs.at(p, 1);
        need(a >= 0 && b >= 0 && std::size_t(a) < blocks.size() && std::size_t(b) < blocks.size(),
             "pairs must name blocks");
        pair_list.push_back({std::size_t(a), std::size_t(b)});
    }
    need(sums.ndim() == 1 && std::size_t(sums.shape(0)) == pair_list.size(), "sums must be (p,)");
    need(diagonals.ndim() == 1 && std::size_t(diagonals.shape(0)) == blocks.size(), "diagonals must be (n_blocks,)");
    need((sums.flags() & py::array::c_style) && (diagonals.flags() & py::array::c_style),
         "sums and diagonals must be contiguous");
    double *to_sums = sums.mutable_data(), *to_diagonals = diagonals.mutable_data();
    without_gil([&] { block_sums(run, blocks, d, pair_list, kernel, to_sums, to_diagonals); });
}

// None when a value is NaN or infinite.
template <class T>
std::optional<std::pair<double, double>> bind_value_range(const Array<T>& x, const Run& run) {
    need((x.ndim() == 2 || x.ndim() == 3) && x.size() > 0, "x must be 2-D or 3-D and not empty");
    need_rows(x);
    const py::ssize_t rows = x.ndim() - 2, items = x.ndim() == 3 ? x.shape(0) : 1;
    std::vector<Rows<T>> samples;
    for (py::ssize_t i = 0; i < items; ++i) {
        const char* first = reinterpret_cast<const char*>(x.data()) + (x.ndim() == 3 ? i * x.strides(0) : 0);
        samples.push_back({reinterpret_cast<const T*>(first), x.strides(rows) / std::ptrdiff_t(sizeof(T)),
                           std::size_t(x.shape(rows))});
    }
    T low, high;
    bool finite = false;
    without_gil([&] { finite = value_range(run, samples, std::size_t(x.shape(rows + 1)), &low, &high); });
    if (!finite) return std::nullopt;
    return std::pair<double, double>(low, high);
}

template <class T>
void bind_kernel_matrix(const Array<T>& x, const Array<T>& y, const KernelSum& kernel, Array<T>& out, const Run& run) {
    need(x.ndim() == 2, "x must be 2-D");
    const std::size_t d = std::size_t(x.shape(1));
    const Rows<T> left = rows_of(x, d), right = rows_of(y, d);
    need(out.ndim() == 2 && std::size_t(out.shape(0)) == left.count && std::size_t(out.shape(1)) == right.count,
         "out has the wrong shape");
    need_rows(out);
    const std::ptrdiff_t stride = out.strides(0) / std::ptrdiff_t(sizeof(T));
    need(left.count < 2 || stride >= std::ptrdiff_t(right.count), "rows of out must not overlap");
    T* to = out.mutable_data();  // throws when read-only
    without_gil([&] { kernel_matrix(run, left, right, d, kernel, to, std::size_t(stride)); });
}

template <class T>
void bind_kernel_matmul(const Array<T>& x, const Array<T>& y, const Array<T>& v, const KernelSum& kernel,
                        bool skip_diagonal, Array<T>& out, const Run& run) {
    need(x.ndim() == 2 && v.ndim() == 2, "x and v must be 2-D");
    const std::size_t d = std::size_t(x.shape(1)), n_columns = std::size_t(v.shape(1));
    const Rows<T> left = rows_of(x, d), right = rows_of(y, d);
    need(std::size_t(v.shape(0)) == right.count && (v.flags() & py::array::c_style), "v must be C-contiguous (m, q)");
    need(!skip_diagonal || left.count == right.count, "skip_diagonal needs as many rows on both sides");
    T* to = output(out, left.count, n_columns);
    const T* from = v.data();
    without_gil([&] { kernel_matmul(run, left, right, d, from, n_columns, kernel, skip_diagonal, to); });
}

template <class T>
void bind_project(const Array<T>& x, const Array<T>& w, const std::optional<Array<T>>& b, Activation activation,
                  Array<T>& out, const Run& run) {
    need(x.ndim() == 2 && w.ndim() == 2 && w.shape(0) == x.shape(1) && (w.flags() & py::array::c_style),
         "w must be C-contiguous (d, q)");
    const std::size_t d = std::size_t(x.shape(1)), n_columns = std::size_t(w.shape(1));
    const Rows<T> rows = rows_of(x, d);
    const T* bias = nullptr;
    if (b) {
        need(b->ndim() == 1 && b->shape(0) == w.shape(1) && (b->flags() & py::array::c_style), "b must be (q,)");
        bias = b->data();
    }
    T* to = output(out, rows.count, n_columns);
    const T* weights = w.data();
    without_gil([&] { project(run, rows, d, weights, bias, n_columns, activation, to); });
}

template <class T>
void bind_moments(const Array<T>& x, const std::optional<Array<T>>& weights, const Array<T>& origin,
                  Array<double>& sums, Array<double>& scatter, const Run& run) {
    need(x.ndim() == 2, "x must be 2-D");
    const std::size_t d = std::size_t(x.shape(1));
    const Rows<T> rows = rows_of(x, d);
    need(origin.ndim() == 1 && origin.shape(0) == x.shape(1) && (origin.flags() & py::array::c_style),
         "origin must be (d,)");
    const T* factors = nullptr;
    if (weights) {
        need(weights->ndim() == 1 && weights->shape(0) == x.shape(0) && (weights->flags() & py::array::c_style),
             "weights must be (n,)");
        factors = weights->data();
    }
    need(sums.ndim() == 1 && sums.shape(0) == x.shape(1) && (sums.flags() & py::array::c_style), "sums must be (d,)");
    double *to_sums = sums.mutable_data(), *to_scatter = output(scatter, d, d);
    const T* from = origin.data();
    without_gil([&] { moments(run, rows, d, factors, from, to_sums, to_scatter); });
}

// w (d, q), or None and signs (3, padded) and scales (padded,) in blocks of `width`.
template <class T>
Frequencies<T> frequencies_of(const Array<T>& x, const Array<double>& centre, const std::optional<Array<T>>& w,
                              const std::optional<Array<T>>& signs, const std::optional<Array<T>>& scales,
                              std::size_t width, std::size_t count) {
    need(x.ndim() == 2, "x must be 2-D");
    const std::size_t d = std::size_t(x.shape(1));
    need(centre.ndim() == 1 && std::size_t(centre.shape(0)) == d && (centre.flags() & py::array::c_style),
         "centre must be (d,)");
    Frequencies<T> f{d, count, centre.data(), nullptr, 0, nullptr, nullptr};
    need(count > 0, "there must be at least one frequency");
    if (w) {
        need(w->ndim() == 2 && std::size_t(w->shape(0)) == d && std::size_t(w->shape(1)) == count &&
                 (w->flags() & py::array::c_style),
             "w must be C-contiguous (d, q)");
        f.w = w->data();
        return f;
    }
    need(signs && scales, "w or signs and scales must be given");
    need(width >= kLeastWidth && width >= d && (width & (width - 1)) == 0,
         "width must be a power of two of at least d and 64");
    const std::size_t padded = panels_in(count, width) * width;
    need(signs->ndim() == 2 && signs->shape(0) == 3 && std::size_t(signs->shape(1)) == padded &&
             (signs->flags() & py::array::c_style),
         "signs must be C-contiguous (3, padded)");
    need(scales->ndim() == 1 && std::size_t(scales->shape(0)) == padded && (scales->flags() & py::array::c_style),
         "scales must be (padded,)");
    f.width = width, f.signs = signs->data(), f.scales = scales->data();
    return f;
}

// One overload for each dtype. noconvert: a converted `out` would lose the result.
template <class T>
void bind_for(py::module_& m) {
    m.def(
        "value_range",
        [](const Array<T>& x, const std::string& level, unsigned n_threads) {
            return bind_value_range<T>(x, run_on(level, n_threads));
        },
        "x"_a.noconvert(), py::kw_only(), "level"_a, "n_threads"_a);
    m.def(
        "kernel_matrix",
        [](const Array<T>& x, const std::optional<Array<T>>& y, const std::vector<TermTuple>& terms, Array<T> out,
           const std::string& level, unsigned n_threads,
           bool fast) { bind_kernel_matrix<T>(x, y ? *y : x, kernel_sum(terms), out, run_on(level, n_threads, fast)); },
        "x"_a.noconvert(), "y"_a.noconvert().none(true), "terms"_a, "out"_a.noconvert(), py::kw_only(), "level"_a,
        "n_threads"_a, "fast"_a = false);
    m.def(
        "kernel_matmul",
        [](const Array<T>& x, const std::optional<Array<T>>& y, const Array<T>& v, const std::vector<TermTuple>& terms,
           bool skip_diagonal, Array<T> out, const std::string& level, unsigned n_threads, bool fast) {
            bind_kernel_matmul<T>(x, y ? *y : x, v, kernel_sum(terms), skip_diagonal, out,
                                  run_on(level, n_threads, fast));
        },
        "x"_a.noconvert(), "y"_a.noconvert().none(true), "v"_a.noconvert(), "terms"_a, "skip_diagonal"_a,
        "out"_a.noconvert(), py::kw_only(), "level"_a, "n_threads"_a, "fast"_a = false);
    m.def(
        "project",
        [](const Array<T>& x, const Array<T>& w, const std::optional<Array<T>>& b, const std::string& activation,
           Array<T> out, const std::string& level, unsigned n_threads) {
            bind_project<T>(x, w, b, activation_of(activation), out, run_on(level, n_threads, false));
        },
        "x"_a.noconvert(), "w"_a.noconvert(), "b"_a.noconvert().none(true), "activation"_a, "out"_a.noconvert(),
        py::kw_only(), "level"_a, "n_threads"_a);
    m.def(
        "moments",
        [](const Array<T>& x, const std::optional<Array<T>>& weights, const Array<T>& origin, Array<double> sums,
           Array<double> scatter, const std::string& level,
           unsigned n_threads) { bind_moments<T>(x, weights, origin, sums, scatter, run_on(level, n_threads)); },
        "x"_a.noconvert(), "weights"_a.noconvert().none(true), "origin"_a.noconvert(), "sums"_a.noconvert(),
        "scatter"_a.noconvert(), py::kw_only(), "level"_a, "n_threads"_a);
    m.def(
        "fourier_features",
        [](const Array<T>& x, const Array<double>& centre, const std::optional<Array<T>>& w,
           const std::optional<Array<T>>& signs, const std::optional<Array<T>>& scales, std::size_t width,
           double amplitude, Array<T> out, const std::string& level, unsigned n_threads) {
            need(out.ndim() == 2 && out.shape(1) % 2 == 0, "out must be (n, 2 q)");
            const std::size_t count = std::size_t(out.shape(1)) / 2;
            const Frequencies<T> f = frequencies_of(x, centre, w, signs, scales, width, count);
            const Rows<T> rows = rows_of(x, f.d);
            T* to = output(out, rows.count, 2 * count);
            const Run run = run_on(level, n_threads);
            without_gil([&] { fourier_features(run, rows, f, amplitude, to); });
        },
        "x"_a.noconvert(), "centre"_a.noconvert(), "w"_a.noconvert().none(true), "signs"_a.noconvert().none(true),
        "scales"_a.noconvert().none(true), "width"_a, "amplitude"_a, "out"_a.noconvert(), py::kw_only(), "level"_a,
        "n_threads"_a);
    m.def(
        "fourier_sums",
        [](const Array<T>& x, const std::optional<Array<T>>& weights, const Array<double>& centre,
           const std::optional<Array<T>>& w, const std::optional<Array<T>>& signs,
           const std::optional<Array<T>>& scales, std::size_t width, Array<double> sums, const std::string& level,
           unsigned n_threads) {
            need(sums.ndim() == 1 && sums.shape(0) % 2 == 0 && (sums.flags() & py::array::c_style),
                 "sums must be (2 q,)");
            const Frequencies<T> f = frequencies_of(x, centre, w, signs, scales, width, std::size_t(sums.shape(0)) / 2);
            const Rows<T> rows = rows_of(x, f.d);
            const T* factors = nullptr;
            if (weights) {
                need(weights->ndim() == 1 && std::size_t(weights->shape(0)) == rows.count &&
                         (weights->flags() & py::array::c_style),
                     "weights must be (n,)");
                factors = weights->data();
            }
            double* to = sums.mutable_data();
            const Run run = run_on(level, n_threads);
            without_gil([&] { fourier_sums(run, rows, factors, f, to); });
        },
        "x"_a.noconvert(), "weights"_a.noconvert().none(true), "centre"_a.noconvert(), "w"_a.noconvert().none(true),
        "signs"_a.noconvert().none(true), "scales"_a.noconvert().none(true), "width"_a, "sums"_a.noconvert(),
        py::kw_only(), "level"_a, "n_threads"_a);
}

}  // namespace
}  // namespace isthmus

PYBIND11_MODULE(_native, m, py::mod_gil_not_used()) {
    using namespace isthmus;
    m.doc() = "Tile engine of Isthmus on the CPU. Arrays must have been checked by isthmus.ops.";
    m.def("kernel_names", [] {
        std::vector<std::string> names;
        for (const KernelName& k : kernel_names()) names.emplace_back(k.name);
        return names;
    });
    m.def("levels", &available_levels);
    m.def("thread_limit", &isthmus_get_thread_limit);
    m.def("build_info", [] {
        return py::dict("compiler"_a = ISTHMUS_COMPILER, "flags"_a = ISTHMUS_FLAGS, "levels"_a = ISTHMUS_LEVELS,
                        "build_type"_a = ISTHMUS_BUILD_TYPE);
    });
    m.def(
        "fma_rate",
        [](const std::string& level, unsigned n_threads) {
            double rate = 0;
            const Run run = run_on(level, n_threads);
            without_gil([&] { rate = fma_rate(run); });
            return rate;
        },
        py::kw_only(), "level"_a, "n_threads"_a);
    m.def(
        "block_sums",
        [](const std::vector<py::object>& stacks, const std::optional<std::vector<py::object>>& weights,
           const Array<std::int64_t>& pairs, const std::vector<TermTuple>& terms, Array<double> sums,
           Array<double> diagonals, const std::string& level, unsigned n_threads, bool fast) {
            need(!stacks.empty(), "stacks must not be empty");
            const std::vector<py::object> w = weights.value_or(std::vector<py::object>{});
            need(w.empty() || w.size() == stacks.size(), "weights must be as many as stacks");
            const auto bound = is<float>(stacks[0]) ? &bind_block_sums<float> : &bind_block_sums<double>;
            bound(stacks, w, pairs, kernel_sum(terms), sums, diagonals, run_on(level, n_threads, fast));
        },
        "stacks"_a, "weights"_a.none(true), "pairs"_a.noconvert(), "terms"_a, "sums"_a.noconvert(),
        "diagonals"_a.noconvert(), py::kw_only(), "level"_a, "n_threads"_a, "fast"_a = false);
    bind_for<float>(m);
    bind_for<double>(m);
    bind_mmd2(m);
    bind_permuted(m);
    bind_plan(m);
    bind_plan_project(m);
    bind_plan_permuted(m);
    bind_plan_mmd2(m);
}
