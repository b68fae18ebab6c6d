// Rotary position embedding of queries and keys in one launch, with their RMSNorms (QK-norm) before
// it, and all gradients.
//
//   n = x · r(x) · w over the h elements of a head (n = x without a weight)
//   y_i = n_i·cos − n_{i+h/2}·sin,   y_{i+h/2} = n_{i+h/2}·cos + n_i·sin
//   backward: the same turn by the negative angle, then the gradient of the norm
//
// x, y and gradients of queries: [tokens, q_heads, h], of keys: [tokens, k_heads, h] bf16. cosine,
// sine: [positions, h/2] f32. positions: [tokens] i32. w: [h] bf16, of each its own, both or none.
// The first q_blocks blocks work on queries, the others on keys. dw parts: [blocks, h] f32, those of
// queries first, which sum_parts adds; null where no weight is trained. h is 64 or 128.
//
// h/8 lanes a head, each with four pairs. Bytes a token and head: 4·h (6·h backward with a norm)
// and the table, which stays in L2. Ceiling: memory. Without norms y may be x, and the backward
// reads no x.
#include "portable.cuh"

namespace rope {

constexpr int THREADS = 128;
constexpr int BACKWARD_ROUNDS = 16;  // heads that one group of lanes turns: part of the bits of dw
constexpr int SHARED = 4 * 8 * THREADS;  // bytes, of the backward: a lane's part of dw

DEVICE void unpack(float* numbers, const bf16* from) {
  const Quad quad = load_quad(from);
  numbers[0] = low_half(quad.words[0]), numbers[1] = high_half(quad.words[0]);
  numbers[2] = low_half(quad.words[1]), numbers[3] = high_half(quad.words[1]);
}
DEVICE void store(bf16* to, const float* numbers) {
  store_quad(to, Quad{{pack(numbers[0], numbers[1]), pack(numbers[2], numbers[3])}});
}

// This lane's eight elements of a head: four of each half.
template <int H>
DEVICE void load_pairs(float (&numbers)[8], const bf16* head, int lane) {
  unpack(numbers, head + lane * 4);
  unpack(numbers + 4, head + H / 2 + lane * 4);
}
template <int H>
DEVICE void store_pairs(bf16* head, const float (&numbers)[8], int lane) {
  store(head + lane * 4, numbers);
  store(head + H / 2 + lane * 4, numbers + 4);
}

template <int H>
DEVICE void turn(float (&numbers)[8], const float* cosine, const float* sine, int position,
                 int lane, float sign) {
  const size_t row = size_t(position) * (H / 2) + lane * 4;
  const Four c = load_four(cosine + row);
  const Four s = load_four(sine + row);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float a = numbers[i], b = numbers[i + 4], turned = sign * s.numbers[i];
    numbers[i] = a * c.numbers[i] - b * turned;
    numbers[i + 4] = b * c.numbers[i] + a * turned;
  }
}

template <int H>
DEVICE float root_of(const float (&x)[8], float epsilon) {
  float squares = 0.f;
#pragma unroll
  for (int i = 0; i < 8; i++) squares += x[i] * x[i];
  return inverse_root(sum_lanes<H / 8>(squares) / H + epsilon);
}

// Of queries or of keys: what one launch has twice.
struct Side {
  const bf16 *x, *weight;
  const bf16* to_y;
  bf16* out;  // y, or the gradient of x
  int heads, block;
};

DEVICE Side side(Side queries, Side keys, int q_blocks) {
  Side mine = block_x() < q_blocks ? queries : keys;
  mine.block = block_x() < q_blocks ? block_x() : block_x() - q_blocks;
  return mine;
}

// Groups of lanes past the last head turn the last one again and write nothing, so that all lanes
// of a warp meet at the shuffles.
template <int H>
DEVICE void forward(Side side, const float* cosine, const float* sine, const int* positions,
                    int tokens, float epsilon) {
  const int lane = thread_index() % (H / 8);
  const size_t group = size_t(side.block) * (THREADS / (H / 8)) + thread_index() / (H / 8);
  const size_t count = size_t(tokens) * side.heads, at = group < count ? group : count - 1;
  float numbers[8];
  load_pairs<H>(numbers, side.x + at * H, lane);
  if (side.weight) {
    float w[8];
    load_pairs<H>(w, side.weight, lane);
    const float r = root_of<H>(numbers, epsilon);
#pragma unroll
    for (int i = 0; i < 8; i++) numbers[i] = numbers[i] * r * w[i];
  }
  turn<H>(numbers, cosine, sine, positions[at / side.heads], lane, 1.f);
  if (group < count) store_pairs<H>(side.out + at * H, numbers, lane);
}

