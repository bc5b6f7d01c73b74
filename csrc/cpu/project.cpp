// act(X W + b): W is packed once, the rows of X are read where they lie.
#include <algorithm>

#include "prepare.hpp"

namespace isthmus {

template <class T>
void project(const Run& wanted, Rows<T> x, std::size_t d, const T* w, const T* b, std::size_t n_columns,
             Activation activation, T* out) {
    if (n_columns == 0) return;
    const Run run = for_work(wanted, double(x.count) * double(n_columns) * double(d + 16));
    const Engine<T>& engine = engine_of<T>(run);
    const std::size_t w_panels = panels_in(n_columns, engine.cols);
    const Buffer<T> w_packed(w_panels * engine.cols * d), bias(w_panels * engine.cols);
    run_tasks(w_panels, run.n_threads, run.interrupted, [&](std::size_t q, unsigned) {
        const std::size_t first = q * engine.cols, count = std::min(engine.cols, n_columns - first);
        engine.pack(
            {w + first, 1, std::ptrdiff_t(n_columns), count, d, d, nullptr, 1.0, w_packed.data() + first * d, nullptr});
        for (std::size_t i = 0; i < engine.cols; ++i) bias[first + i] = b && i < count ? b[first + i] : T(0);
    });
    // Rows of one task: a few hundred microseconds, whatever the number of threads.
    const std::size_t task_rows = engine.rows * std::max<std::size_t>(1, (1u << 22) / (engine.rows * d * n_columns));
    run_tasks(panels_in(x.count, task_rows), run.n_threads, run.interrupted, [&](std::size_t task, unsigned) {
        const FlushDenormals flush;
        const std::size_t first = task * task_rows;
        engine.project({x.data + std::ptrdiff_t(first) * x.stride, x.stride, w_packed.data(), w_panels, d,
                        std::min(task_rows, x.count - first), n_columns, bias.data(), activation,
                        out + first * n_columns, n_columns});
    });
}

template void project<float>(const Run&, Rows<float>, std::size_t, const float*, const float*, std::size_t, Activation,
                             float*);
template void project<double>(const Run&, Rows<double>, std::size_t, const double*, const double*, std::size_t,
                              Activation, double*);

}  // namespace isthmus
