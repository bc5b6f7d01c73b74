// The coefficients of a gradient where tiles are few and their dimensions many: blocks form the products of some of the
// dimensions each, then others add them up and go on, some rows of a tile each.
#pragma once

#include "slopes.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// Tiles of products of an area; of one with the same rows and columns those from the diagonal on.
struct ProductTiles {
    Size square, in_item, count;  // whether it is; tiles of an item; in all
    ISTHMUS_FN static ProductTiles of(const GradArea& area) {
        const Size square = area.n_rows == area.n_cols && area.first_row == area.first_col;
        const Size in_item = square ? tiles_in_triangle(area.n_rows) : area.n_rows * area.n_cols;
        return {square, in_item, area.n_items * in_item};
    }
    // Where tile (row, col) of an item of the area is; of a square one row <= col.
    ISTHMUS_FN Size number(const GradArea& area, Size item, Size row, Size col) const {
        const Size before = square ? in_item - tiles_in_triangle(area.n_rows - row) - row : row * area.n_cols;
        return item * in_item + before + col;
    }
};

template <class T>
struct ProductsTask {
    Packed<T> packed;
    const Sample<T>* samples;
    GradArea area;
    ProductTiles tiles;
    Size split;   // its dimensions, whole slabs
    T* products;  // (splits, tiles) of rows
};

// products = those of one split of the dimensions. One block a tile and split.
template <class T, class Shape, Pairing kPairing>
struct Products {
    using Task = ProductsTask<T>;
    static constexpr int kThreads = Shape::kThreads;
    static constexpr Size kShared = kProductBytes<T, Shape>;
    ISTHMUS_DEVICE static void run(const Task& t) {
        constexpr Size kSide = Shape::kSide;
        const Size begin = block() / t.tiles.count * t.split, left_over = t.packed.depth - begin;
        const Size in_item = block() % t.tiles.in_item, item = block() % t.tiles.count / t.tiles.in_item;
        Size row = in_item / t.area.n_cols, col = in_item % t.area.n_cols;
        if (t.tiles.square) place_in_triangle(in_item, t.area.n_rows, row, col);
        const GradTile tile =
            GradTile::at<Shape>(t.samples, t.area.first_item + item, t.area.first_row + row, t.area.first_col + col);
        T sum[Shape::kEach][Shape::kEach];
        form_products_of<T, Shape, kPairing>(t.packed, tile.packed_left(t.samples), tile.packed_right(t.samples), begin,
                                             left_over < t.split ? left_over : t.split, sum, [] {});
        T* const to = t.products + block() * (kSide * kSide);
        ISTHMUS_UNROLL
        for (int i = 0; i < Shape::kEach; ++i) ISTHMUS_UNROLL
        for (int j = 0; j < Shape::kEach; ++j) to[Size(Shape::row(i)) * kSide + Size(Shape::col(j))] = sum[i][j];
    }
};

template <class T>
struct SplitSlopesTask {
    SlopesTask<T> slopes;  // its partials (items, most_rows, most_cols, parts)
    ProductTiles tiles;
    const T* products;
    Size n_splits;
};

constexpr int kRowsOfPart = 8;

// The coefficients of some rows of a tile, and what Slopes adds up of them. A thread has a column.
template <class T, class Shape, class Values>
struct SplitSlopes {
    using Task = SplitSlopesTask<T>;
    static constexpr int kThreads = Shape::kSide, kRows = kRowsOfPart;
    static constexpr int kParts = Shape::kSide / kRows, kWarps = kThreads / kWarp;
    static constexpr Size kShared = kRows * kThreads * sizeof(T);
    static_assert(kWarps * kRows * sizeof(double) <= kShared && kPanel % kRows == 0);

