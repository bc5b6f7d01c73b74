// The operations that keep rows of the kernel matrix: kernel_matrix stores them, kernel_matmul multiplies them at once.
#include <algorithm>
#include <cmath>

#include "prepare.hpp"

namespace isthmus {
namespace {

// x and y, packed for one pass; only once when they are the same rows.
template <class T>
struct Sides {
    const Pass& pass;
    Packed<T> packed;
    std::size_t right_panel;

    Tiles<T> tiles(std::size_t left_begin, std::size_t left_end, std::size_t right_begin, std::size_t right_end) const {
        return {packed.panels(0), packed.panels(right_panel),
                packed.d,         left_begin,
                left_end,         right_begin,
                right_end,        pass.view(),
                packed.guard};
    }
};

template <class T>
bool same_rows(const Rows<T>& x, const Rows<T>& y) {
    return x.data == y.data && x.stride == y.stride && x.count == y.count;
}

// Calls consume(sides, add) for each pass over all rows; both sides subtract the mean of y.
template <class T, class Consume>
void for_each_pass(const Run& run, Rows<T> x, Rows<T> y, std::size_t d, const KernelSum& kernel, Consume consume) {
    const bool same = same_rows(x, y);
    bool add = false;
    for (const Pass& pass : passes_of(run, kernel)) {
        std::vector<double> mean(d);
        if (pass.gram()) mean_of<T>(run, {y}, d, mean.data());
        std::vector<Sample<T>> samples{{x, mean.data(), 0}};
        if (!same) samples.push_back({y, mean.data(), panels_in(x.count, engine_of<T>(run).cols)});
        Sides<T> sides{pass, {}, samples.back().panel};
        pack_samples(run, samples, d, pass, sides.packed);
        consume(sides, add);
        add = true;
    }
}

}  // namespace

// K(x, x): blocks on and above the diagonal are formed, those below are their mirror images, taken from the cache.
template <class T>
void store_symmetric(const Run& run, std::size_t n, const Sides<T>& sides, bool add, T* out, std::size_t out_stride) {
    const Engine<T>& engine = engine_of<T>(run);
    constexpr double kTaskCost = 1 << 22;  // vector operations, about a millisecond, so that Ctrl-C is heard
    const double panel_cost = tile_cost(engine, sides.packed.d) * double(engine.cols) / double(engine.rows);
    const std::size_t side = std::min(std::size_t(std::sqrt(kTaskCost / panel_cost)), 256 / engine.cols);
    const std::size_t block = engine.cols * std::max<std::size_t>(1, side), down = panels_in(n, block);
    run_tasks(down * (down + 1) / 2, run.n_threads, run.interrupted, [&](std::size_t task, unsigned) {
        const FlushDenormals flush;
        std::size_t i = 0, j = task;  // the task-th of (0, 0), (0, 1), ..., (1, 1), (1, 2), ...
        for (std::size_t width = down; j >= width; --width, ++i) j -= width;
        const std::size_t row = i * block, col = (i + j) * block;
        const std::size_t row_end = std::min(row + block, n), col_end = std::min(col + block, n);
        engine.store({sides.tiles(row / engine.rows, panels_in(row_end, engine.rows), col / engine.cols,
                                  panels_in(col_end, engine.cols)),
                      row_end, col_end, 0, 0, out, out_stride, add});
        if (j)
            engine.mirror(out + row * out_stride + col, out + col * out_stride + row, row_end - row, col_end - col,
                          out_stride);
    });
}

template <class T>
void kernel_matrix(const Run& wanted, Rows<T> x, Rows<T> y, std::size_t d, const KernelSum& kernel, T* out,
                   std::size_t out_stride) {
    const Run run = for_work(wanted, double(x.count) * double(y.count) * double(d + 16));
    const Engine<T>& engine = engine_of<T>(run);
    const TaskShape shape = task_shape(engine, d);
    const std::size_t n_left = panels_in(x.count, engine.rows), n_right = panels_in(y.count, engine.cols);
    const std::size_t across = panels_in(n_right, shape.right_panels), down = panels_in(n_left, shape.left_tiles);
    for_each_pass(run, x, y, d, kernel, [&](const Sides<T>& sides, bool add) {
        if (sides.right_panel == 0) return store_symmetric(run, x.count, sides, add, out, out_stride);
        run_tasks(across * down, run.n_threads, run.interrupted, [&](std::size_t task, unsigned) {
            const FlushDenormals flush;
            const std::size_t left = task / across * shape.left_tiles, right = task % across * shape.right_panels;
            engine.store({sides.tiles(left, std::min(left + shape.left_tiles, n_left), right,
                                      std::min(right + shape.right_panels, n_right)),
                          x.count, y.count, 0, 0, out, out_stride, add});
        });
    });
}

// v as panels of columns, its rows padded to whole right panels: the rows of v' packed like any right side.
template <class T>
Buffer<T> pack_columns(const Run& run, const T* v, std::size_t n_rows, std::size_t padded_rows, std::size_t n_columns) {
    constexpr std::size_t kPiece = 4096;
    const Engine<T>& engine = engine_of<T>(run);
    const std::size_t n_panels = panels_in(n_columns, engine.cols), n_pieces = panels_in(padded_rows, kPiece);
    Buffer<T> packed(n_panels * engine.cols * padded_rows);
    run_tasks(n_panels * n_pieces, run.n_threads, run.interrupted, [&](std::size_t task, unsigned) {
        const std::size_t column = task / n_pieces * engine.cols, row = task % n_pieces * kPiece;
        const std::size_t depth = std::min(kPiece, padded_rows - row);
        const std::size_t present = row < n_rows ? std::min(depth, n_rows - row) : 0;
        engine.pack({v + row * n_columns + column, 1, std::ptrdiff_t(n_columns),
                     std::min(engine.cols, n_columns - column), present, depth, nullptr, 1.0,
                     packed.data() + column * padded_rows + row * engine.cols, nullptr});
    });
    return packed;
}

// K(x, x) @ v, v in panels: every block of K off its diagonal is formed once, for the rows of both its sides.
template <class T>
void multiply_symmetric(const Run& run, Rows<T> x, std::size_t d, const Buffer<T>& v, std::size_t n_columns,
                        const KernelSum& kernel, bool skip_diagonal, T* out) {
    constexpr std::size_t kBands = 32, kLeastRows = 64, kMostRows = 256;  // both sides of a task stay in a cache
    constexpr double kTaskCost = 1 << 24;  // vector operations: some 20 ms, so that Ctrl-C is heard
    constexpr std::size_t kPiece = 1024;   // rows
    const Engine<T>& engine = engine_of<T>(run);
    const std::size_t n_panels = panels_in(x.count, engine.cols), v_rows = n_panels * engine.cols;
    const std::size_t v_panels = panels_in(n_columns, engine.cols);
    const std::size_t row_sums = panels_in(n_columns, engine.lanes) * engine.lanes;
    const double panel_cost = tile_cost(engine, d + n_columns) * double(engine.cols / engine.rows);
    const std::size_t most = std::max(1.0, std::sqrt(kTaskCost / panel_cost));
    const std::size_t band =
        std::min(std::clamp(n_panels / kBands, kLeastRows / engine.cols, kMostRows / engine.cols), most);
    Buffer<double> sums;
    Buffer<T> blocks;
    const auto for_rows = [&](auto each) {
        run_tasks(panels_in(v_rows, kPiece), run.n_threads, run.interrupted,
                  [&](std::size_t piece, unsigned) { each(piece * kPiece, std::min((piece + 1) * kPiece, v_rows)); });
    };
    constexpr std::size_t kBlock = kMatmulDepth * (kMatmulDepth + 64 / sizeof(T));
    // Round h takes the pairs of bands h + p, h - p modulo an odd number: each band once in a round, each pair once in
    // all. So a band's sums have one order, and it is ready for the next round long before its turn.
    const std::size_t n_bands = panels_in(n_panels, band) | 1, in_round = n_bands / 2 + 1;
    for_each_pass(run, x, x, d, kernel, [&](const Sides<T>& sides, bool add) {
        if (!add) {
            sums.fit(v_rows * row_sums), blocks.fit(kBlock * run.n_threads);
            for_rows([&](std::size_t begin, std::size_t end) {
                std::fill(sums.data() + begin * row_sums, sums.data() + end * row_sums, 0.0);
            });
        }
        Turns turns(n_bands);
        run_tasks(n_bands * in_round, run.n_threads, run.interrupted, [&](std::size_t task, unsigned worker) {
            const FlushDenormals flush;
            const std::size_t round = task / in_round, apart = task % in_round;
            const std::size_t i = (round + apart) % n_bands, j = (round + n_bands - apart) % n_bands;
            const auto panel = [&](std::size_t b) { return std::min(b * band, n_panels); };
            turns.wait_for(i, unsigned(round));
            turns.wait_for(j, unsigned(round));
            engine.matmul_self({sides.packed.panels(0), sides.packed.d, panel(i), panel(i + 1), panel(j), panel(j + 1),
                                sides.pass.view(), sides.packed.guard, v.data(), v_rows, v_panels, n_columns,
                                skip_diagonal, sums.data(), row_sums, blocks.data() + worker * kBlock});
            turns.end(i);
            if (apart) turns.end(j);
        });
    });
    for_rows([&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < std::min(end, x.count); ++i)
            for (std::size_t q = 0; q < n_columns; ++q) out[i * n_columns + q] = T(sums[i * row_sums + q]);
    });
}

