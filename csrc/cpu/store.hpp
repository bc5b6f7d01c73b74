// The kernel matrix: whole tiles go from registers to their place.
#pragma once

#include <string.h>

#include "values.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <class T>
void store_values(const T* value, const Place<T>& p, const StoreTask<T>& t) noexcept {
    const size_t rows = t.n_rows - p.row < size_t(kRows) ? t.n_rows - p.row : kRows;
    const size_t cols = t.n_cols - p.col < size_t(kCols<T>) ? t.n_cols - p.col : kCols<T>;
    for (size_t r = 0; r < rows; ++r) {
        T* out = t.out + (p.row - t.row0 + r) * t.out_stride + (p.col - t.col0);
        if (t.add)
            for (size_t c = 0; c < cols; ++c) out[c] += value[r * kCols<T> + c];
        else
            memcpy(out, value + r * kCols<T>, cols * sizeof(T));
    }
}

template <class T>
void store_blocks(const StoreTask<T>& t) noexcept;  // blocks.hpp

template <class T>
void store_matrix(const StoreTask<T>& t) noexcept {
    if constexpr (kHasUnit<T>)
        if (t.tiles.left.form != Form::Numbers) return store_blocks(t);
    const auto sweep = [&](auto in_registers) {
        for (size_t left = t.tiles.left_begin; left < t.tiles.left_end; ++left)
            for (size_t right = t.tiles.right_begin; right < t.tiles.right_end; ++right) {
                const Place<T> p = place(t.tiles, left, right);
                const bool full = p.row + kRows <= t.n_rows && p.col + kCols<T> <= t.n_cols;
                if (!full || t.add || !in_registers(p)) {
                    Scratch<T> s;
                    tile_values(t.tiles, p, s.u, s.value);
                    store_values(s.value, p, t);
                }
            }
    };
    const bool done = fused<T>(t.tiles.terms, [&](auto kernel) {
        const Pack<T> weight = splat(T(t.tiles.terms.n_chains ? 1.0 : t.tiles.terms.data[0].weight));
        sweep([&](const Place<T>& p) {
            Tile<T> tile;
            if (!form_values(t.tiles, p, kernel, tile)) return false;
            each_pack([&](int r, int c) { tile.at[r][c] = weight * tile.at[r][c]; });
            store_tile(tile, t.out + (p.row - t.row0) * t.out_stride + (p.col - t.col0), t.out_stride);
            return true;
        });
    });
    if (!done) sweep([](const Place<T>&) { return false; });
}

// By blocks of one cache line's width, so that every line is written whole.
template <class T>
void mirror(const T* from, T* to, size_t rows, size_t cols, size_t stride) noexcept {
    constexpr size_t kLine = 64 / sizeof(T), kSquare = kSquareOf<T>;
    for (size_t i0 = 0; i0 < rows; i0 += kLine)
        for (size_t j = 0; j < cols; j += kSquare)
            for (size_t i = i0; i < rows && i < i0 + kLine; i += kSquare) {
                const T* square = from + i * stride + j;
                T* turned = to + j * stride + i;
                if (i + kSquare <= rows && j + kSquare <= cols)
                    turn_square(square, stride, turned, stride);
                else
                    for (size_t c = 0; c < kSquare && j + c < cols; ++c)
                        for (size_t r = 0; r < kSquare && i + r < rows; ++r)
                            turned[c * stride + r] = square[r * stride + c];
            }
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
