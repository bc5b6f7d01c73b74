// Blocks of 32 x 32 pairs from the matrix unit, and the consumers that take them. While the unit multiplies one block,
// the vector units turn the block before into kernel values, row by row.
#pragma once

#include "parts.hpp"
#include "store.hpp"
#include "sum.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// A block of some Tiles; `at` is its first row and column. Rows `first` to `last` - 1 are asked for, in whole tiles.
struct UnitBlock {
    Place<float> at;
    const float* dots;
    size_t first, last;
};

template <Form kForm>
ISTHMUS_FN UnitBlock block_at(const Tiles<float>& t, size_t left_panel, size_t right_panel, const float* dots) {
    UnitBlock b{place(t, left_panel * kGroup<float>, right_panel), dots, 0, size_t(kCols<float>)};
    b.at.left = t.left.rows + left_panel * split_size<kForm>(t.d);
    b.at.right = t.right.rows + right_panel * split_size<kForm>(t.d);
    const size_t begin = t.left_begin * kRows, end = t.left_end * kRows;
    if (begin > b.at.row) b.first = begin - b.at.row;
    if (end < b.at.row + b.last) b.last = end - b.at.row;
    return b;
}

// u of pack c of row r.
template <Pairing kPairing>
ISTHMUS_FN F32 block_u(const UnitBlock& b, size_t r, size_t c) {
    return finish<kPairing, float>(dots_at(b.dots, r, c), b.at.left_norms, b.at.right_norms, int(r), int(c));
}

// The tile that starts at row r of the block: its u, and its place.
template <Pairing kPairing>
ISTHMUS_FN Tile<float> tile_at(const UnitBlock& b, size_t r) {
    Tile<float> tile;
    each_pack([&](int i, int c) { tile.at[i][c] = block_u<kPairing>(b, r + size_t(i), size_t(c)); });
    return tile;
}
ISTHMUS_FN Place<float> place_at(const Tiles<float>& t, const UnitBlock& b, size_t r) {
    return place(t, (b.at.row + r) / size_t(kRows), b.at.col / size_t(kCols<float>));
}

// For every block that is `wanted`: rows(block, begin, end) for all its rows, some time later, if `by_rows`, else
// rest(block) at once.
template <Form kForm, class Wanted, class ByRows, class SomeRows, class Rest>
ISTHMUS_FN void each_block(const Tiles<float>& t, Wanted wanted, ByRows by_rows, SomeRows rows, Rest rest) {
    const size_t steps = steps_of<kForm>(t.d);
    const size_t rows_between = (size_t(kCols<float>) + 3 * steps - 1) / (3 * steps);
    alignas(64) float dots[2][kBlock];
    size_t turn = 0, next = 0;  // row `next` of the block before
    UnitBlock before{};
    const auto work_until = [&](size_t end) {
        if (next < end) rows(before, next, end);
        next = end;
    };
    TileUnit unit;
    for (size_t left = t.left_begin / kGroup<float>; left * kGroup<float> < t.left_end; ++left)
        for (size_t right = t.right_begin; right < t.right_end; ++right) {
            const UnitBlock block = block_at<kForm>(t, left, right, dots[turn]);
            if (!wanted(block)) continue;
            multiply_panels<kForm>(unit, block.at.left, block.at.right, steps, dots[turn], [&] {
                work_until(before.last - next < rows_between ? before.last : next + rows_between);
            });
            work_until(before.last);
            if (by_rows(block)) {
                before = block;
                next = block.first;
                turn ^= 1;
            } else {
                rest(block);
            }
        }
    work_until(before.last);
}

// Calls f(place, values) for the tiles of a block that are asked for.
template <Pairing kPairing, class F>
ISTHMUS_FN void each_tile(const Tiles<float>& t, const UnitBlock& b, F f) {
    for (size_t r = b.first; r < b.last; r += size_t(kRows)) {
        Scratch<float> s;
        const Place<float> p = place_at(t, b, r);
        store_tile(tile_at<kPairing>(b, r), s.u, kCols<float>);
        if (kPairing == Pairing::Gram && p.left_raw) mend_near_pairs(p, t.guard, s.u);
        apply(t.terms, s.u, s.value, kTile<float>);
        f(p, s.value);
    }
}

template <auto kValue>
struct Constant {
    static constexpr auto value = kValue;
};

// Calls f with the number of parts as a constant.
template <class F>
ISTHMUS_FN void with_form(Form form, F f) {
    if (form == Form::TwoParts)
        f(Constant<Form::TwoParts>{});
    else
        f(Constant<Form::ThreeParts>{});
}

template <Pairing kPairing>
bool has_near_pair(const Tiles<float>& t, const UnitBlock& b) noexcept {
    if (kPairing != Pairing::Gram || !b.at.left_raw) return false;
    for (size_t r = b.first; r < b.last; r += size_t(kRows)) {
        const Place<float> p = place_at(t, b, r);
        if (has_near_pair(p, t.guard, tile_at<kPairing>(b, r))) return true;
    }
    return false;
}

struct Row {
    F32 at[kPacks];
};

// The kernel's values of row r of a block.
template <Pairing kPairing, class K>
ISTHMUS_FN Row row_values(const K& kernel, const UnitBlock& b, size_t r) {
    Row row;
#pragma GCC unroll 4
    for (int c = 0; c < kPacks; ++c) row.at[c] = kernel.value(block_u<kPairing>(b, r, size_t(c)));
    return row;
}
template <Pairing kPairing, bool kEven>
ISTHMUS_FN Row row_values(const RbfSum<float, kEven>& kernel, const UnitBlock& b, size_t r) {
    Row row;
#pragma GCC unroll 4
    for (int c = 0; c < kPacks; ++c) row.at[c] = block_u<kPairing>(b, r, size_t(c));
    kernel.template evaluate<kPacks>(row.at);
    return row;
}

