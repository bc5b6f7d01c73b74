// Products of a tile of pairs on tensor cores in half the steps, for precision "fast": each float32 number as two of
// bf16, three products.
//
// A number of a panel is a word: its high part in the upper half, its low part in the lower. The words of one row
// against turned words of another are low * high + high * low of a pair of numbers, side by side in one step: products
// have the same bits whichever row stands on the left.
#pragma once

#include "tiles.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// x to 2^-17 of it, in a word.
ISTHMUS_DEVICE unsigned two_parts(float x) { return two_bf16(x - float_of(two_bf16(0.0f, x)), x); }

// kSlab dimensions of the rows of a fragment's left side, lane() / 4 and 8 more, and of its right side, lane() / 4. A
// lane has every fourth.
struct LeftParts {
    unsigned words[2][4], high[4];
    // `word(row, k)`: its k-th word of either row.
    template <class Word>
    ISTHMUS_DEVICE void take(const Word& word) {
        ISTHMUS_UNROLL
        for (int k = 0; k < 4; ++k) ISTHMUS_UNROLL
        for (int row = 0; row < 2; ++row) words[k / 2][k % 2 * 2 + row] = word(row, k);
        ISTHMUS_UNROLL
        for (int e = 0; e < 4; ++e) high[e] = upper_halves(words[e / 2][e % 2], words[e / 2][e % 2 + 2]);
    }
};
struct RightParts {
    unsigned turned[2][2], high[2];
    template <class Word>
    ISTHMUS_DEVICE void take(const Word& word) {
        unsigned words[4];
        ISTHMUS_UNROLL
        for (int k = 0; k < 4; ++k) {
            words[k] = word(k);
            turned[k / 2][k % 2] = words[k] << 16 | words[k] >> 16;
        }
        ISTHMUS_UNROLL
        for (int e = 0; e < 2; ++e) high[e] = upper_halves(words[2 * e], words[2 * e + 1]);
    }
};

// sum += the products of kSlab dimensions, always in this order.
template <int kCount>
ISTHMUS_DEVICE void multiply_parts(float (&sum)[kCount][4], const LeftParts& left, const RightParts (&right)[kCount]) {
    ISTHMUS_UNROLL
    for (int n = 0; n < kCount; ++n) multiply_bf16(sum[n], left.high, right[n].high);
    ISTHMUS_UNROLL
    for (int half = 0; half < 2; ++half) ISTHMUS_UNROLL
    for (int n = 0; n < kCount; ++n) multiply_bf16(sum[n], left.words[half], right[n].turned[half]);
}

// Warps and fragments as in Tensor. The hardware truncates what it adds up: sums of 256 dimensions lose 6e-6 at most.
struct Fast : Tensor {
    template <Pairing>
    static constexpr int kExactSlabs = 16;

    template <Pairing kPairing>
    ISTHMUS_DEVICE static void add(const float* left, const float* right, float (&sum)[8][8]) {
        static_assert(kPairing == Pairing::Gram || kPairing == Pairing::Dot);
        static_assert(kSlab == 16, "of one step");
        left += lane() % 4 * kStride + thread() / kWarp % 2 * 64 + lane() / 4;
        right += lane() % 4 * kStride + thread() / kWarp / 2 * 32 + lane() / 4;
        RightParts b[4];
        ISTHMUS_UNROLL
        for (int n = 0; n < 4; ++n) b[n].take([&](int k) { return bits_of(right[4 * k * kStride + 8 * n]); });
        ISTHMUS_UNROLL
        for (int m = 0; m < 4; ++m) {
            LeftParts a;
            a.take([&](int row, int k) { return bits_of(left[4 * k * kStride + 16 * m + 8 * row]); });
            float part[4][4];
            ISTHMUS_UNROLL
            for (int n = 0; n < 4; ++n) ISTHMUS_UNROLL
            for (int e = 0; e < 4; ++e) part[n][e] = sum[2 * m + e / 2][2 * n + e % 2];
            multiply_parts(part, a, b);
            ISTHMUS_UNROLL
            for (int n = 0; n < 4; ++n) ISTHMUS_UNROLL
            for (int e = 0; e < 4; ++e) sum[2 * m + e / 2][2 * n + e % 2] = part[n][e];
        }
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
