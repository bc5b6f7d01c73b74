// The level amx with its matrix unit in plain arithmetic, against plain double loops. Built and run by
// test_emulated_amx.py; prints what failed and ends with 0 when nothing did.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "../../csrc/core.hpp"

namespace isthmus {
extern const Engines engines_amx;
}

namespace {

using namespace isthmus;
using Matrix = std::vector<double>;  // row-major

struct Case {
    const char* name;
    std::vector<KernelTerm> terms;  // the name's number is filled in
    double (*value)(double squared, double dot);
};

const std::vector<Case> kCases = {
    {"rbf", {{0, 1.0, {0.05}}}, [](double sq, double) { return std::exp(-0.05 * sq); }},
    {"rbf",
     {{0, 0.5, {0.02}}, {0, 0.5, {0.08}}},
     [](double sq, double) { return 0.5 * std::exp(-0.02 * sq) + 0.5 * std::exp(-0.08 * sq); }},
    {"imq", {{0, 1.0, {3.0}}}, [](double sq, double) { return 1 / std::sqrt(1 + sq / 9); }},
    {"imq",
     {{0, 0.5, {3.0}}, {0, 0.5, {1.0}}},
     [](double sq, double) { return 0.5 / std::sqrt(1 + sq / 9) + 0.5 / std::sqrt(1 + sq); }},
    {"linear", {{0, 1.0, {}}}, [](double, double dot) { return dot; }},
    {"polynomial", {{0, 1.0, {0.1, 1.0, 2.0}}}, [](double, double dot) { return std::pow(0.1 * dot + 1, 2); }},
};

KernelSum kernel_of(const Case& c) {
    unsigned number = 0;
    while (kernel_names()[number].name != std::string(c.name)) ++number;
    KernelSum sum = c.terms;
    for (KernelTerm& t : sum) t.kernel = number;
    return sum;
}

std::mt19937 bits(7);

struct Sample {
    std::vector<float> values;
    std::size_t count, d;
    Rows<float> rows() const { return {values.data(), std::ptrdiff_t(d), count}; }
};

Sample sample(std::size_t count, std::size_t d, double mean) {
    std::normal_distribution<double> normal(mean, 1.0);
    Sample s{std::vector<float>(count * d), count, d};
    for (float& v : s.values) v = float(normal(bits));
    for (std::size_t k = 0; k < d && count > 40; ++k) s.values[40 * d + k] = s.values[3 * d + k];
    return s;
}

Matrix oracle(const Case& c, const Sample& x, const Sample& y) {
    Matrix out;
    for (std::size_t i = 0; i < x.count; ++i)
        for (std::size_t j = 0; j < y.count; ++j) {
            double sq = 0, dot = 0;
            for (std::size_t k = 0; k < x.d; ++k) {
                const double a = double(x.values[i * x.d + k]), b = double(y.values[j * y.d + k]);
                sq += (a - b) * (a - b);
                dot += a * b;
            }
            out.push_back(c.value(sq, dot));
        }
    return out;
}

int failed = 0, passed = 0;

void check(bool good, const std::string& what) {
    ++(good ? passed : failed);
    if (!good) std::printf("%s\n", what.c_str());
}

double largest_error(const std::vector<float>& got, const Matrix& expected) {
    double error = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const double off = std::fabs(double(got[i]) - expected[i]);
        if (!(off <= error)) error = off;  // NaN stays
    }
    return error;
}

double largest(const Matrix& values) {
    double most = 1;
    for (double v : values) most = std::max(most, std::fabs(v));
    return most;
}

