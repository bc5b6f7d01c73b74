// Every kernel of csrc/cuda/kernels.cuh on an emulated GPU against formulas in float64. Exit code 1 and the failures.
#define ISTHMUS_ARCH cuda
#include "../../csrc/arch.hpp"
#include "emulated_gpu.hpp"

#include "../../csrc/cuda/kernels.cuh"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <random>
#include <string>

namespace {

using namespace isthmus::cuda;
using Count = std::size_t;

template <class T>
constexpr double kBound = sizeof(T) == 4 ? 2e-6 : 1e-13;  // of a kernel value, where the largest is 1
template <class T>
constexpr double kMeanBound = sizeof(T) == 4 ? 1e-7 : 1e-14;  // of a mean of them

int n_checks = 0, n_failed = 0;

void check(double found, double bound, const std::string& where) {
    ++n_checks;
    if (found <= bound) return;
    ++n_failed;
    std::printf("FAILED %s: %.2e, at most %.2e\n", where.c_str(), found, bound);
}

template <class T>
constexpr T kMissing = std::numeric_limits<T>::quiet_NaN();

template <class T>
std::vector<T> normal(Count count, double offset) {
    static std::mt19937 generator(1);
    std::normal_distribution<double> draw(offset, 1.0);
    std::vector<T> values(count);
    for (T& value : values) value = T(draw(generator));
    return values;
}

// Two samples, packed for a kernel by the kernels of the engine.
template <class T, class Shape, class Kernel>
struct Packing {
    Count n, m, d;
    std::vector<T> x, y, x_weights, panels, norms, weights;
    std::vector<double> mean;
    std::vector<Sample<T>> samples;
    Terms terms{};
    bool reverse;

    Packing(Count n_, Count m_, Count d_, std::vector<double> params, double offset, bool weighted, bool reverse_)
        : n(n_),
          m(m_),
          d(d_),
          x(normal<T>(n * d, offset)),
          y(normal<T>(m * d, offset + 0.3)),
          mean(d),
          reverse(reverse_) {
        for (Count j = 0; j < m; ++j)
            for (Count k = 0; k < d; ++k) mean[k] += double(y[j * d + k]) / double(m);
        const Count tile_panels = Shape::kSide / kPanel, n_panels = tile_panels * (tiles(n) + tiles(m));
        samples = {{x.data(), d, n, 0}, {y.data(), d, m, tile_panels * tiles(n)}};
        for (Count i = 0; i < n && weighted; ++i) x_weights.push_back(T(double(i % 3) / 2));
        terms.count = 1;
        std::copy(params.begin(), params.end(), terms.term[0].params);
        const double scale = Kernel::input_scale(terms.term[0].params);
        terms.term[0].weight = 1, terms.term[0].factor = 1;
        terms.guard = sizeof(T) == 4 ? 3e-7 : 3e-15, terms.raw_scale = scale, terms.raw_factor = 1;
        const Count depth = (d + kSlab - 1) / kSlab * kSlab;
        panels.assign(n_panels * kPanel * depth, kMissing<T>);
        norms.assign(n_panels * kPanel, kMissing<T>);
        weights.assign(n_panels * kPanel, kMissing<T>);
        const unsigned group[] = {0, 0};
        const T* const given[] = {weighted ? x_weights.data() : nullptr, nullptr};
        const bool centred = natural(Kernel::kInput) == Pairing::Gram;
        const PackTask<T> task{samples.data(), 2,
                               n_panels,       d,
                               depth,          centred ? mean.data() : nullptr,
                               group,          given,
                               scale,          panels.data(),
                               norms.data(),   weights.data()};
        emulated_gpu::launch(n_panels, kPanel, reverse, [&] { pack_panel<T>(task); });
    }

