// MMD^2 and its gradients by all rows, in one sweep over the pairs of tiles.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>

#include "prepare.hpp"

namespace isthmus {
namespace {

// Beyond this |x - mean|^2, in the units of the tile, products with slopes would cancel in the sums over rows.
constexpr double kFarthest = 64;
// With at most so many dimensions the differences of rows cost no more than the products.
constexpr std::size_t kFewDimensions = 4;

// A pass by products is one by the differences of rows instead.
Pass by_differences(const Pass& pass) {
    Pass direct = pass;
    direct.pairing = Pairing::Difference;
    direct.scale = pass.raw_scale();
    const double factor = pass.scale / direct.scale;
    for (Term& t : direct.terms) t.factor *= factor * factor;
    for (RbfChain& c : direct.chains) c.factor *= factor * factor;
    return direct;
}

// Two parts of the pooled rows, whose pairs one task takes; each a whole number of panels of one sample.
struct PartPair {
    std::size_t left, right;
    unsigned left_turn, right_turn;  // how many tasks add to these parts before this one
};

// All pairs of n parts, so that neighbours in the list share no part: each part with itself, then the rounds of a
// tournament.
std::vector<PartPair> pairs_of_parts(std::size_t n) {
    std::vector<PartPair> pairs;
    std::vector<unsigned> turns(n, 1);
    for (std::size_t p = 0; p < n; ++p) pairs.push_back({p, p, 0, 0});
    const std::size_t even = n + n % 2;
    for (std::size_t round = 0; round + 1 < even; ++round)
        for (std::size_t i = 0; i < even / 2; ++i) {
            const std::size_t a = i ? (round + i) % (even - 1) : even - 1;
            const std::size_t b = (round + (even - 1) - i) % (even - 1);
            const std::size_t left = std::min(a, b), right = std::max(a, b);
            if (right >= n) continue;
            pairs.push_back({left, right, turns[left]++, turns[right]++});
        }
    return pairs;
}

// The work on one pair of samples; its memory serves the next pair of a batch too.
template <class T>
class Gradients {
  public:
    Gradients(std::size_t d, const std::vector<Pass>& passes, const SelfKernel& self, bool with_diagonal)
        : d_(d), passes_(passes), self_(self), with_diagonal_(with_diagonal), mean_(d) {}

    double find(const Run& run, const TwoSamples<T>& item);

  private:
    struct Side {
        Rows<T> rows;
        const T* weights;
        T* out;
        std::size_t first_panel, n_panels;
    };
    struct Part {
        std::size_t side, first_panel, n_panels;  // counted from the side's first
    };

    void lay_out(const Run& run, const TwoSamples<T>& item);
    double by_products(const Run& run, const Pass& pass, bool add);
    double directly(const Run& run, const Pass& pass, bool add);
    void pack_weighted(const Run& run);
    void list_parts(std::size_t width);
    bool far_apart() const;
    double factor(std::size_t left, std::size_t right) const { return factors_[left == right ? left : 2]; }
    const T* weights(const Side& side) const { return weights_.data() + side.first_panel * packed_.width; }

    const std::size_t d_;
    const std::vector<Pass>& passes_;
    const SelfKernel& self_;
    const bool with_diagonal_;

