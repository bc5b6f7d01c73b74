// The thread pool: one job at a time, tasks handed out by a counter, safe to use after fork.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace isthmus {

// Thrown by run_tasks when `interrupted` said so; the tasks that had started are finished, the rest are not run.
struct Interrupted {};

// Calls task(i, worker), worker < n_threads, for i = 0 .. n_tasks - 1, on at most n_threads threads with the caller
// among them; inline when there is nothing to share, inside a task, or while another thread holds the pool.
// `interrupted` (or null) is asked about every 50 ms, on the outermost calling thread only. What a task throws is
// thrown here, once all tasks that had started have ended.
void run_tasks(std::size_t n_tasks, unsigned n_threads, bool (*interrupted)(),
               const std::function<void(std::size_t task, unsigned worker)>& task);

// Lets tasks that add to the same place do so in one order, whichever threads run them. A task may only wait for tasks
// of lower numbers: those have started, as tasks start in order.
class Turns {
  public:
    explicit Turns(std::size_t n_places) : ended_(n_places) {}
    // Until `count` tasks have ended at this place.
    void wait_for(std::size_t place, unsigned count) const noexcept;
    void end(std::size_t place) noexcept { ended_[place].fetch_add(1, std::memory_order_release); }

  private:
    std::vector<std::atomic<unsigned>> ended_;
};

// The most threads that operations called from this thread use unless told a number; 0: no limit. The pool itself does
// not look at it. Exported, so that threadpoolctl can find it.
extern "C" __attribute__((visibility("default"))) int isthmus_get_thread_limit() noexcept;
extern "C" __attribute__((visibility("default"))) void isthmus_set_thread_limit(int limit) noexcept;

// Flushes denormal numbers to zero while it lives, on this thread.
class FlushDenormals {
  public:
    FlushDenormals() noexcept;
    ~FlushDenormals();
    FlushDenormals(const FlushDenormals&) = delete;
    FlushDenormals& operator=(const FlushDenormals&) = delete;

  private:
    std::uint64_t saved_;  // the processor's floating-point control register
};

}  // namespace isthmus
