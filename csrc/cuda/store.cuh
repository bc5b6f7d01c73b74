// Consumer: the kernel matrix itself.
#pragma once

#include "kernels.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

template <class T>
struct StoreTask {
    Packed<T> packed;
    Terms<T> terms;
    Sample<T> left, right;
    Size n_tiles;
    T* out;
    Size out_stride, add;  // to what is there
};

// out[i][j] = k_ij. A sample with itself: tiles from the diagonal on, each also as its mirror image.
template <class T, class Shape, class Values>
struct Store {
    using Task = StoreTask<T>;
    static constexpr int kThreads = Shape::kThreads;
    static constexpr Size kShared = kProductBytes<T, Shape>;
    ISTHMUS_DEVICE static void run(const Task& t) {
        const bool own = t.left.panel == t.right.panel;
        for (Size tile = block(); tile < t.n_tiles; tile += n_blocks()) {
            const Place<T> p = place_of<T, Shape>(t.left, t.right, tile);
            T at[Shape::kEach][Shape::kEach];
            form_values<T, Shape, Values>(t.packed, p, t.terms, at);
            ISTHMUS_UNROLL
            for (int i = 0; i < Shape::kEach; ++i) ISTHMUS_UNROLL
            for (int j = 0; j < Shape::kEach; ++j) {
                const Size row = p.row + Shape::row(i), col = p.col + Shape::col(j);
                if (row >= t.left.count || col >= t.right.count) continue;
                T& out = t.out[row * t.out_stride + col];
                out = t.add ? out + at[i][j] : at[i][j];
                if (own && p.row != p.col) {
                    T& mirror = t.out[col * t.out_stride + row];
                    mirror = t.add ? mirror + at[i][j] : at[i][j];
                }
            }
        }
    }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