    ISTHMUS_DEVICE static void run(const Task& task) {
        const SlopesTask<T>& t = task.slopes;
        const GradTile tile = GradTile::of<Shape>(t.area, t.samples, block() / kParts);
        const int first = int(block() % kParts) * kRows, col = thread();
        const Size left = tile.packed_left(t.samples) + Size(first), right = tile.packed_right(t.samples) + Size(col);
        const bool keep_own = Values::kPairing == Pairing::Dot && t.with_diagonal;
        const int own = tile.row == tile.col ? col - first : -1;  // the row that is the column's own
        const double factor = t.factor_of(tile);
        const T weight = t.packed.weights[right], scale = T(factor * double(weight));
        T u[kRows], slope[kRows];
        add_products(task, tile, first, u);
        if constexpr (Values::kPairing == Pairing::Gram) form_distances_of(t, tile, first, left, right, own, u);
        form_slopes(Values(t.terms), u, slope);

        Size depth = 0;
        T* const to = t.tile_of(tile, kThreads, depth) + (Size(first / kPanel) * depth + Size(col)) * kPanel +
                      Size(first % kPanel);
        double total = 0, of_rows[kRows];
        ISTHMUS_UNROLL
        for (int r = 0; r < kRows; ++r) {
            if (r != own) total += double(t.packed.weights[left + Size(r)]) * double(u[r]);
            const T coefficient = r == own && !keep_own ? T(0) : scale * slope[r];
            to[r] = t.add ? to[r] + coefficient : coefficient;
            of_rows[r] = double(coefficient);
        }
        total = factor * sum_of_block<kThreads>(double(weight) * total);
        double& partial = t.partials[t.partial_of(tile) * kParts + block() % kParts];
        if (thread() == 0) partial = t.add_value ? partial + total : total;

        double* const of_warps = reinterpret_cast<double*>(shared_memory());  // (kWarps, kRows)
        ISTHMUS_UNROLL
        for (int r = 0; r < kRows; ++r) {
            for (int mask = kWarp / 2; mask; mask /= 2) of_rows[r] += from_lane_xor(of_rows[r], mask);
            if (thread() % kWarp == 0) of_warps[thread() / kWarp * kRows + r] = of_rows[r];
        }
        sync_block();
        if (thread() >= kRows) return;
        double of_row = 0;
        for (int warp = 0; warp < kWarps; ++warp) of_row += of_warps[warp * kRows + thread()];
        double& out = t.totals_of(tile, kThreads)[first + thread()];
        out = t.add ? out + of_row : of_row;
    }

  private:
    // u = the products of the splits, added up; those of a mirrored tile are along its rows.
    ISTHMUS_DEVICE static void add_products(const Task& t, const GradTile& tile, int first, T (&u)[kRows]) {
        constexpr Size kSide = kThreads;
        const GradArea& area = t.slopes.area;
        const Size row = tile.row - area.first_row, col = tile.col - area.first_col;
        const bool mirrored = t.tiles.square && row > col;
        const Size number =
            t.tiles.number(area, tile.item - area.first_item, mirrored ? col : row, mirrored ? row : col);
        const T* from = t.products + number * (kSide * kSide) +
                        (mirrored ? Size(thread()) * kSide + Size(first) : Size(first) * kSide + Size(thread()));
        const Size step = mirrored ? 1 : kSide;
        ISTHMUS_UNROLL
        for (int r = 0; r < kRows; ++r) u[r] = T(0);
        ISTHMUS_UNROLL_BY(4)
        for (Size split = 0; split < t.n_splits; ++split, from += t.tiles.count * (kSide * kSide)) ISTHMUS_UNROLL
        for (int r = 0; r < kRows; ++r) u[r] += from[Size(r) * step];
    }

    // Squared distances in place of products, as form_distances has them for a whole tile.
    ISTHMUS_DEVICE static void form_distances_of(const SlopesTask<T>& t, const GradTile& tile, int first, Size left,
                                                 Size right, int own, T (&u)[kRows]) {
        const T own_norm = t.packed.norms[right];
        T norms[kRows];
        bool spoilt = false;
        ISTHMUS_UNROLL
        for (int r = 0; r < kRows; ++r) {
            norms[r] = t.packed.norms[left + Size(r)] + own_norm;
            u[r] = r == own ? T(0) : larger(fma(T(-2), u[r], norms[r]), T(0));
            spoilt |= !(fma(t.terms.guard, norms[r], -u[r]) <= T(1));
        }
        if (!spoilt) return;
        const Sample<T>&above = t.samples[tile.left], &beside = t.samples[tile.right];
        const Size row = tile.of_left + Size(first), col = tile.of_right + Size(thread());
        T* const kept = reinterpret_cast<T*>(shared_memory()) + thread();
        ISTHMUS_UNROLL
        for (int r = 0; r < kRows; ++r) kept[r * kThreads] = fma(t.terms.guard, norms[r], -u[r]) <= T(1) ? u[r] : T(-1);
        ISTHMUS_UNROLL_BY(1)
        for (int r = 0; r < kRows; ++r) {
            if (kept[r * kThreads] >= T(0)) continue;
            const bool there = row + Size(r) < above.count && col < beside.count;
            kept[r * kThreads] = there ? direct_distance(above.rows + (row + Size(r)) * above.stride,
                                                         beside.rows + col * beside.stride, t.packed.d, t.terms)
                                       : T(0);  // its weight 0 would not clear an infinite one
        }
        ISTHMUS_UNROLL
        for (int r = 0; r < kRows; ++r) u[r] = kept[r * kThreads];
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
