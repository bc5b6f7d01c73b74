// The tile functions, compiled once per instruction set: tile of pairs -> kernel function -> consumer.
// No standard library here: an inline function of it, compiled for a new machine, could win at link time on an old one.
#include "engine.hpp"

#include <assert.h>
#include <string.h>

#include "simd.hpp"
#include "tile.hpp"

#include "../ops.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <class T>
constexpr int kTile = kRows * kCols<T>;

template <class T>
struct Scratch {
    alignas(64) T u[kTile<T>];
    alignas(64) T value[kTile<T>];
};

constexpr Pairing natural(Input input) {
    switch (input) {
        case Input::Distance: return Pairing::Gram;
        case Input::SharpDistance: return Pairing::Difference;
        case Input::CityBlock: return Pairing::CityBlock;
        default: return Pairing::Dot;
    }
}

// Calls f with the kernel struct that a term names.
template <class T, class F>
ISTHMUS_FN void with_kernel(const Term& term, F f) {
    enum Number : unsigned {
#define ISTHMUS_X(K, name, n_params) kNumber##K,
        ISTHMUS_KERNELS(ISTHMUS_X)
#undef ISTHMUS_X
    };
    switch (term.kernel) {
#define ISTHMUS_X(K, name, n_params) \
    case kNumber##K: return f(K<T>(term.params));
        ISTHMUS_KERNELS(ISTHMUS_X)
#undef ISTHMUS_X
        default: assert(false);
    }
}

// ---- pack ----------------------------------------------------------------------------------------------------------

constexpr size_t kPackDepth = 16;  // dimensions turned at a time
constexpr size_t kPackWidth = 32;  // room for the wider panel

// (x - centre) * scale for `count` dimensions of one row, computed in float64.
template <class T>
ISTHMUS_FN void scale_row(const PackTask<T>& t, const T* x, size_t k0, size_t count, T* out) {
    if (t.step != 1) {
        for (size_t k = 0; k < count; ++k) out[k] = T(double(x[ptrdiff_t(k) * t.step]) * t.scale);
    } else if (t.centre) {
        for (size_t k = 0; k < count; ++k) out[k] = T((double(x[k]) - t.centre[k0 + k]) * t.scale);
    } else {
        for (size_t k = 0; k < count; ++k) out[k] = T(double(x[k]) * t.scale);
    }
}

// Turns one 16-byte square: rows kPackDepth apart become columns kPackWidth apart.
ISTHMUS_FN void turn_square(const float* block, float* columns) {
    typedef float Quad __attribute__((vector_size(16)));
    Quad row[4];
    for (int r = 0; r < 4; ++r) memcpy(&row[r], block + r * kPackDepth, sizeof(Quad));
    const Quad low0 = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
    const Quad low1 = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
    const Quad high0 = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
    const Quad high1 = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
    row[0] = __builtin_shufflevector(low0, low1, 0, 1, 4, 5);
    row[1] = __builtin_shufflevector(low0, low1, 2, 3, 6, 7);
    row[2] = __builtin_shufflevector(high0, high1, 0, 1, 4, 5);
    row[3] = __builtin_shufflevector(high0, high1, 2, 3, 6, 7);
    for (int k = 0; k < 4; ++k) memcpy(columns + k * kPackWidth, &row[k], sizeof(Quad));
}
ISTHMUS_FN void turn_square(const double* block, double* columns) {
    for (int r = 0; r < 2; ++r)
        for (int k = 0; k < 2; ++k) columns[k * kPackWidth + r] = block[r * kPackDepth + k];
}

