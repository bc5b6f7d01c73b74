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
    Size stride;            // assignments, a multiple of kMarkBlock
    double* sums;           // (squares, stride)
    double* rows;           // (squares, 2, side * kSide): of rows, then of columns
};

// Multiplies and shifts the values that count, those i < j of rows that are there, and clears the others. One
// rounding in either branch: a compiler that joined the two steps in one of them would round a pair by its tile.
template <class T, class Shape>
ISTHMUS_DEVICE void shift_values(const Place<T>& p, T factor, T by, T (&at)[Shape::kEach][Shape::kEach]) {
    constexpr int kSide = Shape::kSide, kEach = Shape::kEach;
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

// Values times marks in T. Half of a large tile's columns at a time lie in shared memory, column by column; a thread
// owns four rows and a few assignments.
template <class T, class Shape>
struct InFull {
    static constexpr int kSide = Shape::kSide, kStride = Shape::kStride, kEach = Shape::kEach;
    static constexpr int kColumns = 4 * Shape::kAcross, kRowGroups = kSide / 4, kGroups = Shape::kThreads / kRowGroups;
    static constexpr int kAtOnce = 64, kMarksEach = kAtOnce / kGroups, kShares = kRowGroups;
    static_assert(kColumns % kWarp == 0 && kColumns * kStride * sizeof(T) <= kProductBytes<T, Shape>);

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
                shift_values<T, Shape>(p, values.factor, by, at);
                sync_block();  // the slabs may still be read
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
