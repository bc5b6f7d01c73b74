// Every kernel that can be launched, by name. nvcc compiles them all, NVRTC the one that is asked for.
#pragma once

#include "fast.cuh"
#include "features.cuh"
#include "grad.cuh"
#include "matmul.cuh"
#include "moments.cuh"
#include "pack.cuh"
#include "permuted.cuh"
#include "project.cuh"
#include "rounded.cuh"
#include "small.cuh"
#include "split_slopes.cuh"
#include "store.cuh"
#include "structured.cuh"
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
using LargeRows = PlainRows<float, 128, 64>;
using WideRows = PlainRows<double, 64, 64>;

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH

// X(name, body): body has Task, kThreads, kShared and run(const Task&). Consumers come in three shapes, or
// four, each with the kernel sums that it can form.
#define ISTHMUS_CUDA_SQUARES(X, name, Consumer, T, Shape) \
    X(name##_rbf, Consumer<T, Shape, One<T, Rbf<T>>>)     \
    X(name##_gaussians, Consumer<T, Shape, Gaussians<T>>) \
    X(name##_gram, Consumer<T, Shape, Any<T, Pairing::Gram>>)
#define ISTHMUS_CUDA_SMOOTH(X, name, Consumer, T, Shape) \
    ISTHMUS_CUDA_SQUARES(X, name, Consumer, T, Shape)    \
    X(name##_dot, Consumer<T, Shape, Any<T, Pairing::Dot>>)
#define ISTHMUS_CUDA_PLAIN(X, name, Consumer, T, Shape)                   \
    ISTHMUS_CUDA_SMOOTH(X, name, Consumer, T, Shape)                      \
    X(name##_difference, Consumer<T, Shape, Any<T, Pairing::Difference>>) \
    X(name##_cityblock, Consumer<T, Shape, Any<T, Pairing::CityBlock>>)
#define ISTHMUS_CUDA_CONSUMER(X, name, Consumer)                  \
    ISTHMUS_CUDA_PLAIN(X, name##_float32, Consumer, float, Large) \
    ISTHMUS_CUDA_PLAIN(X, name##_float64, Consumer, double, Wide) \
    ISTHMUS_CUDA_SMOOTH(X, name##_tensor, Consumer, float, Tensor)
#define ISTHMUS_CUDA_FASTER(X, name, Consumer) \
    ISTHMUS_CUDA_CONSUMER(X, name, Consumer)   \
    ISTHMUS_CUDA_SMOOTH(X, name##_fast, Consumer, float, Fast)
// Those that know the pairing alone.
#define ISTHMUS_CUDA_PAIRINGS(X, name, Consumer, T, Shape)        \
    X(name##_dot, Consumer<T, Shape, Pairing::Dot>)               \
    X(name##_difference, Consumer<T, Shape, Pairing::Difference>) \
    X(name##_cityblock, Consumer<T, Shape, Pairing::CityBlock>)

// What multiplies rows by a matrix.
#define ISTHMUS_CUDA_ROWS(X, name, Consumer)      \
    X(name##_float32, Consumer<float, LargeRows>) \
    X(name##_float64, Consumer<double, WideRows>) \
    X(name##_tensor, Consumer<float, TensorRows>)
#define ISTHMUS_CUDA_SMALL(X, depth)                                 \
    X(small_##depth##_rbf, SmallSums<depth, One<float, Rbf<float>>>) \
    X(small_##depth##_gaussians, SmallSums<depth, Gaussians<float>>) \
    X(small_##depth##_gram, SmallSums<depth, Any<float, Pairing::Gram>>)

#define ISTHMUS_CUDA_SPLIT_SLOPES(X)                                       \
    ISTHMUS_CUDA_PLAIN(X, split_slopes_float32, SplitSlopes, float, Large) \
    ISTHMUS_CUDA_PLAIN(X, split_slopes_float64, SplitSlopes, double, Wide)

#define ISTHMUS_CUDA_PERMUTED(X)                                    \
    ISTHMUS_CUDA_PLAIN(X, permuted_float32, Permuted, float, Large) \
    ISTHMUS_CUDA_PLAIN(X, permuted_float64, Permuted, double, Wide) \
    ISTHMUS_CUDA_PLAIN(X, permuted_bf16, Rounded, float, Large)     \
    ISTHMUS_CUDA_SQUARES(X, permuted_halves, Rounded, float, Halves)

#define ISTHMUS_CUDA_ENTRIES(X)                                        \
    X(describe, Describe)                                              \
    X(column_sums_float32, ColumnSums<float>)                          \
    X(column_sums_float64, ColumnSums<double>)                         \
    X(means_float32, Means<float>)                                     \
    X(means_float64, Means<double>)                                    \
    X(pack_float32, Pack<float>)                                       \
    X(pack_float64, Pack<double>)                                      \
    X(norms_float32, Norms<float>)                                     \
    X(norms_float64, Norms<double>)                                    \
    X(norms_fast, FastNorms)                                           \
    X(add_norms, AddNorms)                                             \
    X(add_partials, AddPartials)                                       \
    X(add_items, AddItems)                                             \
    X(diagonals_float32, Diagonals<float>)                             \
    X(diagonals_float64, Diagonals<double>)                            \
    X(add_slices_float32, AddSlices<float>)                            \
    X(add_slices_float64, AddSlices<double>)                           \
    X(add_scatters, AddScatters)                                       \
    X(assign, Assign)                                                  \
    X(subset_sums, SubsetSums)                                         \
    X(marks, Marks)                                                    \
    X(spreads_float32, Spreads<float>)                                 \
    X(spreads_float64, Spreads<double>)                                \
    X(shift_float32, Shift<float>)                                     \
    X(shift_float64, Shift<double>)                                    \
    X(add_marked, AddMarked)                                           \
    X(add_rows, AddRows)                                               \
    X(moments_float32, Moments<float, Large>)                          \
    X(moments_float64, Moments<double, Wide>)                          \
    X(moments_tensor, Moments<float, Tensor>)                          \
    X(structured_features_float32, Structured<float, false>)           \
    X(structured_features_float64, Structured<double, false>)          \
    X(structured_sums_float32, Structured<float, true>)                \
    X(structured_sums_float64, Structured<double, true>)               \
    ISTHMUS_CUDA_ROWS(X, project, Project)                             \
    ISTHMUS_CUDA_ROWS(X, features, Features)                           \
    ISTHMUS_CUDA_ROWS(X, feature_sums, FeatureSums)                    \
    ISTHMUS_CUDA_SMALL(X, 128)                                         \
    ISTHMUS_CUDA_SMALL(X, 256)                                         \
    ISTHMUS_CUDA_FASTER(X, sum, Sums)                                  \
    ISTHMUS_CUDA_FASTER(X, store, Store)                               \
    ISTHMUS_CUDA_FASTER(X, matmul, Multiply)                           \
    ISTHMUS_CUDA_PERMUTED(X)                                           \
    X(across_float32, Across<float>)                                   \
    X(across_float64, Across<double>)                                  \
    ISTHMUS_CUDA_PAIRINGS(X, products_float32, Products, float, Large) \
    ISTHMUS_CUDA_PAIRINGS(X, products_float64, Products, double, Wide) \
    X(products_tensor_gram, Products<float, Tensor, Pairing::Gram>)    \
    X(products_tensor_dot, Products<float, Tensor, Pairing::Dot>)      \
    ISTHMUS_CUDA_CONSUMER(X, slopes, Slopes)                           \
    ISTHMUS_CUDA_SPLIT_SLOPES(X)                                       \
    ISTHMUS_CUDA_PAIRINGS(X, pull_float32, Pull, float, Large)         \
    X(pull_float32_gram, Pull<float, Large, Pairing::Gram>)            \
    ISTHMUS_CUDA_PAIRINGS(X, pull_float64, Pull, double, Wide)         \
    X(pull_float64_gram, Pull<double, Wide, Pairing::Gram>)            \
    X(pull_tensor_gram, Pull<float, Tensor, Pairing::Gram>)            \
    X(pull_tensor_dot, Pull<float, Tensor, Pairing::Dot>)              \
    X(place_gradients_float32, PlaceGradients<float>)                  \
    X(place_gradients_float64, PlaceGradients<double>)                 \
    X(grad_values, GradValues)

// The kernel itself, inside namespace isthmus::cuda. Tasks stay where the launch puts them, so that indexing into one
// copies nothing.
#define ISTHMUS_CUDA_FUNCTION(function, ...)                                                \
    __global__ void __launch_bounds__((__VA_ARGS__::kThreads), (blocks_of<__VA_ARGS__>(0))) \
        function(const __grid_constant__ typename __VA_ARGS__::Task task) {                 \
        __VA_ARGS__::run(task);                                                             \
    }
#define ISTHMUS_CUDA_KERNEL(name, ...) extern "C" ISTHMUS_CUDA_FUNCTION(isthmus_##name, __VA_ARGS__)
