// Gradients from the differences of rows: for kernels with a cusp, tight clusters far from the mean, few dimensions.
#pragma once

#include <assert.h>

#include "grad.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// slope times d u / d y, but for a factor.
template <Pairing kPairing, class V>
ISTHMUS_FN V add_pull(V slope, V x, V y, V sum) {
    if constexpr (kPairing == Pairing::CityBlock)
        return sum + (y > x ? slope : (y < x ? -slope : V{}));
    else
        return fma(slope, y - x, sum);
}

// sums (d, kCols) += factor * slopes (kCols, kCols) of one left panel, for kDims dimensions at a time.
template <Pairing kPairing, int kDims, class T>
ISTHMUS_FN void pull(const T* slopes, const T* left, const T* right, double factor, double* sums) {
    Pack<T> total[kDims][kPacks] = {};
    for (int i = 0; i < kCols<T>; ++i) {
        Pack<T> slope[kPacks];
#pragma GCC unroll 4
        for (int c = 0; c < kPacks; ++c) slope[c] = load(slopes + i * kCols<T> + c * kLanes<T>);
#pragma GCC unroll 4
        for (int k = 0; k < kDims; ++k) {
            const Pack<T> x = splat(left[k * kCols<T> + i]);
#pragma GCC unroll 4
            for (int c = 0; c < kPacks; ++c)
                total[k][c] = add_pull<kPairing>(slope[c], x, load(right + k * kCols<T> + c * kLanes<T>), total[k][c]);
        }
    }
    alignas(64) T block[kDims * kCols<T>];
    for (int k = 0; k < kDims; ++k)
        for (int c = 0; c < kPacks; ++c) store(block + k * kCols<T> + c * kLanes<T>, total[k][c]);
    for (int i = 0; i < kDims * kCols<T>; ++i) sums[i] += factor * double(block[i]);
}

template <Pairing kPairing, class T>
void pull_panel(const T* slopes, const T* left, const T* right, size_t d, double factor, double* sums) noexcept {
    constexpr int kDims = kLanes<T> == 64 / int(sizeof(T)) ? 4 : 2;  // as many as the registers hold
    size_t k = 0;
    for (; k + kDims <= d; k += kDims)
        pull<kPairing, kDims>(slopes, left + k * kCols<T>, right + k * kCols<T>, factor, sums + k * kCols<T>);
    for (; k < d; ++k)
        pull<kPairing, 1>(slopes, left + k * kCols<T>, right + k * kCols<T>, factor, sums + k * kCols<T>);
}

template <class T>
double grad_direct(const GradDirectTask<T>& t) noexcept {
    constexpr size_t kTiles = size_t(kCols<T>) / size_t(kRows);  // in a left panel
    double lanes[kLanes<T>] = {};
    const size_t right = t.tiles.right_begin, d = t.tiles.d;
    const T* right_rows = t.tiles.right.rows + right * kCols<T> * d;
    for (size_t left = t.tiles.left_begin; left < t.tiles.left_end; left += kTiles) {
        alignas(64) T slopes[kCols<T> * kCols<T>];
        for (size_t tile = 0; tile < kTiles; ++tile) {
            const Place<T> p = place(t.tiles, left + tile, right);
            T* slope = slopes + tile * kTile<T>;
            Scratch<T> s;
            write_inputs(t.tiles, p, s.u);
            apply_slopes(t.tiles.terms, s.u, s.value, slope, kTile<T>);
            if (t.own && on_diagonal(p)) zero_own(p, s.value);
            add_weighted(s.value, t.left_weights + p.row, t.right_weights + p.col, lanes);
            for (int r = 0; r < kRows; ++r)
                for (int c = 0; c < kCols<T>; c += kLanes<T>) {
                    T* at = slope + r * kCols<T> + c;
                    store(at, splat(t.left_weights[p.row + r]) * load(at));
                }
        }
        const T* left_rows = t.tiles.left.rows + left * kRows * d;
        if (t.tiles.terms.pairing == Pairing::CityBlock)
            pull_panel<Pairing::CityBlock>(slopes, left_rows, right_rows, d, t.factor, t.sums);
        else
            pull_panel<Pairing::Difference>(slopes, left_rows, right_rows, d, t.factor, t.sums);
    }
    return sum_of(lanes, kLanes<T>);
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
