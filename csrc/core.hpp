// The C++ face of the library: the operations on plain pointers. Arrays have been checked by the caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cpu/engine.hpp"

namespace isthmus {

// How to run: the tile functions of one instruction set, the number of threads (same bits for any), and a question
// (or null) asked on the calling thread about every 50 ms; when it answers true the operation throws Interrupted.
// `fast` takes products of two parts a number instead of three where a matrix unit multiplies float32.
struct Run {
    const Engines* engines;
    unsigned n_threads;
    bool (*interrupted)();
    bool fast = false;
};

// One kernel of a weighted sum, parameters in the order of ops.hpp.
struct KernelTerm {
    unsigned kernel;
    double weight;
    double params[3];
};
using KernelSum = std::vector<KernelTerm>;

struct KernelName {
    const char* name;
    unsigned n_params;
};
const std::vector<KernelName>& kernel_names();  // in the order of ISTHMUS_KERNELS

// Rows of d numbers; `stride` in elements from row to row.
template <class T>
struct Rows {
    const T* data;
    std::ptrdiff_t stride;
    std::size_t count;
};

// One sample. Blocks of a group share the mean that is subtracted from the rows of distance kernels.
template <class T>
struct Block {
    Rows<T> rows;
    const T* weights;  // (count,) or null for 1
    std::size_t group;
};

struct Pair {
    std::size_t left, right;
};

// Smallest and largest value of all rows, at least one of d >= 1 numbers; false when one is NaN or infinite.
template <class T>
bool value_range(const Run& run, const std::vector<Rows<T>>& samples, std::size_t d, T* low, T* high);

// sums[p] = sum_ij w_i w_j k(x_i, y_j) over pairs of rows of two blocks; for a block with itself, over i != j.
// diagonals[b] = sum_i w_i^2 k(x_i, x_i). Both are overwritten. If a pair crosses groups, all blocks share one mean.
template <class T>
void block_sums(const Run& run, const std::vector<Block<T>>& blocks, std::size_t d, const std::vector<Pair>& pairs,
                const KernelSum& kernel, double* sums, double* diagonals);

// out (x.count, y.count), rows out_stride elements apart.
template <class T>
void kernel_matrix(const Run& run, Rows<T> x, Rows<T> y, std::size_t d, const KernelSum& kernel, T* out,
                   std::size_t out_stride);

// out (x.count, n_columns) = K(x, y) @ v, v (y.count, n_columns) C-contiguous; i == j left out on request.
template <class T>
void kernel_matmul(const Run& run, Rows<T> x, Rows<T> y, std::size_t d, const T* v, std::size_t n_columns,
                   const KernelSum& kernel, bool skip_diagonal, T* out);

// Two samples and what their kernel sums are multiplied by: within x, within y, across.
template <class T>
struct TwoSamples {
    Rows<T> x, y;
    const T *x_weights, *y_weights;  // (count,) or null for 1
    double factors[3];
    T *dx, *dy;  // of mmd2_grad: (count, d), C-contiguous, overwritten
};

// For each item, values[i] = f0 sum_ij w_i w_j k(x_i, x_j) + f1 (the same of y) + 2 f2 sum_ij w_i w_j k(x_i, y_j). The
// sums within a sample leave i == j out unless `with_diagonal`.
template <class T>
void mmd2(const Run& run, const std::vector<TwoSamples<T>>& items, std::size_t d, const KernelSum& kernel,
          bool with_diagonal, double* values);

// The same and its gradients.
template <class T>
void mmd2_grad(const Run& run, const std::vector<TwoSamples<T>>& items, std::size_t d, const KernelSum& kernel,
               bool with_diagonal, double* values);

// For 0/1 assignments u of the rows of z, as bits (count, words_in(z.count)) of assignments.hpp:
// sums (count,) = sum_{i != j} u_i u_j k_ij, and row_sums (z.count,) = sum_{j != i} k_ij.
template <class T>
void permuted_sums(const Run& run, Rows<T> z, std::size_t d, const KernelSum& kernel, const std::uint64_t* bits,
                   std::size_t count, double* sums, double* row_sums);

// out (x.count, n_columns) = activation(x @ w + b); w (d, n_columns) and out C-contiguous, b (n_columns,) or null.
template <class T>
void project(const Run& run, Rows<T> x, std::size_t d, const T* w, const T* b, std::size_t n_columns,
             Activation activation, T* out);

// sums (d,) = sum_i w_i (x_i - origin) and scatter (d, d) = sum_i w_i (x_i - origin)(x_i - origin)'. Products in T,
// sums of more than a few rows in float64; weights (x.count,) or null for 1, origin (d,).
template <class T>
void moments(const Run& run, Rows<T> x, std::size_t d, const T* weights, const T* origin, double* sums,
             double* scatter);

// Floating-point operations a second of fused multiply-adds in float32, the best of a few short runs.
double fma_rate(const Run& run);

// Frequencies of random Fourier features: a matrix w (d, count), C-contiguous; or, where w is null, a structured one as
// FourierTask describes it. centre (d,) is subtracted from every row.
template <class T>
struct Frequencies {
    std::size_t d, count;
    const double* centre;
    const T* w;
    std::size_t width;        // 0 for a matrix
    const T *signs, *scales;  // (3, padded) and (padded,), `count` rounded up to whole widths
};

// out (x.count, 2 f.count), C-contiguous = amplitude times the cosines, then the sines, of the phases.
template <class T>
void fourier_features(const Run& run, Rows<T> x, const Frequencies<T>& f, double amplitude, T* out);

// sums (2 f.count,) = sum over rows of their weights, or 1 where null, times the cosines and sines.
template <class T>
void fourier_sums(const Run& run, Rows<T> x, const T* weights, const Frequencies<T>& f, double* sums);

// SIMD levels that are compiled in and that this machine can run, lowest first, and their tile functions.
const std::vector<std::string>& available_levels();
const Engines* engines_of(const std::string& level);  // null when not available

}  // namespace isthmus
