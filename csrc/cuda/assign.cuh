// Random assignments of rows to two samples, as bits, and sums of numbers over the rows that they mark. The bits are
// those of assignments.cpp.
#pragma once

#include "machine.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// 64-bit words of the Philox4x64-10 stream with a key and the counter (0, stream, 0, 0), from any position on.
class Philox {
  public:
    ISTHMUS_DEVICE Philox(const Size (&key)[2], Size stream, Size position)
        : key_{key[0], key[1]}, stream_(stream), position_(position) {
        if (position_ % 4) refill();
    }

    ISTHMUS_DEVICE Size next() {
        if (position_ % 4 == 0) refill();
        return block_[position_++ % 4];
    }

    // Uniform below k, without bias.
    ISTHMUS_DEVICE Size below(Size k) {
        Size drawn = next();
        if (drawn * k < k)
            for (const Size least = (Size(0) - k) % k; drawn * k < least;) drawn = next();
        return high_product(drawn, k);
    }

  private:
    ISTHMUS_DEVICE void refill() {
        Size c[4] = {position_ / 4 + 1, stream_, 0, 0}, k[2] = {key_[0], key_[1]};
        ISTHMUS_UNROLL_BY(1)
        for (int round = 0; round < 10; ++round) {
            constexpr Size kFirst = 0xd2e7470ee14c6c93u, kSecond = 0xca5a826395121157u;
            const Size first = c[0], second = c[2];
            c[0] = high_product(kSecond, second) ^ c[1] ^ k[0];
            c[1] = kSecond * second;
            c[2] = high_product(kFirst, first) ^ c[3] ^ k[1];
            c[3] = kFirst * first;
            k[0] += 0x9e3779b97f4a7c15u, k[1] += 0xbb67ae8584caa73bu;
        }
        ISTHMUS_UNROLL
        for (int i = 0; i < 4; ++i) block_[i] = c[i];
    }

    Size key_[2], stream_, position_, block_[4];
};

ISTHMUS_FN int ones_in(unsigned word) {
    word -= word >> 1 & 0x55555555u;
    word = (word & 0x33333333u) + (word >> 2 & 0x33333333u);
    return int(((word + (word >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24);
}

struct AssignTask {
    Size key[2], rows, ones, n_words;
    unsigned all, n_digits, digits;  // the share of ones, as assignments.hpp has it
    Size* bits;                      // (assignments, n_words)
};

// One block an assignment: every bit is 1 with the same chance, then single rows are flipped until `ones` are marked.
struct Assign {
    using Task = AssignTask;
    static constexpr int kThreads = 128;
    static constexpr Size kShared = kThreads / kWarp * sizeof(double);
    ISTHMUS_DEVICE static void run(const Task& t) {
        Size* const bits = t.bits + block() * t.n_words;
        double marked = 0;
        for (Size w = Size(thread()); w < t.n_words; w += kThreads) {
            Size word = t.all ? ~Size(0) : 0;
            Philox random(t.key, block(), w * t.n_digits);
            // With a digit 1 the chance p of a bit becomes (1 + p) / 2, with 0, p / 2.
            for (unsigned digit = 0; digit < t.n_digits; ++digit)
                word = t.digits >> digit & 1 ? random.next() | word : random.next() & word;
            if (w + 1 == t.n_words && t.rows % 64) word &= (Size(1) << t.rows % 64) - 1;
            bits[w] = word;
            marked += ones_in(unsigned(word)) + ones_in(unsigned(word >> 32));
        }
        marked = sum_of_block<kThreads>(marked);  // a barrier too
        if (thread() != 0) return;
        const bool surplus = marked > double(t.ones);
        Philox random(t.key, block(), t.n_words * t.n_digits);
        for (Size flips = surplus ? Size(marked) - t.ones : t.ones - Size(marked); flips;) {
            const Size row = random.below(t.rows);
            Size& word = bits[row / 64];
            if (bool(word >> row % 64 & 1) != surplus) continue;
            word ^= Size(1) << row % 64;
            --flips;
        }
    }
};

struct SubsetSumsTask {
    const Size* bits;  // (assignments, n_words)
    Size rows, n_words;
    const double* values;  // (rows,)
    double* sums;          // (assignments,)
};

// sums[b] = the values of the rows that assignment b marks. One block an assignment.
struct SubsetSums {
    using Task = SubsetSumsTask;
    static constexpr int kThreads = 256;
    static constexpr Size kShared = kThreads / kWarp * sizeof(double);
    ISTHMUS_DEVICE static void run(const Task& t) {
        const Size* const bits = t.bits + block() * t.n_words;
        double sum = 0;
        ISTHMUS_UNROLL_BY(4)
        for (Size row = Size(thread()); row < t.rows; row += kThreads)
            sum += bits[row / 64] >> row % 64 & 1 ? t.values[row] : 0.0;
        sum = sum_of_block<kThreads>(sum);
        if (thread() == 0) t.sums[block()] = sum;
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
