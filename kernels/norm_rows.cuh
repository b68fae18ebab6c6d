// How norms work on rows: one warp a row, its parts in registers, and a sum over rows by column.
#pragma once
#include "portable.cuh"

namespace norm_rows {

constexpr int WARPS = 4, THREADS = WARPS * WARP;
constexpr int BACKWARD_ROWS = 64;  // a block: part of the result's bits

// The first column of this lane's eight in a vector of the row.
DEVICE int column_of(int vector) { return (vector * WARP + thread_index() % WARP) * 8; }

// This lane's parts of the row that begins at `start`, zeros beyond d. With a residual they are of
// the sum of both, rounded to bf16, which also goes to `sum`.
template <int VECTORS>
DEVICE void load_row(Eight (&row)[VECTORS], const bf16* x, const bf16* residual, bf16* sum,
                     size_t start, int d) {
#pragma unroll
  for (int v = 0; v < VECTORS; v++) {
    const int column = column_of(v);
    row[v] = Eight{};
    if (column >= d) continue;
    row[v] = load_eight(x + start + column);
    if (!residual) continue;
    float a[8], b[8];
    unpack(a, row[v]);
    unpack(b, load_eight(residual + start + column));
#pragma unroll
    for (int i = 0; i < 8; i++) a[i] += b[i];
    row[v] = packed(a);
    store_eight(sum + start + column, row[v]);
  }
}

// Floats of shared memory that each warp has for the sums of its rows: element i of the eight of a
// lane lies 32 · i after the first, so that a warp's accesses meet 32 banks.
DEVICE int warp_floats(int d) { return (d + 8 * WARP - 1) / (8 * WARP) * (8 * WARP); }
DEVICE int place_of(int column) {
  const int lane = column % (8 * WARP) / 8, i = column % 8;
  return column / (8 * WARP) * (8 * WARP) + i * WARP + lane;
}

// Zeros where this warp sums its rows: its part of WARPS · warp_floats(d) floats of shared memory.
DEVICE float* begin_sums(int d) {
  const int warp = thread_index() / WARP, lane = thread_index() % WARP;
  float* mine = reinterpret_cast<float*>(shared_memory()) + warp * warp_floats(d);
  for (int at = lane; at < warp_floats(d); at += WARP) mine[at] = 0.f;
  return mine;
}

// Row block_x() of parts [blocks, d] = the sums of all warps, in order.
DEVICE void end_sums(float* parts, int d) {
  const float* shared = reinterpret_cast<const float*>(shared_memory());
  block_barrier();
  for (int column = thread_index(); column < d; column += THREADS) {
    float sum = 0.f;
    for (int warp = 0; warp < WARPS; warp++)
      sum += shared[warp * warp_floats(d) + place_of(column)];
    parts[size_t(block_x()) * d + column] = sum;
  }
}

}  // namespace norm_rows
