// The tile functions, compiled once per instruction set: tile of pairs -> kernel function -> consumer.
// No standard library here: an inline function of it, compiled for a new machine, could win at link time on an old one.
#include "engine.hpp"

#include <assert.h>
#include <string.h>

#include "pack.hpp"
#include "simd.hpp"
#include "tile.hpp"
#include "values.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

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
                if (t.skip_diagonal) zero_diagonal<T>(value, t.tiles.row0 + p.row, t.tiles.col0 + p.col);
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
        // To the rounding of 1, not of a small result.
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
