// Dropout by a counter: which elements fall is a function of (seed, step, layer, element) alone.
//
//   y = x / (1 − p) where the element's draw is at least p, else 0; the backward is the same call
//   on the gradient
//
// x, y: [count] bf16, y may be x. threshold = p·2³² (a draw below it falls). The draw is word
// element % 4 of Philox4x32-10 (Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy
// as 1, 2, 3*, 2011) with the counter (element / 4, low and high; step; layer) and the seed as key.
//
// Eight elements, so two counters, a thread. Bytes an element: 4. Ceiling: memory, with 20 products
// of 32 bits an element on the integer units (a fifth of their rate at 4 TB/s).
#include "portable.cuh"

namespace dropout {

constexpr int THREADS = 256, ROUNDS = 10;

struct Counter {
  uint32_t words[4];
};

DEVICE Counter philox(Counter counter, uint32_t key0, uint32_t key1) {
#pragma unroll
  for (int round = 0; round < ROUNDS; round++) {
    const uint32_t high0 = high_product(0xD2511F53u, counter.words[0]);
    const uint32_t low0 = 0xD2511F53u * counter.words[0];
    const uint32_t high1 = high_product(0xCD9E8D57u, counter.words[2]);
    const uint32_t low1 = 0xCD9E8D57u * counter.words[2];
    const uint32_t second = counter.words[1], fourth = counter.words[3];
    counter = Counter{{high1 ^ second ^ key0, low1, high0 ^ fourth ^ key1, low0}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

DEVICE void apply(const bf16* x, bf16* y, size_t count, uint32_t threshold, float factor,
                  uint64_t seed, uint32_t step, uint32_t layer) {
  const size_t first = (size_t(block_x()) * THREADS + thread_index()) * 8;
  if (first >= count) return;
  uint32_t draws[8];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint64_t index = first / 4 + half;
    const Counter drawn = philox(Counter{{uint32_t(index), uint32_t(index >> 32), step, layer}},
                                 uint32_t(seed), uint32_t(seed >> 32));
#pragma unroll
    for (int i = 0; i < 4; i++) draws[half * 4 + i] = drawn.words[i];
  }
  if (first + 8 <= count) {
    float numbers[8];
    unpack(numbers, load_eight(x + first));
#pragma unroll
    for (int i = 0; i < 8; i++) numbers[i] = draws[i] >= threshold ? numbers[i] * factor : 0.f;
    store_eight(y + first, packed(numbers));
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; i++)
    if (first + i < count)
      y[first + i] = to_bf16(draws[i] >= threshold ? to_float(x[first + i]) * factor : 0.f);
}

}  // namespace dropout

KERNEL(dropout::THREADS, 4)
dropout_apply(const bf16* x, bf16* y, size_t count, uint32_t threshold, float factor, uint64_t seed,
              uint32_t step, uint32_t layer) {
  dropout::apply(x, y, count, threshold, factor, seed, step, layer);
}
