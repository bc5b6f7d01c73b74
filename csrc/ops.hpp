// Every kernel function of the library, written once. Read by each CPU unit, by nvcc and by NVRTC.
//
// A kernel is a function of one number u per pair of rows. Rows are multiplied by `input_scale(p)` before u is formed,
// so that `value(u)` carries as few constants as possible; p points to the parameters in the order given above each
// struct. `slope(u)` is d value / d u; kernels with a cusp at u = 0 have slope 0 there, a subgradient, and where a root
// flushes u to 0.
// `sensitivity(p)` bounds |slope(u)| (1 + u), how much an error in u matters; smooth kernels of a distance have it.
// The functions exp2_neg (2^-u), log2_1p (log2(1 + u)), both for u >= 0, and sqrt come from the reader's own
// math: cpu/simd.hpp here.
#pragma once

#include "arch.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// What u is. A sharp kernel has an infinite slope at u = 0, where the Gram trick |x|^2 + |y|^2 - 2 x.y loses all
// digits.
enum class Input { Distance, SharpDistance, CityBlock, Dot };

constexpr double kLog2e = 1.4426950408889634;
constexpr double kLn2 = 0.6931471805599453;

// exp(-gamma |x - y|^2); p = (gamma).
template <class T>
struct Rbf {
    static constexpr Input kInput = Input::Distance;
    ISTHMUS_FN static double input_scale(const double* p) { return sqrt(p[0] * kLog2e); }
    ISTHMUS_FN static double sensitivity(const double*) { return 1.0; }
    ISTHMUS_FN explicit Rbf(const double*) {}
    template <class V>
    ISTHMUS_FN V value(V u) const {
        return exp2_neg(u);
    }
    template <class V>
    ISTHMUS_FN V slope(V u) const {
        return T(-kLn2) * exp2_neg(u);
    }
};

// exp(-|x - y|_1 / scale); p = (scale).
template <class T>
struct Laplacian {
    static constexpr Input kInput = Input::CityBlock;
    ISTHMUS_FN static double input_scale(const double* p) { return kLog2e / p[0]; }
    ISTHMUS_FN explicit Laplacian(const double*) {}
    template <class V>
    ISTHMUS_FN V value(V u) const {
        return exp2_neg(u);
    }
    template <class V>
    ISTHMUS_FN V slope(V u) const {
        return T(-kLn2) * exp2_neg(u);
    }
};

// exp(-|x - y| / scale), which is Matern with nu = 1/2; p = (scale).
template <class T>
struct Exponential {
    static constexpr Input kInput = Input::SharpDistance;
    ISTHMUS_FN static double input_scale(const double* p) { return kLog2e / p[0]; }
    ISTHMUS_FN explicit Exponential(const double*) {}
    template <class V>
    ISTHMUS_FN V value(V u) const {
        return exp2_neg(sqrt(u));
    }
    template <class V>
    ISTHMUS_FN V slope(V u) const {
        const V r = sqrt(u), safe = r == V{} ? V{} + T(1) : r;
        return r == V{} ? V{} : T(-0.5 * kLn2) * exp2_neg(r) / safe;
    }
};

// (1 + r) exp(-r), r = sqrt(3) |x - y| / scale; p = (scale). Rasmussen & Williams (2006), eq. 4.17.
template <class T>
struct Matern32 {
    static constexpr Input kInput = Input::Distance;
    ISTHMUS_FN static double input_scale(const double* p) { return 1.7320508075688772 / p[0]; }
    ISTHMUS_FN static double sensitivity(const double*) { return 1.0; }
    ISTHMUS_FN explicit Matern32(const double*) {}
    template <class V>
    ISTHMUS_FN V value(V u) const {
        const V r = sqrt(u);
        return (T(1) + r) * exp2_neg(T(kLog2e) * r);
    }
    template <class V>
    ISTHMUS_FN V slope(V u) const {
        return T(-0.5) * exp2_neg(T(kLog2e) * sqrt(u));
    }
};

// (1 + r + r^2/3) exp(-r), r = sqrt(5) |x - y| / scale; p = (scale). Rasmussen & Williams (2006), eq. 4.17.
template <class T>
struct Matern52 {
    static constexpr Input kInput = Input::Distance;
    ISTHMUS_FN static double input_scale(const double* p) { return 2.23606797749979 / p[0]; }
    ISTHMUS_FN static double sensitivity(const double*) { return 1.0; }
    ISTHMUS_FN explicit Matern52(const double*) {}
    template <class V>
    ISTHMUS_FN V value(V u) const {
        const V r = sqrt(u);
        return (T(1) + r + T(1.0 / 3.0) * u) * exp2_neg(T(kLog2e) * r);
    }
    template <class V>
    ISTHMUS_FN V slope(V u) const {
        const V r = sqrt(u);
        return T(-1.0 / 6.0) * (T(1) + r) * exp2_neg(T(kLog2e) * r);
    }
};

