#include "pool.hpp"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace isthmus {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPollInterval = std::chrono::milliseconds(50);
constexpr int kSpins = 2000;  // about 20 microseconds: longer than the gap between two calls in a loop

thread_local bool inside_task = false;
thread_local int thread_limit = 0;

void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Blocks signals on this thread while it lives, and on threads that it starts for good: a signal of the process must
// reach a thread that expects it. Signals of a fault stay, so that crashes are reported.
class BlockSignals {
  public:
    BlockSignals() noexcept {
        sigset_t all;
        sigfillset(&all);
        for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) sigdelset(&all, fault);
        pthread_sigmask(SIG_SETMASK, &all, &saved_);
    }
    ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &saved_, nullptr); }
    BlockSignals(const BlockSignals&) = delete;
    BlockSignals& operator=(const BlockSignals&) = delete;

  private:
    sigset_t saved_;
};

struct Job {
    const std::function<void(std::size_t, unsigned)>& task;
    std::size_t n_tasks;
    std::atomic<std::size_t> next{0};
    std::atomic<bool> cancelled{false};
    std::atomic<bool> failed{false};
    std::exception_ptr error = nullptr;  // of the first task that threw; read when all have ended
};

// Takes tasks until none is left. The calling thread also asks whether to stop, at most once in an interval however
// many jobs it runs meanwhile.
void work(Job& job, unsigned worker, bool (*interrupted)()) {
    thread_local auto asked = Clock::now();
    inside_task = true;
    for (;;) {
        if (job.cancelled.load(std::memory_order_relaxed)) break;
        const std::size_t i = job.next.fetch_add(1, std::memory_order_relaxed);
        if (i >= job.n_tasks) break;
        try {
            job.task(i, worker);
        } catch (...) {
            if (!job.failed.exchange(true)) job.error = std::current_exception();
            job.cancelled = true;
        }
        if (interrupted && Clock::now() - asked > kPollInterval) {
            if (interrupted()) job.cancelled = true;
            asked = Clock::now();
        }
    }
    inside_task = false;
}

class Pool {
  public:
    // The pool of this process. A forked child finds its parent's pool, leaves it alone and makes its own.
    static Pool& of_this_process() {
        static std::atomic<Pool*> current{nullptr};
        Pool* found = current.load();
        if (found && found->pid_ == getpid()) return *found;
        Pool* made = new Pool;
        if (current.compare_exchange_strong(found, made)) return *made;
        delete made;
        return *found;
    }

    // False when another thread holds the pool.
    bool try_run(Job& job, unsigned n_threads, bool (*interrupted)()) {
        std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
        if (!owner.owns_lock()) return false;
        grow(n_threads - 1);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            job_ = &job;
            helpers_ = std::min<unsigned>(n_threads - 1, n_started_);
            generation_.fetch_add(1);
        }
        wake_.notify_all();
        work(job, 0, interrupted);
        std::unique_lock<std::mutex> lock(mutex_);
        job_ = nullptr;  // a helper that wakes only now has nothing to do
        while (!done_.wait_for(lock, kPollInterval, [&] { return running_ == 0; })) {
            if (!interrupted || job.cancelled) continue;
            lock.unlock();
            inside_task = true;  // a signal handler that calls back must not want this pool
            if (interrupted()) job.cancelled = true;
            inside_task = false;
            lock.lock();
        }
        return true;
    }

  private:
    void grow(unsigned wanted) {
        if (n_started_ >= wanted) return;
        const BlockSignals blocked;
        while (n_started_ < wanted) {
            try {
                std::thread helper([this, number = n_started_, seen = generation_.load()] { serve(number, seen); });
                pthread_setname_np(helper.native_handle(), "isthmus");
                helper.detach();
            } catch (const std::exception&) {
                return;  // the machine grants no more threads; fewer give the same bits
            }
            ++n_started_;
        }
    }

    void serve(unsigned number, unsigned long seen) {
        for (;;) {
            for (int spin = 0; spin < kSpins && generation_.load() == seen; ++spin) pause();
            Job* job;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return generation_.load() != seen; });
                seen = generation_.load();
                if (!job_ || number >= helpers_) continue;
                job = job_;
                ++running_;
            }
            work(*job, number + 1, nullptr);
            std::lock_guard<std::mutex> lock(mutex_);
            if (--running_ == 0) done_.notify_one();
        }
    }

    const pid_t pid_ = getpid();
    std::mutex owner_;  // held by the thread whose job runs
    unsigned n_started_ = 0;
    std::mutex mutex_;  // guards what stands below
    std::condition_variable wake_, done_;
    Job* job_ = nullptr;
    unsigned helpers_ = 0, running_ = 0;
    std::atomic<unsigned long> generation_{0};
};

}  // namespace

void run_tasks(std::size_t n_tasks, unsigned n_threads, bool (*interrupted)(),
               const std::function<void(std::size_t, unsigned)>& task) {
    Job job{task, n_tasks};
    const bool nested = inside_task;
    const bool shared =
        n_threads > 1 && n_tasks > 1 && !nested && Pool::of_this_process().try_run(job, n_threads, interrupted);
    if (!shared) work(job, 0, nested ? nullptr : interrupted);
    inside_task = nested;
    if (job.error) std::rethrow_exception(job.error);
    if (job.cancelled) throw Interrupted{};
}

void Turns::wait_for(std::size_t place, unsigned count) const noexcept {
    for (int spin = 0; ended_[place].load(std::memory_order_acquire) < count; ++spin)
        spin < kSpins ? pause() : std::this_thread::yield();
}

int isthmus_get_thread_limit() noexcept { return thread_limit; }
void isthmus_set_thread_limit(int limit) noexcept { thread_limit = limit < 0 ? 0 : limit; }

#if defined(__x86_64__)
FlushDenormals::FlushDenormals() noexcept : saved_(_mm_getcsr()) { _mm_setcsr(unsigned(saved_) | 0x8040); }
FlushDenormals::~FlushDenormals() { _mm_setcsr(unsigned(saved_)); }
#elif defined(__aarch64__)
namespace {
std::uint64_t float_control() {
    std::uint64_t bits;
    __asm__ volatile("mrs %0, fpcr" : "=r"(bits));
    return bits;
}
void set_float_control(std::uint64_t bits) { __asm__ volatile("msr fpcr, %0" : : "r"(bits)); }
constexpr std::uint64_t kFlushToZero = 1u << 24;
}  // namespace

FlushDenormals::FlushDenormals() noexcept : saved_(float_control()) { set_float_control(saved_ | kFlushToZero); }
FlushDenormals::~FlushDenormals() { set_float_control(saved_); }
#else
FlushDenormals::FlushDenormals() noexcept : saved_(0) {}
FlushDenormals::~FlushDenormals() {}
#endif

}  // namespace isthmus
