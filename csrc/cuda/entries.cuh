// Every kernel that can be launched, by name. nvcc compiles them all, NVRTC the one that is asked for.
#pragma once

#include "matmul.cuh"
#include "pack.cuh"
#include "small.cuh"
#include "store.cuh"
#include "sum.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// How many blocks are to share a multiprocessor's registers: kBlocks of a body that has it.
template <class Body>
constexpr int blocks_of(long) {
    return 1;
}
template <class Body>
constexpr auto blocks_of(int) -> decltype(int(Body::kBlocks)) {
    return Body::kBlocks;
}

using Large = Plain<float, 128, 2>;
using Wide = Plain<double, 64, 1>;

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH

// X(name, body): body has Task, kThreads, kShared and run(const Task&). Consumers come in three shapes, each with the
// kernel sums that it can form.
#define ISTHMUS_CUDA_SMOOTH(X, name, Consumer, T, Shape)      \
    X(name##_rbf, Consumer<T, Shape, One<T, Rbf<T>>>)         \
    X(name##_gaussians, Consumer<T, Shape, Gaussians<T>>)     \
    X(name##_gram, Consumer<T, Shape, Any<T, Pairing::Gram>>) \
    X(name##_dot, Consumer<T, Shape, Any<T, Pairing::Dot>>)
#define ISTHMUS_CUDA_PLAIN(X, name, Consumer, T, Shape)                   \
    ISTHMUS_CUDA_SMOOTH(X, name, Consumer, T, Shape)                      \
    X(name##_difference, Consumer<T, Shape, Any<T, Pairing::Difference>>) \
    X(name##_cityblock, Consumer<T, Shape, Any<T, Pairing::CityBlock>>)
#define ISTHMUS_CUDA_CONSUMER(X, name, Consumer)                  \
    ISTHMUS_CUDA_PLAIN(X, name##_float32, Consumer, float, Large) \
    ISTHMUS_CUDA_PLAIN(X, name##_float64, Consumer, double, Wide) \
    ISTHMUS_CUDA_SMOOTH(X, name##_tensor, Consumer, float, Tensor)

#define ISTHMUS_CUDA_SMALL(X, depth)                                 \
    X(small_##depth##_rbf, SmallSums<depth, One<float, Rbf<float>>>) \
    X(small_##depth##_gaussians, SmallSums<depth, Gaussians<float>>) \
    X(small_##depth##_gram, SmallSums<depth, Any<float, Pairing::Gram>>)

#define ISTHMUS_CUDA_ENTRIES(X)                \
    X(describe, Describe)                      \
    X(column_sums_float32, ColumnSums<float>)  \
    X(column_sums_float64, ColumnSums<double>) \
    X(means_float32, Means<float>)             \
    X(means_float64, Means<double>)            \
    X(pack_float32, Pack<float>)               \
    X(pack_float64, Pack<double>)              \
    X(add_partials, AddPartials)               \
    X(diagonals_float32, Diagonals<float>)     \
    X(diagonals_float64, Diagonals<double>)    \
    X(add_slices_float32, AddSlices<float>)    \
    X(add_slices_float64, AddSlices<double>)   \
    ISTHMUS_CUDA_SMALL(X, 128)                 \
    ISTHMUS_CUDA_SMALL(X, 256)                 \
    ISTHMUS_CUDA_CONSUMER(X, sum, Sums)        \
    ISTHMUS_CUDA_CONSUMER(X, store, Store)     \
    ISTHMUS_CUDA_CONSUMER(X, matmul, Multiply)

// The kernel itself, inside namespace isthmus::cuda. Tasks stay where the launch puts them, so that indexing into one
// copies nothing.
#define ISTHMUS_CUDA_FUNCTION(function, ...)                                                        \
    __global__ void __launch_bounds__((__VA_ARGS__::kThreads), (blocks_of<__VA_ARGS__>(0)))         \
        function(const __grid_constant__ typename __VA_ARGS__::Task task) {                         \
        __VA_ARGS__::run(task);                                                                     \
    }
#define ISTHMUS_CUDA_KERNEL(name, ...) extern "C" ISTHMUS_CUDA_FUNCTION(isthmus_##name, __VA_ARGS__)
