// The loss of a chunk of logits, and their gradient in place.
//
//   z = c·tanh(x/c) (z = x where the softcap c is 0), s = ln Σ exp(z) over the real vocabulary
//   nats = s − z[target];  loss = nats + λ·s² (PaLM's z-loss)
//   dx = scale·(exp(z − s)·(1 + 2λs) − onehot)·(1 − (z/c)²)
//
// logits: [rows, stride] bf16, of which `vocabulary` are real and the others get a gradient of 0;
// they become the gradient where `writes` is set. targets: [rows] i32, negative for a row that does
// not count (0 nats, no gradient). nats, log_sums: [rows] f32.
//
// One block a row, which reads it twice (the second time mostly from L2) and writes it once. Bytes
// a logit: 6, a third less without the gradient. Ceiling: memory. stride is a multiple of 8.
#include "portable.cuh"

namespace cross_entropy {

constexpr int THREADS = 256, WARPS = THREADS / WARP;
// Below every logit's exp: a maximum to begin with that gives no NaN where −∞ meets −∞.
constexpr float LOWEST = -3.0e38f;

DEVICE float capped(float x, float softcap) {
  return softcap > 0.f ? softcap * tanhf(x / softcap) : x;
}

// Adds (b_largest, b_sum) to (largest, sum), both Σ exp(z − largest).
DEVICE void merge(float& largest, float& sum, float b_largest, float b_sum) {
  const float top = fmaxf(largest, b_largest);
  sum = sum * expf(largest - top) + b_sum * expf(b_largest - top);
  largest = top;
}

// ln Σ exp over the row, the same bits in every thread: lanes in a tree, then warps in order.
DEVICE float log_sum(const bf16* row, int vocabulary, float softcap) {
  float largest = LOWEST, sum = 0.f;
  for (int column = thread_index() * 8; column < vocabulary; column += THREADS * 8) {
    float z[8], top = LOWEST, part = 0.f;
    unpack(z, load_eight(row + column));
#pragma unroll
    for (int i = 0; i < 8; i++) {
      z[i] = column + i < vocabulary ? capped(z[i], softcap) : LOWEST;
      top = fmaxf(top, z[i]);
    }
#pragma unroll
    for (int i = 0; i < 8; i++) part += column + i < vocabulary ? expf(z[i] - top) : 0.f;
    merge(largest, sum, top, part);
  }
#pragma unroll
  for (int mask = WARP / 2; mask; mask /= 2) {
    const float other_largest = shuffle_xor(largest, mask), other_sum = shuffle_xor(sum, mask);
    // The lower lane's part first on both sides, so that both get the same bits.
    if (thread_index() & mask) {
      float a = other_largest, b = other_sum;
      merge(a, b, largest, sum);
      largest = a, sum = b;
    } else {
      merge(largest, sum, other_largest, other_sum);
    }
  }
  float* shared = reinterpret_cast<float*>(shared_memory());
  const int warp = thread_index() / WARP;
  if (thread_index() % WARP == 0) shared[2 * warp] = largest, shared[2 * warp + 1] = sum;
  block_barrier();
  largest = shared[0], sum = shared[1];
  for (int other = 1; other < WARPS; other++)
    merge(largest, sum, shared[2 * other], shared[2 * other + 1]);
  return largest + logf(sum);
}

DEVICE void row(bf16* logits, const int* targets, float* nats, float* log_sums, int vocabulary,
                int stride, float scale, float z_weight, float softcap, int writes) {
  bf16* row = logits + size_t(block_x()) * stride;
  const int target = targets[block_x()];
  const bool counts = target >= 0;
  // Read before the barrier inside log_sum, after which any thread may write over it.
  const float at_target = counts ? capped(to_float(row[target]), softcap) : 0.f;
  const float total = log_sum(row, vocabulary, softcap);
  if (thread_index() == 0) {
    nats[block_x()] = counts ? total - at_target : 0.f;
    log_sums[block_x()] = total;
  }
  if (!writes) return;
  const float weight = counts ? scale * (1.f + 2.f * z_weight * total) : 0.f;
  for (int column = thread_index() * 8; column < stride; column += THREADS * 8) {
    float x[8], out[8];
    unpack(x, load_eight(row + column));
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const float z = capped(x[i], softcap);
      out[i] = column + i < vocabulary ? expf(z - total) * weight : 0.f;
      if (counts && column + i == target) out[i] -= scale;
      if (softcap > 0.f) out[i] *= 1.f - (z / softcap) * (z / softcap);
      if (!counts || column + i >= vocabulary) out[i] = 0.f;
    }
    store_eight(row + column, packed(out));
  }
}

}  // namespace cross_entropy

// Shared memory: 2 floats a warp.
KERNEL(cross_entropy::THREADS, 4)
cross_entropy_rows(bf16* logits, const int* targets, float* nats, float* log_sums, int vocabulary,
                   int stride, float scale, float z_weight, float softcap, int writes) {
  cross_entropy::row(logits, targets, nats, log_sums, vocabulary, stride, scale, z_weight, softcap,
                     writes);
}