void test_matrix_and_product(const Run& run, const Case& c, const Sample& x, const Sample& y,
                             const std::string& where) {
    const double bound = run.fast ? 1e-4 : 5e-6;
    const Matrix k = oracle(c, x, y);
    std::vector<float> out(k.size());
    kernel_matrix(run, x.rows(), y.rows(), x.d, kernel_of(c), out.data(), y.count);
    check(largest_error(out, k) <= bound * largest(k), where + ": kernel_matrix");

    constexpr std::size_t kColumns = 3;
    const Sample v = sample(y.count, kColumns, 0);
    Matrix product(x.count * kColumns), weight(x.count * kColumns);
    for (std::size_t i = 0; i < x.count; ++i)
        for (std::size_t j = 0; j < y.count; ++j)
            for (std::size_t q = 0; q < kColumns; ++q) {
                product[i * kColumns + q] += k[i * y.count + j] * double(v.values[j * kColumns + q]);
                weight[i * kColumns + q] += std::fabs(double(v.values[j * kColumns + q]));
            }
    out.resize(product.size());
    kernel_matmul(run, x.rows(), y.rows(), x.d, v.values.data(), kColumns, kernel_of(c), false, out.data());
    check(largest_error(out, product) <= bound * largest(k) * largest(weight), where + ": kernel_matmul");
}

void test_sums(const Run& run, const Case& c, const Sample& x, const Sample& y, const std::string& where) {
    const double bound = run.fast ? 1e-6 : 1e-7;
    const Matrix xx = oracle(c, x, x), xy = oracle(c, x, y);
    Matrix expected(2);
    for (std::size_t i = 0; i < x.count; ++i) {
        for (std::size_t j = 0; j < x.count; ++j) expected[0] += i == j ? 0 : xx[i * x.count + j];
        for (std::size_t j = 0; j < y.count; ++j) expected[1] += xy[i * y.count + j];
    }
    double sums[2], diagonals[2];
    block_sums<float>(run, {{x.rows(), nullptr, 0}, {y.rows(), nullptr, 0}}, x.d, {{0, 0}, {0, 1}}, kernel_of(c), sums,
                      diagonals);
    const double pairs[2] = {double(x.count * x.count), double(x.count * y.count)};
    // The mean of fewer roundings than a few hundred is not held to the bound of MMD^2.
    for (int i = 0; i < 2; ++i)
        check(std::fabs(sums[i] - expected[i]) / pairs[i] <= 4 * bound * largest(i ? xy : xx), where + ": block_sums");
}

void test_laws(const Run& run, const Case& c, const Sample& x, const std::string& where) {
    std::vector<float> k(x.count * x.count);
    kernel_matrix(run, x.rows(), x.rows(), x.d, kernel_of(c), k.data(), x.count);
    bool symmetric = true;
    for (std::size_t i = 0; i < x.count; ++i)
        for (std::size_t j = 0; j < i; ++j) symmetric &= k[i * x.count + j] == k[j * x.count + i];
    check(symmetric, where + ": the same bits from both sides");
    check(k[40 * x.count + 3] == k[3 * x.count + 3], where + ": equal rows, equal values");
}

}  // namespace

int main() {
    for (const bool fast : {false, true})
        for (const std::size_t d : {1u, 15u, 16u, 33u, 70u})
            for (const Case& c : kCases) {
                const Run run{&engines_amx, 2, nullptr, fast};
                const Sample x = sample(77, d, 0), y = sample(67, d, 0.3);
                const std::string where = std::string(c.name) + (c.terms.size() > 1 ? " sum" : "") +
                                          ", d = " + std::to_string(d) + (fast ? ", fast" : "");
                test_matrix_and_product(run, c, x, y, where);
                test_sums(run, c, x, y, where);
                test_laws(run, c, x, where);
            }
    // Two tight clusters far apart: near pairs are formed from the rows themselves.
    for (const bool fast : {false, true})
        for (const Case& c : kCases) {
            Sample x = sample(77, 5, 0);
            for (std::size_t i = 0; i < x.values.size(); ++i)
                x.values[i] = 0.3f * x.values[i] + (i / x.d % 2 ? 1000.0f : -1000.0f);
            const std::string where = std::string(c.name) + " in clusters" + (fast ? ", fast" : "");
            test_matrix_and_product({&engines_amx, 2, nullptr, fast}, c, x, x, where);
        }
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
