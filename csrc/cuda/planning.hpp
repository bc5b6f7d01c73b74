// What the plans of all operations share: the workspace, the description of samples, the passes of a kernel. Read by
// the units that plan, one for each family of operations.
#pragma once

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "../cpu/prepare.hpp"
#include "plan.hpp"

#define ISTHMUS_ARCH cuda
#include "description.hpp"
#include "entries.cuh"

namespace isthmus::gpu {
namespace {

using cuda::kPanel, cuda::kSlab, cuda::Size;

template <class Task>
std::string bytes_of(const Task& task) {
    static_assert(std::is_trivially_copyable_v<Task> && sizeof(Task) <= 4096, "more than a launch carries");
    return std::string(reinterpret_cast<const char*>(&task), sizeof(Task));
}

// The workspace: pieces are asked for first, then it is allocated, then they have addresses.
class Workspace {
  public:
    static constexpr std::size_t kBorder = 256;  // bytes
    template <class U>
    struct Piece {
        std::size_t offset;
    };
    template <class U>
    Piece<U> room(std::size_t count) {
        const std::size_t at = size_;
        size_ += (count * sizeof(U) + kBorder - 1) / kBorder * kBorder;
        return {at};
    }
    void allocate(const Device& device) { base_ = device.allocate(std::max(size_, kBorder)); }
    template <class U>
    U* operator[](Piece<U> piece) const {
        return reinterpret_cast<U*>(base_ + piece.offset);
    }

  private:
    std::size_t size_ = 0;
    std::uintptr_t base_ = 0;
};

template <class T>
const char* type_name() {
    return std::is_same_v<T, float> ? "float32" : "float64";
}

template <class T>
std::string typed(const char* kernel) {
    return std::string(kernel) + "_" + type_name<T>();
}

// The large chips of a generation: tensor cores wide beside the plain units, 163 KB of shared memory for a block.
inline bool is_large(const Device& device) {
    return device.capability == 80 || device.capability / 10 == 9 || device.capability / 10 == 10;
}

// How a tile is formed: on tensor cores where these win; `fast`, of two bf16 parts a number there.
template <class T>
struct Shape {
    bool tensor, two_parts;
    std::size_t side;
    std::string name;
    Shape(const Device& device, Pairing pairing, bool fast = false) {
        const bool products = pairing == Pairing::Gram || pairing == Pairing::Dot;
        tensor = std::is_same_v<T, float> && products && is_large(device);
        side = std::is_same_v<T, float> ? std::size_t(cuda::Large::kSide) : std::size_t(cuda::Wide::kSide);
        two_parts = tensor && fast;
        name = two_parts ? "fast" : tensor ? "tensor" : type_name<T>();
    }
    cuda::Form form() const {
        return two_parts ? cuda::Form::TwoParts : tensor ? cuda::Form::Rounded : cuda::Form::Numbers;
    }
};
static_assert(cuda::Large::kSide == cuda::Tensor::kSide, "samples are packed for both");

// The part of a pass that one launch carries.
template <class T>
struct Part {
    cuda::Terms<T> terms;
    std::string values;
};

template <class T>
cuda::Terms<T> terms_of(const Term* first, std::size_t count) {
    cuda::Terms<T> terms{};
    terms.count = int(count);
    for (std::size_t i = 0; i < count; ++i) {
        terms.kernel[i] = first[i].kernel;
        terms.weight[i] = T(first[i].weight), terms.factor[i] = T(first[i].factor);
        std::copy(std::begin(first[i].params), std::end(first[i].params), terms.params[i]);
    }
    return terms;
}

// The terms of a pass and how many squarings of the term before give each, 0 for an exponential of its own.
struct Ordered {
    std::vector<Term> terms;
    std::vector<int> squarings;
};

inline Ordered ordered(const Pass& pass) {
    if (pass.chains.empty()) return {pass.terms, std::vector<int>(pass.terms.size())};
    Ordered found;
    for (const RbfChain& chain : pass.chains) {
        int squarings = 0;
        for (std::size_t k = 0; k < chain.length; ++k, ++squarings) {
            if (k > 0 && chain.weights[k] == 0) continue;
            found.terms.push_back({pass.terms[0].kernel, chain.weights[k], chain.factor * double(1 << k), {}});
            found.squarings.push_back(squarings);
            squarings = 0;
        }
    }
    return found;
}

template <class T>
std::vector<Part<T>> parts_of(const Pass& pass, std::size_t d) {
    std::string values = pass.pairing == Pairing::Gram         ? "gram"
                         : pass.pairing == Pairing::Difference ? "difference"
                         : pass.pairing == Pairing::CityBlock  ? "cityblock"
                                                               : "dot";
    const Ordered all = ordered(pass);
    if (!pass.chains.empty()) values = "gaussians";
    const bool is_rbf = kernel_names()[all.terms[0].kernel].name == std::string("rbf");
    if (is_rbf && all.terms.size() == 1 && all.terms[0].factor == 1) values = "rbf";
    std::vector<Part<T>> parts;
    for (std::size_t i = 0; i < all.terms.size(); i += cuda::kMaxTerms) {
        const std::size_t count = std::min<std::size_t>(cuda::kMaxTerms, all.terms.size() - i);
        Part<T> part{terms_of<T>(all.terms.data() + i, count), values};
        std::copy_n(all.squarings.begin() + std::ptrdiff_t(i), count, part.terms.squarings);
        part.terms.squarings[0] = 0;
        part.terms.guard = T(pass.gram() ? guard_of<T>(pass, d) : 0.0);
        part.terms.raw_scale = T(pass.raw_scale());
        part.terms.raw_factor = T(raw_factor(pass));
        parts.push_back(part);
    }
    return parts;
}

inline cuda::Factors factors_of(const Factors& given) {
    return {given.of_items, {given.of_all[0], given.of_all[1], given.of_all[2]}};
}

// One call: its workspace and its launches so far.
template <class T>
class Plan {
  public:
    using Sample = cuda::Sample<T>;

