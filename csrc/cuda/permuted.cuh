// Consumer: u' K0 u of many 0/1 assignments u, and the row sums of K0, the kernel matrix without its diagonal.
//
// Values are shifted by a constant c near their mean first: what is left is small, and so is its rounding. c a (a - 1)
// for a ones and c (n - 1) for a row are added back in float64.
//
// The tiles above the diagonal are cut into squares of `side` x `side` tiles. One block makes one square: it adds its
// tiles up in order into float64 partials of its own, for each assignment and each row and column of the square.
#pragma once

#include "marks.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

ISTHMUS_FN Size number_in_triangle(Size row, Size col, Size down) {
    return row * down - row * (row - 1) / 2 + (col - row);
}

// -- the tiles ----------------------------------------------------------------------------------------------------

template <class T>
struct PermutedTask {
    Packed<T> packed;
    Terms<T> terms;
    Sample<T> sample;
    Size side;  // of a square, in tiles
    const double* shift;
    const unsigned* marks;  // (rows / 32, stride)
    Size stride;            // assignments, a multiple of 8
    double* sums;           // (squares, stride)
    double* rows;           // (squares, 2, side * kSide): of rows, then of columns
};

// Values times marks in T. Half of a large tile's columns at a time lie in shared memory, column by column; a thread
// owns four rows and a few assignments.
template <class T, class Shape>
struct InFull {
    static constexpr int kSide = Shape::kSide, kStride = Shape::kStride, kEach = Shape::kEach;
    static constexpr int kColumns = 4 * Shape::kAcross, kRowGroups = kSide / 4, kGroups = Shape::kThreads / kRowGroups;
    static constexpr int kAtOnce = 64, kMarksEach = kAtOnce / kGroups, kShares = kRowGroups;
    static_assert(kColumns % kWarp == 0 && kColumns * kStride * sizeof(T) <= kProductBytes<T, Shape>);

    ISTHMUS_DEVICE static void keep(T (&)[kEach][kEach]) {}

    template <class Settle>
    ISTHMUS_DEVICE static void multiply(const PermutedTask<T>& t, const Place<T>& p, const T (&at)[kEach][kEach],
                                        T* parts, Settle settle) {
        T* const values = reinterpret_cast<T*>(shared_memory());  // (kColumns, kStride)
        const int group = thread() / kRowGroups, own_row = thread() % kRowGroups * 4;
        ISTHMUS_UNROLL
        for (int quad = 0; quad < kEach / 4; ++quad) {
            ISTHMUS_UNROLL
            for (int j = 0; j < 4; ++j) ISTHMUS_UNROLL
            for (int i = 0; i < kEach; ++i)
                values[(Shape::col(4 * quad + j) - quad * kColumns) * kStride + Shape::row(i)] = at[i][4 * quad + j];
            sync_block();
            const unsigned* const right = t.marks + (p.col + Size(quad * kColumns)) / kWarp * t.stride;
            const unsigned* const left = t.marks + (p.row + Size(own_row)) / kWarp * t.stride;
            for (Size first = 0; first < t.stride; first += kAtOnce)
                settle(first, quad > 0, [&] {
                    const Size b = first + Size(group * kMarksEach);
                    if (b >= t.stride) return;
                    T sum[4][kMarksEach] = {};
                    for (int word = 0; word < kColumns / kWarp; ++word) {
                        unsigned marks[kMarksEach];
                        ISTHMUS_UNROLL
                        for (int q = 0; q < kMarksEach; ++q) marks[q] = right[Size(word) * t.stride + b + Size(q)];
                        ISTHMUS_UNROLL_BY(2)
                        for (int r = 0; r < kWarp; ++r) {
                            const T* const value = values + (word * kWarp + r) * kStride + own_row;
                            ISTHMUS_UNROLL
                            for (int q = 0; q < kMarksEach; ++q) {
                                // Twice, for the pairs below the diagonal.
                                const T mark = marks[q] >> bit_of_row(r) & 1 ? T(2) : T(0);
                                ISTHMUS_UNROLL
                                for (int i = 0; i < 4; ++i) sum[i][q] = fma(mark, value[i], sum[i][q]);
                            }
                        }
                    }
                    ISTHMUS_UNROLL
                    for (int q = 0; q < kMarksEach; ++q) {
                        const unsigned marks = left[b + Size(q)];
                        T total = 0;
                        ISTHMUS_UNROLL
                        for (int i = 0; i < 4; ++i)
                            total += marks >> bit_of_row((own_row + i) % kWarp) & 1 ? sum[i][q] : T(0);
                        parts[(group * kMarksEach + q) * (kShares + 1) + thread() % kRowGroups] = total;
                    }
                });
        }
    }
};

