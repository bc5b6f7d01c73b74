// Packs: the widest vectors of one instruction set, and the few functions the kernels need on them.
// F32 and F64 are compiler vectors, so + - * / and comparisons are the language's own.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../arch.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(ISTHMUS_NEON)
#include <arm_neon.h>
#endif

namespace isthmus::ISTHMUS_ARCH {
namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

typedef float F32 __attribute__((vector_size(kBytes)));
typedef double F64 __attribute__((vector_size(kBytes)));
typedef uint32_t U32 __attribute__((vector_size(kBytes)));
typedef uint64_t U64 __attribute__((vector_size(kBytes)));
typedef int32_t I32 __attribute__((vector_size(kBytes)));
typedef int64_t I64 __attribute__((vector_size(kBytes)));
typedef float F32Unaligned __attribute__((vector_size(kBytes), aligned(4), may_alias));
typedef double F64Unaligned __attribute__((vector_size(kBytes), aligned(8), may_alias));

template <class T>
struct PackOf;
template <>
struct PackOf<float> {
    using type = F32;
    using Unaligned = F32Unaligned;
};
template <>
struct PackOf<double> {
    using type = F64;
    using Unaligned = F64Unaligned;
};
template <class T>
using Pack = typename PackOf<T>::type;
template <class T>
constexpr int kLanes = kBytes / int(sizeof(T));

template <class T>
ISTHMUS_FN Pack<T> load(const T* p) {
    return *reinterpret_cast<const typename PackOf<T>::Unaligned*>(p);
}
ISTHMUS_FN void store(float* p, F32 v) { *reinterpret_cast<F32Unaligned*>(p) = v; }
ISTHMUS_FN void store(double* p, F64 v) { *reinterpret_cast<F64Unaligned*>(p) = v; }

// As many float64 lanes as one pack has, from and to numbers of either type.
#if defined(__AVX512F__)
ISTHMUS_FN F64 load_wide(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
ISTHMUS_FN void store_narrow(float* p, F64 v) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(v)); }
#elif defined(__AVX2__)
ISTHMUS_FN F64 load_wide(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
ISTHMUS_FN void store_narrow(float* p, F64 v) { _mm_storeu_ps(p, _mm256_cvtpd_ps(v)); }
#else
typedef float HalfF32 __attribute__((vector_size(kBytes / 2)));
typedef float HalfF32Unaligned __attribute__((vector_size(kBytes / 2), aligned(4), may_alias));
ISTHMUS_FN F64 load_wide(const float* p) {
    return __builtin_convertvector((HalfF32) * reinterpret_cast<const HalfF32Unaligned*>(p), F64);
}
ISTHMUS_FN void store_narrow(float* p, F64 v) {
    *reinterpret_cast<HalfF32Unaligned*>(p) = __builtin_convertvector(v, HalfF32);
}
#endif
ISTHMUS_FN F64 load_wide(const double* p) { return load(p); }
ISTHMUS_FN void store_narrow(double* p, F64 v) { store(p, v); }

// Past the caches, to an aligned place; `fence` makes such stores visible to other threads.
#if defined(__AVX512F__)
ISTHMUS_FN void store_past_caches(float* p, F32 v) { _mm512_stream_ps(p, v); }
ISTHMUS_FN void store_past_caches(double* p, F64 v) { _mm512_stream_pd(p, v); }
#elif defined(__AVX2__)
ISTHMUS_FN void store_past_caches(float* p, F32 v) { _mm256_stream_ps(p, v); }
ISTHMUS_FN void store_past_caches(double* p, F64 v) { _mm256_stream_pd(p, v); }
#elif defined(__x86_64__)
ISTHMUS_FN void store_past_caches(float* p, F32 v) { _mm_stream_ps(p, v); }
ISTHMUS_FN void store_past_caches(double* p, F64 v) { _mm_stream_pd(p, v); }
#else
ISTHMUS_FN void store_past_caches(float* p, F32 v) { *reinterpret_cast<F32*>(p) = v; }
ISTHMUS_FN void store_past_caches(double* p, F64 v) { *reinterpret_cast<F64*>(p) = v; }
#endif
ISTHMUS_FN void fence() {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

ISTHMUS_FN double sqrt(double x) { return __builtin_sqrt(x); }

// A splat must be one instruction: a loop over lanes makes GCC 12 spill every accumulator.
// max(limit, v) and min(limit, v) return v when it is NaN, so a NaN in the data reaches the result.
#if defined(__AVX512F__)
ISTHMUS_FN F32 splat(float x) { return _mm512_set1_ps(x); }
ISTHMUS_FN F64 splat(double x) { return _mm512_set1_pd(x); }
ISTHMUS_FN F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
ISTHMUS_FN F64 fma(F64 a, F64 b, F64 c) { return _mm512_fmadd_pd(a, b, c); }
ISTHMUS_FN F32 max(F32 limit, F32 v) { return _mm512_max_ps(limit, v); }
ISTHMUS_FN F64 max(F64 limit, F64 v) { return _mm512_max_pd(limit, v); }
ISTHMUS_FN F32 min(F32 limit, F32 v) { return _mm512_min_ps(limit, v); }
ISTHMUS_FN F64 min(F64 limit, F64 v) { return _mm512_min_pd(limit, v); }
ISTHMUS_FN F32 sqrt(F32 v) { return _mm512_sqrt_ps(v); }
ISTHMUS_FN F64 sqrt(F64 v) { return _mm512_sqrt_pd(v); }
#elif defined(__AVX2__)
ISTHMUS_FN F32 splat(float x) { return _mm256_set1_ps(x); }
ISTHMUS_FN F64 splat(double x) { return _mm256_set1_pd(x); }
ISTHMUS_FN F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }
ISTHMUS_FN F64 fma(F64 a, F64 b, F64 c) { return _mm256_fmadd_pd(a, b, c); }
ISTHMUS_FN F32 max(F32 limit, F32 v) { return _mm256_max_ps(limit, v); }
ISTHMUS_FN F64 max(F64 limit, F64 v) { return _mm256_max_pd(limit, v); }
ISTHMUS_FN F32 min(F32 limit, F32 v) { return _mm256_min_ps(limit, v); }
ISTHMUS_FN F64 min(F64 limit, F64 v) { return _mm256_min_pd(limit, v); }
ISTHMUS_FN F32 sqrt(F32 v) { return _mm256_sqrt_ps(v); }
ISTHMUS_FN F64 sqrt(F64 v) { return _mm256_sqrt_pd(v); }
#elif defined(ISTHMUS_NEON)
ISTHMUS_FN F32 splat(float x) { return vdupq_n_f32(x); }
ISTHMUS_FN F64 splat(double x) { return vdupq_n_f64(x); }
ISTHMUS_FN F32 fma(F32 a, F32 b, F32 c) { return vfmaq_f32(c, a, b); }
ISTHMUS_FN F64 fma(F64 a, F64 b, F64 c) { return vfmaq_f64(c, a, b); }
// NEON's own max and min return NaN when either is; `limit` never is.
ISTHMUS_FN F32 max(F32 limit, F32 v) { return vmaxq_f32(limit, v); }
ISTHMUS_FN F64 max(F64 limit, F64 v) { return vmaxq_f64(limit, v); }
ISTHMUS_FN F32 min(F32 limit, F32 v) { return vminq_f32(limit, v); }
ISTHMUS_FN F64 min(F64 limit, F64 v) { return vminq_f64(limit, v); }
ISTHMUS_FN F32 sqrt(F32 v) { return vsqrtq_f32(v); }
ISTHMUS_FN F64 sqrt(F64 v) { return vsqrtq_f64(v); }
#else
ISTHMUS_FN F32 splat(float x) { return F32{x, x, x, x}; }
ISTHMUS_FN F64 splat(double x) { return F64{x, x}; }
ISTHMUS_FN F32 fma(F32 a, F32 b, F32 c) { return a * b + c; }
ISTHMUS_FN F64 fma(F64 a, F64 b, F64 c) { return a * b + c; }
#if defined(__x86_64__)
ISTHMUS_FN F32 max(F32 limit, F32 v) { return _mm_max_ps(limit, v); }
ISTHMUS_FN F64 max(F64 limit, F64 v) { return _mm_max_pd(limit, v); }
ISTHMUS_FN F32 min(F32 limit, F32 v) { return _mm_min_ps(limit, v); }
ISTHMUS_FN F64 min(F64 limit, F64 v) { return _mm_min_pd(limit, v); }
ISTHMUS_FN F32 sqrt(F32 v) { return _mm_sqrt_ps(v); }
ISTHMUS_FN F64 sqrt(F64 v) { return _mm_sqrt_pd(v); }
#else
ISTHMUS_FN F32 max(F32 limit, F32 v) { return limit > v ? limit : v; }
ISTHMUS_FN F64 max(F64 limit, F64 v) { return limit > v ? limit : v; }
ISTHMUS_FN F32 min(F32 limit, F32 v) { return limit < v ? limit : v; }
ISTHMUS_FN F64 min(F64 limit, F64 v) { return limit < v ? limit : v; }
ISTHMUS_FN F32 sqrt(F32 v) {
    return F32{__builtin_sqrtf(v[0]), __builtin_sqrtf(v[1]), __builtin_sqrtf(v[2]), __builtin_sqrtf(v[3])};
}
ISTHMUS_FN F64 sqrt(F64 v) { return F64{__builtin_sqrt(v[0]), __builtin_sqrt(v[1])}; }
#endif
#endif

ISTHMUS_FN F32 abs(F32 v) { return (F32)((U32)v & 0x7fffffffu); }
ISTHMUS_FN F64 abs(F64 v) { return (F64)((U64)v & 0x7fffffffffffffffull); }

// Whether some lane is `limit` or more; NaN is not.
#if defined(__AVX512F__)
ISTHMUS_FN bool any_reaches(F32 v, float limit) { return _mm512_cmp_ps_mask(v, splat(limit), _CMP_GE_OQ) != 0; }
ISTHMUS_FN bool any_reaches(F64 v, double limit) { return _mm512_cmp_pd_mask(v, splat(limit), _CMP_GE_OQ) != 0; }
#elif defined(__AVX2__)
ISTHMUS_FN bool any_reaches(F32 v, float limit) { return _mm256_movemask_ps((F32)(v >= splat(limit))) != 0; }
ISTHMUS_FN bool any_reaches(F64 v, double limit) { return _mm256_movemask_pd((F64)(v >= splat(limit))) != 0; }
#elif defined(ISTHMUS_NEON)
ISTHMUS_FN bool any_reaches(F32 v, float limit) { return vmaxvq_u32(vcgeq_f32(v, splat(limit))) != 0; }
ISTHMUS_FN bool any_reaches(F64 v, double limit) {
    return vmaxvq_u32(vreinterpretq_u32_u64(vcgeq_f64(v, splat(limit)))) != 0;
}
#elif defined(__x86_64__)
ISTHMUS_FN bool any_reaches(F32 v, float limit) { return _mm_movemask_ps((F32)(v >= splat(limit))) != 0; }
ISTHMUS_FN bool any_reaches(F64 v, double limit) { return _mm_movemask_pd((F64)(v >= splat(limit))) != 0; }
#else
template <class V, class T>
ISTHMUS_FN bool any_reaches(V v, T limit) {
    bool any = false;
    for (unsigned i = 0; i < sizeof(v) / sizeof(v[0]); ++i) any |= v[i] >= limit;
    return any;
}
#endif

// Adding 1.5 * 2^23 (2^52) rounds to the nearest whole number and leaves it in the low bits.
constexpr float kRound32 = 12582912.0f;
constexpr double kRound64 = 6755399441055744.0;

// 2^-u for u >= 0, exactly 1 at 0, exactly 0 beyond the smallest normal number. Relative error 2e-9 before rounding.
ISTHMUS_FN F32 exp2_neg(F32 u) {
    u = min(splat(127.0f), u);
    const F32 shifted = u + splat(kRound32);
    const F32 f = (shifted - splat(kRound32)) - u;  // in [-1/2, 1/2]
    F32 p = splat(0.0001534581242f);
    p = fma(p, f, splat(0.00133999309f));
    p = fma(p, f, splat(0.009618489072f));
    p = fma(p, f, splat(0.05550328642f));
    p = fma(p, f, splat(0.2402264625f));
    p = fma(p, f, splat(0.6931471825f));
    p = fma(p, f, splat(1.0f));
    return p * (F32)(0x3f800000u - ((U32)shifted << 23));
}

// As above, relative error 6e-18 before rounding.
ISTHMUS_FN F64 exp2_neg(F64 u) {
    u = min(splat(1023.0), u);
    const F64 shifted = u + splat(kRound64);
    const F64 f = (shifted - splat(kRound64)) - u;
    F64 p = splat(4.4549605981865183938e-10);
    p = fma(p, f, splat(7.0725859492692236999e-9));
    p = fma(p, f, splat(1.0178062445845773521e-7));
    p = fma(p, f, splat(1.3215442587921689653e-6));
    p = fma(p, f, splat(0.000015252733829836118394));
    p = fma(p, f, splat(0.00015403530441736050155));
    p = fma(p, f, splat(0.001333355814641693531));
    p = fma(p, f, splat(0.0096181291076068885273));
    p = fma(p, f, splat(0.055504108664821594339));
    p = fma(p, f, splat(0.2402265069591009822));
    p = fma(p, f, splat(0.69314718055994530942));
    p = fma(p, f, splat(1.0));
    return p * (F64)(0x3ff0000000000000ull - ((U64)shifted << 52));
}

// log2(v) for v >= 1: v = 2^e m, m in [sqrt(1/2), sqrt(2)), log2 m = (2 / ln 2) atanh(s), s = (m - 1) / (m + 1).
ISTHMUS_FN F32 log2(F32 v) {
    const U32 e = ((U32)v - 0x3f3504f3u) >> 23;
    const F32 m = (F32)((U32)v - (e << 23));
    const F32 whole = (F32)(e + 0x4b400000u) - splat(kRound32);
    const F32 s = (m - splat(1.0f)) / (m + splat(1.0f));
    const F32 t = s * s;
    F32 p = splat(0.32059890f);  // 2 / (9 ln 2), then 7, 5, 3, 1
    p = fma(p, t, splat(0.41219858f));
    p = fma(p, t, splat(0.57707802f));
    p = fma(p, t, splat(0.96179669f));
    p = fma(p, t, splat(2.8853901f));
    return fma(p, s, whole);
}
ISTHMUS_FN F64 log2(F64 v) {
    const U64 e = ((U64)v - 0x3fe6a09e667f3bcdull) >> 52;
    const F64 m = (F64)((U64)v - (e << 52));
    const F64 whole = (F64)(e + 0x4338000000000000ull) - splat(kRound64);
    const F64 s = (m - splat(1.0)) / (m + splat(1.0));
    const F64 t = s * s;
    F64 p = splat(2.8853900817779268 / 21);
    p = fma(p, t, splat(2.8853900817779268 / 19));
    p = fma(p, t, splat(2.8853900817779268 / 17));
    p = fma(p, t, splat(2.8853900817779268 / 15));
    p = fma(p, t, splat(2.8853900817779268 / 13));
    p = fma(p, t, splat(2.8853900817779268 / 11));
    p = fma(p, t, splat(2.8853900817779268 / 9));
    p = fma(p, t, splat(2.8853900817779268 / 7));
    p = fma(p, t, splat(2.8853900817779268 / 5));
    p = fma(p, t, splat(2.8853900817779268 / 3));
    p = fma(p, t, splat(2.8853900817779268));
    return fma(p, s, whole);
}

// log2(1 + u) for u >= 0: what 1 + u rounds away comes back to first order. NaN stays, infinity becomes large.
template <class T, class V>
ISTHMUS_FN V log2_1p_below(V u, T largest) {
    u = min(splat(largest), u);
    const V v = T(1) + u;
    return log2(v) + T(1.4426950408889634) * (u - (v - T(1))) / v;
}
ISTHMUS_FN F32 log2_1p(F32 u) { return log2_1p_below(u, 0x1p127f); }
ISTHMUS_FN F64 log2_1p(F64 u) { return log2_1p_below(u, 0x1p1023); }

// Turns a square of 16-byte rows: element (r, k) of `from` becomes element (k, r) of `to`.
template <class T>
constexpr size_t kSquareOf = 16 / sizeof(T);
ISTHMUS_FN void turn_square(const float* from, size_t from_stride, float* to, size_t to_stride) {
    typedef float Quad __attribute__((vector_size(16)));
    Quad row[4];
    for (int r = 0; r < 4; ++r) __builtin_memcpy(&row[r], from + size_t(r) * from_stride, sizeof(Quad));
    const Quad low0 = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
    const Quad low1 = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
    const Quad high0 = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
    const Quad high1 = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
    row[0] = __builtin_shufflevector(low0, low1, 0, 1, 4, 5);
    row[1] = __builtin_shufflevector(low0, low1, 2, 3, 6, 7);
    row[2] = __builtin_shufflevector(high0, high1, 0, 1, 4, 5);
    row[3] = __builtin_shufflevector(high0, high1, 2, 3, 6, 7);
    for (int k = 0; k < 4; ++k) __builtin_memcpy(to + size_t(k) * to_stride, &row[k], sizeof(Quad));
}
ISTHMUS_FN void turn_square(const double* from, size_t from_stride, double* to, size_t to_stride) {
    for (size_t r = 0; r < 2; ++r)
        for (size_t k = 0; k < 2; ++k) to[k * to_stride + r] = from[r * from_stride + k];
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
