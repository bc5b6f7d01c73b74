// Gradients of sums of the kernel over two samples, second half: the coefficients are multiplied with the packed rows
// p,
//     sum_j c_ij (p_i - p_j) = p_i sum_j c_ij - sum_j c_ij p_j.
#pragma once

#include "slopes.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// Beyond this |p|^2 the products with coefficients cancel in the sums over rows: differences are formed there.
constexpr double kFarthest = 64;

template <class T>
struct AcrossTask {
    const Sample<T>* samples;
    Size d, width, item_rows, depth;
    const double* means;
    double scale;
    T* across;
};

// The packed rows once more, in panels of dimensions: each group of `depth` rows of an item has its dimension k of row
// j at [k / kPanel][j][k % kPanel]. A block lays out kRows rows and kThreads dimensions.
template <class T>
struct Across {
    using Task = AcrossTask<T>;
    static constexpr int kThreads = 128, kRows = 16;
    static constexpr Size kShared = 0;
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size strips = (t.width + kThreads - 1) / kThreads;
        const Size k = block() % strips * kThreads + Size(thread()), first = block() / strips * kRows;
        if (k >= t.width) return;
        const Size item = first / t.item_rows, in_item = first % t.item_rows;
        const Size of_x = (t.samples[2 * item + 1].panel - t.samples[2 * item].panel) * kPanel;
        const Size side = in_item >= of_x;
        const Sample<T> sample = t.samples[2 * item + side];
        const double* const mean = t.means ? t.means + sample.group * t.d : nullptr;
        const Size group = in_item / t.depth, depth = depth_of_group(group, t.depth, t.item_rows);
        T* const to = t.across + (item * t.item_rows + group * t.depth) * t.width + k / kPanel * depth * kPanel +
                      (in_item - group * t.depth) * kPanel + k % kPanel;
        ISTHMUS_UNROLL
        for (int r = 0; r < kRows; ++r)
            to[r * kPanel] = packed_number(sample, in_item - side * of_x + Size(r), k, t.d, mean, t.scale);
    }
};

template <class T>
struct PullTask {
    const T *coefficients, *across, *norms;
    const double* totals;
    GradArea area;
    Size width, n_groups;
    double scale;  // of the sums
    double* sums;  // (n_groups, n_items, rows of the area, width)
    Size add;      // to what is there
};

// slope times d u / d p_i, but for a factor.
template <Pairing kPairing, class T>
ISTHMUS_DEVICE T add_pull(T slope, T own, T other, T sum) {
    if constexpr (kPairing == Pairing::CityBlock)
        return sum + (own > other ? slope : (own < other ? -slope : T(0)));
    else
        return fma(slope, own - other, sum);
}

// sums = the pulls of one group of columns on one tile of rows, some dimensions: one block each.
template <class T, class Shape, Pairing kPairing>
struct Pull {
    using Task = PullTask<T>;
    static constexpr int kThreads = Shape::kThreads, kEach = Shape::kEach, kSide = Shape::kSide;
    static constexpr Size kShared = kProductBytes<T, Shape> + (kSide + 1) * sizeof(double);
    ISTHMUS_DEVICE static void run(const Task& t) {
        const GradArea& area = t.area;
        const Size strips = t.width / kSide, rows = area.n_rows * kSide, cols = area.n_cols * kSide;
        const Size strip = block() % strips, group = block() / strips % t.n_groups;
        const Size tile = block() / strips / t.n_groups, row = tile % area.n_rows * kSide, item = tile / area.n_rows;
        const Size depth = depth_of_group(group, area.depth, cols);
        const T* const left = t.coefficients + item * rows * cols + group * area.depth * rows + row * depth;
        const Size first = (area.first_item + item) * area.item_rows;  // among all packed rows
        const auto rows_of_group = [&](Size begin, Size of_depth) {
            return t.across + (first + begin) * t.width + strip * (kSide / kPanel) * of_depth * kPanel;
        };
        const T* const right = rows_of_group(area.first_col * kSide + group * area.depth, depth);
        const Size own_row = area.first_row * kSide + row, own_group = own_row / area.depth;
        const Size own_depth = depth_of_group(own_group, area.depth, area.item_rows);
        const T* const own =
            rows_of_group(own_group * area.depth, own_depth) + (own_row - own_group * area.depth) * kPanel;
        const auto own_number = [&](int i, int j) {
            const int r = Shape::row(i), k = Shape::col(j);
            return own[Size(k / kPanel) * own_depth * kPanel + Size(r * kPanel + k % kPanel)];
        };
        double* const totals = reinterpret_cast<double*>(shared_memory() + kProductBytes<T, Shape>);
        T sum[kEach][kEach];
        const auto pull_directly = [&] {
            T* const slopes = reinterpret_cast<T*>(shared_memory());
            T* const others = slopes + kSlabSize<T, Shape>;
            T mine[kEach][kEach];
            ISTHMUS_UNROLL
            for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
            for (int j = 0; j < kEach; ++j) sum[i][j] = T(0), mine[i][j] = own_number(i, j);
            for (Size begin = 0; begin < depth; begin += kSlab) {
                sync_block();
                for (int e = thread(); e < kSlab * kSide; e += kThreads) {
                    const int k = e / kSide, r = e % kSide;
                    const Size from = (r / kPanel * depth + begin + Size(k)) * kPanel + Size(r % kPanel);
                    slopes[k * Shape::kStride + r] = left[from], others[k * Shape::kStride + r] = right[from];
                }
                sync_block();
                ISTHMUS_UNROLL_BY(2)
                for (int k = 0; k < kSlab; ++k) {
                    T slope[kEach], other[kEach];
                    ISTHMUS_UNROLL
                    for (int i = 0; i < kEach; ++i) {
                        slope[i] = slopes[k * Shape::kStride + Shape::row(i)];
                        other[i] = others[k * Shape::kStride + Shape::col(i)];
                    }
                    ISTHMUS_UNROLL
                    for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
                    for (int j = 0; j < kEach; ++j)
                        sum[i][j] = add_pull<kPairing>(slope[i], mine[i][j], other[j], sum[i][j]);
                }
            }
        };
        const auto write = [&](auto pull) {
            ISTHMUS_UNROLL
            for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
            for (int j = 0; j < kEach; ++j) {
                const Size at = ((group * area.n_items + item) * rows + row + Size(Shape::row(i))) * t.width +
                                strip * kSide + Size(Shape::col(j));
                const double part = t.scale * pull(i, j);
                t.sums[at] = t.add ? t.sums[at] + part : part;
            }
        };
        const auto as_it_is = [&](int i, int j) { return double(sum[i][j]); };
        if constexpr (kPairing == Pairing::Difference || kPairing == Pairing::CityBlock) {
            pull_directly();
            write(as_it_is);
        } else if constexpr (kPairing == Pairing::Dot) {
            form_products<T, Shape, Pairing::Dot>(left, right, depth, depth, sum, [] {});
            write(as_it_is);
        } else {
            const bool near = thread() >= kSide || double(t.norms[first + own_row + Size(thread())]) <= kFarthest;
            const double n_far = sum_of_block<kThreads>(near ? 0.0 : 1.0);
            if (thread() == 0) totals[kSide] = n_far;
            if (thread() < kSide) {
                const Size n_tiles = depth / kSide, before = item * area.n_cols + group * (area.depth / kSide);
                double total = 0;
                for (Size n = 0; n < n_tiles; ++n) total += t.totals[(before + n) * rows + row + Size(thread())];
                totals[thread()] = total;
            }
            sync_block();
            if (totals[kSide] > 0) {
                pull_directly();
                write(as_it_is);
            } else {
                form_products<T, Shape, Pairing::Dot>(left, right, depth, depth, sum, [] {});
                write(
                    [&](int i, int j) { return totals[Shape::row(i)] * double(own_number(i, j)) - double(sum[i][j]); });
            }
        }
    }
};

