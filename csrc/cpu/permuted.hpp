// u'K0u of many 0/1 assignments u: kernel values of a few rows become tables of subset sums in L1, and every assignment
// looks its own columns up, kLookup of them with one permutation of a register and one addition.
#pragma once

#include <assert.h>
#include <string.h>

#include "lookup.hpp"
#include "store.hpp"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <class T>
constexpr int kWord = 32 / kCols<T> * kCols<T>;  // rows of one word of assignments
template <class T>
constexpr int kGroups = (kWord<T> + kLookup<T> - 1) / kLookup<T>;  // tables of one row and word
constexpr int kHigh = 8;                                           // rows of one block
template <class T>
constexpr int kLong = int(kBlockWords) * kWord<T>;  // its columns
// Packs of assignments looked up together: with kHigh sums each, they fill half of the registers.
#if defined(__AVX512F__)
constexpr int kTwins = 2;
#else
constexpr int kTwins = 1;
#endif

// A block: kHigh rows, kBlockWords words of columns or fewer. Its values are whole multiples of `unit`, a power of two,
// chosen so that no sum over the columns overflows: then sums are exact, in any order.
template <class T>
struct Block {
    alignas(64) T value[kHigh * kLong<T>];
    alignas(64) OneWhole<T> whole[kHigh * kLong<T>];
    Whole<T> tables[int(kBlockWords) * kGroups<T> * kHigh];  // by word, group of columns, row
    double unit;
};

// Kernel values of the pairs i < j; 0 elsewhere.
template <class T>
void form_block(const PermutedTask<T>& t, size_t row, size_t col, size_t width, T* value) noexcept {
    const size_t end = col + width < t.n_rows ? col + width : t.n_rows;
    const size_t row_end = row + kHigh < t.n_rows ? row + kHigh : t.n_rows;
    if (end < col + width || row_end < row + kHigh) memset(value, 0, sizeof(T) * kHigh * kLong<T>);
    for (size_t i = 0; i < t.n_passes; ++i) {
        Tiles<T> tiles = t.passes[i];
        tiles.left_begin = row / kRows, tiles.left_end = (row_end + kRows - 1) / kRows;
        tiles.right_begin = col / kCols<T>, tiles.right_end = (end + kCols<T> - 1) / kCols<T>;
        store_matrix<T>({tiles, t.n_rows, end, row, col, value, size_t(kLong<T>), i > 0});
    }
    for (size_t r = 0; r < size_t(kHigh); ++r)
        for (size_t c = col; c < end && c <= row + r; ++c) value[r * kLong<T> + (c - col)] = T(0);
}

// The largest sum of magnitudes in a row; NaN if a value is.
template <class T>
T bound_of(const Block<T>& block, size_t width) noexcept {
    T bound = 0;
    for (int r = 0; r < kHigh; ++r) {
        Pack<T> sum = {};
        for (size_t c = 0; c < width; c += kLanes<T>) sum += abs(load(block.value + r * kLong<T> + c));
        T row = 0;
        for (int i = 0; i < kLanes<T>; ++i) row += sum[i];
        bound = row > bound || row != row ? row : bound;
    }
    return bound;
}

ISTHMUS_FN double power_of_two(int n) {
    const uint64_t bits = uint64_t(1023 + n) << 52;
    double power;
    memcpy(&power, &bits, sizeof(power));
    return power;
}

// Rounds the values to whole multiples of the finest unit that the bound allows.
template <class T>
void round_block(Block<T>& block, size_t width, T bound) noexcept {
    constexpr bool kNarrow = sizeof(T) == 4;
    // Sums of 64 bits are added up over the rows too. The margin covers the roundings of values and bound.
    const double limit = double(bound) * (kNarrow ? 1.001 : 1.001 * kHigh);
    uint64_t bits;
    memcpy(&bits, &limit, sizeof(bits));
    const int exponent = int(bits >> 52) - 1022;  // limit < 2^exponent
    const int places = (kNarrow ? 31 : 63) - exponent, most = kNarrow ? 126 : 1022;
    const double scale = power_of_two(places < most ? places : most);
    block.unit = 1 / scale;
    for (int r = 0; r < kHigh; ++r)
        for (size_t c = 0; c < width; c += kLanes<T>) {
            const Whole<T> whole = to_whole(splat(T(scale)) * load(block.value + r * kLong<T> + c));
            memcpy(block.whole + r * kLong<T> + c, &whole, sizeof(whole));
        }
}

template <class T>
ISTHMUS_FN Whole<T> load_whole(const OneWhole<T>* p) {
    Whole<T> v;
    memcpy(&v, p, sizeof(v));
    return v;
}

// Sums of the rounded values over columns and over rows.
template <class T>
void add_row_sums(const Block<T>& block, size_t width, double* left, double* right) noexcept {
    const F64 unit = splat(block.unit);
    for (int r = 0; r < kHigh; ++r) {
        Whole<T> sum = {};
        for (size_t c = 0; c < width; c += kLanes<T>) sum += load_whole<T>(block.whole + r * kLong<T> + c);
        int64_t whole = 0;
        for (int i = 0; i < kLanes<T>; ++i) whole += sum[i];
        left[r] += block.unit * double(whole);
    }
    for (size_t c = 0; c < width; c += kLanes<T>) {
        F64 sum[kWide<T>] = {}, wide[kWide<T>];
        for (int r = 0; r < kHigh; ++r) {
            to_double(load_whole<T>(block.whole + r * kLong<T> + c), wide);
            for (int i = 0; i < kWide<T>; ++i) sum[i] += wide[i];
        }
        for (int i = 0; i < kWide<T>; ++i) {
            double* to = right + c + i * kLanes<double>;
            store(to, fma(unit, sum[i], load(to)));
        }
    }
}