    Plan(const Device& device, std::size_t d, const KernelSum& kernel, bool fast = false)
        : device_(device), d_(d), passes_(passes_of(Run{engines_of("base"), 1, nullptr}, kernel)) {
        for (Pass& pass : passes_)
            pass.form = Shape<T>(device, pass.pairing, fast).two_parts ? Form::TwoParts : Form::Numbers;
    }

    Workspace space;
    std::vector<Launch> launches;

    const std::vector<Pass>& passes() const { return passes_; }
    Shape<T> shape(const Pass& pass) const { return {device_, pass.pairing, pass.form == Form::TwoParts}; }

    template <class Task>
    void launch(const std::string& kernel, std::size_t blocks, const Task& task) {
        launches.push_back({kernel, blocks, bytes_of(task)});
    }

    // A sample of this call; `group` names the samples whose common mean is subtracted, and never falls.
    std::size_t add(const Rows<T>& rows, const T* weights, std::size_t group) {
        assert(samples_.empty() || group >= samples_.back().group);
        samples_.push_back({rows.data, weights, Size(rows.stride), rows.count, n_panels_, group});
        n_panels_ += cuda::tiles_across(rows.count, side()) * Size(side() / kPanel);
        n_groups_ = std::max<Size>(n_groups_, group + 1);
        return samples_.size() - 1;
    }
    // Two samples that are the same rows.
    const Sample& sample(std::size_t s) const { return samples_[s]; }
    const Sample* samples() const { return space[samples_at_]; }

    // Room for host values that a launch writes to the workspace; `width` of them, a record, are alike from one item to
    // the next.
    Workspace::Piece<Size> describe(const std::vector<Size>& values, std::size_t width) {
        const auto piece = space.template room<Size>(values.size());
        description_.add(piece.offset / sizeof(Size), values, width);
        return piece;
    }

    // Asks for the workspace after every other piece, then plans what comes before the tiles.
    void begin() {
        std::vector<Size> words(samples_.size() * sizeof(Sample) / sizeof(Size));
        std::memcpy(words.data(), samples_.data(), words.size() * sizeof(Size));
        const std::size_t together = n_groups_ > 1 ? (samples_.size() + n_groups_ - 1) / n_groups_ : 1;
        const auto samples = describe(words, together * sizeof(Sample) / sizeof(Size));
        samples_at_ = {samples.offset};
        std::vector<Size> first_sample{0}, first_piece{0};
        for (std::size_t s = 0; s < samples_.size(); ++s) {
            if (s && samples_[s].group != samples_[s - 1].group) first_sample.push_back(s);
            const Size pieces = cuda::tiles_across(samples_[s].count, cuda::ColumnSums<T>::kRows);
            first_piece.push_back(first_piece.back() + pieces);
        }
        first_sample.push_back(samples_.size());
        const bool centred = std::any_of(passes_.begin(), passes_.end(), [](const Pass& p) { return p.gram(); });
        const auto pieces = describe(first_piece, together), groups = describe(first_sample, 1);
        const std::size_t rows = n_panels_ * kPanel;
        const auto sums = space.template room<double>(centred ? first_piece.back() * d_ : 0);
        means_ = space.template room<double>(centred ? n_groups_ * d_ : 0);
        panels_ = space.template room<T>(rows * depth());
        norms_ = space.template room<T>(rows), weights_ = space.template room<T>(rows);
        if (Shape<T>(device_, Pairing::Gram).tensor)
            norms_of_strips_ = space.template room<T>(rows * cuda::tiles_across(depth(), int(cuda::Pack<T>::kStrip)));
        space.allocate(device_);
        for (cuda::DescribeTask task : description_.tasks()) {
            task.to = space[Workspace::Piece<Size>{0}];
            launch("describe", blocks_for(cuda::tiles_across(description_.most_values(), cuda::Describe::kThreads)),
                   task);
        }
        if (!centred) return;
        const Size n = samples_.size();
        launch(typed<T>("column_sums"), first_piece.back() * cuda::tiles_across(d_, cuda::ColumnSums<T>::kColumns),
               cuda::ColumnSumsTask<T>{this->samples(), space[pieces], n, d_, space[sums]});
        launch(typed<T>("means"), n_groups_ * cuda::tiles_across(d_, cuda::Means<T>::kThreads),
               cuda::MeansTask<T>{this->samples(), space[groups], space[pieces], d_, space[sums], space[means_]});
    }

