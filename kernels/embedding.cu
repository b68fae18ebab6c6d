// Rows of the token embedding, and its gradient without atomics.
//
//   forward: y[t] = table[id[t]]       backward: dtable[id] += Σ over its tokens, in their order
//
// table: [vocabulary, d] bf16, y and its gradient [tokens, d] bf16, dtable [vocabulary, d] f32.
// The loader sorts: order [tokens] holds the positions by (id, position), starts [distinct + 1]
// where each id's run begins in it, distinct_ids [distinct] the ids. d is a multiple of 8.
//
// Forward: eight elements a thread; bytes a token 4·d. Backward: one warp an id and 256 columns,
// so each row of dtable has one owner; bytes a token 2·d, an id 8·d. Ceiling: memory; a batch in
// which one id is most of the tokens is bound by that warp.
#include "portable.cuh"

namespace embedding {

constexpr int THREADS = 128;

DEVICE void forward(const bf16* table, const int* ids, bf16* out, size_t tokens, int d) {
  const size_t piece = size_t(block_x()) * THREADS + thread_index();
  const size_t pieces = d / 8, token = piece / pieces, column = piece % pieces * 8;
  if (token >= tokens) return;
  store_eight(out + token * d + column, load_eight(table + size_t(ids[token]) * d + column));
}

DEVICE void backward(const bf16* to_out, const int* order, const int* starts,
                     const int* distinct_ids, float* to_table, int distinct, int d) {
  const int run = block_x() * (THREADS / WARP) + thread_index() / WARP;
  const int column = (block_y() * WARP + thread_index() % WARP) * 8;
  if (run >= distinct || column >= d) return;
  float sum[8] = {};
  for (int at = starts[run]; at < starts[run + 1]; at++) {
    float g[8];
    unpack(g, load_eight(to_out + size_t(order[at]) * d + column));
#pragma unroll
    for (int i = 0; i < 8; i++) sum[i] += g[i];
  }
  float* to = to_table + size_t(distinct_ids[run]) * d + column;
#pragma unroll
  for (int half = 0; half < 8; half += 4) {
    Four four = load_four(to + half);
#pragma unroll
    for (int i = 0; i < 4; i++) four.numbers[i] += sum[half + i];
    store_four(to + half, four);
  }
}

}  // namespace embedding

KERNEL(embedding::THREADS, 8)
embedding_forward(const bf16* table, const int* ids, bf16* out, size_t tokens, int d) {
  embedding::forward(table, ids, out, tokens, d);
}
KERNEL(embedding::THREADS, 8)
embedding_backward(const bf16* to_out, const int* order, const int* starts,
                   const int* distinct_ids, float* to_table, int distinct, int d) {
  embedding::backward(to_out, order, starts, distinct_ids, to_table, distinct, d);
}
