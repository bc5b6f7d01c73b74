#include <cmath>

#include "plan.hpp"

#define ISTHMUS_ARCH cuda
#include "entries.cuh"

namespace isthmus::cuda {
namespace {

template <class Body>
gpu::Entry entry_of(const char* name, const char* body) {
    return {name, body, unsigned(Body::kThreads), std::size_t(Body::kShared), sizeof(typename Body::Task)};
}

const std::vector<gpu::Entry> kEntries = {
#define ISTHMUS_X(name, ...) entry_of<__VA_ARGS__>(#name, #__VA_ARGS__),
    ISTHMUS_CUDA_ENTRIES(ISTHMUS_X)
#undef ISTHMUS_X
};

}  // namespace
}  // namespace isthmus::cuda

namespace isthmus::gpu {

const std::vector<Entry>& entries() { return cuda::kEntries; }

}  // namespace isthmus::gpu
