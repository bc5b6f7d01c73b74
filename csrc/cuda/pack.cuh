// What comes before the tiles: descriptions of samples, means, packed rows.
#pragma once

#include "fast.cuh"
#include "halves.cuh"
#include "kernels.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

constexpr int kWords = 480;  // of a description that one launch carries

// Progressions, one behind the other in `words`: where the first record goes, the words of a record, their number, the
// first record and, where there are several, the difference from record to record.
struct DescribeTask {
    Size words[kWords], count;
    Size* to;
};

// Writes what the host knows into the workspace: unlike a copy it can be captured and waits for nothing.
struct Describe {
    using Task = DescribeTask;
    static constexpr int kThreads = 256;
    static constexpr Size kShared = 0;
    ISTHMUS_DEVICE static void run(const Task& t) {
        for (Size at = 0; at < t.count;) {
            Size* const to = t.to + t.words[at];
            const Size width = t.words[at + 1], size = width * t.words[at + 2];
            const Size *const first = t.words + at + 3, *const step = first + width;
            for (Size i = block() * kThreads + Size(thread()); i < size; i += n_blocks() * kThreads)
                to[i] = i < width ? first[i] : first[i % width] + i / width * step[i % width];
            at += 3 + (size > width ? 2 : 1) * width;
        }
    }
};

template <class T>
struct ColumnSumsTask {
    const Sample<T>* samples;
    const Size* first_piece;  // pieces of sample s: first_piece[s] to first_piece[s + 1]
    Size n_samples, d;
    double* sums;  // (pieces, d)
};

// sums[piece] = the sum of its rows. One block a piece and kColumns dimensions; kLanes threads share a dimension.
template <class T>
struct ColumnSums {
    using Task = ColumnSumsTask<T>;
    static constexpr int kThreads = 256, kRows = 512;  // of a piece
    static constexpr int kColumns = 32, kLanes = kThreads / kColumns;
    static constexpr Size kShared = kThreads * sizeof(double);
    ISTHMUS_DEVICE static void run(const Task& t) {
        double* const of_lane = reinterpret_cast<double*>(shared_memory());
        const Size strips = tiles_across(t.d, kColumns), piece = block() / strips;
        const Size s = interval_of(t.first_piece, t.n_samples, piece);
        const Sample<T> sample = t.samples[s];
        const Size first = (piece - t.first_piece[s]) * kRows;
        const Size last = first + kRows < sample.count ? first + kRows : sample.count;
        const Size k = block() % strips * kColumns + Size(thread() % kColumns);
        double sum = 0;
        if (k < t.d) ISTHMUS_UNROLL_BY(8)
        for (Size row = first + Size(thread() / kColumns); row < last; row += kLanes)
            sum += double(sample.rows[row * sample.stride + k]);
        of_lane[thread()] = sum;
        sync_block();
        if (thread() >= kColumns || k >= t.d) return;
        for (int lane = 1; lane < kLanes; ++lane) sum += of_lane[lane * kColumns + thread()];
        t.sums[piece * t.d + k] = sum;
    }
};

template <class T>
struct MeansTask {
    const Sample<T>* samples;
    const Size *first_sample, *first_piece;  // samples of group g: first_sample[g] to first_sample[g + 1]
    Size d;
    const double* sums;
    double* means;  // (n_groups, d)
};

// means[g] = the mean of the rows of all samples of group g. One block a group and kThreads dimensions.
template <class T>
struct Means {
    using Task = MeansTask<T>;
    static constexpr int kThreads = 256;
    static constexpr Size kShared = 0;
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size strips = tiles_across(t.d, kThreads), group = block() / strips;
        const Size k = block() % strips * kThreads + Size(thread());
        if (k >= t.d) return;
        double sum = 0, count = 0;
        for (Size s = t.first_sample[group]; s < t.first_sample[group + 1]; ++s) {
            count += double(t.samples[s].count);
            ISTHMUS_UNROLL_BY(8)
            for (Size piece = t.first_piece[s]; piece < t.first_piece[s + 1]; ++piece) sum += t.sums[piece * t.d + k];
        }
        t.means[group * t.d + k] = sum / count;
    }
};

// What a packed number is: all of it; what two numbers of TF32 hold; two halves, or two parts of bf16, in its place.
enum class Form : Size { Numbers, Rounded, Halves, TwoParts };

