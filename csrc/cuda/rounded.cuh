// Consumer: the same sums of K0, less its shift, rounded to bf16, on tensor cores.
//
// A tile of rounded values lies in shared memory. Its rows are the right factor of products with marks: over the
// tile's columns, 16 assignments at a time. What an assignment's marked rows get is added up. Sums of rows and of
// columns are products with ones.
#pragma once

#include "permuted.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// Numbers of 16 bits, 16 bytes each: 8 neighbours of a row of a tile; or what a lane holds of marks for one product.
struct alignas(16) Eight {
    unsigned two[4];
};

// One square a block, column of tiles by column. Of each tile a warp takes 32 rows to itself, and every other 16
// assignments. A thread keeps the sums of a row, of a column, and of an assignment where all fit at once.
template <class T, class Shape, class Values>
struct Rounded {
    using Task = PermutedTask<T>;
    static constexpr int kThreads = Shape::kThreads, kSide = Shape::kSide, kEach = Shape::kEach, kRun = Shape::kRun;
    static constexpr int kBlocks = kBlocksOf<Shape, Values>;
    static constexpr int kAtOnce = 128;                                      // assignments
    static constexpr int kBands = kSide / kWarp, kTurns = kThreads / kSide;  // of rows; warps that share one
    static constexpr int kSteps = kSide / 16, kWordsDown = kSide / kWarp;    // of 16 columns; of marks
    static constexpr unsigned kOnes = 0x3f803f80u;                           // two of bf16
    static constexpr Size kTileBytes = Size(kSide) * kSide * 2, kMarkBytes = Size(kAtOnce) * kSide * 2;
    static constexpr Size kShared = kProductBytes<T, Shape> + kMarkBytes +
                                    (2 * kSide + kAtOnce * (kBands + 1)) * sizeof(float) + kThreads * sizeof(double) +
                                    2 * sizeof(unsigned);
    static_assert(kSide == 128 && kTurns == 2 && kTileBytes <= kProductBytes<T, Shape> && kShared <= 99 << 10);

    // Eight values of row `row` from column 8 * eighth on; neighbouring rows do not share banks.
    ISTHMUS_DEVICE static Eight* eight(int row, int eighth) {
        return reinterpret_cast<Eight*>(shared_memory()) + row * (kSide / 8) + (eighth ^ row % 8);
    }
    ISTHMUS_DEVICE static Eight* spread_marks() {  // (kAtOnce / 16, kSteps, kWarp)
        return reinterpret_cast<Eight*>(shared_memory() + kProductBytes<T, Shape>);
    }
    ISTHMUS_DEVICE static float* line() {  // (2 * kSide,): sums of rows, sums of columns
        return reinterpret_cast<float*>(shared_memory() + kProductBytes<T, Shape> + kMarkBytes);
    }
    ISTHMUS_DEVICE static float* parts() { return line() + 2 * kSide; }  // (kAtOnce, kBands + 1)

    ISTHMUS_DEVICE static void keep(const float (&at)[kEach][kEach]) {
        struct alignas(2 * kRun) Run {
            unsigned two[kRun / 2];
        };
        ISTHMUS_UNROLL
        for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
        for (int j = 0; j < kEach; j += kRun) {
            Run run;
            ISTHMUS_UNROLL
            for (int k = 0; k < kRun; k += 2) run.two[k / 2] = two_bf16(at[i][j + k], at[i][j + k + 1]);
            const int col = Shape::col(j);
            *reinterpret_cast<Run*>(eight(Shape::row(i), col / 8)->two + col % 8 / 2) = run;
        }
    }

    // The marks of the tile's columns as fragments of left factors: 2, for the pairs below the diagonal, or 0.
    ISTHMUS_DEVICE static void spread(const Task& t, unsigned tile_col, Size first) {
        const int group = thread() % kWarp / 4, member = thread() % 4;
        for (int at = thread() / kWarp; at < kAtOnce / kMarkBlock * kWordsDown; at += kThreads / kWarp) {
            const int word = at % kWordsDown, block = at / kWordsDown;
            const Size b = first + Size(block * kMarkBlock + group);
            if (b >= t.stride) return;
            const unsigned* const from = t.marks + Size(tile_col * kWordsDown + unsigned(word)) * t.stride + b;
            const unsigned one = from[0] >> member, other = from[8] >> member;
            Eight* const to = spread_marks() + (block * kSteps + 2 * word) * kWarp + thread() % kWarp;
            ISTHMUS_UNROLL
            for (int step = 0; step < 2; ++step) {  // 0x4000 is 2 in bf16
                const int left = 14 - 8 * step;
                to[step * kWarp] = {{one << left & 0x40004000u, other << left & 0x40004000u,
                                     one << (left - 4) & 0x40004000u, other << (left - 4) & 0x40004000u}};
            }
        }
    }

