// Gradients: a block of slopes in L1 is multiplied with the rows of both sides at once.
#pragma once

#include <assert.h>
#include <string.h>

#include "values.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// u of a tile, near pairs of long rows mended.
template <class T>
void write_inputs(const Tiles<T>& t, const Place<T>& p, T* u) noexcept {
    switch (t.terms.pairing) {
        case Pairing::Gram: {
            Tile<T> tile;
            form_tile<Pairing::Gram>(p, tile);
            store_tile(tile, u, kCols<T>);
            if (p.left_raw && has_near_pair(p, t.guard, tile)) mend_near_pairs(p, t.guard, u);
            break;
        }
        case Pairing::Difference: write_tile<Pairing::Difference>(p, u); break;
        case Pairing::CityBlock: write_tile<Pairing::CityBlock>(p, u); break;
        case Pairing::Dot: write_tile<Pairing::Dot>(p, u); break;
    }
}

// For a sum of RBF at kCount packs: an exponential of a chain is the slope of its kernel too, but for a factor.
template <int kCount, class T>
ISTHMUS_FN void chain_value_and_slope(const Terms& terms, const T* u, T* value, T* slope) {
    Pack<T> e[kCount], v[kCount] = {}, s[kCount] = {};
    for (size_t n = 0; n < terms.n_chains; ++n) {
        const RbfChain& chain = terms.chains[n];
        const Pack<T> factor = splat(T(chain.factor));
#pragma GCC unroll 4
        for (int i = 0; i < kCount; ++i) e[i] = exp2_neg(factor * load(u + i * kLanes<T>));
        double growth = -kLn2 * chain.factor;
        for (size_t k = 0; k < chain.length; ++k) {
            if (k > 0)
#pragma GCC unroll 4
                for (int i = 0; i < kCount; ++i) e[i] = e[i] * e[i];
            const Pack<T> weight = splat(T(chain.weights[k])), slope_weight = splat(T(growth * chain.weights[k]));
            growth *= 2;
            if (chain.weights[k] == 0) continue;
#pragma GCC unroll 4
            for (int i = 0; i < kCount; ++i) {
                v[i] = fma(weight, e[i], v[i]);
                s[i] = fma(slope_weight, e[i], s[i]);
            }
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < kCount; ++i) store(value + i * kLanes<T>, v[i]), store(slope + i * kLanes<T>, s[i]);
}

// value and slope = sums of the weighted kernels and of their derivatives by the tile's u.
template <class T>
void apply_slopes(const Terms& terms, const T* u, T* value, T* slope, size_t count) noexcept {
    if (terms.n_chains) {
        constexpr int kTogether = 4;
        for (size_t i = 0; i < count; i += kTogether * kLanes<T>)
            chain_value_and_slope<kTogether>(terms, u + i, value + i, slope + i);
        return;
    }
    for (size_t n = 0; n < terms.count; ++n) {
        const Pack<T> factor = splat(T(terms.data[n].factor)), weight = splat(T(terms.data[n].weight));
        const Pack<T> slope_weight = splat(T(terms.data[n].weight * terms.data[n].factor));
        with_kernel<T>(terms.data[n], [&](auto kernel) {
            for (size_t i = 0; i < count; i += kLanes<T>) {
                const Pack<T> at = factor * load(u + i);
                Pack<T> v = weight * kernel.value(at), s = slope_weight * kernel.slope(at);
                if (n > 0) v = v + load(value + i), s = s + load(slope + i);
                store(value + i, v);
                store(slope + i, s);
            }
        });
    }
}

// Zeroes the element of each row of a tile that lies on the diagonal.
template <class T>
void zero_own(const Place<T>& p, T* tile) noexcept {
    for (size_t r = 0; r < size_t(kRows); ++r)
        if (p.row + r >= p.col && p.row + r < p.col + kCols<T>) tile[r * kCols<T> + p.row + r - p.col] = T(0);
}

template <class T>
ISTHMUS_FN bool on_diagonal(const Place<T>& p) {
    return p.col < p.row + kRows && p.row < p.col + kCols<T>;
}

// lanes += the weighted values of a tile, kRows additions in T, then in float64.
template <class T>
ISTHMUS_FN void add_weighted(const T* value, const T* left_weights, const T* right_weights, double* lanes) {
    Pack<T> sum[kPacks] = {};
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
        const Pack<T> w = splat(left_weights[r]);
#pragma GCC unroll 4
        for (int c = 0; c < kPacks; ++c) sum[c] = fma(w, load(value + r * kCols<T> + c * kLanes<T>), sum[c]);
    }
    Pack<T> total = sum[0] * load(right_weights);
#pragma GCC unroll 4
    for (int c = 1; c < kPacks; ++c) total = fma(sum[c], load(right_weights + c * kLanes<T>), total);
    for (int i = 0; i < kLanes<T>; ++i) lanes[i] += double(total[i]);
}

template <class T>
ISTHMUS_FN double sum_of(const T* numbers, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; ++i) sum += double(numbers[i]);
    return sum;
}

template <class T>
struct GradBlock {  // left tiles and right panels whose slopes stand in the strip
    size_t left_begin, left_end, right_begin, right_end;
    size_t rows() const { return (left_end - left_begin) * kRows; }
    // Slopes of one right panel: (rows, kCols).
    T* panel(T* strip, size_t right) const { return strip + (right - right_begin) * rows() * kCols<T>; }
};

