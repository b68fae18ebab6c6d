// LayerNorm with the residual sum before it and a bias behind it, and its gradients; that of the
// bias is in bias.cu.
//
//   h = x + residual (rounded to bf16: it is what the next block adds to)
//   n = (h − μ)·r, y = n · w + b, μ = mean(h), r = 1 / sqrt(mean((h − μ)²) + ε)
//   with q = gy·w: dx = dresidual = gh + r·(q − mean(q) − n·mean(q·n)),   dw = Σ over rows of gy·n
//
// x, residual, h, y, gy, gh, dx: [rows, d] bf16. w, b: [d] bf16. dw parts: [blocks, d] f32, which
// sum_parts of rms_norm.cu adds in order. d is a multiple of 8, at most 1024, 2048 or 4096 by the
// entry. Without a residual (null), h is x and is not written; gh, what h has from elsewhere,
// counts as zero where it is null, b too.
//
// One warp a row; a row stays in registers between the sums and their use, and the deviations are
// summed behind the mean, so nothing cancels. Bytes a row: forward 8·d (4·d without the residual),
// backward 8·d (6·d without gh) and 4·d / 64. Ceiling: memory.
// dw: a block's four warps take every fourth of its 64 rows and add in order, then the warps do.
#include "norm_rows.cuh"

namespace layer_norm {

using namespace norm_rows;

// Mean and 1 / deviation of the row whose parts the lanes hold.
template <int VECTORS>
DEVICE void moments(const Eight (&row)[VECTORS], int d, float epsilon, float& mean, float& r) {
  float sum = 0.f, squares = 0.f;
#pragma unroll
  for (int v = 0; v < VECTORS; v++) {
    float x[8];
    unpack(x, row[v]);
#pragma unroll
    for (int i = 0; i < 8; i++) sum += x[i];  // beyond d stand zeros
  }
  mean = sum_lanes(sum) / d;
#pragma unroll
  for (int v = 0; v < VECTORS; v++) {
    if (column_of(v) >= d) continue;
    float x[8];
    unpack(x, row[v]);
#pragma unroll
    for (int i = 0; i < 8; i++) squares += (x[i] - mean) * (x[i] - mean);
  }
  r = inverse_root(sum_lanes(squares) / d + epsilon);
}

template <int VECTORS>
DEVICE void forward(const bf16* x, const bf16* residual, const bf16* weight, const bf16* bias,
                    bf16* sum, bf16* out, int rows, int d, float epsilon) {
  const int row = block_x() * WARPS + thread_index() / WARP;
  if (row >= rows) return;
  const size_t start = size_t(row) * d;
  Eight kept[VECTORS];
  load_row(kept, x, residual, sum, start, d);
  float mean, r;
  moments(kept, d, epsilon, mean, r);
#pragma unroll
  for (int v = 0; v < VECTORS; v++) {
    if (column_of(v) >= d) continue;
    float n[8], w[8], b[8] = {};
    unpack(n, kept[v]);
    unpack(w, load_eight(weight + column_of(v)));
    if (bias) unpack(b, load_eight(bias + column_of(v)));
#pragma unroll
    for (int i = 0; i < 8; i++) n[i] = (n[i] - mean) * r * w[i] + b[i];
    store_eight(out + start + column_of(v), packed(n));
  }
}

// Shared memory: WARPS · warp_floats(d) floats.
template <int VECTORS>
DEVICE void backward(const bf16* x, const bf16* weight, const bf16* to_sum, const bf16* to_out,
                     bf16* to_x, float* parts, int rows, int d, float epsilon) {
  const int warp = thread_index() / WARP, lane = thread_index() % WARP;
  float* mine = begin_sums(d);
  for (int offset = warp; offset < BACKWARD_ROWS; offset += WARPS) {
    const int row = block_x() * BACKWARD_ROWS + offset;
    if (row >= rows) break;
    const size_t start = size_t(row) * d;
    Eight kept[VECTORS], pulls[VECTORS];  // x and gy
#pragma unroll
    for (int v = 0; v < VECTORS; v++) {
      const bool inside = column_of(v) < d;
      kept[v] = inside ? load_eight(x + start + column_of(v)) : Eight{};
      pulls[v] = inside ? load_eight(to_out + start + column_of(v)) : Eight{};
    }
    float mean, r, level = 0.f, pull = 0.f;
    moments(kept, d, epsilon, mean, r);
#pragma unroll
    for (int v = 0; v < VECTORS; v++) {
      if (column_of(v) >= d) continue;
      float a[8], g[8], w[8];
      unpack(a, kept[v]);
      unpack(g, pulls[v]);
      unpack(w, load_eight(weight + column_of(v)));
#pragma unroll
      for (int i = 0; i < 8; i++) {
        level += g[i] * w[i];
        pull += g[i] * w[i] * (a[i] - mean) * r;
      }
    }
    level = sum_lanes(level) / d, pull = sum_lanes(pull) / d;
#pragma unroll
    for (int v = 0; v < VECTORS; v++) {
      if (column_of(v) >= d) continue;
      float a[8], g[8], w[8], out[8] = {};
      unpack(a, kept[v]);
      unpack(g, pulls[v]);
      unpack(w, load_eight(weight + column_of(v)));
      if (to_sum) unpack(out, load_eight(to_sum + start + column_of(v)));
#pragma unroll
      for (int i = 0; i < 8; i++) {
        const float n = (a[i] - mean) * r;
        out[i] += r * (g[i] * w[i] - level - n * pull);
        mine[(v * 8 + i) * WARP + lane] += g[i] * n;
      }
      store_eight(to_x + start + column_of(v), packed(out));
    }
  }
  end_sums(parts, d);
}

}  // namespace layer_norm

#define ENTRIES(widest)                                                                          \
  KERNEL(norm_rows::THREADS, 2)                                                                  \
  layer_norm_forward_##widest(const bf16* x, const bf16* residual, const bf16* weight,           \
                              const bf16* bias, bf16* sum, bf16* out, int rows, int d,           \
                              float epsilon) {                                                   \
    layer_norm::forward<widest / 256>(x, residual, weight, bias, sum, out, rows, d, epsilon);    \
  }                                                                                              \
  KERNEL(norm_rows::THREADS, 2)                                                                  \
  layer_norm_backward_##widest(const bf16* x, const bf16* weight, const bf16* to_sum,            \
                               const bf16* to_out, bf16* to_x, float* parts, int rows, int d,    \
                               float epsilon) {                                                  \
    layer_norm::backward<widest / 256>(x, weight, to_sum, to_out, to_x, parts, rows, d,          \
                                       epsilon);                                                 \
  }
ENTRIES(1024)
ENTRIES(2048)
ENTRIES(4096)
#undef ENTRIES