    // The rows of the warp as fragments of right factors: 8 rows and 16 columns each.
    ISTHMUS_DEVICE static void take_rows(int band, unsigned (&rows)[4][kSteps][2]) {
        const int lane = thread() % kWarp;
        ISTHMUS_UNROLL
        for (int n = 0; n < 4; ++n) ISTHMUS_UNROLL
        for (int step = 0; step < kSteps; step += 2) {
            unsigned four[4];
            load_fragments(four, eight(band * kWarp + 8 * n + lane % 8, 2 * step + lane / 8));
            ISTHMUS_UNROLL
            for (int e = 0; e < 4; ++e) rows[n][step + e / 2][e % 2] = four[e];
        }
    }

    // line = the sums of columns, 16 for each warp, and of rows that a warp has taken, half of them for each.
    ISTHMUS_DEVICE static void add_columns() {
        const int lane = thread() % kWarp, warp = thread() / kWarp;
        float sum[2][4] = {};
        ISTHMUS_UNROLL
        for (int step = 0; step < kSteps; ++step) {
            unsigned columns[4];
            load_transposed(columns, eight(16 * step + lane / 16 * 8 + lane % 8, 2 * warp + lane / 8 % 2));
            multiply_bf16(sum[step % 2], columns, {kOnes, kOnes});
        }
        float* const to = line() + kSide + 16 * warp + lane / 4;
        if (lane % 4 == 0) to[0] = sum[0][0] + sum[1][0], to[8] = sum[0][2] + sum[1][2];
    }
    ISTHMUS_DEVICE static void add_rows(int band, int turn, const unsigned (&rows)[4][kSteps][2]) {
        const auto add = [&](const unsigned (&one)[kSteps][2], const unsigned (&other)[kSteps][2]) {
            float sum[2][4] = {};
            ISTHMUS_UNROLL
            for (int step = 0; step < kSteps; ++step) {
                multiply_bf16(sum[0], {kOnes, kOnes, kOnes, kOnes}, one[step]);
                multiply_bf16(sum[1], {kOnes, kOnes, kOnes, kOnes}, other[step]);
            }
            const int lane = thread() % kWarp;
            float* const to = line() + band * kWarp + turn * 16 + 2 * lane;
            if (lane < 4) to[0] = sum[0][0], to[1] = sum[0][1], to[8] = sum[1][0], to[9] = sum[1][1];
        };
        turn == 0 ? add(rows[0], rows[1]) : add(rows[2], rows[3]);
    }

    // parts[b][band] = the sum over the band's marked rows of what its products with assignment first + b are.
    ISTHMUS_DEVICE static void multiply(const Task& t, unsigned tile_row, Size first, int band, int turn,
                                        const unsigned (&rows)[4][kSteps][2]) {
        const int group = thread() % kWarp / 4, member = thread() % 4;
        const unsigned* const words =
            t.marks + Size(tile_row * kWordsDown + unsigned(band)) * t.stride + first + Size(group);
        const int count = t.stride - first < Size(kAtOnce) ? int(t.stride - first) : kAtOnce;
        const Eight* marks = spread_marks() + turn * kSteps * kWarp + thread() % kWarp;
        ISTHMUS_UNROLL_BY(1)
        for (int b = turn * kMarkBlock; b < count; b += kTurns * kMarkBlock, marks += kTurns * kSteps * kWarp) {
            // Of the lane's rows, 8 n + 2 member and the next, at bits 4 n and 4 n + 16.
            const unsigned marked[2] = {words[b] >> member, words[b + 8] >> member};
            float product[4][4] = {};
            ISTHMUS_UNROLL
            for (int step = 0; step < kSteps; ++step) {
                const Eight left = marks[step * kWarp];
                ISTHMUS_UNROLL
                for (int n = 0; n < 4; ++n) multiply_bf16(product[n], left.two, rows[n][step]);
            }
            float sum[2] = {};
            ISTHMUS_UNROLL
            for (int n = 0; n < 4; ++n) ISTHMUS_UNROLL
            for (int e = 0; e < 4; ++e)
                if (marked[e / 2] & 1u << (4 * n + e % 2 * 16)) sum[e / 2] += product[n][e];
            // Over the members: odd ones go on with the second assignment, even ones with the first.
            const bool odd = member % 2;
            float total = (odd ? sum[1] : sum[0]) + from_lane_xor(odd ? sum[0] : sum[1], 1);
            total += from_lane_xor(total, 2);
            if (member < 2) parts()[(b + 8 * member + group) * (kBands + 1) + band] = total;
        }
    }

