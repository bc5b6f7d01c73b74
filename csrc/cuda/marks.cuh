// What comes before permuted sums: assignments as the tiles want them, and the shift of the kernel.
//
// Marks: word w of assignment b at [w * stride + b], row r of its 32 rows at bit r / 2 + 16 (r % 2).
#pragma once

#include "assign.cuh"
#include "kernels.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

constexpr int kMarkBlock = 16;  // assignments that tensor cores take at once

ISTHMUS_FN int bit_of_row(int r) { return r / 2 + r % 2 * 16; }

struct MarksTask {
    const Size* bits;  // (count, n_words), 64 rows a word
    Size count, n_words;
    unsigned* marks;  // (n_marks, stride)
    Size n_marks, stride;
};

struct Marks {
    using Task = MarksTask;
    static constexpr int kThreads = 256;
    static constexpr Size kShared = 0;
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size size = t.n_marks * t.stride;
        for (Size at = block() * kThreads + Size(thread()); at < size; at += n_blocks() * kThreads) {
            const Size word = at / t.stride, b = at % t.stride;
            unsigned bits = 0;
            if (b < t.count && word / 2 < t.n_words) bits = unsigned(t.bits[b * t.n_words + word / 2] >> word % 2 * 32);
            // Even bits to the low half, odd bits to the high one: four swaps of ever smaller pieces.
            const auto swap = [&](unsigned which, int by) {
                const unsigned other = (bits ^ bits >> by) & which;
                bits ^= other ^ other << by;
            };
            swap(0x22222222u, 1), swap(0x0c0c0c0cu, 2), swap(0x00f000f0u, 4), swap(0x0000ff00u, 8);
            t.marks[at] = bits;
        }
    }
};

template <class T>
struct SpreadsTask {
    const Sample<T>* sample;
    Size d;
    double* spreads;  // (pieces, 2, d)
};

// spreads[piece] = the sums of its rows, and the sums of their squared deviations from the piece's mean. One block a
// piece; kLanes threads share a dimension.
template <class T>
struct Spreads {
    using Task = SpreadsTask<T>;
    static constexpr int kThreads = 256, kRows = 512;  // of a piece
    static constexpr int kColumns = 32, kLanes = kThreads / kColumns;
    static constexpr Size kShared = kThreads * sizeof(double);
    // f of the column's rows, added up in one order.
    template <class F>
    ISTHMUS_DEVICE static double over_rows(int rows, const F& f) {
        double* const of_lane = reinterpret_cast<double*>(shared_memory());
        double sum = 0;
        ISTHMUS_UNROLL_BY(8)
        for (int row = thread() / kColumns; row < rows; row += kLanes) sum = f(row, sum);
        sync_block();
        of_lane[thread()] = sum;
        sync_block();
        sum = 0;
        for (int lane = 0; lane < kLanes; ++lane) sum += of_lane[lane * kColumns + thread() % kColumns];
        return sum;
    }
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Sample<T> sample = *t.sample;
        const Size first = block() * kRows;
        const int rows = first + kRows < sample.count ? kRows : int(sample.count - first);
        for (Size strip = 0; strip < t.d; strip += kColumns) {
            const Size k = strip + Size(thread() % kColumns);
            const T* const column = sample.rows + first * sample.stride + (k < t.d ? k : 0);
            const double sum = over_rows(
                rows, [&](int row, double so_far) { return so_far + double(column[Size(row) * sample.stride]); });
            const double mean = sum / double(rows);
            const double squares = over_rows(rows, [&](int row, double so_far) {
                const double gap = double(column[Size(row) * sample.stride]) - mean;
                return fma(gap, gap, so_far);
            });
            if (thread() >= kColumns || k >= t.d) continue;
            t.spreads[block() * 2 * t.d + k] = sum;
            t.spreads[(block() * 2 + 1) * t.d + k] = squares;
        }
    }
};

template <class T>
struct ShiftTask {
    Terms<T> terms;
    const double* spreads;  // (pieces, 2, d)
    Size count, d;          // rows, dimensions
    double scale;           // of packed rows
    Pairing pairing;
    double* shift;
};

// shift = the kernel at the mean u of all pairs, of few digits. As a function of the set of rows, not of their order,
// it leaves permutation tests exact. One block.
template <class T>
struct Shift {
    using Task = ShiftTask<T>;
    static constexpr int kThreads = 128;
    static constexpr Size kShared = kThreads / kWarp * sizeof(double);
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size pieces = tiles_across(t.count, Spreads<T>::kRows);
        const double n = double(t.count);
        double u = 0;
        for (Size k = Size(thread()); k < t.d; k += kThreads) {
            double mean = 0, squares = 0;
            for (Size p = 0; p < pieces; ++p) mean += t.spreads[p * 2 * t.d + k];
            mean /= n;
            for (Size p = 0; p < pieces; ++p) {
                const Size first = p * Spreads<T>::kRows;
                const double rows = double(first + Spreads<T>::kRows < t.count ? Spreads<T>::kRows : t.count - first);
                const double gap = t.spreads[p * 2 * t.d + k] / rows - mean;
                squares += t.spreads[(p * 2 + 1) * t.d + k] + rows * gap * gap;
            }
            if (t.pairing == Pairing::CityBlock)
                u += 1.1283791670955126 * t.scale * sqrt(squares / n);  // 2 / sqrt(pi) deviations of a normal column
            else if (t.pairing == Pairing::Dot)
                u += t.scale * t.scale * (mean * mean - squares / (n * (n - 1)));
            else
                u += t.scale * t.scale * 2 * squares / (n - 1);
        }
        u = sum_of_block<kThreads>(u);
        if (thread() != 0) return;
        const float c = float(value_of_any<T>(t.terms, T(u)));
        *t.shift = c > -1e30f && c < 1e30f ? double(float_of(bits_of(c) & 0xfffff000u)) : 0.0;
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
