// A GPU in plain C++, one block after another: its threads are fibers that take turns at every barrier. Shared memory
// starts as NaN, asynchronous copies arrive as late as they may, tensor cores truncate, exponentials are rounded up or
// down, approximate functions flush subnormal numbers. Define ISTHMUS_ARCH, then include this before any of
// csrc/cuda/*.cuh.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#define ISTHMUS_EMULATED_GPU
#define ISTHMUS_DEVICE inline
#define ISTHMUS_DEVICE_CALL inline

namespace emulated_gpu {

constexpr int kWarpSize = 32;
constexpr std::size_t kStack = 256 << 10, kMostThreads = 1024;

struct Barrier {
    int members = 0, arrived = 0, generation = 0;
};

struct Copy {
    void* to;
    const void* from;
    std::size_t size, read;  // bytes; zeros past those that are read
};

struct Fiber {
    ucontext_t context;
    std::vector<std::vector<Copy>> groups;  // of copies under way, the open one last
    bool ended = false;
};

// What a lane lays open to its warp.
struct Open {
    double number;
    unsigned a[4], b[2];
    const void* row;
};

// The block that runs.
struct Machine {
    unsigned long long block = 0, n_blocks = 0;
    int n_threads = 0, current = 0;
    ucontext_t scheduler;
    std::unique_ptr<char[]> stacks{new char[kMostThreads * kStack]};  // not touched until used
    std::vector<Fiber> fibers;
    std::vector<Open> open;
    std::vector<Barrier> warps;
    Barrier all;
    bool any[3] = {};  // of the barriers of all
    alignas(16) char shared[200 << 10];
    std::function<void()> body;
};

inline Machine& machine() {
    static Machine here;
    return here;
}

inline void yield() {
    Machine& m = machine();
    swapcontext(&m.fibers[std::size_t(m.current)].context, &m.scheduler);
}

inline void wait_at(Barrier& barrier) {
    const int generation = barrier.generation;
    if (++barrier.arrived == barrier.members) {
        barrier.arrived = 0;
        ++barrier.generation;
    }
    while (barrier.generation == generation) yield();
}

inline Barrier& own_warp() { return machine().warps[std::size_t(machine().current / kWarpSize)]; }
inline Open& open_of(int lane) { return machine().open[std::size_t(machine().current / kWarpSize * kWarpSize + lane)]; }
inline int own_lane() { return machine().current % kWarpSize; }

inline void enter() {
    Machine& m = machine();
    m.body();
    m.fibers[std::size_t(m.current)].ended = true;
    yield();
}

// Runs every thread of every block. `reverse`: threads take their turns in the other order, which must change nothing.
inline void launch(unsigned long long n_blocks, int n_threads, bool reverse, std::function<void()> body) {
    Machine& m = machine();
    m.n_blocks = n_blocks, m.n_threads = n_threads, m.body = std::move(body);
    for (m.block = 0; m.block < n_blocks; ++m.block) {
        std::memset(m.shared, 0xff, sizeof(m.shared));
        m.fibers = std::vector<Fiber>(std::size_t(n_threads));
        m.open.assign(std::size_t(n_threads), Open{});
        m.all = {n_threads, 0, 0};
        m.any[0] = m.any[1] = m.any[2] = false;
        m.warps.assign(std::size_t((n_threads + kWarpSize - 1) / kWarpSize), {kWarpSize, 0, 0});
        for (std::size_t i = 0; i < m.fibers.size(); ++i) {
            Fiber& fiber = m.fibers[i];
            fiber.groups.emplace_back();
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = m.stacks.get() + i * kStack;
            fiber.context.uc_stack.ss_size = kStack;
            fiber.context.uc_link = &m.scheduler;
            makecontext(&fiber.context, enter, 0);
        }
        for (bool busy = true; busy;) {
            busy = false;
            for (int i = 0; i < n_threads; ++i) {
                m.current = reverse ? n_threads - 1 - i : i;
                Fiber& fiber = m.fibers[std::size_t(m.current)];
                if (fiber.ended) continue;
                busy = true;
                swapcontext(&m.scheduler, &fiber.context);
            }
        }
    }
}

inline float truncated(double x) {
    float nearest = float(x);
    if (std::fabs(double(nearest)) > std::fabs(x)) nearest = std::nextafterf(nearest, 0.0f);
    return nearest;
}

}  // namespace emulated_gpu

