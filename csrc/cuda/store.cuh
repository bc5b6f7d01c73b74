// Consumer: the kernel matrix itself.
#pragma once

#include "kernels.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <class T>
struct StoreTask {
    Packed<T> packed;
    Terms<T> terms;
    Sample<T> left, right;
    Size n_tiles;
    T* out;
    Size out_stride, add;  // to what is there
};

// out[i][j] = k_ij. A sample with itself: tiles from the diagonal on, each also as its mirror image, so that out is
// symmetric to the bit. Half a tile at a time lies in the slabs, so that rows leave in one piece.
template <class T, class Shape, class Values>
struct Store {
    using Task = StoreTask<T>;
    static constexpr int kThreads = Shape::kThreads, kBlocks = kBlocksOf<Shape, Values>;
    static constexpr Size kShared = kProductBytes<T, Shape>;
    ISTHMUS_DEVICE static void run(const Task& t) {
        T* const half = reinterpret_cast<T*>(shared_memory());
        for (unsigned tile = unsigned(block()); tile < t.n_tiles; tile += unsigned(n_blocks())) {
            const Place<T> found = place_of<T, Shape>(t.left, t.right, tile);
            // In half the registers while products are formed.
            const unsigned down = unsigned(found.row / kSide), across = unsigned(found.col / kSide);
            const Place<T> p{t.left, t.right, Size(down) * kSide, Size(across) * kSide};
            T at[kEach][kEach];
            form_values<T, Shape, Values>(t.packed, p, t.terms, at);
            ISTHMUS_UNROLL
            for (int col = 0; col < kSide; col += kHalf) {
                sync_block();  // the slabs may still be read
                put<kStride, 1>(at, col, half);
                sync_block();
                write<kSide, kHalf, false>(t, half, p.row, p.col + Size(col), t.left.count, t.right.count);
                if (t.left.panel != t.right.panel) continue;
                sync_block();
                put<1, kMirrorStride>(at, col, half);
                sync_block();
                write<kHalf, kSide, true>(t, half, p.col + Size(col), p.row, t.right.count, t.left.count);
            }
        }
    }

  private:
    static constexpr int kEach = Shape::kEach, kSide = Shape::kSide, kHalf = kSide / 2, kVector = 16 / int(sizeof(T));
    static constexpr int kStride = kHalf + kVector, kMirrorStride = kSide + kVector;  // of rows, on different banks
    static_assert(kSide * kStride * sizeof(T) <= kSlabBytes<T, Shape>);
    static_assert(kHalf * kMirrorStride * sizeof(T) <= kSlabBytes<T, Shape>);

    struct alignas(16) Vector {
        T number[kVector];
    };

    // Columns `from` to from + kHalf of the tile.
    template <int kOfRow, int kOfCol>
    ISTHMUS_DEVICE static void put(const T (&at)[kEach][kEach], int from, T* half) {
        ISTHMUS_UNROLL
        for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
        for (int j = 0; j < kEach; ++j) {
            const int col = Shape::col(j) - from;
            if (col >= 0 && col < kHalf) half[Shape::row(i) * kOfRow + col * kOfCol] = at[i][j];
        }
    }

    // Rows of shared memory to `out` from (row, col) on, as far as there are rows and columns. Of a sample with itself
    // on or above the diagonal, the mirror image below.
    template <int kRows, int kColumns, bool kMirror>
    ISTHMUS_DEVICE static void write(const Task& t, const T* half, Size row, Size col, Size rows, Size cols) {
        constexpr int kInRow = kColumns / kVector;
        const bool own = t.left.panel == t.right.panel;
        const bool wide = (Size(t.out) % 16 | t.out_stride % kVector) == 0;
        ISTHMUS_UNROLL_BY(1)
        for (int at = thread(); at < kRows * kInRow; at += kThreads) {
            const int r = at / kInRow, c = at % kInRow * kVector;
            const Size to_row = row + Size(r), to_col = col + Size(c);
            const Size first = own && !kMirror ? to_row : 0, end = own && kMirror && to_row < cols ? to_row : cols;
            if (to_row >= rows || to_col >= end || to_col + kVector <= first) continue;
            const Vector found = *reinterpret_cast<const Vector*>(half + r * (kColumns + kVector) + c);
            T* const to = t.out + to_row * t.out_stride + to_col;
            if (wide && to_col >= first && to_col + kVector <= end) {
                Vector sum = t.add ? *reinterpret_cast<const Vector*>(to) : Vector{};
                ISTHMUS_UNROLL
                for (int e = 0; e < kVector; ++e)
                    sum.number[e] = t.add ? sum.number[e] + found.number[e] : found.number[e];
                stream16(to, sum.number);
            } else {
                ISTHMUS_UNROLL
                for (int e = 0; e < kVector; ++e)
                    if (to_col + Size(e) >= first && to_col + Size(e) < end)
                        to[e] = t.add ? to[e] + found.number[e] : found.number[e];
            }
        }
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
