// The register tile: kRows x kCols values of u held in vector registers while k runs over the dimensions.
#pragma once

#include "engine.hpp"
#include "simd.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// kRows divides kCols, so that the same panels serve as left and as right rows.
#if defined(__AVX512F__)
constexpr int kRows = 8, kPacks = 2;  // 16 accumulators of 32 registers
#elif defined(__AVX2__)
constexpr int kRows = 4, kPacks = 3;  // 12 of 16
#elif defined(ISTHMUS_NEON)
constexpr int kRows = 4, kPacks = 4;  // 16 of 32
#else
constexpr int kRows = 4, kPacks = 2;  // 8 of 16
#endif
template <class T>
constexpr int kCols = kPacks * kLanes<T>;

// Whether a matrix unit multiplies rows of this type. It takes them as parts and makes all left tiles of a panel at
// once.
#if defined(__AMX_BF16__) || defined(ISTHMUS_EMULATED_AMX)
template <class T>
constexpr bool kHasUnit = sizeof(T) == 4;
#else
template <class T>
constexpr bool kHasUnit = false;
#endif
template <class T>
constexpr size_t kGroup = kHasUnit<T> ? size_t(kCols<T> / kRows) : 1;

template <class T>
struct Tile {
    Pack<T> at[kRows][kPacks];
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

// Calls f(r, c) for each of the first kUsed packs of a tile's rows, unrolled.
template <int kUsed = kPacks, class F>
ISTHMUS_FN void each_pack(F f) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < kUsed; ++c) f(r, c);
}

// Left element (row r, step k) at a[k * kStep + r * kRowStep]; right pack c of step k at b[k * kCols + c * kLanes].
template <Pairing kPairing, int kStep, int kRowStep, int kUsed = kPacks, class T>
ISTHMUS_FN void accumulate_more(const T* a, const T* b, size_t depth, Tile<T>& tile) {
    for (size_t k = 0; k < depth; ++k) {
        Pack<T> right[kUsed];
#pragma GCC unroll 4
        for (int c = 0; c < kUsed; ++c) right[c] = load(b + c * kLanes<T>);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const Pack<T> left = splat(a[r * kRowStep]);
#pragma GCC unroll 4
            for (int c = 0; c < kUsed; ++c) tile.at[r][c] = pair_up<kPairing>(left, right[c], tile.at[r][c]);
        }
        a += kStep;
        b += kCols<T>;
    }
}

template <class T>
ISTHMUS_FN void clear(Tile<T>& tile) {
    each_pack([&](int r, int c) { tile.at[r][c] = Pack<T>{}; });
}

// Left and right rows from panels.
template <Pairing kPairing, class T>
ISTHMUS_FN void accumulate(const T* a, const T* b, size_t d, Tile<T>& tile) {
    clear(tile);
    accumulate_more<kPairing, kCols<T>, 1>(a, b, d, tile);
}

// u of one pack. The sum of the two norms comes first: it has the same bits whichever row stands on the left.
template <Pairing kPairing, class T>
ISTHMUS_FN Pack<T> finish(Pack<T> sum, const T* left_norms, const T* right_norms, int r, int c) {
    if constexpr (kPairing == Pairing::Gram) {
        return max(Pack<T>{}, fma(splat(T(-2)), sum, splat(left_norms[r]) + load(right_norms + c * kLanes<T>)));
    } else {
        return sum;
    }
}

template <class T>
ISTHMUS_FN void store_tile(const Tile<T>& tile, T* out, size_t stride) {
    each_pack([&](int r, int c) { store(out + size_t(r) * stride + size_t(c * kLanes<T>), tile.at[r][c]); });
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
