// Sums of kernel values over pairs of blocks: each block is packed once, however many pairs use it.
#include <algorithm>
#include <memory>

#include "prepare.hpp"

namespace isthmus {
namespace {

// Items sorted by group: those of group g are order[begin[g]] to order[begin[g + 1]].
struct ByGroup {
    std::vector<std::size_t> order, begin;
};

template <class GroupOf>
ByGroup by_group(std::size_t n_items, std::size_t n_groups, GroupOf group_of) {
    ByGroup sorted{std::vector<std::size_t>(n_items), std::vector<std::size_t>(n_groups + 1, 0)};
    for (std::size_t i = 0; i < n_items; ++i) ++sorted.begin[group_of(i) + 1];
    for (std::size_t g = 0; g < n_groups; ++g) sorted.begin[g + 1] += sorted.begin[g];
    std::vector<std::size_t> next(sorted.begin.begin(), sorted.begin.end() - 1);
    for (std::size_t i = 0; i < n_items; ++i) sorted.order[next[group_of(i)]++] = i;
    return sorted;
}

// The sums of one group after another; the memory for one is kept for the next.
template <class T>
class GroupSums {
  public:
    GroupSums(const std::vector<Block<T>>& blocks, std::size_t d, const std::vector<Pair>& pairs,
              const std::vector<Pass>& passes, const ByGroup& group_blocks, const ByGroup& group_pairs)
        : blocks_(blocks),
          d_(d),
          pairs_(pairs),
          passes_(passes),
          group_blocks_(group_blocks),
          group_pairs_(group_pairs),
          first_panel_(blocks.size()),
          mean_(d) {}

    void add(const Run& run, std::size_t group, double* sums) {
        lay_out(run, group);
        for (const Pass& pass : passes_) {
            pack(run, pass);
            Place next{group_pairs_.begin[group], 0, 0};
            while (list_pieces(run, group, next)) add_pieces(run, pass, sums);
        }
    }

  private:
    struct Piece {
        std::size_t pair, left_begin, left_end, right_begin, right_end;
    };
    struct Place {
        std::size_t pair, left, right;  // number in the group's list, tile, panel
    };

    void lay_out(const Run& run, std::size_t group);
    bool list_pieces(const Run& run, std::size_t group, Place& next);
    void pack(const Run& run, const Pass& pass);
    void add_pieces(const Run& run, const Pass& pass, double* sums);

    const std::vector<Block<T>>& blocks_;
    const std::size_t d_;
    const std::vector<Pair>& pairs_;
    const std::vector<Pass>& passes_;
    const ByGroup &group_blocks_, &group_pairs_;