// (1 + |x - y|^2 / (2 alpha scale^2))^-alpha; p = (scale, alpha).
template <class T>
struct RationalQuadratic {
    static constexpr Input kInput = Input::Distance;
    T alpha;
    ISTHMUS_FN static double input_scale(const double* p) { return 1.0 / (sqrt(2.0 * p[1]) * p[0]); }
    ISTHMUS_FN static double sensitivity(const double* p) { return p[1] > 1.0 ? p[1] : 1.0; }
    ISTHMUS_FN explicit RationalQuadratic(const double* p) : alpha(T(p[1])) {}
    template <class V>
    ISTHMUS_FN V value(V u) const {
        return exp2_neg(alpha * log2_1p(u));
    }
    template <class V>
    ISTHMUS_FN V slope(V u) const {
        return -alpha * value(u) / (T(1) + u);
    }
};

// (1 + |x - y|^2 / scale^2)^-1/2; p = (scale).
template <class T>
struct Imq {
    static constexpr Input kInput = Input::Distance;
    ISTHMUS_FN static double input_scale(const double* p) { return 1.0 / p[0]; }
    ISTHMUS_FN static double sensitivity(const double*) { return 1.0; }
    ISTHMUS_FN explicit Imq(const double*) {}
    template <class V>
    ISTHMUS_FN V value(V u) const {
        return T(1) / sqrt(T(1) + u);
    }
    template <class V>
    ISTHMUS_FN V slope(V u) const {
        return T(-0.5) * value(u) / (T(1) + u);
    }
};

// -|x - y|; no parameters. Conditionally positive definite: use it in differences, as MMD does.
template <class T>
struct Energy {
    static constexpr Input kInput = Input::SharpDistance;
    ISTHMUS_FN static double input_scale(const double*) { return 1.0; }
    ISTHMUS_FN explicit Energy(const double*) {}
    template <class V>
    ISTHMUS_FN V value(V u) const {
        return V{} - sqrt(u);  // +0 at u = 0
    }
    template <class V>
    ISTHMUS_FN V slope(V u) const {
        const V r = sqrt(u), safe = r == V{} ? V{} + T(1) : r;
        return r == V{} ? V{} : T(-0.5) / safe;
    }
};

// <x, y>; no parameters.
template <class T>
struct Linear {
    static constexpr Input kInput = Input::Dot;
    ISTHMUS_FN static double input_scale(const double*) { return 1.0; }
    ISTHMUS_FN explicit Linear(const double*) {}
    template <class V>
    ISTHMUS_FN V value(V u) const {
        return u;
    }
    template <class V>
    ISTHMUS_FN V slope(V) const {
        return V{} + T(1);
    }
};

// (gamma <x, y> + coef0)^degree; p = (gamma, coef0, degree), degree a whole number >= 1.
template <class T>
struct Polynomial {
    static constexpr Input kInput = Input::Dot;
    T coef0;
    unsigned degree;
    ISTHMUS_FN static double input_scale(const double* p) { return sqrt(p[0]); }
    ISTHMUS_FN explicit Polynomial(const double* p) : coef0(T(p[1])), degree(unsigned(p[2])) {}
    template <class V>
    ISTHMUS_FN V value(V u) const {
        const V base = u + coef0;
        V power = base;
        for (unsigned k = 1; k < degree; ++k) power = power * base;
        return power;
    }
    template <class V>
    ISTHMUS_FN V slope(V u) const {
        const V base = u + coef0;
        V power = V{} + T(degree);
        for (unsigned k = 1; k < degree; ++k) power = power * base;
        return power;
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH

// The one list that every dispatch expands: struct, name handed down from Python, number of parameters.
#define ISTHMUS_KERNELS(X)                        \
    X(Rbf, "rbf", 1)                              \
    X(Laplacian, "laplacian", 1)                  \
    X(Exponential, "exponential", 1)              \
    X(Matern32, "matern32", 1)                    \
    X(Matern52, "matern52", 1)                    \
    X(RationalQuadratic, "rational_quadratic", 2) \
    X(Imq, "imq", 1)                              \
    X(Energy, "energy", 0)                        \
    X(Linear, "linear", 0)                        \
    X(Polynomial, "polynomial", 3)
