// The module `_cuda`: runs the launches that `_native` plans.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <tuple>

#include "cuda/launch.hpp"

namespace py = pybind11;
using namespace py::literals;

namespace isthmus {
namespace {

// Kernel, blocks, task: what `_native.plan_*` gives. The caller's copy of the list keeps the bytes alive.
using LaunchTuple = std::tuple<std::string, std::size_t, py::bytes>;

void launch(int index, std::uintptr_t stream, const std::vector<LaunchTuple>& launches) {
    std::vector<gpu::Work> works;
    for (const auto& [kernel, blocks, task] : launches)
        works.push_back(
            {kernel, blocks, std::string_view(PyBytes_AS_STRING(task.ptr()), PyBytes_GET_SIZE(task.ptr()))});
    const py::gil_scoped_release no_gil;
    gpu::launch(index, stream, works);
}

}  // namespace
}  // namespace isthmus

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
    m.doc() = "Launches of Isthmus on CUDA devices. The plans come from isthmus._native.";
    m.def("launch", &isthmus::launch, "index"_a, "stream"_a, "launches"_a);
    m.def("device_count", &isthmus::gpu::device_count, py::call_guard<py::gil_scoped_release>());
    m.def("build_info", &isthmus::gpu::build_info, py::call_guard<py::gil_scoped_release>());
}
