// Plans of the operations that multiply rows by a matrix, or by themselves.
#include "planning.hpp"

namespace isthmus::gpu {
namespace {

static_assert(int(cuda::Activation::Cos) == int(Activation::Cos), "one order of activations");

bool on_border(const void* at, std::size_t bytes) { return reinterpret_cast<std::uintptr_t>(at) % bytes == 0; }

std::size_t parts_in(std::size_t count, std::size_t part) { return (count + part - 1) / part; }

template <class T>
cuda::Matrix<T> matrix_of(const T* at, std::size_t stride, std::size_t rows, std::size_t columns) {
    const bool aligned = on_border(at, 16) && (rows == 1 || stride * sizeof(T) % 16 == 0);
    return {at, stride, rows, columns, aligned};
}
template <class T>
cuda::Matrix<T> matrix_of(const Rows<T>& x, std::size_t d) {
    return matrix_of(x.data, std::size_t(x.stride), x.count, d);
}

// How rows are multiplied by a matrix of some columns.
template <class T>
struct RowShape {
    std::size_t down, across, run;  // tiles, and numbers that are stored at once
    std::string name;
    RowShape(const Device& device, std::size_t rows, std::size_t columns) {
        const Shape<T> shape(device, Pairing::Dot);
        using Plain = std::conditional_t<std::is_same_v<T, float>, cuda::LargeRows, cuda::WideRows>;
        static_assert(std::is_same_v<T, double> || (int(Plain::kRows) == int(cuda::TensorRows::kRows) &&
                                                    int(Plain::kColumns) == int(cuda::TensorRows::kColumns)));
        down = parts_in(rows, Plain::kRows), across = parts_in(columns, Plain::kColumns);
        run = shape.tensor ? cuda::TensorRows::kRun : Plain::kRun;
        name = shape.name;
    }
    // out (rows, `columns` of `stride`).
    cuda::Result<T> result(T* out, std::size_t stride, std::size_t rows, std::size_t columns) const {
        return {out, stride, rows, columns, on_border(out, run * sizeof(T)) && columns % run == 0};
    }
};

// Blocks that loop over many tiles, or as many as there are tiles.
std::size_t blocks_for(const Device& device, std::size_t tiles) {
    return std::min(tiles, std::size_t(device.processors) * 16);
}

// Ranges of `count` equal parts: enough that ranges times `beside` blocks fill the GPU some times over.
struct Ranges {
    std::size_t each, count;
    Ranges(const Device& device, std::size_t parts, std::size_t beside, std::size_t fills) {
        const std::size_t wanted = std::max<std::size_t>(1, std::size_t(device.processors) * fills / beside);
        each = parts_in(parts, wanted), count = parts_in(parts, each);
    }
};

template <class Task>
Launch launch(const std::string& kernel, std::size_t blocks, const Task& task) {
    return {kernel, blocks, bytes_of(task)};
}

Launch add_slices(const Device& device, const double* partials, std::size_t count, std::size_t size, double* out) {
    return launch("add_slices_float64", blocks_for(device, parts_in(size, cuda::AddSlices<double>::kThreads)),
                  cuda::AddSlicesTask<double>{partials, count, size, out});
}

template <class T>
cuda::StructuredTask<T> structured_task(const Rows<T>& x, const Frequencies<T>& f, std::size_t range_rows) {
    cuda::StructuredTask<T> task{};
    task.x = matrix_of(x, f.d);
    task.centre = f.centre, task.signs = f.signs, task.scales = f.scales;
    task.n_frequencies = f.count, task.n_blocks = parts_in(f.count, f.width), task.range_rows = range_rows;
    while (std::size_t(1) << task.log_width < f.width) ++task.log_width;
    return task;
}

}  // namespace

std::size_t most_structured_width() { return cuda::kMostWidth; }

template <class T>
std::vector<Launch> project(const Device& device, Rows<T> x, std::size_t d, const T* w, const T* b,
                            std::size_t n_columns, Activation activation, T* out) {
    const RowShape<T> shape(device, x.count, n_columns);
    return {
        launch("project_" + shape.name, blocks_for(device, shape.down * shape.across),
               cuda::ProjectTask<T>{matrix_of(x, d), matrix_of(w, n_columns, d, n_columns), b,
                                    shape.result(out, n_columns, x.count, n_columns), cuda::Activation(activation)})};
}

template <class T>
std::vector<Launch> fourier_features(const Device& device, Rows<T> x, const Frequencies<T>& f, double amplitude,
                                     T* out) {
    if (!f.w) {
        const std::size_t at_once = cuda::kMostWidth / f.width;
        const Ranges ranges(device, parts_in(x.count, at_once), parts_in(f.count, f.width), 16);
        auto task = structured_task(x, f, ranges.each * at_once);
        task.amplitude = T(amplitude), task.out = out;
        return {launch(typed<T>("structured_features"), ranges.count * task.n_blocks, task)};
    }
    const RowShape<T> shape(device, x.count, f.count);
    return {launch("features_" + shape.name, blocks_for(device, shape.down * shape.across),
                   cuda::FeatureTask<T>{matrix_of(x, f.d), matrix_of(f.w, f.count, f.d, f.count), f.centre,
                                        T(amplitude), shape.result(out, 2 * f.count, x.count, f.count)})};
}

template <class T>
std::vector<Launch> fourier_sums(const Device& device, Rows<T> x, const T* weights, const Frequencies<T>& f,
                                 double* sums) {
    const RowShape<T> shape(device, x.count, f.count);
    const std::size_t at_once = f.w ? 1 : cuda::kMostWidth / f.width;
    const std::size_t beside = f.w ? shape.across : parts_in(f.count, f.width);
    const Ranges ranges(device, f.w ? shape.down : parts_in(x.count, at_once), beside, 8);
    Workspace space;
    const auto piece = space.room<double>(ranges.count * 2 * f.count);
    space.allocate(device);
    double* const partials = space[piece];
    std::vector<Launch> launches;
    if (f.w) {
        launches.push_back(launch("feature_sums_" + shape.name, ranges.count * beside,
                                  cuda::FeatureSumTask<T>{matrix_of(x, f.d), matrix_of(f.w, f.count, f.d, f.count),
                                                          f.centre, weights, ranges.each, partials}));
    } else {
        auto task = structured_task(x, f, ranges.each * at_once);
        task.weights = weights, task.partials = partials;
        launches.push_back(launch(typed<T>("structured_sums"), ranges.count * beside, task));
    }
    launches.push_back(add_slices(device, partials, ranges.count, 2 * f.count, sums));
    return launches;
}

template <class T>
std::vector<Launch> moments(const Device& device, Rows<T> x, std::size_t d, const T* weights, const T* origin,
                            double* sums, double* scatter) {
    constexpr std::size_t kSmallRange = 256;  // rows worth a partial result
    const Shape<T> shape(device, Pairing::Dot);
    const std::size_t n_tiles = cuda::tiles_in_triangle(parts_in(d, shape.side)), area = shape.side * shape.side;
    const Ranges ranges(device, parts_in(x.count, kSmallRange), n_tiles, 2);
    Workspace space;
    const auto scatters_at = space.room<double>(ranges.count * n_tiles * area);
    const auto sums_at = space.room<double>(ranges.count * d);
    space.allocate(device);
    return {launch("moments_" + shape.name, ranges.count * n_tiles,
                   cuda::MomentsTask<T>{matrix_of(x, d), weights, origin, ranges.each * kSmallRange, space[scatters_at],
                                        space[sums_at]}),
            launch("add_scatters", blocks_for(device, n_tiles),
                   cuda::AddScattersTask{space[scatters_at], ranges.count, shape.side, d, scatter}),
            add_slices(device, space[sums_at], ranges.count, d, sums)};
}

#define ISTHMUS_X(T)                                                                                                \
    template std::vector<Launch> project<T>(const Device&, Rows<T>, std::size_t, const T*, const T*, std::size_t,   \
                                            Activation, T*);                                                        \
    template std::vector<Launch> fourier_features<T>(const Device&, Rows<T>, const Frequencies<T>&, double, T*);    \
    template std::vector<Launch> fourier_sums<T>(const Device&, Rows<T>, const T*, const Frequencies<T>&, double*); \
    template std::vector<Launch> moments<T>(const Device&, Rows<T>, std::size_t, const T*, const T*, double*, double*);
ISTHMUS_X(float)
ISTHMUS_X(double)
#undef ISTHMUS_X

}  // namespace isthmus::gpu