struct alignas(8) Two {
    unsigned first, second;
};

// Values rounded to bf16 times marks on tensor cores. Eight warps, 32 x 64 values each, which stay in registers; eight
// assignments at a time.
template <class T, class Shape>
struct InBf16 {
    static constexpr int kSide = Shape::kSide, kStride = Shape::kStride, kEach = Shape::kEach;
    static constexpr int kAtOnce = 256, kShares = Shape::kThreads / kWarp;
    static_assert(kSide == 128 && kShares == 8 && kSide * kStride * 2 <= kProductBytes<T, Shape>);

    // Rounds the values and leaves them in shared memory, row by row.
    ISTHMUS_DEVICE static void keep(float (&at)[kEach][kEach]) {
        unsigned* const tile = reinterpret_cast<unsigned*>(shared_memory());
        ISTHMUS_UNROLL
        for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
        for (int j = 0; j < kEach; j += 2) {
            const unsigned two = two_bf16(at[i][j], at[i][j + 1]);
            tile[(Shape::row(i) * kStride + Shape::col(j)) / 2] = two;
            at[i][j] = float_of(two << 16), at[i][j + 1] = float_of(two & 0xffff0000u);
        }
    }

    template <class Settle>
    ISTHMUS_DEVICE static void multiply(const PermutedTask<float>& t, const Place<float>& p,
                                        const float (&)[kEach][kEach], float* parts, Settle settle) {
        const unsigned* const tile = reinterpret_cast<const unsigned*>(shared_memory());
        const int warp = thread() / kWarp, group = thread() % kWarp / 4, member = thread() % 4;
        const int top = warp % 4 * 32, side = warp / 4 * 64;
        unsigned a[2][4][4];
        ISTHMUS_UNROLL
        for (int m = 0; m < 2; ++m) ISTHMUS_UNROLL
        for (int k = 0; k < 4; ++k) ISTHMUS_UNROLL
        for (int e = 0; e < 4; ++e) {
            const int row = top + 16 * m + e % 2 * 8 + group, col = side + 16 * k + e / 2 * 8 + 2 * member;
            a[m][k][e] = tile[(row * kStride + col) / 2];
        }
        const Size column_word = (p.col + Size(side)) / kWarp, row_word = (p.row + Size(top)) / kWarp;
        // The lane's rows are at bits 0, 4, 8 and 12 of what it keeps of a word, its columns at those and 16 further.
        const int of_rows = bit_of_row(group), of_columns = member;
        for (Size first = 0; first < t.stride; first += kAtOnce)
            settle(first, false, [&] {
                const int count = t.stride - first < Size(kAtOnce) ? int(t.stride - first) : kAtOnce;
                const unsigned* column = t.marks + column_word * t.stride + first + Size(group);
                const unsigned* next_column = column + t.stride;
                const Two* row = reinterpret_cast<const Two*>(t.marks + row_word * t.stride + first) + member;
                unsigned words[2] = {*column, *next_column};
                Two pair = *row;
                ISTHMUS_UNROLL_BY(2)
                for (int b = 0; b < count; b += 8) {
                    const unsigned columns[2] = {words[0] >> of_columns, words[1] >> of_columns};
                    const unsigned rows[2] = {pair.first >> of_rows, pair.second >> of_rows};
                    // Those of the next eight are under way now; the last are not used.
                    column += 8, next_column += 8, row += 4;
                    words[0] = *column, words[1] = *next_column, pair = *row;
                    float product[2][4] = {};
                    ISTHMUS_UNROLL
                    for (int k = 0; k < 4; ++k) {
                        // 0x4000 is 2 in bf16: twice, for the pairs below the diagonal.
                        const unsigned marks[2] = {columns[k / 2] << (14 - k % 2 * 8) & 0x40004000u,
                                                   columns[k / 2] << (10 - k % 2 * 8) & 0x40004000u};
                        multiply_bf16(product[0], a[0][k], marks);
                        multiply_bf16(product[1], a[1][k], marks);
                    }
                    float sum[2] = {};
                    ISTHMUS_UNROLL
                    for (int i = 0; i < 4; ++i) ISTHMUS_UNROLL
                    for (int q = 0; q < 2; ++q)
                        if (rows[q] & 1u << 4 * i) sum[q] += product[i / 2][i % 2 * 2 + q];
                    // Over the groups: odd ones go on with the second assignment, even ones with the first.
                    const bool odd = group % 2;
                    float total = (odd ? sum[1] : sum[0]) + from_lane_xor(odd ? sum[0] : sum[1], 4);
                    total += from_lane_xor(total, 8);
                    total += from_lane_xor(total, 16);
                    if (group < 2) parts[(b + 2 * member + group) * (kShares + 1) + warp] = total;
                }
            });
    }
};

