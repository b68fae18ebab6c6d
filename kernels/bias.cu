// One number an output of a linear map, and its gradient. Products and norms add it where they
// can (cuBLASLt's epilogue, layer_norm.cu); the forward here is for maps with an adapter beside them.
//
//   y = x + b        db = Σ over rows of gy; dx is gy
//
// x, y, gy: [rows, width] bf16, y may be x. b: [width] bf16. db parts: [blocks, width] f32, which
// sum_parts of rms_norm.cu adds in order. width is a multiple of 8.
//
// Forward: eight elements a thread; bytes an element 4. Backward: a block has 128 rows and 256
// columns, each thread eight columns of every eighth row, the eight sums in order: bytes an element
// 2, and 4 / 128. Ceiling: memory.
#include "portable.cuh"

namespace bias {

constexpr int THREADS = 256;
constexpr int ROWS = 128, COLUMNS = 256;           // a block of the backward: part of its bits
constexpr int LANES = COLUMNS / 8, SLICES = THREADS / LANES;

DEVICE void forward(const bf16* x, const bf16* numbers, bf16* y, size_t rows, int width) {
  const size_t piece = size_t(block_x()) * THREADS + thread_index();
  const size_t pieces = width / 8, row = piece / pieces, column = piece % pieces * 8;
  if (row >= rows) return;
  float sum[8], b[8];
  unpack(sum, load_eight(x + row * width + column));
  unpack(b, load_eight(numbers + column));
#pragma unroll
  for (int i = 0; i < 8; i++) sum[i] += b[i];
  store_eight(y + row * width + column, packed(sum));
}

// Shared memory: 8 · 256 floats; the eight of a lane lie 32 apart, so that a warp's accesses meet
// 32 banks.
DEVICE void backward(const bf16* to_y, float* parts, int rows, int width) {
  float* shared = reinterpret_cast<float*>(shared_memory());
  const int lane = thread_index() % LANES, slice = thread_index() / LANES;
  const int column = block_y() * COLUMNS + lane * 8, first = block_x() * ROWS;
  float sum[8] = {};
  if (column < width) {
    for (int row = first + slice; row < first + ROWS && row < rows; row += SLICES) {
      float g[8];
      unpack(g, load_eight(to_y + size_t(row) * width + column));
#pragma unroll
      for (int i = 0; i < 8; i++) sum[i] += g[i];
    }
  }
#pragma unroll
  for (int i = 0; i < 8; i++) shared[slice * COLUMNS + i * LANES + lane] = sum[i];
  block_barrier();
  const int own = thread_index(), to = block_y() * COLUMNS + own;
  if (to >= width) return;
  float whole = 0.f;
  for (int part = 0; part < SLICES; part++)
    whole += shared[part * COLUMNS + own % 8 * LANES + own / 8];
  parts[size_t(block_x()) * width + to] = whole;
}

}  // namespace bias

KERNEL(bias::THREADS, 4)
bias_forward(const bf16* x, const bf16* numbers, bf16* y, size_t rows, int width) {
  bias::forward(x, numbers, y, rows, width);
}
KERNEL(bias::THREADS, 4)
bias_backward(const bf16* to_y, float* parts, int rows, int width) {
  bias::backward(to_y, parts, rows, width);
}
