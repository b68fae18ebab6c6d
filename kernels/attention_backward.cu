// The backward pass of attention, in three kernels without atomics: each gradient has one owner.
//
//   delta = Σ g·out by query and head           P = exp(s − log_sums)
//   dS = P∘(g·vᵀ − delta)    dq = scale·dS·k    dk = scale·dSᵀ·q    dv = Pᵀ·g
//   with a softcap c, s is bent and dS has the factor 1 − (s/c)² too
//
// Shapes as in attention_forward.cu; g, out: [batch, tokens, heads, H] bf16; log_sums, delta:
// [batch, heads, tokens] f32. dq, dk, dv have the strides of q, k, v, so they may lie in the
// gradient of one fused product.
//
// attention_keys: a block owns 64 keys of one key head and walks over the query tiles that see
// them, query head by query head, so the heads of a group are added in order. Its scores are
// transposed (keys down), which makes Pᵀ and dSᵀ left operands without leaving registers.
// attention_queries: a block owns 64 queries of one head and walks over key tiles as the forward
// does. S and g·vᵀ are computed in both: 14·H operations a visible pair instead of 10·H, and in
// return no sum in memory, no semaphore, the same bits always. Ceiling: tensor cores.
#include "attention.cuh"

namespace attention {

constexpr int DELTA_THREADS = 128;

// delta: H/8 lanes a (token, head), eight elements each. Bytes: 4·H. Ceiling: memory.
template <int H>
DEVICE void delta(const bf16* to_out, const bf16* out, float* delta, size_t rows, int tokens,
                  int heads) {
  constexpr int LANES = H / 8;
  const size_t group = size_t(block_x()) * (DELTA_THREADS / LANES) + thread_index() / LANES;
  const size_t row = group < rows ? group : rows - 1;  // [batch, tokens, heads]
  const size_t at = row * H + thread_index() % LANES * 8;
  float a[8], b[8], sum = 0.f;
  unpack(a, load_eight(to_out + at));
  unpack(b, load_eight(out + at));
#pragma unroll
  for (int i = 0; i < 8; i++) sum += a[i] * b[i];
  sum = sum_lanes<LANES>(sum);
  if (group >= rows || thread_index() % LANES) return;
  const size_t head = row % heads, token = row / heads % tokens, batch = row / heads / tokens;
  delta[(batch * heads + head) * tokens + token] = sum;
}

// Queries of a tile in attention_keys: what keeps its sums in registers.
template <int H>
constexpr int QUERIES = H == 64 ? 64 : 32;

template <int H>
struct KeysShared {  // elements of bf16; then, by stage: log_sums, delta (words)
  static constexpr int K = 0, V = ROWS * H, STAGES = 2 * ROWS * H, STAGE = 2 * QUERIES<H> * H;
  static constexpr int WORDS = 2 * (STAGES + 2 * STAGE);       // where these begin, in bytes
  static constexpr int STATISTICS = 2 * 4 * QUERIES<H>;        // bytes of one stage of them
  static constexpr int BYTES = WORDS + 2 * STATISTICS;
};
// Of the 100 KiB of a multiprocessor of GA102 and Ada two blocks fit, with 1 KiB for the system
// each: that is why `first` is read from where it lies, and only where a tile is masked.
static_assert(2 * (KeysShared<64>::BYTES + 1024) <= 100 * 1024, "two blocks on a small GPU");

// Number of query tiles that see the keys up to last_key, from tile `begin` on.
DEVICE int tiles_that_see(const int* first, int begin, int queries, int last_key, int tokens) {
  int end = begin;
  while (end * queries < tokens && first[end * queries] <= last_key) end++;
  return end - begin;
}

// Weights from scores [keys down, queries across]; hidden pairs become 0. from: of these queries.
template <int N>
DEVICE void weigh_columns(float (&scores)[N][4], const float* log_sums, const int* from,
                          int first_key, int first_query, int tokens, float scale, bool masked) {
  const int lane = thread_index() % WARP;
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int column = n * 8 + lane % 4 * 2 + i % 2;
      const int key = first_key + lane / 4 + i / 2 * 8, query = first_query + column;
      const bool visible = !masked || (query < tokens && key <= query && key >= from[column]);
      scores[n][i] = visible ? exp2f(scores[n][i] * scale - log_sums[column] * LOG2_E) : 0.f;
    }
}