// A norm is summed like the tile's own products, so that equal rows give u = 0 to the bit.
template <size_t kWidth, class T>
void pack_panel(const PackTask<T>& t, size_t first, T* panel, T* norms) noexcept {
    constexpr size_t kSquare = 16 / sizeof(T);
    constexpr size_t kPadded = (kWidth + kSquare - 1) / kSquare * kSquare;
    static_assert(kPadded <= kPackWidth && kPackWidth % kLanes<T> == 0);
    alignas(64) T squares[kPackWidth] = {};
    alignas(64) T block[kPadded][kPackDepth] = {};
    alignas(64) T columns[kPackDepth][kPackWidth] = {};
    const size_t present = t.count - first < kWidth ? t.count - first : kWidth;
    const T times = T(t.times);
    for (size_t k0 = 0; k0 < t.depth; k0 += kPackDepth) {
        const size_t depth = t.depth - k0 < kPackDepth ? t.depth - k0 : kPackDepth;
        const size_t filled = k0 >= t.d ? 0 : (t.d - k0 < depth ? t.d - k0 : depth);
        for (size_t r = 0; r < present; ++r) {
            const T* x = t.rows + ptrdiff_t(first + r) * t.stride + ptrdiff_t(k0) * t.step;
            if (filled < kPackDepth) memset(block[r], 0, sizeof(block[r]));
            if (filled == kPackDepth)
                scale_row(t, x, k0, kPackDepth, block[r]);
            else
                scale_row(t, x, k0, filled, block[r]);
        }
        for (size_t r = 0; r < kPadded; r += kSquare)
            for (size_t k = 0; k < kPackDepth; k += kSquare) turn_square(&block[r][k], &columns[k][r]);
        for (size_t k = 0; k < depth; ++k) {
            for (size_t r = 0; norms && r < kWidth; r += kLanes<T>) {
                const Pack<T> v = load(columns[k] + r);
                store(squares + r, fma(v, v, load(squares + r)));
            }
            T* out = panel + (k0 + k) * kWidth;
            for (size_t r = 0; r < kWidth; ++r) out[r] = columns[k][r] * times;
        }
    }
    if (norms) memcpy(norms, squares, kWidth * sizeof(T));
}

template <size_t kWidth, class T>
void pack_as(const PackTask<T>& t) noexcept {
    for (size_t first = 0; first < t.count; first += kWidth)
        pack_panel<kWidth>(t, first, t.panels + first * t.depth, t.norms ? t.norms + first : nullptr);
}

template <class T>
void pack(const PackTask<T>& t) noexcept {
    assert(t.width == size_t(kRows) || t.width == size_t(kCols<T>));
    if (t.width == size_t(kRows))
        pack_as<size_t(kRows)>(t);
    else
        pack_as<size_t(kCols<T>)>(t);
}

// ---- kernel values of one tile, through memory ---------------------------------------------------------------------

template <class T>
void apply(const Terms& terms, const T* u, T* out, size_t count) noexcept {
    assert(count % kLanes<T> == 0);
    for (size_t i = 0; i < count; i += kLanes<T>) store(out + i, Pack<T>{});
    for (size_t n = 0; n < terms.count; ++n) {
        const Pack<T> weight = splat(T(terms.data[n].weight)), factor = splat(T(terms.data[n].factor));
        with_kernel<T>(terms.data[n], [&](auto kernel) {
            for (size_t i = 0; i < count; i += kLanes<T>)
                store(out + i, load(out + i) + weight * kernel.value(factor * load(u + i)));
        });
    }
}

template <class T>
struct Place {  // one tile of a Tiles
    const T *a, *b, *left_norms, *right_norms, *left_raw, *right_raw;
    size_t row, col, d;
};

template <class T>
ISTHMUS_FN Place<T> place(const Tiles<T>& t, size_t left, size_t right) {
    const auto from = [](const T* start, size_t elements) { return start ? start + elements : nullptr; };
    const size_t row = left * kRows, col = right * kCols<T>;
    return {t.left.rows + row * t.d,
            t.right.rows + col * t.d,
            from(t.left.norms, row),
            from(t.right.norms, col),
            from(t.left.raw, row * t.d),
            from(t.right.raw, col * t.d),
            row,
            col,
            t.d};
}

template <Pairing kPairing, class T>
void write_tile(const T* a, const T* b, const Place<T>& p, T* u) noexcept {
    Tile<T> tile;
    form_tile<kPairing>(a, b, p.d, p.left_norms, p.right_norms, tile);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
        store(u + r * kCols<T>, tile.at[r][0]);
        store(u + r * kCols<T> + kLanes<T>, tile.at[r][1]);
    }
}

