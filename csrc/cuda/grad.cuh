// Gradients of sums of the kernel over two samples. The pooled rows of an item, those of x and then those of y, each
// from a new tile on, are paired with themselves, some rows with some columns at a time: first the coefficients
//     c_ij = f w_j k'(u_ij)
// are stored, with f of the samples of i and j; then they are multiplied with the packed rows p,
//     sum_j c_ij (p_i - p_j) = p_i sum_j c_ij - sum_j c_ij p_j.
// Both are tiles of products that can be split, so that few rows of many dimensions fill a GPU too.
#pragma once

#include "pack.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// Beyond this |p|^2 the products with coefficients cancel in the sums over rows: differences are formed there.
constexpr double kFarthest = 64;

// Where a launch is: of each of n_items items some tiles down and across the pairs of its pooled rows. Columns are
// multiplied in groups of `depth`, a whole number of tiles; an item has `item_rows` rows in all.
struct GradArea {
    Size first_item, n_items, first_row, n_rows, first_col, n_cols;  // rows and columns in tiles
    Size item_rows, depth;
    Size most_rows, most_cols;  // of any launch, the first one of an item
};

ISTHMUS_FN Size depth_of_group(Size group, Size depth, Size count) {
    return count - group * depth < depth ? count - group * depth : depth;
}

// The numbers of a tile in the order in which its threads hold them.
template <class Shape>
ISTHMUS_DEVICE Size held_at(Size tile, int i, int j) {
    return (tile * Shape::kEach * Shape::kEach + Size(i * Shape::kEach + j)) * Shape::kThreads + Size(thread());
}

// The t-th tile of an area.
struct GradTile {
    Size item, row, col;     // row and column in tiles, counted from the item's first
    Size left, right;        // samples, those of x even
    Size of_left, of_right;  // rows before the tile in its samples
    // The first row of either side among all packed rows.
    template <class T>
    ISTHMUS_DEVICE Size packed_left(const Sample<T>* samples) const {
        return samples[left].panel * kPanel + of_left;
    }
    template <class T>
    ISTHMUS_DEVICE Size packed_right(const Sample<T>* samples) const {
        return samples[right].panel * kPanel + of_right;
    }
    template <class Shape, class T>
    ISTHMUS_DEVICE static GradTile of(const GradArea& area, const Sample<T>* samples, Size t) {
        const Size in_item = area.n_rows * area.n_cols, item = area.first_item + t / in_item;
        const Size row = area.first_row + t % in_item / area.n_cols, col = area.first_col + t % area.n_cols;
        const Size of_x = tiles_across(samples[2 * item].count, Shape::kSide);
        const bool below = row >= of_x, beside = col >= of_x;
        return {item,
                row,
                col,
                2 * item + below,
                2 * item + beside,
                (row - (below ? of_x : 0)) * Shape::kSide,
                (col - (beside ? of_x : 0)) * Shape::kSide};
    }
};

template <class T>
struct ProductsTask {
    Packed<T> packed;
    const Sample<T>* samples;
    GradArea area;
    Size n_tiles, split;  // split: its dimensions, whole slabs
    T* products;          // (splits, n_tiles) tiles
};

// The products of a tile over some of the packed dimensions.
template <class T, class Shape, Pairing kPairing, class Also>
ISTHMUS_DEVICE void form_products_of(const Packed<T>& packed, Size left, Size right, Size begin, Size count,
                                     T (&sum)[Shape::kEach][Shape::kEach], const Also& also) {
    const auto panels = [&](Size row) { return packed.panels + row * packed.depth + begin * kPanel; };
    form_products<T, Shape, kPairing>(panels(left), panels(right), packed.depth, count, sum, also);
}

// products = those of one split of the dimensions. One block a tile and split.
template <class T, class Shape, Pairing kPairing>
struct Products {
    using Task = ProductsTask<T>;
    static constexpr int kThreads = Shape::kThreads;
    static constexpr Size kShared = kProductBytes<T, Shape>;
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size begin = block() / t.n_tiles * t.split, left_over = t.packed.depth - begin;
        T sum[Shape::kEach][Shape::kEach];
        const GradTile tile = GradTile::of<Shape>(t.area, t.samples, block() % t.n_tiles);
        form_products_of<T, Shape, kPairing>(t.packed, tile.packed_left(t.samples), tile.packed_right(t.samples), begin,
                                             left_over < t.split ? left_over : t.split, sum, [] {});
        ISTHMUS_UNROLL
        for (int i = 0; i < Shape::kEach; ++i) ISTHMUS_UNROLL
        for (int j = 0; j < Shape::kEach; ++j) t.products[held_at<Shape>(block(), i, j)] = sum[i][j];
    }
};

// A kernel sum and its derivative by the tile's u.
template <class T>
struct Slope {
    T value, slope;
};

