// Dropout whose draws are those of runtime/ops/dropout.rs: a function of the token's key and the
// element's place in it alone.
//
//   y = x·factor where the element's draw is at least the threshold, else 0; the backward is the
//   same call on the gradient. factor = 1 / (1 − threshold / 65,536)
//
// x, y: [rows, width] bf16, y may be x. keys: [rows] u64, one a token, hashed on the host of (seed,
// site, row of the mix, position). Element e has 16 bits of the draw e / 4 of SplitMix64 (Steele,
// Lea and Flood, *Fast splittable pseudorandom number generators*, 2014), whose state before draw i
// is key + i·golden: a counter. width is a multiple of 8.
//
// Eight elements, so two draws, a thread. Bytes an element: 4, a token: 8. Ceiling: memory.
#include "portable.cuh"

namespace dropout {

constexpr int THREADS = 256;
constexpr uint64_t GOLDEN = 0x9e3779b97f4a7c15ull;

// Draw `index` of the token with this key: four draws of 16 bits, the lowest first.
DEVICE uint64_t draw(uint64_t key, uint64_t index) {
  const uint64_t state = key + (index + 1) * GOLDEN;
  const uint64_t once = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9ull;
  const uint64_t twice = (once ^ (once >> 27)) * 0x94d049bb133111ebull;
  return twice ^ (twice >> 31);
}

DEVICE void apply(const bf16* x, bf16* y, const uint64_t* keys, size_t rows, int width,
                  uint32_t threshold, float factor) {
  const size_t piece = size_t(block_x()) * THREADS + thread_index();
  const size_t pieces = width / 8, row = piece / pieces, column = piece % pieces * 8;
  if (row >= rows) return;
  const uint64_t key = keys[row];
  const size_t at = row * width + column;
  float numbers[8];
  unpack(numbers, load_eight(x + at));
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const uint64_t bits = draw(key, column / 4 + half);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const bool stays = (uint32_t(bits >> (16 * i)) & 0xffffu) >= threshold;
      float& number = numbers[half * 4 + i];
      number = stays ? number * factor : 0.f;
    }
  }
  store_eight(y + at, packed(numbers));
}

}  // namespace dropout

KERNEL(dropout::THREADS, 4)
dropout_apply(const bf16* x, bf16* y, const uint64_t* keys, size_t rows, int width,
              uint32_t threshold, float factor) {
  dropout::apply(x, y, keys, rows, width, threshold, factor);
}
