// Random Fourier features: cosines and sines of the phases (x - centre) W, stored or summed over rows.
#pragma once

#include <string.h>

#include "engine.hpp"
#include "hadamard.hpp"
#include "pack.hpp"
#include "project.hpp"
#include "simd.hpp"
#include "tile.hpp"
#include "trig.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <class T>
ISTHMUS_FN bool within_reach(const Pack<T>* phases, int count) {
    Pack<T> reach = {};
    // In this order NaN is passed over.
    for (int i = 0; i < count; ++i) reach = max(abs(phases[i]), reach);
    return __builtin_expect(!any_reaches(reach, T(kTrigReach)), 1);
}

// Calls f(i, cosines, sines) for each pack of phases.
template <int kCount, class T, class F>
ISTHMUS_FN void for_cos_sin(const Pack<T>* phases, F f) {
    if (within_reach<T>(phases, kCount)) {
#pragma GCC unroll 32
        for (int i = 0; i < kCount; ++i) {
            const CosSin<Pack<T>> both = cos_sin_within(phases[i]);
            f(i, both.cos, both.sin);
        }
    } else {
        for (int i = 0; i < kCount; ++i) {
            const CosSin<Pack<T>> both = cos_sin_anywhere<T>(phases[i]);
            f(i, both.cos, both.sin);
        }
    }
}

// Copies past the caches: lines that nobody reads soon need not be fetched first.
template <class T>
void stream(T* out, const T* from, size_t count) noexcept {
    size_t i = 0;
    for (; i < count && uintptr_t(out + i) % kBytes; ++i) out[i] = from[i];
    for (; i + kLanes<T> <= count; i += kLanes<T>) store_past_caches(out + i, load(from + i));
    for (; i < count; ++i) out[i] = from[i];
}

// From the block to their place.
template <class T>
void hand_out(const FourierTask<T>& t, size_t row, size_t rows) noexcept {
    const size_t width = 2 * t.n_frequencies;
    for (size_t r = 0; r < rows; ++r) {
        T* out = t.out + (row + r) * width;
        const T* from = t.block + r * (width + kFourierGap);
        if (t.stream)
            stream(out, from, width);
        else
            memcpy(out, from, width * sizeof(T));
    }
}

template <class T>
ISTHMUS_FN double total(Pack<T> v) {
    double lanes[kLanes<T>];
    for (int i = 0; i < kLanes<T>; ++i) lanes[i] = double(v[i]);
    for (int n = kLanes<T> / 2; n; n /= 2)
        for (int i = 0; i < n; ++i) lanes[i] += lanes[i + n];
    return lanes[0];
}

// Weights of the rows of one panel, 0 for missing rows.
template <class T>
ISTHMUS_FN void take_weights(const FourierTask<T>& t, size_t row, size_t rows, T* weights) {
    for (size_t r = 0; r < rows; ++r) weights[r] = row + r >= t.n_rows ? T(0) : t.weights ? t.weights[row + r] : T(1);
}

// ---- W as a matrix -------------------------------------------------------------------------------------------------

template <class T>
void centre_rows(const FourierTask<T>& t, size_t row, size_t rows) noexcept {
    for (size_t r = 0; r < rows; ++r) {
        const T* x = t.x + ptrdiff_t(row + r) * t.x_stride;
        T* out = t.rows + r * t.d;
        size_t k = 0;
        for (; k + kLanes<double> <= t.d; k += kLanes<double>)
            store_narrow(out + k, load_wide(x + k) - load(t.centre + k));
        for (; k < t.d; ++k) out[k] = T(double(x[k]) - t.centre[k]);
    }
}

