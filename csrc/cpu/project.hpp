// act(X W + b): products in registers, the activation on the way out.
#pragma once

#include <string.h>

#include "trig.hpp"
#include "values.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <Activation kActivation, class T>
ISTHMUS_FN Pack<T> activate(Pack<T> v) {
    if constexpr (kActivation == Activation::Relu) {
        return max(Pack<T>{}, v);
    } else if constexpr (kActivation == Activation::Tanh) {
        // To the rounding of 1, not of a small result.
        const Pack<T> e = exp2_neg(T(2 * kLog2e) * abs(v));
        const Pack<T> t = (T(1) - e) / (T(1) + e);
        return v < Pack<T>{} ? -t : t;
    } else if constexpr (kActivation == Activation::Logistic) {
        const Pack<T> e = exp2_neg(T(kLog2e) * abs(v));
        return (v < Pack<T>{} ? e : splat(T(1))) / (T(1) + e);
    } else if constexpr (kActivation == Activation::Cos) {
        return cos<T>(v);
    } else {
        return v;
    }
}

// x W for kRows rows and one panel of W. The rows lie apart: each is used only once a panel, too few to repay packing.
template <class T>
ISTHMUS_FN void multiply_rows(const T* const* x, const T* w, size_t d, Tile<T>& tile) {
    clear(tile);
    for (size_t k = 0; k < d; ++k) {
        Pack<T> right[kPacks];
#pragma GCC unroll 4
        for (int c = 0; c < kPacks; ++c) right[c] = load(w + k * kCols<T> + c * kLanes<T>);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const Pack<T> left = splat(x[r][k]);
#pragma GCC unroll 4
            for (int c = 0; c < kPacks; ++c) tile.at[r][c] = fma(left, right[c], tile.at[r][c]);
        }
    }
}

// Points at the kRows rows from `first` on; missing ones repeat it.
template <class T>
ISTHMUS_FN size_t point_at_rows(const T* rows, ptrdiff_t stride, size_t first, size_t count, const T** x) {
    const size_t present = count - first < size_t(kRows) ? count - first : kRows;
    for (size_t r = 0; r < size_t(kRows); ++r) x[r] = rows + ptrdiff_t(first + (r < present ? r : 0)) * stride;
    return present;
}

// out (kRows, kCols) = act(x W + b) for kRows rows and one panel of W; row r of it at [r * stride].
template <Activation kActivation, class T>
void project_tile(const T* const* x, const T* w, const T* bias, size_t d, T* out, size_t stride) noexcept {
    Tile<T> tile;
    multiply_rows(x, w, d, tile);
    each_pack(
        [&](int r, int c) { tile.at[r][c] = activate<kActivation, T>(tile.at[r][c] + load(bias + c * kLanes<T>)); });
    store_tile(tile, out, stride);
}

// Fetches the `part`-th part of the next kRows rows, and the lines of their results, while these are multiplied: 4 % of
// 50,000 rows times 256 x 256, 12 % times 128 x 128.
template <class T>
ISTHMUS_FN void fetch_next(const ProjectTask<T>& t, size_t row, size_t part) {
    constexpr size_t kLine = 64 / sizeof(T);
    if (row + kRows > t.n_rows) return;
    const size_t share = panels_in(panels_in(t.d, kLine), t.w_panels) * kLine, begin = part * share;
    const size_t end = begin + share < t.d ? begin + share : t.d, col = part * kCols<T>;
    for (size_t r = row; r < row + kRows; ++r) {
        for (size_t k = begin; k < end; k += kLine) __builtin_prefetch(t.x + ptrdiff_t(r) * t.x_stride + k);
        for (size_t c = col; c < col + kCols<T> && c < t.n_cols; c += kLine)
            __builtin_prefetch(t.out + r * t.out_stride + c, 1);
    }
}

template <Activation kActivation, class T>
void project_as(const ProjectTask<T>& t) noexcept {
    for (size_t row = 0; row < t.n_rows; row += kRows) {
        const T* x[kRows];
        const size_t rows = point_at_rows(t.x, t.x_stride, row, t.n_rows, x);
        for (size_t right = 0; right < t.w_panels; ++right) {
            alignas(64) T block[kTile<T>];
            const size_t col = right * kCols<T>;
            fetch_next(t, row + kRows, right);
            const size_t cols = t.n_cols - col < size_t(kCols<T>) ? t.n_cols - col : kCols<T>;
            T* out = t.out + row * t.out_stride + col;
            // A whole tile goes from registers to its place: 2 % of 50,000 rows times 256 x 256, 5 % times 128 x 128.
            const bool whole = rows == size_t(kRows) && cols == size_t(kCols<T>);
            project_tile<kActivation>(x, t.w + col * t.d, t.bias + col, t.d, whole ? out : block,
                                      whole ? t.out_stride : size_t(kCols<T>));
            if (whole) continue;
            for (size_t r = 0; r < rows; ++r) memcpy(out + r * t.out_stride, block + r * kCols<T>, cols * sizeof(T));
        }
    }
}

template <class T>
void project(const ProjectTask<T>& t) noexcept {
    switch (t.activation) {
        case Activation::Identity: return project_as<Activation::Identity>(t);
        case Activation::Relu: return project_as<Activation::Relu>(t);
        case Activation::Tanh: return project_as<Activation::Tanh>(t);
        case Activation::Logistic: return project_as<Activation::Logistic>(t);
        case Activation::Cos: return project_as<Activation::Cos>(t);
    }
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
