// act(X W + b): products in registers, the activation on the way out.
#pragma once

#include <string.h>

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
        return cos(v);
    } else {
        return v;
    }
}

// act(x W + b) for kRows rows, read where they lie: each is used only v_panels times, too few to repay packing.
template <Activation kActivation, class T>
void project_tile(const T* const* x, const T* w, const T* bias, size_t d, T* block) noexcept {
    Tile<T> tile;
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
    each_pack(
        [&](int r, int c) { tile.at[r][c] = activate<kActivation, T>(tile.at[r][c] + load(bias + c * kLanes<T>)); });
    store_tile(tile, block, kCols<T>);
}

template <Activation kActivation, class T>
void project_as(const ProjectTask<T>& t) noexcept {
    for (size_t row = 0; row < t.n_rows; row += kRows) {
        const size_t rows = t.n_rows - row < size_t(kRows) ? t.n_rows - row : kRows;
        const T* x[kRows];
        for (size_t r = 0; r < size_t(kRows); ++r) x[r] = t.x + ptrdiff_t(row + (r < rows ? r : 0)) * t.x_stride;
        for (size_t right = 0; right < t.w_panels; ++right) {
            alignas(64) T block[kTile<T>];
            const size_t col = right * kCols<T>;
            project_tile<kActivation>(x, t.w + col * t.d, t.bias + col, t.d, block);
            const size_t cols = t.n_cols - col < size_t(kCols<T>) ? t.n_cols - col : kCols<T>;
            for (size_t r = 0; r < rows; ++r)
                memcpy(t.out + (row + r) * t.out_stride + col, block + r * kCols<T>, cols * sizeof(T));
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
