// Muon over all matrices of the blocks: what is not a product of matrices.
//
//   g ← g·clip;  m ← m + (1−μ)(g − m);  u = g + μ(m − g) (Nesterov's form) or m
//   x = u / max(‖u‖, 1e-7), or u / (1.01·‖u‖ + 1e-6) for the Polar Express, by matrix
//   p ← p·decay − rate·s·o,  o the orthogonal matrix next to x: the arithmetic of optim/muon.rs
//
// Between the last two stand the rounds x ← a·x + (b·A + c·A²)·x with A = x·xᵀ, three products each
// with α and β, so cuBLASLt does them whole: A, then c·A·A + b·A, then that times x + a·x. A matrix
// with more rows than columns is multiplied from the other side, x·(b·A + c·A²) with A = xᵀ·x;
// nothing is transposed in memory.
//
// p, m, g: flat f32 of all parameters, x and o: flat bf16 at the same places (o may be x), each
// matrix beginning at a multiple of 8, as cuBLASLt wants. chunks [count]: matrices cut into pieces
// of at most CHUNK elements, in order. `norm`: [clip, norm, finite] of optimizer.cu. `step` holds
// what changes with each step.
//
// muon_momentum writes m and one sum of u² a chunk, muon_inverses one factor a matrix, muon_scale
// x from m and g, so u is never in memory. Bytes a parameter: 12, then 10, then muon_update 12: 34
// and the products, AdamW 30. Ceiling: memory.
#include "sums.cuh"

