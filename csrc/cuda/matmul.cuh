// Consumer: products of the kernel matrix with columns, the matrix never stored.
#pragma once

#include "fast.cuh"
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

// A sum of many numbers with twice their digits, without float64 units, which most GPUs have few of.
template <class T>
struct LongSum {
    T high = 0, low = 0;
    ISTHMUS_DEVICE void add(T x) {
        const T sum = high + x, part = sum - high;
        low += (high - (sum - part)) + (x - part);
        high = sum;
    }
    ISTHMUS_DEVICE double value() const { return double(high) + double(low); }
};
template <>
struct LongSum<double> {
    double sum = 0;
    ISTHMUS_DEVICE void add(double x) { sum += x; }
    ISTHMUS_DEVICE double value() const { return sum; }
};

template <int n>
struct Count {
    static constexpr int value = n;
};
// Calls f with the least even number of groups of 8 columns that hold them all.
template <class F>
ISTHMUS_DEVICE void for_groups(int n_columns, const F& f) {
    n_columns <= 16 ? f(Count<2>{}) : n_columns <= 32 ? f(Count<4>{}) : n_columns <= 48 ? f(Count<6>{}) : f(Count<8>{});
}

// Two neighbouring numbers in shared memory: as they are, or in parts, those of the upper half first.
template <class T>
struct AsNumbers {
    ISTHMUS_DEVICE static void put(T first, T second, T* to) { to[0] = first, to[1] = second; }
    ISTHMUS_DEVICE static void arrive(T*) {}
};
struct alignas(8) TwoInParts {
    unsigned high, low;
};
struct AsParts {
    ISTHMUS_DEVICE static void put(float first, float second, float* to) {
        const unsigned high = two_bf16(first, second);
        const unsigned low = two_bf16(first - float_of(high << 16), second - float_of(high & 0xffff0000u));
        *reinterpret_cast<TwoInParts*>(to) = {high, low};
    }
    ISTHMUS_DEVICE static void arrive(float* two) { put(two[0], two[1], two); }
    ISTHMUS_DEVICE static TwoInParts at(const float* two) { return *reinterpret_cast<const TwoInParts*>(two); }
};

// Half a tile in shared memory, values (kSide, kStride) in rows, and as many rows of v, (kColumns, kStride) in columns:
// strides that put the rows which a warp reads on different banks. kOwn results in each thread.
template <class T, class Shape>
struct HalfTile : AsNumbers<T> {
    static constexpr int kSide = Shape::kSide, kHalf = kSide / 2, kVector = 16 / int(sizeof(T));
    static constexpr int kStride = kHalf + kVector, kWarps = Shape::kThreads / kWarp;
    static constexpr int kRowsEach = kSide / kWarp, kColumnsEach = kColumns / kWarps, kOwn = kRowsEach * kColumnsEach;
    static_assert(kWarps == 8);
    ISTHMUS_DEVICE static int row(int e) { return e / kColumnsEach * kWarp + thread() % kWarp; }
    ISTHMUS_DEVICE static int column(int e) { return e % kColumnsEach * kWarps + thread() / kWarp; }

    template <int kGroups>  // of 8 columns
    ISTHMUS_DEVICE static void multiply(const T* values, const T* v, LongSum<T> (&total)[kOwn]) {
        struct alignas(16) Vector {
            T number[kVector];
        };
        T sum[kOwn] = {};
        ISTHMUS_UNROLL_BY(1)
        for (int k = 0; k < kHalf; k += kVector) {
            Vector rows[kRowsEach];
            ISTHMUS_UNROLL
            for (int i = 0; i < kRowsEach; ++i)
                rows[i] = *reinterpret_cast<const Vector*>(values + row(i * kColumnsEach) * kStride + k);
            ISTHMUS_UNROLL
            for (int c = 0; c < kGroups; ++c) {
                const Vector own = *reinterpret_cast<const Vector*>(v + column(c) * kStride + k);
                ISTHMUS_UNROLL
                for (int e = 0; e < kVector; ++e) ISTHMUS_UNROLL
                for (int i = 0; i < kRowsEach; ++i) {
                    T& to = sum[i * kColumnsEach + c];
                    to = fma(rows[i].number[e], own.number[e], to);
                }
            }
        }
        ISTHMUS_UNROLL
        for (int e = 0; e < kOwn; ++e)
            if (e % kColumnsEach < kGroups) total[e].add(sum[e]);
    }
};

