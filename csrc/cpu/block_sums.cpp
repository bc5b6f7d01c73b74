// Sums of kernel values over pairs of blocks: each block is packed once, however many pairs use it.
#include <algorithm>
#include <cmath>

#include "prepare.hpp"

namespace isthmus {
namespace {

constexpr std::size_t kChunkBytes = std::size_t(1) << 24;  // packed rows of small groups that are worked on together

// A block as the tiles want it: where its panels start in the buffers shared by the chunk.
struct Place {
    std::size_t left_panel, right_panel;
};

template <class T>
class Sums {
  public:
    Sums(const Run& run, const std::vector<Block<T>>& blocks, std::size_t d, const std::vector<Pair>& pairs,
         double* sums)
        : run_(run), engine_(engine_of<T>(run)), blocks_(blocks), d_(d), pairs_(pairs), sums_(sums) {}

    // Adds one pass over some blocks and the pairs among them; returns the groups that the Gram trick cannot serve,
    // whose pairs have not been added.
    std::vector<bool> add(const Pass& pass, const std::vector<std::size_t>& members,
                          const std::vector<std::size_t>& pairs, std::size_t n_groups);

  private:
    void lay_out(const std::vector<std::size_t>& members);
    void pack(const Pass& pass, const std::vector<std::size_t>& members, std::size_t n_groups);
    std::vector<bool> beyond_reach(const Pass& pass, const std::vector<std::size_t>& members,
                                   std::size_t n_groups) const;
    void sum_tiles(const Pass& pass, const std::vector<std::size_t>& pairs);

    const Run& run_;
    const Engine<T>& engine_;
    const std::vector<Block<T>>& blocks_;
    const std::size_t d_;
    const std::vector<Pair>& pairs_;
    double* const sums_;

