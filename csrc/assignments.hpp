// Random 0/1 assignments of rows to two samples, as bits, and sums of numbers over the rows that they mark.
//
// Assignment b of N rows is a row of words_in(N) words: row i is bit i % 64 of word i / 64; bits from N on are 0.
#pragma once

#include "core.hpp"

namespace isthmus {

inline std::size_t words_in(std::size_t rows) { return (rows + 63) / 64; }

// The share of ones among the rows that every bit starts with: in 1 / 256, rounded down, and 0 where it is small, for
// then ones are placed one by one.
struct ShareOfOnes {
    unsigned bits;
    bool all() const { return bits >> 8; }
    // From the lowest 1 on; without any, the bits are all 0 or all 1.
    unsigned n_digits() const { return bits % 256 ? 8 - unsigned(__builtin_ctz(bits)) : 0; }
    unsigned digits() const { return bits % 256 ? bits >> __builtin_ctz(bits) : 0; }
};
inline ShareOfOnes share_of(std::size_t rows, std::size_t ones) {
    constexpr unsigned kLeast = 16;
    const unsigned bits = unsigned(ones * 256 / rows);
    return {bits < kLeast ? 0 : bits};
}

// bits (count, words_in(rows)): each row a subset of `ones` of the rows, all subsets equally likely. Row b is a
// function of (key, b, rows, ones) alone: it comes from the Philox4x64-10 stream with this key and counter (0, b, 0,
// 0). Salmon, Moraes, Dror and Shaw, SC 2011.
void random_assignments(const Run& run, const std::uint64_t key[2], std::size_t count, std::size_t rows,
                        std::size_t ones, std::uint64_t* bits);

// sums (count,): over the marked rows of each assignment, of values (rows,).
void subset_sums(const Run& run, const std::uint64_t* bits, std::size_t count, std::size_t rows, const double* values,
                 double* sums);

}  // namespace isthmus