    static Count tiles(Count rows) { return (rows + Shape::kSide - 1) / Shape::kSide; }
    Packed<T> packed() const { return {panels.data(), norms.data(), weights.data(), (d + kSlab - 1) / kSlab * kSlab}; }
    double weight(Count i) const { return x_weights.empty() ? 1.0 : double(x_weights[i]); }

    // The kernel of two rows in float64.
    double value(const T* a, const T* b) const {
        double u = 0;
        for (Count k = 0; k < d; ++k) {
            const double p = terms.raw_scale * double(a[k]), q = terms.raw_scale * double(b[k]);
            u += natural(Kernel::kInput) == Pairing::Dot         ? p * q
                 : natural(Kernel::kInput) == Pairing::CityBlock ? std::fabs(p - q)
                                                                 : (p - q) * (p - q);
        }
        return wide(u);
    }
    double (*wide)(double) = nullptr;
};

template <class T, class Shape, template <class> class Kernel>
void test(const std::string& name, Count n, Count m, Count d, std::vector<double> params, double offset, bool reverse) {
    using Values = One<T, Kernel<T>>;
    static double kept[3];
    std::copy(params.begin(), params.end(), kept);
    const std::string where = name + " " + std::to_string(n) + " x " + std::to_string(m) + ", d " + std::to_string(d) +
                              ", offset " + std::to_string(offset);
    for (const bool weighted : {false, true}) {
        Packing<T, Shape, Kernel<T>> p(n, m, d, params, offset, weighted, reverse);
        p.wide = [](double u) { return Kernel<double>(kept).value(u); };
        std::vector<double> cross(n * m);
        double most = 1;
        for (Count i = 0; i < n; ++i)
            for (Count j = 0; j < m; ++j) {
                cross[i * m + j] = p.value(&p.x[i * d], &p.y[j * d]);
                most = std::max(most, std::fabs(cross[i * m + j]));
            }

        // Sums within and across, with every block of threads making several tiles.
        const PairOf pairs[] = {{0, 0}, {0, 1}, {1, 1}};
        const Size tiles[] = {tiles_in_triangle(p.tiles(n)), p.tiles(n) * p.tiles(m), tiles_in_triangle(p.tiles(m))};
        const Size first[] = {0, tiles[0], tiles[0] + tiles[1], tiles[0] + tiles[1] + tiles[2]};
        std::vector<double> partials(first[3], kMissing<double>), sums(3, kMissing<double>), expected(3);
        const SumTask<T> sum{p.packed(), p.terms, d, p.samples.data(), pairs, first, 3, partials.data()};
        emulated_gpu::launch((first[3] + 1) / 2, Shape::kThreads, reverse, [&] { sum_tiles<T, Shape, Values>(sum); });
        emulated_gpu::launch(3, 256, reverse, [&] { add_partials(pairs, first, partials.data(), sums.data()); });
        for (Count i = 0; i < n; ++i) {
            for (Count j = 0; j < n; ++j)
                if (i != j) expected[0] += p.weight(i) * p.weight(j) * p.value(&p.x[i * d], &p.x[j * d]);
            for (Count j = 0; j < m; ++j) expected[1] += p.weight(i) * cross[i * m + j];
        }
        for (Count i = 0; i < m; ++i)
            for (Count j = 0; j < m; ++j)
                if (i != j) expected[2] += p.value(&p.y[i * d], &p.y[j * d]);
        const double counts[] = {double(n) * double(n), double(n) * double(m), double(m) * double(m)};
        for (int k = 0; k < 3; ++k)
            check(std::fabs(sums[k] - expected[k]) / counts[k], kMeanBound<T> * most,
                  where + ", sum " + std::to_string(k));
        if (weighted) continue;

        std::vector<T> out(n * (m + 3), kMissing<T>);
        const StoreTask<T> store{p.packed(), p.terms, d, p.samples[0], p.samples[1], out.data(), m + 3, false};
        emulated_gpu::launch((tiles[1] + 1) / 2, Shape::kThreads, reverse,
                             [&] { store_tiles<T, Shape, Values>(store); });
        double worst = 0;
        for (Count i = 0; i < n; ++i) {
            for (Count j = 0; j < m; ++j) {
                const double gap = std::fabs(double(out[i * (m + 3) + j]) - cross[i * m + j]);
                if (!(gap <= worst)) worst = gap;
            }
            for (Count j = m; j < m + 3; ++j)
                check(out[i * (m + 3) + j] == out[i * (m + 3) + j], 0.0, where + ", between the rows");
        }
        check(worst, kBound<T> * most, where + ", matrix");

        std::vector<T> own(m * m, kMissing<T>);
        const StoreTask<T> square{p.packed(), p.terms, d, p.samples[1], p.samples[1], own.data(), m, false};
        emulated_gpu::launch(tiles[2], Shape::kThreads, reverse, [&] { store_tiles<T, Shape, Values>(square); });
        worst = 0;
        for (Count i = 0; i < m; ++i)
            for (Count j = 0; j < m; ++j) {
                const double value = p.value(&p.y[i * d], &p.y[j * d]);
                const double gap = std::fabs(double(own[i * m + j]) - value);
                most = std::max(most, std::fabs(value));
                if (!(gap <= worst)) worst = gap;
                if (i == j && natural(Kernel<T>::kInput) == Pairing::Gram && own[i * m + j] != T(1)) worst = 1;
            }
        check(worst, kBound<T> * most, where + ", own matrix");
    }
}

template <class T, class Shape, template <class> class Kernel>
void test_matmul(const std::string& name, Count n, Count m, Count d, Count columns, std::vector<double> params) {
    Packing<T, Shape, Kernel<T>> p(n, m, d, params, 0.0, false, false);
    static double kept[3];
    std::copy(params.begin(), params.end(), kept);
    p.wide = [](double u) { return Kernel<double>(kept).value(u); };
    const std::vector<T> v = normal<T>(m * columns, 0.0);
    for (const bool skip : {false, true}) {
        const Size right_tiles = 2, n_slices = (p.tiles(m) + right_tiles - 1) / right_tiles;
        std::vector<double> partials(n_slices * n * columns, kMissing<double>);
        std::vector<T> out(n * columns, kMissing<T>);
        const MatmulTask<T> task{p.packed(), p.terms,     d,        p.samples[0], p.samples[1], v.data(),
                                 columns,    right_tiles, n_slices, skip,         false,        partials.data()};
        emulated_gpu::launch(p.tiles(n) * n_slices, Shape::kThreads, skip,
                             [&] { multiply_tiles<T, Shape, One<T, Kernel<T>>>(task); });
        emulated_gpu::launch(2, kSliceThreads, skip,
                             [&] { add_slices(partials.data(), n_slices, n * columns, out.data()); });
        double worst = 0;
        for (Count i = 0; i < n; ++i)
            for (Count q = 0; q < columns; ++q) {
                double expected = 0, size = 0;
                for (Count j = 0; j < m; ++j) {
                    if (!skip || i != j) expected += p.value(&p.x[i * d], &p.y[j * d]) * double(v[j * columns + q]);
                    size += std::fabs(double(v[j * columns + q]));
                }
                const double gap = std::fabs(double(out[i * columns + q]) - expected) / size;
                if (!(gap <= worst)) worst = gap;
            }
        check(worst, kBound<T>, name + " matmul, " + std::to_string(columns) + " columns");
    }
}

// All products positive: what truncation loses adds up.
void test_truncation() {
    const Count n = 20, d = 2048;
    Packing<float, Tensor, Linear<float>> p(n, n, d, {}, 0.0, false, false);
    for (float& x : p.x) x = 1.0f + 0.2f * std::fabs(x);
    for (float& y : p.y) y = 1.0f + 0.2f * std::fabs(y);
    const PackTask<float> task{
        p.samples.data(), 2, 4, d, d, nullptr, nullptr, nullptr, 1.0, p.panels.data(), p.norms.data(),
        p.weights.data()};
    emulated_gpu::launch(4, kPanel, false, [&] { pack_panel<float>(task); });
    std::vector<float> out(n * n);
    const StoreTask<float> store{p.packed(), p.terms, d, p.samples[0], p.samples[1], out.data(), n, false};
    emulated_gpu::launch(1, Tensor::kThreads, false,
                         [&] { store_tiles<float, Tensor, One<float, Linear<float>>>(store); });
    double worst = 0;
    p.wide = [](double u) { return u; };
    for (Count i = 0; i < n * n; ++i) {
        const double expected = p.value(&p.x[i / n * d], &p.y[i % n * d]);
        worst = std::max(worst, std::fabs(double(out[i]) - expected) / expected);
    }
    check(worst, 1e-6, "truncated products");
}

// Every tile of a triangle once, also where the square root of large numbers rounds.
void test_triangles() {
    for (const Size down : {Size(1), Size(2), Size(7), Size(100), Size(3'000'000)}) {
        const Size total = tiles_in_triangle(down), step = total / 5000 + 1;
        bool right = true;
        for (Size t = 0; t < total; t += step) {
            Size row = 0, col = 0;
            place_in_triangle(t, down, row, col);
            right &= row <= col && col < down && row * down - row * (row - 1) / 2 * (row > 0) + (col - row) == t;
        }
        check(!right, 0.0, "triangle of " + std::to_string(down));
    }
}

}  // namespace