template <class T>
void make_tables(Block<T>& block, size_t n_words) noexcept {
    Whole<T>* table = block.tables;
    for (size_t w = 0; w < n_words; ++w)
        for (int first = 0; first < kWord<T>; first += kLookup<T>) {
            const OneWhole<T>* value = block.whole + w * kWord<T> + size_t(first);
            if (first + kLookup<T> <= kWord<T>)
                for (int r = 0; r < kHigh; ++r) *table++ = subset_table(value + r * kLong<T>, kLookup<T>);
            else
                for (int r = 0; r < kHigh; ++r) *table++ = subset_table(value + r * kLong<T>, kWord<T> % kLookup<T>);
        }
}

// sums += unit * (the sums of the rows that the assignment marks), which may not fit into 32 bits: their high halves
// are added up, and all of it modulo 2^32, which tells the rest.
ISTHMUS_FN void add_marked(const I32 (&row)[kHigh], U32 own, unsigned bit, double unit, double* sums) {
    I32 high = {};
    U32 all = {};
#pragma GCC unroll 16
    for (int r = 0; r < kHigh; ++r) {
        const auto marked = lanes_with(own, 1u << (bit + unsigned(r)));
        high = add_in(marked, high, row[r] >> 16);
        all = add_in(marked, all, (U32)row[r]);
    }
    const I32 low = (I32)(all - ((U32)high << 16));
    F64 h[2], l[2];
    to_double(high, h);
    to_double(low, l);
    for (int i = 0; i < 2; ++i) {
        double* to = sums + i * kLanes<double>;
        store(to, fma(splat(unit), fma(splat(65536.0), h[i], l[i]), load(to)));
    }
}
ISTHMUS_FN void add_marked(const I64 (&row)[kHigh], U64 own, unsigned bit, double unit, double* sums) {
    I64 sum = {};
#pragma GCC unroll 16
    for (int r = 0; r < kHigh; ++r) sum = add_in(lanes_with(own, uint64_t(1) << (bit + unsigned(r))), sum, row[r]);
    F64 wide[1];
    to_double(sum, wide);
    store(sums, fma(splat(unit), wide[0], load(sums)));
}

// Adds the block to the sums of all assignments; `own` and `words` are those of its rows and of its first columns.
template <class T>
void look_up(const Block<T>& block, const PermutedTask<T>& t, const uint32_t* own, unsigned bit, const uint32_t* words,
             size_t n_words) noexcept {
    for (size_t b = 0; b < t.count; b += size_t(kTwins * kLanes<T>)) {
        Whole<T> sum[kTwins][kHigh] = {};
        const Whole<T>* table = block.tables;
        for (size_t w = 0; w < n_words; ++w) {
            Bits<T> index[kTwins];
#pragma GCC unroll 4
            for (int i = 0; i < kTwins; ++i) load_bits(words + w * t.stride + b + size_t(i * kLanes<T>), index[i]);
            for (int g = 0; g < kGroups<T>; ++g) {
#pragma GCC unroll 16
                for (int r = 0; r < kHigh; ++r)
#pragma GCC unroll 4
                    for (int i = 0; i < kTwins; ++i) sum[i][r] += lookup(table[r], index[i]);
#pragma GCC unroll 4
                for (int i = 0; i < kTwins; ++i) index[i] >>= kLookup<T>;
                table += kHigh;
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < kTwins; ++i) {
            const size_t at = b + size_t(i * kLanes<T>);
            Bits<T> marks;
            load_bits(own + at, marks);
            add_marked(sum[i], marks, bit, block.unit, t.sums + at);
        }
    }
}

template <class T>
void permuted_sums(const PermutedTask<T>& t) noexcept {
    static_assert(kHigh % kRows == 0 && kWord<T> % kHigh == 0 && kWord<T> % kCols<T> == 0);
    static_assert(kAssignments % (kTwins * kLanes<T>) == 0 && kLong<T> % kLanes<T> == 0);
    assert(t.count % kAssignments == 0);
    const Tiles<T>& extent = t.passes[0];
    const size_t row_end = extent.left_end * kRows < t.n_rows ? extent.left_end * kRows : t.n_rows;
    const size_t col_begin = extent.right_begin * kCols<T>, col_end = extent.right_end * kCols<T>;
    Block<T> block;
    for (size_t row = extent.left_begin * kRows; row < row_end; row += kHigh) {
        double* left_sums = t.left_sums + (row - extent.left_begin * kRows);
        const size_t row_word = row / kWord<T>, first = row_word * kWord<T>;
        const size_t from = first > col_begin ? first : col_begin;
        for (size_t start = from / kLong<T> * kLong<T>; start < col_end; start += kLong<T>) {
            const size_t col = start > from ? start : from;
            const size_t end = start + kLong<T> < col_end ? start + kLong<T> : col_end;
            const size_t n_words = (end - col + kWord<T> - 1) / kWord<T>, width = n_words * kWord<T>;
            form_block(t, row, col, width, block.value);
            const T bound = bound_of(block, width);
            if (bound == 0) continue;
            if (!(bound <= kLargest<T> / 16)) {
                left_sums[0] = __builtin_nan("");  // and so every result
                continue;
            }
            round_block(block, width, bound);
            add_row_sums(block, width, left_sums, t.right_sums + (col - col_begin));
            make_tables(block, n_words);
            look_up(block, t, t.words + row_word * t.stride, unsigned(row - first), t.words + col / kWord<T> * t.stride,
                    n_words);
        }
    }
}

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
