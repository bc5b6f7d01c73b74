// The engine's own test, without Python: every operation, level, kernel and dtype against plain double loops.
// Prints one line for each level and operation, then the counts; ends with 0 when nothing failed.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "../../csrc/core.hpp"

namespace {

using namespace isthmus;
using Matrix = std::vector<double>;  // row-major

// Around every vector width: 2, 4, 8 and 16 lanes.
constexpr std::size_t kSizes[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65};
constexpr std::size_t kNumberOfSizes = std::size(kSizes);
constexpr std::size_t kFewRows = 16;  // the bound of MMD^2 holds for more rows: roundings average out

// Largest error on kernel values and on MMD^2, times max(1, largest |K|).
template <class T>
constexpr double kKernelBound = sizeof(T) == 4 ? 5e-6 : 1e-13;
template <class T>
constexpr double kMmdBound = sizeof(T) == 4 ? 1e-7 : 1e-14;
template <class T>
constexpr const char* kDtype = sizeof(T) == 4 ? "float32" : "float64";

// ---- what is counted -----------------------------------------------------------------------------------------------

struct Tally {
    std::string level, operation;
    std::size_t passed = 0, failed = 0;
    double worst = 0;  // largest error as a share of its bound
};

std::vector<Tally> tallies;

Tally& tally_of(const std::string& level, const std::string& operation) {
    for (Tally& t : tallies)
        if (t.level == level && t.operation == operation) return t;
    tallies.push_back({level, operation});
    return tallies.back();
}

// `error` may be NaN, which fails.
void check(const std::string& level, const std::string& operation, double error, double bound,
           const std::string& where) {
    constexpr std::size_t kShown = 5;
    Tally& t = tally_of(level, operation);
    if (error <= bound) {
        ++t.passed;
        if (bound > 0) t.worst = std::max(t.worst, error / bound);
    } else if (++t.failed <= kShown) {
        std::printf("%s %s: error %.3g above %.3g at %s\n", level.c_str(), operation.c_str(), error, bound,
                    where.c_str());
    }
}

void check(const std::string& level, const std::string& operation, bool condition, const std::string& where) {
    check(level, operation, condition ? 0.0 : 1.0, 0.0, where);
}

// ---- the oracle ----------------------------------------------------------------------------------------------------

struct Formula {
    const char* name;
    std::vector<double> params;
    double (*value)(const double* p, double squared, double city_block, double dot);
};

const std::vector<Formula>& formulas() {
    static const std::vector<Formula> all = {
        {"rbf", {0.08}, [](const double* p, double sq, double, double) { return std::exp(-p[0] * sq); }},
        {"laplacian", {7.0}, [](const double* p, double, double l1, double) { return std::exp(-l1 / p[0]); }},
        {"exponential",
         {3.0},
         [](const double* p, double sq, double, double) { return std::exp(-std::sqrt(sq) / p[0]); }},
        {"matern32",
         {3.0},
         [](const double* p, double sq, double, double) {
             const double r = std::sqrt(3 * sq) / p[0];
             return (1 + r) * std::exp(-r);
         }},
        {"matern52",
         {3.0},
         [](const double* p, double sq, double, double) {
             const double r = std::sqrt(5 * sq) / p[0];
             return (1 + r + r * r / 3) * std::exp(-r);
         }},
        {"rational_quadratic",
         {2.0, 1.7},
         [](const double* p, double sq, double, double) { return std::pow(1 + sq / (2 * p[1] * p[0] * p[0]), -p[1]); }},
        {"imq",
         {3.0},
         [](const double* p, double sq, double, double) { return 1 / std::sqrt(1 + sq / (p[0] * p[0])); }},
        {"energy", {}, [](const double*, double sq, double, double) { return -std::sqrt(sq); }},
        {"linear", {}, [](const double*, double, double, double dot) { return dot; }},
        {"polynomial",
         {0.1, 1.0, 3.0},
         [](const double* p, double, double, double dot) { return std::pow(p[0] * dot + p[1], p[2]); }},
    };
    return all;
}

struct Weighted {
    const Formula* formula;
    double weight;
    std::vector<double> params;
};

// A weighted sum of kernels, for the engine and as formulas.
struct Case {
    std::string name;
    std::vector<Weighted> parts;

