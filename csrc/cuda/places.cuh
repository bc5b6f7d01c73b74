// Samples, and where their tiles lie.
#pragma once

#include "tiles.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// One sample: its rows (count, d) and their weights (count,), or null for 1; the panel from which on it is packed; the
// group whose mean is subtracted.
template <class T>
struct Sample {
    const T *rows, *weights;
    Size stride, count, panel, group;
};

// What the kernel sums of an item of two samples are multiplied by: within x, within y, across. MMD^2 is the first two
// products and twice the third.
struct Factors {
    const double* of_items;  // (items, 3), or null
    double of_all[3];        // else
    ISTHMUS_DEVICE double at(Size item, Size which) const {
        return of_items ? of_items[3 * item + which] : of_all[which];
    }
};

// Packed rows of all samples of a call, one sample behind the other, each from a new tile on.
template <class T>
struct Packed {
    const T *panels, *norms, *weights;  // norms null unless Gram; weights 0 for missing rows
    Size d, depth;                      // dimensions; padded with zeros to whole slabs
};

// Two sides of a tile, counted from the samples' first rows.
template <class T>
struct Place {
    const Sample<T>&left, &right;
    Size row, col;
};

// The t-th tile of a triangle of `down` tiles a side, row by row from the diagonal on.
ISTHMUS_FN void place_in_triangle(Size t, Size down, Size& row, Size& col) {
    // A guess in few registers, then exactly.
    const float side = float(2 * down + 1);
    const float guess = (side - sqrt(float(double(side) * double(side) - 8.0 * double(t)))) / 2;
    row = guess > 0 ? Size(guess) : 0;
    const auto before = [&](Size r) { return r * down - r * (r - 1) / 2 * (r > 0); };
    while (before(row) > t) --row;
    while (row + 1 < down && before(row + 1) <= t) ++row;
    col = row + (t - before(row));
}
ISTHMUS_FN Size tiles_in_triangle(Size down) { return down * (down + 1) / 2; }

// The k with first[k] <= at < first[k + 1], of `count` intervals.
ISTHMUS_FN Size interval_of(const Size* first, Size count, Size at) {
    Size low = 0, high = count;
    while (high - low > 1) {
        const Size middle = low + (high - low) / 2;
        (first[middle] <= at ? low : high) = middle;
    }
    return low;
}

// The t-th tile of a pair of samples: of the triangle for a sample with itself.
template <class T, class Shape>
ISTHMUS_DEVICE Place<T> place_of(const Sample<T>& left, const Sample<T>& right, Size t) {
    Place<T> p{left, right, 0, 0};
    const Size across = tiles_across(right.count, Shape::kSide);
    if (left.panel == right.panel)
        place_in_triangle(t, across, p.row, p.col);
    else
        p.row = t / across, p.col = t % across;
    p.row *= Shape::kSide, p.col *= Shape::kSide;
    return p;
}

// The tile after it.
template <class T, class Shape>
ISTHMUS_DEVICE void move_on(Place<T>& p) {
    p.col += Shape::kSide;
    if (p.col < p.right.count) return;
    p.row += Shape::kSide;
    p.col = p.left.panel == p.right.panel ? p.row : 0;
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
