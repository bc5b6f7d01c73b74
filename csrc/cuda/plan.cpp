#include "planning.hpp"

namespace isthmus::gpu {

namespace {

// The only launch for pairs of small samples; nothing for others.
std::vector<Launch> small_mmd2(const Device& device, const Stack<float>& x, const Stack<float>& y, std::size_t n_items,
                               std::size_t d, const KernelSum& kernel, const Factors& factors, bool with_diagonal,
                               double* values) {
    const bool deep = d > 128;
    if (device.capability < 80 || d > (is_large(device) ? 256u : 128u)) return {};
    if (x.first.count + y.first.count > std::size_t(cuda::kSmallRows)) return {};
    const Run run{engines_of("base"), 1, nullptr};
    const std::vector<Pass> passes = passes_of(run, kernel);
    if (passes.size() != 1 || !passes[0].gram()) return {};
    const std::vector<Part<float>> parts = parts_of<float>(passes[0], d);
    if (parts.size() != 1) return {};
    const auto stack_of = [](const Stack<float>& s) {
        return cuda::SmallStack{s.first.data, s.weights, Size(s.item), Size(s.first.stride)};
    };
    const cuda::SmallTask task{stack_of(x),
                               stack_of(y),
                               x.first.count,
                               y.first.count,
                               d,
                               n_items,
                               parts[0].terms,
                               float(passes[0].scale),
                               with_diagonal ? self_kernel(run, kernel).at_zero : 0.0,
                               factors_of(factors),
                               values};
    return {{std::string("small_") + (deep ? "256_" : "128_") + parts[0].values, n_items, bytes_of(task)}};
}

// The tiles of pairs of samples, cut into runs that are one partial sum each.
template <class T>
class Runs {
  public:
    // Before the plan begins; `together` pairs are an item.
    Runs(Plan<T>& plan, const std::vector<Pair>& pairs, std::size_t together) : n_pairs_(pairs.size()) {
        Size n_tiles = 0;
        for (const Pair& p : pairs) n_tiles += plan.tiles(p.left, p.right);
        run_tiles_ = plan.run_tiles(n_tiles);
        std::vector<Size> names, first_run{0};
        for (const Pair& p : pairs) {
            names.push_back(p.left), names.push_back(p.right);
            first_run.push_back(first_run.back() + (plan.tiles(p.left, p.right) + run_tiles_ - 1) / run_tiles_);
        }
        n_runs_ = first_run.back();
        partials_ = plan.space.template room<double>(n_runs_);
        pairs_ = plan.describe(names, 2 * together), first_ = plan.describe(first_run, together);
    }

    const cuda::PairOf* pairs(const Plan<T>& plan) const {
        return reinterpret_cast<const cuda::PairOf*>(plan.space[pairs_]);
    }
    const Size* first(const Plan<T>& plan) const { return plan.space[first_]; }
    double* partials(const Plan<T>& plan) const { return plan.space[partials_]; }

    // All partials, of every part of the kernel in turn; `add_up(add)` takes those of a part, `add` from the second on.
    template <class AddUp>
    void launch(Plan<T>& plan, std::size_t d, AddUp add_up) const {
        bool add = false;
        for (const Pass& pass : plan.passes()) {
            const Shape<T> shape = plan.shape(pass);
            const cuda::Packed<T> packed = plan.pack(pass);
            for (const Part<T>& part : parts_of<T>(pass, d)) {
                plan.launch("sum_" + shape.name + "_" + part.values, plan.blocks_for(n_runs_),
                            cuda::SumTask<T>{packed, part.terms, plan.samples(), pairs(plan), first(plan), n_pairs_,
                                             unsigned(n_runs_), run_tiles_, partials(plan)});
                add_up(add);
                add = true;
            }
        }
    }