// Whether some pair of the tile may need its raw rows.
template <class T>
ISTHMUS_FN bool guarded(const Place<T>& p, const Guard& g) {
    if (!p.left_raw) return false;
    T left = 0, right = 0;
    for (int r = 0; r < kRows; ++r) left = p.left_norms[r] > left ? p.left_norms[r] : left;
    for (int c = 0; c < kCols<T>; ++c) right = p.right_norms[c] > right ? p.right_norms[c] : right;
    return g.guard * double(left + right) > 1.0;
}

// Replaces the u of near pairs of long rows.
template <class T>
void mend_near_pairs(const Place<T>& p, const Guard& g, T* u) noexcept {
    const Pack<T> guard = splat(T(g.guard)), one = splat(T(1)), factor = splat(T(g.raw_factor));
    const auto near = [&](int r, int c) {
        return guard * (splat(p.left_norms[r]) + load(p.right_norms + c)) > one + load(u + r * kCols<T> + c);
    };
    bool any = false;
    for (int r = 0; r < kRows; ++r)
        for (int c = 0; c < kCols<T>; c += kLanes<T>) {
            const auto found = near(r, c);
            for (int i = 0; i < kLanes<T>; ++i) any |= found[i] != 0;
        }
    if (!any) return;
    alignas(64) T direct[kTile<T>];
    write_tile<Pairing::Difference>(p.left_raw, p.right_raw, p, direct);
    for (int r = 0; r < kRows; ++r)
        for (int c = 0; c < kCols<T>; c += kLanes<T>) {
            T* at = u + r * kCols<T> + c;
            store(at, near(r, c) ? factor * load(direct + r * kCols<T> + c) : load(at));
        }
}

// value (kRows, kCols) = sum of the terms.
template <class T>
void tile_values(const Tiles<T>& t, const Place<T>& p, T* u, T* value) noexcept {
    switch (t.terms.pairing) {
        case Pairing::Gram:
            write_tile<Pairing::Gram>(p.a, p.b, p, u);
            if (guarded(p, t.guard)) mend_near_pairs(p, t.guard, u);
            break;
        case Pairing::Difference: write_tile<Pairing::Difference>(p.a, p.b, p, u); break;
        case Pairing::CityBlock: write_tile<Pairing::CityBlock>(p.a, p.b, p, u); break;
        case Pairing::Dot: write_tile<Pairing::Dot>(p.a, p.b, p, u); break;
    }
    apply(t.terms, u, value, kTile<T>);
}

// Calls f with the kernel of a single term whose tile can stay in registers, else returns false.
template <class T, class F>
ISTHMUS_FN bool fused(const Terms& terms, F f) {
    bool done = false;
    if (terms.count == 1)
        with_kernel<T>(terms.data[0], [&](auto kernel) {
            if (terms.pairing == natural(kernel.kInput)) {
                f(kernel);
                done = true;
            }
        });
    return done;
}

// The kernel's values of one tile in registers. Gram and Dot tiles of a single term have factor 1.
template <class T, class K>
ISTHMUS_FN void form_values(const Place<T>& p, const K& kernel, Pack<T> factor, Tile<T>& tile) {
    constexpr Pairing kPairing = natural(K::kInput);
    accumulate<kPairing, kRows, 1>(p.a, p.b, p.d, tile);
    Pack<T> n0 = {}, n1 = {};
    if constexpr (kPairing == Pairing::Gram) {
        n0 = load(p.right_norms);
        n1 = load(p.right_norms + kLanes<T>);
    }
    constexpr bool kHasFactor = kPairing == Pairing::Difference || kPairing == Pairing::CityBlock;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
        Pack<T> u0 = finish<kPairing, T>(tile.at[r][0], p.left_norms + r, n0);
        Pack<T> u1 = finish<kPairing, T>(tile.at[r][1], p.left_norms + r, n1);
        if constexpr (kHasFactor) u0 = factor * u0, u1 = factor * u1;
        tile.at[r][0] = kernel.value(u0);
        tile.at[r][1] = kernel.value(u1);
    }
}

// ---- sum -----------------------------------------------------------------------------------------------------------

