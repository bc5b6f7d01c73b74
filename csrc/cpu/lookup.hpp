// Whole numbers in packs: rounding to them and back, tables of subset sums that fit one register, bits as masks.
#pragma once

#include <string.h>

#include "simd.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// Whole numbers and bits in the lanes of a Pack<T>.
template <class T>
struct WholeOf;
template <>
struct WholeOf<float> {
    using Signed = I32;
    using Bits = U32;
    using One = int32_t;
};
template <>
struct WholeOf<double> {
    using Signed = I64;
    using Bits = U64;
    using One = int64_t;
};
template <class T>
using Whole = typename WholeOf<T>::Signed;
template <class T>
using Bits = typename WholeOf<T>::Bits;
template <class T>
using OneWhole = typename WholeOf<T>::One;

typedef uint32_t HalfU32 __attribute__((vector_size(kBytes / 2)));
typedef int32_t HalfI32 __attribute__((vector_size(kBytes / 2)));

ISTHMUS_FN void load_bits(const uint32_t* p, U32& bits) { memcpy(&bits, p, sizeof(bits)); }
ISTHMUS_FN void load_bits(const uint32_t* p, U64& bits) {
    HalfU32 half;
    memcpy(&half, p, sizeof(half));
    bits = __builtin_convertvector(half, U64);
}

// The nearest whole number, |v| < 2^31 and < 2^63.
#if defined(__AVX512F__)
ISTHMUS_FN I32 to_whole(F32 v) { return (I32)_mm512_cvtps_epi32(v); }
#elif defined(__AVX2__)
ISTHMUS_FN I32 to_whole(F32 v) { return (I32)_mm256_cvtps_epi32(v); }
#elif defined(__x86_64__)
ISTHMUS_FN I32 to_whole(F32 v) { return (I32)_mm_cvtps_epi32(v); }
#else
ISTHMUS_FN I32 to_whole(F32 v) {
    I32 whole;
    for (int i = 0; i < kLanes<float>; ++i) whole[i] = int32_t(__builtin_rintf(v[i]));
    return whole;
}
#endif
ISTHMUS_FN I64 to_whole(F64 v) {
    const F64 round = splat(kRound64);
    const F64 high = v * splat(0x1p-32) + round;
    const F64 low = v - (high - round) * splat(0x1p32) + round;
    return ((((I64)high - (I64)round) << 32) + ((I64)low - (I64)round));
}

// As float64, one pack or two.
template <class T>
constexpr int kWide = int(sizeof(double) / sizeof(T));
ISTHMUS_FN void to_double(I64 v, F64 (&out)[1]) { out[0] = __builtin_convertvector(v, F64); }
ISTHMUS_FN void to_double(I32 v, F64 (&out)[2]) {
    HalfI32 half[2];
    memcpy(half, &v, sizeof(v));
    out[0] = __builtin_convertvector(half[0], F64);
    out[1] = __builtin_convertvector(half[1], F64);
}

// A table holds the sums of all subsets of kLookup values, subset s in lane s. lookup(table, index) reads, for each
// lane, the subset that its lowest kLookup bits name; higher bits do not matter.
#if defined(__AVX512F__)
template <class T>
constexpr int kLookup = sizeof(T) == 4 ? 4 : 3;
ISTHMUS_FN I32 lookup(I32 table, U32 index) { return (I32)_mm512_permutexvar_epi32((__m512i)index, (__m512i)table); }
ISTHMUS_FN I64 lookup(I64 table, U64 index) { return (I64)_mm512_permutexvar_epi64((__m512i)index, (__m512i)table); }
#elif defined(__AVX2__)
template <class T>
constexpr int kLookup = sizeof(T) == 4 ? 3 : 1;
ISTHMUS_FN I32 lookup(I32 table, U32 index) { return (I32)_mm256_permutevar8x32_epi32((__m256i)table, (__m256i)index); }
ISTHMUS_FN I64 lookup(I64 table, U64 index) { return table & -(I64)(index & 1); }
#else
// One value, in every lane.
template <class T>
constexpr int kLookup = 1;
ISTHMUS_FN I32 lookup(I32 table, U32 index) { return table & -(I32)(index & 1); }
ISTHMUS_FN I64 lookup(I64 table, U64 index) { return table & -(I64)(index & 1); }
#endif

// The table of `count` values, at least 1 and at most kLookup.
#if defined(__AVX512F__)
ISTHMUS_FN I32 subset_table(const int32_t* value, int count) {
    constexpr __mmask16 kHas[4] = {0xaaaa, 0xcccc, 0xf0f0, 0xff00};
    __m512i table = _mm512_maskz_set1_epi32(kHas[0], value[0]);
#pragma GCC unroll 4
    for (int k = 1; k < count; ++k) table = _mm512_mask_add_epi32(table, kHas[k], table, _mm512_set1_epi32(value[k]));
    return (I32)table;
}
ISTHMUS_FN I64 subset_table(const int64_t* value, int count) {
    constexpr __mmask8 kHas[3] = {0xaa, 0xcc, 0xf0};
    __m512i table = _mm512_maskz_set1_epi64(kHas[0], value[0]);
#pragma GCC unroll 4
    for (int k = 1; k < count; ++k) table = _mm512_mask_add_epi64(table, kHas[k], table, _mm512_set1_epi64(value[k]));
    return (I64)table;
}
#else
#if defined(__AVX2__)
ISTHMUS_FN I32 subset_table(const int32_t* value, int count) {
    const I32 has[3] = {{0, -1, 0, -1, 0, -1, 0, -1}, {0, 0, -1, -1, 0, 0, -1, -1}, {0, 0, 0, 0, -1, -1, -1, -1}};
    I32 table = {};
#pragma GCC unroll 4
    for (int k = 0; k < count; ++k) table += has[k] & value[k];
    return table;
}
#else
ISTHMUS_FN I32 subset_table(const int32_t* value, int) { return I32{} + *value; }
#endif
ISTHMUS_FN I64 subset_table(const int64_t* value, int) { return I64{} + *value; }
#endif

// sum + v in the lanes whose bits hold `bit`.
#if defined(__AVX512F__)
ISTHMUS_FN __mmask16 lanes_with(U32 bits, uint32_t bit) {
    return _mm512_test_epi32_mask((__m512i)bits, _mm512_set1_epi32(int(bit)));
}
ISTHMUS_FN __mmask8 lanes_with(U64 bits, uint64_t bit) {
    return _mm512_test_epi64_mask((__m512i)bits, _mm512_set1_epi64((long long)bit));
}
template <class V>
ISTHMUS_FN V add_in(__mmask16 lanes, V sum, V v) {
    return (V)_mm512_mask_add_epi32((__m512i)sum, lanes, (__m512i)sum, (__m512i)v);
}
template <class V>
ISTHMUS_FN V add_in(__mmask8 lanes, V sum, V v) {
    return (V)_mm512_mask_add_epi64((__m512i)sum, lanes, (__m512i)sum, (__m512i)v);
}
#else
ISTHMUS_FN I32 lanes_with(U32 bits, uint32_t bit) { return (I32)((bits & bit) == bit); }
ISTHMUS_FN I64 lanes_with(U64 bits, uint64_t bit) { return (I64)((bits & bit) == bit); }
template <class M, class V>
ISTHMUS_FN V add_in(M lanes, V sum, V v) {
    return sum + ((V)lanes & v);
}
#endif

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