// The values at u in its place, and the slopes.
template <class T, class Kernel, int kCount>
ISTHMUS_DEVICE void form_slopes(const One<T, Kernel>& one, T (&u)[kCount], T (&slope)[kCount]) {
    ISTHMUS_UNROLL
    for (int e = 0; e < kCount; ++e) slope[e] = one.factor * one.kernel.slope(u[e]), u[e] = one(u[e]);
}

template <class T, int kCount>
ISTHMUS_DEVICE void form_slopes(const Gaussians<T>& sum, T (&u)[kCount], T (&slope)[kCount]) {
    T value[kCount] = {};
    ISTHMUS_UNROLL
    for (int e = 0; e < kCount; ++e) slope[e] = T(0);
    sum.each_term(u, [&](int n, const T(&power)[kCount]) {
        const T weight = sum.terms.weight[n], slope_weight = T(-kLn2) * sum.terms.factor[n] * weight;
        ISTHMUS_UNROLL
        for (int e = 0; e < kCount; ++e) {
            value[e] = fma(weight, power[e], value[e]);
            slope[e] = fma(slope_weight, power[e], slope[e]);
        }
    });
    ISTHMUS_UNROLL
    for (int e = 0; e < kCount; ++e) u[e] = value[e];
}

template <class T>
ISTHMUS_DEVICE_CALL Slope<T> slope_of_any(const Terms<T>& terms, T u) {
    Slope<T> found{0, 0};
    for (int n = 0; n < terms.count; ++n) {
        const T at = terms.factor[n] * u;
        unsigned number = 0;
#define ISTHMUS_X(K, name, n_params)                                                         \
    if (terms.kernel[n] == number++) {                                                       \
        const K<T> kernel(terms.params[n]);                                                  \
        found.value = fma(terms.weight[n], kernel.value(at), found.value);                   \
        found.slope = fma(terms.weight[n] * terms.factor[n], kernel.slope(at), found.slope); \
    }
        ISTHMUS_KERNELS(ISTHMUS_X)
#undef ISTHMUS_X
    }
    return found;
}

template <class T, Pairing kPairing, int kCount>
ISTHMUS_DEVICE void form_slopes(const Any<T, kPairing>& sum, T (&u)[kCount], T (&slope)[kCount]) {
    ISTHMUS_UNROLL
    for (int e = 0; e < kCount; ++e) {
        const Slope<T> found = slope_of_any<T>(sum.terms, u[e]);
        u[e] = found.value, slope[e] = found.slope;
    }
}

template <class T>
struct SlopesTask {
    Packed<T> packed;
    Terms<T> terms;
    const Sample<T>* samples;
    Factors factors;
    GradArea area;
    Size with_diagonal;
    const T* products;  // of the splits, or null to form them here
    Size n_splits;
    T* coefficients;      // (n_items, groups of columns) panels of rows, as the tiles of Pull read them
    double* totals;       // (n_items, n_cols, rows): the coefficients of a tile's rows added up
    double* partials;     // (items, most_rows, most_cols)
    Size add, add_value;  // to what is there
};

// Which of the threads that share a row of a tile; kSharing of them.
template <class T, int kSide, int kQuads>
ISTHMUS_DEVICE int place_in_row(Plain<T, kSide, kQuads>) {
    return thread() % Plain<T, kSide, kQuads>::kAcross;
}
ISTHMUS_DEVICE int place_in_row(Tensor) { return thread() / kWarp / 2 * 4 + Tensor::lane() % 4; }
template <class Shape>
constexpr int kSharing = Shape::kSide / Shape::kEach;