    KernelSum sum() const {
        KernelSum terms;
        for (const Weighted& part : parts)
            for (unsigned k = 0; k < kernel_names().size(); ++k)
                if (std::string(kernel_names()[k].name) == part.formula->name) {
                    KernelTerm term{k, part.weight, {0, 0, 0}};
                    std::copy(part.params.begin(), part.params.end(), term.params);
                    terms.push_back(term);
                }
        return terms;
    }
    double operator()(double squared, double city_block, double dot) const {
        double value = 0;
        for (const Weighted& part : parts)
            value += part.weight * part.formula->value(part.params.data(), squared, city_block, dot);
        return value;
    }
};

std::vector<Case> cases() {
    std::vector<Case> all;
    for (const Formula& f : formulas()) all.push_back({f.name, {{&f, 1.0, f.params}}});
    const Formula *rbf = &formulas()[0], *laplacian = &formulas()[1], *linear = &formulas()[8];
    all.push_back({"rbf at ratio 2", {{rbf, 0.5, {0.02}}, {rbf, 0.3, {0.08}}, {rbf, 0.2, {0.32}}}});
    all.push_back({"sum", {{rbf, 0.5, {0.1}}, {laplacian, 1.0, {5.0}}, {linear, 0.1, {}}}});
    return all;
}

std::mt19937_64 random_bits(20240229);

// Rows `stride` apart, NaN between them: nothing may be read there.
template <class T>
struct Sample {
    std::size_t count, d, stride;
    std::vector<T> values;

    Sample(std::size_t n, std::size_t width, std::size_t gap, double shift = 0, double scale = 1)
        : count(n), d(width), stride(width + gap), values(n * stride, std::numeric_limits<T>::quiet_NaN()) {
        std::normal_distribution<double> normal(shift, scale);
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t k = 0; k < d; ++k) at(i, k) = T(normal(random_bits));
    }
    T& at(std::size_t i, std::size_t k) { return values[i * stride + k]; }
    double at(std::size_t i, std::size_t k) const { return double(values[i * stride + k]); }
    Rows<T> rows() const { return {values.data(), std::ptrdiff_t(stride), count}; }
};

template <class T>
Matrix oracle(const Case& kernel, const Sample<T>& x, const Sample<T>& y) {
    Matrix values(x.count * y.count);
    for (std::size_t i = 0; i < x.count; ++i)
        for (std::size_t j = 0; j < y.count; ++j) {
            double squared = 0, city_block = 0, dot = 0;
            for (std::size_t k = 0; k < x.d; ++k) {
                const double gap = x.at(i, k) - y.at(j, k);
                squared += gap * gap;
                city_block += std::fabs(gap);
                dot += x.at(i, k) * y.at(j, k);
            }
            values[i * y.count + j] = kernel(squared, city_block, dot);
        }
    return values;
}

double largest(const Matrix& values) {
    double most = 1;
    for (double v : values) most = std::max(most, std::fabs(v));
    return most;
}

template <class T>
std::vector<T> random_vector(std::size_t count, double low, double high) {
    std::uniform_real_distribution<double> uniform(low, high);
    std::vector<T> v(count);
    for (T& one : v) one = T(uniform(random_bits));
    return v;
}

// ---- the operations ------------------------------------------------------------------------------------------------

struct Shape {
    std::size_t n, m, d, n_columns;
};

// Every size in each place.
std::vector<Shape> shapes() {
    std::vector<Shape> all;
    const auto size = [](std::size_t i) { return kSizes[i % kNumberOfSizes]; };
    for (std::size_t i = 0; i < kNumberOfSizes; ++i)
        all.push_back({size(i), size(kNumberOfSizes - 1 - i), size(5 * i + 3), size(7 * i + 5)});
    for (std::size_t i = 0; i < kNumberOfSizes; ++i) all.push_back({size(i), size(4 * i + 1), size(i), size(i + 2)});
    return all;
}

std::string place(const char* dtype, const std::string& kernel, const Shape& s) {
    return std::string(dtype) + ", " + kernel + ", n = " + std::to_string(s.n) + ", m = " + std::to_string(s.m) +
           ", d = " + std::to_string(s.d) + ", columns = " + std::to_string(s.n_columns);
}

Run run_at(const std::string& level, unsigned n_threads = 1) { return {engines_of(level), n_threads, nullptr}; }

template <class T>
std::vector<T> filled(std::size_t count) {
    return std::vector<T>(count, T(-77));
}

