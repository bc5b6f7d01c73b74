// K @ V: a strip of kernel values in L1 is multiplied with the rows of V at once.
#pragma once

#include <assert.h>
#include <string.h>

#include "store.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <class T>
constexpr size_t kMatmulPanels = kMatmulDepth / size_t(kCols<T>);  // right panels in one strip
template <class T>
constexpr size_t kStrip = kMatmulPanels<T> * size_t(kCols<T>);  // its width

// Zeroes the elements of a strip (kRows, width) of K that lie on K's diagonal.
template <class T>
void zero_diagonal(T* strip, size_t row, size_t col, size_t width) noexcept {
    for (size_t r = 0; r < size_t(kRows); ++r)
        if (row + r >= col && row + r < col + width) strip[r * kStrip<T> + row + r - col] = T(0);
}

// sums (kRows, v_panels * kCols) += strip (kRows, depth) @ v.
template <class T>
void multiply(const T* strip, size_t depth, const T* v, size_t v_rows, size_t v_panels, double* sums) noexcept {
    for (size_t q = 0; q < v_panels; ++q) {
        Tile<T> total;
        clear(total);
        accumulate_more<Pairing::Dot, 1, int(kStrip<T>)>(strip, v + q * v_rows * kCols<T>, depth, total);
        T block[kTile<T>];
        store_tile(total, block, kCols<T>);
        for (int r = 0; r < kRows; ++r)
            for (int c = 0; c < kCols<T>; ++c)
                sums[(size_t(r) * v_panels + q) * kCols<T> + c] += double(block[r * kCols<T> + c]);
    }
}

template <class T>
void matmul(const MatmulTask<T>& t) noexcept {
    const size_t n_left = t.tiles.left_end - t.tiles.left_begin;
    assert(n_left <= kMatmulTiles);
    const size_t row_sums = t.v_panels * kCols<T>;
    memset(t.sums, 0, n_left * kRows * row_sums * sizeof(double));
    for (size_t right = t.tiles.right_begin; right < t.tiles.right_end; right += kMatmulPanels<T>) {
        const size_t panels =
            t.tiles.right_end - right < kMatmulPanels<T> ? t.tiles.right_end - right : kMatmulPanels<T>;
        const size_t col = right * kCols<T>, depth = panels * kCols<T>;
        for (size_t left = t.tiles.left_begin; left < t.tiles.left_end; left += kGroup<T>) {
            Tiles<T> tiles = t.tiles;
            tiles.left_begin = left;
            if (tiles.left_end > left + kGroup<T>) tiles.left_end = left + kGroup<T>;
            tiles.right_begin = right, tiles.right_end = right + panels;
            const size_t row0 = left * kRows, end = tiles.left_end * kRows;
            store_matrix<T>({tiles, end, col + depth, row0, col, t.strip, kStrip<T>, false});
            for (size_t row = row0; row < end; row += kRows) {
                T* strip = t.strip + (row - row0) * kStrip<T>;
                if (t.skip_diagonal) zero_diagonal(strip, row, col, depth);
                multiply(strip, depth, t.v + col * kCols<T>, t.v_rows, t.v_panels,
                         t.sums + (row - t.tiles.left_begin * kRows) * row_sums);
            }
        }
    }
    const size_t row0 = t.tiles.left_begin * kRows;
    const size_t rows = t.n_rows - row0 < n_left * kRows ? t.n_rows - row0 : n_left * kRows;
    for (size_t r = 0; r < rows; ++r) {
        T* out = t.out + (row0 + r) * t.out_stride;
        for (size_t q = 0; q < t.n_out; ++q) out[q] = T(t.sums[r * row_sums + q] + (t.add ? double(out[q]) : 0.0));
    }
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