template <class T>
void kernel_matmul(const Run& wanted, Rows<T> x, Rows<T> y, std::size_t d, const T* v, std::size_t n_columns,
                   const KernelSum& kernel, bool skip_diagonal, T* out) {
    const Run run = for_work(wanted, double(x.count) * double(y.count) * double(d + 16 + n_columns));
    constexpr double kSliceCost = 1 << 24;  // vector operations of a task: some 20 ms, so that Ctrl-C is heard
    const Engine<T>& engine = engine_of<T>(run);
    const std::size_t v_panels = panels_in(n_columns, engine.cols);
    const std::size_t v_rows = panels_in(y.count, engine.cols) * engine.cols;
    const Buffer<T> v_packed = pack_columns(run, v, y.count, v_rows, n_columns);
    // From here on forming half of K is worth more than the order it asks for.
    constexpr std::size_t kSymmetricRows = 512;
    constexpr double kSymmetricCost = 0.5;
    const double product_cost = double(engine.rows * engine.cols * n_columns) / (64.0 / sizeof(T));
    if (same_rows(x, y) && x.count >= kSymmetricRows && tile_cost(engine, d) >= kSymmetricCost * product_cost)
        return multiply_symmetric(run, x, d, v_packed, n_columns, kernel, skip_diagonal, out);
    const std::size_t n_left = panels_in(x.count, engine.rows), n_right = panels_in(y.count, engine.cols);
    // Fewer left tiles in a task when there are few: each row's sum is the same in any grouping.
    const std::size_t task_tiles =
        std::clamp<std::size_t>(n_left / 16 / engine.group * engine.group, engine.group, kMatmulTiles);
    const std::size_t sums_size = task_tiles * engine.rows * v_panels * engine.cols;
    const std::size_t strip_size = engine.group * engine.rows * std::max(kMatmulDepth, engine.cols);
    const Buffer<double> sums(sums_size * run.n_threads);
    const Buffer<T> strips(strip_size * run.n_threads);
    // Right panels in a slice, in whole steps of the accumulation; depends on y and v alone, as a row's bits must.
    const std::size_t step = std::max<std::size_t>(1, kMatmulDepth / engine.cols);
    const double panel_cost = kMatmulTiles * tile_cost(engine, d + v_panels * engine.cols);
    const std::size_t slice = step * std::max<std::size_t>(1, std::size_t(kSliceCost / panel_cost) / step);
    for_each_pass(run, x, y, d, kernel, [&](const Sides<T>& sides, bool add) {
        for (std::size_t right = 0; right < n_right; right += slice)
            run_tasks(panels_in(n_left, task_tiles), run.n_threads, run.interrupted,
                      [&](std::size_t task, unsigned worker) {
                          const FlushDenormals flush;
                          const std::size_t left = task * task_tiles;
                          engine.matmul({sides.tiles(left, std::min(left + task_tiles, n_left), right,
                                                     std::min(right + slice, n_right)),
                                         x.count, v_packed.data(), v_rows, v_panels, n_columns, skip_diagonal,
                                         sums.data() + worker * sums_size, strips.data() + worker * strip_size, out,
                                         n_columns, add || right > 0});
                      });
    });
}

#define ISTHMUS_X(T)                                                                                                   \
    template void kernel_matrix<T>(const Run&, Rows<T>, Rows<T>, std::size_t, const KernelSum&, T*, std::size_t);      \
    template void kernel_matmul<T>(const Run&, Rows<T>, Rows<T>, std::size_t, const T*, std::size_t, const KernelSum&, \
                                   bool, T*);
ISTHMUS_X(float)
ISTHMUS_X(double)
#undef ISTHMUS_X

}  // namespace isthmus
