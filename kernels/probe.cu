// One instruction each, for the test that the layouts of fragments are those of the PTX ISA: what
// the other kernels rely on, seen from outside.
#include "portable.cuh"

// d = a·b + c on raw fragments: a [32 lanes, 4 words], b [32, 2], c and d [32, 4] f32.
KERNEL(WARP, 1)
probe_multiply(const uint32_t* a, const uint32_t* b, const float* c, float* d) {
  const int lane = thread_index();
  uint32_t left[4];
  float sum[4];
  for (int i = 0; i < 4; i++) left[i] = a[lane * 4 + i], sum[i] = c[lane * 4 + i];
  multiply_add(sum, left, b[lane * 2], b[lane * 2 + 1]);
  for (int i = 0; i < 4; i++) d[lane * 4 + i] = sum[i];
}

// The fragments [32 lanes, 4 words] that ldmatrix makes of four matrices [4, 8, 8], plain, then
// transposed, with the rows brought by both kinds of asynchronous copies. Shared memory: 512 bytes.
KERNEL(WARP, 1)
probe_load(const bf16* matrices, uint32_t* plain, uint32_t* transposed) {
  unsigned char* shared = shared_memory();
  const int lane = thread_index();
  if (lane % 2) {
    copy_async(shared + lane * 16, matrices + lane * 8, true);
  } else {
    for (int word = 0; word < 4; word++)
      copy_async_word(shared + lane * 16 + word * 4, matrices + lane * 8 + word * 2, true);
  }
  commit_copies();
  wait_copies<0>();
  warp_barrier();
  uint32_t words[4];
  load_matrices(words, shared + lane * 16);
  for (int i = 0; i < 4; i++) plain[lane * 4 + i] = words[i];
  load_matrices_transposed(words, shared + lane * 16);
  for (int i = 0; i < 4; i++) transposed[lane * 4 + i] = words[i];
}

// The sum of 32 numbers, in each lane, and the same over groups of 8.
KERNEL(WARP, 1)
probe_sums(const float* numbers, float* sums, float* group_sums) {
  const int lane = thread_index();
  sums[lane] = sum_lanes(numbers[lane]);
  group_sums[lane] = sum_lanes<8>(numbers[lane]);
}
