// What every binding does first: refuse arrays that the engine cannot read, unwrap the others, release the GIL.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "core.hpp"
#include "cpu/pool.hpp"

namespace py = pybind11;

namespace isthmus {

template <class T>
using Array = py::array_t<T, 0>;
using TermTuple = std::tuple<std::string, double, std::vector<double>>;

inline void need(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

// Asked on the main thread while the GIL is released; true leaves the Python error set.
inline bool signal_arrived() {
    const py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

inline Run run_on(const std::string& level, unsigned n_threads, bool fast = false) {
    const Engines* engines = engines_of(level);
    if (!engines) throw std::runtime_error("this machine has no SIMD level '" + level + "'");
    need(n_threads >= 1 && n_threads <= 1024, "n_threads must be 1 to 1024");
    // Only the main thread runs signal handlers; another one that asks may find the interpreter gone.
    const py::object main_thread = py::module_::import("threading").attr("main_thread")();
    const bool on_main = main_thread.attr("ident").cast<unsigned long>() == PyThread_get_thread_ident();
    return {engines, n_threads, on_main ? &signal_arrived : nullptr, fast};
}

inline KernelSum kernel_sum(const std::vector<TermTuple>& terms) {
    KernelSum sum;
    for (const auto& [name, weight, params] : terms) {
        unsigned number = 0;
        while (number < kernel_names().size() && name != kernel_names()[number].name) ++number;
        if (number == kernel_names().size()) throw std::invalid_argument("no kernel is named '" + name + "'");
        need(params.size() == kernel_names()[number].n_params, "a kernel term has the wrong number of parameters");
        KernelTerm term{number, weight, {0, 0, 0}};
        std::copy(params.begin(), params.end(), term.params);
        sum.push_back(term);
    }
    need(!sum.empty(), "a kernel needs at least one term");
    return sum;
}

inline Activation activation_of(const std::string& name) {
    if (name == "identity") return Activation::Identity;
    if (name == "relu") return Activation::Relu;
    if (name == "tanh") return Activation::Tanh;
    if (name == "logistic") return Activation::Logistic;
    if (name == "cos") return Activation::Cos;
    throw std::invalid_argument("no activation is named '" + name + "'");
}

template <class T>
bool is(const py::object& x) {
    return Array<T>::check_(x);
}

// Rows may lie apart by whole elements; the last axis is contiguous and numbers are aligned.
template <class T>
void need_rows(const Array<T>& x) {
    const py::ssize_t last = x.ndim() - 1, size = py::ssize_t(sizeof(T));
    need(x.shape(last) > 0, "rows must have at least one column");
    need(x.strides(last) == size || x.shape(last) == 1, "the last axis of rows must be contiguous");
    for (py::ssize_t axis = 0; axis < last; ++axis) need(x.strides(axis) % size == 0, "strides must be whole elements");
    need(x.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_, "rows must be aligned");
}

template <class T>
Rows<T> rows_of(const Array<T>& x, std::size_t d) {
    need(x.ndim() == 2 && std::size_t(x.shape(1)) == d, "rows must be 2-D and of one width");
    need_rows(x);
    return {x.data(), x.strides(0) / std::ptrdiff_t(sizeof(T)), std::size_t(x.shape(0))};
}

template <class T>
T* output(Array<T>& out, std::size_t n, std::size_t m) {
    need(out.ndim() == 2 && std::size_t(out.shape(0)) == n && std::size_t(out.shape(1)) == m,
         "out has the wrong shape");
    need(out.flags() & py::array::c_style, "out must be C-contiguous");
    return out.mutable_data();  // throws when read-only
}

// Runs an operation without the GIL; an interruption leaves Python's own error.
template <class F>
void without_gil(F f) {
    try {
        const py::gil_scoped_release no_gil;
        f();
    } catch (const Interrupted&) {
        throw py::error_already_set();
    }
}

}  // namespace isthmus