// What norms are formed of, but those of two parts.
ISTHMUS_DEVICE float rounded_to(Form form, float x) {
    return form == Form::Rounded ? rounded_to_split(x) : form == Form::Halves ? number_of_halves(halves_of(x)) : x;
}
ISTHMUS_DEVICE double rounded_to(Form, double x) { return x; }
ISTHMUS_DEVICE float in_form(Form form, float x) {
    return form == Form::Halves ? float_of(halves_of(x)) : form == Form::TwoParts ? float_of(two_parts(x)) : x;
}
ISTHMUS_DEVICE double in_form(Form, double x) { return x; }

template <class T>
struct PackTask {
    const Sample<T>* samples;
    Size n_samples, d, depth;
    const double* means;  // of the groups, subtracted; or null
    double scale;         // multiplied next
    Form form;
    T *panels, *norms, *weights;  // norms null where they are not those of single numbers
    T* norms_of_strips;           // (strips, packed rows), or null
};

// A number of a sample's rows as it is packed: 0 past them.
template <class T>
ISTHMUS_DEVICE T packed_number(const Sample<T>& sample, Size row, Size k, Size d, const double* mean, double scale) {
    if (row >= sample.count || k >= d) return T(0);
    const double x = double(sample.rows[row * sample.stride + k]);
    return T((mean ? x - mean[k] : x) * scale);
}

// One block packs kStrip dimensions of a panel: coalesced rows through shared memory. Norms are left to Norms or
// AddNorms unless one strip is all.
template <class T>
struct Pack {
    using Task = PackTask<T>;
    static constexpr int kThreads = kPanel, kColumns = 32;
    static constexpr Size kStrip = 2 * kColumns;
    static constexpr Size kShared = kPanel * (kColumns + 1) * sizeof(T);
    ISTHMUS_DEVICE static void run(const Task& t) {
        T* const slab = reinterpret_cast<T*>(shared_memory());  // (kPanel, kColumns + 1)
        const Size strips = tiles_across(t.depth, int(kStrip)), panel = block() / strips;
        const Size strip = block() % strips * kStrip, end = strip + kStrip < t.depth ? strip + kStrip : t.depth;
        Size s = 0, high = t.n_samples;
        while (high - s > 1) {
            const Size middle = s + (high - s) / 2;
            (t.samples[middle].panel <= panel ? s : high) = middle;
        }
        const Sample<T> sample = t.samples[s];
        const Size first = (panel - sample.panel) * kPanel;
        const double* const mean = t.means ? t.means + sample.group * t.d : nullptr;
        T norm = 0;
        for (Size begin = strip; begin < end; begin += kColumns) {
            ISTHMUS_UNROLL_BY(8)
            for (int at = thread(); at < kPanel * kColumns; at += kThreads) {
                const int r = at / kColumns, c = at % kColumns;
                const T value = packed_number(sample, first + Size(r), begin + Size(c), t.d, mean, t.scale);
                slab[r * (kColumns + 1) + c] = rounded_to(t.form, value);
            }
            sync_block();
            for (int c = 0; c < kColumns && begin + Size(c) < end; ++c) {
                const T value = slab[thread() * (kColumns + 1) + c];
                t.panels[panel * kPanel * t.depth + (begin + Size(c)) * kPanel + Size(thread())] =
                    in_form(t.form, value);
                norm = fma(value, value, norm);
            }
            sync_block();
        }
        const Size row = first + Size(thread()), at = panel * kPanel + Size(thread());
        if (t.norms_of_strips) t.norms_of_strips[block() % strips * (n_blocks() / strips * kPanel) + at] = norm;
        if (strip > 0) return;
        if (t.norms && strips == 1) t.norms[at] = norm;
        t.weights[at] = row < sample.count ? (sample.weights ? sample.weights[row] : T(1)) : T(0);
    }
};

template <class T>
struct NormsTask {
    const T* panels;
    Size depth;
    T* norms;
};

