// The tile engine on a GPU: tile of pairs -> kernel function -> consumer, as on the CPU. Device code only, read by nvcc
// and by NVRTC; the host that plans launches reads it for tasks and geometry, and a test plays the threads of a block
// itself.
//
// Rows are packed once into panels of kPanel rows, dimension by dimension: element (row r, dimension k) of a panel at
// [k * kPanel + r]. One block of threads forms one square tile of pairs at a time. Sums leave a tile as one float64
// number, and a second kernel adds these up in a fixed order: no atomics, the same bits in every run.
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
unsigned two_bf16(float low, float high);
unsigned bits_of(float x);
float float_of(unsigned bits);
}  // namespace isthmus::ISTHMUS_ARCH
#endif

namespace isthmus::ISTHMUS_ARCH {
namespace {

using Size = unsigned long long;

constexpr int kPanel = 64;  // rows
constexpr int kSlab = 16;   // dimensions in shared memory at once
constexpr int kWarp = 32;   // threads
constexpr int kGap = 8;     // numbers between the rows of shared memory, lest they share banks
constexpr int kMaxTerms = 24;

// -- the machine --------------------------------------------------------------------------------------------------

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
ISTHMUS_DEVICE unsigned bits_of(float x) { return __float_as_uint(x); }
ISTHMUS_DEVICE float float_of(unsigned bits) { return __uint_as_float(bits); }
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

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH

#include "../ops.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// -- what a launch is told ----------------------------------------------------------------------------------------

// How u is formed; the Gram trick serves kernels of a distance that are smooth at 0.
enum class Pairing : unsigned char { Gram, Difference, CityBlock, Dot };

constexpr Pairing natural(Input input) {
    return input == Input::Distance        ? Pairing::Gram
           : input == Input::SharpDistance ? Pairing::Difference
           : input == Input::CityBlock     ? Pairing::CityBlock
                                           : Pairing::Dot;
}

// A weighted sum of kernels that share a pairing: the tile's u times `factor` is the u of a kernel. A pair with guard
// (|x|^2 + |y|^2) > 1 + u gets u = raw_factor |raw_scale (x - y)|^2 from the rows themselves: the Gram trick loses too
// many digits there.
template <class T>
struct Terms {
    int count;
    unsigned kernel[kMaxTerms];  // position in ISTHMUS_KERNELS
    T weight[kMaxTerms], factor[kMaxTerms];
    double params[kMaxTerms][3];
    T guard, raw_scale, raw_factor;
};

// One sample: its rows (count, d) and their weights (count,), or null for 1; the panel from which on it is packed; the
// group whose mean is subtracted.
template <class T>
struct Sample {
    const T *rows, *weights;
    Size stride, count, panel, group;
};

// Packed rows of all samples of a call, one sample behind the other, each from a new tile on.
template <class T>
struct Packed {
    const T *panels, *norms, *weights;  // norms null unless Gram; weights 0 for missing rows
    Size d, depth;                      // dimensions; padded with zeros to whole slabs
};

// -- products of a tile of pairs ----------------------------------------------------------------------------------

// A square tile of kSide rows on each side: kEach x kEach values in every thread, in quads of 4 x 4 that are kSide /
// kQuads rows apart, so that a quad's rows are one load.
template <class T, int kSide_, int kQuads>
struct Plain {
    static constexpr int kSide = kSide_, kEach = 4 * kQuads, kAcross = kSide / kEach, kThreads = kAcross * kAcross;
    static constexpr int kStride = kSide + kGap, kBlocks = 2, kExactSlabs = 0;
    ISTHMUS_DEVICE static int row(int i) { return i / 4 * (kSide / kQuads) + thread() / kAcross * 4 + i % 4; }
    ISTHMUS_DEVICE static int col(int j) { return j / 4 * (kSide / kQuads) + thread() % kAcross * 4 + j % 4; }

