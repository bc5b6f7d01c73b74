// Sums of kernel values: tile of pairs -> kernel function -> weighted sum, all in registers.
#pragma once

#include "values.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// w where the column is above the diagonal: `gap` is how far row r lies beyond the first column of the pack.
ISTHMUS_FN F32 above(F32 w, int gap) {
    U32 column;
    for (int i = 0; i < kLanes<float>; ++i) column[i] = uint32_t(i);
    typedef int32_t I32 __attribute__((vector_size(kBytes)));
    return (F32)((U32)w & (U32)((I32)column > gap));
}
ISTHMUS_FN F64 above(F64 w, int gap) {
    U64 column;
    for (int i = 0; i < kLanes<double>; ++i) column[i] = uint64_t(i);
    typedef int64_t I64 __attribute__((vector_size(kBytes)));
    return (F64)((U64)w & (U64)((I64)column > int64_t(gap)));
}

// Adds up one tile in T (kRows * kPacks additions a lane at most), then in float64.
template <bool kDiagonal, class T>
ISTHMUS_FN void add_tile(const Place<T>& p, const Tile<T>& tile, const T* left_weights, const T* right_weights,
                         double* lanes) {
    Pack<T> weights[kPacks], sum = {};
#pragma GCC unroll 4
    for (int c = 0; c < kPacks; ++c) weights[c] = load(right_weights + c * kLanes<T>);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
        Pack<T> row = {};
#pragma GCC unroll 4
        for (int c = 0; c < kPacks; ++c) {
            Pack<T> w = weights[c];
            if constexpr (kDiagonal) w = above(w, int(ptrdiff_t(p.row) - ptrdiff_t(p.col)) + r - c * kLanes<T>);
            row = c ? fma(tile.at[r][c], w, row) : tile.at[r][c] * w;
        }
        sum = fma(row, splat(left_weights[r]), sum);
    }
    for (int i = 0; i < kLanes<T>; ++i) lanes[i] += double(sum[i]);
}

// Adds up a tile in memory, above the diagonal only on request.
template <class T>
double add_values(const T* value, const SumTask<T>& t, const Place<T>& p) noexcept {
    double sum = 0;
    for (size_t r = 0; r < size_t(kRows); ++r) {
        const size_t beyond = p.row + r + 1 > p.col ? p.row + r + 1 - p.col : 0;
        double row = 0;
        for (size_t c = t.above_diagonal ? beyond : 0; c < size_t(kCols<T>); ++c)
            row += double(value[r * kCols<T> + c]) * double(t.right_weights[p.col + c]);
        sum += row * double(t.left_weights[p.row + r]);
    }
    return sum;
}

template <class T>
double sum_blocks(const SumTask<T>& t) noexcept;  // blocks.hpp

template <class T>
double sum(const SumTask<T>& t) noexcept {
    if constexpr (kHasUnit<T>)
        if (t.tiles.left.form != Form::Numbers) return sum_blocks(t);
    double lanes[kLanes<T>] = {};
    double rest = 0;
    const auto sweep = [&](auto in_registers) {
        for (size_t left = t.tiles.left_begin; left < t.tiles.left_end; ++left)
            for (size_t right = t.tiles.right_begin; right < t.tiles.right_end; ++right) {
                const Place<T> p = place(t.tiles, left, right);
                if (t.above_diagonal && p.col + kCols<T> <= p.row + 1) continue;
                if (!in_registers(p)) {
                    Scratch<T> s;
                    tile_values(t.tiles, p, s.u, s.value);
                    rest += add_values(s.value, t, p);
                }
            }
    };
    const bool done = fused<T>(t.tiles.terms, [&](auto kernel) {
        sweep([&](const Place<T>& p) {
            Tile<T> tile;
            if (!form_values(t.tiles, p, kernel, tile)) return false;
            const T *left = t.left_weights + p.row, *right = t.right_weights + p.col;
            if (t.above_diagonal && p.col < p.row + kRows)
                add_tile<true>(p, tile, left, right, lanes);
            else
                add_tile<false>(p, tile, left, right, lanes);
            return true;
        });
    });
    if (!done) sweep([](const Place<T>&) { return false; });
    for (int i = 0; i < kLanes<T>; ++i) rest += lanes[i];
    return rest;
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
