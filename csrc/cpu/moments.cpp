// Sums and scatter of rows about an origin: pieces of rows are added up in a few accumulators, in a fixed order.
#include <algorithm>

#include "prepare.hpp"

namespace isthmus {
namespace {

constexpr std::size_t kAccumulators = 8, kAccumulatorBytes = 1u << 22;  // at most, unless one alone needs more
constexpr std::size_t kTaskPanels = 8;
constexpr std::size_t kTaskCost = 1u << 26;  // multiplications of a task, about a millisecond

// scatter (d, d) = the sum of the accumulators, for the columns of one panel and, mirrored, the rows.
template <class T>
void unfold(const Engine<T>& engine, const double* parts, std::size_t count, std::size_t size, std::size_t panel,
            std::size_t d, double* scatter) {
    const std::size_t begin = panel * engine.cols, end = std::min(begin + engine.cols, d);
    const double* column = parts + moments_size(engine.cols, panel) - begin;
    for (std::size_t i = 0; i < end; ++i)
        for (std::size_t j = std::max(i, begin); j < end; ++j) {
            double sum = 0;
            for (std::size_t part = 0; part < count; ++part) sum += column[part * size + i * engine.cols + j];
            scatter[i * d + j] = scatter[j * d + i] = sum;
        }
}

}  // namespace

template <class T>
void moments(const Run& wanted, Rows<T> x, std::size_t d, const T* weights, const T* origin, double* sums,
             double* scatter) {
    const Run run = for_work(wanted, double(x.count) * double(d) * double(d / 2 + 16));
    const Engine<T>& engine = engine_of<T>(run);
    const std::size_t cols = engine.cols, n_panels = panels_in(d, cols), width = n_panels * cols;
    const std::size_t size = moments_size(cols, n_panels), groups = panels_in(n_panels, kTaskPanels);
    const std::size_t row_cost = (d + 16) * std::min(n_panels, kTaskPanels) * cols;
    const std::size_t step = kMomentsRows * std::max<std::size_t>(1, kTaskCost / (kMomentsRows * row_cost));
    const std::size_t n_pieces = panels_in(x.count, step);
    const std::size_t most = std::clamp<std::size_t>(kAccumulatorBytes / (size * sizeof(double)), 1, kAccumulators);
    const std::size_t count = std::min(most, n_pieces);
    const Buffer<double> scatters(count * size), totals(count * width);
    const Buffer<T> blocks(run.n_threads * kMomentsRows * width);
    for (std::size_t piece = 0; piece < n_pieces; piece += count)
        run_tasks(std::min(count, n_pieces - piece) * groups, run.n_threads, run.interrupted,
                  [&](std::size_t task, unsigned worker) {
                      const FlushDenormals flush;
                      const std::size_t part = task / groups, group = groups - 1 - task % groups;  // the widest first
                      const std::size_t begin = group * kTaskPanels, end = std::min(begin + kTaskPanels, n_panels);
                      const std::size_t first = (piece + part) * step;
                      double* const to = scatters.data() + part * size;
                      double* const total = totals.data() + part * width;
                      if (piece == 0) {
                          std::fill(to + moments_size(cols, begin), to + moments_size(cols, end), 0.0);
                          std::fill(total + begin * cols, total + end * cols, 0.0);
                      }
                      engine.moments({x.data + std::ptrdiff_t(first) * x.stride, x.stride,
                                      std::min(step, x.count - first), d, origin, weights ? weights + first : nullptr,
                                      begin, end, blocks.data() + worker * kMomentsRows * width, total, to});
                  });
    run_tasks(n_panels, run.n_threads, run.interrupted,
              [&](std::size_t panel, unsigned) { unfold(engine, scatters.data(), count, size, panel, d, scatter); });
    for (std::size_t k = 0; k < d; ++k) {
        sums[k] = 0;
        for (std::size_t part = 0; part < count; ++part) sums[k] += totals[part * width + k];
    }
}

template void moments<float>(const Run&, Rows<float>, std::size_t, const float*, const float*, double*, double*);
template void moments<double>(const Run&, Rows<double>, std::size_t, const double*, const double*, double*, double*);

}  // namespace isthmus
