// Random Fourier features: W is made ready once, blocks of rows are handed out as tasks.
#include <algorithm>
#include <vector>

#include "prepare.hpp"

namespace isthmus {
namespace {

constexpr std::size_t kStreamBytes = 1u << 23;  // a smaller result may stay in a cache
constexpr std::size_t kStreamRow = 1u << 9;     // bytes of a row below which its ends outweigh its lines
constexpr std::size_t kRound = 64;              // tasks whose sums are kept before they are added up

// W as the tile functions take it, and one workspace for each thread.
template <class T>
class Features {
  public:
    Features(const Run& run, std::size_t n_rows, const Frequencies<T>& f, bool sums)
        : engine_(engine_of<T>(run)), f_(f), space_(fourier_space(engine_.cols, f.d, f.count, f.width, sums)) {
        if (f.w) pack_matrix(run);
        // A task is worth a few hundred microseconds, whatever the number of threads, and whole panels of rows.
        const std::size_t cost = f.count * ((f.w ? f.d : 32) + 16), panel = engine_.cols * kFourierSumPanels;
        task_rows_ = panel * std::max<std::size_t>(1, (1u << 24) / (panel * cost));
        n_tasks_ = panels_in(n_rows, task_rows_);
        for (unsigned i = 0; i < run.n_threads; ++i) {
            rows_.emplace_back(space_.rows);
            blocks_.emplace_back(space_.block);
            works_.emplace_back(space_.work);
        }
    }

    std::size_t n_tasks() const { return n_tasks_; }
    std::size_t task_rows() const { return task_rows_; }

    FourierTask<T> task(Rows<T> x, std::size_t i, unsigned worker) const {
        const std::size_t first = i * task_rows_;
        FourierTask<T> t{};
        t.x = x.data + std::ptrdiff_t(first) * x.stride;
        t.x_stride = x.stride;
        t.n_rows = std::min(task_rows_, x.count - first);
        t.d = f_.d;
        t.centre = f_.centre;
        t.n_frequencies = f_.count;
        t.w = f_.w ? w_.data() : nullptr;
        t.width = f_.width;
        t.signs = f_.signs;
        t.scales = f_.scales;
        t.rows = rows_[worker].data();
        t.block = blocks_[worker].data();
        t.work = works_[worker].data();
        return t;
    }

    void run_task(const FourierTask<T>& t) const {
        const FlushDenormals flush;
        engine_.fourier(t);
    }

  private:
    void pack_matrix(const Run& run) {
        const std::size_t cols = engine_.cols, panels = panels_in(f_.count, cols);
        w_.fit(panels * cols * f_.d);
        run_tasks(panels, run.n_threads, run.interrupted, [&](std::size_t q, unsigned) {
            const std::size_t first = q * cols;
            engine_.pack({f_.w + first, 1, std::ptrdiff_t(f_.count), std::min(cols, f_.count - first), f_.d, f_.d,
                          nullptr, 1.0, w_.data() + first * f_.d, nullptr});
        });
    }

    const Engine<T>& engine_;
    const Frequencies<T>& f_;
    FourierSpace space_;
    Buffer<T> w_;
    std::vector<Buffer<T>> rows_, blocks_, works_;
    std::size_t task_rows_ = 0, n_tasks_ = 0;
};

template <class T>
Run run_for(const Run& wanted, std::size_t n_rows, const Frequencies<T>& f) {
    return for_work(wanted, double(n_rows) * double(f.count) * double((f.w ? f.d : 32) + 16));
}

}  // namespace

template <class T>
void fourier_features(const Run& wanted, Rows<T> x, const Frequencies<T>& f, double amplitude, T* out) {
    const Run run = run_for(wanted, x.count, f);
    const Features<T> features(run, x.count, f, false);
    const std::size_t width = 2 * f.count;
    const bool stream = width * sizeof(T) >= kStreamRow && x.count * width * sizeof(T) >= kStreamBytes;
    run_tasks(features.n_tasks(), run.n_threads, run.interrupted, [&](std::size_t i, unsigned worker) {
        FourierTask<T> t = features.task(x, i, worker);
        t.amplitude = T(amplitude);
        t.out = out + i * features.task_rows() * width;
        t.stream = stream;
        features.run_task(t);
    });
}

template <class T>
void fourier_sums(const Run& wanted, Rows<T> x, const T* weights, const Frequencies<T>& f, double* sums) {
    const Run run = run_for(wanted, x.count, f);
    const Features<T> features(run, x.count, f, true);
    const std::size_t width = 2 * f.count;
    const Buffer<double> parts(std::min(kRound, features.n_tasks()) * width);
    std::fill_n(sums, width, 0.0);
    for (std::size_t first = 0; first < features.n_tasks(); first += kRound) {
        const std::size_t count = std::min(kRound, features.n_tasks() - first);
        std::fill_n(parts.data(), count * width, 0.0);
        run_tasks(count, run.n_threads, run.interrupted, [&](std::size_t i, unsigned worker) {
            FourierTask<T> t = features.task(x, first + i, worker);
            t.weights = weights ? weights + (first + i) * features.task_rows() : nullptr;
            t.sums = parts.data() + i * width;
            features.run_task(t);
        });
        for (std::size_t i = 0; i < count; ++i)
            for (std::size_t j = 0; j < width; ++j) sums[j] += parts[i * width + j];
    }
}

#define ISTHMUS_X(T)                                                                           \
    template void fourier_features<T>(const Run&, Rows<T>, const Frequencies<T>&, double, T*); \
    template void fourier_sums<T>(const Run&, Rows<T>, const T*, const Frequencies<T>&, double*);
ISTHMUS_X(float)
ISTHMUS_X(double)
#undef ISTHMUS_X

}  // namespace isthmus
