// What every operation does before its tiles: split a sum of kernels into passes, find means, pack rows.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

#include "../core.hpp"
#include "pool.hpp"

namespace isthmus {

// Beyond this u of a packed row the Gram trick may cost more than the promised accuracy: direct differences instead.
// u = gamma log2(e) |x - mean|^2 for RBF.
constexpr double kGramReach = 40.0;

// Uninitialised memory on a cache line's border, with huge pages asked for when it is large.
template <class T>
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(std::size_t count);
    T* data() const { return data_.get(); }
    T& operator[](std::size_t i) const { return data_.get()[i]; }

  private:
    struct Free {
        void operator()(T* p) const { std::free(p); }
    };
    std::unique_ptr<T[], Free> data_;
};

template <class T>
const Engine<T>& engine_of(const Run& run) {
    if constexpr (std::is_same_v<T, float>)
        return run.engines->f32;
    else
        return run.engines->f64;
}

// The terms of a kernel that share one kind of tile, and how rows are packed for them.
struct Pass {
    Pairing pairing;
    double scale;  // rows are multiplied by it
    std::vector<Term> terms;

    Terms view() const { return {terms.data(), terms.size(), pairing}; }
    bool centred() const { return pairing == Pairing::Gram; }
};

std::vector<Pass> passes_of(const KernelSum& kernel);
Pass by_differences(
    const KernelSum& kernel);  // the smooth distance kernels of the sum, for rows the Gram trick cannot serve

// Terms whose u is <x, x> in float64: the values k(x, x) of the whole sum.
struct SelfKernel {
    double at_zero;           // sum of the kernels of a distance
    std::vector<Term> terms;  // the kernels of a dot product
};
SelfKernel self_kernel(const Run& run, const KernelSum& kernel);

// Mean (d,) in float64 of all rows of some blocks, summed in an order that does not depend on the threads.
template <class T>
void mean_of(const Run& run, const std::vector<Rows<T>>& samples, std::size_t d, double* mean);

inline std::size_t panels_in(std::size_t rows, std::size_t width) { return (rows + width - 1) / width; }

enum class Side { Left, Right };

// One side of the tiles: rows packed for a pass.
template <class T>
struct Packed {
    Buffer<T> panels, norms;
    std::size_t width, n_panels, d;

    const T* panel(std::size_t i) const { return panels.data() + i * width * d; }
    const T* norm(std::size_t i) const { return norms.data() ? norms.data() + i * width : nullptr; }
};

// Packs `count` rows (those of `index`, or all of them) of one sample.
template <class T>
Packed<T> pack_rows(const Run& run, Rows<T> rows, const std::vector<std::size_t>* index, std::size_t d,
                    const Pass& pass, const double* centre, Side side);

// How many left and right panels one task takes: right panels that stay in a private cache, and enough left ones to be
// worth handing out, whatever the number of threads.
struct TaskShape {
    std::size_t left_panels, right_panels;
};
template <class T>
TaskShape task_shape(const Engine<T>& engine, std::size_t d);

// Vector operations that a tile costs, a measure for sharing out work.
template <class T>
double tile_cost(const Engine<T>& engine, std::size_t d) {
    return double(engine.rows * engine.cols) * double(d + 16) / (64.0 / sizeof(T));
}

}  // namespace isthmus