template <class T>
void test_kernel_matrix(const Case& kernel, const Shape& s, const Sample<T>& x, const Sample<T>& y,
                        const Matrix& expected, const std::string& where) {
    const double bound = kKernelBound<T> * largest(expected);
    const std::size_t stride = s.m + 3;
    for (const std::string& level : available_levels()) {
        std::vector<T> out = filled<T>(s.n * stride);
        kernel_matrix(run_at(level), x.rows(), y.rows(), s.d, kernel.sum(), out.data(), stride);
        double error = 0;
        bool untouched = true;
        for (std::size_t i = 0; i < s.n; ++i) {
            for (std::size_t j = 0; j < s.m; ++j) {
                const double off = std::fabs(double(out[i * stride + j]) - expected[i * s.m + j]);
                if (!(off <= error)) error = off;
            }
            for (std::size_t j = s.m; j < stride; ++j) untouched &= out[i * stride + j] == T(-77);
        }
        check(level, "kernel_matrix", error, bound, where);
        check(level, "kernel_matrix", untouched, where + ", between rows of out");
    }
}

template <class T>
void test_kernel_matmul(const Case& kernel, const Shape& s, const Sample<T>& x, const Sample<T>& y,
                        const Matrix& values, bool skip_diagonal, const std::string& where) {
    const std::vector<T> v = random_vector<T>(s.m * s.n_columns, -2, 2);
    Matrix expected(s.n * s.n_columns), bound(s.n_columns);
    for (std::size_t j = 0; j < s.m; ++j)
        for (std::size_t q = 0; q < s.n_columns; ++q) {
            const double weight = double(v[j * s.n_columns + q]);
            bound[q] += kKernelBound<T> * largest(values) * std::fabs(weight);
            for (std::size_t i = 0; i < s.n; ++i)
                if (!skip_diagonal || i != j) expected[i * s.n_columns + q] += values[i * s.m + j] * weight;
        }
    for (const std::string& level : available_levels()) {
        std::vector<T> out = filled<T>(s.n * s.n_columns);
        kernel_matmul(run_at(level), x.rows(), y.rows(), s.d, v.data(), s.n_columns, kernel.sum(), skip_diagonal,
                      out.data());
        double share = 0;
        for (std::size_t i = 0; i < s.n; ++i)
            for (std::size_t q = 0; q < s.n_columns; ++q) {
                const std::size_t at = i * s.n_columns + q;
                const double off = std::fabs(double(out[at]) - expected[at]) / bound[q];
                if (!(off <= share)) share = off;
            }
        check(level, "kernel_matmul", share, 1.0, where + (skip_diagonal ? ", without diagonal" : ""));
    }
}

template <class T>
void test_block_sums(const Case& kernel, const Sample<T>& x, const Sample<T>& y, const Matrix& xx, const Matrix& xy,
                     const Matrix& yy, bool weighted, const std::string& where) {
    const std::size_t n = x.count, m = y.count;
    const std::vector<T> wx = weighted ? random_vector<T>(n, 0, 2) : std::vector<T>(n, T(1));
    const std::vector<T> wy = weighted ? random_vector<T>(m, 0, 2) : std::vector<T>(m, T(1));
    const auto weigh = [](const Matrix& values, const std::vector<T>& left, const std::vector<T>& right, bool inside,
                          double* diagonal) {
        double sum = 0;
        for (std::size_t i = 0; i < left.size(); ++i)
            for (std::size_t j = 0; j < right.size(); ++j) {
                const double one = double(left[i]) * double(right[j]) * values[i * right.size() + j];
                (inside && i == j ? *diagonal : sum) += one;
            }
        return sum;
    };
    const auto total = [](const std::vector<T>& w) {
        double sum = 0;
        for (T one : w) sum += double(one);
        return sum;
    };
    double diagonal[2] = {};
    const double expected[3] = {weigh(xx, wx, wx, true, diagonal), weigh(xy, wx, wy, false, nullptr),
                                weigh(yy, wy, wy, true, diagonal + 1)};
    const double tx = total(wx), ty = total(wy);
    const double scale = std::max({largest(xx), largest(xy), largest(yy)});
    const double bounds[3] = {tx * tx, tx * ty, ty * ty};
    const std::vector<Block<T>> blocks = {{x.rows(), weighted ? wx.data() : nullptr, 0},
                                          {y.rows(), weighted ? wy.data() : nullptr, 0}};
    for (const std::string& level : available_levels()) {
        double sums[3], diagonals[2];
        block_sums(run_at(level), blocks, x.d, {{0, 0}, {0, 1}, {1, 1}}, kernel.sum(), sums, diagonals);
        for (int p = 0; p < 3; ++p)
            check(level, "block_sums", std::fabs(sums[p] - expected[p]),
                  kKernelBound<T> * scale * std::max(1.0, bounds[p]), where + ", pair " + std::to_string(p));
        for (int b = 0; b < 2; ++b)
            check(level, "block_sums", std::fabs(diagonals[b] - diagonal[b]),
                  kKernelBound<T> * scale * std::max(1.0, b ? ty * ty : tx * tx), where + ", diagonal");
        if (!weighted && std::min(n, m) > kFewRows) {
            const auto mmd2 = [&](const double* s, const double* d) {
                return (s[0] + d[0]) / (tx * tx) + (s[2] + d[1]) / (ty * ty) - 2 * s[1] / (tx * ty);
            };
            check(level, "block_sums", std::fabs(mmd2(sums, diagonals) - mmd2(expected, diagonal)),
                  kMmdBound<T> * scale, where + ", MMD^2");
        }
    }
}

