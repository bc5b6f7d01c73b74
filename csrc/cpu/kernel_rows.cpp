// The operations that keep rows of the kernel matrix: kernel_matrix stores them, kernel_matmul multiplies them at once.
#include <algorithm>

#include "prepare.hpp"

namespace isthmus {
namespace {

// Calls consume(pass, left, right, add) for each pass over all rows; both sides subtract the mean of y.
template <class T, class Consume>
void for_each_pass(const Run& run, Rows<T> x, Rows<T> y, std::size_t d, const KernelSum& kernel, Consume consume) {
    bool add = false;
    for (const Pass& pass : passes_of(kernel)) {
        std::vector<double> mean(d);
        if (pass.gram()) mean_of<T>(run, {y}, d, mean.data());
        const std::vector<Sample<T>> lefts{{x, mean.data(), 0}}, rights{{y, mean.data(), 0}};
        Packed<T> left = pack_samples(run, lefts, d, pass, Side::Left);
        Packed<T> right = pack_samples(run, rights, d, pass, Side::Right);
        if (pass.gram()) add_raw_if_needed(run, lefts, left, rights, right, pass);
        consume(pass, left, right, add);
        add = true;
    }
}

template <class T>
Tiles<T> tiles(const Pass& pass, const Packed<T>& left, std::size_t left0, std::size_t n_left, const Packed<T>& right,
               std::size_t right0, std::size_t n_right) {
    return {left.panels(left0, n_left), right.panels(right0, n_right), left.d,
            left0 * left.width,         right0 * right.width,          pass.view(),
            guard_of<T>(pass, left.d)};
}

}  // namespace

template <class T>
void kernel_matrix(const Run& wanted, Rows<T> x, Rows<T> y, std::size_t d, const KernelSum& kernel, T* out,
                   std::size_t out_stride) {
    const Run run = for_work(wanted, double(x.count) * double(y.count) * double(d + 16));
    const Engine<T>& engine = engine_of<T>(run);
    const TaskShape shape = task_shape(engine, d);
    for_each_pass(run, x, y, d, kernel, [&](const Pass& pass, const Packed<T>& left, const Packed<T>& right, bool add) {
        const std::size_t across = panels_in(right.n_panels, shape.right_panels);
        const std::size_t down = panels_in(left.n_panels, shape.left_panels);
        run_tasks(across * down, run.n_threads, run.interrupted, [&](std::size_t task, unsigned) {
            const FlushDenormals flush;
            const std::size_t left0 = task / across * shape.left_panels, row0 = left0 * left.width;
            const std::size_t right0 = task % across * shape.right_panels, col0 = right0 * right.width;
            const std::size_t n_left = std::min(shape.left_panels, left.n_panels - left0);
            const std::size_t n_right = std::min(shape.right_panels, right.n_panels - right0);
            engine.store({tiles(pass, left, left0, n_left, right, right0, n_right), x.count - row0, y.count - col0,
                          out + row0 * out_stride + col0, out_stride, add});
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
                     std::min(engine.cols, n_columns - column), present, depth, nullptr, 1.0, 1.0, engine.cols,
                     packed.data() + column * padded_rows + row * engine.cols, nullptr});
    });
    return packed;
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
    // Fewer left panels in a task when there are few: each row's sum is the same in any grouping.
    const std::size_t task_panels = std::clamp<std::size_t>(panels_in(x.count, engine.rows) / 16, 1, kMatmulPanels);
    const std::size_t sums_size = task_panels * engine.rows * v_panels * engine.cols;
    const std::size_t tile_size = engine.rows * std::max(kMatmulDepth, engine.cols);
    const Buffer<double> sums(sums_size * run.n_threads);
    const Buffer<T> tile(tile_size * run.n_threads);
    // Right panels in a slice, in whole steps of the accumulation; depends on y and v alone, as a row's bits must.
    const std::size_t step = std::max<std::size_t>(1, kMatmulDepth / engine.cols);
    const double panel_cost = kMatmulPanels * tile_cost(engine, d + v_panels * engine.cols);
    const std::size_t slice = step * std::max<std::size_t>(1, std::size_t(kSliceCost / panel_cost) / step);
    for_each_pass(run, x, y, d, kernel, [&](const Pass& pass, const Packed<T>& left, const Packed<T>& right, bool add) {
        for (std::size_t right0 = 0; right0 < right.n_panels; right0 += slice) {
            const std::size_t n_right = std::min(slice, right.n_panels - right0);
            run_tasks(
                panels_in(left.n_panels, task_panels), run.n_threads, run.interrupted,
                [&](std::size_t task, unsigned worker) {
                    const FlushDenormals flush;
                    const std::size_t left0 = task * task_panels, row0 = left0 * left.width;
                    const std::size_t n_left = std::min(task_panels, left.n_panels - left0);
                    engine.matmul({tiles(pass, left, left0, n_left, right, right0, n_right),
                                   std::min(n_left * left.width, x.count - row0),
                                   v_packed.data() + right0 * engine.cols * engine.cols, v_rows, v_panels, n_columns,
                                   skip_diagonal, sums.data() + worker * sums_size, tile.data() + worker * tile_size,
                                   out + row0 * n_columns, n_columns, add || right0 > 0});
                });
        }
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
