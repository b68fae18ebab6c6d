// AdamW, Lion or SGD over all tensors in one launch, the global norm that clips it, and a running
// average, all on the device.
//
//   norm = sqrt(Σ g²) over all parameters; clip = min(1, largest / norm)
//   g ← g·clip;  m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²
//   p ← p·decay − rate·m / (√v / root + ε), with decay = 1 − η·λ (1 for vectors),
//   rate = η / (1−β₁ᵗ), root = √(1−β₂ᵗ): the arithmetic of torch.optim.AdamW
//   Lion:  p ← p·decay − η·sign(β₁m + (1−β₁)g);  m ← β₂m + (1−β₂)g
//   SGD:   g ← g + λp (λ = 0 for vectors);  m ← μm + g;  p ← p − η·(past·m + own·g), past and own
//   1 and 0, or μ and 1 in Nesterov's form: the arithmetic of optim/lion.rs and optim/sgd.rs
//   average:  a ← a + share·(p − a)
//
// p, m, v, g: flat f32 of all tensors, each beginning at a multiple of 4; shadow: bf16, the same
// places. chunks [count]: tensors cut into pieces of at most CHUNK elements. `step` holds what
// changes with each step, as f32: decay, rate, root, ε, β₁, β₂ of AdamW, the fields of LionStep and
// SgdStep of the others.
// `norm` is [clip, norm, finite]: sums of squares by fixed pieces in f64, added in order by one
// block, so nothing goes to the host and the bits do not depend on the number of multiprocessors.
//
// Bytes a parameter: norm 4; AdamW reads 16, writes 12 and 2; Lion and SGD read 12, write 8 and 2;
// the average reads 8, writes 4 and 2. Ceiling: memory.
#include "sums.cuh"

