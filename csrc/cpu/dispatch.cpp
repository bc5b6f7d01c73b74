// Which instruction sets this machine can run. Asked once, by CPUID and, for the wide registers, by XGETBV.
#include "../core.hpp"

#if defined(ISTHMUS_X86_LEVELS)
#include <cpuid.h>
#endif

namespace isthmus {

extern const Engines engines_base;
#if defined(ISTHMUS_X86_LEVELS)
extern const Engines engines_avx2;
extern const Engines engines_avx512;
#elif defined(ISTHMUS_ARM_LEVELS)
extern const Engines engines_neon;
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
    if ((saved & 0xe6) == 0xe6 && (b7 & wide) == wide) levels.push_back({"avx512", &engines_avx512});
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