// Adds up one tile in T (kRows + 1 additions a lane), then in float64.
template <class T, class K>
void add_tile(const Place<T>& p, const K& kernel, Pack<T> factor, const T* left_weights, const T* right_weights,
              double* lanes) noexcept {
    Tile<T> tile;
    form_values(p, kernel, factor, tile);
    const Pack<T> w0 = load(right_weights), w1 = load(right_weights + kLanes<T>);
    Pack<T> sum = {};
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) sum = fma(fma(tile.at[r][1], w1, tile.at[r][0] * w0), splat(left_weights[r]), sum);
    for (int i = 0; i < kLanes<T>; ++i) lanes[i] += double(sum[i]);
}

// Adds up a tile in memory; `from` is the first column of row r that counts.
template <class T>
double add_values(const T* value, const SumTask<T>& t, const Place<T>& p) noexcept {
    double sum = 0;
    const ptrdiff_t gap =
        t.above_diagonal ? ptrdiff_t(t.tiles.row0 + p.row + 1) - ptrdiff_t(t.tiles.col0 + p.col) : -ptrdiff_t(kRows);
    for (ptrdiff_t r = 0; r < kRows; ++r) {
        const ptrdiff_t from = gap + r > 0 ? gap + r : 0;
        double row = 0;
        for (ptrdiff_t c = from; c < kCols<T>; ++c)
            row += double(value[r * kCols<T> + c]) * double(t.right_weights[p.col + c]);
        sum += row * double(t.left_weights[p.row + r]);
    }
    return sum;
}

template <class T>
double sum(const SumTask<T>& t) noexcept {
    double lanes[kLanes<T>] = {};
    double rest = 0;
    const auto sweep = [&](auto full_tile) {
        for (size_t left = 0; left < t.tiles.left.count; ++left)
            for (size_t right = 0; right < t.tiles.right.count; ++right) {
                const Place<T> p = place(t.tiles, left, right);
                const size_t row = t.tiles.row0 + p.row, col = t.tiles.col0 + p.col;
                if (t.above_diagonal && col + kCols<T> <= row + 1) continue;
                if ((t.above_diagonal && col < row + kRows) || guarded(p, t.tiles.guard)) {
                    Scratch<T> s;
                    tile_values(t.tiles, p, s.u, s.value);
                    rest += add_values(s.value, t, p);
                } else {
                    full_tile(p);
                }
            }
    };
    const bool in_registers = fused<T>(t.tiles.terms, [&](auto kernel) {
        const Pack<T> factor = splat(T(t.tiles.terms.data[0].factor));
        sweep([&](const Place<T>& p) {
            add_tile(p, kernel, factor, t.left_weights + p.row, t.right_weights + p.col, lanes);
        });
    });
    if (!in_registers)
        sweep([&](const Place<T>& p) {
            Scratch<T> s;
            tile_values(t.tiles, p, s.u, s.value);
            rest += add_values(s.value, t, p);
        });
    for (int i = 0; i < kLanes<T>; ++i) rest += lanes[i];
    return rest;
}

// ---- store ---------------------------------------------------------------------------------------------------------

template <class T, class K>
void store_tile(const Place<T>& p, const K& kernel, Pack<T> factor, Pack<T> weight, const StoreTask<T>& t) noexcept {
    Tile<T> tile;
    form_values(p, kernel, factor, tile);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
        T* out = t.out + (p.row + r) * t.out_stride + p.col;
        store(out, weight * tile.at[r][0]);
        store(out + kLanes<T>, weight * tile.at[r][1]);
    }
}

template <class T>
void store_values(const T* value, const Place<T>& p, const StoreTask<T>& t) noexcept {
    const size_t rows = t.n_rows - p.row < size_t(kRows) ? t.n_rows - p.row : kRows;
    const size_t cols = t.n_cols - p.col < size_t(kCols<T>) ? t.n_cols - p.col : kCols<T>;
    for (size_t r = 0; r < rows; ++r) {
        T* out = t.out + (p.row + r) * t.out_stride + p.col;
        if (t.add)
            for (size_t c = 0; c < cols; ++c) out[c] += value[r * kCols<T> + c];
        else
            memcpy(out, value + r * kCols<T>, cols * sizeof(T));
    }
}

