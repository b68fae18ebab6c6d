// What the passes of attention share: tiles in shared memory and products of tiles on tensor cores.
#pragma once
#include "portable.cuh"

namespace attention {

constexpr int WARPS = 4, THREADS = WARPS * WARP;
constexpr int ROWS = 16 * WARPS;  // of the tile that a block owns: 16 a warp, one mma high
constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

// Place of element (row, column) in a tile of rows of H: pieces of 16 bytes, exchanged inside a
// row by the row's number, so that eight rows at one column lie in different banks (ldmatrix) and
// so do the pieces of one row (copies). column is a multiple of 8.
template <int H>
DEVICE int place(int row, int column) {
  return row * H + ((column / 8) ^ (row & 7)) * 8;
}

// Starts the copy of rows first.. (COUNT of them) of a matrix; those from `end` on become zeros.
template <int H, int COUNT>
DEVICE void copy_tile(bf16* tile, const bf16* matrix, size_t stride, int first, int end) {
  for (int piece = thread_index(); piece < COUNT * (H / 8); piece += THREADS) {
    const int row = piece / (H / 8), column = piece % (H / 8) * 8;
    const bool valid = first + row < end;
    const bf16* from = matrix + (valid ? first + row : 0) * stride + column;
    copy_async(tile + place<H>(row, column), from, valid);
  }
}
// The same of one word a row.
template <int COUNT>
DEVICE void copy_words(void* words, const void* from, int first, int end) {
  const int row = thread_index();
  if (row >= COUNT) return;
  const bool valid = first + row < end;
  copy_async_word(static_cast<uint32_t*>(words) + row,
                  static_cast<const uint32_t*>(from) + (valid ? first + row : 0), valid);
}

// c [16 x 8·N] += rows first_row.. of a tile [·, H] · (rows 0.. of another tile [8·N, H])ᵀ.
template <int H, int N>
DEVICE void multiply_rows(float (&c)[N][4], const bf16* a_tile, int first_row,
                          const bf16* b_tile) {
  const int lane = thread_index() % WARP;
  // Not unrolled whole: the addresses of wide heads would not fit into registers.
#pragma unroll 2
  for (int k = 0; k < H; k += 16) {
    uint32_t a[4];
    load_matrices(a, a_tile + place<H>(first_row + lane % 16, k + lane / 16 * 8));
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t b[4];
      const int row = n * 8 + lane / 16 * 8 + lane % 8, column = k + lane / 8 % 2 * 8;
      load_matrices(b, b_tile + place<H>(row, column));
      multiply_add(c[n], a, b[0], b[1]);
      multiply_add(c[n + 1], a, b[2], b[3]);
    }
  }
}

// c [16 x H] += a [16 x 8·N], given as the result of a product, · a tile [8·N, H].
template <int H, int N>
DEVICE void multiply_weights(float (&c)[H / 8][4], const float (&a)[N][4], const bf16* tile) {
  const int lane = thread_index() % WARP;
#pragma unroll
  for (int k = 0; k < N; k += 2) {
    // The fragment of a result is the one of a left operand, once its pairs are bf16.
    const uint32_t fragment[4] = {pack(a[k][0], a[k][1]), pack(a[k][2], a[k][3]),
                                  pack(a[k + 1][0], a[k + 1][1]), pack(a[k + 1][2], a[k + 1][3])};
#pragma unroll
    for (int n = 0; n < H / 8; n += 2) {
      uint32_t b[4];
      load_matrices_transposed(b, tile + place<H>(k * 8 + lane % 16, n * 8 + lane / 16 * 8));
      multiply_add(c[n], fragment, b[0], b[1]);
      multiply_add(c[n + 1], fragment, b[2], b[3]);
    }
  }
}

// Writes c [16 x H], times `factor` by row, to rows first.. (< end) of a matrix.
template <int H>
DEVICE void store_rows(bf16* matrix, size_t stride, int first, int end, const float (&c)[H / 8][4],
                       const float (&factor)[2]) {
  const int lane = thread_index() % WARP;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = first + lane / 4 + half * 8;
    if (row >= end) continue;
    uint32_t* to = reinterpret_cast<uint32_t*>(matrix + row * stride) + lane % 4;
#pragma unroll
    for (int n = 0; n < H / 8; n++)
      to[n * 4] = pack(c[n][2 * half] * factor[half], c[n][2 * half + 1] * factor[half]);
  }
}

template <int N>
DEVICE void clear(float (&c)[N][4]) {
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) c[n][i] = 0.f;
}

// Sizes of one call, the same for every pass.
struct Sizes {
  int tokens;     // queries of a row of the batch
  int heads;      // of the queries
  int key_heads;  // a divisor of heads
  int q_stride, k_stride, v_stride;  // elements between tokens
  float scale;    // of the scores: 1/√H
  int before;     // keys before the first query's own: 0 but in the forward pass behind a cache
  float softcap;  // c of c·tanh(score/c); 0: scores as they are
};

// Products q·k become scores that are bent, where they are; score_factor is what is still to be
// multiplied. tanh(x) as 1 − 2/(1 + exp(2x)) has no branch: it is ±1 where exp overflows or is 0.
template <int N>
DEVICE void bend(float (&products)[N][4], const Sizes& sizes) {
  if (sizes.softcap == 0.f) return;
  const float inner = 2.f * LOG2_E * sizes.scale / sizes.softcap;
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int i = 0; i < 4; i++)
      products[n][i] =
          sizes.softcap - 2.f * sizes.softcap / (1.f + exp2f(products[n][i] * inner));
}
DEVICE float score_factor(const Sizes& sizes) { return sizes.softcap == 0.f ? sizes.scale : 1.f; }

// The slope of a score where it is bent: 1 − (score/c)².
DEVICE float slope(float score, const Sizes& sizes) {
  if (sizes.softcap == 0.f) return 1.f;
  const float share = score / sizes.softcap;
  return 1.f - share * share;
}

}  // namespace attention
