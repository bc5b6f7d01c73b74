// What comes before the tiles: descriptions of samples, means, packed rows.
#pragma once

#include "kernels.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

constexpr int kWords = 448;  // of a description that one launch carries

struct DescribeTask {
    Size words[kWords], count;
    Size* to;
};

// Writes what the host knows into the workspace: unlike a copy it can be captured and waits for nothing.
struct Describe {
    using Task = DescribeTask;
    static constexpr int kThreads = kWords;
    static constexpr Size kShared = 0;
    ISTHMUS_DEVICE static void run(const Task& t) {
        if (Size(thread()) < t.count) t.to[thread()] = t.words[thread()];
    }
};

template <class T>
struct ColumnSumsTask {
    const Sample<T>* samples;
    const Size* first_piece;  // pieces of sample s: first_piece[s] to first_piece[s + 1]
    Size n_samples, d;
    double* sums;  // (pieces, d)
};

// sums[piece] = the sum of its rows.
template <class T>
struct ColumnSums {
    using Task = ColumnSumsTask<T>;
    static constexpr int kThreads = 256, kRows = 512;  // of a piece
    static constexpr Size kShared = 0;
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size piece = block(), s = interval_of(t.first_piece, t.n_samples, piece);
        const Sample<T> sample = t.samples[s];
        const Size first = (piece - t.first_piece[s]) * kRows;
        const Size last = first + kRows < sample.count ? first + kRows : sample.count;
        for (Size k = Size(thread()); k < t.d; k += kThreads) {
            double sum = 0;
            for (Size row = first; row < last; ++row) sum += double(sample.rows[row * sample.stride + k]);
            t.sums[piece * t.d + k] = sum;
        }
    }
};

template <class T>
struct MeansTask {
    const Sample<T>* samples;
    const Size* first_piece;
    Size n_samples, n_groups, d;
    const double* sums;
    double* means;  // (n_groups, d)
};

// means[g] = the mean of the rows of all samples of group g. One block a group.
template <class T>
struct Means {
    using Task = MeansTask<T>;
    static constexpr int kThreads = 256;
    static constexpr Size kShared = 0;
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size group = block();
        for (Size k = Size(thread()); k < t.d; k += kThreads) {
            double sum = 0, count = 0;
            for (Size s = 0; s < t.n_samples; ++s) {
                if (t.samples[s].group != group) continue;
                count += double(t.samples[s].count);
                for (Size piece = t.first_piece[s]; piece < t.first_piece[s + 1]; ++piece)
                    sum += t.sums[piece * t.d + k];
            }
            t.means[group * t.d + k] = sum / count;
        }
    }
};

template <class T>
struct PackTask {
    const Sample<T>* samples;
    Size n_samples, d, depth;
    const double* means;  // of the groups, subtracted; or null
    double scale;         // multiplied next
    Size split;           // for tensor cores
    T *panels, *norms, *weights;
};

// One block packs one panel: coalesced rows through shared memory, norms added up as the plain tile adds its products,
// so that equal rows have distance 0.
template <class T>
struct Pack {
    using Task = PackTask<T>;
    static constexpr int kThreads = kPanel, kColumns = 32;
    static constexpr Size kShared = kPanel * (kColumns + 1) * sizeof(T);
    ISTHMUS_DEVICE static void run(const Task& t) {
        T* const slab = reinterpret_cast<T*>(shared_memory());  // (kPanel, kColumns + 1)
        const Size panel = block();
        Size s = 0, high = t.n_samples;
        while (high - s > 1) {
            const Size middle = s + (high - s) / 2;
            (t.samples[middle].panel <= panel ? s : high) = middle;
        }
        const Sample<T> sample = t.samples[s];
        const Size first = (panel - sample.panel) * kPanel;
        const double* const mean = t.means ? t.means + sample.group * t.d : nullptr;
        T norm = 0;
        for (Size begin = 0; begin < t.depth; begin += kColumns) {
            for (int at = thread(); at < kPanel * kColumns; at += kThreads) {
                const int r = at / kColumns, c = at % kColumns;
                const Size row = first + Size(r), k = begin + Size(c);
                T value = 0;
                if (row < sample.count && k < t.d) {
                    const double x = double(sample.rows[row * sample.stride + k]);
                    value = T((mean ? x - mean[k] : x) * t.scale);
                    if (t.split) value = rounded_to_split(value);
                }
                slab[r * (kColumns + 1) + c] = value;
            }
            sync_block();
            for (int c = 0; c < kColumns && begin + Size(c) < t.depth; ++c) {
                const T value = slab[thread() * (kColumns + 1) + c];
                t.panels[panel * kPanel * t.depth + (begin + Size(c)) * kPanel + Size(thread())] = value;
                norm = fma(value, value, norm);
            }
            sync_block();
        }
        const Size row = first + Size(thread()), at = panel * kPanel + Size(thread());
        if (t.norms) t.norms[at] = norm;
        t.weights[at] = row < sample.count ? (sample.weights ? sample.weights[row] : T(1)) : T(0);
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
