// RMSNorm with the residual sum before it, and its gradients.
//
//   h = x + residual (rounded to bf16: it is what the next block adds to), y = h · r(h) · u,
//   u = w, or 1 + w as in Gemma: `base` is 0 or 1,   r(h) = 1 / sqrt(mean(h²) + ε)
//   dx = dresidual = gh + r·(gy·u) − h·r³/d·Σ(gy·u·h),   dw = Σ over rows of gy·h·r
//
// x, residual, h, y, gy, gh, dx: [rows, d] bf16. w: [d] bf16. dw parts: [blocks, d] f32, which
// sum_parts adds in order. d is a multiple of 8, at most 1024, 2048 or 4096 by the entry.
// Without a residual (null), h is x and is not written; without gh (null) it counts as zero.
//
// One warp a row; a row stays in registers between the sum and its use. Bytes a row: forward 8·d
// (4·d without the residual), backward 8·d (6·d without gh) and 4·d / 64. Ceiling: memory.
// dw: a block's four warps take every fourth of its 64 rows and add in order, then the warps do.
#include "norm_rows.cuh"

namespace rms {

using namespace norm_rows;

// Sum of the squares of one row's part in this lane.
template <int VECTORS>
DEVICE float squares(const Eight (&row)[VECTORS]) {
  float sum = 0.f;
#pragma unroll
  for (int v = 0; v < VECTORS; v++) {
    float h[8];
    unpack(h, row[v]);
#pragma unroll
    for (int i = 0; i < 8; i++) sum += h[i] * h[i];
  }
  return sum;
}

template <int VECTORS>
DEVICE void forward(const bf16* x, const bf16* residual, const bf16* weight, bf16* sum, bf16* out,
                    int rows, int d, float epsilon, float base) {
  const int row = block_x() * WARPS + thread_index() / WARP;
  if (row >= rows) return;
  const size_t start = size_t(row) * d;
  Eight kept[VECTORS];
  load_row(kept, x, residual, sum, start, d);
  const float r = inverse_root(sum_lanes(squares(kept)) / d + epsilon);
#pragma unroll
  for (int v = 0; v < VECTORS; v++) {
    const int column = column_of(v);
    if (column >= d) continue;
    float h[8], w[8];
    unpack(h, kept[v]);
    unpack(w, load_eight(weight + column));
#pragma unroll
    for (int i = 0; i < 8; i++) h[i] = h[i] * r * (w[i] + base);
    store_eight(out + start + column, packed(h));
  }
}

// Shared memory: WARPS · warp_floats(d) floats.
template <int VECTORS>
DEVICE void backward(const bf16* h, const bf16* weight, const bf16* to_sum, const bf16* to_out,
                     bf16* to_x, float* parts, int rows, int d, float epsilon, float base) {
  const int warp = thread_index() / WARP, lane = thread_index() % WARP;
  float* mine = begin_sums(d);
  for (int offset = warp; offset < BACKWARD_ROWS; offset += WARPS) {
    const int row = block_x() * BACKWARD_ROWS + offset;
    if (row >= rows) break;
    const size_t start = size_t(row) * d;
    Eight kept[VECTORS], pulls[VECTORS];  // h and gy
    float dot = 0.f;
#pragma unroll
    for (int v = 0; v < VECTORS; v++) {
      const int column = column_of(v);
      kept[v] = pulls[v] = Eight{};
      if (column >= d) continue;
      kept[v] = load_eight(h + start + column);
      pulls[v] = load_eight(to_out + start + column);
      float a[8], g[8], w[8];
      unpack(a, kept[v]);
      unpack(g, pulls[v]);
      unpack(w, load_eight(weight + column));
#pragma unroll
      for (int i = 0; i < 8; i++) dot += g[i] * (w[i] + base) * a[i];
    }
    const float r = inverse_root(sum_lanes(squares(kept)) / d + epsilon);
    const float pull = sum_lanes(dot) * r * r * r / d;
#pragma unroll
    for (int v = 0; v < VECTORS; v++) {
      const int column = column_of(v);
      if (column >= d) continue;
      float a[8], g[8], w[8], out[8] = {};
      unpack(a, kept[v]);
      unpack(g, pulls[v]);
      unpack(w, load_eight(weight + column));
      if (to_sum) unpack(out, load_eight(to_sum + start + column));
#pragma unroll
      for (int i = 0; i < 8; i++) {
        out[i] += g[i] * (w[i] + base) * r - a[i] * pull;
        mine[(v * 8 + i) * WARP + lane] += g[i] * a[i] * r;
      }
      store_eight(to_x + start + column, packed(out));
    }
  }
  end_sums(parts, d);
}

constexpr int SUM_COLUMNS = 32, SUM_SLICES = 8;  // slices: part of the result's bits

// out [d] = (out where `adds`) + the sum of parts [count, d], in order: every eighth, then those
// eight. Shared memory: 8 · 32 floats.
DEVICE void sum_parts(const float* parts, float* out, int count, int d, int adds) {
  float* slices = reinterpret_cast<float*>(shared_memory());
  const int lane = thread_index() % SUM_COLUMNS, slice = thread_index() / SUM_COLUMNS;
  const int column = block_x() * SUM_COLUMNS + lane;
  float sum = 0.f;
  if (column < d)
    for (int part = slice; part < count; part += SUM_SLICES)
      sum += parts[size_t(part) * d + column];
  slices[slice * SUM_COLUMNS + lane] = sum;
  block_barrier();
  if (slice > 0 || column >= d) return;
  sum = adds ? out[column] : 0.f;
  for (int i = 0; i < SUM_SLICES; i++) sum += slices[i * SUM_COLUMNS + lane];
  out[column] = sum;
}

}  // namespace rms

#define ENTRIES(widest)                                                                          \
  KERNEL(norm_rows::THREADS, 2)                                                                  \
  rms_norm_forward_##widest(const bf16* x, const bf16* residual, const bf16* weight, bf16* sum,  \
                            bf16* out, int rows, int d, float epsilon, float base) {             \
    rms::forward<widest / 256>(x, residual, weight, sum, out, rows, d, epsilon, base);           \
  }                                                                                              \
  KERNEL(norm_rows::THREADS, 2)                                                                  \
  rms_norm_backward_##widest(const bf16* h, const bf16* weight, const bf16* to_sum,              \
                             const bf16* to_out, bf16* to_x, float* parts, int rows, int d,      \
                             float epsilon, float base) {                                        \
    rms::backward<widest / 256>(h, weight, to_sum, to_out, to_x, parts, rows, d, epsilon, base); \
  }
ENTRIES(1024)
ENTRIES(2048)
ENTRIES(4096)
#undef ENTRIES

KERNEL(rms::SUM_COLUMNS* rms::SUM_SLICES, 1)
sum_parts(const float* parts, float* out, int count, int d, int adds) {
  rms::sum_parts(parts, out, count, d, adds);
}
