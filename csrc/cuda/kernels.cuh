// The tile engine on a GPU: tile of pairs -> kernel function -> consumer, as on the CPU. Device code only, read by nvcc
// and by NVRTC; a test reads it with a C++ compiler and plays the threads of a block itself.
//
// Rows are packed once into panels of kPanel rows, dimension by dimension: element (row r, dimension k) of a panel at
// [k * kPanel + r]. One block of threads forms one square tile of pairs at a time. Sums leave a tile as one float64
// number, and a second kernel adds these up in a fixed order: no atomics, the same bits in every run.
#pragma once

#include "../arch.hpp"

#if !defined(ISTHMUS_EMULATED_GPU)
#define ISTHMUS_DEVICE __device__ __forceinline__
#define ISTHMUS_DEVICE_CALL __device__ __noinline__
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

#if !defined(ISTHMUS_EMULATED_GPU)
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

// One kernel of a weighted sum: the tile's u times `factor` is the u of this kernel.
struct Term {
    unsigned kernel;  // position in ISTHMUS_KERNELS
    double weight, factor, params[3];
};

// A sum of kernels that share a pairing. A pair with guard (|x|^2 + |y|^2) > 1 + u gets u = raw_factor |raw_scale (x -
// y)|^2 from the rows themselves: the Gram trick loses too many digits there.
struct Terms {
    Term term[kMaxTerms];
    int count;
    double guard, raw_scale, raw_factor;
};

// Packed rows of all samples of a call, one sample behind the other from a new tile on.
template <class T>
struct Packed {
    const T *panels, *norms, *weights;  // norms null unless Gram; weights 0 for missing rows
    Size depth;                         // dimensions, padded with zeros to whole slabs
};

