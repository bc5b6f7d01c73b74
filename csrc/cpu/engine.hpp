// The table of tile functions that each instruction set fills once. Plain data only: it crosses unit borders.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../arch.hpp"

namespace isthmus {

// Always inlined: no instruction set leaves a copy that another might run.
ISTHMUS_FN constexpr size_t panels_in(size_t rows, size_t width) { return (rows + width - 1) / width; }

// How a tile of u is formed from packed rows; the cost per pair and dimension is 1, 2, 3 and 1 vector operations.
enum class Pairing : uint8_t { Gram, Difference, CityBlock, Dot };

// One kernel of a weighted sum. `factor` turns the tile's u into the u of this kernel (1 when the packing did it).
struct Term {
    unsigned kernel;  // position in ISTHMUS_KERNELS
    double weight;
    double factor;
    double params[3];
};

// RBF kernels that share one exponential: weights of e, e^2, e^4, e^8 and e^16, with e = 2^-(factor u), 0 for those
// that are missing; the first is there. A longer chain of squarings would break the float32 promise.
constexpr size_t kLongestChain = 5;
struct RbfChain {
    double factor, weights[kLongestChain];
    size_t length;  // up to the last weight
};

struct Terms {
    const Term* data;
    size_t count;
    Pairing pairing;
    const RbfChain* chains;  // the same sum when all terms are RBF and there are several, else none
    size_t n_chains;
    bool even;  // all weights but those that are missing are equal
};

// How a panel holds its rows: element (row r, dimension k) at [k * cols + r], or, where a matrix unit multiplies them,
// two or three bfloat16 parts of each number in the unit's own order. Without such a unit all forms are Numbers.
enum class Form : uint8_t { Numbers, TwoParts, ThreeParts };

// Packed rows: panels of `cols` rows. Missing rows and dimensions d .. depth - 1 are 0.
template <class T>
struct PackTask {
    const T* rows;
    ptrdiff_t stride, step;  // elements from row to row, and from dimension to dimension
    size_t count, d, depth;
    const double* centre;  // (d,) subtracted first, or null
    double scale;          // multiplied next
    T* panels;
    T* norms;  // |packed row|^2 for each row of every panel, or null
    Form form = Form::Numbers;
};

// Packed rows of one sample, from its first panel. They serve both sides of a tile.
template <class T>
struct Panels {
    const T* rows;
    const T* norms;  // null unless Gram
    const T* raw;    // the same rows, only multiplied by a power of two, as Numbers; null when no pair needs them
    Form form = Form::Numbers;
};

// The Gram trick loses digits where two long rows are near each other. A pair with guard * (|x|^2 + |y|^2) > 1 + u gets
// u = raw_factor * |x - y|^2 from the raw rows instead: a rule of the pair alone, so its bits do not depend on its
// batch.
struct Guard {
    double guard, raw_factor;
    bool overflow;  // some norm is beyond the format: every pair is looked at
};

// Some tiles of one sample against another: left tiles of `rows` rows, right panels of `cols`, both counted from the
// sample's first row.
template <class T>
struct Tiles {
    Panels<T> left, right;
    size_t d;
    size_t left_begin, left_end, right_begin, right_end;
    Terms terms;
    Guard guard;
};

// sum_ij w_i w_j k_ij; with `above_diagonal` over row < column only.
template <class T>
struct SumTask {
    Tiles<T> tiles;
    const T *left_weights, *right_weights;  // of the samples' rows, 0 for missing ones
    bool above_diagonal;
};

// out[i - row0][j - col0] = k_ij, or += when `add`, for i < n_rows, j < n_cols.
template <class T>
struct StoreTask {
    Tiles<T> tiles;
    size_t n_rows, n_cols, row0, col0;
    T* out;
    size_t out_stride;
    bool add;
};

// out[i] = sum_j k_ij v_j over some right panels, or += when `add`.
template <class T>
struct MatmulTask {
    Tiles<T> tiles;
    size_t n_rows;  // of the whole result
    const T* v;     // panels of `cols` columns: element (j, q) of a panel at [j * cols + q]; rows padded with zeros
    size_t v_rows, v_panels, n_out;
    bool skip_diagonal;
    double* sums;  // workspace, kMatmulTiles * rows * v_panels * cols
    T* strip;      // workspace, group * rows * max(kMatmulDepth, cols)
    T* out;        // its first element
    size_t out_stride;
    bool add;
};
constexpr size_t kMatmulTiles = 12;   // left tiles that share one sweep over v
constexpr size_t kMatmulDepth = 128;  // right rows summed in T before the float64 accumulator takes over

// Rows i of some panels of a sample (left) with rows j of some others (right): sums_i += k_ij v_j and sums_j += k_ij
// v_i. Both may be the same panels; their sums are then taken once.
template <class T>
struct MatmulSelfTask {
    Panels<T> rows;
    size_t d;
    size_t left_begin, left_end, right_begin, right_end;  // panels of `cols` rows
    Terms terms;
    Guard guard;
    const T* v;  // as in MatmulTask
    size_t v_rows, v_panels, n_out;
    bool skip_diagonal;
    double* sums;  // of all rows, padded to whole panels, and columns, padded to whole packs
    size_t row_sums;
    T* block;  // workspace, kMatmulDepth * (kMatmulDepth + 16), 64 bytes apart from row to row
};

// Sums over the pairs of some rows of one sample (left) with some of another (right), for a gradient. With s_ij =
// factor times the slope of the kernel: left_sums[i] += sum_j s_ij w_j y_j, left_totals[i] += sum_j s_ij w_j, and the
// same with the sides exchanged. With `own` the samples are the same one, all pairs i != j are summed and only on the
// left.
template <class T>
struct GradTask {
    Tiles<T> tiles;  // Gram or Dot
    const T *left_weights, *right_weights;
    // The packed rows times their weights in panels of `cols` dimensions: element (row r, dimension k) of a panel at
    // [r * cols + k]; a panel holds left_rows or right_rows rows.
    const T *left_weighted, *right_weighted;
    size_t left_rows, right_rows, n_panels;
    double factor;
    bool own, with_diagonal;         // with_diagonal: `own` also sums the slopes i == j
    double *left_sums, *right_sums;  // (rows of the sample, n_panels * cols)
    double *left_totals, *right_totals;
    T* strip;  // workspace, kGradRows * kGradCols
};
constexpr size_t kGradRows = 128, kGradCols = 256;  // at most; slopes formed before they are multiplied

// Sums over all rows of one sample (left) with one panel of another (right), formed from the differences of rows:
// sums (d, cols) += factor sum_i s_ij w_i times (y_j - x_i), or its sign for the city-block distance.
template <class T>
struct GradDirectTask {
    Tiles<T> tiles;  // Difference or CityBlock
    const T *left_weights, *right_weights;
    double factor;
    bool own;  // leaves i == j out
    double* sums;
};
// For many 0/1 assignments u of the rows of one sample, with i in some left tiles, j in some right panels and i < j:
// sums += sum_ij u_i u_j k_ij, left_sums += sum_j k_ij, right_sums += sum_i k_ij.
template <class T>
struct PermutedTask {
    const Tiles<T>* passes;  // their values are added up; all over the same rows, from and to whole words
    size_t n_passes, n_rows;
    const uint32_t* words;  // word w of assignment b at [w * stride + b]: the bits of rows w * word to (w + 1) * word
    size_t count, stride;   // count is a multiple of kAssignments
    double *sums, *left_sums, *right_sums;  // (count,), and from the first row of each side
};
constexpr size_t kAssignments = 32;
constexpr size_t kBlockWords = 4;  // words of columns that are summed up together; tasks start at multiples of them

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

// For the columns of some panels of `cols`, sums (d,) and scatter += sum_i w_i c_i and sum_i w_i c_i c_i', c = x -
// origin. The scatter is kept panel after panel; each holds the rows 0 to (panel + 1) * cols - 1 of its columns, of
// which those on and above the diagonal are summed.
template <class T>
struct MomentsTask {
    const T* x;
    ptrdiff_t x_stride;
    size_t n_rows, d;
    const T* origin;
    const T* weights;  // (n_rows,) or null for 1
    size_t panel_begin, panel_end;
    T* block;                // workspace, kMomentsRows numbers for each column of all panels
    double *sums, *scatter;  // of all panels
};
constexpr size_t kMomentsRows = 128;  // summed in T before float64 takes over

// Numbers in the scatter of so many panels.
ISTHMUS_FN constexpr size_t moments_size(size_t cols, size_t panels) {
    return cols * cols * (panels * (panels + 1) / 2);
}

constexpr size_t kSpinPacks = 12;

// Features of rows x: the cosines, then the sines, of q = n_frequencies phases (x - centre) W. Stored, times
// `amplitude`, in out (n_rows, 2 q), C order; or added to sums (2 q,) over rows, times their weights.
template <class T>
struct FourierTask {
    const T* x;
    ptrdiff_t x_stride;
    size_t n_rows, d;
    const double* centre;
    size_t n_frequencies;
    const T* w;  // panels of `cols` columns, or null: W is structured
    // Column j of a structured W is row j of H S_2 H S_1 H S_0 times scales[j], H the Walsh-Hadamard matrix of `width`
    // rows, S_i signs of their own for each `width` columns.
    size_t width;             // a power of two >= d and >= kLeastWidth
    const T *signs, *scales;  // (3, padded) and (padded,), padded to whole blocks of `width`
    const T* weights;         // (n_rows,) or null for 1
    double* sums;             // or null: store
    T amplitude;
    T* out;
    bool stream;             // past the caches
    T *rows, *block, *work;  // workspaces of the sizes below
};
constexpr size_t kLeastWidth = 64;
constexpr size_t kFourierSumPanels = 4;  // panels of rows summed in T before float64 takes over
constexpr size_t kFourierGap = 16;       // numbers between the rows of `block`, lest their lines share cache sets

struct FourierSpace {
    size_t rows, block, work;
};
constexpr FourierSpace fourier_space(size_t cols, size_t d, size_t n_frequencies, size_t width, bool sums) {
    const size_t block = sums ? 0 : cols * (2 * n_frequencies + kFourierGap);
    if (width == 0) return {cols * d, block, 0};
    if (sums) return {kFourierSumPanels * cols * width, 0, 3 * cols * width};
    return {cols * width, block, cols * (width + 2 * n_frequencies)};
}

template <class T>
struct Engine {
    size_t rows, cols, lanes;  // of one tile, of one pack
    size_t word;               // rows in one word of assignments, a multiple of cols
    size_t group;              // left tiles made together: a task that starts with the first of them wastes nothing
    size_t (*panel_size)(Form, size_t d) noexcept;  // in T
    void (*pack)(const PackTask<T>&) noexcept;
    // Widens low .. high to hold all values; false, and nothing of use, when one is NaN or infinite.
    bool (*widen_range)(const T* rows, ptrdiff_t stride, size_t count, size_t d, T* low, T* high) noexcept;
    // sums (d,) += the rows, in float64.
    void (*add_rows)(const T* rows, ptrdiff_t stride, size_t count, size_t d, double* sums) noexcept;
    double (*sum)(const SumTask<T>&) noexcept;
    void (*store)(const StoreTask<T>&) noexcept;
    // to[j][i] = from[i][j] of a block of one matrix.
    void (*mirror)(const T* from, T* to, size_t rows, size_t cols, size_t stride) noexcept;
    void (*matmul)(const MatmulTask<T>&) noexcept;
    void (*matmul_self)(const MatmulSelfTask<T>&) noexcept;
    // Both return sum_ij w_i w_j k_ij over the pairs i != j.
    double (*grad)(const GradTask<T>&) noexcept;
    double (*grad_direct)(const GradDirectTask<T>&) noexcept;
    void (*permuted)(const PermutedTask<T>&) noexcept;
    void (*project)(const ProjectTask<T>&) noexcept;
    void (*moments)(const MomentsTask<T>&) noexcept;
    void (*fourier)(const FourierTask<T>&) noexcept;
    void (*apply)(const Terms&, const T* u, T* out, size_t count) noexcept;  // out = sum of weighted kernel values
    T (*spin)(size_t steps) noexcept;  // kSpinPacks independent fused multiply-adds of whole packs in each step
};

struct Engines {
    Engine<float> f32;
    Engine<double> f64;
};

}  // namespace isthmus
