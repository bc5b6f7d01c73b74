// The tile engine on a GPU: tile of pairs -> kernel function -> consumer, as on the CPU.
//
// Sums leave a tile as one float64 number, and a second kernel adds these up in a fixed order: no atomics, the same
// bits in every run.
#pragma once

#include "places.cuh"

#include "../ops.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

constexpr int kMaxTerms = 24;

constexpr Pairing natural(Input input) {
    return input == Input::Distance        ? Pairing::Gram
           : input == Input::SharpDistance ? Pairing::Difference
           : input == Input::CityBlock     ? Pairing::CityBlock
                                           : Pairing::Dot;
}

// A weighted sum of kernels that share a pairing: the tile's u times `factor` is the u of a kernel. A pair with guard
// (|x|^2 + |y|^2) > 1 + u gets u = raw_factor |raw_scale (x - y)|^2 from the rows themselves: the Gram trick loses too
// many digits there. Of Gaussians alone, a term's exponential can be that of the term before, squared.
template <class T>
struct Terms {
    int count;
    unsigned kernel[kMaxTerms];  // position in ISTHMUS_KERNELS
    T weight[kMaxTerms], factor[kMaxTerms];
    double params[kMaxTerms][3];
    int squarings[kMaxTerms];  // 0 for an exponential of its own
    T guard, raw_scale, raw_factor;
};

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

// A sum of Gaussians: an exponential takes as long as eight products.
template <class T>
struct Gaussians {
    static constexpr Pairing kPairing = Pairing::Gram;
    static constexpr T factor = 1;
    const Terms<T>& terms;
    ISTHMUS_DEVICE explicit Gaussians(const Terms<T>& given) : terms(given) {}
    // Calls f(n, values of term n at all u) term by term.
    template <int kCount, class F>
    ISTHMUS_DEVICE void each_term(const T (&u)[kCount], const F& f) const {
        T power[kCount];
        ISTHMUS_UNROLL_BY(1)
        for (int n = 0; n < terms.count; ++n) {
            const int squarings = terms.squarings[n];
            const T scale = terms.factor[n];
            if (squarings == 0) ISTHMUS_UNROLL
            for (int e = 0; e < kCount; ++e) power[e] = exp2_neg(scale * u[e]);
            ISTHMUS_UNROLL_BY(1)
            for (int s = 0; s < squarings; ++s) ISTHMUS_UNROLL
            for (int e = 0; e < kCount; ++e) power[e] *= power[e];
            f(n, power);
        }
    }
    template <int kCount>
    ISTHMUS_DEVICE void form(T (&u)[kCount]) const {
        T sum[kCount] = {};
        each_term(u, [&](int n, const T(&power)[kCount]) {
            const T weight = terms.weight[n];
            ISTHMUS_UNROLL
            for (int e = 0; e < kCount; ++e) sum[e] = fma(weight, power[e], sum[e]);
        });
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

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