struct NamedActivation {
    const char* name;
    Activation activation;
    double (*value)(double);
};
const NamedActivation kActivations[] = {
    {"identity", Activation::Identity, [](double z) { return z; }},
    {"relu", Activation::Relu, [](double z) { return z > 0 ? z : 0.0; }},
    {"tanh", Activation::Tanh, [](double z) { return std::tanh(z); }},
    {"logistic", Activation::Logistic, [](double z) { return 1 / (1 + std::exp(-z)); }},
    {"cos", Activation::Cos, [](double z) { return std::cos(z); }},
};

template <class T>
void test_project(const Shape& s) {
    const Sample<T> x(s.n, s.d, s.n % 3), w(s.d, s.n_columns, 0);
    const std::vector<T> bias = random_vector<T>(s.n_columns, -2, 2);
    for (const T* b : {static_cast<const T*>(nullptr), bias.data()}) {
        Matrix z(s.n * s.n_columns);
        for (std::size_t i = 0; i < s.n; ++i)
            for (std::size_t q = 0; q < s.n_columns; ++q) {
                double sum = b ? double(b[q]) : 0.0;
                for (std::size_t k = 0; k < s.d; ++k) sum += x.at(i, k) * w.at(k, q);
                z[i * s.n_columns + q] = sum;
            }
        for (const NamedActivation& a : kActivations)
            for (const std::string& level : available_levels()) {
                std::vector<T> out = filled<T>(z.size());
                project(run_at(level), x.rows(), s.d, w.values.data(), b, s.n_columns, a.activation, out.data());
                double error = 0;
                for (std::size_t i = 0; i < z.size(); ++i) {
                    const double off = std::fabs(double(out[i]) - a.value(z[i]));
                    if (!(off <= error)) error = off;
                }
                check(level, "project", error, kKernelBound<T> * largest(z), place(kDtype<T>, a.name, s));
            }
    }
}

template <class T>
void test_moments(const Shape& s) {
    const Sample<T> x(s.n, s.d, s.n % 3);
    const std::vector<T> origin = random_vector<T>(s.d, -2, 2), weights = random_vector<T>(s.n, 0, 2);
    for (const T* w : {static_cast<const T*>(nullptr), weights.data()}) {
        Matrix expected(s.d + s.d * s.d);  // the sums, then the scatter
        for (std::size_t i = 0; i < s.n; ++i)
            for (std::size_t k = 0; k < s.d; ++k) {
                const double left = (w ? double(w[i]) : 1.0) * (x.at(i, k) - double(origin[k]));
                expected[k] += left;
                for (std::size_t j = 0; j < s.d; ++j)
                    expected[s.d + k * s.d + j] += left * (x.at(i, j) - double(origin[j]));
            }
        for (const std::string& level : available_levels()) {
            std::vector<double> found = filled<double>(expected.size());
            moments(run_at(level), x.rows(), s.d, w, origin.data(), found.data(), found.data() + s.d);
            double error = 0;
            for (std::size_t i = 0; i < expected.size(); ++i) {
                const double off = std::fabs(found[i] - expected[i]);
                if (!(off <= error)) error = off;
            }
            check(level, "moments", error, kKernelBound<T> * largest(expected), place(kDtype<T>, "", s));
        }
    }
}

