// The bindings of mmd2 and mmd2_grad.
#include <optional>

#include "bind_arrays.hpp"

using namespace py::literals;

namespace isthmus {
namespace {

// Rows (c, n, d) and weights (c, n) or None.
template <class T>
struct Stack {
    Array<T> rows;
    std::optional<Array<T>> weights;

    void check(std::size_t c, std::size_t d) const {
        need(
            rows.ndim() == 3 && rows.shape(0) > 0 && std::size_t(rows.shape(0)) == c && std::size_t(rows.shape(2)) == d,
            "stacks must be (c, n, d) with c > 0 and agree in c and d");
        need_rows(rows);
        if (weights)
            need(weights->ndim() == 2 && std::equal(weights->shape(), weights->shape() + 2, rows.shape()) &&
                     (weights->flags() & py::array::c_style),
                 "weights must be C-contiguous (c, n)");
    }
    Rows<T> item(std::size_t i) const {
        const char* first = reinterpret_cast<const char*>(rows.data()) + std::ptrdiff_t(i) * rows.strides(0);
        return {reinterpret_cast<const T*>(first), rows.strides(1) / std::ptrdiff_t(sizeof(T)),
                std::size_t(rows.shape(1))};
    }
    const T* weights_of(std::size_t i) const {
        return weights ? weights->data() + i * std::size_t(rows.shape(1)) : nullptr;
    }
};

// Where gradients go: like the rows, but in C order; null where none are wanted.
template <class T>
struct Gradient {
    T* first = nullptr;
    std::size_t size = 0;  // of an item
    Gradient() = default;
    Gradient(Array<T>& out, const Array<T>& rows) {
        need(out.ndim() == 3 && rows.ndim() == 3 && std::equal(out.shape(), out.shape() + 3, rows.shape()) &&
                 (out.flags() & py::array::c_style),
             "gradients must be C-contiguous and have the shape of their rows");
        first = out.mutable_data(), size = std::size_t(out.shape(1) * out.shape(2));
    }
    T* item(std::size_t i) const { return first ? first + i * size : nullptr; }
};

// Factors (3,) or (c, 3), values (c,).
template <class T>
std::vector<TwoSamples<T>> items_of(const Stack<T>& x, const Stack<T>& y, const Array<double>& factors,
                                    const Array<double>& values, const Gradient<T>& dx, const Gradient<T>& dy) {
    need(x.rows.ndim() == 3, "stacks must be (c, n, d)");
    const std::size_t c = std::size_t(x.rows.shape(0)), d = std::size_t(x.rows.shape(2));
    x.check(c, d);
    y.check(c, d);
    const bool own = factors.ndim() == 2;
    need((own ? std::size_t(factors.shape(0)) == c : factors.ndim() == 1) && factors.shape(own) == 3,
         "factors must be (3,) or (c, 3)");
    need(values.ndim() == 1 && std::size_t(values.shape(0)) == c && (values.flags() & py::array::c_style),
         "values must be (c,)");
    std::vector<TwoSamples<T>> items;
    for (std::size_t i = 0; i < c; ++i) {
        const auto f = [&](py::ssize_t k) { return own ? factors.at(py::ssize_t(i), k) : factors.at(k); };
        items.push_back(
            {x.item(i), y.item(i), x.weights_of(i), y.weights_of(i), {f(0), f(1), f(2)}, dx.item(i), dy.item(i)});
    }
    return items;
}

// noconvert: a converted output would lose the result.
template <class T>
void bind_for(py::module_& m) {
    m.def(
        "mmd2",
        [](const Array<T>& x, const Array<T>& y, const std::optional<Array<T>>& x_weights,
           const std::optional<Array<T>>& y_weights, const Array<double>& factors, bool with_diagonal,
           const std::vector<TermTuple>& terms, Array<double> values, const std::string& level, unsigned n_threads,
           bool fast) {
            const auto items = items_of<T>({x, x_weights}, {y, y_weights}, factors, values, {}, {});
            const KernelSum kernel = kernel_sum(terms);
            const Run run = run_on(level, n_threads, fast);
            const std::size_t d = std::size_t(x.shape(2));
            double* const to = values.mutable_data();
            without_gil([&] { mmd2(run, items, d, kernel, with_diagonal, to); });
        },
        "x"_a.noconvert(), "y"_a.noconvert(), "x_weights"_a.noconvert().none(true),
        "y_weights"_a.noconvert().none(true), "factors"_a.noconvert(), "with_diagonal"_a, "terms"_a,
        "values"_a.noconvert(), py::kw_only(), "level"_a, "n_threads"_a, "fast"_a = false);
    m.def(
        "mmd2_grad",
        [](const Array<T>& x, const Array<T>& y, const std::optional<Array<T>>& x_weights,
           const std::optional<Array<T>>& y_weights, const Array<double>& factors, bool with_diagonal,
           const std::vector<TermTuple>& terms, Array<double> values, Array<T> dx, Array<T> dy,
           const std::string& level, unsigned n_threads) {
            const auto items =
                items_of<T>({x, x_weights}, {y, y_weights}, factors, values, Gradient<T>(dx, x), Gradient<T>(dy, y));
            const KernelSum kernel = kernel_sum(terms);
            const Run run = run_on(level, n_threads);
            const std::size_t d = std::size_t(x.shape(2));
            double* const to = values.mutable_data();
            without_gil([&] { mmd2_grad(run, items, d, kernel, with_diagonal, to); });
        },
        "x"_a.noconvert(), "y"_a.noconvert(), "x_weights"_a.noconvert().none(true),
        "y_weights"_a.noconvert().none(true), "factors"_a.noconvert(), "with_diagonal"_a, "terms"_a,
        "values"_a.noconvert(), "dx"_a.noconvert(), "dy"_a.noconvert(), py::kw_only(), "level"_a, "n_threads"_a);
}

}  // namespace

void bind_mmd2(py::module_& m) {
    bind_for<float>(m);
    bind_for<double>(m);
}

}  // namespace isthmus