// The same on tensor cores: 16 rows a warp. The small products are added up apart from the large, which truncation
// costs least.
template <>
struct HalfTile<float, Tensor> : AsNumbers<float> {
    static constexpr int kSide = Tensor::kSide, kHalf = kSide / 2, kStride = kHalf + 4;
    static constexpr int kFragments = kColumns / 8, kOwn = 4 * kFragments;
    static_assert(Tensor::kThreads / kWarp * 16 == kSide);
    ISTHMUS_DEVICE static int row(int e) { return thread() / kWarp * 16 + Tensor::lane() / 4 + e % 4 / 2 * 8; }
    ISTHMUS_DEVICE static int column(int e) { return e / 4 * 8 + Tensor::lane() % 4 * 2 + e % 2; }

    template <int kGroups>
    ISTHMUS_DEVICE static void multiply(const float* values, const float* v, LongSum<float> (&total)[kOwn]) {
        float large[kGroups][4] = {}, small[kGroups][4] = {};
        ISTHMUS_UNROLL_BY(1)
        for (int k = Tensor::lane() % 4; k < kHalf; k += 8) {
            unsigned high[4], low[4];
            ISTHMUS_UNROLL
            for (int e = 0; e < 4; ++e) split<true>(values[row(e % 2 * 2) * kStride + k + e / 2 * 4], high[e], low[e]);
            ISTHMUS_UNROLL
            for (int first = 0; first < kGroups; first += 2) {
                unsigned b_high[2][2], b_low[2][2];
                ISTHMUS_UNROLL
                for (int n = 0; n < 2; ++n) ISTHMUS_UNROLL
                for (int e = 0; e < 2; ++e)
                    split<true>(v[(8 * (first + n) + Tensor::lane() / 4) * kStride + k + 4 * e], b_high[n][e],
                                b_low[n][e]);
                ISTHMUS_UNROLL
                for (int n = 0; n < 2; ++n) multiply_tf32(small[first + n], low, b_high[n]);
                ISTHMUS_UNROLL
                for (int n = 0; n < 2; ++n) multiply_tf32(large[first + n], high, b_high[n]);
                ISTHMUS_UNROLL
                for (int n = 0; n < 2; ++n) multiply_tf32(small[first + n], high, b_low[n]);
            }
        }
        ISTHMUS_UNROLL
        for (int e = 0; e < 4 * kGroups; ++e) total[e].add(large[e / 4][e % 4] + small[e / 4][e % 4]);
    }
};

// The same in half the steps; v is taken apart as it arrives. Strides for loads of eight bytes.
template <>
struct HalfTile<float, Fast> : AsParts {
    using Own = HalfTile<float, Tensor>;
    static constexpr int kSide = Own::kSide, kHalf = Own::kHalf, kStride = kHalf + 8, kOwn = Own::kOwn;
    ISTHMUS_DEVICE static int row(int e) { return Own::row(e); }
    ISTHMUS_DEVICE static int column(int e) { return Own::column(e); }

    template <int kGroups>
    ISTHMUS_DEVICE static void multiply(const float* values, const float* v, LongSum<float> (&total)[kOwn]) {
        float sum[kGroups][4] = {};
        ISTHMUS_UNROLL_BY(1)
        for (int k = Tensor::lane() % 4 * 2; k < kHalf; k += 16) {
            unsigned high[4], low[4];
            ISTHMUS_UNROLL
            for (int e = 0; e < 4; ++e) {
                const TwoInParts two = at(values + row(e % 2 * 2) * kStride + k + e / 2 * 8);
                high[e] = two.high, low[e] = two.low;
            }
            ISTHMUS_UNROLL
            for (int first = 0; first < kGroups; first += 2) {
                unsigned b_high[2][2], b_low[2][2];
                ISTHMUS_UNROLL
                for (int n = 0; n < 2; ++n) ISTHMUS_UNROLL
                for (int e = 0; e < 2; ++e) {
                    const TwoInParts two = at(v + (8 * (first + n) + Tensor::lane() / 4) * kStride + k + 8 * e);
                    b_high[n][e] = two.high, b_low[n][e] = two.low;
                }
                ISTHMUS_UNROLL
                for (int n = 0; n < 2; ++n) multiply_bf16(sum[first + n], low, b_high[n]);
                ISTHMUS_UNROLL
                for (int n = 0; n < 2; ++n) multiply_bf16(sum[first + n], high, b_low[n]);
                ISTHMUS_UNROLL
                for (int n = 0; n < 2; ++n) multiply_bf16(sum[first + n], high, b_high[n]);
            }
        }
        ISTHMUS_UNROLL
        for (int e = 0; e < 4 * kGroups; ++e) total[e].add(sum[e / 4][e % 4]);
    }
};

