#include "prepare.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#define ISTHMUS_ARCH host
namespace isthmus::host {
namespace {
using std::sqrt;
}
}  // namespace isthmus::host
#include "../ops.hpp"

namespace isthmus {
namespace {

struct KernelFacts {
    host::Input input;
    double (*input_scale)(const double*);
    double (*sensitivity)(const double*);  // null where the Gram trick is not used
};

template <class K>
constexpr KernelFacts facts_of() {
    if constexpr (K::kInput == host::Input::Distance)
        return {K::kInput, &K::input_scale, &K::sensitivity};
    else
        return {K::kInput, &K::input_scale, nullptr};
}

const KernelFacts& facts(unsigned kernel) {
    static constexpr KernelFacts all[] = {
#define ISTHMUS_X(K, name, n_params) facts_of<host::K<double>>(),
        ISTHMUS_KERNELS(ISTHMUS_X)
#undef ISTHMUS_X
    };
    return all[kernel];
}

Pairing pairing_of(host::Input input) {
    switch (input) {
        case host::Input::Distance: return Pairing::Gram;
        case host::Input::SharpDistance: return Pairing::Difference;
        case host::Input::CityBlock: return Pairing::CityBlock;
        default: return Pairing::Dot;
    }
}

// u is of degree 1 in the rows for the city-block distance, of degree 2 otherwise.
double factor_of(double input_scale, double pack_scale, Pairing pairing) {
    const double ratio = input_scale / pack_scale;
    return pairing == Pairing::CityBlock ? ratio : ratio * ratio;
}

double power_of_two_below(double x) { return std::ldexp(1.0, std::ilogb(x)); }

// The narrowest gap between two kernels that is rounding, not intent.
bool same(double a, double b) { return std::abs(a - b) <= 1e-14 * b; }

// From the smallest gamma up: kernels of 2, 4, 8 and 16 times a chain's gamma join it.
std::vector<RbfChain> chains_of(std::vector<Term> terms) {
    std::sort(terms.begin(), terms.end(), [](const Term& a, const Term& b) { return a.factor < b.factor; });
    std::vector<RbfChain> chains;
    for (const Term& t : terms) {
        bool joined = false;
        for (RbfChain& chain : chains)
            for (std::size_t i = 0; i < kLongestChain && !joined; ++i)
                if (same(t.factor, chain.factor * double(1 << i))) {
                    chain.weights[i] += t.weight;
                    chain.length = std::max(chain.length, i + 1);
                    joined = true;
                }
        if (!joined) chains.push_back({t.factor, {t.weight}, 1});
    }
    return chains;
}

// Products of rows may go to a matrix unit.
Form form_of(const Run& run, Pairing pairing) {
    if (pairing != Pairing::Gram && pairing != Pairing::Dot) return Form::Numbers;
    const bool has_unit = run.engines->f32.group > 1;
    return run.fast && has_unit ? Form::TwoParts : Form::ThreeParts;
}

// The pass takes the largest input scale, so that a lone kernel needs no factor and other factors are below 1.
// Rows whose differences are formed are only multiplied by a power of two: exact.
Pass make_pass(const Run& run, const KernelSum& kernel, host::Input input) {
    const Pairing pairing = pairing_of(input);
    Pass pass{pairing, form_of(run, pairing), 0.0, 0.0, {}, {}};
    double weights = 0;
    for (const KernelTerm& t : kernel)
        if (facts(t.kernel).input == input) {
            pass.scale = std::max(pass.scale, facts(t.kernel).input_scale(t.params));
            weights += t.weight;
            if (pass.gram()) pass.sensitivity += t.weight * facts(t.kernel).sensitivity(t.params);
        }
    pass.sensitivity /= std::max(1.0, weights);
    if (pass.pairing == Pairing::Difference || pass.pairing == Pairing::CityBlock)
        pass.scale = power_of_two_below(pass.scale);
    for (const KernelTerm& t : kernel)
        if (facts(t.kernel).input == input) {
            const double factor = factor_of(facts(t.kernel).input_scale(t.params), pass.scale, pass.pairing);
            pass.terms.push_back({t.kernel, t.weight, factor, {t.params[0], t.params[1], t.params[2]}});
        }
    const auto is_rbf = [](const Term& t) { return kernel_names()[t.kernel].name == std::string("rbf"); };
    if (pass.terms.size() > 1 && std::all_of(pass.terms.begin(), pass.terms.end(), is_rbf))
        pass.chains = chains_of(pass.terms);
    return pass;
}

}  // namespace

const std::vector<KernelName>& kernel_names() {
    static const std::vector<KernelName> names = {
#define ISTHMUS_X(K, name, n_params) {name, n_params},
        ISTHMUS_KERNELS(ISTHMUS_X)
#undef ISTHMUS_X
    };
    return names;
}

std::vector<Pass> passes_of(const Run& run, const KernelSum& kernel) {
    std::vector<Pass> passes;
    for (host::Input input :
         {host::Input::Distance, host::Input::SharpDistance, host::Input::CityBlock, host::Input::Dot}) {
        Pass pass = make_pass(run, kernel, input);
        if (!pass.terms.empty()) passes.push_back(std::move(pass));
    }
    return passes;
}

Terms Pass::view() const {
    bool even = true;
    for (const RbfChain& chain : chains)
        for (std::size_t i = 0; i < chain.length; ++i)
            even = even && ((i > 0 && chain.weights[i] == 0) || chain.weights[i] == chains[0].weights[0]);
    return {terms.data(), terms.size(), pairing, chains.data(), chains.size(), even};
}

double Pass::raw_scale() const { return power_of_two_below(scale); }

double raw_factor(const Pass& pass) { return factor_of(pass.scale, pass.raw_scale(), pass.pairing); }

template <class T>
double guard_of(const Pass& pass, std::size_t d) {
    constexpr double kRounding = std::is_same_v<T, float> ? 6e-8 : 1.1e-16;
    constexpr double kPromise = std::is_same_v<T, float> ? 4e-6 : 8e-14;
    // Of two parts a number: the products of low parts, each at most 2^-8 of its number, are left out.
    constexpr double kFastRounding = 0x1p-15, kFastPromise = 7.5e-5;
    const double growth = 4.0 + 1.5 * std::sqrt(double(d));  // of the error, measured on near pairs of long rows
    const bool fast = std::is_same_v<T, float> && pass.form == Form::TwoParts;
    return (fast ? kFastRounding / kFastPromise : kRounding * growth / kPromise) * pass.sensitivity;
}

SelfKernel self_kernel(const Run& run, const KernelSum& kernel) {
    SelfKernel self{0.0, {}};
    for (const KernelTerm& t : kernel) {
        const double scale = facts(t.kernel).input_scale(t.params);
        const Term term{t.kernel, t.weight, scale * scale, {t.params[0], t.params[1], t.params[2]}};
        if (facts(t.kernel).input == host::Input::Dot) {
            self.terms.push_back(term);
        } else {
            alignas(64) double zero[8] = {}, value[8];
            run.engines->f64.apply({&term, 1, Pairing::Dot, nullptr, 0, false}, zero, value, 8);
            self.at_zero += value[0];
        }
    }
    return self;
}

namespace {

// Becomes a MemoryError of Python.
class WorkspaceRefused : public std::bad_alloc {
  public:
    explicit WorkspaceRefused(double bytes) noexcept {
        std::snprintf(text_, sizeof(text_), "the workspace needs %.1f GiB, more than the system grants",
                      bytes / double(1 << 30));
    }
    const char* what() const noexcept override { return text_; }

