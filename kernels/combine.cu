// Sums and multiples of activations: the residual stream, scaled branches, sums of gradients.
//
//   y = factor·a + b (b counts as zero where it is null)
//
// a, b, y: [count] bf16, y may be a or b; computed in fp32 and rounded once. count is a multiple of
// 8.
//
// Eight elements a thread. Bytes an element: 6, without b 4. Ceiling: memory.
#include "portable.cuh"

namespace combine {

constexpr int THREADS = 256;

DEVICE void combine(const bf16* a, const bf16* b, bf16* y, size_t count, float factor) {
  const size_t at = (size_t(block_x()) * THREADS + thread_index()) * 8;
  if (at >= count) return;
  float sum[8], other[8] = {};
  unpack(sum, load_eight(a + at));
  if (b) unpack(other, load_eight(b + at));
#pragma unroll
  for (int i = 0; i < 8; i++) sum[i] = factor * sum[i] + other[i];
  store_eight(y + at, packed(sum));
}

}  // namespace combine

KERNEL(combine::THREADS, 4)
combine_two(const bf16* a, const bf16* b, bf16* y, size_t count, float factor) {
  combine::combine(a, b, y, count, factor);
}