// The coefficients of a tile, their sums by rows, and partials = f sum w_i w_j k_ij over i != j. One block a
// tile.
template <class T, class Shape, class Values>
struct Slopes {
    using Task = SlopesTask<T>;
    static constexpr int kThreads = Shape::kThreads, kEach = Shape::kEach, kSide = Shape::kSide;
    static constexpr Size kShared = kProductBytes<T, Shape>;
    ISTHMUS_DEVICE static void run(const Task& t) {
        static_assert(kSide * kSharing<Shape> * sizeof(T) <= kShared);
        const GradArea& area = t.area;
        const GradTile tile = GradTile::of<Shape>(area, t.samples, block());
        const Size packed_left = tile.packed_left(t.samples), packed_right = tile.packed_right(t.samples);
        const auto copy_sides = [&] { copy_of_sides<T, Shape, Values::kPairing>(t.packed, packed_left, packed_right); };
        T at[kEach][kEach];
        if (t.products) {
            copy_sides();
            end_copies();
            ISTHMUS_UNROLL
            for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
            for (int j = 0; j < kEach; ++j) at[i][j] = t.products[held_at<Shape>(block(), i, j)];
            for (Size split = 1; split < t.n_splits; ++split) ISTHMUS_UNROLL
            for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
            for (int j = 0; j < kEach; ++j) at[i][j] += t.products[held_at<Shape>(split * n_blocks() + block(), i, j)];
            wait_for_copies<0>();
            sync_block();
        } else {
            form_products_of<T, Shape, Values::kPairing>(t.packed, packed_left, packed_right, 0, t.packed.depth, at,
                                                         copy_sides);
        }
        const Sample<T>&left = t.samples[tile.left], &right = t.samples[tile.right];
        if constexpr (Values::kPairing == Pairing::Gram)
            form_distances<T, Shape>(t.packed, Place<T>{left, right, tile.of_left, tile.of_right}, t.terms, at);

        const Size rows = area.n_rows * kSide, cols = area.n_cols * kSide, item = tile.item - area.first_item;
        const Size row = (tile.row - area.first_row) * kSide, col = (tile.col - area.first_col) * kSide;
        const Size group = col / area.depth, depth = depth_of_group(group, area.depth, cols);
        T* const to = t.coefficients + item * rows * cols + group * area.depth * rows + row * depth +
                      (col - group * area.depth) * kPanel;
        const T *const left_weights = t.packed.weights + packed_left, *const right_weights =
                                                                          t.packed.weights + packed_right;
        const double factor = t.factors.at(tile.item, tile.left == tile.right ? tile.left % 2 : 2);
        const bool diagonal = tile.row == tile.col;
        const bool keep_own = Values::kPairing == Pairing::Dot && t.with_diagonal;
        const Values values(t.terms);
        T weights[kEach], scales[kEach], of_rows[kEach];
        ISTHMUS_UNROLL
        for (int j = 0; j < kEach; ++j) {
            weights[j] = right_weights[Shape::col(j)];
            scales[j] = T(factor * double(weights[j]));
        }
        double total = 0;
        ISTHMUS_UNROLL
        for (int i = 0; i < kEach; ++i) {
            // Few additions in T, then float64.
            T sum = 0, slope[kEach];
            of_rows[i] = 0;
            form_slopes(values, at[i], slope);
            ISTHMUS_UNROLL
            for (int j = 0; j < kEach; ++j) {
                const bool own = diagonal && Shape::row(i) == Shape::col(j);
                sum = own ? sum : fma(weights[j], at[i][j], sum);
                const T coefficient = own && !keep_own ? T(0) : scales[j] * slope[j];
                T& out = to[Size(Shape::row(i) / kPanel) * depth * kPanel + Size(Shape::col(j) * kPanel) +
                            Size(Shape::row(i) % kPanel)];
                out = t.add ? out + coefficient : coefficient;
                of_rows[i] += coefficient;
            }
            total += double(left_weights[Shape::row(i)]) * double(sum);
        }
        total = factor * sum_of_block<kThreads>(total);
        double& partial = t.partials[(tile.item * area.most_rows + tile.row - area.first_row) * area.most_cols +
                                     tile.col - area.first_col];
        if (thread() == 0) partial = t.add_value ? partial + total : total;

        T* const shared = reinterpret_cast<T*>(shared_memory());
        ISTHMUS_UNROLL
        for (int i = 0; i < kEach; ++i) shared[place_in_row(Shape{}) * kSide + Shape::row(i)] = of_rows[i];
        sync_block();
        if (thread() >= kSide) return;
        double of_row = 0;
        for (int n = 0; n < kSharing<Shape>; ++n) of_row += double(shared[n * kSide + thread()]);
        double& out = t.totals[(item * area.n_cols + col / kSide) * rows + row + Size(thread())];
        out = t.add ? out + of_row : of_row;
    }
};

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

// The gradients of an area's rows: w_i times the sums of all groups. One block a row.
template <class T>
struct PlaceGradients {
    using Task = PlaceGradientsTask<T>;
    static constexpr int kThreads = 128;
    static constexpr Size kShared = 0;
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size rows = t.area.n_rows * t.side, item = t.area.first_item + block() / rows;
        const Sample<T>* const samples = t.samples + 2 * item;
        const Size of_x = (samples[1].panel - samples[0].panel) * kPanel;
        Size row = t.area.first_row * t.side + block() % rows;
        const bool of_y = row >= of_x;
        if (of_y) row -= of_x;
        const Sample<T> sample = samples[of_y];
        if (row >= sample.count) return;
        T* const to = (of_y ? t.dy : t.dx) + (item * sample.count + row) * t.d;
        const double weight = sample.weights ? double(sample.weights[row]) : 1.0;
        for (Size k = Size(thread()); k < t.d; k += kThreads) {
            double sum = 0;
            for (Size group = 0; group < t.n_groups; ++group)
                sum += t.sums[(group * t.area.n_items * rows + block()) * t.width + k];
            to[k] = T(weight * sum + (t.add ? double(to[k]) : 0.0));
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