template <int H>
DEVICE void keys(const bf16* q, const bf16* k, const bf16* v, const bf16* to_out,
                 const float* log_sums, const float* delta, const int* first, bf16* to_k,
                 bf16* to_v, Sizes sizes) {
  using Shared = KeysShared<H>;
  constexpr int TILE = QUERIES<H>;
  bf16* shared = reinterpret_cast<bf16*>(shared_memory());
  unsigned char* statistics = shared_memory() + Shared::WORDS;
  const int tokens = sizes.tokens, group = sizes.heads / sizes.key_heads;
  const int key_head = block_y(), batch = block_z(), warp = thread_index() / WARP;
  const int first_key = block_x() * ROWS;
  const size_t row = size_t(batch) * tokens, out_stride = size_t(sizes.heads) * H;
  first += row;
  const int begin = first_key / TILE;
  const int tiles = tiles_that_see(first, begin, TILE, first_key + ROWS - 1, tokens);

  auto copy_queries = [&](int step) {  // tiles of the first query head, then those of the next
    const int head = key_head * group + step / tiles, at = (begin + step % tiles) * TILE;
    bf16* stage = shared + Shared::STAGES + step % 2 * Shared::STAGE;
    copy_tile<H, TILE>(stage, q + row * sizes.q_stride + head * H, sizes.q_stride, at, tokens);
    copy_tile<H, TILE>(stage + TILE * H, to_out + row * out_stride + head * H, out_stride, at,
                       tokens);
    unsigned char* words = statistics + step % 2 * Shared::STATISTICS;
    const size_t place = (size_t(batch) * sizes.heads + head) * tokens;
    copy_words<TILE>(words, log_sums + place, at, tokens);
    copy_words<TILE>(words + 4 * TILE, delta + place, at, tokens);
  };
  copy_tile<H, ROWS>(shared, k + row * sizes.k_stride + key_head * H, sizes.k_stride, first_key,
                     tokens);
  copy_tile<H, ROWS>(shared + Shared::V, v + row * sizes.v_stride + key_head * H, sizes.v_stride,
                     first_key, tokens);
  copy_queries(0);
  commit_copies();

  float k_sums[H / 8][4], v_sums[H / 8][4];
  clear(k_sums);
  clear(v_sums);
  const int steps = group * tiles;
  for (int step = 0; step < steps; step++) {
    if (step + 1 < steps) copy_queries(step + 1);
    commit_copies();
    const int first_query = (begin + step % tiles) * TILE;
    const int* from = first + first_query;
    const int last = first_query + TILE <= tokens ? TILE - 1 : tokens - 1 - first_query;
    const bool masked = first_query < first_key + ROWS - 1 || from[last] > first_key ||
                        first_query + TILE > tokens;
    wait_copies<1>();
    block_barrier();
    const bf16* stage = shared + Shared::STAGES + step % 2 * Shared::STAGE;
    const float* words = reinterpret_cast<float*>(statistics + step % 2 * Shared::STATISTICS);

    float weights[TILE / 8][4], pulls[TILE / 8][4];
    clear(weights);
    multiply_rows<H>(weights, shared, warp * 16, stage);
    bend(weights, sizes);
    weigh_columns(weights, words, from, first_key + warp * 16, first_query, tokens,
                  score_factor(sizes) * LOG2_E, masked);
    multiply_weights<H>(v_sums, weights, stage + TILE * H);
    clear(pulls);
    multiply_rows<H>(pulls, shared + Shared::V, warp * 16, stage + TILE * H);
#pragma unroll
    for (int n = 0; n < TILE / 8; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int column = n * 8 + thread_index() % 4 * 2 + i % 2;
        const float weight = weights[n][i];
        weights[n][i] = weight * (pulls[n][i] - words[TILE + column]);
        // The score is ln P + log_sums, which no register has kept; where P is 0 nothing flows.
        if (sizes.softcap != 0.f && weight > 0.f)
          weights[n][i] *= slope(logf(weight) + words[column], sizes);
      }
    multiply_weights<H>(k_sums, weights, stage);
    block_barrier();
  }
  const float scaled[2] = {sizes.scale, sizes.scale}, plain[2] = {1.f, 1.f};
  store_rows<H>(to_k + row * sizes.k_stride + key_head * H, sizes.k_stride, first_key + warp * 16,
                tokens, k_sums, scaled);
  store_rows<H>(to_v + row * sizes.v_stride + key_head * H, sizes.v_stride, first_key + warp * 16,
                tokens, v_sums, plain);
}

// Keys of a tile in attention_queries.
template <int H>
constexpr int KEY_TILE = H == 64 ? 64 : 32;

template <int H>
struct QueriesShared {  // elements of bf16
  static constexpr int Q = 0, G = ROWS * H, STAGES = 2 * ROWS * H, STAGE = 2 * KEY_TILE<H> * H;
  static constexpr int BYTES = 2 * (STAGES + 2 * STAGE);
};

