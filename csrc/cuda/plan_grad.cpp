// The plan of mmd2_grad: coefficients of some rows and columns at a time, so that their memory is bounded.
#include "planning.hpp"

namespace isthmus::gpu {
namespace {

// How the pairs of an item's pooled rows are cut. A launch takes whole items where their coefficients fit, or else some
// rows and one group of columns of one item.
struct Cut {
    std::size_t item_rows, depth;   // of an item; of a group of columns
    std::size_t rows, cols, items;  // of a launch
    Cut(std::size_t item_rows, std::size_t side, std::size_t bytes, std::size_t number_bytes, std::size_t n_items,
        std::size_t width, unsigned processors)
        : item_rows(item_rows) {
        constexpr std::size_t kLongest = 1024;  // sums in T of so many coefficients, then float64
        const std::size_t numbers = std::max(side * side, bytes / number_bytes);
        const auto whole = [&](std::size_t count) { return std::max(side, count / side * side); };
        const bool fits = item_rows * item_rows <= numbers;
        items = fits ? std::min(n_items, numbers / (item_rows * item_rows)) : 1;
        // Few tiles of gradients: the columns are split until they fill the GPU, each part a partial result.
        const std::size_t tiles = items * (item_rows / side) * (width / side);
        const std::size_t splits = std::max<std::size_t>(1, processors / tiles);
        depth = whole(std::min({kLongest, (item_rows + splits - 1) / splits + side - 1, item_rows}));
        cols = fits ? item_rows : std::min(depth, whole(numbers / side));
        if (!fits) depth = cols;
        const std::size_t most = fits ? item_rows : std::min(item_rows, whole(numbers / cols));
        // Launches of about as many rows.
        const std::size_t n_launches = (item_rows + most - 1) / most, tiles_down = item_rows / side;
        rows = (tiles_down + n_launches - 1) / n_launches * side;
    }
    std::size_t n_groups(std::size_t columns) const { return (columns + depth - 1) / depth; }
};

const char* name_of(Pairing pairing) {
    return pairing == Pairing::Gram         ? "gram"
           : pairing == Pairing::Difference ? "difference"
           : pairing == Pairing::CityBlock  ? "cityblock"
                                            : "dot";
}

// Parts of the dimensions that fill a GPU with the products of few tiles, in whole slabs.
std::size_t dimensions_of_split(std::size_t n_tiles, std::size_t depth, unsigned processors) {
    constexpr std::size_t kFewest = 8 * kSlab;  // each split is written and read once more
    const std::size_t splits = std::max<std::size_t>(1, std::min(processors / n_tiles, depth / kFewest));
    return ((depth + splits - 1) / splits + kSlab - 1) / kSlab * kSlab;
}

}  // namespace

template <class T>
std::vector<Launch> mmd2_grad(const Device& device, const std::vector<TwoSamples<T>>& items, std::size_t d,
                              const KernelSum& kernel, const Factors& given, bool with_diagonal,
                              std::size_t stripe_bytes, double* values) {
    Plan<T> plan(device, d, kernel);
    const cuda::Factors factors = factors_of(given);
    for (std::size_t i = 0; i < items.size(); ++i) {
        plan.add(items[i].x, items[i].x_weights, i);
        plan.add(items[i].y, items[i].y_weights, i);
    }
    const std::size_t side = std::size_t(plan.side()), width = cuda::tiles_across(d, plan.side()) * side;
    const std::size_t item_rows =
        (cuda::tiles_across(items[0].x.count, plan.side()) + cuda::tiles_across(items[0].y.count, plan.side())) * side;
    const Cut cut(item_rows, side, stripe_bytes, sizeof(T), items.size(), width, device.processors);
    const std::size_t tiles = (cut.rows / side) * (cut.cols / side), most_tiles = cut.items * tiles;
    const std::size_t n_products =
        tiles == 1 || cut.cols < item_rows ? most_tiles : cut.items * cuda::tiles_in_triangle(item_rows / side);
    const std::size_t split = dimensions_of_split(n_products, plan.depth(), device.processors);
    const std::size_t n_splits = (plan.depth() + split - 1) / split;
    const bool is_split = n_splits > 1;
    // Blocks that share a tile's coefficients, each with a partial.
    const std::size_t n_parts = is_split ? side / cuda::kRowsOfPart : 1;
    const auto across_at = plan.space.template room<T>(items.size() * item_rows * width);
    const auto coefficients_at = plan.space.template room<T>(cut.items * cut.rows * cut.cols);
    const auto products_at = plan.space.template room<T>(is_split ? n_splits * n_products * side * side : 0);
    const auto sums_at = plan.space.template room<double>(cut.n_groups(cut.cols) * cut.items * cut.rows * width);
    const auto totals_at = plan.space.template room<double>(cut.items * cut.rows * (cut.cols / side));
    const auto partials_at = plan.space.template room<double>(items.size() * tiles * n_parts);
    const auto diagonals_at = plan.space.template room<double>(2 * items.size());
    plan.begin();
    T* const across = plan.space[across_at];
    T* const coefficients = plan.space[coefficients_at];
    T* const products = plan.space[products_at];
    double* const sums = plan.space[sums_at];
    double* const totals = plan.space[totals_at];
    double* const partials = plan.space[partials_at];

    bool add_pass = false;
    for (const Pass& pass : plan.passes()) {
        const Shape<T> shape(device, pass.pairing);
        const bool gram = pass.gram();
        const cuda::Packed<T> packed = plan.pack(pass);
        const double* const means = gram ? plan.means() : nullptr;
        const std::vector<Part<T>> parts = parts_of<T>(pass, d);
        // The derivative of u by a row has a factor 2 for squared distances; each pair comes twice.
        const double scale = pass.scale * (gram || pass.pairing == Pairing::Difference ? 4 : 2);
        constexpr std::size_t kRows = cuda::Across<T>::kRows, kAtOnce = cuda::Across<T>::kThreads;
        plan.launch(typed<T>("across"), items.size() * item_rows / kRows * ((width + kAtOnce - 1) / kAtOnce),
                    cuda::AcrossTask<T>{plan.samples(), d, width, item_rows, cut.depth, means, pass.scale, across});
        for (std::size_t item = 0; item < items.size(); item += cut.items)
            for (std::size_t row = 0; row < item_rows; row += cut.rows) {
                cuda::GradArea area{};
                area.first_item = item, area.n_items = std::min(cut.items, items.size() - item);
                area.first_row = row / side, area.n_rows = std::min(cut.rows, item_rows - row) / side;
                area.item_rows = item_rows, area.depth = cut.depth;
                area.most_rows = cut.rows / side, area.most_cols = cut.cols / side;
                const std::size_t rows = area.n_items * area.n_rows * side;
                for (std::size_t col = 0; col < item_rows; col += cut.cols) {
                    const std::size_t cols = std::min(cut.cols, item_rows - col);
                    area.first_col = col / side, area.n_cols = cols / side;
                    const std::size_t n_tiles = area.n_items * area.n_rows * area.n_cols;
                    const auto product_tiles = cuda::ProductTiles::of(area);
                    if (is_split)
                        plan.launch(
                            "products_" + shape.name + "_" + (gram && !shape.tensor ? "dot" : name_of(pass.pairing)),
                            product_tiles.count * n_splits,
                            cuda::ProductsTask<T>{packed, plan.samples(), area, product_tiles, split, products});
                    bool add = false;
                    for (const Part<T>& part : parts) {
                        const cuda::SlopesTask<T> slopes{packed,
                                                         part.terms,
                                                         plan.samples(),
                                                         factors,
                                                         area,
                                                         with_diagonal,
                                                         coefficients,
                                                         totals,
                                                         partials,
                                                         add,
                                                         add || add_pass || row > 0 || col > 0};
                        if (is_split)
                            plan.launch(typed<T>("split_slopes") + "_" + part.values, n_tiles * n_parts,
                                        cuda::SplitSlopesTask<T>{slopes, product_tiles, products, n_splits});
                        else
                            plan.launch("slopes_" + shape.name + "_" + part.values, n_tiles, slopes);
                        add = true;
                    }
                    const std::size_t n_groups = cut.n_groups(cols);
                    plan.launch("pull_" + shape.name + "_" + name_of(pass.pairing),
                                rows / side * n_groups * (width / side),
                                cuda::PullTask<T>{coefficients, across, packed.norms, totals, area, width, n_groups,
                                                  scale, sums, col > 0});
                }
                plan.launch(typed<T>("place_gradients"), rows * cuda::tiles_across(d, cuda::PlaceGradients<T>::kStrip),
                            cuda::PlaceGradientsTask<T>{plan.samples(), area, side, d, width,
                                                        cut.n_groups(std::min(cut.cols, item_rows)), sums, items[0].dx,
                                                        items[0].dy, add_pass});
            }
        add_pass = true;
    }
    double* const diagonals = with_diagonal ? plan.space[diagonals_at] : nullptr;
    if (with_diagonal) plan.add_diagonals(kernel, diagonals);
    plan.launch("grad_values", items.size(),
                cuda::GradValuesTask{partials, diagonals, factors, tiles * n_parts, values});
    return std::move(plan.launches);
}

#define ISTHMUS_X(T)                                                                                         \
    template std::vector<Launch> mmd2_grad<T>(const Device&, const std::vector<TwoSamples<T>>&, std::size_t, \
                                              const KernelSum&, const Factors&, bool, std::size_t, double*);
ISTHMUS_X(float)
ISTHMUS_X(double)
#undef ISTHMUS_X

}  // namespace isthmus::gpu
