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
    const Size* first_tile;  // tiles of pair p: first_tile[p] to first_tile[p + 1]
    Size n_pairs, n_tiles;
    double* partials;  // (n_tiles,)
};

// partials[tile] = sum w_i w_j k_ij over the tile's pairs, over i < j for a sample with itself.
template <class T, class Shape, class Values>
struct Sums {
    using Task = SumTask<T>;
    static constexpr int kThreads = Shape::kThreads;
    static constexpr Size kShared = kProductBytes<T, Shape>;
    ISTHMUS_DEVICE static void run(const Task& t) {
        for (Size tile = block(); tile < t.n_tiles; tile += n_blocks()) {
            const Size pair = interval_of(t.first_tile, t.n_pairs, tile);
            const PairOf who = t.pairs[pair];
            const Place<T> p = place_of<T, Shape>(t.samples[who.left], t.samples[who.right], tile - t.first_tile[pair]);
            T at[Shape::kEach][Shape::kEach];
            form_values<T, Shape, Values>(t.packed, p, t.terms, at);
            const bool diagonal = who.left == who.right && p.row == p.col;
            double total = 0;
            ISTHMUS_UNROLL
            for (int i = 0; i < Shape::kEach; ++i) {
                // Few additions in T, then float64.
                T parts[Shape::kEach];
                ISTHMUS_UNROLL
                for (int j = 0; j < Shape::kEach; ++j) {
                    const T weight = t.packed.weights[p.right.panel * kPanel + p.col + Shape::col(j)];
                    parts[j] = diagonal && Shape::row(i) >= Shape::col(j) ? T(0) : weight * at[i][j];
                }
                ISTHMUS_UNROLL
                for (int half = Shape::kEach / 2; half; half /= 2) ISTHMUS_UNROLL
                for (int j = 0; j < half; ++j) parts[j] += parts[j + half];
                total += double(t.packed.weights[p.left.panel * kPanel + p.row + Shape::row(i)]) * double(parts[0]);
            }
            total = sum_of_block<kThreads>(total);
            if (thread() == 0) t.partials[tile] = total;
        }
    }
};

struct AddTask {
    const PairOf* pairs;
    const Size* first_tile;
    const double* partials;
    double* sums;
    Size add;  // to what is there
};

// sums[pair] = its tiles' partials, twice those of a sample with itself. One block a pair.
struct AddPartials {
    using Task = AddTask;
    static constexpr int kThreads = 256;
    static constexpr Size kShared = kThreads / kWarp * sizeof(double);
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size pair = block();
        double total = 0;
        for (Size tile = t.first_tile[pair] + Size(thread()); tile < t.first_tile[pair + 1]; tile += kThreads)
            total += t.partials[tile];
        total = sum_of_block<kThreads>(total);
        if (thread() != 0) return;
        if (t.pairs[pair].left == t.pairs[pair].right) total *= 2;
        t.sums[pair] = t.add ? t.sums[pair] + total : total;
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
        double total = 0;
        for (Size row = Size(thread()); row < sample.count; row += kThreads) {
            double value = t.at_zero, norm = 0;
            if (t.terms.count) {
                for (Size k = 0; k < t.d; ++k) {
                    const double x = double(sample.rows[row * sample.stride + k]);
                    norm = fma(x, x, norm);
                }
                value += value_of_any<double>(t.terms, norm);
            }
            const double weight = sample.weights ? double(sample.weights[row]) : 1.0;
            total += weight * weight * value;
        }
        total = sum_of_block<kThreads>(total);
        if (thread() == 0) t.diagonals[block()] = t.add ? t.diagonals[block()] + total : total;
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