    std::vector<std::size_t> first_panel_;  // of each block of the whole list
    std::vector<double> mean_;
    std::vector<Rows<T>> rows_;
    std::vector<Sample<T>> samples_;
    Packed<T> packed_;
    Buffer<T> weights_;
    std::vector<Piece> pieces_;
    std::vector<std::size_t> bundles_;  // pieces handed out together, so that small blocks stay cheap
    std::vector<double> partial_;
};

// Where each block's panels start, and there 1 or the weight of each row, 0 for rows that only fill a panel.
template <class T>
void GroupSums<T>::lay_out(const Run& run, std::size_t group) {
    const std::size_t width = engine_of<T>(run).cols;
    rows_.clear();
    samples_.clear();
    std::size_t n_panels = 0;
    for (std::size_t i = group_blocks_.begin[group]; i < group_blocks_.begin[group + 1]; ++i) {
        const std::size_t b = group_blocks_.order[i];
        first_panel_[b] = n_panels;
        rows_.push_back(blocks_[b].rows);
        samples_.push_back({blocks_[b].rows, mean_.data(), n_panels});
        n_panels += panels_in(blocks_[b].rows.count, width);
    }
    weights_.fit(n_panels * width);
    std::fill_n(weights_.data(), n_panels * width, T(0));
    for (std::size_t i = group_blocks_.begin[group]; i < group_blocks_.begin[group + 1]; ++i) {
        const Block<T>& block = blocks_[group_blocks_.order[i]];
        T* to = weights_.data() + first_panel_[group_blocks_.order[i]] * width;
        if (block.weights)
            std::copy_n(block.weights, block.rows.count, to);
        else
            std::fill_n(to, block.rows.count, T(1));
    }
}

// The tiles of all pairs of the group, from `next` on, in pieces that depend on nothing but the sizes: as many as fit
// into a list of bounded memory, which is written soon enough for Ctrl-C. False when none is left.
template <class T>
bool GroupSums<T>::list_pieces(const Run& run, std::size_t group, Place& next) {
    constexpr double kBundleCost = 1 << 18;  // vector operations
    constexpr std::size_t kPieces = 1 << 16;
    const Engine<T>& engine = engine_of<T>(run);
    const TaskShape shape = task_shape(engine, d_);
    pieces_.clear();
    bundles_.assign(1, 0);
    double cost = 0;
    for (; next.pair < group_pairs_.begin[group + 1]; next = {next.pair + 1, 0, 0}) {
        const std::size_t p = group_pairs_.order[next.pair];
        const bool same = pairs_[p].left == pairs_[p].right;
        const std::size_t n_left = panels_in(blocks_[pairs_[p].left].rows.count, engine.rows);
        const std::size_t n_right = panels_in(blocks_[pairs_[p].right].rows.count, engine.cols);
        for (; next.left < n_left; next.left += shape.left_tiles, next.right = 0)
            for (; next.right < n_right; next.right += shape.right_panels) {
                const std::size_t left_end = std::min(next.left + shape.left_tiles, n_left);
                const std::size_t right_end = std::min(next.right + shape.right_panels, n_right);
                const bool below_diagonal = right_end * engine.cols <= next.left * engine.rows + 1;
                if (same && below_diagonal) continue;
                if (pieces_.size() == kPieces) return true;
                pieces_.push_back({p, next.left, left_end, next.right, right_end});
                cost += double((left_end - next.left) * (right_end - next.right)) * tile_cost(engine, d_);
                if (cost > kBundleCost || pieces_.size() == kPieces) {
                    bundles_.push_back(pieces_.size());
                    cost = 0;
                }
            }
    }
    if (bundles_.back() != pieces_.size()) bundles_.push_back(pieces_.size());
    return !pieces_.empty();
}

template <class T>
void GroupSums<T>::pack(const Run& run, const Pass& pass) {
    if (pass.gram()) mean_of(run, rows_, d_, mean_.data());
    pack_samples(run, samples_, d_, pass, packed_);
}

template <class T>
void GroupSums<T>::add_pieces(const Run& run, const Pass& pass, double* sums) {
    const Engine<T>& engine = engine_of<T>(run);
    Term alone = pass.terms[0];  // a lone weight is applied once, in float64
    Terms terms = pass.view();
    double weight = 1;
    if (terms.count == 1) {
        std::swap(weight, alone.weight);
        terms.data = &alone;
    }
    partial_.resize(pieces_.size());
    run_tasks(bundles_.size() - 1, run.n_threads, run.interrupted, [&](std::size_t bundle, unsigned) {
        const FlushDenormals flush;
        for (std::size_t i = bundles_[bundle]; i < bundles_[bundle + 1]; ++i) {
            const Piece& piece = pieces_[i];
            const Pair pair = pairs_[piece.pair];
            const std::size_t left = first_panel_[pair.left], right = first_panel_[pair.right];
            partial_[i] = engine.sum({{packed_.panels(left), packed_.panels(right), d_, piece.left_begin,
                                       piece.left_end, piece.right_begin, piece.right_end, terms, packed_.guard},
                                      weights_.data() + left * engine.cols,
                                      weights_.data() + right * engine.cols,
                                      pair.left == pair.right});
        }
    });
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
        const Pair pair = pairs_[pieces_[i].pair];
        sums[pieces_[i].pair] += weight * (pair.left == pair.right ? 2 * partial_[i] : partial_[i]);
    }
}

}  // namespace

