// act(X W + b): W is packed once, X a few rows at a time into each worker's own workspace.
#include <algorithm>

#include "prepare.hpp"

namespace isthmus {

template <class T>
void project(const Run& run, Rows<T> x, std::size_t d, const T* w, const T* b, std::size_t n_columns,
             Activation activation, T* out) {
    const Engine<T>& engine = engine_of<T>(run);
    const std::size_t w_panels = panels_in(n_columns, engine.cols);
    const Buffer<T> w_packed(w_panels * engine.cols * d), bias(w_panels * engine.cols);
    run_tasks(w_panels, run.n_threads, run.interrupted, [&](std::size_t q, unsigned) {
        const std::size_t first = q * engine.cols, count = std::min(engine.cols, n_columns - first);
        engine.pack({w + first, 1, std::ptrdiff_t(n_columns), count, d, d, nullptr, 1.0, 1.0, engine.cols,
                     w_packed.data() + first * d, nullptr});
        for (std::size_t i = 0; i < engine.cols; ++i) bias[first + i] = b && i < count ? b[first + i] : T(0);
    });
    constexpr std::size_t kWorkspaceBytes = 1u << 18;
    const std::size_t panels = std::clamp<std::size_t>(kWorkspaceBytes / (engine.rows * d * sizeof(T)), 1, 16);
    const std::size_t task_rows = panels * engine.rows;
    const Buffer<T> workspace(task_rows * d * run.n_threads);
    run_tasks(panels_in(x.count, task_rows), run.n_threads, run.interrupted, [&](std::size_t task, unsigned worker) {
        const std::size_t first = task * task_rows, n_rows = std::min(task_rows, x.count - first);
        T* left = workspace.data() + worker * task_rows * d;
        engine.pack({x.data + std::ptrdiff_t(first) * x.stride, x.stride, 1, n_rows, d, d, nullptr, 1.0, 1.0,
                     engine.rows, left, nullptr});
        const FlushDenormals flush;
        engine.project({left, w_packed.data(), panels_in(n_rows, engine.rows), w_panels, d, n_rows, n_columns,
                        bias.data(), activation, out + first * n_columns, n_columns});
    });
}

template void project<float>(const Run&, Rows<float>, std::size_t, const float*, const float*, std::size_t, Activation,
                             float*);
template void project<double>(const Run&, Rows<double>, std::size_t, const double*, const double*, std::size_t,
                              Activation, double*);

}  // namespace isthmus
