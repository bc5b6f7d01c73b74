// Consumer: weighted sums and scatter of rows about an origin.
#pragma once

#include "places.cuh"
#include "slabs.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <class T>
struct MomentsTask {
    Matrix<T> x;
    const T *weights, *origin;  // (n,) or null for 1; (d,)
    Size range_rows;            // block b makes the rows of range b / n_tiles in tile b % n_tiles of the triangle
    double *scatters, *sums;    // (ranges, n_tiles, kSide, kSide) and (ranges, d)
};

// A tile of the scatter is a product of two slabs of columns over the rows. Sums of kRun rows in T, then float64.
template <class T, class Shape>
struct Moments {
    using Task = MomentsTask<T>;
    static constexpr int kThreads = Shape::kThreads, kSide = Shape::kSide, kBuffers = 3;
    static constexpr int kSize = kSlabSize<T, Shape>;
    static constexpr Size kRun = 1024, kShared = kBuffers * 2 * kSize * sizeof(T);
    using Columns = Slab<T, kSlab, kSide, Shape::kStride, kThreads>;
    ISTHMUS_DEVICE static void run(const Task& t) {
        T* const slabs = reinterpret_cast<T*>(shared_memory());
        const Size down = tiles_across(t.x.columns, kSide), n_tiles = tiles_in_triangle(down);
        const Size tile = block() % n_tiles, range = block() / n_tiles, end = (range + 1) * t.range_rows;
        Size row, column;
        place_in_triangle(tile, down, row, column);
        row *= kSide, column *= kSide;
        double total = 0;
        double* const scatter = t.scatters + (range * n_tiles + tile) * (kSide * kSide);
        for (Size begin = range * t.range_rows; begin < end && begin < t.x.rows; begin += kRun) {
            const Size rows = (end < t.x.rows ? end : t.x.rows) - begin;
            T sum[Shape::kEach][Shape::kEach];
            ISTHMUS_UNROLL
            for (int i = 0; i < Shape::kEach; ++i) ISTHMUS_UNROLL
            for (int j = 0; j < Shape::kEach; ++j) sum[i][j] = T(0);
            const auto fetch = [&](Size k, int buffer) {
                T* const slab = slabs + buffer * (2 * kSize);
                Columns::fetch(t.x, begin + k * kSlab, row, slab);
                Columns::fetch(t.x, begin + k * kSlab, column, slab + kSize);
            };
            const auto arrive = [&](Size k, int buffer) {
                ISTHMUS_UNROLL
                for (int i = 0; i < Columns::kEach; ++i) {
                    const Size in_run = k * kSlab + Size(Columns::row(i));
                    const T weight = in_run >= rows ? T(0) : t.weights ? t.weights[begin + in_run] : T(1);
                    T* const left = slabs + buffer * (2 * kSize) + Columns::row(i) * Shape::kStride + Columns::column();
                    ISTHMUS_UNROLL
                    for (int e = 0; e < kVector<T>; ++e) {
                        left[e] = weight * (left[e] - origin_at(t, row + Size(Columns::column() + e)));
                        left[kSize + e] -= origin_at(t, column + Size(Columns::column() + e));
                    }
                }
            };
            const auto use = [&](Size, int buffer) {
                const T* const slab = slabs + buffer * (2 * kSize);
                Shape::template add<Pairing::Dot>(slab, slab + kSize, sum);
                if (row == column && thread() < kSide)
                    for (int k = 0; k < kSlab; ++k) total += double(slab[k * Shape::kStride + thread()]);
            };
            stream_slabs<kBuffers>(((rows < kRun ? rows : kRun) + kSlab - 1) / kSlab, fetch, arrive, use);
            const bool first = begin == range * t.range_rows;
            ISTHMUS_UNROLL
            for (int i = 0; i < Shape::kEach; ++i) {
                double* const to = scatter + Shape::row(i) * kSide;
                ISTHMUS_UNROLL
                for (int j = 0; j < Shape::kEach; ++j) {
                    double& at = to[Shape::col(j)];
                    at = first ? double(sum[i][j]) : at + double(sum[i][j]);
                }
            }
        }
        const Size own = row + Size(thread());
        if (row == column && thread() < kSide && own < t.x.columns) t.sums[range * t.x.columns + own] = total;
    }

  private:
    ISTHMUS_DEVICE static T origin_at(const Task& t, Size column) {
        return column < t.x.columns ? t.origin[column] : T(0);
    }
};

struct AddScattersTask {
    const double* scatters;  // (ranges, tiles of the triangle, side, side)
    Size n_ranges, side, d;
    double* scatter;  // (d, d)
};

// scatter = the sum of the ranges, its lower half as the mirror image.
struct AddScatters {
    using Task = AddScattersTask;
    static constexpr int kThreads = 256;
    static constexpr Size kShared = 0;
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size down = tiles_across(t.d, int(t.side)), n_tiles = tiles_in_triangle(down), area = t.side * t.side;
        for (Size tile = block(); tile < n_tiles; tile += n_blocks()) {
            Size row, column;
            place_in_triangle(tile, down, row, column);
            for (Size at = Size(thread()); at < area; at += kThreads) {
                const Size i = row * t.side + at / t.side, j = column * t.side + at % t.side;
                if (j >= t.d || i > j) continue;
                double sum = 0;
                for (Size range = 0; range < t.n_ranges; ++range)
                    sum += t.scatters[(range * n_tiles + tile) * area + at];
                t.scatter[i * t.d + j] = t.scatter[j * t.d + i] = sum;
            }
        }
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