// The norms of one panel, added up as the plain tile adds its products, so that equal rows have distance 0. The next
// dimensions arrive in shared memory meanwhile.
template <class T>
struct Norms {
    using Task = NormsTask<T>;
    static constexpr int kThreads = 256, kSlabs = 3, kAtOnce = 2 * kSlab;  // dimensions
    static constexpr Size kShared = Size(kSlabs) * kAtOnce * kPanel * sizeof(T);
    ISTHMUS_DEVICE static void run(const Task& t) {
        constexpr int kVector = 16 / int(sizeof(T));
        T* const shared = reinterpret_cast<T*>(shared_memory());
        const T* const panel = t.panels + block() * kPanel * t.depth;
        const auto dimensions = [&](Size k) { return int(t.depth - k < Size(kAtOnce) ? t.depth - k : Size(kAtOnce)); };
        const auto fetch = [&](Size k) {
            T* const slab = shared + k / kAtOnce % kSlabs * (kAtOnce * kPanel);
            if (k < t.depth)
                for (int at = thread() * kVector; at < dimensions(k) * kPanel; at += kThreads * kVector)
                    copy16(slab + at, panel + k * kPanel + at);
            end_copies();
        };
        T norm = 0;
        for (int n = 0; n < kSlabs - 1; ++n) fetch(Size(n) * kAtOnce);
        for (Size k = 0; k < t.depth; k += kAtOnce) {
            wait_for_copies<kSlabs - 2>();
            sync_block();
            fetch(k + (kSlabs - 1) * kAtOnce);
            const T* const slab = shared + k / kAtOnce % kSlabs * (kAtOnce * kPanel);
            if (thread() < kPanel) ISTHMUS_UNROLL_BY(8)
            for (int i = 0; i < dimensions(k); ++i) {
                const T value = slab[i * kPanel + thread()];
                norm = fma(value, value, norm);
            }
        }
        if (thread() < kPanel) t.norms[block() * kPanel + Size(thread())] = norm;
    }
};

// The same of two parts a number, added up as the tile `Fast` adds its products, so that equal rows have distance 0:
// the diagonals of fragments that are products of 16 rows with themselves, a warp each. Infinite, which the guard sees,
// for numbers whose products might overflow.
struct FastNorms {
    using Task = NormsTask<float>;
    static constexpr int kThreads = kPanel / 16 * kWarp;
    static constexpr Size kShared = 0;
    ISTHMUS_DEVICE static void run(const Task& t) {
        constexpr unsigned kSignless = 0x7fffffffu, kHuge = 0x58800000u;  // 2^50, or NaN
        const int lane = thread() % kWarp, row = thread() / kWarp * 16 + lane / 4;
        const float* from = t.panels + block() * kPanel * t.depth + Size(lane % 4 * kPanel + row);
        float sum[2][4] = {}, kept[2][4] = {}, huge[2] = {};
        const auto keep = [&] {
            ISTHMUS_UNROLL
            for (int e = 0; e < 8; ++e) kept[e / 4][e % 4] += sum[e / 4][e % 4], sum[e / 4][e % 4] = 0;
        };
        ISTHMUS_UNROLL_BY(2)
        for (Size slab = 0; slab < t.depth / kSlab; ++slab, from += kSlab * kPanel) {
            if (slab && slab % Size(Fast::kExactSlabs<Pairing::Gram>) == 0) keep();
            LeftParts left;
            RightParts right[2];
            left.take([&](int half, int k) { return bits_of(from[4 * k * kPanel + 8 * half]); });
            ISTHMUS_UNROLL
            for (int n = 0; n < 2; ++n) {
                right[n].take([&](int k) { return left.words[k / 2][k % 2 * 2 + n]; });
                ISTHMUS_UNROLL
                for (int k = 0; k < 4; ++k)
                    if ((left.words[k / 2][k % 2 * 2 + n] & kSignless) >= kHuge) huge[n] = 1;
            }
            multiply_parts(sum, left, right);
        }
        keep();
        ISTHMUS_UNROLL
        for (int n = 0; n < 2; ++n) {
            huge[n] += from_lane_xor(huge[n], 1);
            huge[n] += from_lane_xor(huge[n], 2);
        }
        // Of row lane / 4 and column lane % 4 * 2 + e % 2 of either fragment.
        if (lane / 8 != lane % 4) return;
        const bool odd = lane / 4 % 2;
        float* const to = t.norms + block() * kPanel + Size(row);
        to[0] = huge[0] > 0 ? float_of(0x7f800000u) : odd ? kept[0][1] : kept[0][0];
        to[8] = huge[1] > 0 ? float_of(0x7f800000u) : odd ? kept[1][3] : kept[1][2];
    }
};

struct AddNormsTask {
    const float* norms_of_strips;  // (n_strips, packed rows)
    Size n_strips;
    float* norms;
};

// Norms of rows that tensor cores multiply, in an order of their own: one block a panel.
struct AddNorms {
    using Task = AddNormsTask;
    static constexpr int kThreads = kPanel;
    static constexpr Size kShared = 0;
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size row = block() * kPanel + Size(thread());
        double norm = 0;
        ISTHMUS_UNROLL_BY(8)
        for (Size strip = 0; strip < t.n_strips; ++strip)
            norm += double(t.norms_of_strips[strip * n_blocks() * kPanel + row]);
        t.norms[row] = float(norm);
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
