// Consumer: MMD^2 of many pairs of small samples, one block of threads a pair, one launch in all.
#pragma once

#include "kernels.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// Item i: samples x (n, d) and y (m, d), n + m <= kSmallRows. `item` and `row` are strides.
struct SmallStack {
    const float *rows, *weights;  // weights (items, count) or null for 1
    Size item, row;
};
struct SmallTask {
    SmallStack x, y;
    Size n, m, d, items;
    Terms<float> terms;
    float scale;     // rows are multiplied by it
    double at_zero;  // k(x, x), where pairs of a row with itself count; else 0
    Factors factors;
    double* values;  // (items,)
};

constexpr int kSmallRows = 128;

// The rows of both samples, one behind the other, lie centred in shared memory in rows of kDepth + 4 numbers: eight
// rows of a fragment are on different banks. The pairs i < j are blocks of 16 x 16 above the diagonal; a warp forms
// three at a time on tensor cores. A value goes to the three sums by weights that are 0 for the other sample's rows.
template <int kDepth, class Values>
struct SmallSums {
    using Task = SmallTask;
    static constexpr int kThreads = 128, kBlocks = kDepth == 128 ? 3 : 1;
    static constexpr int kStride = kDepth + 4, kStrip = 16, kGroup = 3, kValues = 8, kSums = 5;
    static constexpr int kExact = 32;  // dimensions whose products are added in tensor cores, which truncate
    static constexpr int kWarps = kThreads / kWarp;
    static_assert(kSmallRows == kThreads, "a thread has a row");
    static constexpr Size kShared =
        (kSmallRows * (kStride + 3 + kValues) + kDepth) * sizeof(float) + kWarps * kSums * sizeof(double);

    ISTHMUS_DEVICE static void run(const Task& t) {
        for (Size item = block(); item < t.items; item += n_blocks()) run_item(t, item);
    }

  private:
    struct Item {
        const Task& task;
        const float *x, *y;  // rows
        int n, rows, strips;
        // (kSmallRows, kStride), (kDepth,), (kSmallRows,) thrice, (kValues, kThreads), (kWarps, kSums).
        float *packed, *mean, *norms, *x_weights, *y_weights, *spare;
        double* sums;
        ISTHMUS_DEVICE Item(const Task& t, Size item)
            : task(t), x(t.x.rows + item * t.x.item), y(t.y.rows + item * t.y.item), n(int(t.n)), rows(int(t.n + t.m)) {
            strips = (rows + kStrip - 1) / kStrip;
            sums = reinterpret_cast<double*>(shared_memory());
            packed = reinterpret_cast<float*>(sums + kWarps * kSums + kWarps * kSums % 2);
            mean = packed + kSmallRows * kStride;
            norms = mean + kDepth;
            x_weights = norms + kSmallRows, y_weights = x_weights + kSmallRows;
            spare = y_weights + kSmallRows;
        }
        ISTHMUS_DEVICE const float* row(int r) const {
            return r < n ? x + Size(r) * task.x.row : y + Size(r - n) * task.y.row;
        }
    };
    static_assert(kWarps * kSums % 2 == 0, "rows are on a border of 16 bytes");

    ISTHMUS_DEVICE static void run_item(const Task& t, Size number) {
        const Item item(t, number);
        const int depth = (int(t.d) + 7) / 8 * 8;
        sync_block();  // shared memory may still be read for the item before
        fetch(item, depth);
        const int r = thread();
        float weight = 0;
        if (r < item.rows) {
            const float* const weights = r < item.n ? t.x.weights : t.y.weights;
            const Size count = r < item.n ? t.n : t.m;
            weight = weights ? weights[number * count + Size(r < item.n ? r : r - item.n)] : 1.0f;
        }
        item.x_weights[r] = r < item.n ? weight : 0.0f;
        item.y_weights[r] = r < item.n ? 0.0f : weight;
        wait_for_copies<0>();
        sync_block();
        for (int k = thread(); k < depth; k += kThreads) {
            float some[4] = {};
            for (int row = 0; row < item.strips * kStrip; row += 4) ISTHMUS_UNROLL
            for (int e = 0; e < 4; ++e) some[e] += item.packed[(row + e) * kStride + k];
            item.mean[k] = ((some[0] + some[1]) + (some[2] + some[3])) / float(item.rows);
        }
        sync_block();
        item.norms[r] = r < item.rows ? centre(item, depth) : 0.0f;
        sync_block();

        const double square = double(weight) * double(weight) * t.at_zero;
        double sums[kSums] = {0, 0, 0, r < item.n ? square : 0, r < item.n ? 0 : square};
        const int n_blocks = item.strips * (item.strips + 1) / 2;
        for (int first = thread() / kWarp * kGroup; first < n_blocks; first += kWarps * kGroup)
            add_group(item, depth, first, n_blocks, sums);
        ISTHMUS_UNROLL
        for (int s = 0; s < kSums; ++s) {
            for (int mask = kWarp / 2; mask; mask /= 2) sums[s] += from_lane_xor(sums[s], mask);
            if (thread() % kWarp == 0) item.sums[thread() / kWarp * kSums + s] = sums[s];
        }
        sync_block();
        if (r >= kWarp) return;
        double sum = 0;
        if (r < kSums) {
            for (int warp = 0; warp < kWarps; ++warp) sum += item.sums[warp * kSums + r];
            sum *= r < 3 ? 2 * double(Values(t.terms).factor) * t.factors.at(number, Size(r))
                         : t.factors.at(number, Size(r - 3));
        }
        for (int mask = 4; mask; mask /= 2) sum += from_lane_xor(sum, mask);
        if (r == 0) t.values[number] = sum;
    }

