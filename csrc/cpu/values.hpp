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

// The kernel that a Terms with chains names; kEven: all its weights are those of the first.
template <class T, bool kEven>
struct RbfSum {
    static constexpr Input kInput = Input::Distance;
    const RbfChain* chains;
    size_t count;
    ISTHMUS_FN explicit RbfSum(const Terms& terms) : chains(terms.chains), count(terms.n_chains) {}

    // The sum at kCount packs, which keep as many exponentials under way at once.
    template <int kCount>
    ISTHMUS_FN void evaluate(Pack<T>* at) const {
        Pack<T> sum[kCount] = {};
        const auto add = [](double weight, Pack<T> e, Pack<T> to) {
            if constexpr (kEven)
                return to + e;
            else
                return fma(splat(T(weight)), e, to);
        };
        for (size_t n = 0; n < count; ++n) {
            const RbfChain& chain = chains[n];
            const Pack<T> factor = splat(T(chain.factor));
            Pack<T> e[kCount];
#pragma GCC unroll 8
            for (int i = 0; i < kCount; ++i) {
                e[i] = exp2_neg(factor * at[i]);
                sum[i] = add(chain.weights[0], e[i], sum[i]);
            }
            for (size_t k = 1; k < chain.length; ++k) {
#pragma GCC unroll 8
                for (int i = 0; i < kCount; ++i) e[i] = e[i] * e[i];
                if (chain.weights[k] == 0) continue;
#pragma GCC unroll 8
                for (int i = 0; i < kCount; ++i) sum[i] = add(chain.weights[k], e[i], sum[i]);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < kCount; ++i) at[i] = kEven ? splat(T(chains[0].weights[0])) * sum[i] : sum[i];
    }
};

// Calls f with the RbfSum of a Terms.
template <class T, class F>
ISTHMUS_FN void with_rbf_sum(const Terms& terms, F f) {
    if (terms.even)
        f(RbfSum<T, true>(terms));
    else
        f(RbfSum<T, false>(terms));
}

template <class T>
void apply(const Terms& terms, const T* u, T* out, size_t count) noexcept {
    assert(count % kLanes<T> == 0);
    if (terms.n_chains) {
        return with_rbf_sum<T>(terms, [&](auto sum) {
            for (size_t i = 0; i < count; i += kLanes<T>) {
                Pack<T> value = load(u + i);
                sum.template evaluate<1>(&value);
                store(out + i, value);
            }
        });
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
    alignas(64) T direct[kTile<T>];
    write_direct(p, direct);
    for (int r = 0; r < kRows; ++r)
        for (int c = 0; c < kCols<T>; c += kLanes<T>) {
            T* at = u + r * kCols<T> + c;
            // Finite, so that products like r exp(-r) reach their limit.
            store(at, near(r, c) ? min(largest, factor * load(direct + r * kCols<T> + c)) : load(at));
        }
}

// u (kRows, kCols) of one tile from the matrix unit; blocks.hpp.
template <class T>
void tile_of_block(const Tiles<T>& t, const Place<T>& p, T* u) noexcept;

// u (kRows, kCols).
template <class T>
void tile_input(const Tiles<T>& t, const Place<T>& p, T* u) noexcept {
    if constexpr (kHasUnit<T>)
        if (t.left.form != Form::Numbers) return tile_of_block(t, p, u);
    switch (t.terms.pairing) {
        case Pairing::Gram: return write_tile<Pairing::Gram>(p, u);
        case Pairing::Difference: return write_tile<Pairing::Difference>(p, u);
        case Pairing::CityBlock: return write_tile<Pairing::CityBlock>(p, u);
        case Pairing::Dot: return write_tile<Pairing::Dot>(p, u);
    }
}

// value (kRows, kCols) = sum of the terms.
template <class T>
void tile_values(const Tiles<T>& t, const Place<T>& p, T* u, T* value) noexcept {
    tile_input(t, p, u);
    if (t.terms.pairing == Pairing::Gram && p.left_raw) mend_near_pairs(p, t.guard, u);
    apply(t.terms, u, value, kTile<T>);
}

// Calls f with the kernel whose tile can stay in registers, a single term or a sum of RBF; else returns false.
template <class T, class F>
ISTHMUS_FN bool fused(const Terms& terms, F f) {
    if (terms.n_chains) {
        with_rbf_sum<T>(terms, f);
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

// Whether the guard may hold for some pair of a tile of u; never false where mend_near_pairs would find one.
template <class T>
ISTHMUS_FN bool has_near_pair(const Place<T>& p, const Guard& g, const Tile<T>& tile) {
    if (g.overflow) return true;
    constexpr T kRoundUp = 1 + 8 * (sizeof(T) == 4 ? T(0x1p-24) : T(0x1p-53));
    const Pack<T> guard = splat(T(g.guard) * kRoundUp);
    Pack<T> most = {};
    each_pack([&](int r, int c) {
        const Pack<T> norms = splat(p.left_norms[r]) + load(p.right_norms + c * kLanes<T>);
        most = max(most, fma(guard, norms, -tile.at[r][c]));
    });
    return any_reaches(most, T(1));
}

template <class T, class K>
ISTHMUS_FN void evaluate(const K& kernel, Tile<T>& tile) {
    each_pack([&](int r, int c) { tile.at[r][c] = kernel.value(tile.at[r][c]); });
}
template <class T, bool kEven>
ISTHMUS_FN void evaluate(const RbfSum<T, kEven>& kernel, Tile<T>& tile) {
    constexpr int kRowsTogether = 2;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; r += kRowsTogether) kernel.template evaluate<kRowsTogether * kPacks>(tile.at[r]);
}

// The kernel's values of one tile in registers; false where a near pair of long rows needs tile_values.
template <class T, class K>
ISTHMUS_FN bool form_values(const Tiles<T>& t, const Place<T>& p, const K& kernel, Tile<T>& tile) {
    constexpr Pairing kPairing = natural(K::kInput);
    form_tile<kPairing>(p, tile);
    if constexpr (kPairing == Pairing::Gram)
        if (p.left_raw && has_near_pair(p, t.guard, tile)) return false;
    if constexpr (kPairing == Pairing::Difference || kPairing == Pairing::CityBlock) {  // else the packing did it
        const Pack<T> factor = splat(T(t.terms.data[0].factor));
        each_pack([&](int r, int c) { tile.at[r][c] = factor * tile.at[r][c]; });
    }
    evaluate(kernel, tile);
    return true;
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