    template <Pairing kPairing>
    ISTHMUS_DEVICE static void add(const T* left, const T* right, T (&sum)[kEach][kEach]) {
        ISTHMUS_UNROLL
        for (int k = 0; k < kSlab; ++k) {
            T a[kEach], b[kEach];
            ISTHMUS_UNROLL
            for (int i = 0; i < kEach; ++i) a[i] = left[k * kStride + row(i)], b[i] = right[k * kStride + col(i)];
            ISTHMUS_UNROLL
            for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
            for (int j = 0; j < kEach; ++j) {
                if constexpr (kPairing == Pairing::Difference) {
                    const T gap = a[i] - b[j];
                    sum[i][j] = fma(gap, gap, sum[i][j]);
                } else if constexpr (kPairing == Pairing::CityBlock) {
                    const T gap = a[i] - b[j];
                    sum[i][j] += gap < T(0) ? -gap : gap;
                } else {
                    sum[i][j] = fma(a[i], b[j], sum[i][j]);
                }
            }
        }
    }
};

// To 22 bits, which two numbers of TF32 hold: what tensor cores leave out of a number they leave out of each alike, and
// that adds up.
ISTHMUS_DEVICE float rounded_to_split(float x) {
    const unsigned bits = bits_of(x);
    return x - x == 0.0f ? float_of((bits + 1u + (bits >> 2 & 1u)) & ~3u) : x;
}
ISTHMUS_DEVICE double rounded_to_split(double x) { return x; }

// x = high + low. `low` has the sign of x, or, for one instruction more, either sign: the products of two low parts,
// which are left out, then cancel where all x have one sign.
template <bool kEitherSign>
ISTHMUS_DEVICE void split(float x, unsigned& high, unsigned& low) {
    high = (bits_of(x) + (kEitherSign ? 0x1000u : 0u)) & 0xffffe000u;
    low = bits_of(x - float_of(high));
}

// The same on tensor cores: each float32 number as two of TF32, three products. Eight warps, 64 x 32 values each, in
// fragments of 16 x 8. The hardware truncates what it adds up, so the sums of kExactSlabs slabs are added outside of
// it: of centred rows, whose products differ in sign; else those of each step, which costs as many instructions again.
struct Tensor {
    static constexpr int kSide = 128, kEach = 8, kThreads = 256, kStride = kSide + kGap, kBlocks = 2, kExactSlabs = 2;
    ISTHMUS_DEVICE static int lane() { return thread() % kWarp; }
    ISTHMUS_DEVICE static int row(int i) { return thread() / kWarp % 2 * 64 + i / 2 * 16 + i % 2 * 8 + lane() / 4; }
    ISTHMUS_DEVICE static int col(int j) { return thread() / kWarp / 2 * 32 + j / 2 * 8 + lane() % 4 * 2 + j % 2; }

