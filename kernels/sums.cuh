// Sums over a block in f64, in an order that is part of the result's bits.
#pragma once
#include "portable.cuh"

namespace sums {

constexpr int THREADS = 256, WARPS = THREADS / WARP;
constexpr int BYTES = 8 * WARPS;  // shared memory: one double a warp

// A double from the lane whose number differs in `mask`, in two halves.
DEVICE double shuffle_double(double value, int mask) {
  union {
    double number;
    float halves[2];
  } whole{value};
  whole.halves[0] = shuffle_xor(whole.halves[0], mask);
  whole.halves[1] = shuffle_xor(whole.halves[1], mask);
  return whole.number;
}

// The block's sum, in each thread: lanes in a tree, warps in order. Called once a kernel.
DEVICE double block_sum(double value) {
  double* shared = reinterpret_cast<double*>(shared_memory());
#pragma unroll
  for (int mask = WARP / 2; mask; mask /= 2) value += shuffle_double(value, mask);
  if (thread_index() % WARP == 0) shared[thread_index() / WARP] = value;
  block_barrier();
  double sum = 0;
  for (int warp = 0; warp < WARPS; warp++) sum += shared[warp];
  return sum;
}

}  // namespace sums
