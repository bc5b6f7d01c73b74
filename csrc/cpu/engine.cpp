// The tile functions, compiled once per instruction set: tile of pairs -> kernel function -> consumer.
// No standard library here: an inline function of it, compiled for a new machine, could win at link time on an old one.
#include "engine.hpp"

#include "matmul.hpp"
#include "pack.hpp"
#include "project.hpp"
#include "store.hpp"
#include "sum.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <class T>
constexpr Engine<T> kEngine = {size_t(kRows),   size_t(kCols<T>), pack<T>,    add_rows<T>, sum<T>,
                               store_matrix<T>, matmul<T>,        project<T>, apply<T>};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH

namespace isthmus {

#define ISTHMUS_JOIN(a, b) a##b
#define ISTHMUS_NAME(arch) ISTHMUS_JOIN(engines_, arch)

extern const Engines ISTHMUS_NAME(ISTHMUS_ARCH);
const Engines ISTHMUS_NAME(ISTHMUS_ARCH) = {ISTHMUS_ARCH::kEngine<float>, ISTHMUS_ARCH::kEngine<double>};

}  // namespace isthmus