template <class T>
void test_all_sizes() {
    for (const Shape& s : shapes()) {
        const std::size_t gap = s.n % 3;
        const Sample<T> x(s.n, s.d, gap), y(s.m, s.d, 0, 0.3);
        for (const Case& kernel : cases()) {
            const std::string where = place(kDtype<T>, kernel.name, s);
            const Matrix xy = oracle(kernel, x, y), xx = oracle(kernel, x, x), yy = oracle(kernel, y, y);
            test_kernel_matrix(kernel, s, x, y, xy, where);
            test_kernel_matmul(kernel, s, x, y, xy, false, where);
            test_kernel_matmul(kernel, {s.m, s.m, s.d, s.n_columns}, y, y, yy, true, where);
            test_block_sums(kernel, x, y, xx, xy, yy, s.n % 2 == 0, where);
        }
        test_project<T>(s);
        test_moments<T>(s);
    }
}

// ---- laws ----------------------------------------------------------------------------------------------------------

// Tight clusters far from the mean: where |x|^2 + |y|^2 - 2 x.y alone loses its digits.
template <class T>
void test_near_pairs() {
    for (const std::size_t d : {3u, 17u})
        for (const double distance : {4.0, 1000.0}) {
            Sample<T> x(70, d, 0, 0, 0.3);
            for (std::size_t i = 0; i < x.count; ++i)
                x.at(i, 0) = T(double(x.at(i, 0)) + (i % 2 ? distance : -distance));
            const Shape shape{x.count, x.count, d, 1};
            for (const Case& kernel : cases()) {
                const Matrix expected = oracle(kernel, x, x);
                for (const std::string& level : available_levels()) {
                    std::vector<T> out = filled<T>(expected.size());
                    kernel_matrix(run_at(level), x.rows(), x.rows(), d, kernel.sum(), out.data(), x.count);
                    double error = 0;
                    for (std::size_t i = 0; i < out.size(); ++i) {
                        const double off = std::fabs(double(out[i]) - expected[i]);
                        if (!(off <= error)) error = off;
                    }
                    check(level, "near pairs", error, kKernelBound<T> * largest(expected),
                          place(kDtype<T>, kernel.name, shape));
                }
            }
        }
}

