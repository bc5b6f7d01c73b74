// Consumers: random Fourier features of a matrix of frequencies, stored or summed over rows.
#pragma once

#include "project.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <class T>
struct FeatureTask {
    Matrix<T> x, w;
    const double* centre;  // (d,)
    T amplitude;
    Result<T> out;  // (n, 2 q), `columns` q of them
};

// out = amplitude times the cosines, then the sines, of the phases (x - centre) W.
template <class T, class Shape>
struct Features {
    using Task = FeatureTask<T>;
    static constexpr int kThreads = Shape::kThreads, kBlocks = Shape::kBlocks;
    static constexpr Size kShared = kRowBytes<T, Shape>;
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size across = tiles_across(t.w.columns, Shape::kColumns);
        const Size n_tiles = across * tiles_across(t.x.rows, Shape::kRows);
        Result<T> sines = t.out;
        sines.at += t.w.columns;
        for (Size tile = block(); tile < n_tiles; tile += n_blocks()) {
            const Size row = tile / across * Shape::kRows, column = tile % across * Shape::kColumns;
            T z[Shape::kEachRows][Shape::kEachColumns], sine[Shape::kEachRows][Shape::kEachColumns];
            multiply_rows<T, Shape, true>(t.x, t.centre, t.w, row, column, z);
            ISTHMUS_UNROLL
            for (int i = 0; i < Shape::kEachRows; ++i) ISTHMUS_UNROLL
            for (int j = 0; j < Shape::kEachColumns; ++j) {
                const CosSin<T> both = cos_sin(z[i][j]);
                z[i][j] = t.amplitude * both.cos, sine[i][j] = t.amplitude * both.sin;
            }
            store_tile<T, Shape>(t.out, row, column, [&](int i, int j) { return z[i][j]; });
            store_tile<T, Shape>(sines, row, column, [&](int i, int j) { return sine[i][j]; });
        }
    }
};

template <class T>
struct FeatureSumTask {
    Matrix<T> x, w;
    const double* centre;  // (d,)
    const T* weights;      // (n,) or null for 1
    Size range_tiles;      // of rows: block b sums those of range b / (tiles across) in columns b % (tiles across)
    double* partials;      // (ranges, 2 q)
};

// partials[range] = its rows' weights times the cosines, then the sines, of their phases. A tile of phases goes to
// shared memory, and each thread adds up some rows of one column: a few in T, then float64.
template <class T, class Shape>
struct FeatureSums {
    using Task = FeatureSumTask<T>;
    static constexpr int kThreads = Shape::kThreads, kBlocks = Shape::kBlocks;
    static constexpr int kGroups = kThreads / Shape::kColumns, kFew = 8;
    static constexpr Size kShared = kRowBytes<T, Shape>;
    static_assert(Shape::kRows * Shape::kStride * sizeof(T) <= kShared && 2 * kThreads * sizeof(double) <= kShared);
    static_assert(Shape::kRows % (kGroups * kFew) == 0);
    ISTHMUS_DEVICE static void run(const Task& t) {
        T* const phases = reinterpret_cast<T*>(shared_memory());  // (kRows, kStride)
        const Size across = tiles_across(t.w.columns, Shape::kColumns), range = block() / across;
        const Size column = block() % across * Shape::kColumns;
        const int own = thread() % Shape::kColumns, group = thread() / Shape::kColumns;
        double cosines = 0, sines = 0;
        for (Size tile = range * t.range_tiles; tile < (range + 1) * t.range_tiles; ++tile) {
            const Size row = tile * Shape::kRows;
            if (row >= t.x.rows) break;
            T z[Shape::kEachRows][Shape::kEachColumns];
            multiply_rows<T, Shape, true>(t.x, t.centre, t.w, row, column, z);
            sync_block();  // the slabs may still be read
            ISTHMUS_UNROLL
            for (int i = 0; i < Shape::kEachRows; ++i) ISTHMUS_UNROLL
            for (int j = 0; j < Shape::kEachColumns; ++j)
                phases[Shape::row(i) * Shape::kStride + Shape::col(j)] = z[i][j];
            sync_block();
            for (int first = group; first < Shape::kRows; first += kGroups * kFew) {
                T cosine = 0, sine = 0;
                ISTHMUS_UNROLL_BY(2)
                for (int r = first; r < first + kGroups * kFew; r += kGroups) {
                    const Size at = row + Size(r);
                    const T weight = at >= t.x.rows ? T(0) : t.weights ? t.weights[at] : T(1);
                    const CosSin<T> both = cos_sin(phases[r * Shape::kStride + own]);
                    cosine = fma(weight, both.cos, cosine), sine = fma(weight, both.sin, sine);
                }
                cosines += double(cosine), sines += double(sine);
            }
        }
        double* const sums = reinterpret_cast<double*>(shared_memory());  // (2, kThreads)
        sync_block();
        sums[thread()] = cosines, sums[kThreads + thread()] = sines;
        sync_block();
        const Size frequency = column + Size(own);
        if (group > 1 || frequency >= t.w.columns) return;
        double sum = 0;
        for (int g = 0; g < kGroups; ++g) sum += sums[group * kThreads + g * Shape::kColumns + own];
        t.partials[(2 * range + Size(group)) * t.w.columns + frequency] = sum;
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
