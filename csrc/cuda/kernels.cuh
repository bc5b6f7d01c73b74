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
double from_lane_xor(double value, int mask);
char* shared_memory();
void copy16(void* to, const void* from);
void end_copies();
template <int kLater>
void wait_for_copies();
void multiply_tf32(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
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
ISTHMUS_DEVICE int thread() { return int(threadIdx.x); }
ISTHMUS_DEVICE int n_threads() { return int(blockDim.x); }
ISTHMUS_DEVICE Size block() { return blockIdx.x; }
ISTHMUS_DEVICE Size n_blocks() { return gridDim.x; }
ISTHMUS_DEVICE void sync_block() { __syncthreads(); }
ISTHMUS_DEVICE double from_lane_xor(double value, int mask) { return __shfl_xor_sync(~0u, value, mask); }
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

// sum (16, 8) += a (16, 8) b (8, 8) in TF32: PTX mma.m16n8k8, whose fragments each lane holds as its number says.
ISTHMUS_DEVICE void multiply_tf32(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    (void)sum, (void)a, (void)b;
#endif
}
ISTHMUS_DEVICE unsigned bits_of(float x) { return __float_as_uint(x); }
ISTHMUS_DEVICE float float_of(unsigned bits) { return __uint_as_float(bits); }
#endif

ISTHMUS_FN float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
ISTHMUS_FN double fma(double a, double b, double c) { return ::fma(a, b, c); }

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

// log2(1 + u), u >= 0, with what rounding 1 + u loses.
ISTHMUS_FN float log2_1p(float u) {
    const float sum = 1.0f + u, lost = u - (sum - 1.0f);
#if defined(__CUDA_ARCH__)
    float log;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(log) : "f"(sum));
#else
    const float log = ::log2f(sum);
#endif
    return log + 1.44269504f * (lost / sum);
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
    static constexpr int kStride = kSide + kGap;
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

// The same on tensor cores: each float32 number as two of TF32, three products. Eight warps, 64 x 32 values each, in
// fragments of 16 x 8. The hardware truncates what it adds up, so sums of few dimensions are added outside of it.
struct Tensor {
    static constexpr int kSide = 128, kEach = 8, kThreads = 256, kStride = kSide + kGap;
    ISTHMUS_DEVICE static int lane() { return thread() % kWarp; }
    ISTHMUS_DEVICE static int row(int i) { return thread() / kWarp % 2 * 64 + i / 2 * 16 + i % 2 * 8 + lane() / 4; }
    ISTHMUS_DEVICE static int col(int j) { return thread() / kWarp / 2 * 32 + j / 2 * 8 + lane() % 4 * 2 + j % 2; }

    // x = high + low + what TF32 cannot hold.
    ISTHMUS_DEVICE static void split(float x, unsigned& high, unsigned& low) {
        high = bits_of(x) & 0xffffe000u;
        low = bits_of(x - float_of(high));
    }

    template <Pairing kPairing>
    ISTHMUS_DEVICE static void add(const float* left, const float* right, float (&sum)[8][8]) {
        static_assert(kPairing == Pairing::Gram || kPairing == Pairing::Dot);
        const int top = thread() / kWarp % 2 * 64 + lane() / 4, side = thread() / kWarp / 2 * 32 + lane() / 4;
        float part[4][4][4] = {};
        ISTHMUS_UNROLL
        for (int k = lane() % 4; k < kSlab + lane() % 4; k += 8) {
            unsigned b_high[4][2], b_low[4][2];
            ISTHMUS_UNROLL
            for (int n = 0; n < 4; ++n) ISTHMUS_UNROLL
            for (int e = 0; e < 2; ++e) split(right[(k + 4 * e) * kStride + side + 8 * n], b_high[n][e], b_low[n][e]);
            ISTHMUS_UNROLL
            for (int m = 0; m < 4; ++m) {
                unsigned high[4], low[4];
                ISTHMUS_UNROLL
                for (int e = 0; e < 4; ++e)
                    split(left[(k + e / 2 * 4) * kStride + top + 16 * m + e % 2 * 8], high[e], low[e]);
                ISTHMUS_UNROLL
                for (int n = 0; n < 4; ++n) {
                    multiply_tf32(part[m][n], low, b_high[n]);
                    multiply_tf32(part[m][n], high, b_low[n]);
                    multiply_tf32(part[m][n], high, b_high[n]);
                }
            }
        }
        ISTHMUS_UNROLL
        for (int i = 0; i < 8; ++i) ISTHMUS_UNROLL
        for (int j = 0; j < 8; ++j) sum[i][j] += part[i / 2][j / 2][i % 2 * 2 + j % 2];
    }
};

template <class T, class Shape>
constexpr int kSlabSize = kSlab * Shape::kStride;  // numbers of one side

// Shared memory of a tile's products: two slabs of both sides, one multiplied while the other arrives.
template <class T, class Shape>
constexpr Size kProductBytes = 4 * kSlabSize<T, Shape> * sizeof(T);

// Starts to copy kSlab dimensions of a side's rows, from its first panel, to shared memory.
template <class T, class Shape>
ISTHMUS_DEVICE void fetch_slab(const T* panels, Size depth, Size k, T* slab) {
    constexpr int kVector = 16 / int(sizeof(T)), kInRow = Shape::kSide / kVector;
    for (int at = thread(); at < kSlab * kInRow; at += Shape::kThreads) {
        const int dimension = at / kInRow, row = at % kInRow * kVector;
        copy16(slab + dimension * Shape::kStride + row,
               panels + row / kPanel * depth * kPanel + (k + dimension) * kPanel + row % kPanel);
    }
}

// sum = the products of all pairs of two sides' rows over all dimensions.
template <class T, class Shape, Pairing kPairing>
ISTHMUS_DEVICE void form_products(const T* left, const T* right, Size depth, T (&sum)[Shape::kEach][Shape::kEach]) {
    T* const slabs = reinterpret_cast<T*>(shared_memory());
    constexpr int kSize = kSlabSize<T, Shape>;
    const auto fetch = [&](Size k) {
        T* const slab = slabs + k / kSlab % 2 * (2 * kSize);
        fetch_slab<T, Shape>(left, depth, k, slab);
        fetch_slab<T, Shape>(right, depth, k, slab + kSize);
    };
    ISTHMUS_UNROLL
    for (int i = 0; i < Shape::kEach; ++i) ISTHMUS_UNROLL
    for (int j = 0; j < Shape::kEach; ++j) sum[i][j] = T(0);
    sync_block();  // the slabs may still be read for the tile before
    fetch(0);
    end_copies();
    for (Size k = 0; k < depth; k += kSlab) {
        if (k + kSlab < depth) fetch(k + kSlab);
        end_copies();
        wait_for_copies<1>();
        sync_block();
        const T* const slab = slabs + k / kSlab % 2 * (2 * kSize);
        Shape::template add<kPairing>(slab, slab + kSize, sum);
        sync_block();
    }
}

// -- kernel values ------------------------------------------------------------------------------------------------

// A single kernel whose scale the packed rows have.
template <class T, class Kernel>
struct One {
    static constexpr Pairing kPairing = natural(Kernel::kInput);
    Kernel kernel;
    T weight;
    ISTHMUS_DEVICE explicit One(const Terms<T>& terms) : kernel(terms.params[0]), weight(terms.weight[0]) {}
    ISTHMUS_DEVICE T operator()(T u) const { return weight * kernel.value(u); }
};

// A sum of Gaussians.
template <class T>
struct Gaussians {
    static constexpr Pairing kPairing = Pairing::Gram;
    const Terms<T>& terms;
    ISTHMUS_DEVICE explicit Gaussians(const Terms<T>& given) : terms(given) {}
    ISTHMUS_DEVICE T operator()(T u) const {
        T sum = 0;
        for (int n = 0; n < terms.count; ++n) sum = fma(terms.weight[n], exp2_neg(terms.factor[n] * u), sum);
        return sum;
    }
};

template <class T>
ISTHMUS_DEVICE_CALL T value_of_any(const Terms<T>& terms, T u) {
    T sum = 0;
    for (int n = 0; n < terms.count; ++n) {
        const T at = terms.factor[n] * u;
        unsigned number = 0;
#define ISTHMUS_X(K, name, n_params) \
    if (terms.kernel[n] == number++) sum = fma(terms.weight[n], K<T>(terms.params[n]).value(at), sum);
        ISTHMUS_KERNELS(ISTHMUS_X)
#undef ISTHMUS_X
    }
    return sum;
}

// Any sum of kernels of one pairing.
template <class T, Pairing kPairing_>
struct Any {
    static constexpr Pairing kPairing = kPairing_;
    const Terms<T>& terms;
    ISTHMUS_DEVICE explicit Any(const Terms<T>& given) : terms(given) {}
    ISTHMUS_DEVICE T operator()(T u) const { return value_of_any<T>(terms, u); }
};

// |raw_scale (x - y)|^2 raw_factor, for pairs that the Gram trick would spoil.
template <class T>
ISTHMUS_DEVICE_CALL T direct_distance(const T* x, const T* y, Size d, const Terms<T>& terms) {
    T sum = 0;
    for (Size k = 0; k < d; ++k) {
        const T gap = terms.raw_scale * x[k] - terms.raw_scale * y[k];
        sum = fma(gap, gap, sum);
    }
    return terms.raw_factor * sum;
}

// Two sides of a tile, counted from the samples' first rows.
template <class T>
struct Place {
    Sample<T> left, right;
    Size row, col;
};

// The kernel values of a tile in place of its products. Rows past the samples have the values of rows of zeros.
template <class T, class Shape, class Values>
ISTHMUS_DEVICE void form_values(const Packed<T>& packed, const Place<T>& p, const Terms<T>& terms,
                                T (&at)[Shape::kEach][Shape::kEach]) {
    const auto panels = [&](const Sample<T>& sample, Size row) {
        return packed.panels + (sample.panel * kPanel + row) * packed.depth;
    };
    form_products<T, Shape, Values::kPairing>(panels(p.left, p.row), panels(p.right, p.col), packed.depth, at);
    const Values values(terms);
    T left_norms[Shape::kEach], right_norms[Shape::kEach];
    if constexpr (Values::kPairing == Pairing::Gram) ISTHMUS_UNROLL
    for (int i = 0; i < Shape::kEach; ++i) {
        left_norms[i] = packed.norms[p.left.panel * kPanel + p.row + Shape::row(i)];
        right_norms[i] = packed.norms[p.right.panel * kPanel + p.col + Shape::col(i)];
    }
    const bool own = p.left.panel == p.right.panel && p.row == p.col;
    ISTHMUS_UNROLL
    for (int i = 0; i < Shape::kEach; ++i) ISTHMUS_UNROLL
    for (int j = 0; j < Shape::kEach; ++j) {
        T u = at[i][j];
        if constexpr (Values::kPairing == Pairing::Gram) {
            const T norms = left_norms[i] + right_norms[j];
            u = fma(T(-2), u, norms);
            u = u < T(0) || (own && Shape::row(i) == Shape::col(j)) ? T(0) : u;
            if (!(terms.guard * norms <= T(1) + u)) {
                const Size row = p.row + Shape::row(i), col = p.col + Shape::col(j);
                if (row < p.left.count && col < p.right.count)
                    u = direct_distance(p.left.rows + row * p.left.stride, p.right.rows + col * p.right.stride,
                                        packed.d, terms);
            }
        }
        at[i][j] = values(u);
    }
}

// -- tiles of samples ---------------------------------------------------------------------------------------------

ISTHMUS_FN Size tiles_across(Size count, int side) { return (count + Size(side) - 1) / Size(side); }

// The t-th tile of a triangle of `down` tiles a side, row by row from the diagonal on.
ISTHMUS_FN void place_in_triangle(Size t, Size down, Size& row, Size& col) {
    const double side = double(2 * down + 1);
    row = Size((side - ::sqrt(side * side - 8.0 * double(t))) / 2);
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
