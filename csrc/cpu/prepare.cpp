#include "prepare.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>

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
};

const KernelFacts& facts(unsigned kernel) {
    static const KernelFacts all[] = {
#define ISTHMUS_X(K, name, n_params) {host::K<double>::kInput, &host::K<double>::input_scale},
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

// Gram tiles take the largest input scale, so that one kernel needs no factor and the reach bounds every kernel's u.
// Raw rows are only multiplied by a power of two: exact, and squares stay in range.
Pass make_pass(const KernelSum& kernel, host::Input input, Pairing pairing) {
    Pass pass{pairing, 0.0, {}};
    for (const KernelTerm& t : kernel)
        if (facts(t.kernel).input == input) pass.scale = std::max(pass.scale, facts(t.kernel).input_scale(t.params));
    if (pairing == Pairing::Difference || pairing == Pairing::CityBlock)
        pass.scale = std::ldexp(1.0, std::ilogb(pass.scale));
    for (const KernelTerm& t : kernel)
        if (facts(t.kernel).input == input) {
            const double factor = factor_of(facts(t.kernel).input_scale(t.params), pass.scale, pairing);
            pass.terms.push_back({t.kernel, t.weight, factor, {t.params[0], t.params[1], t.params[2]}});
        }
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

std::vector<Pass> passes_of(const KernelSum& kernel) {
    std::vector<Pass> passes;
    for (host::Input input :
         {host::Input::Distance, host::Input::SharpDistance, host::Input::CityBlock, host::Input::Dot}) {
        Pass pass = make_pass(kernel, input, pairing_of(input));
        if (!pass.terms.empty()) passes.push_back(std::move(pass));
    }
    return passes;
}

Pass by_differences(const KernelSum& kernel) { return make_pass(kernel, host::Input::Distance, Pairing::Difference); }

SelfKernel self_kernel(const Run& run, const KernelSum& kernel) {
    SelfKernel self{0.0, {}};
    for (const KernelTerm& t : kernel) {
        const double scale = facts(t.kernel).input_scale(t.params);
        const Term term{t.kernel, t.weight, scale * scale, {t.params[0], t.params[1], t.params[2]}};
        if (facts(t.kernel).input == host::Input::Dot) {
            self.terms.push_back(term);
        } else {
            alignas(64) double zero[8] = {}, value[8];
            run.engines->f64.apply({&term, 1, Pairing::Dot}, zero, value, 8);
            self.at_zero += value[0];
        }
    }
    return self;
}

template <class T>
Buffer<T>::Buffer(std::size_t count) {
    constexpr std::size_t kLine = 64, kHuge = std::size_t(1) << 21;
    if (count > (std::size_t(-1) / 2) / sizeof(T)) throw std::bad_alloc();
    const std::size_t border = count * sizeof(T) >= 2 * kHuge ? kHuge : kLine;
    const std::size_t bytes = std::max<std::size_t>(1, (count * sizeof(T) + border - 1) / border) * border;
    data_.reset(static_cast<T*>(std::aligned_alloc(border, bytes)));
    if (!data_) throw std::bad_alloc();
    if (border == kHuge) madvise(data_.get(), bytes, MADV_HUGEPAGE);
}

template <class T>
void mean_of(const Run& run, const std::vector<Rows<T>>& samples, std::size_t d, double* mean) {
    constexpr std::size_t kPiece = 4096;
    std::vector<Rows<T>> pieces;
    double count = 0;
    for (const Rows<T>& rows : samples) {
        count += double(rows.count);
        for (std::size_t i = 0; i < rows.count; i += kPiece)
            pieces.push_back(
                {rows.data + std::ptrdiff_t(i) * rows.stride, rows.stride, std::min(kPiece, rows.count - i)});
    }
    Buffer<double> sums(pieces.size() * d);
    run_tasks(pieces.size(), run.n_threads, run.interrupted, [&](std::size_t p, unsigned) {
        double* sum = sums.data() + p * d;
        std::fill_n(sum, d, 0.0);
        for (std::size_t i = 0; i < pieces[p].count; ++i) {
            const T* x = pieces[p].data + std::ptrdiff_t(i) * pieces[p].stride;
            for (std::size_t k = 0; k < d; ++k) sum[k] += double(x[k]);
        }
    });
    std::fill_n(mean, d, 0.0);
    for (std::size_t p = 0; p < pieces.size(); ++p)
        for (std::size_t k = 0; k < d; ++k) mean[k] += sums[p * d + k];
    for (std::size_t k = 0; k < d; ++k) mean[k] /= count;
}

template <class T>
Packed<T> pack_rows(const Run& run, Rows<T> rows, const std::vector<std::size_t>* index, std::size_t d,
                    const Pass& pass, const double* centre, Side side) {
    const Engine<T>& engine = engine_of<T>(run);
    const std::size_t count = index ? index->size() : rows.count;
    Packed<T> packed{{}, {}, side == Side::Left ? engine.rows : engine.cols, 0, d};
    packed.n_panels = panels_in(count, packed.width);
    packed.panels = Buffer<T>(packed.n_panels * packed.width * d);
    const bool gram = pass.pairing == Pairing::Gram;
    if (gram) packed.norms = Buffer<T>(packed.n_panels * packed.width);
    const std::size_t panels_per_task = std::max<std::size_t>(1, (1u << 16) / (packed.width * d));
    run_tasks(panels_in(packed.n_panels, panels_per_task), run.n_threads, run.interrupted,
              [&](std::size_t task, unsigned) {
                  const std::size_t panel = task * panels_per_task, first = panel * packed.width;
                  const std::size_t n = std::min(count - first, panels_per_task * packed.width);
                  const T* from = index ? rows.data : rows.data + std::ptrdiff_t(first) * rows.stride;
                  engine.pack({from, rows.stride, 1, index ? index->data() + first : nullptr, n, d, d, centre,
                               pass.scale, gram && side == Side::Left ? -2.0 : 1.0, packed.width,
                               packed.panels.data() + panel * packed.width * d,
                               gram ? packed.norms.data() + panel * packed.width : nullptr});
              });
    return packed;
}

template <class T>
TaskShape task_shape(const Engine<T>& engine, std::size_t d) {
    constexpr std::size_t kCacheBytes = 1u << 18;
    constexpr double kTaskCost = 1 << 19;  // vector operations, 100 to 200 microseconds
    const std::size_t right = std::clamp<std::size_t>(kCacheBytes / (engine.cols * d * sizeof(T)), 1, 64);
    const double cost = tile_cost(engine, d) * double(right);
    return {std::max<std::size_t>(1, std::size_t(kTaskCost / cost)), right};
}

#define ISTHMUS_X(T)                                                                                                \
    template class Buffer<T>;                                                                                       \
    template void mean_of<T>(const Run&, const std::vector<Rows<T>>&, std::size_t, double*);                        \
    template Packed<T> pack_rows<T>(const Run&, Rows<T>, const std::vector<std::size_t>*, std::size_t, const Pass&, \
                                    const double*, Side);                                                           \
    template TaskShape task_shape<T>(const Engine<T>&, std::size_t);
ISTHMUS_X(float)
ISTHMUS_X(double)
#undef ISTHMUS_X

}  // namespace isthmus
