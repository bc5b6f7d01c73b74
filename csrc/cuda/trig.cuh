// Cosine and sine of any number, without a table or a branch for large ones.
#pragma once

#include "machine.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <class T>
struct CosSin {
    T cos, sin;
};

// 1 / pi = kInverse<T> + kInverseRest<T>.
constexpr double kInversePi = 0.31830988618379067154, kInversePiRest = -1.9678676675182486e-17;
template <class T>
constexpr T kInverse = T(kInversePi);
template <class T>
constexpr T kInverseRest = T((kInversePi - double(kInverse<T>)) + kInversePiRest);

ISTHMUS_FN float tanh(float x) { return ::tanhf(x); }
ISTHMUS_FN double tanh(double x) { return ::tanh(x); }
ISTHMUS_FN float round_even(float x) { return ::rintf(x); }
ISTHMUS_FN double round_even(double x) { return ::rint(x); }

// Of pi x.
ISTHMUS_FN CosSin<float> cos_sin_pi(float x) {
#if defined(__CUDA_ARCH__)
    CosSin<float> both;
    ::sincospif(x, &both.sin, &both.cos);
    return both;
#else
    return {::cosf(float(3.14159265358979323846 * double(x))), ::sinf(float(3.14159265358979323846 * double(x)))};
#endif
}
ISTHMUS_FN CosSin<double> cos_sin_pi(double x) {
#if defined(__CUDA_ARCH__)
    CosSin<double> both;
    ::sincospi(x, &both.sin, &both.cos);
    return both;
#else
    return {::cos(3.14159265358979323846 * x), ::sin(3.14159265358979323846 * x)};
#endif
}

// v / pi as a sum of two numbers: whole turns leave the first exactly, the second keeps what it rounds off.
template <class T>
ISTHMUS_FN CosSin<T> cos_sin(T v) {
    const T half_turns = v * kInverse<T>;
    const T rest = fma(v, kInverseRest<T>, fma(v, kInverse<T>, -half_turns));
    // fma, lest the compiler takes v kInverse for half_turns here: `rest` would count twice.
    return cos_sin_pi(fma(T(-2), round_even(T(0.5) * half_turns), half_turns) + rest);
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
