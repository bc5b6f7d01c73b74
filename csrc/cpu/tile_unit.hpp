// The matrix unit (AMX): eight tile registers of 16 rows of 64 bytes. With ISTHMUS_EMULATED_AMX, for tests only, the
// same unit in plain arithmetic.
#pragma once

#include <string.h>

#include "simd.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

constexpr size_t kSquare = 256;  // 4-byte elements of a tile

// Squares are whole tiles in memory, kSquare elements. Tiles exist while a TileUnit lives; units do not nest.
#if !defined(ISTHMUS_EMULATED_AMX)

// Instructions by their names: the compiler's macros take a tile's number as a literal only. Memory operands tell the
// compiler what is read and written; the stride is set beside its use, or GCC 12 fetches it from a vector register.
class TileUnit {
  public:
    TileUnit() noexcept {
        struct alignas(64) {
            uint8_t palette = 1, start_row = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        } shape;
        __asm__ volatile("ldtilecfg %0" : : "m"(shape));
    }
    ~TileUnit() { __asm__ volatile("tilerelease"); }
    TileUnit(const TileUnit&) = delete;
    TileUnit& operator=(const TileUnit&) = delete;

    template <int kTo>
    ISTHMUS_FN void zero() {
        __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTo));
    }
    template <int kTo>
    ISTHMUS_FN void load(const float* square) {
        long stride;
        __asm__ volatile("movl $64, %k0; tileloadd (%1,%0,1), %%tmm%c2"
                         : "=&r"(stride)
                         : "r"(square), "i"(kTo), "m"(*reinterpret_cast<const float (*)[kSquare]>(square)));
    }
    // sum (16, 16) of float32 += left (16, 32) x right (32, 16) of bfloat16; right holds pairs of its rows.
    template <int kSum, int kLeft, int kRight>
    ISTHMUS_FN void multiply() {
        __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kLeft), "i"(kRight));
    }
    template <int kFrom>
    ISTHMUS_FN void store(float* square) {
        long stride;
        __asm__ volatile("movl $64, %k0; tilestored %%tmm%c3, (%2,%0,1)"
                         : "=&r"(stride), "=m"(*reinterpret_cast<float (*)[kSquare]>(square))
                         : "r"(square), "i"(kFrom));
    }
};

#else

// TDPBF16PS of Intel's manual (volume 2): two chains of fused additions, over the even and the odd elements, their sum,
// then the accumulator; to nearest even, denormal inputs and results are zero.
class TileUnit {
  public:
    template <int kTo>
    void zero() {
        memset(tile_[kTo], 0, sizeof(tile_[kTo]));
    }
    template <int kTo>
    void load(const float* square) {
        memcpy(tile_[kTo], square, sizeof(tile_[kTo]));
    }
    template <int kSum, int kLeft, int kRight>
    void multiply() noexcept {
        static_assert(kLanes<float> == 16);
        for (size_t m = 0; m < 16; ++m) {
            F32 even = {}, odd = {};
            for (size_t k = 0; k < 16; ++k) {
                const U32 right = bits(load_row(kRight, k));
                const uint32_t left = tile_[kLeft][m * 16 + k];
                even = flushed(fma(low(U32{} + left), low(right), even));
                odd = flushed(fma(high(U32{} + left), high(right), odd));
            }
            const F32 sum = flushed(flushed(load_row(kSum, m)) + flushed(even + odd));
            memcpy(&tile_[kSum][m * 16], &sum, sizeof(sum));
        }
    }
    template <int kFrom>
    void store(float* square) {
        memcpy(square, tile_[kFrom], sizeof(tile_[kFrom]));
    }

  private:
    static U32 bits(F32 v) { return (U32)v; }
    static F32 flushed(F32 v) { return (F32)(abs(v) < splat(0x1p-126f) ? bits(v) & 0x80000000u : bits(v)); }
    static F32 low(U32 pairs) { return flushed((F32)(pairs << 16)); }
    static F32 high(U32 pairs) { return flushed((F32)(pairs & 0xffff0000u)); }
    F32 load_row(int tile, size_t row) const {
        F32 v;
        memcpy(&v, &tile_[tile][row * 16], sizeof(v));
        return v;
    }

    uint32_t tile_[8][kSquare];
};

#endif

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
