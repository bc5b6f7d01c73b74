// Which compiler reads this: one CPU unit per instruction set, nvcc or NVRTC. Includes nothing.
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define ISTHMUS_ARCH cuda
#define ISTHMUS_FN __host__ __device__ __forceinline__
#else
// ISTHMUS_ARCH comes from the build: base, avx2, avx512, amx or neon, the name of the unit's namespace.
#define ISTHMUS_FN inline __attribute__((always_inline))
#endif
