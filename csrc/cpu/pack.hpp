// Rows into panels: centred, scaled in float64, rounded once, turned so that a panel's rows stand side by side.
#pragma once

#include <assert.h>
#include <string.h>

#include "engine.hpp"
#include "simd.hpp"
#include "tile.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

constexpr size_t kPackDepth = 16;  // dimensions turned at a time
constexpr size_t kPackWidth = 32;  // room for the wider panel

// (x - centre) * scale for `count` dimensions of one row, computed in float64.
template <class T>
ISTHMUS_FN void scale_row(const PackTask<T>& t, const T* x, size_t k0, size_t count, T* out) {
    if (t.step != 1) {
        for (size_t k = 0; k < count; ++k) out[k] = T(double(x[ptrdiff_t(k) * t.step]) * t.scale);
    } else if (t.centre) {
        for (size_t k = 0; k < count; ++k) out[k] = T((double(x[k]) - t.centre[k0 + k]) * t.scale);
    } else {
        for (size_t k = 0; k < count; ++k) out[k] = T(double(x[k]) * t.scale);
    }
}

// Turns one 16-byte square: rows kPackDepth apart become columns kPackWidth apart.
ISTHMUS_FN void turn_square(const float* block, float* columns) {
    typedef float Quad __attribute__((vector_size(16)));
    Quad row[4];
    for (int r = 0; r < 4; ++r) memcpy(&row[r], block + r * kPackDepth, sizeof(Quad));
    const Quad low0 = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
    const Quad low1 = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
    const Quad high0 = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
    const Quad high1 = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
    row[0] = __builtin_shufflevector(low0, low1, 0, 1, 4, 5);
    row[1] = __builtin_shufflevector(low0, low1, 2, 3, 6, 7);
    row[2] = __builtin_shufflevector(high0, high1, 0, 1, 4, 5);
    row[3] = __builtin_shufflevector(high0, high1, 2, 3, 6, 7);
    for (int k = 0; k < 4; ++k) memcpy(columns + k * kPackWidth, &row[k], sizeof(Quad));
}
ISTHMUS_FN void turn_square(const double* block, double* columns) {
    for (int r = 0; r < 2; ++r)
        for (int k = 0; k < 2; ++k) columns[k * kPackWidth + r] = block[r * kPackDepth + k];
}

// A norm is summed like the tile's own products, so that equal rows give u = 0 to the bit.
template <size_t kWidth, class T>
void pack_panel(const PackTask<T>& t, size_t first, T* panel, T* norms) noexcept {
    constexpr size_t kSquare = 16 / sizeof(T);
    constexpr size_t kPadded = (kWidth + kSquare - 1) / kSquare * kSquare;
    static_assert(kPadded <= kPackWidth && kPackWidth % kLanes<T> == 0);
    alignas(64) T squares[kPackWidth] = {};
    alignas(64) T block[kPadded][kPackDepth] = {};
    alignas(64) T columns[kPackDepth][kPackWidth] = {};
    const size_t present = t.count - first < kWidth ? t.count - first : kWidth;
    const T times = T(t.times);
    for (size_t k0 = 0; k0 < t.depth; k0 += kPackDepth) {
        const size_t depth = t.depth - k0 < kPackDepth ? t.depth - k0 : kPackDepth;
        const size_t filled = k0 >= t.d ? 0 : (t.d - k0 < depth ? t.d - k0 : depth);
        for (size_t r = 0; r < present; ++r) {
            const T* x = t.rows + ptrdiff_t(first + r) * t.stride + ptrdiff_t(k0) * t.step;
            if (filled < kPackDepth) memset(block[r], 0, sizeof(block[r]));
            if (filled == kPackDepth)
                scale_row(t, x, k0, kPackDepth, block[r]);
            else
                scale_row(t, x, k0, filled, block[r]);
        }
        for (size_t r = 0; r < kPadded; r += kSquare)
            for (size_t k = 0; k < kPackDepth; k += kSquare) turn_square(&block[r][k], &columns[k][r]);
        for (size_t k = 0; k < depth; ++k) {
            for (size_t r = 0; norms && r < kWidth; r += kLanes<T>) {
                const Pack<T> v = load(columns[k] + r);
                store(squares + r, fma(v, v, load(squares + r)));
            }
            T* out = panel + (k0 + k) * kWidth;
            for (size_t r = 0; r < kWidth; ++r) out[r] = columns[k][r] * times;
        }
    }
    if (norms) memcpy(norms, squares, kWidth * sizeof(T));
}

template <size_t kWidth, class T>
void pack_as(const PackTask<T>& t) noexcept {
    for (size_t first = 0; first < t.count; first += kWidth)
        pack_panel<kWidth>(t, first, t.panels + first * t.depth, t.norms ? t.norms + first : nullptr);
}

template <class T>
void pack(const PackTask<T>& t) noexcept {
    assert(t.width == size_t(kRows) || t.width == size_t(kCols<T>));
    if (t.width == size_t(kRows))
        pack_as<size_t(kRows)>(t);
    else
        pack_as<size_t(kCols<T>)>(t);
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
