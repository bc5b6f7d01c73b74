// Sums of kernel values over pairs of blocks: each block is packed once, however many pairs use it.
#include <algorithm>

#include "prepare.hpp"

namespace isthmus {
namespace {

constexpr std::size_t kChunkBytes = std::size_t(1) << 22;  // packed rows of groups worked on together: stay in cache

// The blocks and pairs that are worked on together: some groups, whole.
struct Chunk {
    std::vector<std::size_t> blocks, pairs;
    std::size_t first_group, last_group;
};

// One pass over one chunk. `place` numbers are positions in the chunk's list of blocks.
template <class T>
class ChunkSums {
  public:
    ChunkSums(const Run& run, const std::vector<Block<T>>& blocks, std::size_t d, const std::vector<Pair>& pairs,
              const Chunk& chunk)
        : run_(run), engine_(engine_of<T>(run)), blocks_(blocks), d_(d), pairs_(pairs), chunk_(chunk) {
        lay_out();
    }

    void add(const Pass& pass, double* sums);

  private:
    struct Piece {
        std::size_t pair, left, right, n_left, n_right;  // panels, counted from the block's first
    };

    void lay_out();
    void find_means();
    void pack(const Pass& pass);
    Buffer<T> weights(std::size_t width, const std::vector<std::size_t>& first_panel, std::size_t n_panels) const;
    std::vector<Piece> pieces(std::vector<std::size_t>& bundles) const;

    const Run& run_;
    const Engine<T>& engine_;
    const std::vector<Block<T>>& blocks_;
    const std::size_t d_;
    const std::vector<Pair>& pairs_;
    const Chunk& chunk_;

