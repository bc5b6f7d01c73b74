// The Walsh-Hadamard transform of packs, and random directions made of three of them with random signs between.
#pragma once

#include "simd.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// Packs that one pass holds in registers, as a power of two.
#if defined(__AVX512F__)
constexpr int kPassLog = 4;
#else
constexpr int kPassLog = 3;
#endif

template <int kLog, int kHalf, class V>
ISTHMUS_FN void butterflies(V* v) {
#pragma GCC unroll 16
    for (int i = 0; i < 1 << kLog; ++i)
        if (!(i & kHalf)) {
            const V a = v[i], b = v[i + kHalf];
            v[i] = a + b;
            v[i + kHalf] = a - b;
        }
    if constexpr (2 * kHalf < 1 << kLog) butterflies<kLog, 2 * kHalf>(v);
}

// kLog stages over `width` packs whose partners are multiples of `step` packs apart. from: pack k at [k * from_step];
// sign: one number for each pack, or null. give(first, v) is handed the packs first, first + step, ...
template <int kLog, bool kSigned, class T, class Give>
void transform_pass(const T* from, size_t from_step, const T* sign, size_t width, size_t step, Give give) noexcept {
    for (size_t block = 0; block < width; block += step << kLog)
        for (size_t first = block; first < block + step; ++first) {
            Pack<T> v[1 << kLog];
            // Pointers that move: offsets from one would be kept in memory, too many for the registers.
            const T* p = from + first * from_step;
            const T* s = sign + first;
#pragma GCC unroll 16
            for (int i = 0; i < 1 << kLog; ++i, p += step * from_step, s += step)
                v[i] = kSigned ? load(p) * splat(*s) : load(p);
            butterflies<kLog, 1>(v);
            give(first, v);
        }
}

// Calls f(constant) with the number of stages as a compile-time constant.
template <int kValue>
struct Stages {
    static constexpr int value = kValue;
};
template <class F>
ISTHMUS_FN void with_stages(int log, F f) {
    if constexpr (kPassLog >= 4)
        if (log == 4) return f(Stages<4>{});
    return log == 3 ? f(Stages<3>{}) : f(Stages<2>{});
}

// H S_2 H S_1 H S_0 x for kLanes columns at once, without the factor width^(-3/2): H is the matrix of 1 and -1, S_i are
// diagonals of signs, `signs_step` numbers apart. x: element k of a column at x[k * x_step + lane]; work: width packs.
// give(first, v) receives runs of 2^stages neighbouring results. width is a power of two, at least 2^(2 kPassLog - 2).
template <class T, class Give>
void random_directions(const T* x, size_t x_step, const T* signs, size_t signs_step, size_t width, T* work,
                       Give give) noexcept {
    const int log = __builtin_ctzll(width);
    const int passes = (log + kPassLog - 1) / kPassLog;
    const auto stages = [&](int pass) { return log / passes + (pass < log % passes ? 1 : 0); };
    for (int round = 0; round < 3; ++round) {
        const T* sign = signs + size_t(round) * signs_step;
        int left = log;
        for (int pass = 0; pass < passes; ++pass) {
            left -= stages(pass);
            const size_t step = size_t(1) << left;
            with_stages(stages(pass), [&](auto constant) {
                constexpr int kLog = decltype(constant)::value;
                const auto keep = [&](size_t first, Pack<T>* v) {
                    T* p = work + first * kLanes<T>;
#pragma GCC unroll 16
                    for (int i = 0; i < 1 << kLog; ++i, p += step * kLanes<T>) store(p, v[i]);
                };
                const auto finish = [&](size_t first, Pack<T>* v) { give(constant, first, v); };
                if (pass == 0 && round == 0)
                    transform_pass<kLog, true>(x, x_step, sign, width, step, keep);
                else if (pass == 0)
                    transform_pass<kLog, true>(work, kLanes<T>, sign, width, step, keep);
                else if (round < 2 || left)
                    transform_pass<kLog, false>(work, kLanes<T>, sign, width, step, keep);
                else
                    transform_pass<kLog, false>(work, kLanes<T>, sign, width, step, finish);
            });
        }
    }
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