  private:
    Size n_pairs_, n_runs_ = 0;
    unsigned run_tiles_ = 0;
    Workspace::Piece<double> partials_{};
    Workspace::Piece<Size> pairs_{}, first_{};
};

}  // namespace

template <class T>
std::vector<Launch> mmd2(const Device& device, const Stack<T>& x, const Stack<T>& y, std::size_t n_items, std::size_t d,
                         const KernelSum& kernel, bool fast, const Factors& factors, bool with_diagonal,
                         double* values) {
    if constexpr (std::is_same_v<T, float>) {
        std::vector<Launch> small = small_mmd2(device, x, y, n_items, d, kernel, factors, with_diagonal, values);
        if (!small.empty()) return small;
    }
    Plan<T> plan(device, d, kernel, fast);
    std::vector<Pair> pairs;
    for (std::size_t i = 0; i < n_items; ++i) {
        for (const Stack<T>* s : {&x, &y}) plan.add(s->rows_of(i), s->weights_of(i), i);
        for (const Pair p : {Pair{0, 0}, Pair{1, 1}, Pair{0, 1}}) pairs.push_back({2 * i + p.left, 2 * i + p.right});
    }
    const auto diagonals_at = plan.space.template room<double>(with_diagonal ? 2 * n_items : 0);
    const Runs<T> runs(plan, pairs, 3);
    plan.begin();
    double* const diagonals = with_diagonal ? plan.space[diagonals_at] : nullptr;
    if (with_diagonal) plan.add_diagonals(kernel, diagonals);
    runs.launch(plan, d, [&](bool add) {
        plan.launch("add_items", n_items,
                    cuda::AddItemsTask{runs.first(plan), runs.partials(plan), factors_of(factors),
                                       add ? nullptr : diagonals, values, add});
    });
    return std::move(plan.launches);
}

template <class T>
std::vector<Launch> block_sums(const Device& device, const std::vector<Block<T>>& blocks, std::size_t d,
                               const std::vector<Pair>& pairs, const KernelSum& kernel, bool fast, double* sums,
                               double* diagonals) {
    Plan<T> plan(device, d, kernel, fast);
    const auto lower = [](const Block<T>& a, const Block<T>& b) { return a.group < b.group; };
    bool one_mean = !std::is_sorted(blocks.begin(), blocks.end(), lower);
    for (const Pair& p : pairs) one_mean = one_mean || blocks[p.left].group != blocks[p.right].group;
    for (const Block<T>& b : blocks) plan.add(b.rows, b.weights, one_mean ? 0 : b.group);
    const Runs<T> runs(plan, pairs, 1);
    plan.begin();
    runs.launch(plan, d, [&](bool add) {
        plan.launch("add_partials", pairs.size(),
                    cuda::AddTask{runs.pairs(plan), runs.first(plan), runs.partials(plan), sums, add});
    });
    plan.add_diagonals(kernel, diagonals);
    return std::move(plan.launches);
}

template <class T>
std::vector<Launch> kernel_matrix(const Device& device, Rows<T> x, Rows<T> y, std::size_t d, const KernelSum& kernel,
                                  bool fast, T* out, std::size_t out_stride) {
    Plan<T> plan(device, d, kernel, fast);
    const bool own = x.data == y.data && x.stride == y.stride && x.count == y.count;
    const std::size_t left = plan.add(x, nullptr, 0), right = own ? left : plan.add(y, nullptr, 0);
    plan.begin();
    const Size n_tiles = plan.tiles(left, right);
    bool add = false;
    for (const Pass& pass : plan.passes()) {
        const Shape<T> shape = plan.shape(pass);
        const cuda::Packed<T> packed = plan.pack(pass);
        for (const Part<T>& part : parts_of<T>(pass, d)) {
            plan.launch("store_" + shape.name + "_" + part.values, plan.blocks_for(n_tiles),
                        cuda::StoreTask<T>{packed, part.terms, plan.sample(left), plan.sample(right), n_tiles, out,
                                           out_stride, add});
            add = true;
        }
    }
    return std::move(plan.launches);
}

template <class T>
std::vector<Launch> kernel_matmul(const Device& device, Rows<T> x, Rows<T> y, std::size_t d, const T* v,
                                  std::size_t n_columns, const KernelSum& kernel, bool fast, bool skip_diagonal,
                                  T* out) {
    Plan<T> plan(device, d, kernel, fast);
    const bool own = x.data == y.data && x.stride == y.stride && x.count == y.count;
    const std::size_t left = plan.add(x, nullptr, 0), right = own ? left : plan.add(y, nullptr, 0);
    const std::size_t down = cuda::tiles_across(x.count, plan.side()),
                      across = cuda::tiles_across(y.count, plan.side());
    // Slices of the right side until the blocks fill the GPU some times over; each costs a partial result.
    const std::size_t wanted = std::max<std::size_t>(1, std::size_t(device.processors) * 4 / down);
    const std::size_t right_tiles = (across + wanted - 1) / wanted, n_slices = (across + right_tiles - 1) / right_tiles;
    const auto partials_at = plan.space.template room<double>(n_slices * x.count * n_columns);
    plan.begin();
    double* const partials = plan.space[partials_at];
    bool add = false;
    for (const Pass& pass : plan.passes()) {
        const Shape<T> shape = plan.shape(pass);
        const cuda::Packed<T> packed = plan.pack(pass);
        for (const Part<T>& part : parts_of<T>(pass, d)) {
            plan.launch("matmul_" + shape.name + "_" + part.values, down * n_slices,
                        cuda::MatmulTask<T>{packed, part.terms, plan.sample(left), plan.sample(right), v, n_columns,
                                            right_tiles, n_slices, skip_diagonal, add, partials});
            add = true;
        }
    }
    const std::size_t size = x.count * n_columns;
    plan.launch(typed<T>("add_slices"), std::min<std::size_t>((size + 255) / 256, std::size_t(device.processors) * 16),
                cuda::AddSlicesTask<T>{partials, n_slices, size, out});
    return std::move(plan.launches);
}

#define ISTHMUS_X(T)                                                                                                   \
    template std::vector<Launch> mmd2<T>(const Device&, const Stack<T>&, const Stack<T>&, std::size_t, std::size_t,    \
                                         const KernelSum&, bool, const Factors&, bool, double*);                       \
    template std::vector<Launch> block_sums<T>(const Device&, const std::vector<Block<T>>&, std::size_t,               \
                                               const std::vector<Pair>&, const KernelSum&, bool, double*, double*);    \
    template std::vector<Launch> kernel_matrix<T>(const Device&, Rows<T>, Rows<T>, std::size_t, const KernelSum&,      \
                                                  bool, T*, std::size_t);                                              \
    template std::vector<Launch> kernel_matmul<T>(const Device&, Rows<T>, Rows<T>, std::size_t, const T*, std::size_t, \
                                                  const KernelSum&, bool, bool, T*);
ISTHMUS_X(float)
ISTHMUS_X(double)
#undef ISTHMUS_X

}  // namespace isthmus::gpu