// Shared memory: SHARED bytes.
template <int H>
DEVICE void backward(Side side, const float* cosine, const float* sine, const int* positions,
                     float* parts, int tokens, float epsilon) {
  constexpr int LANES = H / 8, GROUPS = THREADS / LANES;
  const int lane = thread_index() % LANES;
  const size_t count = size_t(tokens) * side.heads;
  float w[8], to_weight[8] = {};
  if (side.weight) load_pairs<H>(w, side.weight, lane);
  for (int round = 0; round < BACKWARD_ROUNDS; round++) {
    const size_t group =
        (size_t(side.block) * BACKWARD_ROUNDS + round) * GROUPS + thread_index() / LANES;
    const size_t at = group < count ? group : count - 1;
    float g[8];
    load_pairs<H>(g, side.to_y + at * H, lane);
    turn<H>(g, cosine, sine, positions[at / side.heads], lane, -1.f);
    if (side.weight) {
      float a[8], dot = 0.f;
      load_pairs<H>(a, side.x + at * H, lane);
#pragma unroll
      for (int i = 0; i < 8; i++) dot += g[i] * w[i] * a[i];
      const float r = root_of<H>(a, epsilon), pull = sum_lanes<LANES>(dot) * r * r * r / H;
#pragma unroll
      for (int i = 0; i < 8; i++) {
        if (group < count) to_weight[i] += g[i] * a[i] * r;
        g[i] = g[i] * w[i] * r - a[i] * pull;
      }
    }
    if (group < count) store_pairs<H>(side.out + at * H, g, lane);
  }
  if (!parts) return;
  float* shared = reinterpret_cast<float*>(shared_memory());
  for (int i = 0; i < 8; i++) shared[thread_index() * 8 + i] = to_weight[i];
  block_barrier();
  for (int element = thread_index(); element < H; element += THREADS) {
    const int half = element / (H / 2), lane = element % (H / 2) / 4, i = half * 4 + element % 4;
    float sum = 0.f;
    for (int group = 0; group < GROUPS; group++) sum += shared[(group * LANES + lane) * 8 + i];
    parts[size_t(block_x()) * H + element] = sum;
  }
}

}  // namespace rope

#define ENTRIES(H)                                                                                \
  KERNEL(rope::THREADS, 8)                                                                        \
  rope_forward_##H(const bf16* q, const bf16* k, const bf16* q_weight, const bf16* k_weight,      \
                   const float* cosine, const float* sine, const int* positions, bf16* q_out,     \
                   bf16* k_out, int tokens, int q_heads, int k_heads, int q_blocks,               \
                   float epsilon) {                                                               \
    const rope::Side side = rope::side({q, q_weight, nullptr, q_out, q_heads, 0},                 \
                                       {k, k_weight, nullptr, k_out, k_heads, 0}, q_blocks);      \
    rope::forward<H>(side, cosine, sine, positions, tokens, epsilon);                             \
  }                                                                                               \
  KERNEL(rope::THREADS, 6)                                                                        \
  rope_backward_##H(const bf16* q, const bf16* k, const bf16* q_weight, const bf16* k_weight,     \
                    const float* cosine, const float* sine, const int* positions,                 \
                    const bf16* to_q_out, const bf16* to_k_out, bf16* to_q, bf16* to_k,           \
                    float* parts, int tokens, int q_heads, int k_heads, int q_blocks,             \
                    float epsilon) {                                                              \
    const rope::Side side = rope::side({q, q_weight, to_q_out, to_q, q_heads, 0},                 \
                                       {k, k_weight, to_k_out, to_k, k_heads, 0}, q_blocks);      \
    rope::backward<H>(side, cosine, sine, positions, parts, tokens, epsilon);                     \
  }
ENTRIES(64)
ENTRIES(128)
#undef ENTRIES
