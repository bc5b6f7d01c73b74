// The rate that floors are computed from: fused multiply-adds with nothing else to do.
#include <algorithm>
#include <chrono>

#include "prepare.hpp"

namespace isthmus {

double fma_rate(const Run& run) {
    using Clock = std::chrono::steady_clock;
    constexpr std::size_t kSteps = 1 << 20;  // some 3 to 6 ms
    constexpr int kRounds = 8;
    const Engine<float>& engine = engine_of<float>(run);
    std::vector<float> sinks(run.n_threads);
    double best = 0;
    for (int round = 0; round < kRounds; ++round) {
        const auto start = Clock::now();
        run_tasks(run.n_threads, run.n_threads, run.interrupted,
                  [&](std::size_t task, unsigned) { sinks[task] = engine.spin(kSteps); });
        const std::chrono::duration<double> seconds = Clock::now() - start;
        const double flops = 2.0 * double(kSteps * kSpinPacks * engine.lanes) * run.n_threads;
        best = std::max(best, flops / seconds.count());
    }
    return best;
}

}  // namespace isthmus