template <class T>
void store_tiles(const StoreTask<T>& t) noexcept {
    const auto sweep = [&](auto full_tile) {
        for (size_t left = 0; left < t.tiles.left.count; ++left)
            for (size_t right = 0; right < t.tiles.right.count; ++right) {
                const Place<T> p = place(t.tiles, left, right);
                const bool full = p.row + kRows <= t.n_rows && p.col + kCols<T> <= t.n_cols;
                if (!full || t.add || guarded(p, t.tiles.guard) || !full_tile(p)) {
                    Scratch<T> s;
                    tile_values(t.tiles, p, s.u, s.value);
                    store_values(s.value, p, t);
                }
            }
    };
    const bool in_registers = fused<T>(t.tiles.terms, [&](auto kernel) {
        const Pack<T> factor = splat(T(t.tiles.terms.data[0].factor));
        const Pack<T> weight = splat(T(t.tiles.terms.data[0].weight));
        sweep([&](const Place<T>& p) {
            store_tile(p, kernel, factor, weight, t);
            return true;
        });
    });
    if (!in_registers) sweep([](const Place<T>&) { return false; });
}

// ---- matmul --------------------------------------------------------------------------------------------------------

template <class T>
void zero_diagonal(T* value, size_t row, size_t col) noexcept {
    for (size_t r = 0; r < size_t(kRows); ++r)
        if (row + r >= col && row + r < col + kCols<T>) value[r * kCols<T> + row + r - col] = T(0);
}

// sums (kRows, v_panels * kCols) += tile (kRows, depth) @ v, depth in whole right panels.
template <class T>
void multiply(const T* tile, size_t right_panels, const T* v, size_t v_rows, size_t v_panels, double* sums) noexcept {
    for (size_t q = 0; q < v_panels; ++q) {
        Tile<T> total;
        clear(total);
        const T* panel = v + q * v_rows * kCols<T>;
        for (size_t j = 0; j < right_panels; ++j)
            accumulate_more<Pairing::Dot, 1, kCols<T>>(tile + j * kTile<T>, panel + j * kCols<T> * kCols<T>,
                                                       size_t(kCols<T>), total);
        T block[kTile<T>];
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            store(block + r * kCols<T>, total.at[r][0]);
            store(block + r * kCols<T> + kLanes<T>, total.at[r][1]);
        }
        for (int r = 0; r < kRows; ++r)
            for (int c = 0; c < kCols<T>; ++c)
                sums[(size_t(r) * v_panels + q) * kCols<T> + c] += double(block[r * kCols<T> + c]);
    }
}

template <class T>
void matmul(const MatmulTask<T>& t) noexcept {
    assert(t.tiles.left.count <= kMatmulPanels);
    constexpr size_t kPanels = kMatmulDepth / kCols<T>;  // right panels in one block
    const size_t row_sums = t.v_panels * kCols<T>;
    memset(t.sums, 0, t.tiles.left.count * kRows * row_sums * sizeof(double));
    for (size_t right0 = 0; right0 < t.tiles.right.count; right0 += kPanels) {
        const size_t panels = t.tiles.right.count - right0 < kPanels ? t.tiles.right.count - right0 : kPanels;
        for (size_t left = 0; left < t.tiles.left.count; ++left) {
            for (size_t j = 0; j < panels; ++j) {
                const Place<T> p = place(t.tiles, left, right0 + j);
                alignas(64) T u[kTile<T>];
                T* value = t.tile + j * kTile<T>;
                tile_values(t.tiles, p, u, value);
                if (t.skip_diagonal) zero_diagonal<T>(value, t.tiles.row0 + p.row, p.col);
            }
            multiply(t.tile, panels, t.v + right0 * kCols<T> * kCols<T>, t.v_rows, t.v_panels,
                     t.sums + left * kRows * row_sums);
        }
    }
    for (size_t r = 0; r < t.n_rows; ++r) {
        T* out = t.out + r * t.out_stride;
        for (size_t q = 0; q < t.n_out; ++q) out[q] = T(t.sums[r * row_sums + q] + (t.add ? double(out[q]) : 0.0));
    }
}

