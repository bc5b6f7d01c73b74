// One look at every value, as fast as memory gives them: is it finite, and between which bounds.
#include <algorithm>
#include <atomic>

#include "prepare.hpp"

namespace isthmus {

template <class T>
bool value_range(const Run& wanted, const std::vector<Rows<T>>& samples, std::size_t d, T* low, T* high) {
    constexpr std::size_t kPieceValues = 1 << 17;
    const Engine<T>& engine = engine_of<T>(wanted);
    std::vector<Rows<T>> pieces;
    double values = 0;
    for (const Rows<T>& rows : samples) {
        const std::size_t step = std::max<std::size_t>(1, kPieceValues / d);
        for (std::size_t i = 0; i < rows.count; i += step)
            pieces.push_back(
                {rows.data + std::ptrdiff_t(i) * rows.stride, rows.stride, std::min(step, rows.count - i)});
        values += double(rows.count) * double(d);
    }
    const Run run = for_work(wanted, values);
    const T first = samples[0].data[0];
    std::vector<T> bounds(2 * pieces.size(), first);
    std::atomic<bool> finite{first - first == T(0)};
    run_tasks(pieces.size(), run.n_threads, run.interrupted, [&](std::size_t p, unsigned) {
        const Rows<T>& rows = pieces[p];
        const bool dense = rows.stride == std::ptrdiff_t(d);  // one long row
        const std::size_t count = dense ? 1 : rows.count, length = dense ? rows.count * d : d;
        if (!engine.widen_range(rows.data, rows.stride, count, length, &bounds[2 * p], &bounds[2 * p + 1]))
            finite = false;
    });
    *low = *high = first;
    for (std::size_t p = 0; p < pieces.size(); ++p) {
        *low = std::min(*low, bounds[2 * p]);
        *high = std::max(*high, bounds[2 * p + 1]);
    }
    return finite;
}

template bool value_range<float>(const Run&, const std::vector<Rows<float>>&, std::size_t, float*, float*);
template bool value_range<double>(const Run&, const std::vector<Rows<double>>&, std::size_t, double*, double*);

}  // namespace isthmus