template <class T>
void block_sums(const Run& wanted, const std::vector<Block<T>>& given, std::size_t d, const std::vector<Pair>& pairs,
                const KernelSum& kernel, double* sums, double* diagonals) {
    std::vector<Block<T>> blocks = given;
    const bool crossing =
        std::any_of(pairs.begin(), pairs.end(), [&](Pair p) { return blocks[p.left].group != blocks[p.right].group; });
    std::size_t n_groups = 1;
    for (Block<T>& b : blocks) {
        if (crossing) b.group = 0;
        n_groups = std::max(n_groups, b.group + 1);
    }
    const ByGroup group_blocks = by_group(blocks.size(), n_groups, [&](std::size_t b) { return blocks[b].group; });
    const ByGroup group_pairs =
        by_group(pairs.size(), n_groups, [&](std::size_t p) { return blocks[pairs[p].left].group; });
    double operations = 0, largest = 0;  // vector operations
    constexpr double kTogether = 1 << 19;
    std::vector<std::size_t> bundles{0};  // groups handed out together
    double bundled = 0;
    for (std::size_t g = 0; g < n_groups; ++g) {
        double cost = 0;
        for (std::size_t i = group_blocks.begin[g]; i < group_blocks.begin[g + 1]; ++i)
            cost += double(blocks[group_blocks.order[i]].rows.count) * double(d);
        for (std::size_t i = group_pairs.begin[g]; i < group_pairs.begin[g + 1]; ++i) {
            const Pair pair = pairs[group_pairs.order[i]];
            cost += double(blocks[pair.left].rows.count) * double(blocks[pair.right].rows.count) * double(d + 16) / 16;
        }
        operations += 16 * cost;
        largest = std::max(largest, cost);
        if ((bundled += cost) > kTogether / 2 || g + 1 == n_groups) {
            bundles.push_back(g + 1);
            bundled = 0;
        }
    }
    const Run run = for_work(wanted, operations);
    std::fill_n(sums, pairs.size(), 0.0);
    const std::vector<Pass> passes = passes_of(run, kernel);
    const bool many = bundles.size() > 2 && largest < kTogether;
    std::vector<std::unique_ptr<GroupSums<T>>> of_worker(many ? run.n_threads : 1);
    for (auto& work : of_worker)
        work = std::make_unique<GroupSums<T>>(blocks, d, pairs, passes, group_blocks, group_pairs);
    if (many)
        run_tasks(bundles.size() - 1, run.n_threads, run.interrupted, [&](std::size_t bundle, unsigned worker) {
            for (std::size_t g = bundles[bundle]; g < bundles[bundle + 1]; ++g) of_worker[worker]->add(run, g, sums);
        });
    else
        for (std::size_t g = 0; g < n_groups; ++g) of_worker[0]->add(run, g, sums);
    add_diagonals(run, blocks, d, self_kernel(run, kernel), diagonals);
}

template <class T>
void mmd2(const Run& run, const std::vector<TwoSamples<T>>& items, std::size_t d, const KernelSum& kernel,
          bool with_diagonal, double* values) {
    std::vector<Block<T>> blocks;
    std::vector<Pair> pairs;
    for (std::size_t i = 0; i < items.size(); ++i) {
        blocks.push_back({items[i].x, items[i].x_weights, i});
        blocks.push_back({items[i].y, items[i].y_weights, i});
        for (const Pair p : {Pair{0, 0}, Pair{1, 1}, Pair{0, 1}}) pairs.push_back({2 * i + p.left, 2 * i + p.right});
    }
    std::vector<double> sums(pairs.size()), diagonals(blocks.size());
    block_sums(run, blocks, d, pairs, kernel, sums.data(), diagonals.data());
    for (std::size_t i = 0; i < items.size(); ++i) {
        const double *const f = items[i].factors, *const sum = &sums[3 * i], *const own = &diagonals[2 * i];
        values[i] = f[0] * sum[0] + f[1] * sum[1] + 2 * f[2] * sum[2];
        if (with_diagonal) values[i] += f[0] * own[0] + f[1] * own[1];
    }
}

template void block_sums<float>(const Run&, const std::vector<Block<float>>&, std::size_t, const std::vector<Pair>&,
                                const KernelSum&, double*, double*);
template void block_sums<double>(const Run&, const std::vector<Block<double>>&, std::size_t, const std::vector<Pair>&,
                                 const KernelSum&, double*, double*);
template void mmd2<float>(const Run&, const std::vector<TwoSamples<float>>&, std::size_t, const KernelSum&, bool,
                          double*);
template void mmd2<double>(const Run&, const std::vector<TwoSamples<double>>&, std::size_t, const KernelSum&, bool,
                           double*);

}  // namespace isthmus
