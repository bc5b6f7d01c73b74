// Which instruction sets this machine can run. Asked once, by CPUID and, for the wide registers, by XGETBV; for the
// matrix unit (AMX) the kernel must agree too.
#include <cassert>
#include <cmath>

#include "prepare.hpp"

#if defined(ISTHMUS_X86_LEVELS)
#include <cpuid.h>
#endif
#if defined(ISTHMUS_AMX_LEVEL)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace isthmus {

extern const Engines engines_base;
#if defined(ISTHMUS_X86_LEVELS)
extern const Engines engines_avx2;
extern const Engines engines_avx512;
#elif defined(ISTHMUS_ARM_LEVELS)
extern const Engines engines_neon;
#endif
#if defined(ISTHMUS_AMX_LEVEL)
extern const Engines engines_amx;
#endif

namespace {

struct Level {
    std::string name;
    const Engines* engines;
};

#if defined(ISTHMUS_X86_LEVELS)
// Bits of XCR0 that say which registers the operating system saves: 0xe6 is SSE, AVX and the three AVX-512 parts.
unsigned saved_registers() {
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

#if defined(ISTHMUS_AMX_LEVEL)
// out (32, 32): the products of some rows of numbers of all digits from -1 to 1.
void small_products(const Engine<float>& engine, float* out) {
    constexpr std::size_t kRows = 32, kDims = 40;
    const Buffer<float> rows(kRows * kDims), panels(engine.panel_size(Form::ThreeParts, kDims));
    assert(engine.cols == kRows);
    for (std::size_t i = 0; i < kRows * kDims; ++i)
        rows[i] = float(std::int32_t(std::uint32_t(i + 1) * 2654435761u)) * 0x1p-31f;
    engine.pack({rows.data(), kDims, 1, kRows, kDims, kDims, nullptr, 1.0, panels.data(), nullptr, Form::ThreeParts});
    unsigned linear = 0;
    while (kernel_names()[linear].name != std::string("linear")) ++linear;
    const Term term{linear, 1.0, 1.0, {}};
    const Panels<float> side{panels.data(), nullptr, nullptr, Form::ThreeParts};
    const Tiles<float> tiles{
        side, side, kDims, 0, kRows / engine.rows, 0, 1, {&term, 1, Pairing::Dot, nullptr, 0, false}, {}};
    engine.store({tiles, kRows, kRows, 0, 0, out, kRows, false});
}

// The kernel grants the tile registers to the process, once and for all its threads, and with them larger signal
// frames: it refuses where a thread has an alternate signal stack too small for them, or where a container says so.
// Then, and where the unit computes something else than AVX-512, the level is left out.
bool matrix_unit_works() {
#if !defined(ISTHMUS_EMULATED_AMX)
    constexpr unsigned kTileRegisters = 0x60000, kTileAndBfloat16 = 1u << 24 | 1u << 22;
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kTileAndBfloat16) != kTileAndBfloat16) return false;
    if ((saved_registers() & kTileRegisters) != kTileRegisters) return false;
    if (syscall(SYS_arch_prctl, kRequestPermission, kTileData) != 0) return false;
#endif
    float by_unit[32 * 32], by_vectors[32 * 32];
    small_products(engines_amx.f32, by_unit);
    small_products(engines_avx512.f32, by_vectors);
    for (int i = 0; i < 32 * 32; ++i)
        if (!(std::abs(by_unit[i] - by_vectors[i]) <= 1e-5f)) return false;
    return true;
}
#endif

std::vector<Level> find_levels() {
    std::vector<Level> levels{{"base", &engines_base}};
    unsigned a, b, c, d, b7 = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return levels;
    const unsigned c1 = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) b7 = b;
    const unsigned saved = saved_registers();
    if ((saved & 0x6) != 0x6 || !(c1 & bit_AVX) || !(c1 & bit_FMA) || !(b7 & bit_AVX2)) return levels;
    levels.push_back({"avx2", &engines_avx2});
    const unsigned wide = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    if ((saved & 0xe6) != 0xe6 || (b7 & wide) != wide) return levels;
    levels.push_back({"avx512", &engines_avx512});
#if defined(ISTHMUS_AMX_LEVEL)
    if (matrix_unit_works()) levels.push_back({"amx", &engines_amx});
#endif
    return levels;
}
#elif defined(ISTHMUS_ARM_LEVELS)
// Every 64-bit ARM processor has NEON.
std::vector<Level> find_levels() { return {{"base", &engines_base}, {"neon", &engines_neon}}; }
#else
std::vector<Level> find_levels() { return {{"base", &engines_base}}; }
#endif

const std::vector<Level>& levels() {
    static const std::vector<Level> found = find_levels();
    return found;
}

}  // namespace

const std::vector<std::string>& available_levels() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> all;
        for (const Level& level : levels()) all.push_back(level.name);
        return all;
    }();
    return names;
}

const Engines* engines_of(const std::string& name) {
    for (const Level& level : levels())
        if (level.name == name) return level.engines;
    return nullptr;
}

}  // namespace isthmus
