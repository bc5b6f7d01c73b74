// The tile functions, compiled once per instruction set: tile of pairs -> kernel function -> consumer.
// No standard library here: an inline function of it, compiled for a new machine, could win at link time on an old one.
#include "engine.hpp"

#include "fourier.hpp"
#include "grad_direct.hpp"
#include "matmul.hpp"
#include "moments.hpp"
#include "pack.hpp"
#include "permuted.hpp"
#include "project.hpp"
#include "store.hpp"
#include "sum.hpp"
#if defined(__AMX_BF16__) || defined(ISTHMUS_EMULATED_AMX)
#include "blocks.hpp"
#endif

namespace isthmus::ISTHMUS_ARCH {
namespace {

// What the arithmetic units can do at best: nothing is loaded.
template <class T>
T spin(size_t steps) noexcept {
    Pack<T> sums[kSpinPacks];
    for (size_t i = 0; i < kSpinPacks; ++i) sums[i] = splat(T(i));
    const Pack<T> shrink = splat(T(0.5)), add = splat(T(steps));
    for (size_t step = 0; step < steps; ++step)
#pragma GCC unroll 16
        for (size_t i = 0; i < kSpinPacks; ++i) sums[i] = fma(sums[i], shrink, add);
    for (size_t i = 1; i < kSpinPacks; ++i) sums[0] = sums[0] + sums[i];
    return sums[0][0];
}

template <class T>
constexpr Engine<T> kEngine = {
    size_t(kRows), size_t(kCols<T>), size_t(kLanes<T>), size_t(kWord<T>), kGroup<T>,        panel_size<T>,
    pack<T>,       widen_range<T>,   add_rows<T>,       sum<T>,           store_matrix<T>,  mirror<T>,
    matmul<T>,     matmul_self<T>,   grad<T>,           grad_direct<T>,   permuted_sums<T>, project<T>,
    moments<T>,    fourier<T>,       apply<T>,          spin<T>,
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH

namespace isthmus {

#define ISTHMUS_JOIN(a, b) a##b
#define ISTHMUS_NAME(arch) ISTHMUS_JOIN(engines_, arch)

extern const Engines ISTHMUS_NAME(ISTHMUS_ARCH);
const Engines ISTHMUS_NAME(ISTHMUS_ARCH) = {ISTHMUS_ARCH::kEngine<float>, ISTHMUS_ARCH::kEngine<double>};

}  // namespace isthmus