namespace isthmus::ISTHMUS_ARCH {
namespace {

inline int thread() { return emulated_gpu::machine().current; }
inline unsigned long long block() { return emulated_gpu::machine().block; }
inline unsigned long long n_blocks() { return emulated_gpu::machine().n_blocks; }
inline char* shared_memory() { return emulated_gpu::machine().shared; }

inline bool any_of_block(bool value) {
    using namespace emulated_gpu;
    Machine& m = machine();
    const std::size_t turn = std::size_t(m.all.generation % 3);
    m.any[(turn + 1) % 3] = false;  // of the next barrier; that of the last may still be read
    m.any[turn] = m.any[turn] || value;
    wait_at(m.all);
    return m.any[turn];
}
inline void sync_block() { any_of_block(false); }
inline void sync_warp() { emulated_gpu::wait_at(emulated_gpu::own_warp()); }

template <class T, int kCount>
inline void stream16(T* to, const T (&from)[kCount]) {
    static_assert(sizeof(from) == 16);
    if (std::uintptr_t(to) % 16) std::abort();  // a GPU stops there
    std::memcpy(to, from, 16);
}

inline double from_lane_xor(double value, int mask) {
    using namespace emulated_gpu;
    open_of(own_lane()).number = value;
    wait_at(own_warp());
    const double found = open_of(own_lane() ^ mask).number;
    wait_at(own_warp());
    return found;
}

inline float from_lane_xor(float value, int mask) { return float(from_lane_xor(double(value), mask)); }

inline void copy16(void* to, const void* from) {
    using namespace emulated_gpu;
    if ((std::uintptr_t(to) | std::uintptr_t(from)) % 16) std::abort();  // a GPU stops there
    machine().fibers[std::size_t(machine().current)].groups.back().push_back({to, from, 16, 16});
}
template <class T>
inline void copy_number(T* to, const T* from, bool there) {
    using namespace emulated_gpu;
    machine().fibers[std::size_t(machine().current)].groups.back().push_back({to, from, sizeof(T), there * sizeof(T)});
}
inline void end_copies() {
    using namespace emulated_gpu;
    machine().fibers[std::size_t(machine().current)].groups.emplace_back();
}
template <int kLater>
inline void wait_for_copies() {
    using namespace emulated_gpu;
    auto& groups = machine().fibers[std::size_t(machine().current)].groups;
    while (groups.size() > kLater + 1) {
        for (const Copy& copy : groups.front()) {
            std::memset(copy.to, 0, copy.size);
            std::memcpy(copy.to, copy.from, copy.read);
        }
        groups.erase(groups.begin());
    }
}

inline unsigned long long high_product(unsigned long long a, unsigned long long b) {
    __extension__ typedef unsigned __int128 Wide;
    return static_cast<unsigned long long>(Wide(a) * b >> 64);
}
inline unsigned bits_of(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}
inline float float_of(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

// A subnormal number is 0 to sqrt.approx.ftz and ex2.approx.ftz.
inline float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
// 2^x, rounded up or down as x has it.
inline float approximate_exp2(float x) {
    const double exact = std::exp2(double(x));
    const float below = flushed(emulated_gpu::truncated(exact));
    return below == 0 || double(below) == exact || bits_of(x) * 0x9e3779b9u >> 31 ? below
                                                                                  : std::nextafterf(below, 2.0f);
}

// Fragments as PTX defines them for mma.m16n8k8 of TF32; the low bits of operands are not looked at.
inline void multiply_tf32(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    using namespace emulated_gpu;
    Open& own = open_of(own_lane());
    std::memcpy(own.a, a, sizeof(a));
    std::memcpy(own.b, b, sizeof(b));
    wait_at(own_warp());
    const auto tf32 = [](unsigned bits) { return double(float_of(bits & 0xffffe000u)); };
    for (int e = 0; e < 4; ++e) {
        const int row = own_lane() / 4 + e / 2 * 8, col = own_lane() % 4 * 2 + e % 2;
        double total = sum[e];
        for (int k = 0; k < 8; ++k) {
            const Open& left = open_of(row % 8 * 4 + k % 4);
            const Open& right = open_of(col * 4 + k % 4);
            total += tf32(left.a[k / 4 * 2 + row / 8]) * tf32(right.b[k / 4]);
        }
        sum[e] = truncated(total);
    }
    wait_at(own_warp());
}

// Fragments as PTX defines them for mma.m16n8k16 of numbers of 16 bits, which `number` reads.
template <class Number>
inline void multiply_halves(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2], Number number) {
    using namespace emulated_gpu;
    Open& own = open_of(own_lane());
    std::memcpy(own.a, a, sizeof(a));
    std::memcpy(own.b, b, sizeof(b));
    wait_at(own_warp());
    for (int e = 0; e < 4; ++e) {
        const int row = own_lane() / 4 + e / 2 * 8, col = own_lane() % 4 * 2 + e % 2;
        double total = sum[e];
        for (int k = 0; k < 16; ++k) {
            const Open& left = open_of(row % 8 * 4 + k % 8 / 2);
            const Open& right = open_of(col * 4 + k % 8 / 2);
            total += number(left.a[k / 8 * 2 + row / 8] >> k % 2 * 16 & 0xffffu) *
                     number(right.b[k / 8] >> k % 2 * 16 & 0xffffu);
        }
        sum[e] = truncated(total);
    }
    wait_at(own_warp());
}
inline void multiply_bf16(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    multiply_halves(sum, a, b, [](unsigned bits) { return double(float_of(bits << 16)); });
}

inline unsigned half_of(float x) {
    const unsigned sign = bits_of(x) >> 16 & 0x8000u;
    const float size = std::fabs(x);
    if (!(size < 65520.0f)) return sign | (x != x ? 0x7fffu : 0x7c00u);
    const int exponent = size < 0x1p-14f ? -14 : std::ilogb(size);
    const unsigned steps = unsigned(std::nearbyint(std::ldexp(size, 10 - exponent)));  // of its last digit
    return sign | (unsigned(exponent + 14) * 1024 + steps);
}
inline float number_of_half(unsigned bits) {
    const unsigned exponent = bits >> 10 & 31u, digits = bits & 1023u;
    const float size = exponent == 31
                           ? digits ? NAN : INFINITY
                           : std::ldexp(float(exponent ? digits + 1024 : digits), int(exponent ? exponent : 1) - 25);
    return bits & 0x8000u ? -size : size;
}
inline void multiply_f16(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    multiply_halves(sum, a, b, [](unsigned bits) { return double(number_of_half(bits)); });
}
inline unsigned lower_halves(unsigned first, unsigned second) { return (first & 0xffffu) | second << 16; }
inline unsigned upper_halves(unsigned first, unsigned second) { return first >> 16 | (second & 0xffff0000u); }

// Row r of matrix i is at the address of lane 8 i + r.
inline void load_matrices(unsigned (&to)[4], const void* row, bool transposed) {
    using namespace emulated_gpu;
    if (std::uintptr_t(row) % 16) std::abort();  // a GPU stops there
    open_of(own_lane()).row = row;
    wait_at(own_warp());
    const int mine = own_lane() / 4, first = own_lane() % 4 * 2;
    const auto number = [](int matrix, int r, int c) {
        std::uint16_t bits;
        std::memcpy(&bits, static_cast<const char*>(open_of(8 * matrix + r).row) + 2 * c, 2);
        return unsigned(bits);
    };
    for (int i = 0; i < 4; ++i)
        to[i] = transposed ? number(i, first, mine) | number(i, first + 1, mine) << 16
                           : number(i, mine, first) | number(i, mine, first + 1) << 16;
    wait_at(own_warp());
}
inline void load_fragments(unsigned (&to)[4], const void* row) { load_matrices(to, row, false); }
inline void load_transposed(unsigned (&to)[4], const void* row) { load_matrices(to, row, true); }

inline unsigned two_bf16(float low, float high) {
    const auto rounded = [](float x) {
        const unsigned bits = bits_of(x);
        return x != x ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    };
    return rounded(low) | rounded(high) << 16;
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
