// The binding of mmd2_grad.
#include <optional>

#include "bind_arrays.hpp"

using namespace py::literals;

namespace isthmus {
namespace {

// Stacks x (c, n, d) and y (c, m, d) of one dtype, weights (c, n) and (c, m) or None, factors (c, 3), values (c,),
// dx and dy like x and y but in C order.
template <class T>
struct Stack {
    Array<T> rows;
    std::optional<Array<T>> weights;
    Array<T> out;

    void check(std::size_t c, std::size_t d) const {
        need(
            rows.ndim() == 3 && rows.shape(0) > 0 && std::size_t(rows.shape(0)) == c && std::size_t(rows.shape(2)) == d,
            "stacks must be (c, n, d) with c > 0 and agree in c and d");
        need_rows(rows);
        need(out.ndim() == 3 && std::equal(out.shape(), out.shape() + 3, rows.shape()) &&
                 (out.flags() & py::array::c_style),
             "gradients must be C-contiguous and have the shape of their rows");
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
    T* out_of(std::size_t i) { return out.mutable_data() + i * std::size_t(rows.shape(1) * rows.shape(2)); }
};

template <class T>
void bind_mmd2_grad(Stack<T> x, Stack<T> y, const Array<double>& factors, bool with_diagonal, const KernelSum& kernel,
                    Array<double>& values, const Run& run) {
    need(x.rows.ndim() == 3, "stacks must be (c, n, d)");
    const std::size_t c = std::size_t(x.rows.shape(0)), d = std::size_t(x.rows.shape(2));
    x.check(c, d);
    y.check(c, d);
    need(factors.ndim() == 2 && std::size_t(factors.shape(0)) == c && factors.shape(1) == 3, "factors must be (c, 3)");
    need(values.ndim() == 1 && std::size_t(values.shape(0)) == c && (values.flags() & py::array::c_style),
         "values must be (c,)");
    std::vector<TwoSamples<T>> items;
    for (std::size_t i = 0; i < c; ++i) {
        const auto f = [&](int k) { return factors.at(py::ssize_t(i), k); };
        items.push_back(
            {x.item(i), y.item(i), x.weights_of(i), y.weights_of(i), {f(0), f(1), f(2)}, x.out_of(i), y.out_of(i)});
    }
    double* to = values.mutable_data();
    without_gil([&] { mmd2_grad(run, items, d, kernel, with_diagonal, to); });
}

// noconvert: a converted output would lose the result.
template <class T>
void bind_for(py::module_& m) {
    m.def(
        "mmd2_grad",
        [](const Array<T>& x, const Array<T>& y, const std::optional<Array<T>>& x_weights,
           const std::optional<Array<T>>& y_weights, const Array<double>& factors, bool with_diagonal,
           const std::vector<TermTuple>& terms, Array<double> values, Array<T> dx, Array<T> dy,
           const std::string& level, unsigned n_threads) {
            bind_mmd2_grad<T>({x, x_weights, dx}, {y, y_weights, dy}, factors, with_diagonal, kernel_sum(terms), values,
                              run_on(level, n_threads));
        },
        "x"_a.noconvert(), "y"_a.noconvert(), "x_weights"_a.noconvert().none(true),
        "y_weights"_a.noconvert().none(true), "factors"_a.noconvert(), "with_diagonal"_a, "terms"_a,
        "values"_a.noconvert(), "dx"_a.noconvert(), "dy"_a.noconvert(), py::kw_only(), "level"_a, "n_threads"_a);
}

}  // namespace

void bind_grad(py::module_& m) {
    bind_for<float>(m);
    bind_for<double>(m);
}

}  // namespace isthmus
