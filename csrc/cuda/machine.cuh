// The GPU as the kernels see it: threads and blocks, shared memory, copies under way, tensor cores, float functions.
//
// Device code only, read by nvcc and by NVRTC; the host that plans launches reads it for tasks and geometry, and a test
// plays the threads of a block itself.
#pragma once

#include "../arch.hpp"

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define ISTHMUS_DEVICE __device__ __forceinline__
#define ISTHMUS_DEVICE_CALL __device__ __noinline__
#define ISTHMUS_PRAGMA(text) _Pragma(#text)
#define ISTHMUS_UNROLL ISTHMUS_PRAGMA(unroll)
#define ISTHMUS_UNROLL_BY(n) ISTHMUS_PRAGMA(unroll n)
#elif !defined(ISTHMUS_EMULATED_GPU)
#define ISTHMUS_DEVICE inline
#define ISTHMUS_DEVICE_CALL inline
#endif
#if !defined(ISTHMUS_UNROLL)
#define ISTHMUS_UNROLL
#define ISTHMUS_UNROLL_BY(n)
#endif

#if !defined(__CUDACC__) && !defined(__CUDACC_RTC__) && !defined(ISTHMUS_EMULATED_GPU)
// For the host that plans launches and runs none: names without bodies.
namespace isthmus::ISTHMUS_ARCH {
int thread();
unsigned long long block();
unsigned long long n_blocks();
void sync_block();
void sync_warp();
bool any_of_block(bool value);
double from_lane_xor(double value, int mask);
float from_lane_xor(float value, int mask);
char* shared_memory();
void copy16(void* to, const void* from);
template <class T>
void copy_number(T* to, const T* from, bool there);
void end_copies();
template <int kLater>
void wait_for_copies();
void multiply_tf32(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
void stream16(float* to, const float (&from)[4]);
void stream16(double* to, const double (&from)[2]);
void multiply_bf16(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
void multiply_f16(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
unsigned two_bf16(float low, float high);
unsigned half_of(float x);
float number_of_half(unsigned bits);
unsigned lower_halves(unsigned first, unsigned second);
unsigned upper_halves(unsigned first, unsigned second);
void load_fragments(unsigned (&to)[4], const void* row);
void load_transposed(unsigned (&to)[4], const void* row);
unsigned bits_of(float x);
float float_of(unsigned bits);
unsigned long long high_product(unsigned long long a, unsigned long long b);
}  // namespace isthmus::ISTHMUS_ARCH
#endif

namespace isthmus::ISTHMUS_ARCH {
namespace {

using Size = unsigned long long;

constexpr int kWarp = 32;  // threads

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
ISTHMUS_DEVICE int thread() {
    const int number = int(threadIdx.x);
    __builtin_assume(number >= 0 && number < 1024);  // divisions become shifts
    return number;
}
ISTHMUS_DEVICE int n_threads() { return int(blockDim.x); }
ISTHMUS_DEVICE Size block() { return blockIdx.x; }
ISTHMUS_DEVICE Size n_blocks() { return gridDim.x; }
ISTHMUS_DEVICE void sync_block() { __syncthreads(); }
ISTHMUS_DEVICE void sync_warp() { __syncwarp(); }
// Whether `value` holds in a thread of the block: a barrier too.
ISTHMUS_DEVICE bool any_of_block(bool value) { return __syncthreads_or(value) != 0; }
ISTHMUS_DEVICE double from_lane_xor(double value, int mask) { return __shfl_xor_sync(~0u, value, mask); }
ISTHMUS_DEVICE float from_lane_xor(float value, int mask) { return __shfl_xor_sync(~0u, value, mask); }
ISTHMUS_DEVICE char* shared_memory() {
    extern __shared__ __align__(16) char shared[];
    return shared;
}

// 16 bytes from global to shared memory, under way until wait_for_copies.
ISTHMUS_DEVICE void copy16(void* to, const void* from) {
#if __CUDA_ARCH__ >= 800
    const unsigned at = unsigned(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
#else
    *static_cast<int4*>(to) = *static_cast<const int4*>(from);
#endif
}
// One number in the same way, or 0 where none is there; `from` is an address of the array even then.
template <class T>
ISTHMUS_DEVICE void copy_number(T* to, const T* from, bool there) {
#if __CUDA_ARCH__ >= 800
    const unsigned at = unsigned(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(at), "l"(from), "n"(sizeof(T)),
                 "r"(there ? int(sizeof(T)) : 0)
                 : "memory");
#else
    *to = there ? *from : T(0);
#endif
}
ISTHMUS_DEVICE void end_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Until at most kLater of the groups that end_copies closed are under way.
template <int kLater>
ISTHMUS_DEVICE void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(kLater) : "memory");
#endif
}

// Tensor cores. Code for a GPU without them can be what a driver compiles for a later one: better no result than zeros.
//
// sum (16, 8) += a (16, 8) b (8, 8) in TF32: PTX mma.m16n8k8, whose fragments each lane holds as its number says.
ISTHMUS_DEVICE void multiply_tf32(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    (void)sum, (void)a, (void)b, __trap();
#endif
}
// 16 bytes on their border to global memory that is not soon read again.
ISTHMUS_DEVICE void stream16(float* to, const float (&from)[4]) {
    __stcs(reinterpret_cast<float4*>(to), make_float4(from[0], from[1], from[2], from[3]));
}
ISTHMUS_DEVICE void stream16(double* to, const double (&from)[2]) {
    __stcs(reinterpret_cast<double2*>(to), make_double2(from[0], from[1]));
}
// sum (16, 8) += a (16, 16) b (16, 8) in bf16: PTX mma.m16n8k16; the lower half of a register is the earlier number.
ISTHMUS_DEVICE void multiply_bf16(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    (void)sum, (void)a, (void)b, __trap();
#endif
}
// The same in float16.
ISTHMUS_DEVICE void multiply_f16(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    (void)sum, (void)a, (void)b, __trap();
#endif
}
// A number rounded to float16, nearest even, and back.
ISTHMUS_DEVICE unsigned half_of(float x) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
ISTHMUS_DEVICE float number_of_half(unsigned bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"((unsigned short)bits));
    return x;
}
// The lower halves of both, and their upper halves.
ISTHMUS_DEVICE unsigned lower_halves(unsigned first, unsigned second) { return __byte_perm(first, second, 0x5410); }
ISTHMUS_DEVICE unsigned upper_halves(unsigned first, unsigned second) { return __byte_perm(first, second, 0x7632); }
// Two numbers rounded to bf16, nearest even.
ISTHMUS_DEVICE unsigned two_bf16(float low, float high) {
#if __CUDA_ARCH__ >= 800
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
#else
    (void)low, (void)high, __trap();
    return 0;
#endif
}
// Four matrices of 8 x 8 numbers of 16 bits from shared memory: lane 8 i + r names row r of matrix i, 16 bytes on their
// border; to[i] are numbers 2 (lane % 4) and the next of row lane / 4, or of that column. PTX ldmatrix.
ISTHMUS_DEVICE void load_fragments(unsigned (&to)[4], const void* row) {
#if __CUDA_ARCH__ >= 800
    const unsigned at = unsigned(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
#else
    (void)to, (void)row, __trap();
#endif
}
ISTHMUS_DEVICE void load_transposed(unsigned (&to)[4], const void* row) {
#if __CUDA_ARCH__ >= 800
    const unsigned at = unsigned(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
#else
    (void)to, (void)row, __trap();
#endif
}
ISTHMUS_DEVICE unsigned bits_of(float x) { return __float_as_uint(x); }
ISTHMUS_DEVICE float float_of(unsigned bits) { return __uint_as_float(bits); }
// The upper half of the 128 bits.
ISTHMUS_DEVICE Size high_product(Size a, Size b) { return __umul64hi(a, b); }
#endif

ISTHMUS_FN float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
ISTHMUS_FN double fma(double a, double b, double c) { return ::fma(a, b, c); }

// The larger, or NaN where either is.
ISTHMUS_FN float larger(float a, float b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    float found;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(found) : "f"(a), "f"(b));
    return found;
#else
    return a > b || a != a ? a : b;
#endif
}
ISTHMUS_FN double larger(double a, double b) { return a > b || a != a ? a : b; }

ISTHMUS_FN float sqrt(float x) {
#if defined(__CUDA_ARCH__)
    float root;
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(root) : "f"(x));
    return root;
#elif defined(ISTHMUS_EMULATED_GPU)
    return ::sqrtf(flushed(x));
#else
    return ::sqrtf(x);
#endif
}
ISTHMUS_FN double sqrt(double x) { return ::sqrt(x); }

// 2^-u, u >= 0.
ISTHMUS_FN float exp2_neg(float u) {
#if defined(__CUDA_ARCH__)
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(-u));
    return power;
#elif defined(ISTHMUS_EMULATED_GPU)
    return approximate_exp2(-flushed(u));
#else
    return ::exp2f(-u);
#endif
}
ISTHMUS_FN double exp2_neg(double u) { return ::exp2(-u); }

// log2(1 + u), u >= 0, with what rounding 1 + u loses. Not lg2.approx: near 1 it is off by 2^-22, which a power
// multiplies.
ISTHMUS_FN float log2_1p(float given) {
    const float u = given > 0x1p127f ? 0x1p127f : given;  // of infinity nothing would be left
    const float sum = 1.0f + u, lost = u - (sum - 1.0f);
    return ::log2f(sum) + 1.44269504f * (lost / sum);
}
ISTHMUS_FN double log2_1p(double u) { return 1.4426950408889634 * ::log1p(u); }

// The sum over a block of threads, in one order; for thread 0.
template <int kThreads>
ISTHMUS_DEVICE double sum_of_block(double value) {
    double* const of_warp = reinterpret_cast<double*>(shared_memory());
    for (int mask = kWarp / 2; mask; mask /= 2) value += from_lane_xor(value, mask);
    sync_block();  // shared memory may still be read
    if (thread() % kWarp == 0) of_warp[thread() / kWarp] = value;
    sync_block();
    double sum = 0;
    if (thread() == 0)
        for (int warp = 0; warp < kThreads / kWarp; ++warp) sum += of_warp[warp];
    sync_block();
    return sum;
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
