// Row-major matrices read where they lie, slab by slab, into shared memory.
#pragma once

#include "machine.cuh"

namespace isthmus::ISTHMUS_ARCH {
namespace {

// Strides in elements. `aligned`: 16 bytes can be read at every 16th byte of every row.
template <class T>
struct Matrix {
    const T* at;
    Size stride, rows, columns, aligned;
};

// Numbers that one instruction moves.
template <class T, int kCount>
struct alignas(kCount * sizeof(T)) Vector {
    T at[kCount];
};
template <class T>
constexpr int kVector = 16 / int(sizeof(T));

// A block of a matrix that a block of threads copies; every thread keeps to its own columns.
template <class T, int kRows, int kColumns, int kStride, int kThreads>
struct Slab {
    static constexpr int kInRow = kColumns / kVector<T>, kEach = kRows * kInRow / kThreads;
    static_assert(kThreads % kInRow == 0 && kRows * kInRow % kThreads == 0 && kStride % kVector<T> == 0);
    ISTHMUS_DEVICE static int row(int i) { return thread() / kInRow + i * (kThreads / kInRow); }
    ISTHMUS_DEVICE static int column() { return thread() % kInRow * kVector<T>; }

    // Starts to copy the block from (row, column) on; zeros stand for what lies outside the matrix.
    ISTHMUS_DEVICE static void fetch(const Matrix<T>& m, Size first_row, Size first_column, T* slab) {
        const Size from = first_column + Size(column());
        const bool whole = m.aligned && from + kVector<T> <= m.columns;
        ISTHMUS_UNROLL
        for (int i = 0; i < kEach; ++i) {
            const Size at = first_row + Size(row(i));
            const T* const source = m.at + at * m.stride + from;
            T* const to = slab + row(i) * kStride + column();
            if (whole && at < m.rows) {
                copy16(to, source);
            } else {
                ISTHMUS_UNROLL
                for (int e = 0; e < kVector<T>; ++e) {
                    const bool there = at < m.rows && from + Size(e) < m.columns;
                    copy_number(to + e, there ? source + e : m.at, there);
                }
            }
        }
    }
};

// Calls use(k, buffer) for k = 0, 1, ..., count - 1; before that the same threads have fetched slab k by fetch(k,
// buffer) and changed what they fetched by arrive(k, buffer). Shared memory has room for kBuffers slabs.
template <int kBuffers, class Fetch, class Arrive, class Use>
ISTHMUS_DEVICE void stream_slabs(Size count, const Fetch& fetch, const Arrive& arrive, const Use& use) {
    sync_block();  // the buffers may still be read
    ISTHMUS_UNROLL
    for (int k = 0; k < kBuffers - 1; ++k) {
        if (Size(k) < count) fetch(Size(k), k);
        end_copies();
    }
    int buffer = 0;
    ISTHMUS_UNROLL_BY(1)
    for (Size k = 0; k < count; ++k) {
        wait_for_copies<kBuffers - 2>();
        arrive(k, buffer);
        sync_block();
        // Slab k - 1 has been used by all.
        if (k + kBuffers - 1 < count) fetch(k + kBuffers - 1, buffer ? buffer - 1 : kBuffers - 1);
        end_copies();
        use(k, buffer);
        buffer = buffer + 1 < kBuffers ? buffer + 1 : 0;
    }
}

// x - centre, rounded once; the centre in two parts.
template <class T>
struct Centre {
    T high, low;
    ISTHMUS_DEVICE explicit Centre(double centre) : high(T(centre)), low(T(centre - double(T(centre)))) {}
    ISTHMUS_DEVICE T from(T x) const { return (x - high) - low; }
};

}  // namespace
}  // namespace isthmus::ISTHMUS_ARCH