    std::vector<double> means_;                          // (groups of the chunk, d)
    std::vector<std::size_t> first_left_, first_right_;  // panel, for each block of the whole list
    Packed<T> left_, right_;
    Buffer<T> left_weights_, right_weights_;
};

template <class T>
void ChunkSums<T>::find_means() {
    const std::size_t n_groups = chunk_.last_group - chunk_.first_group;
    means_.resize(n_groups * d_);
    std::vector<std::vector<Rows<T>>> samples(n_groups);
    for (std::size_t b : chunk_.blocks) samples[blocks_[b].group - chunk_.first_group].push_back(blocks_[b].rows);
    const auto find = [&](std::size_t g, unsigned) { mean_of(run_, samples[g], d_, means_.data() + g * d_); };
    if (n_groups == 1)
        find(0, 0);  // one large group: its own pieces are shared out instead
    else
        run_tasks(n_groups, run_.n_threads, run_.interrupted, find);
}

// 1 or the block's weight for each row of each panel, 0 for rows that only fill a panel.
template <class T>
Buffer<T> ChunkSums<T>::weights(std::size_t width, const std::vector<std::size_t>& first_panel,
                                std::size_t n_panels) const {
    Buffer<T> all(n_panels * width);
    std::fill_n(all.data(), n_panels * width, T(0));
    for (std::size_t b : chunk_.blocks)
        for (std::size_t i = 0; i < blocks_[b].rows.count; ++i)
            all[first_panel[b] * width + i] = blocks_[b].weights ? blocks_[b].weights[i] : T(1);
    return all;
}

// Where each block's panels start, and its weights there.
template <class T>
void ChunkSums<T>::lay_out() {
    first_left_.assign(blocks_.size(), 0);
    first_right_.assign(blocks_.size(), 0);
    std::size_t n_left = 0, n_right = 0;
    for (std::size_t b : chunk_.blocks) {
        first_left_[b] = n_left;
        first_right_[b] = n_right;
        n_left += panels_in(blocks_[b].rows.count, engine_.rows);
        n_right += panels_in(blocks_[b].rows.count, engine_.cols);
    }
    left_weights_ = weights(engine_.rows, first_left_, n_left);
    right_weights_ = weights(engine_.cols, first_right_, n_right);
}

template <class T>
void ChunkSums<T>::pack(const Pass& pass) {
    if (pass.gram()) find_means();
    std::vector<Sample<T>> lefts, rights;
    for (std::size_t b : chunk_.blocks) {
        const double* centre = pass.gram() ? means_.data() + (blocks_[b].group - chunk_.first_group) * d_ : nullptr;
        lefts.push_back({blocks_[b].rows, centre, first_left_[b]});
        rights.push_back({blocks_[b].rows, centre, first_right_[b]});
    }
    left_ = pack_samples(run_, lefts, d_, pass, Side::Left);
    right_ = pack_samples(run_, rights, d_, pass, Side::Right);
    if (pass.gram()) add_raw_if_needed(run_, lefts, left_, rights, right_, pass);
}

// The tiles of all pairs in pieces; bundles of pieces are handed out together, so that small blocks stay cheap.
template <class T>
std::vector<typename ChunkSums<T>::Piece> ChunkSums<T>::pieces(std::vector<std::size_t>& bundles) const {
    constexpr double kBundleCost = 1 << 18;  // vector operations
    const TaskShape shape = task_shape(engine_, d_);
    std::vector<Piece> all;
    bundles.assign(1, 0);
    double cost = 0;
    for (std::size_t p : chunk_.pairs) {
        const bool same = pairs_[p].left == pairs_[p].right;
        const std::size_t n_left = panels_in(blocks_[pairs_[p].left].rows.count, engine_.rows);
        const std::size_t n_right = panels_in(blocks_[pairs_[p].right].rows.count, engine_.cols);
        for (std::size_t left = 0; left < n_left; left += shape.left_panels)
            for (std::size_t right = 0; right < n_right; right += shape.right_panels) {
                const std::size_t lefts = std::min(shape.left_panels, n_left - left);
                const std::size_t rights = std::min(shape.right_panels, n_right - right);
                const bool below_diagonal = (right + rights) * engine_.cols <= left * engine_.rows + 1;
                if (same && below_diagonal) continue;
                all.push_back({p, left, right, lefts, rights});
                cost += double(lefts * rights) * tile_cost(engine_, d_);
                if (cost > kBundleCost) {
                    bundles.push_back(all.size());
                    cost = 0;
                }
            }
    }
    if (bundles.back() != all.size()) bundles.push_back(all.size());
    return all;
}

template <class T>
void ChunkSums<T>::add(const Pass& pass, double* sums) {
    pack(pass);
    std::vector<std::size_t> bundles;
    const std::vector<Piece> all = pieces(bundles);
    std::vector<double> partial(all.size());
    Pass plain = pass;  // a lone weight is applied once, in float64
    double weight = 1;
    if (plain.terms.size() == 1) std::swap(weight, plain.terms[0].weight);
    const Guard guard = guard_of<T>(pass, d_);
    run_tasks(bundles.size() - 1, run_.n_threads, run_.interrupted, [&](std::size_t bundle, unsigned) {
        const FlushDenormals flush;
        for (std::size_t i = bundles[bundle]; i < bundles[bundle + 1]; ++i) {
            const Piece& piece = all[i];
            const Pair pair = pairs_[piece.pair];
            const std::size_t left = first_left_[pair.left] + piece.left,
                              right = first_right_[pair.right] + piece.right;
            partial[i] = engine_.sum({{left_.panels(left, piece.n_left), right_.panels(right, piece.n_right), d_,
                                       piece.left * engine_.rows, piece.right * engine_.cols, plain.view(), guard},
                                      left_weights_.data() + left * engine_.rows,
                                      right_weights_.data() + right * engine_.cols,
                                      pair.left == pair.right});
        }
    });
    for (std::size_t i = 0; i < all.size(); ++i) {
        const Pair pair = pairs_[all[i].pair];
        sums[all[i].pair] += weight * (pair.left == pair.right ? 2 * partial[i] : partial[i]);
    }
}

// Groups together until their packed rows fill a private cache or two; a large group is a chunk of its own.
template <class T>
std::vector<Chunk> chunks_of(const std::vector<Block<T>>& blocks, std::size_t d, const std::vector<Pair>& pairs,
                             std::size_t n_groups) {
    std::vector<std::size_t> rows(n_groups), chunk_of(n_groups);
    for (const Block<T>& b : blocks) rows[b.group] += b.rows.count;
    std::vector<Chunk> chunks;
    std::size_t bytes = 0;
    for (std::size_t g = 0; g < n_groups; ++g) {
        if (chunks.empty() || bytes > kChunkBytes) {
            chunks.push_back({{}, {}, g, g});
            bytes = 0;
        }
        bytes += 2 * rows[g] * d * sizeof(T);
        chunks.back().last_group = g + 1;
        chunk_of[g] = chunks.size() - 1;
    }
    for (std::size_t b = 0; b < blocks.size(); ++b) chunks[chunk_of[blocks[b].group]].blocks.push_back(b);
    for (std::size_t p = 0; p < pairs.size(); ++p) chunks[chunk_of[blocks[pairs[p].left].group]].pairs.push_back(p);
    return chunks;
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
    double operations = 0;
    for (const Block<T>& b : blocks) operations += 16.0 * double(b.rows.count) * double(d);
    for (Pair p : pairs)
        operations += double(blocks[p.left].rows.count) * double(blocks[p.right].rows.count) * double(d + 16);
    const Run run = for_work(wanted, operations);
    std::fill_n(sums, pairs.size(), 0.0);
    const std::vector<Pass> passes = passes_of(kernel);
    for (const Chunk& chunk : chunks_of(blocks, d, pairs, n_groups)) {
        ChunkSums<T> work(run, blocks, d, pairs, chunk);
        for (const Pass& pass : passes) work.add(pass, sums);
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
