// Cosine and sine of packs: one reduction by half turns, two short polynomials.
#pragma once

#include "simd.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// v = n pi + r, r in [-pi/2, pi/2]; `flip` is the sign bit of (-1)^n.
template <class V, class U>
struct HalfTurns {
    V r;
    U flip;
};

// pi in three parts of few bits: n pi is exact below |v| = kTrigReach.
constexpr double kTrigReach = 8000.0;
ISTHMUS_FN HalfTurns<F32, U32> half_turns(F32 v) {
    const F32 shifted = fma(v, splat(0.318309886f), splat(kRound32));
    const F32 n = shifted - splat(kRound32);
    F32 r = fma(n, splat(-3.140625f), v);
    r = fma(n, splat(-0.000967502593994140625f), r);
    r = fma(n, splat(-1.5099579909783764e-7f), r);
    return {r, (U32)shifted << 31};
}
ISTHMUS_FN HalfTurns<F64, U64> half_turns(F64 v) {
    const F64 shifted = fma(v, splat(0.31830988618379067154), splat(kRound64));
    const F64 n = shifted - splat(kRound64);
    F64 r = fma(n, splat(-3.141592651605606079102), v);
    r = fma(n, splat(-1.98418714791870343106e-9), r);
    r = fma(n, splat(-1.144237745221966368024e-17), r);
    return {r, (U64)shifted << 63};
}

// cos r as a polynomial in t = r^2; error 3e-10 and 1e-20 before rounding.
ISTHMUS_FN F32 cos_of_square(F32 t) {
    F32 p = splat(-2.6297517416492885068e-7f);
    p = fma(p, t, splat(0.000024774579745194932456f));
    p = fma(p, t, splat(-0.0013888651647261390631f));
    p = fma(p, t, splat(0.041666659360024926605f));
    p = fma(p, t, splat(-0.49999999963953022676f));
    return fma(p, t, splat(1.0f));
}
ISTHMUS_FN F64 cos_of_square(F64 t) {
    F64 p = splat(4.0019568160976400731e-19);
    p = fma(p, t, splat(-1.5613549466782079195e-16));
    p = fma(p, t, splat(4.7794609439060681562e-14));
    p = fma(p, t, splat(-1.1470745310597414402e-11));
    p = fma(p, t, splat(2.0876756984753234503e-9));
    p = fma(p, t, splat(-2.7557319223965314695e-7));
    p = fma(p, t, splat(0.000024801587301587223507));
    p = fma(p, t, splat(-0.0013888888888888888738));
    p = fma(p, t, splat(0.041666666666666666666));
    p = fma(p, t, splat(-0.5));
    return fma(p, t, splat(1.0));
}

// sin r = r + r t p(t); error 5e-9 and 2e-19 before rounding.
ISTHMUS_FN F32 sin_reduced(F32 r, F32 t) {
    F32 p = splat(0.0000026000547455229f);
    p = fma(p, t, splat(-0.00019806615189533875f));
    p = fma(p, t, splat(0.0083330172913582559f));
    p = fma(p, t, splat(-0.16666657096493690f));
    return fma(p * t, r, r);
}
ISTHMUS_FN F64 sin_reduced(F64 r, F64 t) {
    F64 p = splat(2.7184964210683610e-15);
    p = fma(p, t, splat(-7.6427129334078555e-13));
    p = fma(p, t, splat(1.6058927836719358e-10));
    p = fma(p, t, splat(-2.5052106606643759e-8));
    p = fma(p, t, splat(2.7557319207787021e-6));
    p = fma(p, t, splat(-0.00019841269841185962));
    p = fma(p, t, splat(0.0083333333333331140));
    p = fma(p, t, splat(-0.16666666666666665));
    return fma(p * t, r, r);
}

ISTHMUS_FN F32 xor_bits(F32 v, U32 bits) { return (F32)((U32)v ^ bits); }
ISTHMUS_FN F64 xor_bits(F64 v, U64 bits) { return (F64)((U64)v ^ bits); }

ISTHMUS_FN float cos_of_one(float x) { return __builtin_cosf(x); }
ISTHMUS_FN double cos_of_one(double x) { return __builtin_cos(x); }
ISTHMUS_FN float sin_of_one(float x) { return __builtin_sinf(x); }
ISTHMUS_FN double sin_of_one(double x) { return __builtin_sin(x); }

// Whether the reduction takes v. NaN is not taken.
template <class T>
ISTHMUS_FN bool is_within(T v) {
    return (v < T(0) ? -v : v) < T(kTrigReach);
}

// A lane with more turns than the reduction takes is done alone: its neighbours keep their bits.
template <class T>
ISTHMUS_FN Pack<T> cos(Pack<T> v) {
    const auto turns = half_turns(v);
    Pack<T> cosine = xor_bits(cos_of_square(turns.r * turns.r), turns.flip);
    if (__builtin_expect(any_reaches(abs(v), T(kTrigReach)), 0))
        for (int i = 0; i < kLanes<T>; ++i)
            if (!is_within<T>(v[i])) cosine[i] = cos_of_one(v[i]);
    return cosine;
}

template <class V>
struct CosSin {
    V cos, sin;
};

// For |v| < kTrigReach.
template <class V>
ISTHMUS_FN CosSin<V> cos_sin_within(V v) {
    const auto turns = half_turns(v);
    const V t = turns.r * turns.r;
    return {xor_bits(cos_of_square(t), turns.flip), xor_bits(sin_reduced(turns.r, t), turns.flip)};
}

// For any v, with the bits of `cos_sin_within` where that is right.
template <class T>
ISTHMUS_FN CosSin<Pack<T>> cos_sin_anywhere(Pack<T> v) {
    CosSin<Pack<T>> both = cos_sin_within(v);
    for (int i = 0; i < kLanes<T>; ++i)
        if (!is_within<T>(v[i])) {
            both.cos[i] = cos_of_one(v[i]);
            both.sin[i] = sin_of_one(v[i]);
        }
    return both;
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
