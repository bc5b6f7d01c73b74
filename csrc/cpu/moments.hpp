// Scatter of rows about an origin: blocks of rows stay in the cache as panels of columns, which serve both sides of the
// register tile.
#pragma once

#include <string.h>

#include "engine.hpp"
#include "simd.hpp"
#include "tile.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <class T>
constexpr size_t kMomentsPanel = kMomentsRows * size_t(kCols<T>);

// Rows minus the origin, times the roots of their weights: element (row r, column k) of a panel at [r * kCols + k].
template <class T>
void centre_block(const MomentsTask<T>& t, size_t first, size_t rows, const T* roots) noexcept {
    const size_t end = t.panel_end * kCols<T> < t.d ? t.panel_end * kCols<T> : t.d, whole = end / kCols<T> * kCols<T>;
    for (size_t r = 0; r < rows; ++r) {
        const T* x = t.x + ptrdiff_t(first + r) * t.x_stride;
        const Pack<T> root = splat(roots[r]);
        T* out = t.block + r * kCols<T>;
        const auto centre = [&](size_t k) { return root * (load(x + k) - load(t.origin + k)); };
        size_t k = 0;
        for (; k < whole; k += kCols<T>, out += kMomentsPanel<T>)
#pragma GCC unroll 4
            for (int c = 0; c < kPacks; ++c) store(out + c * kLanes<T>, centre(k + size_t(c * kLanes<T>)));
        for (; k + kLanes<T> <= end; k += kLanes<T>, out += kLanes<T>) store(out, centre(k));
        for (; k < end; ++k, ++out) *out = roots[r] * (x[k] - t.origin[k]);
    }
}

template <class T>
ISTHMUS_FN void add_wide(Pack<T> v, double* sums) {
    alignas(64) T lanes[kLanes<T>];
    store(lanes, v);
    for (int i = 0; i < kLanes<T>; i += kLanes<double>) store(sums + i, load(sums + i) + load_wide(lanes + i));
}

// sums (kCols,) += the rows of a panel times the roots of their weights.
template <class T>
ISTHMUS_FN void add_panel(const T* panel, size_t rows, const T* roots, double* sums) {
    Pack<T> sum[kPacks] = {};
    for (size_t r = 0; r < rows; ++r, panel += kCols<T>)
#pragma GCC unroll 4
        for (int c = 0; c < kPacks; ++c) sum[c] = fma(load(panel + c * kLanes<T>), splat(roots[r]), sum[c]);
    for (int c = 0; c < kPacks; ++c) add_wide<T>(sum[c], sums + c * kLanes<T>);
}

// sums (kRows, kCols) += left' right over the rows of two panels, for kRows columns on the left and some packs of them
// on the right.
template <int kCount, class T>
ISTHMUS_FN void add_products(const T* left, const T* right, size_t rows, double* sums) {
    Tile<T> tile;
    clear(tile);
    accumulate_more<Pairing::Dot, kCols<T>, 1, kCount>(left, right, rows, tile);
    each_pack<kCount>([&](int r, int c) { add_wide<T>(tile.at[r][c], sums + r * kCols<T> + c * kLanes<T>); });
}

// Fetches some rows of the next block while this one is multiplied: 8 % of the time of 256 columns, 17 % of 64.
template <class T>
ISTHMUS_FN void fetch_rows(const MomentsTask<T>& t, size_t first, size_t count) {
    for (size_t r = first; r < first + count && r < t.n_rows; ++r)
        for (size_t k = 0; k < t.d; k += 64 / sizeof(T)) __builtin_prefetch(t.x + ptrdiff_t(r) * t.x_stride + k, 0, 2);
}

template <class T>
void moments(const MomentsTask<T>& t) noexcept {
    size_t n_tiles = 0;
    for (size_t panel = t.panel_begin; panel < t.panel_end; ++panel) n_tiles += (panel + 1) * (kCols<T> / kRows);
    const size_t share = panels_in(kMomentsRows, n_tiles);
    const size_t last = t.d / kCols<T>;  // the panel that d may cut
    if (last < t.panel_end) memset(t.block + last * kMomentsPanel<T>, 0, kMomentsPanel<T> * sizeof(T));
    for (size_t first = 0; first < t.n_rows; first += kMomentsRows) {
        const size_t rows = t.n_rows - first < kMomentsRows ? t.n_rows - first : kMomentsRows;
        T roots[kMomentsRows];
        for (size_t r = 0; r < rows; ++r) roots[r] = t.weights ? T(sqrt(double(t.weights[first + r]))) : T(1);
        centre_block(t, first, rows, roots);
        size_t next = first + rows;
        for (size_t panel = t.panel_begin; panel < t.panel_end; ++panel) {
            const T* right = t.block + panel * kMomentsPanel<T>;
            const size_t begin = panel * kCols<T>, end = begin + kCols<T> < t.d ? begin + kCols<T> : t.d;
            double* sums = t.scatter + moments_size(kCols<T>, panel);
            add_panel(right, rows, roots, t.sums + begin);
            for (size_t row = 0; row < end; row += kRows, sums += kRows * kCols<T>) {
                const T* left = t.block + row / kCols<T> * kMomentsPanel<T> + row % kCols<T>;
                fetch_rows(t, next, share);
                next += share;
                // Packs of columns from the diagonal on.
                const size_t from = row > begin ? (row - begin) / kLanes<T> * kLanes<T> : 0;
                if (begin + from + kLanes<T> >= end)
                    add_products<1>(left, right + from, rows, sums + from);
                else
                    add_products<kPacks>(left, right, rows, sums);
            }
        }
    }
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