    // Starts to copy the rows; zeros after them and past their ends.
    ISTHMUS_DEVICE static void fetch(const Item& item, int depth) {
        const Task& t = item.task;
        const bool wide = (Size(item.x) % 16 | Size(item.y) % 16 | t.x.row % 4 | t.y.row % 4 | t.d % 4) == 0;
        const int across = depth / 4;
        for (int at = thread(); at < item.strips * kStrip * across; at += kThreads) {
            const int r = at / across, k = at % across * 4;
            float* const to = item.packed + r * kStride + k;
            const bool there = r < item.rows;
            const float* const from = there ? item.row(r) + k : item.x;
            if (there && wide && k < int(t.d)) {
                copy16(to, from);
            } else {
                ISTHMUS_UNROLL
                for (int e = 0; e < 4; ++e) {
                    const bool one = there && k + e < int(t.d);
                    copy_number(to + e, one ? from + e : item.x, one);
                }
            }
        }
        end_copies();
    }

    // A thread's own row less the mean, scaled; its norm.
    ISTHMUS_DEVICE static float centre(const Item& item, int depth) {
        struct alignas(16) Four {
            float number[4];
        };
        Four* const row = reinterpret_cast<Four*>(item.packed + thread() * kStride);
        const Four* const mean = reinterpret_cast<const Four*>(item.mean);
        float norm = 0;
        for (int k = 0; k < depth / 4; ++k) {
            Four four = row[k];
            const Four centre = mean[k];
            ISTHMUS_UNROLL
            for (int e = 0; e < 4; ++e) {
                four.number[e] = rounded_to_split((four.number[e] - centre.number[e]) * item.task.scale);
                norm = fma(four.number[e], four.number[e], norm);
            }
            row[k] = four;
        }
        return norm;
    }

    // Adds the blocks `first` to first + kGroup of the triangle.
    ISTHMUS_DEVICE static void add_group(const Item& item, int depth, int first, int n_blocks, double (&sums)[kSums]) {
        int row[kGroup], col[kGroup];
        ISTHMUS_UNROLL
        for (int b = 0; b < kGroup; ++b) {
            int at = first + b < n_blocks ? first + b : first, strip = 0;
            for (; at >= item.strips - strip; ++strip) at -= item.strips - strip;
            row[b] = strip * kStrip, col[b] = (strip + at) * kStrip;
        }
        float at[kGroup][kValues];
        form_products(item, depth, row, col, at);
        const Values values(item.task.terms);
        float x[3] = {};
        ISTHMUS_UNROLL
        for (int b = 0; b < kGroup; ++b) {
            form_distances(item, row[b], col[b], at[b]);
            values.form(at[b]);
            if (first + b < n_blocks) add_block(item, row[b], col[b], at[b], x);
        }
        ISTHMUS_UNROLL
        for (int s = 0; s < 3; ++s) sums[s] += double(x[s]);
    }

    // Row and column in a block of a thread's e-th value: two fragments of 16 x 8, as mma.m16n8k8 has them.
    ISTHMUS_DEVICE static int row_of(int e) { return thread() % kWarp / 4 + e % 4 / 2 * 8; }
    ISTHMUS_DEVICE static int col_of(int e) { return e / 4 * 8 + thread() % 4 * 2 + e % 2; }

