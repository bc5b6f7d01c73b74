// The register tile: kRows x kCols values of u held in vector registers while k runs over the dimensions.
#pragma once

#include "engine.hpp"
#include "simd.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// Two packs wide. Height fills the register file: 24 accumulators of 32 registers, or 12 of 16.
#if defined(__AVX512F__)
constexpr int kRows = 12;
#else
constexpr int kRows = 6;
#endif
template <class T>
constexpr int kCols = 2 * kLanes<T>;

template <class T>
struct Tile {
    Pack<T> at[kRows][2];
};

template <Pairing kPairing, class V>
ISTHMUS_FN V pair_up(V a, V b, V sum) {
    if constexpr (kPairing == Pairing::Difference) {
        const V gap = a - b;
        return fma(gap, gap, sum);
    } else if constexpr (kPairing == Pairing::CityBlock) {
        return sum + abs(a - b);
    } else {
        return fma(a, b, sum);
    }
}

// Left element (row r, step k) at a[k * kStep + r * kRowStep]; right pack c of step k at b[k * kCols + c * kLanes].
template <Pairing kPairing, int kStep, int kRowStep, class T>
ISTHMUS_FN void accumulate_more(const T* a, const T* b, size_t depth, Tile<T>& tile) {
    for (size_t k = 0; k < depth; ++k) {
        const Pack<T> b0 = load(b), b1 = load(b + kLanes<T>);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const Pack<T> left = splat(a[r * kRowStep]);
            tile.at[r][0] = pair_up<kPairing>(left, b0, tile.at[r][0]);
            tile.at[r][1] = pair_up<kPairing>(left, b1, tile.at[r][1]);
        }
        a += kStep;
        b += kCols<T>;
    }
}

template <class T>
ISTHMUS_FN void clear(Tile<T>& tile) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) tile.at[r][0] = tile.at[r][1] = Pack<T>{};
}

template <Pairing kPairing, int kStep, int kRowStep, class T>
ISTHMUS_FN void accumulate(const T* a, const T* b, size_t depth, Tile<T>& tile) {
    clear(tile);
    accumulate_more<kPairing, kStep, kRowStep>(a, b, depth, tile);
}

// u of one pack: for Gram tiles the left rows carry -2, so the norms complete the squared distance.
// The sum of the two norms comes first: it has the same bits whichever row stands on the left.
template <Pairing kPairing, class T>
ISTHMUS_FN Pack<T> finish(Pack<T> sum, const T* left_norm, Pack<T> right_norm) {
    if constexpr (kPairing == Pairing::Gram) {
        return max(Pack<T>{}, sum + (splat(*left_norm) + right_norm));
    } else {
        return sum;
    }
}

template <Pairing kPairing, class T>
ISTHMUS_FN void form_tile(const T* a, const T* b, size_t d, const T* left_norms, const T* right_norms, Tile<T>& tile) {
    accumulate<kPairing, kRows, 1>(a, b, d, tile);
    if constexpr (kPairing == Pairing::Gram) {
        const Pack<T> n0 = load(right_norms), n1 = load(right_norms + kLanes<T>);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            tile.at[r][0] = finish<kPairing, T>(tile.at[r][0], left_norms + r, n0);
            tile.at[r][1] = finish<kPairing, T>(tile.at[r][1], left_norms + r, n1);
        }
    }
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
