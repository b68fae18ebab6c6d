// Causal attention inside documents, with grouped heads and a sliding window: the forward pass.
//
//   s = q·kᵀ·scale, or c·tanh(s/c) of it with a softcap c (Gemma 2)
//   out = softmax(s)·v over the keys first[t] ..= before + t of the query t
//   log_sums = ln Σ exp(s), for the backward
//
// q: [batch, tokens, heads, H] bf16, k and v: [batch, before + tokens, key_heads, H], token rows as
// far apart as their stride says, so all three may lie in one fused product; `before` is 0 in
// training, and what a cache holds when a text is written. out: [batch, tokens,
// heads, H], log_sums: [batch, heads, tokens] f32. first: [batch, tokens] i32, rising in a row:
// the start of the token's document, or t − window + 1 where that is later. H is 64 or 128,
// strides are multiples of 8.
//
// After Dao, *FlashAttention-2* (2023). A block owns 64 queries of one head, four warps of 16, and
// walks over tiles of 64 keys, from the first that any of its queries sees; the next tile is copied
// while the present one is multiplied. Scores in base 2, their running maximum and sum in fp32, the
// weights rounded to bf16 for the second product. Operations: 4·H a visible pair. Bytes a token and
// head: 4·H, and keys and values (mostly from L2) once a block. Ceiling: tensor cores.
#include "attention.cuh"

namespace attention {

constexpr int KEYS = 64;

template <int H>
struct ForwardShared {  // elements of bf16
  static constexpr int Q = 0, STAGES = ROWS * H, STAGE = 2 * KEYS * H;
  static constexpr int BYTES = 2 * (STAGES + 2 * STAGE);
};

// Query rows of this lane, and the keys that they see: from[i] ..= last[i].
struct LaneRows {
  int query[2], from[2], last[2];
};

DEVICE LaneRows lane_rows(const int* first, int first_query, int tokens, int before) {
  LaneRows rows;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    rows.query[i] = first_query + thread_index() % WARP / 4 + i * 8;
    rows.from[i] = rows.query[i] < tokens ? first[rows.query[i]] : 0;
    rows.last[i] = before + rows.query[i];
  }
  return rows;
}

// −∞ for keys that a query does not see.
template <int N>
DEVICE void hide(float (&scores)[N][4], const LaneRows& rows, int first_key) {
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int key = first_key + n * 8 + thread_index() % 4 * 2 + i % 2;
      if (key < rows.from[i / 2] || key > rows.last[i / 2]) scores[n][i] = -INFINITY;
    }
}

// One tile's step of the running softmax: scores become weights, `top` and `sum` go on, and what
// was added so far is scaled to the new maximum.
template <int H, int N>
DEVICE void soften(float (&scores)[N][4], float (&out)[H / 8][4], float (&top)[2], float (&sum)[2],
                   float scale) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    float largest = top[i];
#pragma unroll
    for (int n = 0; n < N; n++)
      largest = fmaxf(largest, fmaxf(scores[n][2 * i], scores[n][2 * i + 1]));
    largest = max_lanes<4>(largest);
    // A row that has seen no key yet keeps zeros: exp2(−∞) with any finite maximum.
    const float base = largest == -INFINITY ? 0.f : largest * scale;
    const float shrink = exp2f(top[i] * scale - base);
    top[i] = largest;
    float part = 0.f;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int j = 2 * i; j < 2 * i + 2; j++) {
        scores[n][j] = exp2f(scores[n][j] * scale - base);
        part += scores[n][j];
      }
    sum[i] = sum[i] * shrink + part;
#pragma unroll
    for (int n = 0; n < H / 8; n++) out[n][2 * i] *= shrink, out[n][2 * i + 1] *= shrink;
  }
}

template <int H>
DEVICE void forward(const bf16* q, const bf16* k, const bf16* v, const int* first, bf16* out,
                    float* log_sums, Sizes sizes) {
  using Shared = ForwardShared<H>;
  bf16* shared = reinterpret_cast<bf16*>(shared_memory());
  const int tokens = sizes.tokens, head = block_y(), batch = block_z();
  const int before = sizes.before, all = before + tokens;  // keys
  const int warp = thread_index() / WARP;
  const int key_head = head / (sizes.heads / sizes.key_heads);
  // The last tile has the most keys: it begins first.
  const int first_query = (blocks_x() - 1 - block_x()) * ROWS;
  const int last_query = first_query + ROWS < tokens ? first_query + ROWS - 1 : tokens - 1;
  q += size_t(batch) * tokens * sizes.q_stride + head * H;
  k += size_t(batch) * all * sizes.k_stride + key_head * H;
  v += size_t(batch) * all * sizes.v_stride + key_head * H;
  first += size_t(batch) * tokens;
  const int begin = first[first_query] / KEYS, end = (before + last_query) / KEYS + 1;
  const int last_from = first[last_query];
  const LaneRows rows = lane_rows(first, first_query + warp * 16, tokens, before);

  auto copy_keys = [&](int tile) {
    bf16* stage = shared + Shared::STAGES + tile % 2 * Shared::STAGE;
    copy_tile<H, KEYS>(stage, k, sizes.k_stride, tile * KEYS, all);
    copy_tile<H, KEYS>(stage + KEYS * H, v, sizes.v_stride, tile * KEYS, all);
  };
  copy_tile<H, ROWS>(shared, q, sizes.q_stride, first_query, tokens);
  copy_keys(begin);
  commit_copies();

  const float factor = score_factor(sizes);
  float sums[H / 8][4], top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.f, 0.f};
  clear(sums);
  for (int tile = begin; tile < end; tile++) {
    if (tile + 1 < end) copy_keys(tile + 1);
    commit_copies();
    wait_copies<1>();  // all but the next tile
    block_barrier();
    const bf16* stage = shared + Shared::STAGES + tile % 2 * Shared::STAGE;
    float scores[KEYS / 8][4];
    clear(scores);
    multiply_rows<H>(scores, shared, warp * 16, stage);
    bend(scores, sizes);
    const int first_key = tile * KEYS;
    if (first_key + KEYS - 1 > before + first_query || first_key < last_from)
      hide(scores, rows, first_key);
    soften<H>(scores, sums, top, sum, factor * LOG2_E);
    multiply_weights<H>(sums, scores, stage + KEYS * H);
    block_barrier();  // before the next copies write over this stage
  }

  float shares[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    sum[i] = sum_lanes<4>(sum[i]);
    shares[i] = 1.f / sum[i];
    if (rows.query[i] < tokens && thread_index() % 4 == 0)
      log_sums[(size_t(batch) * sizes.heads + head) * tokens + rows.query[i]] =
          top[i] * factor + logf(sum[i]);
  }
  const size_t stride = size_t(sizes.heads) * H;
  store_rows<H>(out + batch * tokens * stride + head * H, stride, first_query + warp * 16, tokens,
                sums, shares);
}

}  // namespace attention

#define ENTRY(H, blocks)                                                                         \
  KERNEL(attention::THREADS, blocks)                                                             \
  attention_forward_##H(const bf16* q, const bf16* k, const bf16* v, const int* first, bf16* out, \
                        float* log_sums, attention::Sizes sizes) {                               \
    attention::forward<H>(q, k, v, first, out, log_sums, sizes);                                 \
  }
ENTRY(64, 3)
ENTRY(128, 2)
#undef ENTRY