    // Packs all samples for a pass.
    cuda::Packed<T> pack(const Pass& pass) { return pack(pass, shape(pass).form()); }
    cuda::Packed<T> pack(const Pass& pass, cuda::Form form) {
        T* const norms = pass.gram() ? space[norms_] : nullptr;
        const bool parts = form == cuda::Form::TwoParts;  // which have kernels for norms of their own
        const std::size_t strips = cuda::tiles_across(depth(), int(cuda::Pack<T>::kStrip));
        const bool by_strips = norms && strips > 1 && form == cuda::Form::Rounded;
        T* const norms_of_strips = by_strips ? space[norms_of_strips_] : nullptr;
        launch(typed<T>("pack"), n_panels_ * strips,
               cuda::PackTask<T>{samples(), samples_.size(), d_, depth(), pass.gram() ? space[means_] : nullptr,
                                 pass.scale, form, space[panels_], parts ? nullptr : norms, space[weights_],
                                 norms_of_strips});
        if constexpr (std::is_same_v<T, float>)
            if (by_strips) launch("add_norms", n_panels_, cuda::AddNormsTask{norms_of_strips, strips, norms});
        if (norms && !by_strips && (parts || strips > 1))
            launch("norms_" + (parts ? shape(pass).name : type_name<T>()), n_panels_,
                   cuda::NormsTask<T>{space[panels_], depth(), norms});
        return {space[panels_], norms, space[weights_], d_, depth()};
    }

    const double* means() const { return space[means_]; }  // (groups, d), where a pass subtracts them

    // diagonals[s] = sum_i w_i^2 k(x_i, x_i) of every sample.
    void add_diagonals(const KernelSum& kernel, double* diagonals) {
        const SelfKernel self = self_kernel(Run{engines_of("base"), 1, nullptr}, kernel);
        std::size_t from = 0;
        do {
            const std::size_t count = std::min<std::size_t>(cuda::kMaxTerms, self.terms.size() - from);
            launch(typed<T>("diagonals"), samples_.size(),
                   cuda::DiagonalTask<T>{samples(), d_, from ? 0.0 : self.at_zero,
                                         terms_of<double>(self.terms.data() + from, count), from > 0, diagonals});
            from += count;
        } while (from < self.terms.size());
    }

    static int side() { return std::is_same_v<T, float> ? cuda::Large::kSide : cuda::Wide::kSide; }
    std::size_t depth() const { return (d_ + kSlab - 1) / kSlab * kSlab; }
    std::size_t tiles(std::size_t left, std::size_t right) const {
        const Size down = cuda::tiles_across(samples_[left].count, side());
        return left == right ? cuda::tiles_in_triangle(down) : down * cuda::tiles_across(samples_[right].count, side());
    }
    // Tiles whose sum is one partial: few enough that blocks of threads end together, so many that partials are few.
    unsigned run_tiles(Size n_tiles) const {
        return unsigned(std::max<Size>({1, n_tiles / (device_.processors * Size(64)), n_tiles >> 30}));
    }
    // Blocks that take many tiles each: enough to fill the GPU twice over.
    std::size_t blocks_for(std::size_t tiles) const {
        return std::min<std::size_t>(tiles, std::size_t(device_.processors) * 4);
    }

  private:
    const Device& device_;
    std::size_t d_;
    std::vector<Pass> passes_;
    std::vector<Sample> samples_;
    Description description_;
    Size n_panels_ = 0, n_groups_ = 0;
    Workspace::Piece<Sample> samples_at_{};
    Workspace::Piece<double> means_{};
    Workspace::Piece<T> panels_{}, norms_{}, weights_{}, norms_of_strips_{};
};

}  // namespace
}  // namespace isthmus::gpu