namespace muon {

constexpr int THREADS = sums::THREADS;
constexpr int CHUNK = 16 * 1024;  // elements of one block: part of the norms' bits

// A piece of a matrix in the flat buffers.
struct Chunk {
  uint64_t start;
  uint32_t length;
  uint32_t matrix;
};

struct Matrix {
  uint32_t first_chunk, chunks;
  float scale;  // s, from the matrix's shape
  uint32_t unused;
};

struct Step {
  float momentum, decay, rate;
  uint32_t nesterov, polar;  // 0 or 1
};

// m, moved towards the gradient.
DEVICE float moved(float m, float g, float momentum) { return m + (1.f - momentum) * (g - m); }
// u, from m as it is after the move.
DEVICE float direction(float m, float g, const Step& step) {
  return step.nesterov ? g + step.momentum * (m - g) : m;
}

DEVICE void momentum(float* means, const float* gradients, double* parts, const Chunk* chunks,
                     const Step* step, const float* norm) {
  const Chunk chunk = chunks[block_x()];
  const Step s = *step;
  const float clip = norm[0];
  if (norm[2] == 0.f) return;  // the gradient is no number: the host sees it and stops
  double sum = 0;
  for (uint32_t at = thread_index() * 4; at < chunk.length; at += THREADS * 4) {
    const size_t i = chunk.start + at;
    if (at + 4 <= chunk.length) {
      Four m = load_four(means + i);
      const Four g = load_four(gradients + i);
#pragma unroll
      for (int j = 0; j < 4; j++) {
        m.numbers[j] = moved(m.numbers[j], g.numbers[j] * clip, s.momentum);
        const double u = direction(m.numbers[j], g.numbers[j] * clip, s);
        sum += u * u;
      }
      store_four(means + i, m);
      continue;
    }
    for (size_t j = i; j < chunk.start + chunk.length; j++) {
      means[j] = moved(means[j], gradients[j] * clip, s.momentum);
      const double u = direction(means[j], gradients[j] * clip, s);
      sum += u * u;
    }
  }
  sum = sums::block_sum(sum);
  if (thread_index() == 0) parts[block_x()] = sum;
}

// One block a matrix: the sums of its chunks in a fixed order.
DEVICE void inverses(const double* parts, const Matrix* matrices, float* factors,
                     const Step* step) {
  const Matrix matrix = matrices[block_x()];
  double sum = 0;
  for (uint32_t at = thread_index(); at < matrix.chunks; at += THREADS)
    sum += parts[matrix.first_chunk + at];
  sum = sums::block_sum(sum);
  if (thread_index() > 0) return;
  const double norm = sqrt(sum);
  const double from = step->polar ? norm * 1.01 + 1e-6 : norm > 1e-7 ? norm : 1e-7;
  factors[block_x()] = float(1.0 / from);
}

DEVICE void scale(const float* means, const float* gradients, bf16* x, const Chunk* chunks,
                  const float* factors, const Step* step, const float* norm) {
  const Chunk chunk = chunks[block_x()];
  const Step s = *step;
  const float clip = norm[0], factor = factors[chunk.matrix];
  if (norm[2] == 0.f) return;
  for (uint32_t at = thread_index() * 4; at < chunk.length; at += THREADS * 4) {
    const size_t i = chunk.start + at;
    if (at + 4 <= chunk.length) {
      const Four m = load_four(means + i), g = load_four(gradients + i);
      float u[4];
#pragma unroll
      for (int j = 0; j < 4; j++)
        u[j] = direction(m.numbers[j], g.numbers[j] * clip, s) * factor;
      store_quad(x + i, Quad{{pack(u[0], u[1]), pack(u[2], u[3])}});
      continue;
    }
    for (size_t j = i; j < chunk.start + chunk.length; j++)
      x[j] = to_bf16(direction(means[j], gradients[j] * clip, s) * factor);
  }
}

DEVICE void update(float* parameters, const bf16* o, bf16* shadow, const Chunk* chunks,
                   const Matrix* matrices, const Step* step, const float* norm) {
  const Chunk chunk = chunks[block_x()];
  const float decay = step->decay, rate = step->rate * matrices[chunk.matrix].scale;
  if (norm[2] == 0.f) return;
  for (uint32_t at = thread_index() * 4; at < chunk.length; at += THREADS * 4) {
    const size_t i = chunk.start + at;
    if (at + 4 <= chunk.length) {
      Four p = load_four(parameters + i);
      const Quad quad = load_quad(o + i);
      const float turned[4] = {low_half(quad.words[0]), high_half(quad.words[0]),
                               low_half(quad.words[1]), high_half(quad.words[1])};
#pragma unroll
      for (int j = 0; j < 4; j++) p.numbers[j] = p.numbers[j] * decay - rate * turned[j];
      store_four(parameters + i, p);
      store_quad(shadow + i, Quad{{pack(p.numbers[0], p.numbers[1]),
                                   pack(p.numbers[2], p.numbers[3])}});
      continue;
    }
    for (size_t j = i; j < chunk.start + chunk.length; j++) {
      parameters[j] = parameters[j] * decay - rate * to_float(o[j]);
      shadow[j] = to_bf16(parameters[j]);
    }
  }
}

}  // namespace muon

// Shared memory of the first two: sums::BYTES.
KERNEL(muon::THREADS, 4)
muon_momentum(float* means, const float* gradients, double* parts, const muon::Chunk* chunks,
              const muon::Step* step, const float* norm) {
  muon::momentum(means, gradients, parts, chunks, step, norm);
}
KERNEL(muon::THREADS, 1)
muon_inverses(const double* parts, const muon::Matrix* matrices, float* factors,
              const muon::Step* step) {
  muon::inverses(parts, matrices, factors, step);
}
KERNEL(muon::THREADS, 4)
muon_scale(const float* means, const float* gradients, bf16* x, const muon::Chunk* chunks,
           const float* factors, const muon::Step* step, const float* norm) {
  muon::scale(means, gradients, x, chunks, factors, step, norm);
}
KERNEL(muon::THREADS, 4)
muon_update(float* parameters, const bf16* o, bf16* shadow, const muon::Chunk* chunks,
            const muon::Matrix* matrices, const muon::Step* step, const float* norm) {
  muon::update(parameters, o, shadow, chunks, matrices, step, norm);
}
