// Consumers: random Fourier features of structured frequencies, stored or summed over rows.
#pragma once

#include "slabs.cuh"
#include "trig.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

constexpr int kMostWidth = 4096;  // numbers transformed in shared memory at once; a wider W is taken as a matrix

// As FourierTask of the CPU describes W. Block b takes frequencies of block b % n_blocks and rows of range b /
// n_blocks.
template <class T>
struct StructuredTask {
    Matrix<T> x;
    const double* centre;     // (d,)
    const T *signs, *scales;  // (3, n_blocks << log_width) and (n_blocks << log_width,)
    Size n_frequencies, n_blocks, range_rows;
    int log_width;
    T amplitude;
    T* out;            // (n, 2 q), or null: sum
    const T* weights;  // (n,) or null for 1
    double* partials;  // (ranges, 2 q)
};

// As many whole rows as kMostWidth numbers are transformed at once: 2^kLog neighbours of a stage in the registers of a
// thread. Each thread then owns the numbers thread(), thread() + kThreads, ...
template <class T, bool kSum>
struct Structured {
    using Task = StructuredTask<T>;
    static constexpr int kThreads = 512, kEach = kMostWidth / kThreads;
    static constexpr Size kNumbers = (kMostWidth + kMostWidth / 32) * sizeof(T), kSums = kMostWidth * sizeof(double);
    static constexpr Size kShared = kNumbers > kSums ? kNumbers : kSums;

    ISTHMUS_DEVICE static void run(const Task& t) {
        T* const numbers = reinterpret_cast<T*>(shared_memory());
        const int width = 1 << t.log_width, rows_at_once = kMostWidth >> t.log_width;
        const Size from = block() % t.n_blocks << t.log_width, range = block() / t.n_blocks;
        const Size end = (range + 1) * t.range_rows < t.x.rows ? (range + 1) * t.range_rows : t.x.rows;
        double cosines[kEach] = {}, sines[kEach] = {};
        for (Size first = range * t.range_rows; first < end; first += Size(rows_at_once)) {
            sync_block();  // the numbers may still be read
            load(t, from, first, end, numbers);
            transform(t, from, numbers);
            ISTHMUS_UNROLL
            for (int j = 0; j < kEach; ++j) {
                const int at = thread() + j * kThreads;
                const Size row = first + Size(at >> t.log_width), frequency = from + Size(at & (width - 1));
                if (row >= end || frequency >= t.n_frequencies) continue;
                const CosSin<T> both = cos_sin(numbers[place(at)] * t.scales[frequency]);
                if constexpr (kSum) {
                    const double weight = t.weights ? double(t.weights[row]) : 1.0;
                    cosines[j] += weight * double(both.cos), sines[j] += weight * double(both.sin);
                } else {
                    T* const out = t.out + row * 2 * t.n_frequencies + frequency;
                    out[0] = t.amplitude * both.cos, out[t.n_frequencies] = t.amplitude * both.sin;
                }
            }
        }
        if constexpr (kSum) {
            give(t, from, cosines, t.partials + 2 * range * t.n_frequencies);
            give(t, from, sines, t.partials + (2 * range + 1) * t.n_frequencies);
        }
    }

  private:
    // Neighbours of every stage in banks of their own.
    ISTHMUS_DEVICE static int place(int at) { return at + at / 32; }

    // S_0 (x - centre), zeros after it.
    ISTHMUS_DEVICE static void load(const Task& t, Size from, Size first, Size end, T* numbers) {
        ISTHMUS_UNROLL
        for (int j = 0; j < kEach; ++j) {
            const int at = thread() + j * kThreads;
            const Size row = first + Size(at >> t.log_width), k = Size(at & ((1 << t.log_width) - 1));
            T value = 0;
            if (row < end && k < t.x.columns)
                value = t.signs[from + k] * Centre<T>(t.centre[k]).from(t.x.at[row * t.x.stride + k]);
            numbers[place(at)] = value;
        }
        sync_block();
    }

    // H S_2 H S_1 H of every row.
    ISTHMUS_DEVICE static void transform(const Task& t, Size from, T* numbers) {
        const int passes = (t.log_width + 2) / 3;
        for (int round = 0; round < 3; ++round) {
            int left = t.log_width;
            for (int pass = 0; pass < passes; ++pass) {
                const int stages = t.log_width / passes + (pass < t.log_width % passes);
                const T* const signs =
                    round > 0 && pass == 0 ? t.signs + ((Size(round) * t.n_blocks) << t.log_width) + from : nullptr;
                left -= stages;
                if (stages == 3)
                    transform_pass<3>(numbers, left, signs, t.log_width);
                else
                    transform_pass<2>(numbers, left, signs, t.log_width);
                sync_block();
            }
        }
    }

    // kLog stages, whose neighbours are multiples of 2^log_step apart.
    template <int kLog>
    ISTHMUS_DEVICE static void transform_pass(T* numbers, int log_step, const T* signs, int log_width) {
        ISTHMUS_UNROLL
        for (int item = thread(); item < kMostWidth >> kLog; item += kThreads) {
            const int low = item & ((1 << log_step) - 1), first = ((item >> log_step) << (log_step + kLog)) + low;
            T v[1 << kLog];
            ISTHMUS_UNROLL
            for (int i = 0; i < 1 << kLog; ++i) {
                const int at = first + (i << log_step);
                v[i] = numbers[place(at)];
                if (signs) v[i] *= signs[at & ((1 << log_width) - 1)];
            }
            ISTHMUS_UNROLL
            for (int half = 1; half < 1 << kLog; half *= 2) ISTHMUS_UNROLL
            for (int i = 0; i < 1 << kLog; ++i)
                if (!(i & half)) {
                    const T a = v[i], b = v[i + half];
                    v[i] = a + b, v[i + half] = a - b;
                }
            ISTHMUS_UNROLL
            for (int i = 0; i < 1 << kLog; ++i) numbers[place(first + (i << log_step))] = v[i];
        }
    }

    // partials = the totals of the threads, those of one frequency added up in a fixed order.
    ISTHMUS_DEVICE static void give(const Task& t, Size from, const double (&totals)[kEach], double* partials) {
        double* const sums = reinterpret_cast<double*>(shared_memory());
        sync_block();
        ISTHMUS_UNROLL
        for (int j = 0; j < kEach; ++j) sums[thread() + j * kThreads] = totals[j];
        sync_block();
        const int width = 1 << t.log_width;
        for (int k = thread(); k < width && from + Size(k) < t.n_frequencies; k += kThreads) {
            double sum = 0;
            for (int at = k; at < kMostWidth; at += width) sum += sums[at];
            partials[from + Size(k)] = sum;
        }
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
