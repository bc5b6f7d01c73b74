// Products of a tile from numbers of two halves, on tensor cores: half the work of TF32, and symmetric in two rows.
//
// A packed number is two of float16 in its 32 bits, the nearest one and the nearest to what is left: 22 bits of a
// number from 1/8 to 2^16, and 2^-25 at least. A number too large makes its row's norm infinite or NaN, which leaves
// the row's pairs to the guard.
#pragma once

#include "tiles.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

ISTHMUS_DEVICE unsigned halves_of(float x) {
    const unsigned high = half_of(x);
    return high | half_of(x - number_of_half(high)) << 16;
}
ISTHMUS_DEVICE float number_of_halves(unsigned both) {
    return number_of_half(both & 0xffffu) + number_of_half(both >> 16);
}

// Rows of one slab. Eight warps, 64 x 32 values each. A lane has rows 4 g to 4 g + 3 of either half of its warp's, g
// its number / 4, and 8 columns one after another: rows, columns and dimensions are dealt to fragments such that loads
// are of 16 bytes. Products of two lower parts are left out.
struct Halves {
    static constexpr int kSide = 128, kEach = 8, kThreads = 256, kStride = kSide + kGap, kBlocks = 2;
    template <Pairing>
    static constexpr int kExactSlabs = 0;
    static constexpr int kRun = 8;  // neighbouring columns
    ISTHMUS_DEVICE static int top() { return thread() / kWarp % 2 * 64 + thread() % kWarp / 4 * 4; }
    ISTHMUS_DEVICE static int side() { return thread() / kWarp / 2 * 32; }
    ISTHMUS_DEVICE static int row(int i) { return top() + i / 4 * 32 + i % 4; }
    ISTHMUS_DEVICE static int col(int j) { return side() + thread() % 4 * 8 + j; }

    // Four rows in dimensions thread() % 4 + 4 k: the higher parts in pairs of dimensions, and the lower ones.
    struct Rows {
        unsigned high[4][2], low[4][2];
        ISTHMUS_DEVICE explicit Rows(const float* from) {
            struct alignas(16) Four {
                float number[4];
            };
            Four words[4];
            ISTHMUS_UNROLL
            for (int k = 0; k < 4; ++k)
                words[k] = *reinterpret_cast<const Four*>(from + (thread() % 4 + 4 * k) * kStride);
            ISTHMUS_UNROLL
            for (int r = 0; r < 4; ++r) ISTHMUS_UNROLL
            for (int k = 0; k < 2; ++k) {
                const unsigned one = bits_of(words[2 * k].number[r]), other = bits_of(words[2 * k + 1].number[r]);
                high[r][k] = lower_halves(one, other), low[r][k] = upper_halves(one, other);
            }
        }
    };

    // To sums that are 0.
    template <Pairing kPairing>
    ISTHMUS_DEVICE static void add(const float* left, const float* right, float (&sum)[8][8]) {
        static_assert(kPairing == Pairing::Gram);
        const Rows b(right + side() + thread() % kWarp / 4 * 4);
        ISTHMUS_UNROLL
        for (int half = 0; half < 2; ++half) {
            const Rows a(left + top() + 32 * half);
            ISTHMUS_UNROLL
            for (int m = 0; m < 4; m += 2) {
                const unsigned high[4] = {a.high[m][0], a.high[m + 1][0], a.high[m][1], a.high[m + 1][1]};
                const unsigned low[4] = {a.low[m][0], a.low[m + 1][0], a.low[m][1], a.low[m + 1][1]};
                ISTHMUS_UNROLL
                for (int n = 0; n < 4; ++n) {
                    // Of rows m and m + 1 of the half, and every fourth column from n on. Two rows that change sides
                    // exchange `some` and `others`: the sum stays.
                    float some[4] = {}, others[4] = {};
                    multiply_f16(some, high, b.low[n]);
                    multiply_f16(others, low, b.high[n]);
                    ISTHMUS_UNROLL
                    for (int e = 0; e < 4; ++e) some[e] += others[e];
                    multiply_f16(some, high, b.high[n]);
                    ISTHMUS_UNROLL
                    for (int e = 0; e < 4; ++e) sum[4 * half + m + e / 2][e % 2 * 4 + n] = some[e];
                }
            }
        }
        sync_warp();  // lest what comes next is loaded, and fills registers, before
    }
};
template <>
constexpr bool kOneSlab<Halves> = true;

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
