// Kernel values of a tile: in registers for a single kernel, through memory for sums of kernels and guarded pairs.
#pragma once

#include <assert.h>

#include "engine.hpp"
#include "simd.hpp"
#include "tile.hpp"

#include "../ops.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <class T>
constexpr T kLargest = sizeof(T) == 4 ? T(3e38) : T(1.7e308);

template <class T>
constexpr int kTile = kRows * kCols<T>;

template <class T>
struct Scratch {
    alignas(64) T u[kTile<T>];
    alignas(64) T value[kTile<T>];
};

constexpr Pairing natural(Input input) {
    switch (input) {
        case Input::Distance: return Pairing::Gram;
        case Input::SharpDistance: return Pairing::Difference;
        case Input::CityBlock: return Pairing::CityBlock;
        default: return Pairing::Dot;
    }
}

// Calls f with the kernel struct that a term names.
template <class T, class F>
ISTHMUS_FN void with_kernel(const Term& term, F f) {
    enum Number : unsigned {
#define ISTHMUS_X(K, name, n_params) kNumber##K,
        ISTHMUS_KERNELS(ISTHMUS_X)
#undef ISTHMUS_X
    };
    switch (term.kernel) {
#define ISTHMUS_X(K, name, n_params) \
    case kNumber##K: return f(K<T>(term.params));
        ISTHMUS_KERNELS(ISTHMUS_X)
#undef ISTHMUS_X
        default: assert(false);
    }
}

// The kernel that a Terms with chains names. 2 squarings give the kernel of a quarter of the bandwidth squared.
template <class T>
struct RbfSum {
    static constexpr Input kInput = Input::Distance;
    const RbfChain* chains;
    size_t count;
    ISTHMUS_FN explicit RbfSum(const Terms& terms) : chains(terms.chains), count(terms.n_chains) {}
    template <class V>
    ISTHMUS_FN V value(V u) const {
        V sum = {};
        for (size_t n = 0; n < count; ++n) {
            const RbfChain& chain = chains[n];
            V e = exp2_neg(splat(T(chain.factor)) * u);
            sum = fma(splat(T(chain.weights[0])), e, sum);
            for (size_t i = 1; i < chain.length; ++i) {
                e = e * e;
                e = e * e;
                sum = fma(splat(T(chain.weights[i])), e, sum);
            }
        }
        return sum;
    }
};

template <class T>
void apply(const Terms& terms, const T* u, T* out, size_t count) noexcept {
    assert(count % kLanes<T> == 0);
    if (terms.n_chains) {
        const RbfSum<T> sum(terms);
        for (size_t i = 0; i < count; i += kLanes<T>) store(out + i, sum.value(load(u + i)));
        return;
    }
    for (size_t i = 0; i < count; i += kLanes<T>) store(out + i, Pack<T>{});
    for (size_t n = 0; n < terms.count; ++n) {
        const Pack<T> weight = splat(T(terms.data[n].weight)), factor = splat(T(terms.data[n].factor));
        with_kernel<T>(terms.data[n], [&](auto kernel) {
            for (size_t i = 0; i < count; i += kLanes<T>)
                store(out + i, load(out + i) + weight * kernel.value(factor * load(u + i)));
        });
    }
}

template <class T>
struct Place {  // one tile of a Tiles; row and col count from the samples' first rows
    const T *left, *right, *left_norms, *right_norms, *left_raw, *right_raw;
    size_t row, col, d;
};

template <class T>
ISTHMUS_FN Place<T> place(const Tiles<T>& t, size_t left, size_t right) {
    const auto from = [](const T* start, size_t elements) { return start ? start + elements : nullptr; };
    const size_t row = left * kRows, col = right * kCols<T>;
    const size_t inside = row % kCols<T>, at_left = (row - inside) * t.d + inside;
    return {t.left.rows + at_left,
            t.right.rows + col * t.d,
            from(t.left.norms, row),
            from(t.right.norms, col),
            from(t.left.raw, at_left),
            from(t.right.raw, col * t.d),
            row,
            col,
            t.d};
}

template <Pairing kPairing, class T>
ISTHMUS_FN void form_tile(const Place<T>& p, Tile<T>& tile) {
    accumulate<kPairing>(p.left, p.right, p.d, tile);
    each_pack(
        [&](int r, int c) { tile.at[r][c] = finish<kPairing, T>(tile.at[r][c], p.left_norms, p.right_norms, r, c); });
}

