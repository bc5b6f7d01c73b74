// The table of tile functions that each instruction set fills once. Plain data only: it crosses unit borders.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace isthmus {

// How a tile of u is formed from packed rows; the cost per pair and dimension is 1, 2, 3 and 1 vector operations.
enum class Pairing : uint8_t { Gram, Difference, CityBlock, Dot };

// One kernel of a weighted sum. `factor` turns the tile's u into the u of this kernel (1 when the packing did it).
struct Term {
    unsigned kernel;  // position in ISTHMUS_KERNELS
    double weight;
    double factor;
    double params[3];
};

struct Terms {
    const Term* data;
    size_t count;
    Pairing pairing;
};

// Packed rows: panels of `width` rows, element (row r, dimension k) of a panel at [k * width + r].
// Missing rows and dimensions d .. depth - 1 are 0.
template <class T>
struct PackTask {
    const T* rows;
    ptrdiff_t stride, step;  // elements from row to row, and from dimension to dimension
    size_t count, d, depth;
    const double* centre;  // (d,) subtracted first, or null
    double scale;          // multiplied next
    double times;          // multiplied last, exact: 1, or -2 for the left side of a Gram tile
    size_t width;          // rows in a panel
    T* panels;
    T* norms;  // |packed row / times|^2 for each row of every panel, or null
};

// Packed rows of one side, from its first panel.
template <class T>
struct Panels {
    const T* rows;
    const T* norms;  // null unless Gram
    const T* raw;    // the same rows, only multiplied by a power of two; null when no pair needs them
    size_t count;
};

// The Gram trick loses digits where two long rows are near each other. A pair with guard * (|x|^2 + |y|^2) > 1 + u gets
// u = raw_factor * |x - y|^2 from the raw rows instead: a rule of the pair alone, so its bits do not depend on its
// batch.
struct Guard {
    double guard, raw_factor;
};
constexpr double kGuardMargin = 0.999;  // below it, guard * (|x|^2 + |y|^2) of a pair need not be looked at

// Left panels against right panels; row0 and col0 number their first rows.
template <class T>
struct Tiles {
    Panels<T> left, right;
    size_t d;
    size_t row0, col0;
    Terms terms;
    Guard guard;
};

// sum_ij w_i w_j k_ij; with `above_diagonal` over row < column only.
template <class T>
struct SumTask {
    Tiles<T> tiles;
    const T *left_weights, *right_weights;  // 0 for missing rows
    bool above_diagonal;
};

// out[i][j] = k_ij, or += when `add`.
template <class T>
struct StoreTask {
    Tiles<T> tiles;
    size_t n_rows, n_cols;  // that exist, counted from the first of this task
    T* out;
    size_t out_stride;
    bool add;
};

// out[i] = sum_j k_ij v_j over all right panels, or += when `add`.
template <class T>
struct MatmulTask {
    Tiles<T> tiles;
    size_t n_rows;
    const T* v;  // panels of `cols` columns: element (j, q) of a panel at [j * cols + q]; rows padded with zeros
    size_t v_rows, v_panels, n_out;
    bool skip_diagonal;
    double* sums;  // workspace, kMatmulPanels * rows * v_panels * cols
    T* tile;       // workspace, kMatmulPanels * rows * kMatmulDepth
    T* out;
    size_t out_stride;
    bool add;
};
constexpr size_t kMatmulPanels = 8;   // left panels that share one sweep over v
constexpr size_t kMatmulDepth = 128;  // right rows summed in T before the float64 accumulator takes over

enum class Activation : uint8_t { Identity, Relu, Tanh, Logistic, Cos };

// out = act(x w + bias), w in panels of `cols` columns like any right side.
template <class T>
struct ProjectTask {
    const T* x;
    ptrdiff_t x_stride;
    const T* w;
    size_t w_panels, d;
    size_t n_rows, n_cols;
    const T* bias;  // padded to whole panels
    Activation activation;
    T* out;
    size_t out_stride;
};

template <class T>
struct Engine {
    size_t rows, cols;  // of one tile
    void (*pack)(const PackTask<T>&) noexcept;
    double (*sum)(const SumTask<T>&) noexcept;
    void (*store)(const StoreTask<T>&) noexcept;
    void (*matmul)(const MatmulTask<T>&) noexcept;
    void (*project)(const ProjectTask<T>&) noexcept;
    void (*apply)(const Terms&, const T* u, T* out, size_t count) noexcept;  // out = sum of weighted kernel values
};

struct Engines {
    Engine<float> f32;
    Engine<double> f64;
};

}  // namespace isthmus
