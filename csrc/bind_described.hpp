// Arrays on a GPU as Python describes them, and launches as Python runs them.
#pragma once

#include <optional>

#include "bind_arrays.hpp"
#include "cuda/plan.hpp"

namespace isthmus {

// Address, shape and strides in elements of an array on a GPU.
using Described = std::tuple<std::uintptr_t, std::vector<std::size_t>, std::vector<std::ptrdiff_t>>;
// Compute capability, 90 for 9.0, and number of multiprocessors.
using ChipTuple = std::tuple<unsigned, unsigned>;

inline gpu::Device device_of(const ChipTuple& chip, const py::function& allocate) {
    return {std::get<0>(chip), std::get<1>(chip),
            [allocate](std::size_t bytes) { return allocate(bytes).cast<std::uintptr_t>(); }};
}

// Every index in range for arrays of at least one number; the last axis contiguous.
inline void need_described(const Described& x, std::size_t n_axes) {
    const auto& [address, shape, strides] = x;
    need(address != 0 && shape.size() == n_axes && strides.size() == n_axes, "an array has the wrong number of axes");
    for (std::size_t size : shape) need(size > 0, "an array must not be empty");
    need(shape.back() == 1 || strides.back() == 1, "the last axis must be contiguous");
    for (std::ptrdiff_t stride : strides) need(stride >= 0, "strides must not be negative");
}

template <class T>
const T* address_of(const Described& x) {
    return reinterpret_cast<const T*>(std::get<0>(x));
}

template <class T>
Rows<T> rows_of(const Described& x, std::size_t d) {
    need_described(x, 2);
    const auto& [address, shape, strides] = x;
    need(shape[1] == d, "rows must be of one width");
    return {reinterpret_cast<const T*>(address), strides[0], shape[0]};
}

template <class T>
T* output_of(const Described& x, const std::vector<std::size_t>& shape) {
    need_described(x, shape.size());
    need(std::get<1>(x) == shape, "an output has the wrong shape");
    std::ptrdiff_t expected = 1;
    for (std::size_t axis = shape.size(); axis-- > 0; expected *= std::ptrdiff_t(shape[axis]))
        need(shape[axis] == 1 || std::get<2>(x)[axis] == expected, "an output must be C-contiguous");
    return reinterpret_cast<T*>(std::get<0>(x));
}

inline py::list given(const std::vector<gpu::Launch>& launches) {
    py::list list;
    for (const gpu::Launch& l : launches) list.append(py::make_tuple(l.kernel, l.blocks, py::bytes(l.task)));
    return list;
}

// Calls `f` with a number of the dtype.
template <class F>
py::list for_dtype(const std::string& dtype, F f) {
    if (dtype == "float32") return f(float{});
    need(dtype == "float64", "dtype must be float32 or float64");
    return f(double{});
}

}  // namespace isthmus
