// What is done to rows before any tile. Into panels: centred, scaled in float64, rounded once, turned so that a panel's
// rows stand side by side.
#pragma once

#include <string.h>

#include "engine.hpp"
#include "simd.hpp"
#include "tile.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

constexpr size_t kPackDepth = 16;  // dimensions turned at a time

template <class T>
bool widen_range(const T* rows, ptrdiff_t stride, size_t count, size_t d, T* low, T* high) noexcept {
    Pack<T> least = splat(*low), most = splat(*high), zero = {};
    bool finite = true;
    for (; count; --count, rows += stride) {
        size_t k = 0;
        for (; k + size_t(kLanes<T>) <= d; k += size_t(kLanes<T>)) {
            const Pack<T> v = load(rows + k);
            least = min(least, v);
            most = max(most, v);
            zero = fma(v, Pack<T>{}, zero);  // NaN from the first value that is not finite on
        }
        for (; k < d; ++k) {
            finite &= rows[k] - rows[k] == T(0);
            *low = rows[k] < *low ? rows[k] : *low;
            *high = rows[k] > *high ? rows[k] : *high;
        }
    }
    for (int i = 0; i < kLanes<T>; ++i) {
        finite &= zero[i] == T(0);
        *low = least[i] < *low ? least[i] : *low;
        *high = most[i] > *high ? most[i] : *high;
    }
    return finite;
}

// sums (d,) += rows, in float64, four rows at a time.
template <class T>
void add_rows(const T* rows, ptrdiff_t stride, size_t count, size_t d, double* sums) noexcept {
    constexpr size_t kStep = size_t(kLanes<double>);
    const size_t whole = d - d % kStep;
    for (; count >= 4; count -= 4, rows += 4 * stride) {
        const T *a = rows, *b = a + stride, *c = b + stride, *e = c + stride;
        for (size_t k = 0; k < whole; k += kStep) {
            const F64 ab = load_wide(a + k) + load_wide(b + k), ce = load_wide(c + k) + load_wide(e + k);
            store(sums + k, load(sums + k) + (ab + ce));
        }
        for (size_t k = whole; k < d; ++k) sums[k] += (double(a[k]) + double(b[k])) + (double(c[k]) + double(e[k]));
    }
    for (; count; --count, rows += stride)
        for (size_t k = 0; k < d; ++k) sums[k] += double(rows[k]);
}

// (x - centre) * scale for `count` dimensions of one row, computed in float64.
template <class T>
ISTHMUS_FN void scale_row(const PackTask<T>& t, const T* x, size_t k0, size_t count, T* out) {
    constexpr size_t kStep = size_t(kLanes<double>);
    static_assert(kPackDepth % kStep == 0);
    if (count == kPackDepth && t.step == 1) {
        const F64 scale = splat(t.scale);
        for (size_t k = 0; k < kPackDepth; k += kStep) {
            const F64 v = t.centre ? load_wide(x + k) - load(t.centre + k0 + k) : load_wide(x + k);
            store_narrow(out + k, v * scale);
        }
        return;
    }
    for (size_t k = 0; k < count; ++k) {
        const double v = double(x[ptrdiff_t(k) * t.step]);
        out[k] = T((t.centre ? v - t.centre[k0 + k] : v) * t.scale);
    }
}

// Dimensions k0 to k0 + kPackDepth - 1 of the rows that are present. What lies beyond d is 0.
template <class T>
ISTHMUS_FN void read_block(const PackTask<T>& t, size_t first, size_t present, size_t k0, T (*block)[kPackDepth]) {
    const size_t filled = k0 >= t.d ? 0 : (t.d - k0 < kPackDepth ? t.d - k0 : kPackDepth);
    for (size_t r = 0; r < present; ++r) {
        const T* x = t.rows + ptrdiff_t(first + r) * t.stride + ptrdiff_t(k0) * t.step;
        if (filled < kPackDepth) memset(block[r], 0, sizeof(block[r]));
        scale_row(t, x, k0, filled, block[r]);
    }
}

template <class T>
void pack_panel(const PackTask<T>& t, size_t first, T* panel, T* norms) noexcept {
    constexpr size_t kWidth = size_t(kCols<T>), kSquare = kSquareOf<T>;
    static_assert(kWidth % kSquare == 0);
    alignas(64) T block[kWidth][kPackDepth] = {};
    alignas(64) T columns[kPackDepth][kWidth];
    Pack<T> squares[kPacks] = {};
    const size_t present = t.count - first < kWidth ? t.count - first : kWidth;
    for (size_t k0 = 0; k0 < t.depth; k0 += kPackDepth) {
        const size_t depth = t.depth - k0 < kPackDepth ? t.depth - k0 : kPackDepth;
        read_block(t, first, present, k0, block);
        T* out = panel + k0 * kWidth;
        T* turned = depth == kPackDepth ? out : columns[0];
        for (size_t r = 0; r < kWidth; r += kSquare)
            for (size_t k = 0; k < kPackDepth; k += kSquare)
                turn_square(&block[r][k], kPackDepth, turned + k * kWidth + r, kWidth);
        if (depth < kPackDepth) memcpy(out, turned, depth * kWidth * sizeof(T));
        // A norm is summed like the tile's own products, so that equal rows give u = 0 to the bit.
        if (norms)
            for (size_t k = 0; k < depth; ++k)
                for (int c = 0; c < kPacks; ++c) {
                    const Pack<T> v = load(out + k * kWidth + size_t(c * kLanes<T>));
                    squares[c] = fma(v, v, squares[c]);
                }
    }
    if (norms)
        for (int c = 0; c < kPacks; ++c) store(norms + c * kLanes<T>, squares[c]);
}

template <class T>
void pack_parts(const PackTask<T>& t) noexcept;  // parts.hpp
template <class T>
size_t parts_size(Form form, size_t d) noexcept;

template <class T>
size_t panel_size(Form form, size_t d) noexcept {
    if constexpr (kHasUnit<T>)
        if (form != Form::Numbers) return parts_size<T>(form, d);
    return size_t(kCols<T>) * d;
}

template <class T>
void pack(const PackTask<T>& t) noexcept {
    if constexpr (kHasUnit<T>)
        if (t.form != Form::Numbers) return pack_parts(t);
    for (size_t first = 0; first < t.count; first += size_t(kCols<T>))
        pack_panel(t, first, t.panels + first * t.depth, t.norms ? t.norms + first : nullptr);
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
