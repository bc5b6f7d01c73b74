// Launches on a GPU: the kernels that nvcc compiled, by name, and who runs them on a stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <new>
#include <string>
#include <string_view>
#include <vector>

namespace isthmus::gpu {

// A kernel of entries.cuh as this build has it. `function` is what the CUDA runtime knows it by.
struct Kernel {
    const char* name;
    const void* function;
    unsigned threads;
    std::size_t shared_bytes, task_bytes;
};

// Adds the kernels of one unit: launch.cu is compiled once for each, so that units compile side by side.
template <unsigned kUnit>
void add_kernels(std::vector<Kernel>& kernels);

// One launch of a plan (plan.hpp); the task's bytes belong to the caller.
struct Work {
    std::string_view kernel;
    std::size_t blocks;
    std::string_view task;
};

struct OutOfMemory : std::bad_alloc {
    explicit OutOfMemory(std::string given) : text(std::move(given)) {}
    const char* what() const noexcept override { return text.c_str(); }
    std::string text;
};

// Runs the launches, one after the other, on a stream of that device (0: its default stream), and returns without
// waiting for them. The thread's current device is restored in every case.
// Throws std::invalid_argument for a launch or a device that does not exist, OutOfMemory, and std::runtime_error with
// the call's name and CUDA's text.
void launch(int device, std::uintptr_t stream, const std::vector<Work>& works);

int device_count();  // 0 without a driver
std::map<std::string, std::string> build_info();

}  // namespace isthmus::gpu