template <int H>
DEVICE void queries(const bf16* q, const bf16* k, const bf16* v, const bf16* to_out,
                    const float* log_sums, const float* delta, const int* first, bf16* to_q,
                    Sizes sizes) {
  using Shared = QueriesShared<H>;
  constexpr int TILE = KEY_TILE<H>;
  bf16* shared = reinterpret_cast<bf16*>(shared_memory());
  const int tokens = sizes.tokens, head = block_y(), batch = block_z();
  const int warp = thread_index() / WARP, lane = thread_index() % WARP;
  const int key_head = head / (sizes.heads / sizes.key_heads);
  const int first_query = (blocks_x() - 1 - block_x()) * ROWS;
  const int last_query = first_query + ROWS < tokens ? first_query + ROWS - 1 : tokens - 1;
  const size_t row = size_t(batch) * tokens, out_stride = size_t(sizes.heads) * H;
  first += row;
  k += row * sizes.k_stride + key_head * H;
  v += row * sizes.v_stride + key_head * H;
  const int begin = first[first_query] / TILE, end = last_query / TILE + 1;
  const int last_from = first[last_query];

  auto copy_keys = [&](int tile) {
    bf16* stage = shared + Shared::STAGES + tile % 2 * Shared::STAGE;
    copy_tile<H, TILE>(stage, k, sizes.k_stride, tile * TILE, tokens);
    copy_tile<H, TILE>(stage + TILE * H, v, sizes.v_stride, tile * TILE, tokens);
  };
  copy_tile<H, ROWS>(shared, q + row * sizes.q_stride + head * H, sizes.q_stride, first_query,
                     tokens);
  copy_tile<H, ROWS>(shared + Shared::G, to_out + row * out_stride + head * H, out_stride,
                     first_query, tokens);
  copy_keys(begin);
  commit_copies();

  const float factor = score_factor(sizes) * LOG2_E;
  float log_sum[2], pull[2];
  int from[2], query[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    query[i] = first_query + warp * 16 + lane / 4 + i * 8;
    const int at = query[i] < tokens ? query[i] : tokens - 1;
    const size_t statistics = (size_t(batch) * sizes.heads + head) * tokens + at;
    log_sum[i] = log_sums[statistics] * LOG2_E;
    pull[i] = delta[statistics];
    from[i] = first[at];
  }
  float sums[H / 8][4];
  clear(sums);
  for (int tile = begin; tile < end; tile++) {
    if (tile + 1 < end) copy_keys(tile + 1);
    commit_copies();
    wait_copies<1>();
    block_barrier();
    const bf16* stage = shared + Shared::STAGES + tile % 2 * Shared::STAGE;
    const int first_key = tile * TILE;
    const bool masked = first_key + TILE - 1 > first_query || first_key < last_from;
    float scores[TILE / 8][4], pulls[TILE / 8][4];
    clear(scores);
    clear(pulls);
    multiply_rows<H>(scores, shared, warp * 16, stage);
    multiply_rows<H>(pulls, shared + Shared::G, warp * 16, stage + TILE * H);
    bend(scores, sizes);
#pragma unroll
    for (int n = 0; n < TILE / 8; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int key = first_key + n * 8 + lane % 4 * 2 + i % 2;
        const bool visible = !masked || (key <= query[i / 2] && key >= from[i / 2]);
        const float weight = exp2f(scores[n][i] * factor - log_sum[i / 2]);
        const float to_score = weight * (pulls[n][i] - pull[i / 2]) * slope(scores[n][i], sizes);
        scores[n][i] = visible ? to_score : 0.f;
      }
    multiply_weights<H>(sums, scores, stage);
    block_barrier();
  }
  const float scaled[2] = {sizes.scale, sizes.scale};
  store_rows<H>(to_q + row * sizes.q_stride + head * H, sizes.q_stride, first_query + warp * 16,
                tokens, sums, scaled);
}

}  // namespace attention

#define ENTRIES(H, blocks)                                                                       \
  KERNEL(attention::DELTA_THREADS, 8)                                                            \
  attention_delta_##H(const bf16* to_out, const bf16* out, float* delta, size_t rows, int tokens, \
                      int heads) {                                                               \
    attention::delta<H>(to_out, out, delta, rows, tokens, heads);                                \
  }                                                                                              \
  KERNEL(attention::THREADS, blocks)                                                             \
  attention_keys_##H(const bf16* q, const bf16* k, const bf16* v, const bf16* to_out,            \
                     const float* log_sums, const float* delta, const int* first, bf16* to_k,    \
                     bf16* to_v, attention::Sizes sizes) {                                       \
    attention::keys<H>(q, k, v, to_out, log_sums, delta, first, to_k, to_v, sizes);              \
  }                                                                                              \
  KERNEL(attention::THREADS, blocks)                                                             \
  attention_queries_##H(const bf16* q, const bf16* k, const bf16* v, const bf16* to_out,         \
                        const float* log_sums, const float* delta, const int* first, bf16* to_q, \
                        attention::Sizes sizes) {                                                \
    attention::queries<H>(q, k, v, to_out, log_sums, delta, first, to_q, sizes);                 \
  }
ENTRIES(64, 2)
ENTRIES(128, 2)
#undef ENTRIES
