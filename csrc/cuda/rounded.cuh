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
    static constexpr Size kTileBytes = Size(kSide) * kSide * 2, kMarkBytes = Size(kAtOnce) * kSide * 2;
    static constexpr Size kShared = kProductBytes<T, Shape> + kMarkBytes + (2 * kSide + kAtOnce * (kBands + 1)) * 4;
    static_assert(kSide == 128 && kThreads == 256 && kTileBytes <= kProductBytes<T, Shape> && kShared <= 99 << 10);

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
    ISTHMUS_DEVICE static void spread(const Task& t, Size tile_col, Size first) {
        const int group = thread() % kWarp / 4, member = thread() % 4;
        for (int at = thread() / kWarp; at < kAtOnce / kMarkBlock * kWordsDown; at += kThreads / kWarp) {
            const int word = at % kWordsDown, block = at / kWordsDown;
            const Size b = first + Size(block * kMarkBlock + group);
            if (b >= t.stride) return;
            const unsigned* const from = t.marks + (tile_col * kWordsDown + Size(word)) * t.stride + b;
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

    ISTHMUS_DEVICE static void add_up(int band, int turn, const unsigned (&rows)[4][kSteps][2]) {
        constexpr unsigned kOnes = 0x3f803f80u;
        const int lane = thread() % kWarp, warp = thread() / kWarp;
        const unsigned left[4] = {kOnes, kOnes, kOnes, kOnes}, right[2] = {kOnes, kOnes};
        ISTHMUS_UNROLL
        for (int n = 0; n < 4; ++n) {
            if (n % kTurns != turn) continue;
            float sum[4] = {};
            ISTHMUS_UNROLL
            for (int step = 0; step < kSteps; ++step) multiply_bf16(sum, left, rows[n][step]);
            float* const to = line() + band * kWarp + 8 * n + 2 * lane;
            if (lane < 4) to[0] = sum[0], to[1] = sum[1];
        }
        float sum[4] = {};
        ISTHMUS_UNROLL
        for (int step = 0; step < kSteps; ++step) {
            unsigned columns[4];
            load_transposed(columns, eight(16 * step + lane / 16 * 8 + lane % 8, 2 * warp + lane / 8 % 2));
            multiply_bf16(sum, columns, right);
        }
        float* const to = line() + kSide + 16 * warp + lane / 4;
        if (lane % 4 == 0) to[0] = sum[0], to[8] = sum[2];
    }

    // parts[b][band] = the sum over the band's marked rows of what its products with assignment first + b are.
    ISTHMUS_DEVICE static void multiply(const Task& t, Size tile_row, Size first, int band, int turn,
                                        const unsigned (&rows)[4][kSteps][2]) {
        const int group = thread() % kWarp / 4, member = thread() % 4;
        const unsigned* const words = t.marks + (tile_row * kWordsDown + Size(band)) * t.stride + first + Size(group);
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

    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size tiles = tiles_across(t.sample.count, kSide);
        Size down, across;
        place_in_triangle(block(), tiles_across(tiles, int(t.side)), down, across);
        const auto end = [&](Size square) { return (square + 1) * t.side < tiles ? (square + 1) * t.side : tiles; };
        double* const sums = t.sums + block() * t.stride;
        double* const rows = t.rows + block() * 2 * t.side * kSide;
        const Size first_row = down * t.side, first_col = across * t.side;
        const float by = float(*t.shift);
        const bool at_once = t.stride <= Size(kAtOnce);
        double of_assignment = 0;
        for (Size col = first_col; col < end(across); ++col) {
            double of_column = 0;
            for (Size row = first_row; row < (down == across ? col + 1 : end(down)); ++row) {
                const Place<T> p{t.sample, t.sample, row * kSide, col * kSide};
                double* const of_row = rows + (row - first_row) * kSide + thread();
                const bool more = thread() < kSide && col > (down == across ? row : first_col);
                const double before = more ? *of_row : 0.0;
                const int band = thread() / kWarp % kBands, turn = thread() / kWarp / kBands;
                {
                    float at[kEach][kEach];
                    const Values values(t.terms);
                    form_bare_values<T, Shape>(t.packed, p, t.terms, values, at, [] {});
                    shift_values<T, Shape>(p, values.factor, by, at);
                    sync_block();  // the slabs may still be read
                    keep(at);
                }
                if (at_once && row == first_row) spread(t, col, 0);
                sync_block();
                unsigned own[4][kSteps][2];
                take_rows(band, own);
                add_up(band, turn, own);
                for (Size first = 0; first < t.stride; first += kAtOnce) {
                    const Size b = first + Size(thread());
                    const bool kept = thread() < kAtOnce && b < t.stride;
                    const bool fresh = row == first_row && col == first_col;
                    if (!at_once) {
                        of_assignment = kept && !fresh ? sums[b] : 0.0;
                        spread(t, col, first);
                        sync_block();
                    }
                    multiply(t, row, first, band, turn, own);
                    sync_block();
                    float sum = 0;
                    if (kept) ISTHMUS_UNROLL
                    for (int k = 0; k < kBands; ++k) sum += parts()[thread() * (kBands + 1) + k];
                    of_assignment += double(sum);
                    if (!at_once && kept) sums[b] = of_assignment;
                }
                if (thread() < kSide)
                    *of_row = before + double(line()[thread()]);
                else
                    of_column += double(line()[thread()]);
            }
            if (thread() >= kSide) rows[(t.side + col - first_col) * kSide + Size(thread() - kSide)] = of_column;
        }
        if (at_once && Size(thread()) < t.stride) sums[thread()] = of_assignment;
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