// One sample: where its rows are and from which panel on they are packed.
template <class T>
struct Sample {
    const T* rows;
    Size stride, count, panel;
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
#pragma unroll
        for (int k = 0; k < kSlab; ++k) {
            T a[kEach], b[kEach];
#pragma unroll
            for (int i = 0; i < kEach; ++i) a[i] = left[k * kStride + row(i)], b[i] = right[k * kStride + col(i)];
#pragma unroll
            for (int i = 0; i < kEach; ++i)
#pragma unroll
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
#pragma unroll
        for (int k = lane() % 4; k < kSlab + lane() % 4; k += 8) {
            unsigned b_high[4][2], b_low[4][2];
#pragma unroll
            for (int n = 0; n < 4; ++n)
#pragma unroll
                for (int e = 0; e < 2; ++e)
                    split(right[(k + 4 * e) * kStride + side + 8 * n], b_high[n][e], b_low[n][e]);
#pragma unroll
            for (int m = 0; m < 4; ++m) {
                unsigned high[4], low[4];
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    split(left[(k + e / 2 * 4) * kStride + top + 16 * m + e % 2 * 8], high[e], low[e]);
#pragma unroll
                for (int n = 0; n < 4; ++n) {
                    multiply_tf32(part[m][n], low, b_high[n]);
                    multiply_tf32(part[m][n], high, b_low[n]);
                    multiply_tf32(part[m][n], high, b_high[n]);
                }
            }
        }
#pragma unroll
        for (int i = 0; i < 8; ++i)
#pragma unroll
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
#pragma unroll
    for (int i = 0; i < Shape::kEach; ++i)
#pragma unroll
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

// A single kernel, weighted.
template <class T, class Kernel>
struct One {
    static constexpr Pairing kPairing = natural(Kernel::kInput);
    Kernel kernel;
    T weight;
    ISTHMUS_DEVICE explicit One(const Terms& terms) : kernel(terms.term[0].params), weight(T(terms.term[0].weight)) {}
    ISTHMUS_DEVICE T operator()(T u) const { return weight * kernel.value(u); }
};

template <class T>
ISTHMUS_DEVICE_CALL T value_of_any(const Terms& terms, T u) {
    T sum = 0;
    for (int n = 0; n < terms.count; ++n) {
        const Term& term = terms.term[n];
        const T at = T(term.factor) * u, weight = T(term.weight);
        unsigned number = 0;
#define ISTHMUS_X(K, name, n_params) \
    if (term.kernel == number++) sum = fma(weight, K<T>(term.params).value(at), sum);
        ISTHMUS_KERNELS(ISTHMUS_X)
#undef ISTHMUS_X
    }
    return sum;
}

// Any sum of kernels of one pairing.
template <class T, Pairing kPairing_>
struct Any {
    static constexpr Pairing kPairing = kPairing_;
    const Terms& terms;
    ISTHMUS_DEVICE explicit Any(const Terms& given) : terms(given) {}
    ISTHMUS_DEVICE T operator()(T u) const { return value_of_any<T>(terms, u); }
};

// |raw_scale (x - y)|^2 raw_factor, for pairs that the Gram trick would spoil.
template <class T>
ISTHMUS_DEVICE_CALL T direct_distance(const T* x, const T* y, Size d, const Terms& terms) {
    const T scale = T(terms.raw_scale);
    T sum = 0;
    for (Size k = 0; k < d; ++k) {
        const T gap = scale * x[k] - scale * y[k];
        sum = fma(gap, gap, sum);
    }
    return T(terms.raw_factor) * sum;
}

// Two sides of a tile, counted from the samples' first rows.
template <class T>
struct Place {
    Sample<T> left, right;
    Size row, col;
};

// The kernel values of a tile in place of its products. Rows past the samples have the values of rows of zeros.
template <class T, class Shape, class Values>
ISTHMUS_DEVICE void form_values(const Packed<T>& packed, const Place<T>& p, Size d, const Terms& terms,
                                T (&at)[Shape::kEach][Shape::kEach]) {
    const auto panels = [&](const Sample<T>& sample, Size row) {
        return packed.panels + (sample.panel * kPanel + row) * packed.depth;
    };
    form_products<T, Shape, Values::kPairing>(panels(p.left, p.row), panels(p.right, p.col), packed.depth, at);
    const Values values(terms);
    T left_norms[Shape::kEach], right_norms[Shape::kEach];
    if constexpr (Values::kPairing == Pairing::Gram)
#pragma unroll
        for (int i = 0; i < Shape::kEach; ++i) {
            left_norms[i] = packed.norms[p.left.panel * kPanel + p.row + Shape::row(i)];
            right_norms[i] = packed.norms[p.right.panel * kPanel + p.col + Shape::col(i)];
        }
    const T guard = T(terms.guard);
    const bool own = p.left.panel == p.right.panel && p.row == p.col;
#pragma unroll
    for (int i = 0; i < Shape::kEach; ++i)
#pragma unroll
        for (int j = 0; j < Shape::kEach; ++j) {
            T u = at[i][j];
            if constexpr (Values::kPairing == Pairing::Gram) {
                const T norms = left_norms[i] + right_norms[j];
                u = fma(T(-2), u, norms);
                u = u < T(0) || (own && Shape::row(i) == Shape::col(j)) ? T(0) : u;
                if (!(guard * norms <= T(1) + u)) {
                    const Size row = p.row + Shape::row(i), col = p.col + Shape::col(j);
                    if (row < p.left.count && col < p.right.count)
                        u = direct_distance(p.left.rows + row * p.left.stride, p.right.rows + col * p.right.stride, d,
                                            terms);
                }
            }
            at[i][j] = values(u);
        }
}

// -- consumers ----------------------------------------------------------------------------------------------------

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

// Pairs of samples whose sums are wanted; tiles of pair p: first_tile[p] to first_tile[p + 1].
struct PairOf {
    unsigned left, right;
};

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

// The pair that a tile belongs to.
ISTHMUS_FN Size pair_of_tile(const Size* first_tile, Size n_pairs, Size tile) {
    Size low = 0, high = n_pairs;  // first_tile[low] <= tile < first_tile[high]
    while (high - low > 1) {
        const Size middle = low + (high - low) / 2;
        (first_tile[middle] <= tile ? low : high) = middle;
    }
    return low;
}

template <class T>
struct SumTask {
    Packed<T> packed;
    Terms terms;
    Size d;
    const Sample<T>* samples;
    const PairOf* pairs;
    const Size* first_tile;
    Size n_pairs;
    double* partials;  // one for each tile
};

// partials[tile] = sum w_i w_j k_ij over the tile's pairs, over i < j for a sample with itself.
template <class T, class Shape, class Values>
ISTHMUS_DEVICE void sum_tiles(const SumTask<T>& t) {
    const Size n_tiles = t.first_tile[t.n_pairs];
    for (Size tile = block(); tile < n_tiles; tile += n_blocks()) {
        const Size pair = pair_of_tile(t.first_tile, t.n_pairs, tile), number = tile - t.first_tile[pair];
        const unsigned left = t.pairs[pair].left, right = t.pairs[pair].right;
        Place<T> p{t.samples[left], t.samples[right], 0, 0};
        if (left == right) {
            place_in_triangle(number, (p.left.count + Shape::kSide - 1) / Shape::kSide, p.row, p.col);
        } else {
            const Size across = (p.right.count + Shape::kSide - 1) / Shape::kSide;
            p.row = number / across, p.col = number % across;
        }
        p.row *= Shape::kSide, p.col *= Shape::kSide;
        T at[Shape::kEach][Shape::kEach];
        form_values<T, Shape, Values>(t.packed, p, t.d, t.terms, at);
        const bool diagonal = left == right && p.row == p.col;
        double total = 0;
#pragma unroll
        for (int i = 0; i < Shape::kEach; ++i) {
            // Few additions in T, then float64.
            T parts[Shape::kEach];
#pragma unroll
            for (int j = 0; j < Shape::kEach; ++j) {
                const T weight = t.packed.weights[p.right.panel * kPanel + p.col + Shape::col(j)];
                parts[j] = diagonal && Shape::row(i) >= Shape::col(j) ? T(0) : weight * at[i][j];
            }
#pragma unroll
            for (int half = Shape::kEach / 2; half; half /= 2)
#pragma unroll
                for (int j = 0; j < half; ++j) parts[j] += parts[j + half];
            total += double(t.packed.weights[p.left.panel * kPanel + p.row + Shape::row(i)]) * double(parts[0]);
        }
        total = sum_of_block<Shape::kThreads>(total);
        if (thread() == 0) t.partials[tile] = total;
    }
}

// sums[pair] = its tiles' partials, twice those of a sample with itself. One block of 256 threads a pair.
ISTHMUS_DEVICE void add_partials(const PairOf* pairs, const Size* first_tile, const double* partials, double* sums) {
    const Size pair = block();
    double total = 0;
    for (Size tile = first_tile[pair] + Size(thread()); tile < first_tile[pair + 1]; tile += 256)
        total += partials[tile];
    total = sum_of_block<256>(total);
    if (thread() == 0) sums[pair] = pairs[pair].left == pairs[pair].right ? 2 * total : total;
}

template <class T>
struct StoreTask {
    Packed<T> packed;
    Terms terms;
    Size d;
    Sample<T> left, right;
    T* out;
    Size out_stride;
    bool add;
};

// out[i][j] = k_ij, or += when `add`. A sample with itself: tiles from the diagonal on, each also as its mirror image.
template <class T, class Shape, class Values>
ISTHMUS_DEVICE void store_tiles(const StoreTask<T>& t) {
    const bool own = t.left.panel == t.right.panel;
    const Size down = (t.left.count + Shape::kSide - 1) / Shape::kSide;
    const Size across = (t.right.count + Shape::kSide - 1) / Shape::kSide;
    const Size n_tiles = own ? tiles_in_triangle(down) : down * across;
    for (Size tile = block(); tile < n_tiles; tile += n_blocks()) {
        Place<T> p{t.left, t.right, tile / across, tile % across};
        if (own) place_in_triangle(tile, down, p.row, p.col);
        p.row *= Shape::kSide, p.col *= Shape::kSide;
        T at[Shape::kEach][Shape::kEach];
        form_values<T, Shape, Values>(t.packed, p, t.d, t.terms, at);
#pragma unroll
        for (int i = 0; i < Shape::kEach; ++i)
#pragma unroll
            for (int j = 0; j < Shape::kEach; ++j) {
                const Size row = p.row + Shape::row(i), col = p.col + Shape::col(j);
                if (row >= t.left.count || col >= t.right.count) continue;
                T& out = t.out[row * t.out_stride + col];
                out = t.add ? out + at[i][j] : at[i][j];
                if (own && p.row != p.col) {
                    T& mirror = t.out[col * t.out_stride + row];
                    mirror = t.add ? mirror + at[i][j] : at[i][j];
                }
            }
    }
}

template <class T>
struct MatmulTask {
    Packed<T> packed;
    Terms terms;
    Size d;
    Sample<T> left, right;
    const T* v;  // (right.count, n_columns), C order
    Size n_columns;
    Size right_tiles;  // of a slice: block b makes left tile b / n_slices against slice b % n_slices
    Size n_slices;
    bool skip_diagonal, add;
    double* partials;  // (n_slices, left.count, n_columns)
};

constexpr int kColumns = 64;  // of v at once
constexpr int kSliceThreads = 256;

// partials[slice] = the slice's share of K v. Values of a tile go to shared memory, column by column, and are
// multiplied there like any slab; sums of one tile in T, then float64.
template <class T, class Shape, class Values>
ISTHMUS_DEVICE void multiply_tiles(const MatmulTask<T>& t) {
    constexpr int kSide = Shape::kSide, kStride = kSide + kGap;
    constexpr int kRowsEach = 4, kRowGroups = kSide / kRowsEach, kGroups = Shape::kThreads / kRowGroups;
    constexpr int kColumnsEach = kColumns / kGroups;
    static_assert(kGroups * kRowGroups == Shape::kThreads && kGroups * kColumnsEach == kColumns);
    T* const values = reinterpret_cast<T*>(shared_memory() + kProductBytes<T, Shape>);  // (kSide, kStride)
    T* const v = values + kSide * kStride;                                              // (kSide, kColumns)
    const Size row = block() / t.n_slices * kSide, slice = block() % t.n_slices;
    const int own_row = thread() % kRowGroups * kRowsEach, own_column = thread() / kRowGroups * kColumnsEach;
    for (Size column = 0; column < t.n_columns; column += kColumns) {
        double total[kRowsEach][kColumnsEach] = {};
        for (Size tile = slice * t.right_tiles; tile < (slice + 1) * t.right_tiles && tile * kSide < t.right.count;
             ++tile) {
            Place<T> p{t.left, t.right, row, tile * kSide};
            T at[Shape::kEach][Shape::kEach];
            form_values<T, Shape, Values>(t.packed, p, t.d, t.terms, at);
#pragma unroll
            for (int i = 0; i < Shape::kEach; ++i)
#pragma unroll
                for (int j = 0; j < Shape::kEach; ++j) {
                    const bool skip = t.skip_diagonal && p.row + Shape::row(i) == p.col + Shape::col(j);
                    values[Shape::col(j) * kStride + Shape::row(i)] = skip ? T(0) : at[i][j];
                }
            for (int e = thread(); e < kSide * kColumns; e += Shape::kThreads) {
                const Size from = p.col + Size(e / kColumns), q = column + Size(e % kColumns);
                v[e] = from < t.right.count && q < t.n_columns ? t.v[from * t.n_columns + q] : T(0);
            }
            sync_block();
            T sum[kRowsEach][kColumnsEach] = {};
#pragma unroll 8
            for (int k = 0; k < kSide; ++k)
#pragma unroll
                for (int i = 0; i < kRowsEach; ++i)
#pragma unroll
                    for (int q = 0; q < kColumnsEach; ++q)
                        sum[i][q] = fma(values[k * kStride + own_row + i], v[k * kColumns + own_column + q], sum[i][q]);
#pragma unroll
            for (int i = 0; i < kRowsEach; ++i)
#pragma unroll
                for (int q = 0; q < kColumnsEach; ++q) total[i][q] += double(sum[i][q]);
            sync_block();
        }
        for (int i = 0; i < kRowsEach; ++i)
            for (int q = 0; q < kColumnsEach; ++q) {
                const Size to = row + Size(own_row + i), at = column + Size(own_column + q);
                if (to >= t.left.count || at >= t.n_columns) continue;
                double& partial = t.partials[(slice * t.left.count + to) * t.n_columns + at];
                partial = t.add ? partial + total[i][q] : total[i][q];
            }
    }
}

// out = the sum of the slices, element by element.
template <class T>
ISTHMUS_DEVICE void add_slices(const double* partials, Size n_slices, Size size, T* out) {
    for (Size at = block() * Size(kSliceThreads) + Size(thread()); at < size; at += n_blocks() * Size(kSliceThreads)) {
        double sum = 0;
        for (Size slice = 0; slice < n_slices; ++slice) sum += partials[slice * size + at];
        out[at] = T(sum);
    }
}

// -- packing ------------------------------------------------------------------------------------------------------

template <class T>
struct PackTask {
    const Sample<T>* samples;
    Size n_samples, n_panels, d, depth;
    const double* centres;    // (groups, d), subtracted, or null
    const unsigned* group;    // of each sample
    const T* const* weights;  // of each sample, or null for 1
    double scale;             // multiplied next
    T *panels, *norms, *row_weights;
};

constexpr int kPackSlab = 32;

// One block of kPanel threads packs one panel: coalesced rows through shared memory, norms added up as the plain tile
// adds its products, so that equal rows have distance 0.
template <class T>
ISTHMUS_DEVICE void pack_panel(const PackTask<T>& t) {
    T* const slab = reinterpret_cast<T*>(shared_memory());  // (kPanel, kPackSlab + 1)
    const Size panel = block();
    Size s = 0, high = t.n_samples;
    while (high - s > 1) {
        const Size middle = s + (high - s) / 2;
        (t.samples[middle].panel <= panel ? s : high) = middle;
    }
    const Sample<T> sample = t.samples[s];
    const Size first = (panel - sample.panel) * kPanel;
    const double* const centre = t.centres ? t.centres + t.group[s] * t.d : nullptr;
    T norm = 0;
    for (Size begin = 0; begin < t.depth; begin += kPackSlab) {
        for (int at = thread(); at < kPanel * kPackSlab; at += kPanel) {
            const int r = at / kPackSlab, c = at % kPackSlab;
            const Size row = first + Size(r), k = begin + Size(c);
            T value = 0;
            if (row < sample.count && k < t.d) {
                const double x = double(sample.rows[row * sample.stride + k]);
                value = T((centre ? x - centre[k] : x) * t.scale);
            }
            slab[r * (kPackSlab + 1) + c] = value;
        }
        sync_block();
        for (int c = 0; c < kPackSlab && begin + Size(c) < t.depth; ++c) {
            const T value = slab[thread() * (kPackSlab + 1) + c];
            t.panels[panel * kPanel * t.depth + (begin + Size(c)) * kPanel + Size(thread())] = value;
            norm = fma(value, value, norm);
        }
        sync_block();
    }
    const Size row = first + Size(thread()), at = panel * kPanel + Size(thread());
    if (t.norms) t.norms[at] = norm;
    t.row_weights[at] = row < sample.count ? (t.weights && t.weights[s] ? t.weights[s][row] : T(1)) : T(0);
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