int main() {
    using Small = Plain<float, 64, 2>;
    using Large = Plain<float, 128, 2>;
    using Wide = Plain<double, 64, 1>;
    for (const bool reverse : {false, true}) {
        test<float, Large, Rbf>("rbf float32", 130, 257, 19, {0.02}, 0.0, reverse);
        test<float, Small, Rbf>("rbf float32 small", 65, 64, 128, {0.004}, 100.0, reverse);
        test<float, Tensor, Rbf>("rbf tensor", 130, 129, 64, {0.008}, 0.0, reverse);
        test<double, Wide, Rbf>("rbf float64", 65, 130, 17, {0.02}, 10.0, reverse);
    }
    test<float, Tensor, Rbf>("rbf tensor", 100, 3, 300, {0.001}, 1000.0, false);
    test<float, Tensor, RationalQuadratic>("rational quadratic tensor", 129, 100, 40, {3.0, 1.7}, 1.0, false);
    test<float, Tensor, Polynomial>("polynomial tensor", 33, 129, 20, {0.02, 1.0, 3.0}, 0.0, false);
    test<float, Small, Laplacian>("laplacian", 70, 3, 5, {7.0}, 0.0, false);
    test<float, Large, Exponential>("exponential", 1, 129, 33, {9.0}, 5.0, false);
    test<float, Small, Matern32>("matern32", 65, 31, 16, {5.0}, 0.0, false);
    test<double, Wide, Matern52>("matern52 float64", 65, 63, 15, {5.0}, 3.0, false);
    test<float, Large, Imq>("imq", 17, 129, 1, {3.0}, 0.0, false);
    test<float, Small, Energy>("energy", 64, 65, 3, {}, 0.0, false);
    test<double, Wide, Linear>("linear float64", 2, 1, 2, {}, 0.0, false);
    test_matmul<float, Large, Rbf>("rbf float32", 130, 400, 9, 70, {0.05});
    test_matmul<float, Small, Matern52>("matern52 float32", 65, 70, 9, 3, {4.0});
    test_matmul<float, Tensor, Rbf>("rbf tensor", 20, 130, 33, 64, {0.02});
    test_matmul<double, Wide, Rbf>("rbf float64", 65, 200, 9, 65, {0.05});
    test_truncation();
    test_triangles();
    std::printf("%d checks, %d failed\n", n_checks, n_failed);
    return n_failed != 0;
}
