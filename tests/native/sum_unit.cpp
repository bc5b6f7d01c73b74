// The float32 sums of the engine alone, which compile in a tenth of the time of the whole unit.
#include "../../csrc/cpu/sum.hpp"
#if defined(__AMX_BF16__)
#include "../../csrc/cpu/blocks.hpp"
#endif

namespace isthmus::ISTHMUS_ARCH {

extern double (*const sum_of_floats)(const SumTask<float>&) noexcept;
double (*const sum_of_floats)(const SumTask<float>&) noexcept = sum<float>;

}  // namespace isthmus::ISTHMUS_ARCH