template <class T>
void store_dense(const FourierTask<T>& t) noexcept {
    const size_t step = 2 * t.n_frequencies + kFourierGap;
    for (size_t row = 0; row < t.n_rows; row += size_t(kCols<T>)) {
        const size_t rows = t.n_rows - row < size_t(kCols<T>) ? t.n_rows - row : size_t(kCols<T>);
        centre_rows(t, row, rows);
        for (size_t col = 0; col < t.n_frequencies; col += kCols<T>) {
            const size_t cols = t.n_frequencies - col < size_t(kCols<T>) ? t.n_frequencies - col : kCols<T>;
            for (size_t first = 0; first < rows; first += kRows) {
                const T* x[kRows];
                const size_t present = point_at_rows<T>(t.rows, ptrdiff_t(t.d), first, rows, x);
                Tile<T> tile;
                multiply_rows(x, t.w + col * t.d, t.d, tile);
                T* out = t.block + first * step + col;
                if (cols == size_t(kCols<T>)) {
                    for_cos_sin<kPacks * kRows, T>(&tile.at[0][0], [&](int i, Pack<T> cosine, Pack<T> sine) {
                        if (size_t(i / kPacks) >= present) return;
                        T* to = out + size_t(i / kPacks) * step + size_t(i % kPacks) * kLanes<T>;
                        store(to, t.amplitude * cosine);
                        store(to + t.n_frequencies, t.amplitude * sine);
                    });
                } else {
                    alignas(64) T cosines[kTile<T>], sines[kTile<T>];
                    for_cos_sin<kPacks * kRows, T>(&tile.at[0][0], [&](int i, Pack<T> cosine, Pack<T> sine) {
                        store(cosines + i * kLanes<T>, t.amplitude * cosine);
                        store(sines + i * kLanes<T>, t.amplitude * sine);
                    });
                    for (size_t r = 0; r < present; ++r) {
                        memcpy(out + r * step, cosines + r * kCols<T>, cols * sizeof(T));
                        memcpy(out + r * step + t.n_frequencies, sines + r * kCols<T>, cols * sizeof(T));
                    }
                }
            }
        }
        hand_out(t, row, rows);
    }
}

// lanes (2, kCols) += one pack, in float64.
template <class T>
ISTHMUS_FN void add_lanes(double* lanes, Pack<T> v) {
    for (int i = 0; i < kLanes<T>; ++i) lanes[i] += double(v[i]);
}

template <class T>
void sum_dense(const FourierTask<T>& t) noexcept {
    for (size_t row = 0; row < t.n_rows; row += size_t(kCols<T>)) {
        const size_t rows = t.n_rows - row < size_t(kCols<T>) ? t.n_rows - row : size_t(kCols<T>);
        centre_rows(t, row, rows);
        T weights[size_t(kCols<T>)];
        take_weights(t, row, size_t(kCols<T>), weights);
        for (size_t col = 0; col < t.n_frequencies; col += kCols<T>) {
            double lanes[2][kCols<T>] = {};
            for (size_t first = 0; first < rows; first += kRows) {
                const T* x[kRows];
                point_at_rows<T>(t.rows, ptrdiff_t(t.d), first, rows, x);
                Tile<T> tile;
                multiply_rows(x, t.w + col * t.d, t.d, tile);
                Pack<T> cosines[kPacks] = {}, sines[kPacks] = {};
                for_cos_sin<kPacks * kRows, T>(&tile.at[0][0], [&](int i, Pack<T> cosine, Pack<T> sine) {
                    const Pack<T> w = splat(weights[first + size_t(i / kPacks)]);
                    cosines[i % kPacks] = fma(cosine, w, cosines[i % kPacks]);
                    sines[i % kPacks] = fma(sine, w, sines[i % kPacks]);
                });
                for (int c = 0; c < kPacks; ++c) {
                    add_lanes<T>(lanes[0] + c * kLanes<T>, cosines[c]);
                    add_lanes<T>(lanes[1] + c * kLanes<T>, sines[c]);
                }
            }
            const size_t cols = t.n_frequencies - col < size_t(kCols<T>) ? t.n_frequencies - col : kCols<T>;
            for (size_t c = 0; c < cols; ++c) {
                t.sums[col + c] += lanes[0][c];
                t.sums[t.n_frequencies + col + c] += lanes[1][c];
            }
        }
    }
}

// ---- structured W --------------------------------------------------------------------------------------------------

template <class T>
void pack_centred(const FourierTask<T>& t, size_t row, size_t rows) noexcept {
    pack<T>({t.x + ptrdiff_t(row) * t.x_stride, t.x_stride, 1, rows, t.d, t.width, t.centre, 1.0, t.rows, nullptr});
}

// Calls f(frequency, cosines, sines) for one pack of packed rows and the frequencies of one block.
template <class T, class F>
void for_structured(const FourierTask<T>& t, const T* x, size_t block, T* work, F f) noexcept {
    const size_t from = block * t.width, left = t.n_frequencies - from;
    const size_t padded = panels_in(t.n_frequencies, t.width) * t.width;
    random_directions(x, size_t(kCols<T>), t.signs + from, padded, t.width, work,
                      [&](auto stages, size_t first, Pack<T>* v) {
                          constexpr int kCount = 1 << decltype(stages)::value;
                          if (first >= left) return;
#pragma GCC unroll 16
                          for (int i = 0; i < kCount; ++i) v[i] = v[i] * splat(t.scales[from + first + size_t(i)]);
                          for_cos_sin<kCount, T>(v, [&](int i, Pack<T> cosine, Pack<T> sine) {
                              if (first + size_t(i) < left) f(from + first + size_t(i), cosine, sine);
                          });
                      });
}

