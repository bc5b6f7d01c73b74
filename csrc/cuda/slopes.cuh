// Gradients of sums of the kernel over two samples, first half: the coefficients
//     c_ij = f w_j k'(u_ij)
// of the pooled rows of an item, those of x and then those of y, each from a new tile on, with themselves, some rows
// with some columns at a time; f is of the samples of i and j. Few tiles of many dimensions are split, so that they
// fill a GPU too.
#pragma once

#include "pack.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

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
    // The t-th tile of an area.
    template <class Shape, class T>
    ISTHMUS_DEVICE static GradTile of(const GradArea& area, const Sample<T>* samples, Size t) {
        const Size in_item = area.n_rows * area.n_cols;
        return at<Shape>(samples, area.first_item + t / in_item, area.first_row + t % in_item / area.n_cols,
                         area.first_col + t % area.n_cols);
    }
    template <class Shape, class T>
    ISTHMUS_DEVICE static GradTile at(const Sample<T>* samples, Size item, Size row, Size col) {
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

// The products of a tile over some of the packed dimensions.
template <class T, class Shape, Pairing kPairing, class Also>
ISTHMUS_DEVICE void form_products_of(const Packed<T>& packed, Size left, Size right, Size begin, Size count,
                                     T (&sum)[Shape::kEach][Shape::kEach], const Also& also) {
    const auto panels = [&](Size row) { return packed.panels + row * packed.depth + begin * kPanel; };
    form_products<T, Shape, kPairing>(panels(left), panels(right), packed.depth, count, sum, also);
}

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
    T* coefficients;      // (n_items, groups of columns) panels of rows, as the tiles of Pull read them
    double* totals;       // (n_items, n_cols, rows): the coefficients of a tile's rows added up
    double* partials;     // (items, most_rows, most_cols)
    Size add, add_value;  // to what is there

    // The first coefficient of a tile, the panel of column j of row i at [i / kPanel * depth + j][i % kPanel].
    ISTHMUS_DEVICE T* tile_of(const GradTile& tile, Size side, Size& depth) const {
        const Size rows = area.n_rows * side, cols = area.n_cols * side, item = tile.item - area.first_item;
        const Size row = (tile.row - area.first_row) * side, col = (tile.col - area.first_col) * side;
        const Size group = col / area.depth;
        depth = depth_of_group(group, area.depth, cols);
        return coefficients + item * rows * cols + group * area.depth * rows + row * depth +
               (col - group * area.depth) * kPanel;
    }
    // The totals of a tile's rows.
    ISTHMUS_DEVICE double* totals_of(const GradTile& tile, Size side) const {
        const Size before = (tile.item - area.first_item) * area.n_cols + tile.col - area.first_col;
        return totals + (before * area.n_rows + tile.row - area.first_row) * side;
    }
    ISTHMUS_DEVICE Size partial_of(const GradTile& tile) const {
        return (tile.item * area.most_rows + tile.row - area.first_row) * area.most_cols + tile.col - area.first_col;
    }
    ISTHMUS_DEVICE double factor_of(const GradTile& tile) const {
        return factors.at(tile.item, tile.left == tile.right ? tile.left % 2 : 2);
    }
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
        const GradTile tile = GradTile::of<Shape>(t.area, t.samples, block());
        const Size packed_left = tile.packed_left(t.samples), packed_right = tile.packed_right(t.samples);
        const auto copy_sides = [&] { copy_of_sides<T, Shape, Values::kPairing>(t.packed, packed_left, packed_right); };
        T at[kEach][kEach];
        form_products_of<T, Shape, Values::kPairing>(t.packed, packed_left, packed_right, 0, t.packed.depth, at,
                                                     copy_sides);
        const Sample<T>&left = t.samples[tile.left], &right = t.samples[tile.right];
        if constexpr (Values::kPairing == Pairing::Gram)
            form_distances<T, Shape>(t.packed, Place<T>{left, right, tile.of_left, tile.of_right}, t.terms, at);

        Size depth = 0;
        T* const to = t.tile_of(tile, kSide, depth);
        const T *const left_weights = t.packed.weights + packed_left, *const right_weights =
                                                                          t.packed.weights + packed_right;
        const double factor = t.factor_of(tile);
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
        double& partial = t.partials[t.partial_of(tile)];
        if (thread() == 0) partial = t.add_value ? partial + total : total;

        T* const shared = reinterpret_cast<T*>(shared_memory());
        ISTHMUS_UNROLL
        for (int i = 0; i < kEach; ++i) shared[place_in_row(Shape{}) * kSide + Shape::row(i)] = of_rows[i];
        sync_block();
        if (thread() >= kSide) return;
        double of_row = 0;
        for (int n = 0; n < kSharing<Shape>; ++n) of_row += double(shared[n * kSide + thread()]);
        double& out = t.totals_of(tile, kSide)[thread()];
        out = t.add ? out + of_row : of_row;
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
