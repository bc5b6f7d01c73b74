// The plan of mmd2_grad on a GPU for Python.
#include "bind_described.hpp"

using namespace py::literals;

namespace isthmus {
namespace {

// Rows (c, n, d), weights (c, n) or none, and the gradient in the shape of the rows.
template <class T>
struct GradSide {
    const T *rows, *weights = nullptr;
    std::ptrdiff_t item_stride, stride;
    std::size_t count;
    T* out;
    GradSide(const Described& given, const std::optional<Described>& share, const Described& to, std::size_t c,
             std::size_t d) {
        need_described(given, 3);
        const auto& [address, shape, strides] = given;
        need(shape[0] == c && shape[2] == d, "stacks must agree in c and d");
        rows = reinterpret_cast<const T*>(address);
        item_stride = strides[0], stride = strides[1], count = shape[1];
        if (share) weights = output_of<T>(*share, {c, count});
        out = output_of<T>(to, {c, count, d});
    }
    Rows<T> item(std::size_t i) const { return {rows + std::ptrdiff_t(i) * item_stride, stride, count}; }
    const T* weights_of(std::size_t i) const { return weights ? weights + i * count : nullptr; }
};

template <class T>
py::list plan_mmd2_grad(const ChipTuple& chip, const py::function& allocate, const Described& x, const Described& y,
                        const std::optional<Described>& x_weights, const std::optional<Described>& y_weights,
                        const Described& factors, bool with_diagonal, const KernelSum& kernel, std::size_t stripe_bytes,
                        const Described& values, const Described& dx, const Described& dy) {
    need_described(x, 3);
    const std::size_t c = std::get<1>(x)[0], d = std::get<1>(x)[2];
    const GradSide<T> left(x, x_weights, dx, c, d), right(y, y_weights, dy, c, d);
    std::vector<TwoSamples<T>> items;
    for (std::size_t i = 0; i < c; ++i)
        items.push_back({left.item(i),
                         right.item(i),
                         left.weights_of(i),
                         right.weights_of(i),
                         {},
                         left.out + i * left.count * d,
                         right.out + i * right.count * d});
    return given(gpu::mmd2_grad(device_of(chip, allocate), items, d, kernel,
                                static_cast<const double*>(output_of<double>(factors, {c, 3})), with_diagonal,
                                stripe_bytes, output_of<double>(values, {c})));
}

}  // namespace

void bind_plan_grad(py::module_& m) {
    m.def(
        "plan_mmd2_grad",
        [](const ChipTuple& chip, const py::function& allocate, const std::string& dtype, const Described& x,
           const Described& y, const std::optional<Described>& x_weights, const std::optional<Described>& y_weights,
           const Described& factors, bool with_diagonal, const std::vector<TermTuple>& terms, std::size_t stripe_bytes,
           const Described& values, const Described& dx, const Described& dy) {
            return for_dtype(dtype, [&](auto number) {
                return plan_mmd2_grad<decltype(number)>(chip, allocate, x, y, x_weights, y_weights, factors,
                                                        with_diagonal, kernel_sum(terms), stripe_bytes, values, dx, dy);
            });
        },
        "chip"_a, "allocate"_a, "dtype"_a, "x"_a, "y"_a, "x_weights"_a.none(true), "y_weights"_a.none(true),
        "factors"_a, "with_diagonal"_a, "terms"_a, "stripe_bytes"_a, "values"_a, "dx"_a, "dy"_a);
}

}  // namespace isthmus
