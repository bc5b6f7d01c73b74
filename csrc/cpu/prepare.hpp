// What every operation does before its tiles: split a sum of kernels into passes, find means, pack rows.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

#include "../core.hpp"
#include "pool.hpp"

namespace isthmus {

// Uninitialised memory on a cache line's border, with huge pages asked for when it is large.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(std::size_t count) { fit(count); }
    // Room for so many; what was there is lost when it must grow.
    void fit(std::size_t count);
    void clear() { data_.reset(), count_ = 0; }
    T* data() const { return data_.get(); }
    T& operator[](std::size_t i) const { return data_.get()[i]; }

  private:
    struct Free {
        void operator()(T* p) const { std::free(p); }
    };
    std::unique_ptr<T[], Free> data_;
    std::size_t count_ = 0;
};

template <class T>
const Engine<T>& engine_of(const Run& run) {
    if constexpr (std::is_same_v<T, float>)
        return run.engines->f32;
    else
        return run.engines->f64;
}

// The run for a job of so many multiplications and additions: alone on the calling thread when waking others costs
// more.
inline Run for_work(Run run, double operations) {
    constexpr double kWorthSharing = 1 << 21;  // some 50 microseconds of vector code
    if (operations < kWorthSharing) run.n_threads = 1;
    return run;
}

// The terms of a kernel that share one kind of tile, and how rows are packed for them.
struct Pass {
    Pairing pairing;
    Form form;           // of the rows
    double scale;        // rows are multiplied by it
    double sensitivity;  // Gram: bounds |value'(u)| (1 + u) of the weighted sum
    std::vector<Term> terms;
    std::vector<RbfChain> chains;

    Terms view() const;
    bool gram() const { return pairing == Pairing::Gram; }
    double raw_scale() const;  // the power of two next below `scale`
};

std::vector<Pass> passes_of(const Run& run, const KernelSum& kernel);

// What the squared distance of raw rows, times raw_scale, is multiplied by to be the u of a Gram pass.
double raw_factor(const Pass& pass);
// A pair with guard (|x|^2 + |y|^2) > 1 + u needs its raw rows: half the promised accuracy against the rounding of a
// sum of d products of numbers, three quarters of it against what products of two parts of each leave out.
template <class T>
double guard_of(const Pass& pass, std::size_t d);

// Terms whose u is <x, x> in float64: the values k(x, x) of the whole sum.
struct SelfKernel {
    double at_zero;           // sum of the kernels of a distance
    std::vector<Term> terms;  // the kernels of a dot product
};
SelfKernel self_kernel(const Run& run, const KernelSum& kernel);

// diagonals[b] = sum_i w_i^2 k(x_i, x_i) of every block.
template <class T>
void add_diagonals(const Run& run, const std::vector<Block<T>>& blocks, std::size_t d, const SelfKernel& self,
                   double* diagonals);

// Mean (d,) in float64 of all rows of some blocks, summed in an order that does not depend on the threads.
template <class T>
void mean_of(const Run& run, const std::vector<Rows<T>>& samples, std::size_t d, double* mean);

// What to pack: a sample, the mean it subtracts (or null), and its first panel.
template <class T>
struct Sample {
    Rows<T> rows;
    const double* centre;
    std::size_t panel;
};

// Packed rows of some samples, one behind another, each from a new panel on.
template <class T>
struct Packed {
    std::size_t width = 0, n_panels = 0, d = 0;  // width: rows of a panel
    Form form = Form::Numbers;
    std::size_t panel_size = 0;
    Buffer<T> rows, norms, raw;
    bool has_norms = false, has_raw = false;
    Guard guard = {};

    // From the first panel of a sample.
    Panels<T> panels(std::size_t first) const {
        return {rows.data() + first * panel_size, has_norms ? norms.data() + first * width : nullptr,
                has_raw ? raw.data() + first * width * d : nullptr, form};
    }
};

// With the raw rows when some pair of them may need the guard.
template <class T>
void pack_samples(const Run& run, const std::vector<Sample<T>>& samples, std::size_t d, const Pass& pass,
                  Packed<T>& packed);

// How many left tiles and right panels one task takes: right panels that stay in a private cache, and enough left tiles
// to be worth handing out, whatever the number of threads.
struct TaskShape {
    std::size_t left_tiles, right_panels;
};
template <class T>
TaskShape task_shape(const Engine<T>& engine, std::size_t d);

// Vector operations that a tile costs, a measure for sharing out work; a matrix unit makes one in a third of the time.
template <class T>
double tile_cost(const Engine<T>& engine, std::size_t d) {
    const double share = engine.group > 1 ? 1.0 / 3 : 1.0;
    return share * double(engine.rows * engine.cols) * double(d + 16) / (64.0 / sizeof(T));
}

}  // namespace isthmus
