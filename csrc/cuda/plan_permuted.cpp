#include "../assignments.hpp"
#include "planning.hpp"

namespace isthmus::gpu {

namespace {

cuda::Pairing of_device(Pairing pairing) {
    return pairing == Pairing::Gram         ? cuda::Pairing::Gram
           : pairing == Pairing::Difference ? cuda::Pairing::Difference
           : pairing == Pairing::CityBlock  ? cuda::Pairing::CityBlock
                                            : cuda::Pairing::Dot;
}

}  // namespace

template <class T>
std::vector<Launch> permuted_sums(const Device& device, Rows<T> z, std::size_t d, const KernelSum& kernel,
                                  const std::uint64_t* bits, std::size_t count, bool rounded, double* sums,
                                  double* row_sums) {
    Plan<T> plan(device, d, kernel);
    plan.add(z, nullptr, 0);
    const bool in_bf16 = rounded && std::is_same_v<T, float> && device.capability >= 80;
    const Size tiles = cuda::tiles_across(z.count, plan.side());
    // Squares enough to keep the GPU evenly busy: 16 for each processor.
    const Size across = Size(std::ceil(std::sqrt(32.0 * device.processors)));
    const Size side = (tiles + across - 1) / across, side_rows = side * Size(plan.side());  // of a square
    const Size n_squares = cuda::tiles_in_triangle((tiles + side - 1) / side);
    const Size n_marks = tiles * Size(plan.side()) / 32,
               stride = cuda::tiles_across(count, cuda::kMarkBlock) * cuda::kMarkBlock;
    const Size pieces = cuda::tiles_across(z.count, cuda::Spreads<T>::kRows);
    const auto marks_at = plan.space.template room<unsigned>(n_marks * stride);
    const auto spreads_at = plan.space.template room<double>(pieces * 2 * d);
    const auto shift_at = plan.space.template room<double>(1);
    const auto sums_at = plan.space.template room<double>(n_squares * stride);
    const auto rows_at = plan.space.template room<double>(n_squares * 2 * side_rows);
    plan.begin();
    unsigned* const marks = plan.space[marks_at];
    double *const spreads = plan.space[spreads_at], *const shift = plan.space[shift_at];
    double *const sum_partials = plan.space[sums_at], *const row_partials = plan.space[rows_at];
    const auto blocks = [&](Size size, int threads) { return plan.blocks_for(cuda::tiles_across(size, threads)); };
    plan.launch("marks", blocks(n_marks * stride, cuda::Marks::kThreads),
                cuda::MarksTask{reinterpret_cast<const Size*>(bits), count, words_in(z.count), marks, n_marks, stride});
    plan.launch(typed<T>("spreads"), pieces, cuda::SpreadsTask<T>{plan.samples(), d, spreads});
    bool add = false;
    for (const Pass& pass : plan.passes()) {
        const bool halves =
            in_bf16 && pass.gram() && Shape<T>(device, pass.pairing).tensor && plan.depth() == cuda::kSlab;
        const std::string products = halves ? "halves" : in_bf16 ? "bf16" : type_name<T>();
        const cuda::Packed<T> packed = plan.pack(pass, halves ? cuda::Form::Halves : cuda::Form::Numbers);
        for (const Part<T>& part : parts_of<T>(pass, d)) {
            plan.launch(
                typed<T>("shift"), 1,
                cuda::ShiftTask<T>{part.terms, spreads, z.count, d, pass.scale, of_device(pass.pairing), shift});
            plan.launch("permuted_" + products + "_" + part.values, n_squares,
                        cuda::PermutedTask<T>{packed, part.terms, plan.sample(0), side, shift, marks, stride,
                                              sum_partials, row_partials});
            plan.launch("add_marked", count,
                        cuda::AddMarkedTask{sum_partials, n_squares, stride, marks, n_marks, shift, sums, add});
            plan.launch("add_rows", blocks(z.count, cuda::AddRows::kThreads),
                        cuda::AddRowsTask{row_partials, z.count, side_rows, shift, row_sums, add});
            add = true;
        }
    }
    return std::move(plan.launches);
}

#define ISTHMUS_X(T)                                                                                     \
    template std::vector<Launch> permuted_sums<T>(const Device&, Rows<T>, std::size_t, const KernelSum&, \
                                                  const std::uint64_t*, std::size_t, bool, double*, double*);
ISTHMUS_X(float)
ISTHMUS_X(double)
#undef ISTHMUS_X

}  // namespace isthmus::gpu
