// The plans of mmd2 and mmd2_grad on a GPU for Python.
#include <array>
#include <variant>

#include "bind_described.hpp"

using namespace py::literals;

namespace isthmus {
namespace {

// Of all items; or (c, 3), on the GPU.
using FactorsGiven = std::variant<std::array<double, 3>, Described>;

gpu::Factors factors_of(const FactorsGiven& given, std::size_t c) {
    if (const auto* all = std::get_if<0>(&given)) return {nullptr, {(*all)[0], (*all)[1], (*all)[2]}};
    return {output_of<double>(std::get<1>(given), {c, 3}), {}};
}

// Rows (c, n, d) and weights (c, n) or none.
template <class T>
gpu::Stack<T> stack_of(const Described& given, const std::optional<Described>& weights, std::size_t c, std::size_t d) {
    need_described(given, 3);
    const auto& [address, shape, strides] = given;
    need(shape[0] == c && shape[2] == d, "stacks must agree in c and d");
    return {{reinterpret_cast<const T*>(address), strides[1], shape[1]},
            strides[0],
            weights ? output_of<T>(*weights, {c, shape[1]}) : nullptr};
}

template <class T>
py::list plan_mmd2(const ChipTuple& chip, const py::function& allocate, const Described& x, const Described& y,
                   const std::optional<Described>& x_weights, const std::optional<Described>& y_weights,
                   const FactorsGiven& factors, bool with_diagonal, const KernelSum& kernel, bool fast,
                   const Described& values) {
    need_described(x, 3);
    const std::size_t c = std::get<1>(x)[0], d = std::get<1>(x)[2];
    return given(gpu::mmd2(device_of(chip, allocate), stack_of<T>(x, x_weights, c, d), stack_of<T>(y, y_weights, c, d),
                           c, d, kernel, fast, factors_of(factors, c), with_diagonal, output_of<double>(values, {c})));
}

template <class T>
py::list plan_mmd2_grad(const ChipTuple& chip, const py::function& allocate, const Described& x, const Described& y,
                        const std::optional<Described>& x_weights, const std::optional<Described>& y_weights,
                        const FactorsGiven& factors, bool with_diagonal, const KernelSum& kernel,
                        std::size_t stripe_bytes, const Described& values, const Described& dx, const Described& dy) {
    need_described(x, 3);
    const std::size_t c = std::get<1>(x)[0], d = std::get<1>(x)[2];
    const gpu::Stack<T> left = stack_of<T>(x, x_weights, c, d), right = stack_of<T>(y, y_weights, c, d);
    const std::size_t n = left.first.count, m = right.first.count;
    T *const to_x = output_of<T>(dx, {c, n, d}), *const to_y = output_of<T>(dy, {c, m, d});
    std::vector<TwoSamples<T>> items;
    for (std::size_t i = 0; i < c; ++i)
        items.push_back({left.rows_of(i),
                         right.rows_of(i),
                         left.weights_of(i),
                         right.weights_of(i),
                         {},
                         to_x + i * n * d,
                         to_y + i * m * d});
    return given(gpu::mmd2_grad(device_of(chip, allocate), items, d, kernel, factors_of(factors, c), with_diagonal,
                                stripe_bytes, output_of<double>(values, {c})));
}

}  // namespace

void bind_plan_mmd2(py::module_& m) {
    m.def(
        "plan_mmd2",
        [](const ChipTuple& chip, const py::function& allocate, const std::string& dtype, const Described& x,
           const Described& y, const std::optional<Described>& x_weights, const std::optional<Described>& y_weights,
           const FactorsGiven& factors, bool with_diagonal, const std::vector<TermTuple>& terms, bool fast,
           const Described& values) {
            return for_dtype(dtype, [&](auto number) {
                return plan_mmd2<decltype(number)>(chip, allocate, x, y, x_weights, y_weights, factors, with_diagonal,
                                                   kernel_sum(terms), fast, values);
            });
        },
        "chip"_a, "allocate"_a, "dtype"_a, "x"_a, "y"_a, "x_weights"_a.none(true), "y_weights"_a.none(true),
        "factors"_a, "with_diagonal"_a, "terms"_a, "fast"_a, "values"_a);
    m.def(
        "plan_mmd2_grad",
        [](const ChipTuple& chip, const py::function& allocate, const std::string& dtype, const Described& x,
           const Described& y, const std::optional<Described>& x_weights, const std::optional<Described>& y_weights,
           const FactorsGiven& factors, bool with_diagonal, const std::vector<TermTuple>& terms,
           std::size_t stripe_bytes, const Described& values, const Described& dx, const Described& dy) {
            return for_dtype(dtype, [&](auto number) {
                return plan_mmd2_grad<decltype(number)>(chip, allocate, x, y, x_weights, y_weights, factors,
                                                        with_diagonal, kernel_sum(terms), stripe_bytes, values, dx, dy);
            });
        },
        "chip"_a, "allocate"_a, "dtype"_a, "x"_a, "y"_a, "x_weights"_a.none(true), "y_weights"_a.none(true),
        "factors"_a, "with_diagonal"_a, "terms"_a, "stripe_bytes"_a, "values"_a, "dx"_a, "dy"_a);
}

}  // namespace isthmus
