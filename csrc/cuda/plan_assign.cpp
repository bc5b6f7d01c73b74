// The plans of random assignments and of sums over their rows.
#include "../assignments.hpp"
#include "planning.hpp"

namespace isthmus::gpu {

std::vector<Launch> random_assignments(const std::uint64_t key[2], std::size_t count, std::size_t rows,
                                       std::size_t ones, std::uint64_t* bits) {
    const ShareOfOnes share = share_of(rows, ones);
    const cuda::AssignTask task{{key[0], key[1]},
                                rows,
                                ones,
                                words_in(rows),
                                share.all(),
                                share.n_digits(),
                                share.digits(),
                                reinterpret_cast<Size*>(bits)};
    return {{"assign", count, bytes_of(task)}};
}

std::vector<Launch> subset_sums(const std::uint64_t* bits, std::size_t count, std::size_t rows, const double* values,
                                double* sums) {
    const cuda::SubsetSumsTask task{reinterpret_cast<const Size*>(bits), rows, words_in(rows), values, sums};
    return {{"subset_sums", count, bytes_of(task)}};
}

}  // namespace isthmus::gpu
