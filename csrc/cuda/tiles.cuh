// Products of a tile of pairs, between the rows of one sample and those of another.
//
// Rows are packed once into panels of kPanel rows, dimension by dimension: element (row r, dimension k) of a panel at
// [k * kPanel + r]. One block of threads forms one square tile of pairs at a time.
#pragma once

#include "machine.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

constexpr int kPanel = 64;  // rows
constexpr int kSlab = 16;   // dimensions in shared memory at once
constexpr int kGap = 8;     // numbers between the rows of shared memory, lest they share banks

ISTHMUS_FN Size tiles_across(Size count, int side) { return (count + Size(side) - 1) / Size(side); }

// How u is formed; the Gram trick serves kernels of a distance that are smooth at 0.
enum class Pairing : unsigned char { Gram, Difference, CityBlock, Dot };

// A square tile of kSide rows on each side: kEach x kEach values in every thread, in quads of 4 x 4 that are kSide /
// kQuads rows apart, so that a quad's rows are one load.
template <class T, int kSide_, int kQuads>
struct Plain {
    static constexpr int kSide = kSide_, kEach = 4 * kQuads, kAcross = kSide / kEach, kThreads = kAcross * kAcross;
    static constexpr int kStride = kSide + kGap, kBlocks = 2;
    template <Pairing>
    static constexpr int kExactSlabs = 0;
    static constexpr int kRun = 4;  // neighbouring columns
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
// fragments of 16 x 8. The hardware truncates what it adds up, so the sums of a few slabs are added outside of it: of
// centred rows, whose products differ in sign; else those of each step, which costs as many instructions again.
struct Tensor {
    static constexpr int kSide = 128, kEach = 8, kThreads = 256, kStride = kSide + kGap, kBlocks = 2;
    // Slabs whose sums are kept apart, in shared memory; 0 where there is no need.
    template <Pairing kPairing>
    static constexpr int kExactSlabs = kPairing == Pairing::Gram ? 2 : 0;
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

// Whether a shape takes rows of one slab alone.
template <class Shape>
constexpr bool kOneSlab = false;

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
    kSlabBytes<T, Shape> + kSideBytes<T, Shape> +
    (Shape::template kExactSlabs<Pairing::Gram> ? Shape::kSide * Shape::kSide * sizeof(T) : 0);

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
    constexpr int kSize = kSlabSize<T, Shape>, kExactSlabs = Shape::template kExactSlabs<kPairing>;
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
    const int n_slabs = kOneSlab<Shape> ? 1 : int(count / kSlab);
    ISTHMUS_UNROLL_BY(1)
    for (int n = 0; n < n_slabs; ++n) {
        wait_for_copies<0>();
        sync_block();  // a slab is there for all, the other is read no more
        if (n + 1 < n_slabs) fetch((n + 1) % 2);
        if constexpr (kExactSlabs > 0)
            if (n && n % kExactSlabs == 0) exchange_kept<T, Shape, true>(sum, n == kExactSlabs);
        const T* const slab = slabs + n % 2 * (2 * kSize);
        Shape::template add<kPairing>(slab, slab + kSize, sum);
    }
    if constexpr (kExactSlabs > 0)
        if (n_slabs > kExactSlabs) {
            exchange_kept<T, Shape, false>(sum, false);
            sync_block();  // lest what comes next is loaded before, into registers that are needed here
        }
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