// Stands for a sum of kernels that is evaluated tile by tile.
struct ByTiles {};
template <class K>
constexpr bool kByRows = true;
template <>
constexpr bool kByRows<ByTiles> = false;
template <Pairing kPairing>
ISTHMUS_FN Row row_values(ByTiles, const UnitBlock&, size_t) {
    return {};
}

// Calls f(form, pairing, kernel), the first two as constants.
template <class F>
ISTHMUS_FN void with_block_kernel(const Tiles<float>& t, F f) {
    with_form(t.left.form, [&](auto form) {
        const bool done = fused<float>(t.terms, [&](auto kernel) {
            constexpr Pairing kPairing = natural(decltype(kernel)::kInput);
            if constexpr (kPairing == Pairing::Gram || kPairing == Pairing::Dot) f(form, Constant<kPairing>{}, kernel);
        });
        if (done) return;
        if (t.terms.pairing == Pairing::Gram)
            f(form, Constant<Pairing::Gram>{}, ByTiles{});
        else
            f(form, Constant<Pairing::Dot>{}, ByTiles{});
    });
}

template <>
double sum_blocks(const SumTask<float>& t) noexcept {
    double lanes[kLanes<float>] = {}, rest = 0;
    with_block_kernel(t.tiles, [&](auto form, auto pairing, auto kernel) {
        F32 sum = {};
        const auto wanted = [&](const UnitBlock& b) {
            return !t.above_diagonal || b.at.col + size_t(kCols<float>) > b.at.row + b.first + 1;
        };
        const auto by_rows = [&](const UnitBlock& b) {
            return kByRows<decltype(kernel)> && !has_near_pair<pairing.value>(t.tiles, b);
        };
        const auto add_rows = [&](const UnitBlock& b, size_t begin, size_t end, auto cut) {
            for (size_t r = begin; r < end; ++r) {
                const Row row = row_values<pairing.value>(kernel, b, r);
                F32 weighted = {};
#pragma GCC unroll 4
                for (int c = 0; c < kPacks; ++c) {
                    F32 w = load(t.right_weights + b.at.col + c * kLanes<float>);
                    if constexpr (cut.value) w = above(w, int(r) - c * kLanes<float>);
                    weighted = c ? fma(row.at[c], w, weighted) : row.at[c] * w;
                }
                sum = fma(weighted, splat(t.left_weights[b.at.row + r]), sum);
                if (r % size_t(kRows) + 1 < size_t(kRows)) continue;
                for (int i = 0; i < kLanes<float>; ++i) lanes[i] += double(sum[i]);
                sum = F32{};
            }
        };
        const auto rows = [&](const UnitBlock& b, size_t begin, size_t end) __attribute__((noinline)) {
            if (t.above_diagonal && b.at.col == b.at.row)
                add_rows(b, begin, end, Constant<true>{});
            else
                add_rows(b, begin, end, Constant<false>{});
        };
        each_block<form.value>(t.tiles, wanted, by_rows, rows, [&](const UnitBlock& b) {
            each_tile<pairing.value>(t.tiles, b,
                                     [&](const Place<float>& p, const float* v) { rest += add_values(v, t, p); });
        });
    });
    for (int i = 0; i < kLanes<float>; ++i) rest += lanes[i];
    return rest;
}

template <>
void store_blocks(const StoreTask<float>& t) noexcept {
    const F32 weight = splat(t.tiles.terms.n_chains ? 1.0f : float(t.tiles.terms.data[0].weight));
    with_block_kernel(t.tiles, [&](auto form, auto pairing, auto kernel) {
        const auto by_rows = [&](const UnitBlock& b) {
            const bool whole = b.at.row + b.last <= t.n_rows && b.at.col + size_t(kCols<float>) <= t.n_cols;
            return kByRows<decltype(kernel)> && whole && !t.add && !has_near_pair<pairing.value>(t.tiles, b);
        };
        const auto rows = [&](const UnitBlock& b, size_t begin, size_t end) __attribute__((noinline)) {
            float* out = t.out + (b.at.row + begin - t.row0) * t.out_stride + (b.at.col - t.col0);
            for (size_t r = begin; r < end; ++r, out += t.out_stride) {
                const Row row = row_values<pairing.value>(kernel, b, r);
#pragma GCC unroll 4
                for (int c = 0; c < kPacks; ++c) store(out + c * kLanes<float>, weight * row.at[c]);
            }
        };
        each_block<form.value>(
            t.tiles, [](const UnitBlock&) { return true; }, by_rows, rows,
            [&](const UnitBlock& b) {
                each_tile<pairing.value>(t.tiles, b,
                                         [&](const Place<float>& p, const float* v) { store_values(v, p, t); });
            });
    });
}

// One tile, for consumers that want nothing else; a whole block is made for it.
template <>
void tile_of_block(const Tiles<float>& t, const Place<float>& p, float* u) noexcept {
    with_form(t.left.form, [&](auto form) {
        alignas(64) float dots[kBlock];
        const size_t in_block = p.row % size_t(kCols<float>);
        const UnitBlock b = block_at<form.value>(t, p.row / size_t(kCols<float>), p.col / size_t(kCols<float>), dots);
        {
            TileUnit unit;
            multiply_panels<form.value>(unit, b.at.left, b.at.right, steps_of<form.value>(t.d), dots, [] {});
        }
        if (t.terms.pairing == Pairing::Gram)
            store_tile(tile_at<Pairing::Gram>(b, in_block), u, kCols<float>);
        else
            store_tile(tile_at<Pairing::Dot>(b, in_block), u, kCols<float>);
    });
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