// partials[slice] = the slice's share of K v. A tile's values take the place of its slabs, half of its columns at a
// time, and are multiplied there; sums of half a tile in T, then in a longer format. One block has all registers of a
// multiprocessor.
template <class T, class Shape, class Values>
struct Multiply {
    using Task = MatmulTask<T>;
    using Half = HalfTile<T, Shape>;
    static constexpr int kThreads = Shape::kThreads, kSide = Shape::kSide, kHalf = Half::kHalf, kEach = Shape::kEach;
    static constexpr Size kShared = kProductBytes<T, Shape> + kColumns * Half::kStride * sizeof(T);
    static_assert(kSide * Half::kStride * sizeof(T) <= kProductBytes<T, Shape>);
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Values values(t.terms);
        T* const half = reinterpret_cast<T*>(shared_memory());
        T* const v = reinterpret_cast<T*>(shared_memory() + kProductBytes<T, Shape>);
        const Size slice = block() % t.n_slices;
        for (Size column = 0; column < t.n_columns; column += kColumns) {
            const int n_columns = int(t.n_columns - column < kColumns ? t.n_columns - column : kColumns);
            LongSum<T> total[Half::kOwn];
            Place<T> p{t.left, t.right, block() / t.n_slices * kSide, slice * t.right_tiles * kSide};
            for (Size tile = 0; tile < t.right_tiles && p.col < t.right.count; ++tile, p.col += kSide) {
                T at[kEach][kEach];
                form_bare_values<T, Shape>(t.packed, p, t.terms, values, at,
                                           [&] { fetch(t, p.col, column, n_columns, v); });
                if (t.skip_diagonal && p.row == p.col) ISTHMUS_UNROLL
                for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
                for (int j = 0; j < kEach; ++j)
                    if (Shape::row(i) == Shape::col(j)) at[i][j] = 0;
                ISTHMUS_UNROLL_BY(1)
                for (int from = 0; from < kSide; from += kHalf) {
                    sync_block();  // the slabs and v may still be read
                    if (from) fetch(t, p.col + kHalf, column, n_columns, v);
                    end_copies();
                    ISTHMUS_UNROLL
                    for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
                    for (int j = 0; j < kEach; j += 2) {
                        const int col = Shape::col(j) - from;
                        if (col >= 0 && col < kHalf)
                            Half::put(at[i][j], at[i][j + 1], half + Shape::row(i) * Half::kStride + col);
                    }
                    wait_for_copies<0>();
                    arrive(n_columns, v);
                    sync_block();
                    for_groups(n_columns, [&](auto groups) { Half::template multiply<groups.value>(half, v, total); });
                }
            }
            ISTHMUS_UNROLL
            for (int e = 0; e < Half::kOwn; ++e) {
                const Size to = p.row + Size(Half::row(e)), at = column + Size(Half::column(e));
                if (to >= t.left.count || at >= t.n_columns) continue;
                double& partial = t.partials[(slice * t.left.count + to) * t.n_columns + at];
                const double found = double(values.factor) * total[e].value();
                partial = t.add ? partial + found : found;
            }
        }
    }

  private:
    // Calls f(column, row) for every second row, from 0 on, that a thread copies of v.
    template <class F>
    ISTHMUS_DEVICE static void for_own(int n_columns, const F& f) {
        constexpr int kAtOnce = 2 * (kThreads / kColumns);
        const int q = thread() % kColumns;
        if (q >= (n_columns + 15) / 16 * 16) return;
        ISTHMUS_UNROLL_BY(4)
        for (int k = thread() / kColumns * 2; k < kHalf; k += kAtOnce) f(q, k);
    }
    // Starts to copy kHalf rows of v; zeros past them.
    ISTHMUS_DEVICE static void fetch(const Task& t, Size row, Size column, int n_columns, T* v) {
        for_own(n_columns, [&](int q, int first) {
            const T* from = t.v + (row + Size(first)) * t.n_columns + column + Size(q);
            ISTHMUS_UNROLL
            for (int k = first; k < first + 2; ++k, from += t.n_columns) {
                const bool there = row + Size(k) < t.right.count && q < n_columns;
                copy_number(v + q * Half::kStride + k, there ? from : t.v, there);
            }
        });
    }
    // Once the copies of this thread are there.
    ISTHMUS_DEVICE static void arrive(int n_columns, T* v) {
        for_own(n_columns, [&](int q, int k) { Half::arrive(v + q * Half::kStride + k); });
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