  private:
    char text_[80];
};

}  // namespace

namespace {

// sum_i w_i^2 k(x_i, x_i) over some rows of a block.
template <class T>
double weighted_diagonal(const Run& run, const Block<T>& block, std::size_t begin, std::size_t end, std::size_t d,
                         const SelfKernel& self) {
    double constant = 0, sum = 0;
    alignas(64) double u[64], value[64];
    for (std::size_t first = begin; first < end; first += 64) {
        const std::size_t n = std::min<std::size_t>(64, end - first);
        std::fill_n(u, 64, 0.0);
        for (std::size_t i = 0; i < n && !self.terms.empty(); ++i) {
            const T* x = block.rows.data + std::ptrdiff_t(first + i) * block.rows.stride;
            for (std::size_t k = 0; k < d; ++k) u[i] += double(x[k]) * double(x[k]);
        }
        if (!self.terms.empty())
            run.engines->f64.apply({self.terms.data(), self.terms.size(), Pairing::Dot, nullptr, 0, false}, u, value,
                                   64);
        for (std::size_t i = 0; i < n; ++i) {
            const double w = block.weights ? double(block.weights[first + i]) : 1.0;
            constant += w * w;
            if (!self.terms.empty()) sum += w * w * value[i];
        }
    }
    return constant * self.at_zero + sum;
}

}  // namespace

template <class T>
void add_diagonals(const Run& run, const std::vector<Block<T>>& blocks, std::size_t d, const SelfKernel& self,
                   double* diagonals) {
    struct Piece {
        std::size_t block, begin, end;
        double sum;
    };
    const std::size_t step = std::max<std::size_t>(64, (std::size_t(1) << 20) / d);
    std::vector<Piece> pieces;
    for (std::size_t b = 0; b < blocks.size(); ++b) {
        const std::size_t count = blocks[b].rows.count;
        diagonals[b] = 0;
        if (!blocks[b].weights && self.terms.empty())
            diagonals[b] = double(count) * self.at_zero;
        else
            for (std::size_t i = 0; i < count; i += step) pieces.push_back({b, i, std::min(i + step, count), 0.0});
    }
    run_tasks(pieces.size(), run.n_threads, run.interrupted, [&](std::size_t i, unsigned) {
        pieces[i].sum = weighted_diagonal(run, blocks[pieces[i].block], pieces[i].begin, pieces[i].end, d, self);
    });
    for (const Piece& piece : pieces) diagonals[piece.block] += piece.sum;
}

template <class T>
void Buffer<T>::fit(std::size_t count) {
    constexpr std::size_t kLine = 64, kHuge = std::size_t(1) << 21;
    if (data_ && count <= count_) return;
    if (count > (std::size_t(-1) / 2) / sizeof(T)) throw WorkspaceRefused(double(count) * sizeof(T));
    const std::size_t border = count * sizeof(T) >= 2 * kHuge ? kHuge : kLine;
    const std::size_t bytes = std::max<std::size_t>(1, (count * sizeof(T) + border - 1) / border) * border;
    clear();
    data_.reset(static_cast<T*>(std::aligned_alloc(border, bytes)));
    if (!data_) throw WorkspaceRefused(double(bytes));
    count_ = count;
    if (border == kHuge) madvise(data_.get(), bytes, MADV_HUGEPAGE);
}

template <class T>
void mean_of(const Run& run, const std::vector<Rows<T>>& samples, std::size_t d, double* mean) {
    constexpr std::size_t kPiece = 4096, kColumns = 1024;  // of one task: some milliseconds
    const Engine<T>& engine = engine_of<T>(run);
    std::size_t count = 0;
    for (const Rows<T>& rows : samples) count += rows.count;
    std::fill_n(mean, d, 0.0);
    if (count <= kPiece && d <= kColumns) {
        for (const Rows<T>& rows : samples) engine.add_rows(rows.data, rows.stride, rows.count, d, mean);
    } else {
        std::vector<Rows<T>> pieces;
        for (const Rows<T>& rows : samples)
            for (std::size_t i = 0; i < rows.count; i += kPiece)
                pieces.push_back(
                    {rows.data + std::ptrdiff_t(i) * rows.stride, rows.stride, std::min(kPiece, rows.count - i)});
        const Buffer<double> sums(pieces.size() * d);
        const std::size_t across = panels_in(d, kColumns);
        run_tasks(pieces.size() * across, run.n_threads, run.interrupted, [&](std::size_t task, unsigned) {
            const Rows<T>& piece = pieces[task / across];
            const std::size_t k = task % across * kColumns, width = std::min(kColumns, d - k);
            double* sum = sums.data() + task / across * d + k;
            std::fill_n(sum, width, 0.0);
            engine.add_rows(piece.data + k, piece.stride, piece.count, width, sum);
        });
        for (std::size_t p = 0; p < pieces.size(); ++p)
            for (std::size_t k = 0; k < d; ++k) mean[k] += sums[p * d + k];
    }
    for (std::size_t k = 0; k < d; ++k) mean[k] /= double(count);
}

namespace {

// Packs every sample by pieces; `norms` may be null.
template <class T>
void pack_into(const Run& run, const std::vector<Sample<T>>& samples, std::size_t d, double scale, Form form, T* panels,
               T* norms, bool centred) {
    struct Piece {
        std::size_t sample, first, count;
    };
    const Engine<T>& engine = engine_of<T>(run);
    const std::size_t width = engine.cols, step = width * std::max<std::size_t>(1, (1u << 16) / (width * d));
    const std::size_t panel_size = engine.panel_size(form, d);
    std::vector<Piece> pieces;
    for (std::size_t s = 0; s < samples.size(); ++s)
        for (std::size_t first = 0; first < samples[s].rows.count; first += step)
            pieces.push_back({s, first, std::min(step, samples[s].rows.count - first)});
    run_tasks(pieces.size(), run.n_threads, run.interrupted, [&](std::size_t i, unsigned) {
        const Sample<T>& sample = samples[pieces[i].sample];
        const std::size_t panel = sample.panel + pieces[i].first / width;
        engine.pack({sample.rows.data + std::ptrdiff_t(pieces[i].first) * sample.rows.stride, sample.rows.stride, 1,
                     pieces[i].count, d, d, centred ? sample.centre : nullptr, scale, panels + panel * panel_size,
                     norms ? norms + panel * width : nullptr, form});
    });
}

// Keeps the raw rows where some pair of a Gram pass may need them.
template <class T>
void watch_near_pairs(const Run& run, const std::vector<Sample<T>>& samples, const Pass& pass, Packed<T>& packed) {
    constexpr double kMargin = 0.999, kLargest = std::is_same_v<T, float> ? 1e37 : 1e300;
    const double guard = guard_of<T>(pass, packed.d);
    T reach = 0;
    for (std::size_t i = 0; i < packed.n_panels * packed.width; ++i) reach = std::max(reach, packed.norms[i]);
    const double norms = 2 * double(reach);
    packed.guard = {guard, raw_factor(pass), !(norms * (guard + 1) < kLargest)};
    packed.has_raw = guard * norms >= kMargin;
    if (!packed.has_raw) return;
    packed.raw.fit(packed.n_panels * packed.width * packed.d);
    pack_into(run, samples, packed.d, pass.raw_scale(), Form::Numbers, packed.raw.data(), static_cast<T*>(nullptr),
              false);
}

}  // namespace

template <class T>
void pack_samples(const Run& run, const std::vector<Sample<T>>& samples, std::size_t d, const Pass& pass,
                  Packed<T>& packed) {
    packed.width = engine_of<T>(run).cols;
    packed.d = d;
    packed.n_panels = 0;
    for (const Sample<T>& s : samples)
        packed.n_panels = std::max(packed.n_panels, s.panel + panels_in(s.rows.count, packed.width));
    packed.form = pass.form;
    packed.panel_size = engine_of<T>(run).panel_size(pass.form, d);
    packed.rows.fit(packed.n_panels * packed.panel_size);
    packed.has_norms = pass.gram();
    packed.has_raw = false;
    if (packed.has_norms) packed.norms.fit(packed.n_panels * packed.width);
    pack_into(run, samples, d, pass.scale, pass.form, packed.rows.data(),
              packed.has_norms ? packed.norms.data() : nullptr, pass.gram());
    if (pass.gram()) watch_near_pairs(run, samples, pass, packed);
}

template <class T>
TaskShape task_shape(const Engine<T>& engine, std::size_t d) {
    constexpr std::size_t kCacheBytes = 1u << 18;
    constexpr double kTaskCost = 1 << 19;  // vector operations, 100 to 200 microseconds
    const std::size_t right = std::clamp<std::size_t>(kCacheBytes / (engine.cols * d * sizeof(T)), 1, 64);
    const double cost = tile_cost(engine, d) * double(engine.group * right);
    return {std::max<std::size_t>(1, std::size_t(kTaskCost / cost)) * engine.group, right};
}

#define ISTHMUS_X(T)                                                                                                   \
    template double guard_of<T>(const Pass&, std::size_t);                                                             \
    template class Buffer<T>;                                                                                          \
    template void add_diagonals<T>(const Run&, const std::vector<Block<T>>&, std::size_t, const SelfKernel&, double*); \
    template void mean_of<T>(const Run&, const std::vector<Rows<T>>&, std::size_t, double*);                           \
    template void pack_samples<T>(const Run&, const std::vector<Sample<T>>&, std::size_t, const Pass&, Packed<T>&);    \
    template TaskShape task_shape<T>(const Engine<T>&, std::size_t);
ISTHMUS_X(float)
ISTHMUS_X(double)
#undef ISTHMUS_X
template class Buffer<std::uint32_t>;

}  // namespace isthmus