    // Of the thread, if below kSide: of an assignment, where all fit; else of a column.
    ISTHMUS_DEVICE static double& kept() {
        return reinterpret_cast<double*>(parts() + kAtOnce * (kBands + 1))[thread()];
    }
    // The square, (down, across), which would cost registers.
    ISTHMUS_DEVICE static unsigned* square() {
        return reinterpret_cast<unsigned*>(parts() + kAtOnce * (kBands + 1)) + 2 * kThreads;
    }
    ISTHMUS_DEVICE static bool fits(const Task& t) { return t.stride <= Size(kAtOnce); }
    // One past the last tile of a square's side.
    ISTHMUS_DEVICE static unsigned end(const Task& t, unsigned square) {
        const unsigned tiles = unsigned((t.sample.count + kSide - 1) / kSide), last = (square + 1) * unsigned(t.side);
        return last < tiles ? last : tiles;
    }

    // Rounds the values of a tile and leaves them in shared memory.
    ISTHMUS_DEVICE static void form(const Task& t, unsigned row, unsigned col) {
        const Place<T> p{t.sample, t.sample, Size(row) * kSide, Size(col) * kSide};
        const Values values(t.terms);
        float at[kEach][kEach];
        form_bare_values<T, Shape>(t.packed, p, t.terms, values, at, [] {});
        shift_values<T, Shape>(p, values.factor, float(*t.shift), at);
        sync_block();  // the slabs may still be read
        keep(at);
    }

    ISTHMUS_DEVICE static void run(const Task& t) {
        const unsigned side = unsigned(t.side);
        Size first_row, first_col;
        place_in_triangle(block(), tiles_across(tiles_across(t.sample.count, kSide), int(side)), first_row, first_col);
        unsigned row = unsigned(first_row) * side, col = unsigned(first_col) * side;
        if (thread() == 0) square()[0] = unsigned(first_row), square()[1] = unsigned(first_col);
        kept() = 0;
        sync_block();
        while (col < end(t, square()[1])) {
            form(t, row, col);
            if (fits(t) && row == square()[0] * side) spread(t, col, 0);
            sync_block();
            const unsigned down = square()[0], across = square()[1];
            const int band = thread() / kWarp % kBands, turn = thread() / kWarp / kBands;
            unsigned own[4][kSteps][2];
            take_rows(band, own);
            add_rows(band, turn, own);
            add_columns();
            const bool lower = thread() < kSide;
            const double* const of_row = t.rows + (block() * 2 * side + row - down * side) * kSide + thread();
            const double before = lower && col > (down == across ? row : across * side) ? *of_row : 0.0;
            for (Size first = 0; first < t.stride; first += kAtOnce) {
                if (!fits(t)) {
                    spread(t, col, first);
                    sync_block();
                }
                multiply(t, row, first, band, turn, own);
                sync_block();
                if (lower && first + Size(thread()) < t.stride) {
                    float part = 0;
                    ISTHMUS_UNROLL
                    for (int k = 0; k < kBands; ++k) part += parts()[thread() * (kBands + 1) + k];
                    double* const to = t.sums + block() * t.stride + first + Size(thread());
                    if (fits(t))
                        kept() += double(part);
                    else
                        *to = (row == down * side && col == across * side ? 0.0 : *to) + double(part);
                }
            }
            const bool last = row + 1 == (down == across ? col + 1 : end(t, down));
            const double part = double(line()[thread()]);
            double* const rows = t.rows + block() * 2 * side * kSide + thread();
            if (lower) {
                rows[(row - down * side) * kSide] = before + part;
            } else {
                const double sum = kept() + part;
                if (last) rows[(side + col - across * side) * kSide - kSide] = sum;
                kept() = last ? 0.0 : sum;
            }
            row = last ? down * side : row + 1;
            col += last;
        }
        if (fits(t) && Size(thread()) < t.stride) t.sums[block() * t.stride + Size(thread())] = kept();
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