// One square a block.
template <class T, class Shape, class Values, class Products>
struct PermutedTiles {
    using Task = PermutedTask<T>;
    static constexpr int kThreads = Shape::kThreads, kSide = Shape::kSide, kEach = Shape::kEach;
    static constexpr int kAcross = Shape::kAcross, kWide = kAcross + 1;
    static constexpr Size kRowBytes = 2 * kSide * kWide * sizeof(T);
    static constexpr Size kShared =
        kProductBytes<T, Shape> + kRowBytes + Products::kAtOnce * (Products::kShares + 1) * sizeof(T);
    static_assert(2 * kSide <= kThreads && Products::kAtOnce <= kThreads && kShared <= 64 << 10);

    // Multiplies and shifts the values that count, those i < j of rows that are there, and clears the others. One
    // rounding in either branch: a compiler that joined the two steps in one of them would round a pair by its tile.
    ISTHMUS_DEVICE static void shift(const Place<T>& p, T factor, T by, T (&at)[kEach][kEach]) {
        const bool diagonal = p.row == p.col;
        const int there = p.right.count - p.col < Size(kSide) ? int(p.right.count - p.col) : kSide;
        if (!diagonal && there == kSide) {
            ISTHMUS_UNROLL
            for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
            for (int j = 0; j < kEach; ++j) at[i][j] = fma(factor, at[i][j], -by);
        } else {
            ISTHMUS_UNROLL
            for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
            for (int j = 0; j < kEach; ++j) {
                const bool counts = (!diagonal || Shape::row(i) < Shape::col(j)) && Shape::col(j) < there;
                at[i][j] = counts ? fma(factor, at[i][j], -by) : T(0);
            }
        }
    }

    // Sums of few values each, for every row and every column.
    ISTHMUS_DEVICE static void share_rows(const T (&at)[kEach][kEach], T* shares) {
        T of_columns[kEach] = {};
        ISTHMUS_UNROLL
        for (int i = 0; i < kEach; ++i) {
            T of_row = 0;
            ISTHMUS_UNROLL
            for (int j = 0; j < kEach; ++j) of_row += at[i][j], of_columns[j] += at[i][j];
            shares[Shape::row(i) * kWide + thread() % kAcross] = of_row;
        }
        ISTHMUS_UNROLL
        for (int j = 0; j < kEach; ++j) shares[(kSide + Shape::col(j)) * kWide + thread() / kAcross] = of_columns[j];
    }

    ISTHMUS_DEVICE static double sum_of(const T* shares, int count) {
        double sum = 0;
        for (int i = 0; i < count; ++i) sum += double(shares[i]);
        return sum;
    }

