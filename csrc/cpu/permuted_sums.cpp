// u'K0u for many 0/1 assignments u, in one sweep over the tiles above the diagonal.
#include <algorithm>
#include <cmath>

#include "../assignments.hpp"
#include "prepare.hpp"

namespace isthmus {
namespace {

// Bits `first` to `first + width` of a row of words; 0 beyond its end.
std::uint32_t bits_from(const std::uint64_t* words, std::size_t n_words, std::size_t first, std::size_t width) {
    const std::size_t w = first / 64, shift = first % 64;
    std::uint64_t found = w < n_words ? words[w] >> shift : 0;
    if (shift + width > 64 && w + 1 < n_words) found |= words[w + 1] << (64 - shift);
    return std::uint32_t(found & ((std::uint64_t(1) << width) - 1));
}

// As a PermutedTask wants them: word w of assignment b at [w * stride + b].
Buffer<std::uint32_t> turn(const Run& run, const std::uint64_t* bits, std::size_t count, std::size_t rows,
                           std::size_t word, std::size_t stride) {
    constexpr std::size_t kStep = 64;  // assignments: a few cache lines of each word
    const std::size_t n_words = panels_in(rows, word), n_bits = words_in(rows);
    Buffer<std::uint32_t> turned(n_words * stride);
    run_tasks(panels_in(stride, kStep), run.n_threads, run.interrupted, [&](std::size_t task, unsigned) {
        const std::size_t end = std::min(stride, (task + 1) * kStep);
        for (std::size_t w = 0; w < n_words; ++w)
            for (std::size_t b = task * kStep; b < end; ++b)
                turned[w * stride + b] = b < count ? bits_from(bits + b * n_bits, n_bits, w * word, word) : 0;
    });
    return turned;
}

// Words of rows in a task, whole blocks of columns, so that it takes about a millisecond.
template <class T>
std::size_t task_words(const Engine<T>& engine, std::size_t d, std::size_t n_passes, std::size_t count) {
    constexpr double kTaskCost = 1 << 22;  // vector operations
    const double cost = tile_cost(engine, d + count / 32) * double(n_passes) * double(engine.word) *
                        double(engine.word) / double(engine.rows * engine.cols);
    return std::max(kBlockWords, std::size_t(std::sqrt(kTaskCost / cost)) / kBlockWords * kBlockWords);
}

struct Square {
    std::size_t left, right;  // words
};

}  // namespace

template <class T>
void permuted_sums(const Run& wanted, Rows<T> z, std::size_t d, const KernelSum& kernel, const std::uint64_t* bits,
                   std::size_t count, double* sums, double* row_sums) {
    constexpr std::size_t kWaveBytes = std::size_t(1) << 26;
    const Run run = for_work(wanted, double(z.count) * double(z.count) * double(d + 16 + count / 32));
    const Engine<T>& engine = engine_of<T>(run);
    const std::size_t stride = panels_in(count, kAssignments) * kAssignments;
    const Buffer<std::uint32_t> words = turn(run, bits, count, z.count, engine.word, stride);

    std::vector<Pass> passes = passes_of(run, kernel);
    for (Pass& pass : passes) pass.form = Form::Numbers;  // its blocks are lower than those of a matrix unit
    std::vector<double> mean(d);
    mean_of<T>(run, {z}, d, mean.data());
    const std::vector<Sample<T>> samples{{z, mean.data(), 0}};
    std::vector<Packed<T>> packed(passes.size());
    for (std::size_t p = 0; p < passes.size(); ++p) pack_samples(run, samples, d, passes[p], packed[p]);

    const std::size_t n_words = panels_in(z.count, engine.word), n_panels = panels_in(z.count, engine.cols);
    const std::size_t side = std::min(n_words, task_words(engine, d, passes.size(), count));
    const std::size_t side_rows = side * engine.word, n_sides = panels_in(n_words, side);
    std::vector<Square> squares;
    for (std::size_t i = 0; i < n_sides; ++i)
        for (std::size_t j = i; j < n_sides; ++j) squares.push_back({i, j});

    // Each square has its own sums; they are added up in the order of the squares, however many a wave holds.
    const std::size_t size = stride + 2 * side_rows;
    const std::size_t wave =
        std::min(squares.size(), std::max<std::size_t>(4 * run.n_threads, kWaveBytes / (size * sizeof(double))));
    const Buffer<double> partial(wave * size);
    std::fill_n(sums, count, 0.0);
    std::fill_n(row_sums, z.count, 0.0);
    for (std::size_t first = 0; first < squares.size(); first += wave) {
        const std::size_t n = std::min(wave, squares.size() - first);
        run_tasks(n, run.n_threads, run.interrupted, [&](std::size_t i, unsigned) {
            const FlushDenormals flush;
            const auto [left, right] = squares[first + i];
            double* own = partial.data() + i * size;
            std::fill_n(own, size, 0.0);
            std::vector<Tiles<T>> tiles;
            for (std::size_t p = 0; p < passes.size(); ++p) {
                const Panels<T> panels = packed[p].panels(0);
                tiles.push_back({panels, panels, d, left * side_rows / engine.rows,
                                 (left + 1) * side_rows / engine.rows, right * side_rows / engine.cols,
                                 std::min(n_panels, (right + 1) * side_rows / engine.cols), passes[p].view(),
                                 packed[p].guard});
            }
            engine.permuted({tiles.data(), tiles.size(), z.count, words.data(), stride, stride, own, own + stride,
                             own + stride + side_rows});
        });
        constexpr std::size_t kStep = 4096;
        run_tasks(panels_in(count, kStep), run.n_threads, run.interrupted, [&](std::size_t task, unsigned) {
            for (std::size_t i = 0; i < n; ++i)
                for (std::size_t b = task * kStep; b < std::min(count, (task + 1) * kStep); ++b)
                    sums[b] += 2 * partial[i * size + b];
        });
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t r = 0; r < side_rows; ++r) {
                const double* own = partial.data() + i * size + stride + r;
                const auto [left, right] = squares[first + i];
                if (left * side_rows + r < z.count) row_sums[left * side_rows + r] += own[0];
                if (right * side_rows + r < z.count) row_sums[right * side_rows + r] += own[side_rows];
            }
    }
}

template void permuted_sums<float>(const Run&, Rows<float>, std::size_t, const KernelSum&, const std::uint64_t*,
                                   std::size_t, double*, double*);
template void permuted_sums<double>(const Run&, Rows<double>, std::size_t, const KernelSum&, const std::uint64_t*,
                                    std::size_t, double*, double*);

}  // namespace isthmus