    Side sides_[2];
    const double* factors_ = nullptr;
    std::size_t n_panels_ = 0;      // of both sides
    std::size_t width_panels_ = 0;  // panels of dimensions
    std::vector<double> mean_;
    std::vector<Sample<T>> samples_;
    Packed<T> packed_;
    Buffer<T> weights_;             // (panels * width,), 0 for rows that only fill a panel
    Buffer<T> weighted_;            // per side as GradTask has it
    Buffer<double> sums_, totals_;  // (panels * width, width_panels * width), (panels * width,)
    Buffer<T> strips_;
    std::vector<Part> parts_;
    std::vector<double> partial_;
};

template <class T>
void Gradients<T>::lay_out(const Run& run, const TwoSamples<T>& item) {
    const std::size_t width = engine_of<T>(run).cols;
    const std::size_t nx = panels_in(item.x.count, width), ny = panels_in(item.y.count, width);
    sides_[0] = {item.x, item.x_weights, item.dx, 0, nx};
    sides_[1] = {item.y, item.y_weights, item.dy, nx, ny};
    factors_ = item.factors;
    n_panels_ = nx + ny;
    width_panels_ = panels_in(d_, width);
    samples_ = {{item.x, mean_.data(), 0}, {item.y, mean_.data(), nx}};
    weights_.fit(n_panels_ * width);
    std::fill_n(weights_.data(), n_panels_ * width, T(0));
    for (const Side& side : sides_) {
        T* to = weights_.data() + side.first_panel * width;
        if (side.weights)
            std::copy_n(side.weights, side.rows.count, to);
        else
            std::fill_n(to, side.rows.count, T(1));
    }
}

template <class T>
double Gradients<T>::find(const Run& run, const TwoSamples<T>& item) {
    lay_out(run, item);
    double value = 0;
    bool add = false;
    for (const Pass& pass : passes_) {
        const bool products = pass.pairing == Pairing::Dot || (pass.gram() && d_ > kFewDimensions);
        if (products) {
            if (pass.gram()) mean_of<T>(run, {item.x, item.y}, d_, mean_.data());
            pack_samples(run, samples_, d_, pass, packed_);
        }
        if (products && !far_apart())
            value += by_products(run, pass, add);
        else
            value += directly(run, pass.gram() ? by_differences(pass) : pass, add);
        add = true;
    }
    if (with_diagonal_) {
        double diagonals[2];
        add_diagonals<T>(run, {{item.x, item.x_weights, 0}, {item.y, item.y_weights, 0}}, d_, self_, diagonals);
        value += factors_[0] * diagonals[0] + factors_[1] * diagonals[1];
    }
    return value;
}

template <class T>
bool Gradients<T>::far_apart() const {
    const T* norms = packed_.norms.data();
    return packed_.has_norms &&
           !std::all_of(norms, norms + n_panels_ * packed_.width, [](T norm) { return double(norm) <= kFarthest; });
}

// The packed rows times their weights, one behind another, in panels of dimensions.
template <class T>
void Gradients<T>::pack_weighted(const Run& run) {
    const std::size_t width = packed_.width;
    weighted_.fit(n_panels_ * width * width_panels_ * width);
    const auto pack = [&](std::size_t panel, unsigned) {
        const Side& side = sides_[panel >= sides_[1].first_panel];
        const std::size_t rows = side.n_panels * width, first = (panel - side.first_panel) * width;
        T* to = weighted_.data() + side.first_panel * width * width_panels_ * width;
        const T* from = packed_.rows.data() + panel * width * d_;
        const T* w = weights_.data() + panel * width;
        for (std::size_t q = 0; q < width_panels_; ++q)
            for (std::size_t r = 0; r < width; ++r)
                for (std::size_t c = 0; c < width; ++c) {
                    const std::size_t k = q * width + c;
                    to[(q * rows + first + r) * width + c] = k < d_ ? w[r] * from[k * width + r] : T(0);
                }
    };
    run_tasks(n_panels_, run.n_threads, run.interrupted, pack);
}

// Parts of the pooled rows whose sums stay in a private cache; enough of them to share out their pairs.
template <class T>
void Gradients<T>::list_parts(std::size_t width) {
    constexpr std::size_t kElements = 1 << 14, kSmallest = 64, kLargest = 512, kParts = 32, kMostParts = 1024;
    const std::size_t in_cache = std::min(kLargest, kElements / d_), shared = n_panels_ * width / kParts;
    const std::size_t panels = std::max(panels_in(std::max(kSmallest, std::min(in_cache, shared)), width),
                                        panels_in(n_panels_, kMostParts));  // their pairs are listed
    parts_.clear();
    for (std::size_t s = 0; s < 2; ++s)
        for (std::size_t first = 0; first < sides_[s].n_panels; first += panels)
            parts_.push_back({s, first, std::min(panels, sides_[s].n_panels - first)});
}

template <class T>
double Gradients<T>::by_products(const Run& run, const Pass& pass, bool add) {
    const Engine<T>& engine = engine_of<T>(run);
    const std::size_t width = engine.cols, row_sums = width_panels_ * width;
    pack_weighted(run);
    list_parts(width);
    const std::vector<PartPair> pairs = pairs_of_parts(parts_.size());
    sums_.fit(n_panels_ * width * row_sums);
    totals_.fit(n_panels_ * width);
    strips_.fit(run.n_threads * kGradRows * kGradCols);
    partial_.resize(pairs.size());
    std::vector<std::atomic<unsigned>> turns(parts_.size());
    run_tasks(pairs.size(), run.n_threads, run.interrupted, [&](std::size_t i, unsigned worker) {
        const PartPair pair = pairs[i];
        const Part &left = parts_[pair.left], &right = parts_[pair.right];
        const Side &left_side = sides_[left.side], &right_side = sides_[right.side];
        const bool own = pair.left == pair.right;
        // The tasks before this one have started, so that waiting for them ends.
        while (turns[pair.left].load(std::memory_order_acquire) != pair.left_turn ||
               turns[pair.right].load(std::memory_order_acquire) != pair.right_turn)
            std::this_thread::yield();
        const FlushDenormals flush;
        const auto from = [&](const auto& buffer, const Side& side, std::size_t per_row) {
            return buffer.data() + side.first_panel * width * per_row;
        };
        if (own) {
            const std::size_t first = (left_side.first_panel + left.first_panel) * width;
            std::fill_n(sums_.data() + first * row_sums, left.n_panels * width * row_sums, 0.0);
            std::fill_n(totals_.data() + first, left.n_panels * width, 0.0);
        }
        const double f = factor(left.side, right.side);
        const std::size_t tiles = width / engine.rows, last_tile = panels_in(left_side.rows.count, engine.rows);
        const double sum =
            engine.grad({{packed_.panels(left_side.first_panel), packed_.panels(right_side.first_panel), d_,
                          left.first_panel * tiles, std::min((left.first_panel + left.n_panels) * tiles, last_tile),
                          right.first_panel, right.first_panel + right.n_panels, pass.view(), packed_.guard},
                         weights(left_side),
                         weights(right_side),
                         from(weighted_, left_side, row_sums),
                         from(weighted_, right_side, row_sums),
                         left_side.n_panels * width,
                         right_side.n_panels * width,
                         width_panels_,
                         f,
                         own,
                         with_diagonal_ && !pass.gram(),
                         from(sums_, left_side, row_sums),
                         from(sums_, right_side, row_sums),
                         from(totals_, left_side, 1),
                         from(totals_, right_side, 1),
                         strips_.data() + worker * kGradRows * kGradCols});
        partial_[i] = (own ? f : 2 * f) * sum;
        turns[pair.left].store(pair.left_turn + 1, std::memory_order_release);
        if (!own) turns[pair.right].store(pair.right_turn + 1, std::memory_order_release);
    });
    run_tasks(n_panels_, run.n_threads, run.interrupted, [&](std::size_t panel, unsigned) {
        const Side& side = sides_[panel >= sides_[1].first_panel];
        const std::size_t first = (panel - side.first_panel) * width;
        const T* rows = packed_.rows.data() + panel * width * d_;
        for (std::size_t r = 0; r < std::min(width, side.rows.count - first); ++r) {
            const double w = weights_[panel * width + r], total = pass.gram() ? totals_[panel * width + r] : 0.0;
            const double scale = w * (pass.gram() ? 4 : 2) * pass.scale, sign = pass.gram() ? -1 : 1;
            const double* sums = sums_.data() + (panel * width + r) * row_sums;
            T* out = side.out + (first + r) * d_;
            for (std::size_t k = 0; k < d_; ++k) {
                const double slope = scale * (total * double(rows[k * width + r]) + sign * sums[k]);
                out[k] = T(slope + (add ? double(out[k]) : 0.0));
            }
        }
    });
    double value = 0;
    for (std::size_t i = 0; i < pairs.size(); ++i) value += partial_[i];
    return value;
}

template <class T>
double Gradients<T>::directly(const Run& run, const Pass& pass, bool add) {
    constexpr double kSliceCost = 1 << 24;  // vector operations of a task: some 20 ms, so that Ctrl-C is heard
    const Engine<T>& engine = engine_of<T>(run);
    const std::size_t width = engine.cols, tiles = width / engine.rows;
    pack_samples(run, samples_, d_, pass, packed_);
    sums_.fit(n_panels_ * d_ * width);
    std::fill_n(sums_.data(), n_panels_ * d_ * width, 0.0);
    partial_.assign(n_panels_, 0.0);
    const std::size_t slice =
        std::max<std::size_t>(1, std::size_t(kSliceCost / (4 * double(tiles) * tile_cost(engine, d_))));
    for (std::size_t from = 0; from < 2; ++from)
        for (std::size_t panel0 = 0; panel0 < sides_[from].n_panels; panel0 += slice) {
            const Side& left = sides_[from];
            run_tasks(n_panels_, run.n_threads, run.interrupted, [&](std::size_t panel, unsigned) {
                const FlushDenormals flush;
                const std::size_t to = panel >= sides_[1].first_panel;
                const Side& right = sides_[to];
                const double f = factor(from, to);
                const std::size_t end = std::min(panel0 + slice, left.n_panels), at = panel - right.first_panel;
                partial_[panel] += f * engine.grad_direct({{packed_.panels(left.first_panel),
                                                            packed_.panels(right.first_panel),
                                                            d_,
                                                            panel0 * tiles,
                                                            end * tiles,
                                                            at,
                                                            at + 1,
                                                            pass.view(),
                                                            {}},
                                                           weights(left),
                                                           weights(right),
                                                           f,
                                                           from == to,
                                                           sums_.data() + panel * d_ * width});
            });
        }
    run_tasks(n_panels_, run.n_threads, run.interrupted, [&](std::size_t panel, unsigned) {
        const Side& side = sides_[panel >= sides_[1].first_panel];
        const std::size_t first = (panel - side.first_panel) * width;
        const double* sums = sums_.data() + panel * d_ * width;
        const double scale = (pass.pairing == Pairing::CityBlock ? 2 : 4) * pass.scale;
        for (std::size_t r = 0; r < std::min(width, side.rows.count - first); ++r) {
            T* out = side.out + (first + r) * d_;
            const double w = scale * double(weights(side)[first + r]);
            for (std::size_t k = 0; k < d_; ++k) out[k] = T(w * sums[k * width + r] + (add ? double(out[k]) : 0.0));
        }
    });
    double value = 0;
    for (std::size_t panel = 0; panel < n_panels_; ++panel) value += partial_[panel];
    return value;
}

}  // namespace

template <class T>
void mmd2_grad(const Run& wanted, const std::vector<TwoSamples<T>>& items, std::size_t d, const KernelSum& kernel,
               bool with_diagonal, double* values) {
    constexpr double kOnePerTask = 1 << 26;  // multiplications and additions, some 2 ms of vector code
    double operations = 0, largest = 0;
    for (const TwoSamples<T>& item : items) {
        const double n = double(item.x.count + item.y.count), cost = n * n * (1.5 * double(d) + 16);
        operations += cost;
        largest = std::max(largest, cost);
    }
    const Run run = for_work(wanted, operations);
    std::vector<Pass> passes = passes_of(run, kernel);
    for (Pass& pass : passes) pass.form = Form::Numbers;  // packed rows are multiplied with the slopes
    const SelfKernel self = self_kernel(run, kernel);
    const bool many = items.size() > 1 && largest < kOnePerTask;
    std::vector<std::unique_ptr<Gradients<T>>> of_worker(many ? run.n_threads : 1);
    for (auto& work : of_worker) work = std::make_unique<Gradients<T>>(d, passes, self, with_diagonal);
    if (many) {
        const Run alone{run.engines, 1, run.interrupted};
        run_tasks(items.size(), run.n_threads, run.interrupted,
                  [&](std::size_t i, unsigned worker) { values[i] = of_worker[worker]->find(alone, items[i]); });
    } else {
        for (std::size_t i = 0; i < items.size(); ++i) values[i] = of_worker[0]->find(run, items[i]);
    }
}

template void mmd2_grad<float>(const Run&, const std::vector<TwoSamples<float>>&, std::size_t, const KernelSum&, bool,
                               double*);
template void mmd2_grad<double>(const Run&, const std::vector<TwoSamples<double>>&, std::size_t, const KernelSum&, bool,
                                double*);

}  // namespace isthmus
