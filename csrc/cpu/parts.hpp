// Panels for the matrix unit: each float32 as a sum of bfloat16 parts, and the product of two such panels.
// a = a1 + a2 + a3 leaves nothing out; of the nine products of parts the six largest are summed. Two parts and three
// products make the fast form. Parts stand in pairs, (a2, a1) against (b1, b2), which the unit adds in a chain each: a
// product has the same bits whichever row stands on the left.
#pragma once

#include "pack.hpp"
#include "tile_unit.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

constexpr size_t kPlane = 2 * kSquare;  // rows 0 to 15 of a panel, and rows 16 to 31
constexpr size_t kBlock = 4 * kSquare;  // the product of two panels, as squares (0, 0), (0, 1), (1, 0), (1, 1)

// A step multiplies three left planes with one right plane each. A panel holds its rows as left planes, step by step,
// and behind them as right planes, which are left ones turned.
template <Form kForm>
struct Split;
template <>
struct Split<Form::ThreeParts> {  // (a3, a1)(b1, b3), then (a2, a1)(b1, b2) and (a1, a2)(b1, b2)
    static constexpr size_t kDims = 16, kRights = 2;
    static constexpr size_t kRightOf[3] = {0, 1, 1};
};
template <>
struct Split<Form::TwoParts> {  // (a2, a1)(b1, b2) for 16 dimensions and for the next 16, then a1 b1 for all
    static constexpr size_t kDims = 32, kRights = 3;
    static constexpr size_t kRightOf[3] = {0, 1, 2};
};

template <Form kForm>
constexpr size_t steps_of(size_t d) {
    return (d + Split<kForm>::kDims - 1) / Split<kForm>::kDims;
}

template <Form kForm>
constexpr size_t split_size(size_t d) {
    return steps_of<kForm>(d) * (3 + Split<kForm>::kRights) * kPlane;
}

// ---- packing -------------------------------------------------------------------------------------------------------

// The nearest bfloat16, in the upper half of each lane; NaN stays NaN.
ISTHMUS_FN U32 nearest_part(F32 v) {
    const U32 bits = (U32)v;
    return (v == v ? bits + 0x7fffu + ((bits >> 16) & 1u) : bits | 0x400000u) & 0xffff0000u;
}

ISTHMUS_FN U32 pair_of(U32 first, U32 second) { return (first >> 16) | second; }
ISTHMUS_FN U32 swapped(U32 pairs) { return (pairs << 16) | (pairs >> 16); }
ISTHMUS_FN void store_row(float* square, size_t row, U32 pairs) { store(square + row * 16, (F32)pairs); }

ISTHMUS_FN void turn(const float* square, float* turned) {
    for (size_t r = 0; r < 16; r += 4)
        for (size_t k = 0; k < 16; k += 4) turn_square(square + r * 16 + k, 16, turned + k * 16 + r, 16);
}

