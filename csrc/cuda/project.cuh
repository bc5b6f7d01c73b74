// Consumer: act(x W + b). Rows and W are read where they lie, once a tile.
#pragma once

#include "slabs.cuh"
#include "tiles.cuh"
#include "trig.cuh"

#include "../ops.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// In the order of the CPU's.
enum class Activation : unsigned char { Identity, Relu, Tanh, Logistic, Cos };

// -- products of rows with W --------------------------------------------------------------------------------------

// A tile of rows, row-major in shared memory, times columns of W: kEachRows x kEachColumns values in every thread, in
// runs of kRun neighbouring columns.
template <class T, int kRows_, int kColumns_>
struct PlainRows {
    static constexpr int kRows = kRows_, kColumns = kColumns_, kThreads = 128, kBlocks = sizeof(T) == 4 ? 3 : 2;
    static constexpr int kEachRows = 8, kEachColumns = kRows * kColumns / kThreads / kEachRows, kRun = kVector<T>;
    static constexpr int kAcross = kColumns / kEachColumns, kDown = kRows / kEachRows, kRuns = kEachColumns / kRun;
    static constexpr int kRowStride = kSlab + kVector<T>, kStride = kColumns + kGap;
    static_assert(kAcross * kDown == kThreads);
    ISTHMUS_DEVICE static int row(int i) { return i * kDown + thread() / kAcross; }
    ISTHMUS_DEVICE static int col(int j) {
        return j / kRun * (kColumns / kRuns) + thread() % kAcross * kRun + j % kRun;
    }

    ISTHMUS_DEVICE static void add(const T* x, const T* w, T (&sum)[kEachRows][kEachColumns]) {
        using Whole = Vector<T, kVector<T>>;
        ISTHMUS_UNROLL
        for (int k = 0; k < kSlab; k += kVector<T>) {
            Whole a[kEachRows];
            ISTHMUS_UNROLL
            for (int i = 0; i < kEachRows; ++i) a[i] = *reinterpret_cast<const Whole*>(x + row(i) * kRowStride + k);
            ISTHMUS_UNROLL
            for (int e = 0; e < kVector<T>; ++e) {
                Whole b[kRuns];
                ISTHMUS_UNROLL
                for (int j = 0; j < kRuns; ++j)
                    b[j] = *reinterpret_cast<const Whole*>(w + (k + e) * kStride + col(j * kRun));
                ISTHMUS_UNROLL
                for (int i = 0; i < kEachRows; ++i) ISTHMUS_UNROLL
                for (int j = 0; j < kEachColumns; ++j) sum[i][j] = fma(a[i].at[e], b[j / kRun].at[j % kRun], sum[i][j]);
            }
        }
    }
};

// The same on tensor cores: eight warps, 32 x 32 values each, in fragments of 16 x 8.
struct TensorRows {
    static constexpr int kRows = 128, kColumns = 64, kThreads = 256;
    static constexpr int kEachRows = 4, kEachColumns = 8, kRun = 2, kBlocks = 2;
    static constexpr int kRowStride = kSlab + 4, kStride = kColumns + kGap;
    ISTHMUS_DEVICE static int lane() { return thread() % kWarp; }
    ISTHMUS_DEVICE static int top() { return thread() / kWarp / 2 * 32 + lane() / 4; }
    ISTHMUS_DEVICE static int side() { return thread() / kWarp % 2 * 32; }
    ISTHMUS_DEVICE static int row(int i) { return top() + i * 8; }
    ISTHMUS_DEVICE static int col(int j) { return side() + j / 2 * 8 + lane() % 4 * 2 + j % 2; }

