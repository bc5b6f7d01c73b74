// The plans of operations that multiply rows by a matrix, for Python; see bind_plan.cpp.
#include "bind_described.hpp"

using namespace py::literals;

namespace isthmus {
namespace {

std::size_t width_of(const Described& x, std::size_t axis) {
    need_described(x, axis + 1);
    return std::get<1>(x)[axis];
}

template <class T>
const T* vector_of(const std::optional<Described>& x, std::size_t count) {
    return x ? output_of<T>(*x, {count}) : nullptr;
}

// centre (d,); w (d, q), or None and signs (3, padded) and scales (padded,) in blocks of the last number.
using FrequencyTuple =
    std::tuple<Described, std::optional<Described>, std::optional<Described>, std::optional<Described>, std::size_t>;

template <class T>
Frequencies<T> frequencies_of(const FrequencyTuple& given, std::size_t d, std::size_t count) {
    const auto& [centre, w, signs, scales, width] = given;
    Frequencies<T> f{d, count, output_of<double>(centre, {d}), nullptr, 0, nullptr, nullptr};
    if (w) {
        f.w = output_of<T>(*w, {d, count});
        return f;
    }
    need(signs && scales, "w or signs and scales must be given");
    need(width >= kLeastWidth && width >= d && (width & (width - 1)) == 0 && width <= gpu::most_structured_width(),
         "width must be a power of two of at least d and 64, and not too large for shared memory");
    const std::size_t padded = (count + width - 1) / width * width;
    f.width = width, f.signs = output_of<T>(*signs, {3, padded}), f.scales = output_of<T>(*scales, {padded});
    return f;
}

template <class T>
py::list plan_project(const gpu::Device& device, const Described& x, const Described& w,
                      const std::optional<Described>& b, Activation activation, const Described& out) {
    const std::size_t d = width_of(x, 1), n_columns = width_of(w, 1);
    const Rows<T> rows = rows_of<T>(x, d);
    return given(gpu::project(device, rows, d, static_cast<const T*>(output_of<T>(w, {d, n_columns})),
                              vector_of<T>(b, n_columns), n_columns, activation,
                              output_of<T>(out, {rows.count, n_columns})));
}

template <class T>
py::list plan_moments(const gpu::Device& device, const Described& x, const std::optional<Described>& weights,
                      const Described& origin, const Described& sums, const Described& scatter) {
    const std::size_t d = width_of(x, 1);
    const Rows<T> rows = rows_of<T>(x, d);
    return given(gpu::moments(device, rows, d, vector_of<T>(weights, rows.count), vector_of<T>(origin, d),
                              output_of<double>(sums, {d}), output_of<double>(scatter, {d, d})));
}

template <class T>
py::list plan_fourier_features(const gpu::Device& device, const Described& x, const FrequencyTuple& frequencies,
                               double amplitude, const Described& out) {
    const std::size_t d = width_of(x, 1), width = width_of(out, 1);
    const Rows<T> rows = rows_of<T>(x, d);
    need(width % 2 == 0, "out must be (n, 2 q)");
    return given(gpu::fourier_features(device, rows, frequencies_of<T>(frequencies, d, width / 2), amplitude,
                                       output_of<T>(out, {rows.count, width})));
}

template <class T>
py::list plan_fourier_sums(const gpu::Device& device, const Described& x, const std::optional<Described>& weights,
                           const FrequencyTuple& frequencies, const Described& sums) {
    const std::size_t d = width_of(x, 1), width = width_of(sums, 0);
    const Rows<T> rows = rows_of<T>(x, d);
    need(width % 2 == 0, "sums must be (2 q,)");
    return given(gpu::fourier_sums(device, rows, vector_of<T>(weights, rows.count),
                                   frequencies_of<T>(frequencies, d, width / 2), output_of<double>(sums, {width})));
}

}  // namespace

void bind_plan_project(py::module_& m) {
    m.def("gpu_most_structured_width", &gpu::most_structured_width);
    m.def(
        "plan_project",
        [](const ChipTuple& chip, const py::function& allocate, const std::string& dtype, const Described& x,
           const Described& w, const std::optional<Described>& b, const std::string& activation, const Described& out) {
            return for_dtype(dtype, [&](auto number) {
                return plan_project<decltype(number)>(device_of(chip, allocate), x, w, b, activation_of(activation),
                                                      out);
            });
        },
        "chip"_a, "allocate"_a, "dtype"_a, "x"_a, "w"_a, "b"_a.none(true), "activation"_a, "out"_a);
    m.def(
        "plan_moments",
        [](const ChipTuple& chip, const py::function& allocate, const std::string& dtype, const Described& x,
           const std::optional<Described>& weights, const Described& origin, const Described& sums,
           const Described& scatter) {
            return for_dtype(dtype, [&](auto number) {
                return plan_moments<decltype(number)>(device_of(chip, allocate), x, weights, origin, sums, scatter);
            });
        },
        "chip"_a, "allocate"_a, "dtype"_a, "x"_a, "weights"_a.none(true), "origin"_a, "sums"_a, "scatter"_a);
    m.def(
        "plan_fourier_features",
        [](const ChipTuple& chip, const py::function& allocate, const std::string& dtype, const Described& x,
           const FrequencyTuple& frequencies, double amplitude, const Described& out) {
            return for_dtype(dtype, [&](auto number) {
                return plan_fourier_features<decltype(number)>(device_of(chip, allocate), x, frequencies, amplitude,
                                                               out);
            });
        },
        "chip"_a, "allocate"_a, "dtype"_a, "x"_a, "frequencies"_a, "amplitude"_a, "out"_a);
    m.def(
        "plan_fourier_sums",
        [](const ChipTuple& chip, const py::function& allocate, const std::string& dtype, const Described& x,
           const std::optional<Described>& weights, const FrequencyTuple& frequencies, const Described& sums) {
            return for_dtype(dtype, [&](auto number) {
                return plan_fourier_sums<decltype(number)>(device_of(chip, allocate), x, weights, frequencies, sums);
            });
        },
        "chip"_a, "allocate"_a, "dtype"_a, "x"_a, "weights"_a.none(true), "frequencies"_a, "sums"_a);
}

}  // namespace isthmus