// ---- project -------------------------------------------------------------------------------------------------------

template <Activation kActivation, class T>
ISTHMUS_FN Pack<T> activate(Pack<T> v) {
    if constexpr (kActivation == Activation::Relu) {
        return max(Pack<T>{}, v);
    } else if constexpr (kActivation == Activation::Tanh) {
        const Pack<T> e = exp2_neg(T(2 * kLog2e) * abs(v));
        const Pack<T> t = (T(1) - e) / (T(1) + e);
        return v < Pack<T>{} ? -t : t;
    } else if constexpr (kActivation == Activation::Logistic) {
        const Pack<T> e = exp2_neg(T(kLog2e) * abs(v));
        return (v < Pack<T>{} ? e : splat(T(1))) / (T(1) + e);
    } else if constexpr (kActivation == Activation::Cos) {
        return cos(v);
    } else {
        return v;
    }
}

// act(x W + b) for kRows rows, read where they lie: each is used only v_panels times, too few to repay packing.
template <Activation kActivation, class T>
void project_tile(const T* const* x, const T* w, const T* bias, size_t d, T* block) noexcept {
    Tile<T> tile;
    clear(tile);
    for (size_t k = 0; k < d; ++k) {
        const Pack<T> w0 = load(w + k * kCols<T>), w1 = load(w + k * kCols<T> + kLanes<T>);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const Pack<T> left = splat(x[r][k]);
            tile.at[r][0] = fma(left, w0, tile.at[r][0]);
            tile.at[r][1] = fma(left, w1, tile.at[r][1]);
        }
    }
    const Pack<T> b0 = load(bias), b1 = load(bias + kLanes<T>);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
        store(block + r * kCols<T>, activate<kActivation, T>(tile.at[r][0] + b0));
        store(block + r * kCols<T> + kLanes<T>, activate<kActivation, T>(tile.at[r][1] + b1));
    }
}

template <Activation kActivation, class T>
void project_as(const ProjectTask<T>& t) noexcept {
    for (size_t row = 0; row < t.n_rows; row += kRows) {
        const size_t rows = t.n_rows - row < size_t(kRows) ? t.n_rows - row : kRows;
        const T* x[kRows];
        for (size_t r = 0; r < size_t(kRows); ++r) x[r] = t.x + ptrdiff_t(row + (r < rows ? r : 0)) * t.x_stride;
        for (size_t right = 0; right < t.w_panels; ++right) {
            alignas(64) T block[kTile<T>];
            const size_t col = right * kCols<T>;
            project_tile<kActivation>(x, t.w + col * t.d, t.bias + col, t.d, block);
            const size_t cols = t.n_cols - col < size_t(kCols<T>) ? t.n_cols - col : kCols<T>;
            for (size_t r = 0; r < rows; ++r)
                memcpy(t.out + (row + r) * t.out_stride + col, block + r * kCols<T>, cols * sizeof(T));
        }
    }
}

template <class T>
void project(const ProjectTask<T>& t) noexcept {
    switch (t.activation) {
        case Activation::Identity: return project_as<Activation::Identity>(t);
        case Activation::Relu: return project_as<Activation::Relu>(t);
        case Activation::Tanh: return project_as<Activation::Tanh>(t);
        case Activation::Logistic: return project_as<Activation::Logistic>(t);
        case Activation::Cos: return project_as<Activation::Cos>(t);
    }
}

template <class T>
constexpr Engine<T> kEngine = {size_t(kRows),  size_t(kCols<T>), pack<T>,    sum<T>,
                               store_tiles<T>, matmul<T>,        project<T>, apply<T>};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH

namespace isthmus {

#define ISTHMUS_JOIN(a, b) a##b
#define ISTHMUS_NAME(arch) ISTHMUS_JOIN(engines_, arch)

extern const Engines ISTHMUS_NAME(ISTHMUS_ARCH);
const Engines ISTHMUS_NAME(ISTHMUS_ARCH) = {ISTHMUS_ARCH::kEngine<float>, ISTHMUS_ARCH::kEngine<double>};

}  // namespace isthmus