template <class T>
void test_nan() {
    constexpr std::size_t kWith = 11;
    const Shape s{23, 19, 5, 1};
    Sample<T> x(s.n, s.d, 0);
    const Sample<T> y(s.m, s.d, 0);
    x.at(kWith, 2) = std::numeric_limits<T>::quiet_NaN();
    for (const Case& kernel : cases())
        for (const std::string& level : available_levels()) {
            std::vector<T> out = filled<T>(s.n * s.m);
            kernel_matrix(run_at(level), x.rows(), y.rows(), s.d, kernel.sum(), out.data(), s.m);
            bool right = true;
            for (std::size_t i = 0; i < s.n; ++i)
                for (std::size_t j = 0; j < s.m; ++j) right &= std::isnan(out[i * s.m + j]) == (i == kWith);
            check(level, "NaN reaches its row", right, place(kDtype<T>, kernel.name, s));
        }
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Enough work for several tasks: half a million vector operations each.
template <class T>
void test_threads() {
    const Shape s{521, 457, 65, 9};
    const Sample<T> x(s.n, s.d, 0), y(s.m, s.d, 0), w(s.d, 450, 0);
    const std::vector<T> v = random_vector<T>(s.n * s.n_columns, -2, 2);
    for (const Case& kernel : cases()) {
        if (kernel.name != "energy" && kernel.name != "sum") continue;
        const std::string where = place(kDtype<T>, kernel.name, s);
        for (const std::string& level : available_levels()) {
            struct Results {
                std::vector<T> matrix, product, own, features;
                std::vector<double> sums;
            };
            const auto everything = [&](unsigned n_threads) {
                const Run run = run_at(level, n_threads);
                Results r{std::vector<T>(s.n * s.m), std::vector<T>(s.n * s.n_columns),
                          std::vector<T>(s.n * s.n_columns), std::vector<T>(s.n * w.d), std::vector<double>(5)};
                kernel_matrix(run, x.rows(), y.rows(), s.d, kernel.sum(), r.matrix.data(), s.m);
                kernel_matmul(run, x.rows(), y.rows(), s.d, v.data(), s.n_columns, kernel.sum(), false,
                              r.product.data());
                kernel_matmul(run, x.rows(), x.rows(), s.d, v.data(), s.n_columns, kernel.sum(), false, r.own.data());
                project<T>(run, x.rows(), s.d, w.values.data(), nullptr, w.d, Activation::Tanh, r.features.data());
                block_sums<T>(run, {{x.rows(), nullptr, 0}, {y.rows(), nullptr, 0}}, s.d, {{0, 0}, {0, 1}, {1, 1}},
                              kernel.sum(), r.sums.data(), r.sums.data() + 3);
                return r;
            };
            const Results one = everything(1), three = everything(3);
            check(level, "1 = 3 threads", same_bits(one.matrix, three.matrix), where + ", kernel_matrix");
            check(level, "1 = 3 threads", same_bits(one.product, three.product), where + ", kernel_matmul");
            check(level, "1 = 3 threads", same_bits(one.own, three.own), where + ", kernel_matmul with itself");
            check(level, "1 = 3 threads", same_bits(one.features, three.features), where + ", project");
            check(level, "1 = 3 threads", same_bits(one.sums, three.sums), where + ", block_sums");
        }
    }
}

// A product of K with itself adds to whole packs of columns and to nothing beyond them: all numbers are 1.
template <class T>
void test_packs_of_columns(const Engine<T> Engines::* of_type) {
    unsigned linear = 0;
    while (std::string(kernel_names()[linear].name) != "linear") ++linear;
    const Term term{linear, 1.0, 1.0, {0, 0, 0}};
    for (const std::string& level : available_levels()) {
        const Engine<T>& engine = engines_of(level)->*of_type;
        const std::size_t n = engine.cols;
        alignas(64) T ones[32 * 32], block[kMatmulDepth * (kMatmulDepth + 16)];
        std::fill(std::begin(ones), std::end(ones), T(1));
        for (std::size_t columns = 1; columns <= n; ++columns) {
            const std::size_t row_sums = panels_in(columns, engine.lanes) * engine.lanes;
            std::vector<double> sums((n + 1) * row_sums + n);
            engine.matmul_self({{ones, nullptr, nullptr},
                                1,
                                0,
                                1,
                                0,
                                1,
                                {&term, 1, Pairing::Dot, nullptr, 0, false},
                                {},
                                ones,
                                n,
                                1,
                                columns,
                                false,
                                sums.data(),
                                row_sums,
                                block});
            bool right = true;
            for (std::size_t i = 0; i < sums.size(); ++i) right &= sums[i] == (i < n * row_sums ? double(n) : 0.0);
            check(level, "packs of columns", right, place(kDtype<T>, "linear", {n, n, 1, columns}));
        }
    }
}

// Denormal results are flushed to 0 inside, and the caller's arithmetic is as before.
void test_denormals() {
    const float x = 1e-10f;
    float out = 1;
    volatile float smallest = std::numeric_limits<float>::min();
    const Formula* polynomial = &formulas()[9];
    const Case square{"polynomial", {{polynomial, 1.0, {1.0, 0.0, 2.0}}}};
    for (const std::string& level : available_levels()) {
        kernel_matrix<float>(run_at(level), {&x, 1, 1}, {&x, 1, 1}, 1, square.sum(), &out, 1);
        check(level, "denormals", out == 0, "(1e-10 * 1e-10)^2 inside");
        check(level, "denormals", smallest / 4 > 0, "a quarter of the smallest normal number outside");
    }
}

void test_every_kernel_is_here() {
    for (const KernelName& k : kernel_names()) {
        const bool found = std::any_of(formulas().begin(), formulas().end(), [&](const Formula& f) {
            return std::string(f.name) == k.name && f.params.size() == k.n_params;
        });
        check("all", "kernels named here", found, k.name);
    }
}

template <class T>
void test_all() {
    test_all_sizes<T>();
    test_near_pairs<T>();
    test_nan<T>();
    test_threads<T>();
}

}  // namespace

int main() {
    test_every_kernel_is_here();
    test_all<float>();
    test_all<double>();
    test_packs_of_columns(&Engines::f32);
    test_packs_of_columns(&Engines::f64);
    test_denormals();
    std::size_t passed = 0, failed = 0;
    for (const std::string& level : available_levels())
        for (const Tally& t : tallies)
            if (t.level == level)
                std::printf("%-8s %-20s %6zu passed, %zu failed, worst error %.2f of its bound\n", t.level.c_str(),
                            t.operation.c_str(), t.passed, t.failed, t.worst);
    for (const Tally& t : tallies) passed += t.passed, failed += t.failed;
    std::printf("%zu passed, %zu failed\n", passed, failed);
    return failed != 0;
}