    ISTHMUS_DEVICE static void run(const Task& t) {
        T* const shares = reinterpret_cast<T*>(shared_memory() + kProductBytes<T, Shape>);  // (2, kSide, kWide)
        T* const parts = shares + 2 * kSide * kWide;                                        // (kAtOnce, kShares + 1)
        const Size tiles = tiles_across(t.sample.count, kSide);
        Size down, across;
        place_in_triangle(block(), tiles_across(tiles, int(t.side)), down, across);
        const auto end = [&](Size square) { return (square + 1) * t.side < tiles ? (square + 1) * t.side : tiles; };
        double* const sums = t.sums + block() * t.stride;
        double* const rows = t.rows + block() * 2 * t.side * kSide;
        const T by = T(*t.shift);
        bool fresh = true;
        for (Size row = down * t.side; row < end(down); ++row) {
            const Size start = down == across ? row : across * t.side;
            for (Size col = start; col < end(across); ++col) {
                const Place<T> p{t.sample, t.sample, row * kSide, col * kSide};
                // The sum that this thread keeps: of a row, or of a column.
                const bool right = thread() >= kSide, first = right ? row == down * t.side : col == start;
                double* const kept = right ? rows + (t.side + col - across * t.side) * kSide + (thread() - kSide)
                                           : rows + (row - down * t.side) * kSide + thread();
                const double before = thread() < 2 * kSide && !first ? *kept : 0.0;
                T at[kEach][kEach];
                const Values values(t.terms);
                form_bare_values<T, Shape>(t.packed, p, t.terms, values, at, [] {});
                shift(p, values.factor, by, at);
                sync_block();  // the slabs may still be read
                Products::keep(at);
                share_rows(at, shares);
                sync_block();
                if (thread() < 2 * kSide) *kept = before + sum_of(shares + thread() * kWide, kAcross);
                // Lets `multiply` form shares of some assignments, then adds them up.
                const auto settle = [&](Size begin, bool again, auto form) {
                    const Size b = begin + Size(thread());
                    const bool own = thread() < Products::kAtOnce && b < t.stride;
                    const double sum = own && (again || !fresh) ? sums[b] : 0.0;
                    form();
                    sync_block();
                    if (own) sums[b] = sum + sum_of(parts + thread() * (Products::kShares + 1), Products::kShares);
                    sync_block();
                };
                Products::multiply(t, p, at, parts, settle);
                fresh = false;
            }
        }
    }
};

template <class T, class Shape, class Values>
using Permuted = PermutedTiles<T, Shape, Values, InFull<T, Shape>>;
template <class T, class Shape, class Values>
using Rounded = PermutedTiles<T, Shape, Values, InBf16<T, Shape>>;

// -- after the tiles ----------------------------------------------------------------------------------------------

struct AddMarkedTask {
    const double* partials;  // (squares, stride)
    Size n_squares, stride;
    const unsigned* marks;  // (n_marks, stride)
    Size n_marks;
    const double* shift;
    double* sums;
    Size add;  // to what is there
};

// sums[b] = the squares' partials and the shift of the pairs that assignment b marks. One block an assignment.
struct AddMarked {
    using Task = AddMarkedTask;
    static constexpr int kThreads = 128;
    static constexpr Size kShared = kThreads / kWarp * sizeof(double);
    ISTHMUS_DEVICE static void run(const Task& t) {
        double total = 0, ones = 0;
        for (Size s = Size(thread()); s < t.n_squares; s += kThreads) total += t.partials[s * t.stride + block()];
        for (Size word = Size(thread()); word < t.n_marks; word += kThreads)
            ones += double(ones_in(t.marks[word * t.stride + block()]));
        total = sum_of_block<kThreads>(total);
        ones = sum_of_block<kThreads>(ones);
        if (thread() != 0) return;
        total += *t.shift * (ones * (ones - 1));
        t.sums[block()] = t.add ? t.sums[block()] + total : total;
    }
};

struct AddRowsTask {
    const double* partials;  // (squares, 2, side)
    Size count, side;        // rows; of them in a square
    const double* shift;
    double* row_sums;
    Size add;  // to what is there
};

// row_sums[i] = the partials of its squares, right of the diagonal and above it, and the shift of its pairs.
struct AddRows {
    using Task = AddRowsTask;
    static constexpr int kThreads = 128;
    static constexpr Size kShared = 0;
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size across = (t.count + t.side - 1) / t.side;
        for (Size i = block() * kThreads + Size(thread()); i < t.count; i += n_blocks() * kThreads) {
            const Size own = i / t.side, r = i % t.side;
            double total = *t.shift * double(t.count - 1);
            for (Size s = own; s < across; ++s)
                total += t.partials[number_in_triangle(own, s, across) * 2 * t.side + r];
            for (Size s = 0; s <= own; ++s)
                total += t.partials[(number_in_triangle(s, own, across) * 2 + 1) * t.side + r];
            t.row_sums[i] = t.add ? t.row_sums[i] + total : total;
        }
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
