#include "assignments.hpp"

#include <algorithm>

#include "cpu/pool.hpp"
#include "cpu/prepare.hpp"

namespace isthmus {
namespace {

__extension__ typedef unsigned __int128 Wide;

// 64-bit words in the order of numpy.random.Philox(key=key, counter=[0, stream, 0, 0]).random_raw.
class Philox {
  public:
    Philox(const std::uint64_t key[2], std::uint64_t stream) : key_{key[0], key[1]}, stream_(stream) {}

    std::uint64_t next() {
        if (used_ == 4) refill();
        return block_[used_++];
    }

    // Uniform below k, without bias. Lemire, ACM TOMACS 29 (2019).
    std::uint64_t below(std::uint64_t k) {
        Wide product = Wide(next()) * k;
        if (std::uint64_t(product) < k)
            for (const std::uint64_t least = -k % k; std::uint64_t(product) < least;) product = Wide(next()) * k;
        return std::uint64_t(product >> 64);
    }

  private:
    void refill() {
        std::uint64_t c[4] = {++counter_, stream_, 0, 0}, k[2] = {key_[0], key_[1]};
        for (int round = 0; round < 10; ++round) {
            const Wide first = Wide(0xd2e7470ee14c6c93u) * c[0], second = Wide(0xca5a826395121157u) * c[2];
            c[0] = std::uint64_t(second >> 64) ^ c[1] ^ k[0];
            c[1] = std::uint64_t(second);
            c[2] = std::uint64_t(first >> 64) ^ c[3] ^ k[1];
            c[3] = std::uint64_t(first);
            k[0] += 0x9e3779b97f4a7c15u;
            k[1] += 0xbb67ae8584caa73bu;
        }
        std::copy_n(c, 4, block_);
        used_ = 0;
    }

    const std::uint64_t key_[2], stream_;
    std::uint64_t counter_ = 0, block_[4] = {};
    unsigned used_ = 4;
};

// Every bit is 1 with the same chance, independent of the others: no subset of the rows is preferred. Flips at
// uniformly chosen rows prefer none either, so the result is uniform over the subsets of its size.
void draw(Philox& random, std::size_t rows, std::size_t ones, std::uint64_t* bits) {
    const std::size_t words = words_in(rows);
    const ShareOfOnes share = share_of(rows, ones);
    const unsigned n_digits = share.n_digits(), digits = share.digits();
    std::int64_t missing = std::int64_t(ones);
    for (std::size_t w = 0; w < words; ++w) {
        std::uint64_t word = share.all() ? ~std::uint64_t(0) : 0;
        // With a digit 1 the chance p of a bit becomes (1 + p) / 2, with 0, p / 2.
        for (unsigned digit = 0; digit < n_digits; ++digit)
            word = digits >> digit & 1 ? random.next() | word : random.next() & word;
        if (w + 1 == words && rows % 64) word &= (std::uint64_t(1) << rows % 64) - 1;
        bits[w] = word;
        missing -= __builtin_popcountll(word);
    }
    const std::uint64_t surplus = missing < 0;
    while (missing != 0) {
        const std::uint64_t row = random.below(rows), bit = std::uint64_t(1) << row % 64;
        if ((bits[row / 64] >> row % 64 & 1) != surplus) continue;
        bits[row / 64] ^= bit;
        missing += surplus ? 1 : -1;
    }
}

}  // namespace

void random_assignments(const Run& wanted, const std::uint64_t key[2], std::size_t count, std::size_t rows,
                        std::size_t ones, std::uint64_t* bits) {
    const Run run = for_work(wanted, double(count) * double(rows));
    const std::size_t step = std::max<std::size_t>(1, (1u << 19) / rows);
    run_tasks(panels_in(count, step), run.n_threads, run.interrupted, [&](std::size_t task, unsigned) {
        for (std::size_t b = task * step; b < std::min(count, (task + 1) * step); ++b) {
            Philox random(key, b);
            draw(random, rows, ones, bits + b * words_in(rows));
        }
    });
}

// Eight rows at a time: the sums of all 256 subsets of their values, then one addition for each assignment.
void subset_sums(const Run& wanted, const std::uint64_t* bits, std::size_t count, std::size_t rows,
                 const double* values, double* sums) {
    constexpr std::size_t kWords = 8;  // rows in a sweep: tables of 128 KB
    constexpr std::size_t kStep = 512;
    const Run run = for_work(wanted, double(count) * double(rows) / 2);
    const Buffer<double> tables(kWords * 8 * 256);
    std::fill_n(sums, count, 0.0);
    for (std::size_t word0 = 0; word0 < words_in(rows); word0 += kWords) {
        const std::size_t words = std::min(kWords, words_in(rows) - word0);
        for (std::size_t t = 0; t < words * 8; ++t) {
            double* table = tables.data() + t * 256;
            table[0] = 0.0;
            for (std::size_t i = 0; i < 8; ++i) {
                const std::size_t row = word0 * 64 + t * 8 + i, size = std::size_t(1) << i;
                const double value = row < rows ? values[row] : 0.0;
                for (std::size_t subset = 0; subset < size; ++subset) table[size + subset] = table[subset] + value;
            }
        }
        run_tasks(panels_in(count, kStep), run.n_threads, run.interrupted, [&](std::size_t task, unsigned) {
            for (std::size_t b = task * kStep; b < std::min(count, (task + 1) * kStep); ++b) {
                double sum = 0.0;
                for (std::size_t w = 0; w < words; ++w) {
                    const std::uint64_t word = bits[b * words_in(rows) + word0 + w];
                    for (std::size_t t = 0; t < 8; ++t) sum += tables[(w * 8 + t) * 256 + (word >> 8 * t & 255)];
                }
                sums[b] += sum;
            }
        });
    }
}

}  // namespace isthmus
