// The operations that keep rows of the kernel matrix: kernel_matrix stores them, kernel_matmul multiplies them at once.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "prepare.hpp"

namespace isthmus {
namespace {

using Index = std::vector<std::size_t>;

// The right rows of one pass, packed once, and the mean that both sides subtract.
template <class T>
struct RightSide {
    std::vector<double> mean;
    Packed<T> packed;
    bool within_reach;  // every row's u is small enough for the Gram trick

    const double* centre() const { return mean.empty() ? nullptr : mean.data(); }
};

template <class T>
RightSide<T> pack_right(const Run& run, Rows<T> y, std::size_t d, const Pass& pass) {
    RightSide<T> side{{}, {}, true};
    if (pass.centred()) {
        side.mean.resize(d);
        mean_of<T>(run, {y}, d, side.mean.data());
    }
    side.packed = pack_rows(run, y, nullptr, d, pass, side.centre(), Side::Right);
    for (std::size_t i = 0; pass.centred() && i < y.count; ++i)
        side.within_reach = side.within_reach && double(side.packed.norms[i]) <= kGramReach;
    return side;
}

// Calls consume(pass, left, right, rows, add) for each pass over each part of the rows: those within the Gram trick's
// reach and those beyond. A row's part depends on the row and on y alone, so its bits do not depend on its batch.
template <class T, class Consume>
void for_each_pass(const Run& run, Rows<T> x, Rows<T> y, std::size_t d, const KernelSum& kernel, Consume consume) {
    Index all(x.count);
    std::iota(all.begin(), all.end(), std::size_t(0));
    bool add = false;
    for (const Pass& pass : passes_of(kernel)) {
        const RightSide<T> right = pack_right(run, y, d, pass);
        Index near, far;
        if (!right.within_reach) {
            far = all;
        } else {
            const Packed<T> left = pack_rows(run, x, nullptr, d, pass, right.centre(), Side::Left);
            for (std::size_t i = 0; i < x.count; ++i)
                (pass.centred() && !(double(left.norms[i]) <= kGramReach) ? far : near).push_back(i);
            if (far.empty())
                consume(pass, left, right.packed, all, add);
            else if (!near.empty())
                consume(pass, pack_rows(run, x, &near, d, pass, right.centre(), Side::Left), right.packed, near, add);
        }
        if (!far.empty()) {
            const Pass direct = by_differences(kernel);
            const RightSide<T> raw = pack_right(run, y, d, direct);
            consume(direct, pack_rows(run, x, &far, d, direct, nullptr, Side::Left), raw.packed, far, add);
        }
        add = true;
    }
}

template <class T>
Tiles<T> tiles(const Packed<T>& left, std::size_t left0, std::size_t n_left, const Packed<T>& right, std::size_t right0,
               std::size_t n_right, const Pass& pass) {
    return {left.panel(left0),  right.panel(right0),  left.norm(left0), right.norm(right0), n_left, n_right, left.d,
            left0 * left.width, right0 * right.width, pass.view()};
}

}  // namespace

template <class T>
void kernel_matrix(const Run& run, Rows<T> x, Rows<T> y, std::size_t d, const KernelSum& kernel, T* out,
                   std::size_t out_stride) {
    const Engine<T>& engine = engine_of<T>(run);
    const TaskShape shape = task_shape(engine, d);
    for_each_pass(run, x, y, d, kernel,
                  [&](const Pass& pass, const Packed<T>& left, const Packed<T>& right, const Index& rows, bool add) {
                      const std::size_t across = panels_in(right.n_panels, shape.right_panels);
                      const std::size_t down = panels_in(left.n_panels, shape.left_panels);
                      run_tasks(across * down, run.n_threads, run.interrupted, [&](std::size_t task, unsigned) {
                          const FlushDenormals flush;
                          const std::size_t left0 = task / across * shape.left_panels;
                          const std::size_t right0 = task % across * shape.right_panels;
                          const std::size_t n_left = std::min(shape.left_panels, left.n_panels - left0);
                          const std::size_t n_right = std::min(shape.right_panels, right.n_panels - right0);
                          engine.store({tiles(left, left0, n_left, right, right0, n_right, pass),
                                        rows.size() - left0 * left.width, y.count - right0 * right.width,
                                        rows.data() + left0 * left.width, out + right0 * right.width, out_stride, add});
                      });
                  });
}

template <class T>
void kernel_matmul(const Run& run, Rows<T> x, Rows<T> y, std::size_t d, const T* v, std::size_t n_columns,
                   const KernelSum& kernel, bool skip_diagonal, T* out) {
    const Engine<T>& engine = engine_of<T>(run);
    // v as panels of columns, its rows padded to whole right panels: the rows of v' packed like any right side.
    const std::size_t v_panels = panels_in(n_columns, engine.cols);
    const std::size_t v_rows = panels_in(y.count, engine.cols) * engine.cols;
    const Buffer<T> v_packed(v_panels * engine.cols * v_rows);
    run_tasks(v_panels, run.n_threads, run.interrupted, [&](std::size_t q, unsigned) {
        engine.pack({v + q * engine.cols, 1, std::ptrdiff_t(n_columns), nullptr,
                     std::min(engine.cols, n_columns - q * engine.cols), y.count, v_rows, nullptr, 1.0, 1.0,
                     engine.cols, v_packed.data() + q * engine.cols * v_rows, nullptr});
    });
    const std::size_t task_rows = kMatmulPanels * engine.rows;
    const std::size_t sums_size = task_rows * v_panels * engine.cols;
    const Buffer<double> sums(sums_size * run.n_threads);
    const std::size_t tile_size = engine.rows * std::max(kMatmulDepth, engine.cols);
    const Buffer<T> tile(tile_size * run.n_threads);
    for_each_pass(run, x, y, d, kernel,
                  [&](const Pass& pass, const Packed<T>& left, const Packed<T>& right, const Index& rows, bool add) {
                      const std::size_t n_tasks = panels_in(left.n_panels, kMatmulPanels);
                      run_tasks(n_tasks, run.n_threads, run.interrupted, [&](std::size_t task, unsigned worker) {
                          const FlushDenormals flush;
                          const std::size_t left0 = task * kMatmulPanels;
                          const std::size_t n_left = std::min(kMatmulPanels, left.n_panels - left0);
                          const std::size_t row0 = left0 * left.width;
                          const std::size_t n_rows = std::min(n_left * left.width, rows.size() - row0);
                          engine.matmul({tiles(left, left0, n_left, right, 0, right.n_panels, pass), n_rows,
                                         rows.data() + row0, v_packed.data(), v_rows, v_panels, n_columns,
                                         skip_diagonal, sums.data() + worker * sums_size,
                                         tile.data() + worker * tile_size, out, n_columns, add});
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