// The planes of one step for 16 rows, from their numbers: row r at [r * 16] of each block of 16 dimensions.
ISTHMUS_FN void split_step(Split<Form::ThreeParts>, const float* block, size_t, float* left, float* right) {
    alignas(64) float outer[kSquare];  // (a1, a3)
    for (size_t r = 0; r < 16; ++r) {
        const F32 v = load(block + r * 16);
        const U32 a1 = nearest_part(v);
        const F32 rest = v - (F32)a1;
        const U32 a2 = nearest_part(rest), a3 = nearest_part(rest - (F32)a2);
        store_row(outer, r, pair_of(a1, a3));
        store_row(left, r, pair_of(a3, a1));
        store_row(left + kPlane, r, pair_of(a2, a1));
        store_row(left + 2 * kPlane, r, pair_of(a1, a2));
    }
    turn(outer, right);
    turn(left + 2 * kPlane, right + kPlane);
}
ISTHMUS_FN void split_step(Split<Form::TwoParts>, const float* block, size_t next, float* left, float* right) {
    alignas(64) float inner[2][kSquare];  // (a1, a2)
    for (size_t r = 0; r < 16; ++r) {
        U32 a1[2];
        for (size_t i = 0; i < 2; ++i) {
            const F32 v = load(block + i * next + r * 16);
            a1[i] = nearest_part(v);
            const U32 pairs = pair_of(a1[i], nearest_part(v - (F32)a1[i]));
            store_row(inner[i], r, pairs);
            store_row(left + i * kPlane, r, swapped(pairs));
        }
        const U32 even =
            __builtin_shufflevector(a1[0], a1[1], 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        const U32 odd =
            __builtin_shufflevector(a1[0], a1[1], 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        store_row(left + 2 * kPlane, r, pair_of(even, odd));
    }
    for (size_t i = 0; i < 2; ++i) turn(inner[i], right + i * kPlane);
    turn(left + 2 * kPlane, right + 2 * kPlane);
}

// Norms come from the unit itself, so that equal rows give u = 0 to the bit.
template <Form kForm>
void unit_norms(TileUnit& unit, const float* left, const float* right, size_t steps, float* norms) noexcept {
    alignas(64) float square[kSquare];
    for (size_t half = 0; half < 2; ++half) {
        unit.zero<0>();
        for (size_t s = 0; s < steps; ++s)
            for (size_t i = 0; i < 3; ++i) {
                unit.load<4>(left + (s * 3 + i) * kPlane + half * kSquare);
                unit.load<6>(right + (s * Split<kForm>::kRights + Split<kForm>::kRightOf[i]) * kPlane + half * kSquare);
                unit.multiply<0, 4, 6>();
            }
        unit.store<0>(square);
        for (size_t r = 0; r < 16; ++r) {
            const float norm = square[r * 17];
            // Parts of huge numbers overflow with both signs: the guard must see such a row.
            norms[half * 16 + r] = norm == norm ? norm : __builtin_inff();
        }
    }
}

template <Form kForm>
void pack_as(const PackTask<float>& t) noexcept {
    using Step = Split<kForm>;
    constexpr size_t kWidth = size_t(kCols<float>), kChunks = Step::kDims / kPackDepth;
    static_assert(kWidth == 32 && kPackDepth == 16);
    const size_t steps = steps_of<kForm>(t.d);
    TileUnit unit;
    for (size_t first = 0; first < t.count; first += kWidth) {
        alignas(64) float block[kChunks][kWidth][kPackDepth] = {};
        const size_t present = t.count - first < kWidth ? t.count - first : kWidth;
        float* const left = t.panels + first / kWidth * split_size<kForm>(t.d);
        float* const right = left + steps * 3 * kPlane;
        for (size_t s = 0; s < steps; ++s) {
            for (size_t i = 0; i < kChunks; ++i)
                read_block(t, first, present, s * Step::kDims + i * kPackDepth, block[i]);
            for (size_t half = 0; half < 2; ++half)
                split_step(Step{}, block[0][half * 16], sizeof(block[0]) / sizeof(float),
                           left + s * 3 * kPlane + half * kSquare, right + s * Step::kRights * kPlane + half * kSquare);
        }
        if (t.norms) unit_norms<kForm>(unit, left, right, steps, t.norms + first);
    }
}

template <>
size_t parts_size<float>(Form form, size_t d) noexcept {
    return form == Form::TwoParts ? split_size<Form::TwoParts>(d) : split_size<Form::ThreeParts>(d);
}

template <>
void pack_parts(const PackTask<float>& t) noexcept {
    return t.form == Form::TwoParts ? pack_as<Form::TwoParts>(t) : pack_as<Form::ThreeParts>(t);
}

// ---- product -------------------------------------------------------------------------------------------------------

// dots (kBlock,) = left panel x right panel. `between` is called three times a step: vector work for the time the unit
// is busy.
template <Form kForm, class Between>
ISTHMUS_FN void multiply_panels(TileUnit& unit, const float* left, const float* right, size_t steps, float* dots,
                                Between between) {
    right += steps * 3 * kPlane;
    unit.zero<0>();
    unit.zero<1>();
    unit.zero<2>();
    unit.zero<3>();
    for (size_t s = 0; s < steps; ++s) {
#pragma GCC unroll 3
        for (size_t i = 0; i < 3; ++i) {
            constexpr auto& kRightOf = Split<kForm>::kRightOf;
            if (i == 0 || kRightOf[i] != kRightOf[i - 1]) {
                unit.load<6>(right);
                unit.load<7>(right + kSquare);
                right += kPlane;
            }
            unit.load<4>(left);
            unit.load<5>(left + kSquare);
            left += kPlane;
            unit.multiply<0, 4, 6>();
            unit.multiply<1, 4, 7>();
            unit.multiply<2, 5, 6>();
            unit.multiply<3, 5, 7>();
            between();
        }
    }
    unit.store<0>(dots);
    unit.store<1>(dots + kSquare);
    unit.store<2>(dots + 2 * kSquare);
    unit.store<3>(dots + 3 * kSquare);
}

// Pack c of row r of a block.
ISTHMUS_FN F32 dots_at(const float* dots, size_t r, size_t c) {
    return load(dots + (r / 16 * 2 + c) * kSquare + r % 16 * 16);
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