template <Pairing kPairing, class T>
void write_tile(const Place<T>& p, T* u) noexcept {
    Tile<T> tile;
    form_tile<kPairing>(p, tile);
    store_tile(tile, u, kCols<T>);
}

// |x - y|^2 of the raw rows.
template <class T>
void write_direct(const Place<T>& p, T* u) noexcept {
    Tile<T> tile;
    accumulate<Pairing::Difference>(p.left_raw, p.right_raw, p.d, tile);
    store_tile(tile, u, kCols<T>);
}

// Whether some pair of the tile may need its raw rows.
template <class T>
ISTHMUS_FN bool guarded(const Place<T>& p, const Guard& g) {
    if (!p.left_raw) return false;
    T left = 0, right = 0;
    for (int r = 0; r < kRows; ++r) left = p.left_norms[r] > left ? p.left_norms[r] : left;
    for (int c = 0; c < kCols<T>; ++c) right = p.right_norms[c] > right ? p.right_norms[c] : right;
    return g.guard * double(left + right) >= kGuardMargin;
}

// Replaces the u of near pairs of long rows.
template <class T>
void mend_near_pairs(const Place<T>& p, const Guard& g, T* u) noexcept {
    const Pack<T> guard = splat(T(g.guard)), one = splat(T(1)), factor = splat(T(g.raw_factor));
    const Pack<T> largest = splat(kLargest<T>);
    // NaN and infinity come from norms that overflow: they count as near.
    const auto near = [&](int r, int c) {
        const Pack<T> at = load(u + r * kCols<T> + c), norms = splat(p.left_norms[r]) + load(p.right_norms + c);
        return ~((guard * norms <= one + at) & (at <= largest));
    };
    bool any = false;
    for (int r = 0; r < kRows; ++r)
        for (int c = 0; c < kCols<T>; c += kLanes<T>) {
            const auto found = near(r, c);
            for (int i = 0; i < kLanes<T>; ++i) any |= found[i] != 0;
        }
    if (!any) return;
    alignas(64) T direct[kTile<T>];
    write_direct(p, direct);
    for (int r = 0; r < kRows; ++r)
        for (int c = 0; c < kCols<T>; c += kLanes<T>) {
            T* at = u + r * kCols<T> + c;
            // Finite, so that products like r exp(-r) reach their limit.
            store(at, near(r, c) ? min(largest, factor * load(direct + r * kCols<T> + c)) : load(at));
        }
}

// value (kRows, kCols) = sum of the terms.
template <class T>
void tile_values(const Tiles<T>& t, const Place<T>& p, T* u, T* value) noexcept {
    switch (t.terms.pairing) {
        case Pairing::Gram:
            write_tile<Pairing::Gram>(p, u);
            if (guarded(p, t.guard)) mend_near_pairs(p, t.guard, u);
            break;
        case Pairing::Difference: write_tile<Pairing::Difference>(p, u); break;
        case Pairing::CityBlock: write_tile<Pairing::CityBlock>(p, u); break;
        case Pairing::Dot: write_tile<Pairing::Dot>(p, u); break;
    }
    apply(t.terms, u, value, kTile<T>);
}

// Calls f with the kernel whose tile can stay in registers, a single term or a sum of RBF; else returns false.
template <class T, class F>
ISTHMUS_FN bool fused(const Terms& terms, F f) {
    if (terms.n_chains) {
        f(RbfSum<T>(terms));
        return true;
    }
    bool done = false;
    if (terms.count == 1)
        with_kernel<T>(terms.data[0], [&](auto kernel) {
            if (terms.pairing == natural(kernel.kInput)) {
                f(kernel);
                done = true;
            }
        });
    return done;
}

// The kernel's values of one tile in registers. Gram and Dot tiles of a single term have factor 1.
template <class T, class K>
ISTHMUS_FN void form_values(const Place<T>& p, const K& kernel, Pack<T> factor, Tile<T>& tile) {
    constexpr Pairing kPairing = natural(K::kInput);
    constexpr bool kHasFactor = kPairing == Pairing::Difference || kPairing == Pairing::CityBlock;
    accumulate<kPairing>(p.left, p.right, p.d, tile);
    each_pack([&](int r, int c) {
        Pack<T> u = finish<kPairing, T>(tile.at[r][c], p.left_norms, p.right_norms, r, c);
        if constexpr (kHasFactor) u = factor * u;
        tile.at[r][c] = kernel.value(u);
    });
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