    template <Pairing kPairing>
    ISTHMUS_DEVICE static void add(const float* left, const float* right, float (&sum)[8][8]) {
        static_assert(kPairing == Pairing::Gram || kPairing == Pairing::Dot);
        constexpr bool kCentred = kPairing == Pairing::Gram;
        const int top = thread() / kWarp % 2 * 64 + lane() / 4, side = thread() / kWarp / 2 * 32 + lane() / 4;
        ISTHMUS_UNROLL_BY(1)
        for (int step = 0; step < kSlab; step += 8) {
            const int k = step + lane() % 4;
            unsigned b_high[4][2], b_low[4][2];
            ISTHMUS_UNROLL
            for (int n = 0; n < 4; ++n) ISTHMUS_UNROLL
            for (int e = 0; e < 2; ++e)
                split<!kCentred>(right[(k + 4 * e) * kStride + side + 8 * n], b_high[n][e], b_low[n][e]);
            ISTHMUS_UNROLL
            for (int m = 0; m < 4; ++m) {
                unsigned high[4], low[4];
                ISTHMUS_UNROLL
                for (int e = 0; e < 4; ++e)
                    split<!kCentred>(left[(k + e / 2 * 4) * kStride + top + 16 * m + e % 2 * 8], high[e], low[e]);
                float part[4][4];
                ISTHMUS_UNROLL
                for (int n = 0; n < 4; ++n) ISTHMUS_UNROLL
                for (int e = 0; e < 4; ++e) part[n][e] = kCentred ? sum[2 * m + e / 2][2 * n + e % 2] : 0.0f;
                ISTHMUS_UNROLL
                for (int n = 0; n < 4; ++n) multiply_tf32(part[n], low, b_high[n]);
                ISTHMUS_UNROLL
                for (int n = 0; n < 4; ++n) multiply_tf32(part[n], high, b_low[n]);
                ISTHMUS_UNROLL
                for (int n = 0; n < 4; ++n) multiply_tf32(part[n], high, b_high[n]);
                ISTHMUS_UNROLL
                for (int n = 0; n < 4; ++n) ISTHMUS_UNROLL
                for (int e = 0; e < 4; ++e) {
                    float& to = sum[2 * m + e / 2][2 * n + e % 2];
                    to = kCentred ? part[n][e] : to + part[n][e];
                }
            }
        }
    }
};

template <class T, class Shape>
constexpr int kSlabSize = kSlab * Shape::kStride;  // numbers of one side

// Shared memory of a tile: two slabs of both sides, one multiplied while the other arrives; norms and weights of both
// sides' rows; the sums of slabs that have been added.
template <class T, class Shape>
constexpr Size kSlabBytes = 4 * kSlabSize<T, Shape> * sizeof(T);
template <class T, class Shape>
constexpr Size kSideBytes = 4 * Shape::kSide * sizeof(T);
template <class T, class Shape>
constexpr Size kProductBytes =
    kSlabBytes<T, Shape> + kSideBytes<T, Shape> + (Shape::kExactSlabs ? Shape::kSide * Shape::kSide * sizeof(T) : 0);

// Norms, or else weights, of the rows of a side, 0 left and 1 right, once a tile is formed.
template <class T, class Shape>
ISTHMUS_DEVICE T* norms_of_side(int side) {
    return reinterpret_cast<T*>(shared_memory() + kSlabBytes<T, Shape>) + side * Shape::kSide;
}
template <class T, class Shape>
ISTHMUS_DEVICE T* weights_of_side(int side) {
    return norms_of_side<T, Shape>(side + 2);
}

// A thread's share of copying kSlab dimensions of a side's rows to shared memory.
template <class T, class Shape>
struct Fetch {
    static constexpr int kVector = 16 / int(sizeof(T)), kInRow = Shape::kSide / kVector;
    static constexpr int kAtOnce = Shape::kThreads / kInRow;  // dimensions
    static_assert(kSlab % kAtOnce == 0);
    ISTHMUS_DEVICE static int row() { return thread() % kInRow * kVector; }
    ISTHMUS_DEVICE static int dimension() { return thread() / kInRow; }
    // From the first panel of the side.
    ISTHMUS_DEVICE static Size offset(Size depth) {
        return Size(row() / kPanel) * depth * kPanel + Size(dimension() * kPanel + row() % kPanel);
    }
    ISTHMUS_DEVICE static void slab(const T* from, T* slab) {
        T* const to = slab + dimension() * Shape::kStride + row();
        ISTHMUS_UNROLL
        for (int k = 0; k < kSlab; k += kAtOnce) copy16(to + k * Shape::kStride, from + k * kPanel);
    }
};

// sum += what other slabs have added up to, or the other way round. Each thread keeps its own numbers.
template <class T, class Shape, bool kKeep>
ISTHMUS_DEVICE void exchange_kept(T (&sum)[Shape::kEach][Shape::kEach], bool first) {
    constexpr int kEach = Shape::kEach;
    struct alignas(16) Four {
        T number[4];
    };
    Four* const kept =
        reinterpret_cast<Four*>(shared_memory() + kSlabBytes<T, Shape> + kSideBytes<T, Shape>) + thread();
    ISTHMUS_UNROLL
    for (int e = 0; e < kEach * kEach; e += 4) {
        Four four = first ? Four{} : kept[e / 4 * Shape::kThreads];
        ISTHMUS_UNROLL
        for (int k = 0; k < 4; ++k) {
            T& own = sum[(e + k) / kEach][(e + k) % kEach];
            four.number[k] += own;
            own = kKeep ? T(0) : four.number[k];
        }
        if constexpr (kKeep) kept[e / 4 * Shape::kThreads] = four;
    }
}

// sum = the products of all pairs of two sides' rows over the first `count` dimensions of `depth`. `also` starts copies
// that are to be there by the end. The slabs are still read by others when a thread returns.
template <class T, class Shape, Pairing kPairing, class Also>
ISTHMUS_DEVICE void form_products(const T* left, const T* right, Size depth, Size count,
                                  T (&sum)[Shape::kEach][Shape::kEach], const Also& also) {
    T* const slabs = reinterpret_cast<T*>(shared_memory());
    constexpr int kSize = kSlabSize<T, Shape>;
    constexpr bool kKept = Shape::kExactSlabs > 0 && kPairing == Pairing::Gram;
    using Own = Fetch<T, Shape>;
    left += Own::offset(depth), right += Own::offset(depth);
    const auto fetch = [&](int into) {
        Own::slab(left, slabs + into * (2 * kSize));
        Own::slab(right, slabs + into * (2 * kSize) + kSize);
        left += kSlab * kPanel, right += kSlab * kPanel;
        end_copies();
    };
    ISTHMUS_UNROLL
    for (int i = 0; i < Shape::kEach; ++i) ISTHMUS_UNROLL
    for (int j = 0; j < Shape::kEach; ++j) sum[i][j] = T(0);
    sync_block();  // shared memory may still be read for the tile before
    also();
    fetch(0);
    const int n_slabs = int(count / kSlab);
    ISTHMUS_UNROLL_BY(1)
    for (int n = 0; n < n_slabs; ++n) {
        wait_for_copies<0>();
        sync_block();  // a slab is there for all, the other is read no more
        if (n + 1 < n_slabs) fetch((n + 1) % 2);
        if constexpr (kKept)
            if (n && n % Shape::kExactSlabs == 0) exchange_kept<T, Shape, true>(sum, n == Shape::kExactSlabs);
        const T* const slab = slabs + n % 2 * (2 * kSize);
        Shape::template add<kPairing>(slab, slab + kSize, sum);
    }
    if constexpr (kKept)
        if (n_slabs > Shape::kExactSlabs) exchange_kept<T, Shape, false>(sum, false);
}

// -- kernel values ------------------------------------------------------------------------------------------------

// f(values, i, j) in place of `kTogether` values of a thread from (i, j) on, through the slabs: one copy of f's code
// for half a tile. No thread may still read them.
template <class T, class Shape, int kTogether, class F>
ISTHMUS_DEVICE void replace_each(T (&at)[Shape::kEach][Shape::kEach], const F& f) {
    constexpr int kEach = Shape::kEach, kRows = 4;
    static_assert(kRows * kEach * Shape::kThreads * sizeof(T) <= kSlabBytes<T, Shape> && kEach % kTogether == 0);
    T* const own = reinterpret_cast<T*>(shared_memory()) + thread();
    ISTHMUS_UNROLL
    for (int first = 0; first < kEach; first += kRows) {
        ISTHMUS_UNROLL
        for (int e = 0; e < kRows * kEach; ++e) own[e * Shape::kThreads] = at[first + e / kEach][e % kEach];
        ISTHMUS_UNROLL_BY(1)
        for (int e = 0; e < kRows * kEach; e += kTogether) {
            T some[kTogether];
            ISTHMUS_UNROLL
            for (int k = 0; k < kTogether; ++k) some[k] = own[(e + k) * Shape::kThreads];
            f(some, first + e / kEach, e % kEach);
            ISTHMUS_UNROLL
            for (int k = 0; k < kTogether; ++k) own[(e + k) * Shape::kThreads] = some[k];
        }
        ISTHMUS_UNROLL
        for (int e = 0; e < kRows * kEach; ++e) at[first + e / kEach][e % kEach] = own[e * Shape::kThreads];
    }
}

// A single kernel whose scale the packed rows have. Its values are to be multiplied by `factor`.
template <class T, class Kernel>
struct One {
    static constexpr Pairing kPairing = natural(Kernel::kInput);
    Kernel kernel;
    T factor;
    ISTHMUS_DEVICE explicit One(const Terms<T>& terms) : kernel(terms.params[0]), factor(terms.weight[0]) {}
    ISTHMUS_DEVICE T operator()(T u) const { return factor * kernel.value(u); }
    template <int kCount>
    ISTHMUS_DEVICE void form(T (&u)[kCount]) const {
        ISTHMUS_UNROLL
        for (int e = 0; e < kCount; ++e) u[e] = kernel.value(u[e]);
    }
    template <class Shape>
    ISTHMUS_DEVICE void form_tile(T (&at)[Shape::kEach][Shape::kEach]) const {
        ISTHMUS_UNROLL
        for (int i = 0; i < Shape::kEach; ++i) form(at[i]);
    }
};

// A sum of Gaussians.
template <class T>
struct Gaussians {
    static constexpr Pairing kPairing = Pairing::Gram;
    static constexpr T factor = 1;
    const Terms<T>& terms;
    ISTHMUS_DEVICE explicit Gaussians(const Terms<T>& given) : terms(given) {}
    ISTHMUS_DEVICE T operator()(T u) const {
        T sum = 0;
        for (int n = 0; n < terms.count; ++n) sum = fma(terms.weight[n], exp2_neg(terms.factor[n] * u), sum);
        return sum;
    }
    template <int kCount>
    ISTHMUS_DEVICE void form(T (&u)[kCount]) const {
        T sum[kCount] = {};
        ISTHMUS_UNROLL_BY(1)
        for (int n = 0; n < terms.count; ++n) {
            const T weight = terms.weight[n], scale = terms.factor[n];
            ISTHMUS_UNROLL
            for (int e = 0; e < kCount; ++e) sum[e] = fma(weight, exp2_neg(scale * u[e]), sum[e]);
        }
        ISTHMUS_UNROLL
        for (int e = 0; e < kCount; ++e) u[e] = sum[e];
    }
    template <class Shape>
    ISTHMUS_DEVICE void form_tile(T (&at)[Shape::kEach][Shape::kEach]) const {
        ISTHMUS_UNROLL
        for (int i = 0; i < Shape::kEach; ++i) form(at[i]);
    }
};

// Each u's sum of any kernels, in its place.
template <class T, int kCount>
ISTHMUS_DEVICE void form_any(const Terms<T>& terms, T (&u)[kCount]) {
    T sum[kCount] = {};
    ISTHMUS_UNROLL_BY(1)
    for (int n = 0; n < terms.count; ++n) {
        const T weight = terms.weight[n], scale = terms.factor[n];
        unsigned number = 0;
#define ISTHMUS_X(K, name, n_params)                                                               \
    if (terms.kernel[n] == number++) {                                                             \
        const K<T> kernel(terms.params[n]);                                                        \
        ISTHMUS_UNROLL                                                                             \
        for (int e = 0; e < kCount; ++e) sum[e] = fma(weight, kernel.value(scale * u[e]), sum[e]); \
    }
        ISTHMUS_KERNELS(ISTHMUS_X)
#undef ISTHMUS_X
    }
    ISTHMUS_UNROLL
    for (int e = 0; e < kCount; ++e) u[e] = sum[e];
}

template <class T>
ISTHMUS_DEVICE_CALL T value_of_any(const Terms<T>& terms, T u) {
    T one[1] = {u};
    form_any(terms, one);
    return one[0];
}

// Any sum of kernels of one pairing.
template <class T, Pairing kPairing_>
struct Any {
    static constexpr Pairing kPairing = kPairing_;
    static constexpr T factor = 1;
    const Terms<T>& terms;
    ISTHMUS_DEVICE explicit Any(const Terms<T>& given) : terms(given) {}
    ISTHMUS_DEVICE T operator()(T u) const { return value_of_any<T>(terms, u); }
    template <int kCount>
    ISTHMUS_DEVICE void form(T (&u)[kCount]) const {
        form_any(terms, u);
    }
    template <class Shape>
    ISTHMUS_DEVICE void form_tile(T (&at)[Shape::kEach][Shape::kEach]) const {
        sync_block();  // the slabs may still be read
        replace_each<T, Shape, 4>(at, [&](T(&u)[4], int, int) { form_any(terms, u); });
    }
};

// Blocks that are to share a multiprocessor: sums that need more instructions would not fit in half of its registers.
template <class Shape, class Values>
constexpr int kBlocksOf =
    Values::kPairing == Pairing::Gram || Values::kPairing == Pairing::Difference ? Shape::kBlocks : 1;

// |raw_scale (x - y)|^2 raw_factor, for pairs that the Gram trick would spoil.
template <class T>
ISTHMUS_DEVICE T direct_distance(const T* x, const T* y, Size d, const Terms<T>& terms) {
    T sum = 0;
    ISTHMUS_UNROLL_BY(4)
    for (Size k = 0; k < d; ++k) {
        const T gap = terms.raw_scale * x[k] - terms.raw_scale * y[k];
        sum = fma(gap, gap, sum);
    }
    const T u = terms.raw_factor * sum;
    constexpr T kLargest = T(sizeof(T) == 4 ? 0x1p127 : 0x1p1023);
    return u > kLargest ? kLargest : u;  // kernels multiply powers of it by 0
}

// Two sides of a tile, counted from the samples' first rows.
template <class T>
struct Place {
    const Sample<T>&left, &right;
    Size row, col;
};

// Squared distances in place of products.
template <class T, class Shape>
ISTHMUS_DEVICE void form_distances(const Packed<T>& packed, const Place<T>& p, const Terms<T>& terms,
                                   T (&at)[Shape::kEach][Shape::kEach]) {
    constexpr int kEach = Shape::kEach;
    const T *const left = norms_of_side<T, Shape>(0), *const right = norms_of_side<T, Shape>(1);
    T left_norms[kEach], right_norms[kEach], left_most = 0, right_most = 0;
    ISTHMUS_UNROLL
    for (int i = 0; i < kEach; ++i) {
        left_norms[i] = left[Shape::row(i)], right_norms[i] = right[Shape::col(i)];
        left_most = larger(left_most, left_norms[i]), right_most = larger(right_most, right_norms[i]);
    }
    ISTHMUS_UNROLL
    for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
    for (int j = 0; j < kEach; ++j) at[i][j] = larger(fma(T(-2), at[i][j], left_norms[i] + right_norms[j]), T(0));
    if (p.left.panel == p.right.panel && p.row == p.col) ISTHMUS_UNROLL
    for (int i = 0; i < kEach; ++i) ISTHMUS_UNROLL
    for (int j = 0; j < kEach; ++j)
        if (Shape::row(i) == Shape::col(j)) at[i][j] = 0;
    // Few tiles have rows so long, fewer such a pair. Norms are loaded again, lest they fill registers in between.
    bool spoilt = false;
    if (!(terms.guard * (left_most + right_most) <= T(1))) {
        const volatile T *const left_again = left, *const right_again = right;
        ISTHMUS_UNROLL
        for (int j = 0; j < kEach; ++j) right_norms[j] = right_again[Shape::col(j)];
        ISTHMUS_UNROLL
        for (int i = 0; i < kEach; ++i) {
            const T norm = left_again[Shape::row(i)];
            ISTHMUS_UNROLL
            for (int j = 0; j < kEach; ++j) spoilt |= !(fma(terms.guard, norm + right_norms[j], -at[i][j]) <= T(1));
        }
    }
    if (!any_of_block(spoilt)) return;
    replace_each<T, Shape, 1>(at, [&](T(&u)[1], int i, int j) {
        const Size row = p.row + Size(Shape::row(i)), col = p.col + Size(Shape::col(j));
        if (fma(terms.guard, left[Shape::row(i)] + right[Shape::col(j)], -u[0]) <= T(1)) return;
        const bool there = row < p.left.count && col < p.right.count;
        u[0] = there ? direct_distance(p.left.rows + row * p.left.stride, p.right.rows + col * p.right.stride, packed.d,
                                       terms)
                     : T(0);  // its weight 0 would not clear an infinite one
    });
}

// Starts to copy what belongs to the rows of both sides, their numbers among all packed rows given.
template <class T, class Shape, Pairing kPairing>
ISTHMUS_DEVICE void copy_of_sides(const Packed<T>& packed, Size left, Size right) {
    constexpr int kVector = 16 / int(sizeof(T)), kCopies = Shape::kSide / kVector;
    constexpr bool kGram = kPairing == Pairing::Gram;
    static_assert(4 * kCopies <= Shape::kThreads);
    if (const int copy = thread(); copy >= (kGram ? 0 : 2 * kCopies) && copy < 4 * kCopies) {
        const int row = copy % kCopies * kVector;
        const T* const from = copy < 2 * kCopies ? packed.norms : packed.weights;
        copy16(norms_of_side<T, Shape>(copy / kCopies) + row, from + (copy / kCopies % 2 ? right : left) + row);
    }
}

// The kernel values of a tile, but for Values::factor, in place of its products. Rows past the samples have the values
// of rows of zeros. `also` starts copies that are to be there by the end.
template <class T, class Shape, class Values, class Also>
ISTHMUS_DEVICE void form_bare_values(const Packed<T>& packed, const Place<T>& p, const Terms<T>& terms,
                                     const Values& values, T (&at)[Shape::kEach][Shape::kEach], const Also& also) {
    const Size left = p.left.panel * kPanel + p.row, right = p.right.panel * kPanel + p.col;
    const auto copy_sides = [&] {
        also();
        copy_of_sides<T, Shape, Values::kPairing>(packed, left, right);
    };
    form_products<T, Shape, Values::kPairing>(packed.panels + left * packed.depth, packed.panels + right * packed.depth,
                                              packed.depth, packed.depth, at, copy_sides);
    if constexpr (Values::kPairing == Pairing::Gram) form_distances<T, Shape>(packed, p, terms, at);
    values.template form_tile<Shape>(at);
}

template <class T, class Shape, class Values>
ISTHMUS_DEVICE void form_values(const Packed<T>& packed, const Place<T>& p, const Terms<T>& terms,
                                T (&at)[Shape::kEach][Shape::kEach]) {
    const Values values(terms);
    form_bare_values<T, Shape>(packed, p, terms, values, at, [] {});
    ISTHMUS_UNROLL
    for (int i = 0; i < Shape::kEach; ++i) ISTHMUS_UNROLL
    for (int j = 0; j < Shape::kEach; ++j) at[i][j] = values.factor * at[i][j];
}

// -- tiles of samples ---------------------------------------------------------------------------------------------

ISTHMUS_FN Size tiles_across(Size count, int side) { return (count + Size(side) - 1) / Size(side); }

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
