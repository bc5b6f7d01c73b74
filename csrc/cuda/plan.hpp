// The launches of each operation on a GPU: which kernels, on how many blocks, with which tasks. Nothing here touches a
// GPU: addresses are numbers, and whoever asked runs the launches, one after the other on one stream.
#pragma once

#include <functional>

#include "../core.hpp"

namespace isthmus::gpu {

// A kernel of entries.cuh. `body` is its C++ type, for a compiler at run time.
struct Entry {
    const char *name, *body;
    unsigned threads;
    std::size_t shared_bytes, task_bytes;
};
const std::vector<Entry>& entries();

struct Launch {
    std::string kernel;
    std::size_t blocks;
    std::string task;  // the bytes of its argument
};

// The GPU and its memory. `allocate` is asked once for the workspace, on a border of 256 bytes, which must live until
// the launches have run.
struct Device {
    unsigned capability, processors;  // 90 for 9.0
    std::function<std::uintptr_t(std::size_t)> allocate;
};

// The operations of core.hpp, on pointers to the GPU's memory. `fast`: precision "fast", where the GPU has a faster
// path.
template <class T>
std::vector<Launch> block_sums(const Device& device, const std::vector<Block<T>>& blocks, std::size_t d,
                               const std::vector<Pair>& pairs, const KernelSum& kernel, bool fast, double* sums,
                               double* diagonals);

// Samples of one shape, `item` elements apart, and their weights (items, count), or null for 1.
template <class T>
struct Stack {
    Rows<T> first;
    std::ptrdiff_t item;
    const T* weights;
    Rows<T> rows_of(std::size_t i) const { return {first.data + std::ptrdiff_t(i) * item, first.stride, first.count}; }
    const T* weights_of(std::size_t i) const { return weights ? weights + i * first.count : nullptr; }
};

// Factors of every item, (items, 3) on the GPU, or where null the same for all.
struct Factors {
    const double* of_items;
    double of_all[3];
};

template <class T>
std::vector<Launch> mmd2(const Device& device, const Stack<T>& x, const Stack<T>& y, std::size_t n_items, std::size_t d,
                         const KernelSum& kernel, bool fast, const Factors& factors, bool with_diagonal,
                         double* values);

template <class T>
std::vector<Launch> kernel_matrix(const Device& device, Rows<T> x, Rows<T> y, std::size_t d, const KernelSum& kernel,
                                  bool fast, T* out, std::size_t out_stride);

template <class T>
std::vector<Launch> kernel_matmul(const Device& device, Rows<T> x, Rows<T> y, std::size_t d, const T* v,
                                  std::size_t n_columns, const KernelSum& kernel, bool fast, bool skip_diagonal,
                                  T* out);

template <class T>
std::vector<Launch> project(const Device& device, Rows<T> x, std::size_t d, const T* w, const T* b,
                            std::size_t n_columns, Activation activation, T* out);

template <class T>
std::vector<Launch> moments(const Device& device, Rows<T> x, std::size_t d, const T* weights, const T* origin,
                            double* sums, double* scatter);

// Structured frequencies are at most this wide; wider ones are taken as a matrix.
std::size_t most_structured_width();

template <class T>
std::vector<Launch> fourier_features(const Device& device, Rows<T> x, const Frequencies<T>& f, double amplitude,
                                     T* out);

template <class T>
std::vector<Launch> fourier_sums(const Device& device, Rows<T> x, const T* weights, const Frequencies<T>& f,
                                 double* sums);
// As in assignments.hpp, the bits on the GPU.
std::vector<Launch> random_assignments(const std::uint64_t key[2], std::size_t count, std::size_t rows,
                                       std::size_t ones, std::uint64_t* bits);
std::vector<Launch> subset_sums(const std::uint64_t* bits, std::size_t count, std::size_t rows, const double* values,
                                double* sums);

// The bits of assignments are on the GPU too. `rounded`: the kernel, shifted, is rounded to bf16 where the GPU's tensor
// cores take it; sums and row_sums are those of the same rounded matrix.
template <class T>
std::vector<Launch> permuted_sums(const Device& device, Rows<T> z, std::size_t d, const KernelSum& kernel,
                                  const std::uint64_t* bits, std::size_t count, bool rounded, double* sums,
                                  double* row_sums);

// Items of one shape, their dx behind one another and so their dy; their own factors are not read. Coefficients of
// pairs take at most about stripe_bytes of the workspace at a time.
template <class T>
std::vector<Launch> mmd2_grad(const Device& device, const std::vector<TwoSamples<T>>& items, std::size_t d,
                              const KernelSum& kernel, const Factors& factors, bool with_diagonal,
                              std::size_t stripe_bytes, double* values);

}  // namespace isthmus::gpu