    ISTHMUS_DEVICE static void add(const float* x, const float* w, float (&sum)[kEachRows][kEachColumns]) {
        float part[2][4][4] = {};
        ISTHMUS_UNROLL
        for (int k = lane() % 4; k < kSlab + lane() % 4; k += 8) {
            unsigned b_high[4][2], b_low[4][2];
            ISTHMUS_UNROLL
            for (int n = 0; n < 4; ++n) ISTHMUS_UNROLL
            for (int e = 0; e < 2; ++e)
                split<true>(w[(k + 4 * e) * kStride + side() + lane() / 4 + 8 * n], b_high[n][e], b_low[n][e]);
            ISTHMUS_UNROLL
            for (int m = 0; m < 2; ++m) {
                unsigned high[4], low[4];
                ISTHMUS_UNROLL
                for (int e = 0; e < 4; ++e)
                    split<true>(x[(top() + 16 * m + e % 2 * 8) * kRowStride + k + e / 2 * 4], high[e], low[e]);
                ISTHMUS_UNROLL
                for (int n = 0; n < 4; ++n) {
                    multiply_tf32(part[m][n], low, b_high[n]);
                    multiply_tf32(part[m][n], high, b_low[n]);
                    multiply_tf32(part[m][n], high, b_high[n]);
                }
            }
        }
        ISTHMUS_UNROLL
        for (int i = 0; i < kEachRows; ++i) ISTHMUS_UNROLL
        for (int j = 0; j < kEachColumns; ++j) sum[i][j] += part[i / 2][j / 2][i % 2 * 2 + j % 2];
    }
};

constexpr int kRowBuffers = 3;
template <class T, class Shape>
constexpr int kRowSlab = Shape::kRows * Shape::kRowStride + kSlab * Shape::kStride;  // numbers of both sides
template <class T, class Shape>
constexpr Size kRowBytes = kRowBuffers * kRowSlab<T, Shape> * sizeof(T);

// Subtracts the centre from what a thread has fetched of a slab, from dimension `first` on.
template <class T, class Shape, class Left>
ISTHMUS_DEVICE void centre_slab(Size d, const double* centre, Size first, T* slab) {
    ISTHMUS_UNROLL
    for (int e = 0; e < kVector<T>; ++e) {
        const Size at = first + Size(Left::column() + e);
        if (at >= d) continue;
        const Centre<T> c(centre[at]);
        ISTHMUS_UNROLL
        for (int i = 0; i < Left::kEach; ++i) {
            T& value = slab[Left::row(i) * Shape::kRowStride + Left::column() + e];
            value = c.from(value);
        }
    }
}

// z = (x - centre) W for the tile from (row, column) on; centre (d,) or, unless kCentred, not looked at.
template <class T, class Shape, bool kCentred>
ISTHMUS_DEVICE void multiply_rows(const Matrix<T>& x, const double* centre, const Matrix<T>& w, Size row, Size column,
                                  T (&z)[Shape::kEachRows][Shape::kEachColumns]) {
    using Left = Slab<T, Shape::kRows, kSlab, Shape::kRowStride, Shape::kThreads>;
    using Right = Slab<T, kSlab, Shape::kColumns, Shape::kStride, Shape::kThreads>;
    T* const slabs = reinterpret_cast<T*>(shared_memory());
    const auto left = [&](int buffer) { return slabs + buffer * kRowSlab<T, Shape>; };
    const auto right = [&](int buffer) { return left(buffer) + Shape::kRows * Shape::kRowStride; };
    ISTHMUS_UNROLL
    for (int i = 0; i < Shape::kEachRows; ++i) ISTHMUS_UNROLL
    for (int j = 0; j < Shape::kEachColumns; ++j) z[i][j] = T(0);
    const auto fetch = [&](Size k, int buffer) {
        Left::fetch(x, row, k * kSlab, left(buffer));
        Right::fetch(w, k * kSlab, column, right(buffer));
    };
    const auto arrive = [&](Size k, int buffer) {
        if constexpr (kCentred) centre_slab<T, Shape, Left>(x.columns, centre, k * kSlab, left(buffer));
    };
    const auto use = [&](Size, int buffer) { Shape::add(left(buffer), right(buffer), z); };
    stream_slabs<kRowBuffers>((x.columns + kSlab - 1) / kSlab, fetch, arrive, use);
}

// -- results ------------------------------------------------------------------------------------------------------