template <class T>
struct PlaceGradientsTask {
    const Sample<T>* samples;
    GradArea area;
    Size side, d, width, n_groups;  // side: rows of a tile
    const double* sums;
    T *dx, *dy;
    Size add;  // to what is there
};

// The gradients of an area's rows: w_i times the sums of all groups. One block a row and kStrip dimensions.
template <class T>
struct PlaceGradients {
    using Task = PlaceGradientsTask<T>;
    static constexpr int kThreads = 128, kEach = 4, kStrip = kEach * kThreads;
    static constexpr Size kShared = 0;
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size strips = tiles_across(t.d, kStrip), in_area = block() / strips;
        const Size rows = t.area.n_rows * t.side, item = t.area.first_item + in_area / rows;
        const Sample<T>* const samples = t.samples + 2 * item;
        const Size of_x = (samples[1].panel - samples[0].panel) * kPanel;
        Size row = t.area.first_row * t.side + in_area % rows;
        const bool of_y = row >= of_x;
        if (of_y) row -= of_x;
        const Sample<T> sample = samples[of_y];
        if (row >= sample.count) return;
        T* const to = (of_y ? t.dy : t.dx) + (item * sample.count + row) * t.d;
        const double weight = sample.weights ? double(sample.weights[row]) : 1.0;
        const Size first = block() % strips * kStrip + Size(thread());
        double sum[kEach] = {};
        for (Size group = 0; group < t.n_groups; ++group) ISTHMUS_UNROLL
        for (int e = 0; e < kEach; ++e) {
            const Size k = first + Size(e * kThreads);
            if (k < t.d) sum[e] += t.sums[(group * t.area.n_items * rows + in_area) * t.width + k];
        }
        ISTHMUS_UNROLL
        for (int e = 0; e < kEach; ++e) {
            const Size k = first + Size(e * kThreads);
            if (k < t.d) to[k] = T(weight * sum[e] + (t.add ? double(to[k]) : 0.0));
        }
    }
};

struct GradValuesTask {
    const double *partials, *diagonals;  // diagonals (items, 2), or null to leave them out
    Factors factors;
    Size n_tiles;  // of an item that have a partial
    double* values;
};

// values[item] = its tiles' partials and its diagonals. One block an item.
struct GradValues {
    using Task = GradValuesTask;
    static constexpr int kThreads = 256;
    static constexpr Size kShared = kThreads / kWarp * sizeof(double);
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size item = block();
        double total = 0;
        for (Size tile = Size(thread()); tile < t.n_tiles; tile += kThreads)
            total += t.partials[item * t.n_tiles + tile];
        total = sum_of_block<kThreads>(total);
        if (thread() != 0) return;
        if (t.diagonals)
            for (Size side = 0; side < 2; ++side) total += t.factors.at(item, side) * t.diagonals[2 * item + side];
        t.values[item] = total;
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