// Fills the strip; adds the totals of its rows and columns.
template <class T>
void form_slopes(const GradTask<T>& t, const GradBlock<T>& b, double* lanes) noexcept {
    alignas(64) T row_sums[kGradRows * kLanes<T>] = {};
    alignas(64) T col_sums[kCols<T>];
    for (size_t right = b.right_begin; right < b.right_end; ++right) {
        Pack<T> col[kPacks] = {}, right_weights[kPacks];
        for (int c = 0; c < kPacks; ++c) right_weights[c] = load(t.right_weights + right * kCols<T> + c * kLanes<T>);
        T* slope = b.panel(t.strip, right);
        T* row = row_sums;
        for (size_t left = b.left_begin; left < b.left_end; ++left) {
            const Place<T> p = place(t.tiles, left, right);
            Scratch<T> s;
            write_inputs(t.tiles, p, s.u);
            apply_slopes(t.tiles.terms, s.u, s.value, slope, kTile<T>);
            if (t.own && on_diagonal(p)) {
                zero_own(p, s.value);
                if (!t.with_diagonal) zero_own(p, slope);
            }
            add_weighted(s.value, t.left_weights + p.row, t.right_weights + p.col, lanes);
#pragma GCC unroll 16
            for (int r = 0; r < kRows; ++r) {
                const Pack<T> w = splat(t.left_weights[p.row + r]);
                Pack<T> sum = load(row + r * kLanes<T>);
#pragma GCC unroll 4
                for (int c = 0; c < kPacks; ++c) {
                    const Pack<T> at = load(slope + r * kCols<T> + c * kLanes<T>);
                    sum = fma(at, right_weights[c], sum);
                    col[c] = fma(at, w, col[c]);
                }
                store(row + r * kLanes<T>, sum);
            }
            row += kRows * kLanes<T>;
            slope += kTile<T>;
        }
        if (t.own) continue;
        for (int c = 0; c < kPacks; ++c) store(col_sums + c * kLanes<T>, col[c]);
        for (int c = 0; c < kCols<T>; ++c) t.right_totals[right * kCols<T> + c] += t.factor * double(col_sums[c]);
    }
    for (size_t r = 0; r < b.rows(); ++r)
        t.left_totals[b.left_begin * kRows + r] += t.factor * sum_of(row_sums + r * kLanes<T>, kLanes<T>);
}

// sums (kRows, stride) += factor * tile
template <class T>
ISTHMUS_FN void add_product(const Tile<T>& tile, double factor, double* sums, size_t stride) {
    alignas(64) T block[kTile<T>];
    store_tile(tile, block, kCols<T>);
    const F64 f = splat(factor);
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < kCols<T>; c += kLanes<double>) {
            double* to = sums + size_t(r) * stride + c;
            store(to, fma(f, load_wide(block + r * kCols<T> + c), load(to)));
        }
}

// left_sums += slopes @ right rows
template <class T>
void multiply_rows(const GradTask<T>& t, const GradBlock<T>& b) noexcept {
    const size_t stride = t.n_panels * kCols<T>;
    for (size_t q = 0; q < t.n_panels; ++q) {
        const T* rows = t.right_weighted + q * t.right_rows * kCols<T>;
        for (size_t left = b.left_begin; left < b.left_end; ++left) {
            Tile<T> total;
            clear(total);
            for (size_t right = b.right_begin; right < b.right_end; ++right)
                accumulate_more<Pairing::Dot, 1, kCols<T>>(b.panel(t.strip, right) + (left - b.left_begin) * kTile<T>,
                                                           rows + right * kCols<T> * kCols<T>, size_t(kCols<T>), total);
            add_product(total, t.factor, t.left_sums + left * kRows * stride + q * kCols<T>, stride);
        }
    }
}

// right_sums += slopes' @ left rows
template <class T>
void multiply_columns(const GradTask<T>& t, const GradBlock<T>& b) noexcept {
    const size_t stride = t.n_panels * kCols<T>;
    for (size_t q = 0; q < t.n_panels; ++q) {
        const T* rows = t.left_weighted + (q * t.left_rows + b.left_begin * kRows) * kCols<T>;
        for (size_t right = b.right_begin; right < b.right_end; ++right)
            for (size_t c = 0; c < size_t(kCols<T>); c += kRows) {
                Tile<T> total;
                accumulate<Pairing::Dot>(b.panel(t.strip, right) + c, rows, b.rows(), total);
                add_product(total, t.factor, t.right_sums + (right * kCols<T> + c) * stride + q * kCols<T>, stride);
            }
    }
}

template <class T>
double grad(const GradTask<T>& t) noexcept {
    constexpr size_t kTiles = kGradRows / kRows, kPanels = kGradCols / kCols<T>;
    double lanes[kLanes<T>] = {};
    const Tiles<T>& tiles = t.tiles;
    for (size_t right = tiles.right_begin; right < tiles.right_end; right += kPanels) {
        const size_t right_end = right + kPanels < tiles.right_end ? right + kPanels : tiles.right_end;
        for (size_t left = tiles.left_begin; left < tiles.left_end; left += kTiles) {
            const size_t left_end = left + kTiles < tiles.left_end ? left + kTiles : tiles.left_end;
            const GradBlock<T> block{left, left_end, right, right_end};
            form_slopes(t, block, lanes);
            multiply_rows(t, block);
            if (!t.own) multiply_columns(t, block);
        }
    }
    return sum_of(lanes, kLanes<T>);
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