// out (rows, columns), row-major; `aligned`: a run of a shape can be written at once wherever it starts.
template <class T>
struct Result {
    T* at;
    Size stride, rows, columns, aligned;
};

// Writes value(i, j) for every value of a thread.
template <class T, class Shape, class Value>
ISTHMUS_DEVICE void store_tile(const Result<T>& out, Size row, Size column, const Value& value) {
    ISTHMUS_UNROLL
    for (int i = 0; i < Shape::kEachRows; ++i) ISTHMUS_UNROLL
    for (int j = 0; j < Shape::kEachColumns; j += Shape::kRun) {
        const Size to_row = row + Size(Shape::row(i)), to_column = column + Size(Shape::col(j));
        if (to_row >= out.rows || to_column >= out.columns) continue;
        Vector<T, Shape::kRun> run;
        ISTHMUS_UNROLL
        for (int e = 0; e < Shape::kRun; ++e) run.at[e] = value(i, j + e);
        T* const to = out.at + to_row * out.stride + to_column;
        if (out.aligned)
            *reinterpret_cast<Vector<T, Shape::kRun>*>(to) = run;
        else
            ISTHMUS_UNROLL
        for (int e = 0; e < Shape::kRun; ++e)
            if (to_column + Size(e) < out.columns) to[e] = run.at[e];
    }
}

template <Activation kActivation, class T>
ISTHMUS_DEVICE T activate(T v) {
    if constexpr (kActivation == Activation::Relu) {
        return v > T(0) ? v : T(0);
    } else if constexpr (kActivation == Activation::Tanh) {
        return tanh(v);
    } else if constexpr (kActivation == Activation::Logistic) {
        const T e = exp2_neg(T(kLog2e) * (v < T(0) ? -v : v));
        return (v < T(0) ? e : T(1)) / (T(1) + e);
    } else if constexpr (kActivation == Activation::Cos) {
        return cos_sin(v).cos;
    } else {
        return v;
    }
}

template <class T>
struct ProjectTask {
    Matrix<T> x, w;
    const T* bias;  // (q,) or null
    Result<T> out;
    Activation activation;
};

// Blocks share out the tiles, those of the same rows one behind the other.
template <class T, class Shape>
struct Project {
    using Task = ProjectTask<T>;
    static constexpr int kThreads = Shape::kThreads, kBlocks = Shape::kBlocks;
    static constexpr Size kShared = kRowBytes<T, Shape>;
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size across = tiles_across(t.w.columns, Shape::kColumns);
        const Size n_tiles = across * tiles_across(t.x.rows, Shape::kRows);
        for (Size tile = block(); tile < n_tiles; tile += n_blocks()) {
            const Size row = tile / across * Shape::kRows, column = tile % across * Shape::kColumns;
            T z[Shape::kEachRows][Shape::kEachColumns];
            multiply_rows<T, Shape, false>(t.x, nullptr, t.w, row, column, z);
            if (t.bias) ISTHMUS_UNROLL
            for (int j = 0; j < Shape::kEachColumns; ++j) {
                const Size at = column + Size(Shape::col(j));
                const T shift = at < t.w.columns ? t.bias[at] : T(0);
                ISTHMUS_UNROLL
                for (int i = 0; i < Shape::kEachRows; ++i) z[i][j] += shift;
            }
            switch (t.activation) {
                case Activation::Identity: store<Activation::Identity>(t.out, row, column, z); break;
                case Activation::Relu: store<Activation::Relu>(t.out, row, column, z); break;
                case Activation::Tanh: store<Activation::Tanh>(t.out, row, column, z); break;
                case Activation::Logistic: store<Activation::Logistic>(t.out, row, column, z); break;
                case Activation::Cos: store<Activation::Cos>(t.out, row, column, z); break;
            }
        }
    }

  private:
    template <Activation kActivation>
    ISTHMUS_DEVICE static void store(const Result<T>& out, Size row, Size column,
                                     const T (&z)[Shape::kEachRows][Shape::kEachColumns]) {
        store_tile<T, Shape>(out, row, column, [&](int i, int j) { return activate<kActivation>(z[i][j]); });
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
