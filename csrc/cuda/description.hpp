// What the host tells the GPU in its launches' own arguments: tables of samples, pairs and pieces. Part of
// planning.hpp.
#pragma once

#include <algorithm>
#include <cassert>
#include <vector>

#include "pack.cuh"

namespace isthmus::gpu {
namespace {

using cuda::Size;

// Host values on their way to the workspace, in as few words as Describe takes: records that differ by the same from
// one to the next are a progression.
class Description {
  public:
    static constexpr std::size_t kHead = 3;

    // Values in records of `width` words, at `offset` words of the workspace.
    void add(std::size_t offset, const std::vector<Size>& values, std::size_t width) {
        std::size_t plain = 0, at = 0;  // words from `plain` on are in no progression
        while (at < values.size()) {
            const std::size_t end = end_of_progression(values, at, width);
            if (end - at > 2 * (width + kHead)) {
                add_plain(offset, values, plain, at);
                add_progression(offset + at, values.data() + at, width, (end - at) / width);
                plain = at = end;
            } else {
                at = std::min(at + width, values.size());
            }
        }
        add_plain(offset, values, plain, values.size());
        n_values_ = std::max(n_values_, values.size());
    }
    const std::vector<cuda::DescribeTask>& tasks() const { return tasks_; }
    std::size_t most_values() const { return n_values_; }  // of one table

  private:
    // The end of the longest progression from `at` on; `at` where not even two records follow.
    static std::size_t end_of_progression(const std::vector<Size>& values, std::size_t at, std::size_t width) {
        const auto goes_on = [&](std::size_t next) {
            for (std::size_t k = 0; k < width; ++k)
                if (values[next + k] - values[next - width + k] != values[at + width + k] - values[at + k])
                    return false;
            return true;
        };
        std::size_t end = at + 2 * width;
        if (end > values.size()) return at;
        while (end + width <= values.size() && goes_on(end)) end += width;
        return end;
    }
    Size* room(std::size_t words) {
        assert(words <= cuda::kWords);
        if (tasks_.empty() || tasks_.back().count + words > cuda::kWords) tasks_.push_back({});
        Size* const to = tasks_.back().words + tasks_.back().count;
        tasks_.back().count += words;
        return to;
    }
    void add_plain(std::size_t offset, const std::vector<Size>& values, std::size_t begin, std::size_t end) {
        while (begin < end) {
            const std::size_t left = tasks_.empty() ? 0 : cuda::kWords - tasks_.back().count;
            const std::size_t count = std::min(end - begin, (left > 2 * kHead ? left : cuda::kWords) - kHead);
            Size* const to = room(kHead + count);
            to[0] = offset + begin, to[1] = count, to[2] = 1;
            std::copy_n(values.data() + begin, count, to + kHead);
            begin += count;
        }
    }
    void add_progression(std::size_t offset, const Size* first, std::size_t width, std::size_t count) {
        Size* const to = room(kHead + 2 * width);
        to[0] = offset, to[1] = width, to[2] = count;
        for (std::size_t k = 0; k < width; ++k)
            to[kHead + k] = first[k], to[kHead + width + k] = first[width + k] - first[k];
    }

    std::vector<cuda::DescribeTask> tasks_;
    std::size_t n_values_ = 0;
};

}  // namespace
}  // namespace isthmus::gpu
