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
constexpr int kApart = 16;    // columns of values, or rows of v, that share a word

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

// The columns from `from` on of a tile's values, as they are.
template <class Shape, int kColumns, int kStride, class T>
ISTHMUS_DEVICE void put_columns(const T (&at)[Shape::kEach][Shape::kEach], int from, T* half) {
    ISTHMUS_UNROLL
    for (int i = 0; i < Shape::kEach; ++i) ISTHMUS_UNROLL
    for (int j = 0; j < Shape::kEach; ++j) {
        const int col = Shape::col(j) - from;
        if (col >= 0 && col < kColumns) half[Shape::row(i) * kStride + col] = at[i][j];
    }
}

// Half a tile in shared memory, values (kSide, kStride) in rows, and as many rows of v, (kColumns, kStride) in columns:
// strides that put the rows which a warp reads on different banks. kOwn results in each thread.
template <class T, class Shape>
struct HalfTile {
    static constexpr int kSide = Shape::kSide, kHalf = kSide / 2, kVector = 16 / int(sizeof(T));
    static constexpr int kStride = kHalf + kVector, kWarps = Shape::kThreads / kWarp;
    static constexpr bool kInParts = false;
    static constexpr int kRowsEach = kSide / kWarp, kColumnsEach = kColumns / kWarps, kOwn = kRowsEach * kColumnsEach;
    static_assert(kWarps == 8);
    ISTHMUS_DEVICE static int row(int e) { return e / kColumnsEach * kWarp + thread() % kWarp; }
    ISTHMUS_DEVICE static int column(int e) { return e % kColumnsEach * kWarps + thread() / kWarp; }

    ISTHMUS_DEVICE static void put(const T (&at)[Shape::kEach][Shape::kEach], int from, T* half) {
        put_columns<Shape, kHalf, kStride>(at, from, half);
    }

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
struct HalfTile<float, Tensor> {
    static constexpr int kSide = Tensor::kSide, kHalf = kSide / 2, kStride = kHalf + 4;
    static constexpr int kFragments = kColumns / 8, kOwn = 4 * kFragments;
    static constexpr bool kInParts = false;
    static_assert(Tensor::kThreads / kWarp * 16 == kSide);
    ISTHMUS_DEVICE static int row(int e) { return thread() / kWarp * 16 + Tensor::lane() / 4 + e % 4 / 2 * 8; }
    ISTHMUS_DEVICE static int column(int e) { return e / 4 * 8 + Tensor::lane() % 4 * 2 + e % 2; }

    ISTHMUS_DEVICE static void put(const float (&at)[Tensor::kEach][Tensor::kEach], int from, float* half) {
        put_columns<Tensor, kHalf, kStride>(at, from, half);
    }

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

// The same in half the steps. Numbers kApart columns of values, or rows of v, apart become a word of their high parts,
// in the place of the first, and one of their low parts; v is taken apart as it arrives.
template <>
struct HalfTile<float, Fast> {
    using Own = HalfTile<float, Tensor>;
    static constexpr int kSide = Own::kSide, kHalf = Own::kHalf, kStride = Own::kStride, kOwn = Own::kOwn;
    static constexpr bool kInParts = true;
    ISTHMUS_DEVICE static int row(int e) { return Own::row(e); }
    ISTHMUS_DEVICE static int column(int e) { return Own::column(e); }

    ISTHMUS_DEVICE static void put(const float (&at)[8][8], int from, float* half) {
        ISTHMUS_UNROLL
        for (int i = 0; i < 8; ++i) ISTHMUS_UNROLL
        for (int j = 0; j < 4; ++j) {
            const int col = Fast::col(j) - from;
            if (col >= 0 && col < kHalf) put_parts(at[i][j], at[i][j + 4], half + Fast::row(i) * kStride + col);
        }
    }
    ISTHMUS_DEVICE static void arrive(float* first) { put_parts(first[0], first[kApart], first); }

    template <int kGroups>
    ISTHMUS_DEVICE static void multiply(const float* values, const float* v, LongSum<float> (&total)[kOwn]) {
        float sum[kGroups][4] = {};
        ISTHMUS_UNROLL_BY(1)
        for (int step = 0; step < kHalf / 16; ++step) {
            const int k = step / 2 * (2 * kApart) + step % 2 * 8 + Tensor::lane() % 4;
            unsigned high[4], low[4];
            ISTHMUS_UNROLL
            for (int e = 0; e < 4; ++e) take(values + row(e % 2 * 2) * kStride + k + e / 2 * 4, high[e], low[e]);
            ISTHMUS_UNROLL
            for (int first = 0; first < kGroups; first += 2) {
                unsigned b_high[2][2], b_low[2][2];
                ISTHMUS_UNROLL
                for (int n = 0; n < 2; ++n) ISTHMUS_UNROLL
                for (int e = 0; e < 2; ++e)
                    take(v + (8 * (first + n) + Tensor::lane() / 4) * kStride + k + 4 * e, b_high[n][e], b_low[n][e]);
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

  private:
    ISTHMUS_DEVICE static void put_parts(float first, float second, float* to) {
        const unsigned high = two_bf16(first, second);
        to[0] = float_of(high);
        to[kApart] = float_of(two_bf16(first - float_of(high << 16), second - float_of(high & 0xffff0000u)));
    }
    ISTHMUS_DEVICE static void take(const float* from, unsigned& high, unsigned& low) {
        high = bits_of(from[0]), low = bits_of(from[kApart]);
    }
};

// partials[slice] = the slice's share of K v. A tile's values go to the slabs, half of its columns at a time, and are
// multiplied there; sums of half a tile in T, then in a longer format. One block has all registers of a multiprocessor.
template <class T, class Shape, class Values>
struct Multiply {
    using Task = MatmulTask<T>;
    using Half = HalfTile<T, Shape>;
    static constexpr int kThreads = Shape::kThreads, kSide = Shape::kSide, kHalf = Half::kHalf, kEach = Shape::kEach;
    static constexpr Size kShared = kProductBytes<T, Shape> + kColumns * Half::kStride * sizeof(T);
    static_assert(kSide * Half::kStride * sizeof(T) <= kSlabBytes<T, Shape>);
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
                    Half::put(at, from, half);
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
    static constexpr int kAtOnce = kThreads / kColumns;  // rows of v

    // Starts to copy kHalf rows of v; zeros past them.
    ISTHMUS_DEVICE static void fetch(const Task& t, Size row, Size column, int n_columns, T* v) {
        const int q = thread() % kColumns, first = thread() / kColumns;
        if (q >= (n_columns + 15) / 16 * 16) return;
        const T* from = t.v + (row + Size(first)) * t.n_columns + column + Size(q);
        ISTHMUS_UNROLL_BY(4)
        for (int k = first; k < kHalf; k += kAtOnce, from += kAtOnce * t.n_columns) {
            const bool there = row + Size(k) < t.right.count && q < n_columns;
            copy_number(v + q * Half::kStride + k, there ? from : t.v, there);
        }
    }
    // Once the copies of this thread are there.
    ISTHMUS_DEVICE static void arrive(int n_columns, T* v) {
        if constexpr (Half::kInParts) {
            static_assert(kHalf % (2 * kApart) == 0 && kApart % kAtOnce == 0, "each pair of rows in one thread");
            const int q = thread() % kColumns;
            if (q >= (n_columns + 15) / 16 * 16) return;
            ISTHMUS_UNROLL_BY(4)
            for (int pair = thread() / kColumns; pair < kHalf / 2; pair += kAtOnce)
                Half::arrive(v + q * Half::kStride + pair / kApart * (2 * kApart) + pair % kApart);
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