    std::vector<Place> places_;
    std::size_t n_left_ = 0, n_right_ = 0;  // panels
    Buffer<T> left_, right_, left_norms_, right_norms_, left_weights_, right_weights_;
};

template <class T>
void Sums<T>::lay_out(const std::vector<std::size_t>& members) {
    places_.assign(blocks_.size(), {0, 0});
    n_left_ = n_right_ = 0;
    for (std::size_t b : members) {
        places_[b] = {n_left_, n_right_};
        n_left_ += panels_in(blocks_[b].rows.count, engine_.rows);
        n_right_ += panels_in(blocks_[b].rows.count, engine_.cols);
    }
    left_ = Buffer<T>(n_left_ * engine_.rows * d_);
    right_ = Buffer<T>(n_right_ * engine_.cols * d_);
    left_norms_ = Buffer<T>(n_left_ * engine_.rows);
    right_norms_ = Buffer<T>(n_right_ * engine_.cols);
    left_weights_ = Buffer<T>(n_left_ * engine_.rows);
    right_weights_ = Buffer<T>(n_right_ * engine_.cols);
}

template <class T>
void fill_weights(const Block<T>& block, std::size_t first, std::size_t count, T* out) {
    for (std::size_t i = first; i < first + count; ++i)
        *out++ = i >= block.rows.count ? T(0) : block.weights ? block.weights[i] : T(1);
}

template <class T>
void Sums<T>::pack(const Pass& pass, const std::vector<std::size_t>& members, std::size_t n_groups) {
    const bool gram = pass.pairing == Pairing::Gram;
    Buffer<double> means(pass.centred() ? n_groups * d_ : 0);
    if (pass.centred()) {
        std::vector<std::vector<Rows<T>>> samples(n_groups);
        for (std::size_t b : members) samples[blocks_[b].group].push_back(blocks_[b].rows);
        const auto find_mean = [&](std::size_t g, unsigned) {
            if (!samples[g].empty()) mean_of(run_, samples[g], d_, means.data() + g * d_);
        };
        if (n_groups == 1)
            find_mean(0, 0);
        else
            run_tasks(n_groups, run_.n_threads, run_.interrupted, find_mean);
    }
    struct Piece {
        std::size_t block, first_row, n_rows;
    };
    // Rows in a piece: a common multiple of both panel widths.
    const std::size_t step =
        engine_.rows * engine_.cols * std::max<std::size_t>(1, (1u << 16) / (engine_.rows * engine_.cols * d_));
    std::vector<Piece> pieces;
    for (std::size_t b : members)
        for (std::size_t first = 0; first < blocks_[b].rows.count; first += step)
            pieces.push_back({b, first, std::min(step, blocks_[b].rows.count - first)});
    run_tasks(pieces.size(), run_.n_threads, run_.interrupted, [&](std::size_t i, unsigned) {
        const auto [b, first, n] = pieces[i];
        const Block<T>& block = blocks_[b];
        const double* centre = pass.centred() ? means.data() + block.group * d_ : nullptr;
        const auto one_side = [&](std::size_t width, std::size_t panel0, double times, T* panels, T* norms,
                                  T* weights) {
            const std::size_t row = panel0 * width + first;
            engine_.pack({block.rows.data + std::ptrdiff_t(first) * block.rows.stride, block.rows.stride, 1, nullptr, n,
                          d_, d_, centre, pass.scale, times, width, panels + row * d_, gram ? norms + row : nullptr});
            fill_weights(block, first, panels_in(n, width) * width, weights + row);
        };
        one_side(engine_.rows, places_[b].left_panel, gram ? -2.0 : 1.0, left_.data(), left_norms_.data(),
                 left_weights_.data());
        one_side(engine_.cols, places_[b].right_panel, 1.0, right_.data(), right_norms_.data(), right_weights_.data());
    });
}

template <class T>
std::vector<bool> Sums<T>::beyond_reach(const Pass& pass, const std::vector<std::size_t>& members,
                                        std::size_t n_groups) const {
    std::vector<bool> far(n_groups, false);
    if (pass.pairing != Pairing::Gram) return far;
    for (std::size_t b : members) {
        const T* norms = left_norms_.data() + places_[b].left_panel * engine_.rows;
        for (std::size_t i = 0; i < blocks_[b].rows.count; ++i)
            if (double(norms[i]) > kGramReach) far[blocks_[b].group] = true;
    }
    return far;
}

template <class T>
void Sums<T>::sum_tiles(const Pass& pass, const std::vector<std::size_t>& pairs) {
    const TaskShape shape = task_shape(engine_, d_);
    struct Piece {
        std::size_t pair, left, right, n_left, n_right;
    };
    std::vector<Piece> pieces;
    std::vector<std::size_t> bundles{
        0};  // pieces handed out together, so that small blocks do not cost a hand-out each
    double cost = 0;
    for (std::size_t p : pairs) {
        const Block<T>&a = blocks_[pairs_[p].left], &b = blocks_[pairs_[p].right];
        const std::size_t n_left = panels_in(a.rows.count, engine_.rows),
                          n_right = panels_in(b.rows.count, engine_.cols);
        for (std::size_t left = 0; left < n_left; left += shape.left_panels)
            for (std::size_t right = 0; right < n_right; right += shape.right_panels) {
                const std::size_t lefts = std::min(shape.left_panels, n_left - left);
                const std::size_t rights = std::min(shape.right_panels, n_right - right);
                if (pairs_[p].left == pairs_[p].right && (right + rights) * engine_.cols <= left * engine_.rows + 1)
                    continue;  // wholly below the diagonal
                pieces.push_back({p, left, right, lefts, rights});
                cost += double(lefts * rights) * tile_cost(engine_, d_);
                if (cost > (1 << 18)) {
                    bundles.push_back(pieces.size());
                    cost = 0;
                }
            }
    }
    if (bundles.back() != pieces.size()) bundles.push_back(pieces.size());
    std::vector<double> partial(pieces.size());
    const bool gram = pass.pairing == Pairing::Gram;
    Pass plain = pass;  // a single weight is applied once, in float64
    double weight = 1;
    if (plain.terms.size() == 1) std::swap(weight, plain.terms[0].weight);
    run_tasks(bundles.size() - 1, run_.n_threads, run_.interrupted, [&](std::size_t bundle, unsigned) {
        const FlushDenormals flush;
        for (std::size_t i = bundles[bundle]; i < bundles[bundle + 1]; ++i) {
            const Piece& piece = pieces[i];
            const Pair pair = pairs_[piece.pair];
            const std::size_t left = places_[pair.left].left_panel + piece.left;
            const std::size_t right = places_[pair.right].right_panel + piece.right;
            partial[i] =
                engine_.sum({{left_.data() + left * engine_.rows * d_, right_.data() + right * engine_.cols * d_,
                              gram ? left_norms_.data() + left * engine_.rows : nullptr,
                              gram ? right_norms_.data() + right * engine_.cols : nullptr, piece.n_left, piece.n_right,
                              d_, piece.left * engine_.rows, piece.right * engine_.cols, plain.view()},
                             left_weights_.data() + left * engine_.rows,
                             right_weights_.data() + right * engine_.cols,
                             pair.left == pair.right});
        }
    });
    std::vector<double> totals(pairs_.size(), 0.0);
    for (std::size_t i = 0; i < pieces.size(); ++i) totals[pieces[i].pair] += partial[i];
    for (std::size_t p : pairs) sums_[p] += weight * (pairs_[p].left == pairs_[p].right ? 2 * totals[p] : totals[p]);
}

template <class T>
std::vector<bool> Sums<T>::add(const Pass& pass, const std::vector<std::size_t>& members,
                               const std::vector<std::size_t>& pairs, std::size_t n_groups) {
    lay_out(members);
    pack(pass, members, n_groups);
    std::vector<bool> far = beyond_reach(pass, members, n_groups);
    std::vector<std::size_t> near;
    for (std::size_t p : pairs)
        if (!far[blocks_[pairs_[p].left].group]) near.push_back(p);
    sum_tiles(pass, near);
    return far;
}

template <class T>
double weighted_diagonal(const Run& run, const Block<T>& block, std::size_t d, const SelfKernel& self) {
    double constant = 0, sum = 0;
    alignas(64) double u[64], value[64];
    for (std::size_t first = 0; first < block.rows.count; first += 64) {
        const std::size_t n = std::min<std::size_t>(64, block.rows.count - first);
        std::fill_n(u, 64, 0.0);
        for (std::size_t i = 0; i < n && !self.terms.empty(); ++i) {
            const T* x = block.rows.data + std::ptrdiff_t(first + i) * block.rows.stride;
            for (std::size_t k = 0; k < d; ++k) u[i] += double(x[k]) * double(x[k]);
        }
        if (!self.terms.empty())
            run.engines->f64.apply({self.terms.data(), self.terms.size(), Pairing::Dot}, u, value, 64);
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
void block_sums(const Run& run, const std::vector<Block<T>>& given, std::size_t d, const std::vector<Pair>& pairs,
                const KernelSum& kernel, double* sums, double* diagonals) {
    std::vector<Block<T>> blocks = given;
    const bool crossing =
        std::any_of(pairs.begin(), pairs.end(), [&](Pair p) { return blocks[p.left].group != blocks[p.right].group; });
    std::size_t n_groups = 1;
    for (Block<T>& b : blocks) {
        if (crossing) b.group = 0;
        n_groups = std::max(n_groups, b.group + 1);
    }
    std::fill_n(sums, pairs.size(), 0.0);
    std::vector<std::vector<std::size_t>> members(n_groups), group_pairs(n_groups);
    for (std::size_t b = 0; b < blocks.size(); ++b) members[blocks[b].group].push_back(b);
    for (std::size_t p = 0; p < pairs.size(); ++p) group_pairs[blocks[pairs[p].left].group].push_back(p);

    const std::vector<Pass> passes = passes_of(kernel);
    Sums<T> work(run, blocks, d, pairs, sums);
    for (std::size_t first = 0; first < n_groups;) {
        std::vector<std::size_t> chunk, chunk_pairs;
        std::size_t bytes = 0, last = first;
        for (; last < n_groups && (last == first || bytes < kChunkBytes); ++last) {
            for (std::size_t b : members[last]) bytes += 2 * blocks[b].rows.count * d * sizeof(T);
            chunk.insert(chunk.end(), members[last].begin(), members[last].end());
            chunk_pairs.insert(chunk_pairs.end(), group_pairs[last].begin(), group_pairs[last].end());
        }
        for (const Pass& pass : passes) {
            const std::vector<bool> far = work.add(pass, chunk, chunk_pairs, n_groups);
            std::vector<std::size_t> far_members, far_pairs;
            for (std::size_t b : chunk)
                if (far[blocks[b].group]) far_members.push_back(b);
            for (std::size_t p : chunk_pairs)
                if (far[blocks[pairs[p].left].group]) far_pairs.push_back(p);
            if (!far_pairs.empty()) work.add(by_differences(kernel), far_members, far_pairs, n_groups);
        }
        first = last;
    }
    const SelfKernel self = self_kernel(run, kernel);
    run_tasks(blocks.size(), run.n_threads, run.interrupted,
              [&](std::size_t b, unsigned) { diagonals[b] = weighted_diagonal(run, blocks[b], d, self); });
}

template void block_sums<float>(const Run&, const std::vector<Block<float>>&, std::size_t, const std::vector<Pair>&,
                                const KernelSum&, double*, double*);
template void block_sums<double>(const Run&, const std::vector<Block<double>>&, std::size_t, const std::vector<Pair>&,
                                 const KernelSum&, double*, double*);

}  // namespace isthmus
