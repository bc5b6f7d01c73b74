// Consumer: weighted sums of the kernel over pairs of samples.
#pragma once

#include "kernels.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

struct PairOf {
    Size left, right;  // samples
};

template <class T>
struct SumTask {
    Packed<T> packed;
    Terms<T> terms;
    const Sample<T>* samples;
    const PairOf* pairs;
    const Size* first_run;  // runs of pair p: first_run[p] to first_run[p + 1]
    Size n_pairs;
    unsigned n_runs, run_tiles;
    double* partials;  // (n_runs,)
};

// partials[run] = sum w_i w_j k_ij over the pairs of a run of tiles, over i < j for a sample with itself. A tile's sum
// is a tree of few additions in T.
template <class T, class Shape, class Values>
struct Sums {
    using Task = SumTask<T>;
    static constexpr int kThreads = Shape::kThreads, kBlocks = kBlocksOf<Shape, Values>;
    static constexpr Size kShared = kProductBytes<T, Shape> + kThreads * sizeof(double);
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Values values(t.terms);
        double& total = reinterpret_cast<double*>(shared_memory() + kProductBytes<T, Shape>)[thread()];
        for (unsigned run = unsigned(block()); run < t.n_runs; run += unsigned(n_blocks())) {
            const Size pair = interval_of(t.first_run, t.n_pairs, run);
            const PairOf who = t.pairs[pair];
            Place<T> p =
                place_of<T, Shape>(t.samples[who.left], t.samples[who.right], (run - t.first_run[pair]) * t.run_tiles);
            total = 0;
            for (int left_over = int(t.run_tiles); left_over && p.row < p.left.count; --left_over, move_on<T, Shape>(p))
                total += double(sum_of_tile(t, values, p));
            const double sum = sum_of_block<kThreads>(double(values.factor) * total);
            if (thread() == 0) t.partials[run] = sum;
        }
    }

  private:
    // The own pairs of a thread.
    ISTHMUS_DEVICE static T sum_of_tile(const Task& t, const Values& values, const Place<T>& p) {
        constexpr int kEach = Shape::kEach;
        T at[kEach][kEach];
        form_bare_values<T, Shape>(t.packed, p, t.terms, values, at, [] {});
        if (p.left.panel == p.right.panel && p.row == p.col) ISTHMUS_UNROLL
        for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
        for (int j = 0; j < kEach; ++j)
            if (Shape::row(i) >= Shape::col(j)) at[i][j] = 0;
        const T *const left = weights_of_side<T, Shape>(0), *const right = weights_of_side<T, Shape>(1);
        T rows[kEach] = {}, sum = 0;
        ISTHMUS_UNROLL
        for (int j = 0; j < kEach; ++j) {
            const T weight = right[Shape::col(j)];
            ISTHMUS_UNROLL
            for (int i = 0; i < kEach; ++i) rows[i] = fma(weight, at[i][j], rows[i]);
        }
        ISTHMUS_UNROLL
        for (int i = 0; i < kEach; ++i) sum = fma(left[Shape::row(i)], rows[i], sum);
        return sum;
    }
};

struct AddTask {
    const PairOf* pairs;
    const Size* first_run;
    const double* partials;
    double* sums;
    Size add;  // to what is there
};

// sums[pair] = its runs' partials, twice those of a sample with itself. One block a pair.
struct AddPartials {
    using Task = AddTask;
    static constexpr int kThreads = 256;
    static constexpr Size kShared = kThreads / kWarp * sizeof(double);
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size pair = block();
        double total = 0;
        for (Size run = t.first_run[pair] + Size(thread()); run < t.first_run[pair + 1]; run += kThreads)
            total += t.partials[run];
        total = sum_of_block<kThreads>(total);
        if (thread() != 0) return;
        if (t.pairs[pair].left == t.pairs[pair].right) total *= 2;
        t.sums[pair] = t.add ? t.sums[pair] + total : total;
    }
};

struct AddItemsTask {
    const Size* first_run;
    const double* partials;
    Factors factors;
    const double* diagonals;  // (items, 2), or null to leave them out
    double* values;
    Size add;  // to what is there
};

// values[item] = MMD^2 from the partials of its three pairs (x, x), (y, y) and (x, y), which follow one another. One
// block an item.
struct AddItems {
    using Task = AddItemsTask;
    static constexpr int kThreads = 256;
    static constexpr Size kShared = kThreads / kWarp * sizeof(double);
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size item = block(), *const first = t.first_run + 3 * item;
        double total = 0;
        for (Size pair = 0; pair < 3; ++pair)
            for (Size run = first[pair] + Size(thread()); run < first[pair + 1]; run += kThreads)
                total = fma(t.factors.at(item, pair), t.partials[run], total);
        total = 2 * sum_of_block<kThreads>(total);
        if (thread() != 0) return;
        if (t.diagonals)
            for (Size side = 0; side < 2; ++side) total += t.factors.at(item, side) * t.diagonals[2 * item + side];
        t.values[item] = t.add ? t.values[item] + total : total;
    }
};

template <class T>
struct DiagonalTask {
    const Sample<T>* samples;
    Size d;
    double at_zero;       // the kernels of a distance
    Terms<double> terms;  // the kernels of a dot product
    Size add;             // to what is there
    double* diagonals;
};

// diagonals[s] = sum_i w_i^2 k(x_i, x_i) of sample s. One block a sample.
template <class T>
struct Diagonals {
    using Task = DiagonalTask<T>;
    static constexpr int kThreads = 256;
    static constexpr Size kShared = kThreads / kWarp * sizeof(double);
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Sample<T> sample = t.samples[block()];
        const int lanes = t.terms.count ? kWarp : 1;  // of a row
        double total = 0;
        for (Size row = Size(thread() / lanes); row < sample.count; row += Size(kThreads / lanes)) {
            double value = t.at_zero, norm = 0;
            if (t.terms.count) {
                for (Size k = Size(thread() % kWarp); k < t.d; k += kWarp) {
                    const double x = double(sample.rows[row * sample.stride + k]);
                    norm = fma(x, x, norm);
                }
                for (int mask = kWarp / 2; mask; mask /= 2) norm += from_lane_xor(norm, mask);
                value += value_of_any<double>(t.terms, norm);
            }
            if (thread() % lanes) continue;
            const double weight = sample.weights ? double(sample.weights[row]) : 1.0;
            total += weight * weight * value;
        }
        total = sum_of_block<kThreads>(total);
        if (thread() == 0) t.diagonals[block()] = t.add ? t.diagonals[block()] + total : total;
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
