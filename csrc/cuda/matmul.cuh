// Consumer: products of the kernel matrix with columns, the matrix never stored.
#pragma once

#include "kernels.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <class T>
struct MatmulTask {
    Packed<T> packed;
    Terms<T> terms;
    Sample<T> left, right;
    const T* v;  // (right.count, n_columns), C order
    Size n_columns;
    Size right_tiles;  // of a slice: block b makes left tile b / n_slices against slice b % n_slices
    Size n_slices;
    Size skip_diagonal, add;
    double* partials;  // (n_slices, left.count, n_columns)
};

constexpr int kColumns = 64;  // of v at once

// partials[slice] = the slice's share of K v. Values of a tile go to shared memory, column by column, and are
// multiplied there like any slab; sums of one tile in T, then float64.
template <class T, class Shape, class Values>
struct Multiply {
    using Task = MatmulTask<T>;
    static constexpr int kThreads = Shape::kThreads, kSide = Shape::kSide, kStride = kSide + kGap;
    static constexpr int kRowsEach = 4, kRowGroups = kSide / kRowsEach, kGroups = kThreads / kRowGroups;
    static constexpr int kColumnsEach = kColumns / kGroups;
    static constexpr Size kShared = kProductBytes<T, Shape> + kSide * (kStride + kColumns) * sizeof(T);
    ISTHMUS_DEVICE static void run(const Task& t) {
        static_assert(kGroups * kRowGroups == Shape::kThreads && kGroups * kColumnsEach == kColumns);
        T* const values = reinterpret_cast<T*>(shared_memory() + kProductBytes<T, Shape>);  // (kSide, kStride)
        T* const v = values + kSide * kStride;                                              // (kSide, kColumns)
        const Size row = block() / t.n_slices * kSide, slice = block() % t.n_slices;
        const int own_row = thread() % kRowGroups * kRowsEach, own_column = thread() / kRowGroups * kColumnsEach;
        for (Size column = 0; column < t.n_columns; column += kColumns) {
            double total[kRowsEach][kColumnsEach] = {};
            for (Size tile = slice * t.right_tiles; tile < (slice + 1) * t.right_tiles && tile * kSide < t.right.count;
                 ++tile) {
                Place<T> p{t.left, t.right, row, tile * kSide};
                T at[Shape::kEach][Shape::kEach];
                form_values<T, Shape, Values>(t.packed, p, t.terms, at);
                ISTHMUS_UNROLL
                for (int i = 0; i < Shape::kEach; ++i) ISTHMUS_UNROLL
                for (int j = 0; j < Shape::kEach; ++j) {
                    const bool skip = t.skip_diagonal && p.row + Shape::row(i) == p.col + Shape::col(j);
                    values[Shape::col(j) * kStride + Shape::row(i)] = skip ? T(0) : at[i][j];
                }
                for (int e = thread(); e < kSide * kColumns; e += Shape::kThreads) {
                    const Size from = p.col + Size(e / kColumns), q = column + Size(e % kColumns);
                    v[e] = from < t.right.count && q < t.n_columns ? t.v[from * t.n_columns + q] : T(0);
                }
                sync_block();
                T sum[kRowsEach][kColumnsEach] = {};
                ISTHMUS_UNROLL_BY(8)
                for (int k = 0; k < kSide; ++k) ISTHMUS_UNROLL
                for (int i = 0; i < kRowsEach; ++i) ISTHMUS_UNROLL
                for (int q = 0; q < kColumnsEach; ++q)
                    sum[i][q] = fma(values[k * kStride + own_row + i], v[k * kColumns + own_column + q], sum[i][q]);
                ISTHMUS_UNROLL
                for (int i = 0; i < kRowsEach; ++i) ISTHMUS_UNROLL
                for (int q = 0; q < kColumnsEach; ++q) total[i][q] += double(sum[i][q]);
                sync_block();
            }
            for (int i = 0; i < kRowsEach; ++i)
                for (int q = 0; q < kColumnsEach; ++q) {
                    const Size to = row + Size(own_row + i), at = column + Size(own_column + q);
                    if (to >= t.left.count || at >= t.n_columns) continue;
                    double& partial = t.partials[(slice * t.left.count + to) * t.n_columns + at];
                    partial = t.add ? partial + total[i][q] : total[i][q];
                }
        }
    }
};

template <class T>
struct AddSlicesTask {
    const double* partials;
    Size n_slices, size;
    T* out;
};

// out = the sum of the slices, element by element.
template <class T>
struct AddSlices {
    using Task = AddSlicesTask<T>;
    static constexpr int kThreads = 256;
    static constexpr Size kShared = 0;
    ISTHMUS_DEVICE static void run(const Task& t) {
        for (Size at = block() * kThreads + Size(thread()); at < t.size; at += n_blocks() * kThreads) {
            double sum = 0;
            for (Size slice = 0; slice < t.n_slices; ++slice) sum += t.partials[slice * t.size + at];
            t.out[at] = T(sum);
        }
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