namespace optimizer {

constexpr int THREADS = sums::THREADS;
constexpr int CHUNK = 16 * 1024;   // elements of one block of AdamW
constexpr int SQUARES = 32 * 1024; // elements of one block of the norm: part of its bits

// A piece of a tensor in the flat buffers.
struct Chunk {
  uint64_t start;
  uint32_t length;
  uint32_t decays;  // 1 for matrices
};

struct Step {
  float decay, rate, root, epsilon, beta1, beta2;
};

DEVICE void square_sums(const float* gradients, double* parts, size_t count) {
  const size_t first = size_t(block_x()) * SQUARES;
  const size_t end = first + SQUARES < count ? first + SQUARES : count;
  double sum = 0;
  for (size_t at = first + thread_index() * 4; at < end; at += THREADS * 4) {
    if (at + 4 <= end) {
      const Four four = load_four(gradients + at);
#pragma unroll
      for (int i = 0; i < 4; i++) sum += double(four.numbers[i]) * four.numbers[i];
    } else {
      for (size_t i = at; i < end; i++) sum += double(gradients[i]) * gradients[i];
    }
  }
  sum = sums::block_sum(sum);
  if (thread_index() == 0) parts[block_x()] = sum;
}

DEVICE void clip_factor(const double* parts, float* norm, int count, float largest) {
  double sum = 0;
  for (int at = thread_index(); at < count; at += THREADS) sum += parts[at];
  sum = sums::block_sum(sum);
  if (thread_index() > 0) return;
  const double root = sqrt(sum);
  norm[0] = largest > 0.f && root > largest ? float(largest / root) : 1.f;
  norm[1] = float(root);
  norm[2] = sum <= 1.7e308 ? 1.f : 0.f;  // neither infinite nor NaN
}

DEVICE void adamw(float* parameters, float* means, float* squares, const float* gradients,
                  bf16* shadow, const Chunk* chunks, const Step* step, const float* norm) {
  const Chunk chunk = chunks[block_x()];
  const Step s = *step;
  const float clip = norm[0], decay = chunk.decays ? s.decay : 1.f;
  if (norm[2] == 0.f) return;  // the gradient is no number: the host sees it and stops
  for (uint32_t at = thread_index(); at < chunk.length; at += THREADS) {
    const size_t i = chunk.start + at;
    const float g = gradients[i] * clip;
    const float m = s.beta1 * means[i] + (1.f - s.beta1) * g;
    const float v = s.beta2 * squares[i] + (1.f - s.beta2) * g * g;
    const float p = parameters[i] * decay - s.rate * m / (sqrtf(v) / s.root + s.epsilon);
    means[i] = m;
    squares[i] = v;
    parameters[i] = p;
    shadow[i] = to_bf16(p);
  }
}

struct LionStep {
  float decay, rate, beta1, beta2;
};

DEVICE void lion(float* parameters, float* means, const float* gradients, bf16* shadow,
                 const Chunk* chunks, const LionStep* step, const float* norm) {
  const Chunk chunk = chunks[block_x()];
  const LionStep s = *step;
  const float clip = norm[0], decay = chunk.decays ? s.decay : 1.f;
  if (norm[2] == 0.f) return;
  for (uint32_t at = thread_index(); at < chunk.length; at += THREADS) {
    const size_t i = chunk.start + at;
    const float g = gradients[i] * clip, m = means[i];
    const float direction = m * s.beta1 + g * (1.f - s.beta1);
    const float up = direction > 0.f ? s.rate : 0.f, down = direction < 0.f ? s.rate : 0.f;
    const float p = parameters[i] * decay - up + down;
    means[i] = m * s.beta2 + g * (1.f - s.beta2);
    parameters[i] = p;
    shadow[i] = to_bf16(p);
  }
}

struct SgdStep {
  float decay, rate, momentum, past, own;
};

DEVICE void sgd(float* parameters, float* means, const float* gradients, bf16* shadow,
                const Chunk* chunks, const SgdStep* step, const float* norm) {
  const Chunk chunk = chunks[block_x()];
  const SgdStep s = *step;
  const float clip = norm[0], decay = chunk.decays ? s.decay : 0.f;
  if (norm[2] == 0.f) return;
  for (uint32_t at = thread_index(); at < chunk.length; at += THREADS) {
    const size_t i = chunk.start + at;
    const float g = gradients[i] * clip + decay * parameters[i];
    const float m = means[i] * s.momentum + g;
    const float p = parameters[i] - s.rate * (s.past * m + s.own * g);
    means[i] = m;
    parameters[i] = p;
    shadow[i] = to_bf16(p);
  }
}

// Four elements a thread; `count` is a multiple of 4.
DEVICE void average(float* averages, const float* parameters, bf16* shadow, size_t count,
                    float share) {
  const size_t at = (size_t(block_x()) * THREADS + thread_index()) * 4;
  if (at >= count) return;
  Four a = load_four(averages + at);
  const Four p = load_four(parameters + at);
#pragma unroll
  for (int i = 0; i < 4; i++) a.numbers[i] += share * (p.numbers[i] - a.numbers[i]);
  store_four(averages + at, a);
  store_quad(shadow + at,
             Quad{{pack(a.numbers[0], a.numbers[1]), pack(a.numbers[2], a.numbers[3])}});
}

}  // namespace optimizer

// Shared memory of the first two: sums::BYTES.
KERNEL(optimizer::THREADS, 4)
square_sums(const float* gradients, double* parts, size_t count) {
  optimizer::square_sums(gradients, parts, count);
}
KERNEL(optimizer::THREADS, 1)
clip_factor(const double* parts, float* norm, int count, float largest) {
  optimizer::clip_factor(parts, norm, count, largest);
}
KERNEL(optimizer::THREADS, 4)
adamw(float* parameters, float* means, float* squares, const float* gradients, bf16* shadow,
      const optimizer::Chunk* chunks, const optimizer::Step* step, const float* norm) {
  optimizer::adamw(parameters, means, squares, gradients, shadow, chunks, step, norm);
}
KERNEL(optimizer::THREADS, 4)
lion(float* parameters, float* means, const float* gradients, bf16* shadow,
     const optimizer::Chunk* chunks, const optimizer::LionStep* step, const float* norm) {
  optimizer::lion(parameters, means, gradients, shadow, chunks, step, norm);
}
KERNEL(optimizer::THREADS, 4)
sgd(float* parameters, float* means, const float* gradients, bf16* shadow,
    const optimizer::Chunk* chunks, const optimizer::SgdStep* step, const float* norm) {
  optimizer::sgd(parameters, means, gradients, shadow, chunks, step, norm);
}
KERNEL(optimizer::THREADS, 4)
average_towards(float* averages, const float* parameters, bf16* shadow, size_t count,
                float share) {
  optimizer::average(averages, parameters, shadow, count, share);
}
