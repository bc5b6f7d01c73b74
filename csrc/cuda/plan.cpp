#include "planning.hpp"

#include <optional>

namespace isthmus::gpu {

namespace {

// c blocks at even distances, from the first on.
std::optional<cuda::SmallStack> small_stack(const Block<float>* first, std::size_t c) {
    const auto distance = [](const float* from, const float* to) { return Size(to - from); };
    const std::size_t count = first->rows.count;
    cuda::SmallStack stack{first->rows.data, first->weights, 0, Size(first->rows.stride)};
    if (c > 1) stack.item = distance(first[0].rows.data, first[1].rows.data);
    for (std::size_t i = 0; i < c; ++i) {
        const Block<float>& b = first[i];
        const bool even = b.rows.data == stack.rows + i * stack.item && b.rows.stride == first->rows.stride;
        if (!even || b.rows.count != count || b.weights != (stack.weights ? stack.weights + i * count : nullptr))
            return {};
    }
    return stack;
}

// The only launch for pairs of small samples, blocks i and c + i, each within and across; nothing for others.
std::vector<Launch> small_sums(const Device& device, const std::vector<Block<float>>& blocks, std::size_t d,
                               const std::vector<Pair>& pairs, const KernelSum& kernel, double* sums,
                               double* diagonals) {
    const std::size_t c = blocks.size() / 2;
    const bool deep = d > 128,
               large = device.capability == 80 || device.capability / 10 == 9 || device.capability / 10 == 10;
    if (blocks.size() % 2 || pairs.size() != 3 * c || device.capability < 80 || d > (large ? 256u : 128u)) return {};
    if (blocks[0].rows.count + blocks[c].rows.count > std::size_t(cuda::kSmallRows)) return {};
    for (std::size_t p = 0; p < 3 * c; ++p) {
        const std::size_t i = p % c, left = p / c == 1 ? c + i : i, right = p / c == 0 ? i : c + i;
        if (std::size_t(pairs[p].left) != left || std::size_t(pairs[p].right) != right) return {};
        if (blocks[i].group != blocks[c + i].group) return {};
    }
    const auto x = small_stack(blocks.data(), c), y = small_stack(blocks.data() + c, c);
    const Run run{engines_of("base"), 1, nullptr};
    const std::vector<Pass> passes = passes_of(run, kernel);
    if (!x || !y || passes.size() != 1 || !passes[0].gram()) return {};
    const std::vector<Part<float>> parts = parts_of<float>(passes[0], d);
    if (parts.size() != 1) return {};
    const cuda::SmallTask task{*x,
                               *y,
                               blocks[0].rows.count,
                               blocks[c].rows.count,
                               d,
                               c,
                               parts[0].terms,
                               float(passes[0].scale),
                               self_kernel(run, kernel).at_zero,
                               sums,
                               diagonals};
    return {{std::string("small_") + (deep ? "256_" : "128_") + parts[0].values, c, bytes_of(task)}};
}

}  // namespace

template <class T>
std::vector<Launch> block_sums(const Device& device, const std::vector<Block<T>>& blocks, std::size_t d,
                               const std::vector<Pair>& pairs, const KernelSum& kernel, double* sums,
                               double* diagonals) {
    if constexpr (std::is_same_v<T, float>) {
        std::vector<Launch> small = small_sums(device, blocks, d, pairs, kernel, sums, diagonals);
        if (!small.empty()) return small;
    }
    Plan<T> plan(device, d, kernel);
    bool crosses = false;
    for (const Pair& p : pairs) crosses = crosses || blocks[p.left].group != blocks[p.right].group;
    for (const Block<T>& b : blocks) plan.add(b.rows, b.weights, crosses ? 0 : b.group);
    Size n_tiles = 0;
    for (const Pair& p : pairs) n_tiles += plan.tiles(p.left, p.right);
    const unsigned run_tiles = plan.run_tiles(n_tiles);
    std::vector<Size> names, first_run{0};
    for (const Pair& p : pairs) {
        names.push_back(p.left), names.push_back(p.right);
        first_run.push_back(first_run.back() + (plan.tiles(p.left, p.right) + run_tiles - 1) / run_tiles);
    }
    const Size n_runs = first_run.back();
    const auto pairs_at = plan.describe(names), first_at = plan.describe(first_run);
    const auto partials_at = plan.space.template room<double>(n_runs);
    plan.begin();
    const auto* const pair_list = reinterpret_cast<const cuda::PairOf*>(plan.space[pairs_at]);
    const Size* const first = plan.space[first_at];
    double* const partials = plan.space[partials_at];
    bool add = false;
    for (const Pass& pass : plan.passes()) {
        const Shape<T> shape(device, pass.pairing);
        const cuda::Packed<T> packed = plan.pack(pass);
        for (const Part<T>& part : parts_of<T>(pass, d)) {
            plan.launch("sum_" + shape.name + "_" + part.values, plan.blocks_for(n_runs),
                        cuda::SumTask<T>{packed, part.terms, plan.samples(), pair_list, first, pairs.size(),
                                         unsigned(n_runs), run_tiles, partials});
            plan.launch("add_partials", pairs.size(), cuda::AddTask{pair_list, first, partials, sums, add});
            add = true;
        }
    }
    plan.add_diagonals(kernel, diagonals);
    return std::move(plan.launches);
}

template <class T>
std::vector<Launch> kernel_matrix(const Device& device, Rows<T> x, Rows<T> y, std::size_t d, const KernelSum& kernel,
                                  T* out, std::size_t out_stride) {
    Plan<T> plan(device, d, kernel);
    const bool own = x.data == y.data && x.stride == y.stride && x.count == y.count;
    const std::size_t left = plan.add(x, nullptr, 0), right = own ? left : plan.add(y, nullptr, 0);
    plan.begin();
    const Size n_tiles = plan.tiles(left, right);
    bool add = false;
    for (const Pass& pass : plan.passes()) {
        const Shape<T> shape(device, pass.pairing);
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
                                  std::size_t n_columns, const KernelSum& kernel, bool skip_diagonal, T* out) {
    Plan<T> plan(device, d, kernel);
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
        const Shape<T> shape(device, pass.pairing);
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
    template std::vector<Launch> block_sums<T>(const Device&, const std::vector<Block<T>>&, std::size_t,               \
                                               const std::vector<Pair>&, const KernelSum&, double*, double*);          \
    template std::vector<Launch> kernel_matrix<T>(const Device&, Rows<T>, Rows<T>, std::size_t, const KernelSum&, T*,  \
                                                  std::size_t);                                                        \
    template std::vector<Launch> kernel_matmul<T>(const Device&, Rows<T>, Rows<T>, std::size_t, const T*, std::size_t, \
                                                  const KernelSum&, bool, T*);
ISTHMUS_X(float)
ISTHMUS_X(double)
#undef ISTHMUS_X

}  // namespace isthmus::gpu