// Columns (n_columns, kCols) into the rows of the block, a cache line of each column at a time.
template <class T>
void turn_columns(const T* columns, size_t n_columns, T* block, size_t step) noexcept {
    constexpr size_t kSquare = kSquareOf<T>, kLine = 64 / sizeof(T);
    const size_t whole = n_columns / kSquare * kSquare;
    for (size_t line = 0; line < size_t(kCols<T>); line += kLine) {
        const size_t end = line + kLine < size_t(kCols<T>) ? line + kLine : kCols<T>;
        for (size_t j = 0; j < whole; j += kSquare)
            for (size_t r = line; r < end; r += kSquare)
                turn_square(columns + j * kCols<T> + r, kCols<T>, block + r * step + j, step);
        for (size_t j = whole; j < n_columns; ++j)
            for (size_t r = line; r < end; ++r) block[r * step + j] = columns[j * kCols<T> + r];
    }
}

template <class T>
void store_structured(const FourierTask<T>& t) noexcept {
    const size_t width = 2 * t.n_frequencies, blocks = panels_in(t.n_frequencies, t.width);
    T* columns = t.work + t.width * kLanes<T>;
    for (size_t row = 0; row < t.n_rows; row += size_t(kCols<T>)) {
        const size_t rows = t.n_rows - row < size_t(kCols<T>) ? t.n_rows - row : size_t(kCols<T>);
        pack_centred(t, row, rows);
        for (size_t block = 0; block < blocks; ++block)
            for (int part = 0; part < kPacks; ++part)
                for_structured(t, t.rows + part * kLanes<T>, block, t.work,
                               [&](size_t frequency, Pack<T> cosine, Pack<T> sine) {
                                   T* to = columns + frequency * kCols<T> + part * kLanes<T>;
                                   store(to, t.amplitude * cosine);
                                   store(to + t.n_frequencies * kCols<T>, t.amplitude * sine);
                               });
        turn_columns(columns, width, t.block, width + kFourierGap);
        hand_out(t, row, rows);
    }
}

template <class T>
void sum_structured(const FourierTask<T>& t) noexcept {
    constexpr size_t kPanels = kFourierSumPanels;
    const size_t blocks = panels_in(t.n_frequencies, t.width), panel_size = t.width * kCols<T>;
    T* sums = t.work + t.width * kLanes<T>;
    for (size_t row = 0; row < t.n_rows; row += kPanels * kCols<T>) {
        const size_t rows = t.n_rows - row < kPanels * kCols<T> ? t.n_rows - row : kPanels * kCols<T>;
        const size_t panels = panels_in(rows, kCols<T>);
        pack_centred(t, row, rows);
        alignas(64) T weights[kPanels * kCols<T>];
        take_weights(t, row, kPanels * kCols<T>, weights);
        for (size_t block = 0; block < blocks; ++block) {
            memset(sums, 0, 2 * t.width * kLanes<T> * sizeof(T));
            const size_t from = block * t.width;
            for (size_t i = 0; i < kPacks * panels; ++i) {
                const Pack<T> w = load(weights + i * kLanes<T>);
                for_structured(t, t.rows + (i / kPacks) * panel_size + (i % kPacks) * kLanes<T>, block, t.work,
                               [&](size_t frequency, Pack<T> cosine, Pack<T> sine) {
                                   T* to = sums + 2 * (frequency - from) * kLanes<T>;
                                   store(to, fma(cosine, w, load(to)));
                                   store(to + kLanes<T>, fma(sine, w, load(to + kLanes<T>)));
                               });
            }
            const size_t count = t.n_frequencies - from < t.width ? t.n_frequencies - from : t.width;
            for (size_t j = 0; j < count; ++j) {
                t.sums[from + j] += total<T>(load(sums + 2 * j * kLanes<T>));
                t.sums[t.n_frequencies + from + j] += total<T>(load(sums + (2 * j + 1) * kLanes<T>));
            }
        }
    }
}

template <class T>
void fourier(const FourierTask<T>& t) noexcept {
    if (t.w)
        t.sums ? sum_dense(t) : store_dense(t);
    else
        t.sums ? sum_structured(t) : store_structured(t);
    fence();
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
