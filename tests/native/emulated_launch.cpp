// A shared library that plays every launch of csrc/cuda/plan.cpp on the emulated GPU, on the memory of the host.
#define ISTHMUS_ARCH cuda
#include "../../csrc/arch.hpp"
#include "emulated_gpu.hpp"

#include "../../csrc/cuda/entries.cuh"

namespace {

using namespace isthmus::cuda;

template <class Body>
void play(const void* task, unsigned long long blocks, bool reverse) {
    static_assert(Body::kShared <= sizeof(emulated_gpu::Machine::shared));
    const auto& t = *static_cast<const typename Body::Task*>(task);
    emulated_gpu::launch(blocks, Body::kThreads, reverse, [&t] { Body::run(t); });
}

struct Kernel {
    const char* name;
    void (*play)(const void*, unsigned long long, bool);
};

const Kernel kKernels[] = {
#define ISTHMUS_X(name, ...) {#name, &play<__VA_ARGS__>},
    ISTHMUS_CUDA_ENTRIES(ISTHMUS_X)
#undef ISTHMUS_X
};

}  // namespace

// 0, or 1 where no kernel has the name. `reverse`: threads take turns in the other order.
extern "C" int isthmus_emulate(const char* name, unsigned long long blocks, const void* task, int reverse) {
    for (const Kernel& kernel : kKernels)
        if (!std::strcmp(kernel.name, name)) {
            kernel.play(task, blocks, reverse != 0);
            return 0;
        }
    return 1;
}

// The arithmetic of lists of tiles.
extern "C" void isthmus_place_in_triangle(unsigned long long t, unsigned long long down, unsigned long long* row_col) {
    place_in_triangle(t, down, row_col[0], row_col[1]);
}
extern "C" unsigned long long isthmus_interval_of(const unsigned long long* first, unsigned long long count,
                                                  unsigned long long at) {
    return interval_of(first, count, at);
}
