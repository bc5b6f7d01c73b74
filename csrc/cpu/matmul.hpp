// K @ V: kernel values that are still in a cache are multiplied with the rows of V at once.
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

template <class T>
constexpr size_t kBlockStride = kStrip<T> + 64 / sizeof(T);  // of a square block, lest its lines share cache sets

// Zeroes the elements of rows (count, width) of K that lie on K's diagonal.
template <class T>
void zero_diagonal(T* values, size_t stride, size_t count, size_t row, size_t col, size_t width) noexcept {
    for (size_t r = 0; r < count; ++r)
        if (row + r >= col && row + r < col + width) values[r * stride + row + r - col] = T(0);
}

// sums (kRows, kUsed packs) += values (kRows, depth) @ a panel of v; element (r, k) of the values at
// [r * kRowStep + k * kStep], row r of the sums at [r * row_sums].
template <int kStep, int kRowStep, int kUsed, class T>
void multiply_packs(const T* values, size_t depth, const T* v, double* sums, size_t row_sums) noexcept {
    Tile<T> total;
    clear(total);
    accumulate_more<Pairing::Dot, kStep, kRowStep, kUsed>(values, v, depth, total);
    T block[kRows * kUsed * kLanes<T>];
    each_pack<kUsed>([&](int r, int c) { store(block + (r * kUsed + c) * kLanes<T>, total.at[r][c]); });
    for (int r = 0; r < kRows; ++r)
        for (int c = 0; c < kUsed * kLanes<T>; ++c)
            sums[size_t(r) * row_sums + c] += double(block[r * kUsed * kLanes<T> + c]);
}

// The same for the first `columns` of the panel, in whole packs.
template <int kStep, int kRowStep, class T>
void multiply(const T* values, size_t depth, const T* v, size_t columns, double* sums, size_t row_sums) noexcept {
    constexpr int kThree = kPacks < 3 ? kPacks : 3;
    if (columns <= kLanes<T>)
        multiply_packs<kStep, kRowStep, 1>(values, depth, v, sums, row_sums);
    else if (columns <= 2 * kLanes<T>)
        multiply_packs<kStep, kRowStep, 2>(values, depth, v, sums, row_sums);
    else if (columns <= 3 * kLanes<T>)
        multiply_packs<kStep, kRowStep, kThree>(values, depth, v, sums, row_sums);
    else
        multiply_packs<kStep, kRowStep, kPacks>(values, depth, v, sums, row_sums);
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
                if (t.skip_diagonal) zero_diagonal(strip, kStrip<T>, kRows, row, col, depth);
                double* sums = t.sums + (row - t.tiles.left_begin * kRows) * row_sums;
                for (size_t q = 0; q < t.v_panels; ++q)
                    multiply<1, int(kStrip<T>)>(strip, depth, t.v + (q * t.v_rows + col) * kCols<T>,
                                                t.n_out - q * kCols<T>, sums + q * kCols<T>, row_sums);
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

// By square blocks, each formed once and multiplied from both sides: sums_i += k_ij v_j and sums_j += k_ij v_i.
template <class T>
void matmul_self(const MatmulSelfTask<T>& t) noexcept {
    const bool own = t.left_begin == t.right_begin;
    for (size_t left = t.left_begin; left < t.left_end; left += kMatmulPanels<T>)
        for (size_t right = t.right_begin; right < t.right_end; right += kMatmulPanels<T>) {
            const size_t down = t.left_end - left < kMatmulPanels<T> ? t.left_end - left : kMatmulPanels<T>;
            const size_t across = t.right_end - right < kMatmulPanels<T> ? t.right_end - right : kMatmulPanels<T>;
            const size_t row = left * kCols<T>, height = down * kCols<T>, col = right * kCols<T>,
                         width = across * kCols<T>;
            Tiles<T> tiles{t.rows, t.rows,         t.d,     row / kRows, (row + height) / kRows,
                           right,  right + across, t.terms, t.guard};
            store_matrix<T>({tiles, row + height, col + width, row, col, t.block, kBlockStride<T>, false});
            if (own && t.skip_diagonal) zero_diagonal(t.block, kBlockStride<T>, height, row, col, width);
            for (size_t q = 0; q < t.v_panels; ++q) {
                const T* v = t.v + q * t.v_rows * kCols<T>;
                const size_t columns = t.n_out - q * kCols<T>;
                double* sums = t.sums + q * kCols<T>;
                for (size_t r = 0; r < height; r += kRows)
                    multiply<1, int(kBlockStride<T>)>(t.block + r * kBlockStride<T>, width, v + col * kCols<T>, columns,
                                                      sums + (row + r) * t.row_sums, t.row_sums);
                if (own) continue;
                for (size_t c = 0; c < width; c += kRows)
                    multiply<int(kBlockStride<T>), 1>(t.block + c, height, v + row * kCols<T>, columns,
                                                      sums + (col + c) * t.row_sums, t.row_sums);
            }
        }
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