    ISTHMUS_DEVICE static void form_products(const Item& item, int depth, const int (&row)[kGroup],
                                             const int (&col)[kGroup], float (&sum)[kGroup][kValues]) {
        const int lane = thread() % kWarp;
        const float* const own = item.packed + lane / 4 * kStride + lane % 4;
        ISTHMUS_UNROLL
        for (int b = 0; b < kGroup; ++b) ISTHMUS_UNROLL
        for (int e = 0; e < kValues; ++e) sum[b][e] = 0;
        float part[kGroup][2][4] = {};
        ISTHMUS_UNROLL_BY(1)
        for (int k = 0; k < depth; k += 8) {
            unsigned a[2][kGroup][4], c[2][kGroup][2][2];
            ISTHMUS_UNROLL
            for (int b = 0; b < kGroup; ++b) {
                ISTHMUS_UNROLL
                for (int e = 0; e < 4; ++e)
                    split<false>(own[(row[b] + e % 2 * 8) * kStride + k + e / 2 * 4], a[0][b][e], a[1][b][e]);
                ISTHMUS_UNROLL
                for (int n = 0; n < 2; ++n) ISTHMUS_UNROLL
                for (int e = 0; e < 2; ++e)
                    split<false>(own[(col[b] + n * 8) * kStride + k + e * 4], c[0][b][n][e], c[1][b][n][e]);
            }
            ISTHMUS_UNROLL
            for (int product = 0; product < 3; ++product) ISTHMUS_UNROLL
            for (int b = 0; b < kGroup; ++b) ISTHMUS_UNROLL
            for (int n = 0; n < 2; ++n) multiply_tf32(part[b][n], a[product == 0][b], c[product == 1][b][n]);
            if (k % kExact + 8 < kExact && k + 8 < depth) continue;
            ISTHMUS_UNROLL
            for (int b = 0; b < kGroup; ++b) ISTHMUS_UNROLL
            for (int e = 0; e < kValues; ++e) {
                sum[b][e] += part[b][e / 4][e % 4];
                part[b][e / 4][e % 4] = 0;
            }
        }
    }

    // Squared distances in place of a block's products.
    ISTHMUS_DEVICE static void form_distances(const Item& item, int row, int col, float (&at)[kValues]) {
        const Terms<float>& terms = item.task.terms;
        bool spoilt = false;
        ISTHMUS_UNROLL
        for (int e = 0; e < kValues; ++e) {
            const float norms = item.norms[row + row_of(e)] + item.norms[col + col_of(e)];
            at[e] = larger(fma(-2.0f, at[e], norms), 0.0f);
            spoilt |= !(fma(terms.guard, norms, -at[e]) <= 1.0f);
        }
        if (!spoilt) return;
        float* const own = item.spare + thread();
        ISTHMUS_UNROLL
        for (int e = 0; e < kValues; ++e) own[e * kThreads] = at[e];
        ISTHMUS_UNROLL_BY(1)
        for (int e = 0; e < kValues; ++e) {
            const int i = row + row_of(e), j = col + col_of(e);
            if (fma(terms.guard, item.norms[i] + item.norms[j], -own[e * kThreads]) <= 1.0f) continue;
            const bool counts = i < j && j < item.rows;  // others: a weight 0 would not clear an infinite one
            own[e * kThreads] = counts ? direct_distance(item.row(i), item.row(j), item.task.d, terms) : 0.0f;
        }
        ISTHMUS_UNROLL
        for (int e = 0; e < kValues; ++e) at[e] = own[e * kThreads];
    }

    // Adds the values of pairs i < j to the sums within x, within y and across.
    ISTHMUS_DEVICE static void add_block(const Item& item, int row, int col, float (&at)[kValues], float (&sums)[3]) {
        if (row == col) ISTHMUS_UNROLL
        for (int e = 0; e < kValues; ++e)
            if (row_of(e) >= col_of(e)) at[e] = 0;
        ISTHMUS_UNROLL
        for (int half = 0; half < 2; ++half) {
            float x = 0, y = 0;
            ISTHMUS_UNROLL
            for (int q = 0; q < 4; ++q) {
                const int e = q / 2 * 4 + half * 2 + q % 2, j = col + col_of(e);
                x = fma(item.x_weights[j], at[e], x);
                y = fma(item.y_weights[j], at[e], y);
            }
            const int i = row + row_of(2 * half);
            sums[0] = fma(item.x_weights[i], x, sums[0]);
            sums[1] = fma(item.y_weights[i], y, sums[1]);
            sums[2] = fma(item.x_weights[i], y, sums[2]);
        }
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
