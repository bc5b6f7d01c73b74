// The kernels of entries.cuh as nvcc compiles them. Every ISTHMUS_CUDA_UNITS-th of the list is this unit's.
#include "entries.cuh"
#include "launch.hpp"

namespace isthmus::cuda {
namespace {

template <class Body>
ISTHMUS_CUDA_FUNCTION(kernel, Body)

enum Position {
#define ISTHMUS_X(name, ...) kPositionOf_##name,
    ISTHMUS_CUDA_ENTRIES(ISTHMUS_X)
#undef ISTHMUS_X
};

// A template, so that the kernels of other units are not compiled.
template <unsigned kUnit, int kPosition, class Body>
void add_kernel(std::vector<gpu::Kernel>& kernels, const char* name) {
    static_assert(sizeof(typename Body::Task) <= 4096, "a task is an argument of at most 4 KB");
    if constexpr (kPosition % ISTHMUS_CUDA_UNITS == kUnit)
        kernels.push_back({name, reinterpret_cast<const void*>(&kernel<Body>), unsigned(Body::kThreads),
                           std::size_t(Body::kShared), sizeof(typename Body::Task)});
}

}  // namespace
}  // namespace isthmus::cuda

namespace isthmus::gpu {

template <>
void add_kernels<ISTHMUS_CUDA_UNIT>(std::vector<Kernel>& kernels) {
    using namespace isthmus::cuda;
#define ISTHMUS_X(name, ...) add_kernel<ISTHMUS_CUDA_UNIT, kPositionOf_##name, __VA_ARGS__>(kernels, #name);
    ISTHMUS_CUDA_ENTRIES(ISTHMUS_X)
#undef ISTHMUS_X
}

}  // namespace isthmus::gpu
