// The instructions that the kernels use, each with a body for the GPU and one for the host.
//
// nvcc compiles a kernel against the device bodies, the system's C++ compiler the same text against
// host.hpp, which runs a block's threads as fibers. What the host can therefore prove is everything
// but these few lines: indices, masks, synchronisation, the layout of fragments, rounding to bf16.
//
// Fragments are those of PTX ISA 9.0, section 9.7.14.5.8 (mma.m16n8k16, bf16). With g = lane / 4
// and t = lane % 4, and pairs of neighbours packed low half first:
//   A [16 x 16]  a0 (g, 2t) · a1 (g+8, 2t) · a2 (g, 2t+8) · a3 (g+8, 2t+8)
//   B [16 x 8]   b0 (2t, g) · b1 (2t+8, g), neighbours down the column
//   C [16 x 8]   c0 c1 (g, 2t), (g, 2t+1) · c2 c3 (g+8, 2t), (g+8, 2t+1)
#pragma once
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__

#define DEVICE __device__ __forceinline__
// An entry point for blocks of `threads`, of which `blocks` shall fit on one multiprocessor.
#define KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)

DEVICE int thread_index() { return threadIdx.x; }
DEVICE int block_x() { return blockIdx.x; }
DEVICE int block_y() { return blockIdx.y; }
DEVICE int block_z() { return blockIdx.z; }
DEVICE int blocks_x() { return gridDim.x; }

// The block's shared memory, of as many bytes as the launch gave.
DEVICE unsigned char* shared_memory() {
  extern __shared__ __align__(128) unsigned char bytes[];
  return bytes;
}

DEVICE void block_barrier() { __syncthreads(); }
DEVICE void warp_barrier() { __syncwarp(); }
// `value` of the lane whose number differs in the bits of `mask`; all 32 lanes call it together.
DEVICE float shuffle_xor(float value, int mask) { return __shfl_xor_sync(~0u, value, mask); }

DEVICE uint32_t float_bits(float value) { return __float_as_uint(value); }
DEVICE float bits_float(uint32_t bits) { return __uint_as_float(bits); }

// Two floats rounded to bf16, ties to even; `low` in the lower half.
DEVICE uint32_t pack(float low, float high) {
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}

// Starts a copy of 16 bytes from global to shared memory; writes zeros where not `valid`.
DEVICE void copy_async(void* shared, const void* global, bool valid) {
  const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes)
               : "memory");
}
// The same of 4 bytes.
DEVICE void copy_async_word(void* shared, const void* global, bool valid) {
  const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = valid ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(global), "r"(bytes)
               : "memory");
}
// Closes the group of the copies that this thread started since the last one.
DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for this thread's groups but the `LATER` newest; other threads' need a block_barrier().
template <int LATER>
DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(LATER) : "memory");
}

// Four 8 x 8 matrices of bf16: lane l names row l % 8 of matrix l / 8, 16 bytes in shared memory.
DEVICE void load_matrices(uint32_t (&out)[4], const void* row) {
  const uint32_t from = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(from)
               : "memory");
}
// The same, each matrix transposed on the way.
DEVICE void load_matrices_transposed(uint32_t (&out)[4], const void* row) {
  const uint32_t from = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(from)
               : "memory");
}
// c += a · b on the tensor cores: [16 x 16] · [16 x 8], products exact, sums in fp32.
DEVICE void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

DEVICE float inverse_root(float value) { return rsqrtf(value); }
DEVICE uint32_t high_product(uint32_t a, uint32_t b) { return __umulhi(a, b); }

#else
#include "host.hpp"
#endif

// A number of 16 bits: the upper half of a float.
struct bf16 {
  uint16_t bits;
};

// Eight of them, which one instruction loads or stores: 16 bytes, so aligned.
struct alignas(16) Eight {
  uint32_t words[4];
};

// Four of them: 8 bytes.
struct alignas(8) Quad {
  uint32_t words[2];
};
// Four floats: 16 bytes.
struct alignas(16) Four {
  float numbers[4];
};

DEVICE float low_half(uint32_t word) { return bits_float(word << 16); }
DEVICE float high_half(uint32_t word) { return bits_float(word & 0xffff0000u); }
DEVICE float to_float(bf16 number) { return bits_float(uint32_t(number.bits) << 16); }
DEVICE bf16 to_bf16(float number) { return bf16{uint16_t(pack(number, 0.f))}; }

// Wide accesses. Stores say so in PTX, since nvcc takes some of those to structs apart into words.
#ifdef __CUDACC__
DEVICE Eight load_eight(const bf16* from) {
  const uint4 words = *reinterpret_cast<const uint4*>(from);
  return Eight{{words.x, words.y, words.z, words.w}};
}
DEVICE void store_eight(bf16* to, Eight eight) {
  const uint32_t* words = eight.words;
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
               "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
               : "memory");
}
DEVICE Quad load_quad(const bf16* from) {
  const uint2 words = *reinterpret_cast<const uint2*>(from);
  return Quad{{words.x, words.y}};
}
DEVICE void store_quad(bf16* to, Quad quad) {
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(to)),
               "r"(quad.words[0]), "r"(quad.words[1])
               : "memory");
}
DEVICE Four load_four(const float* from) {
  const float4 four = *reinterpret_cast<const float4*>(from);
  return Four{{four.x, four.y, four.z, four.w}};
}
DEVICE void store_four(float* to, Four four) {
  const float* numbers = four.numbers;
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
               "f"(numbers[0]), "f"(numbers[1]), "f"(numbers[2]), "f"(numbers[3])
               : "memory");
}
#else
DEVICE void store_four(float* to, Four four) { *reinterpret_cast<Four*>(to) = four; }
DEVICE Eight load_eight(const bf16* from) { return *reinterpret_cast<const Eight*>(from); }
DEVICE void store_eight(bf16* to, Eight eight) { *reinterpret_cast<Eight*>(to) = eight; }
DEVICE Quad load_quad(const bf16* from) { return *reinterpret_cast<const Quad*>(from); }
DEVICE void store_quad(bf16* to, Quad quad) { *reinterpret_cast<Quad*>(to) = quad; }
DEVICE Four load_four(const float* from) { return *reinterpret_cast<const Four*>(from); }
#endif

DEVICE void unpack(float (&numbers)[8], Eight eight) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    numbers[2 * i] = low_half(eight.words[i]);
    numbers[2 * i + 1] = high_half(eight.words[i]);
  }
}
DEVICE Eight packed(const float (&numbers)[8]) {
  Eight eight;
#pragma unroll
  for (int i = 0; i < 4; i++) eight.words[i] = pack(numbers[2 * i], numbers[2 * i + 1]);
  return eight;
}

constexpr int WARP = 32;

// The sum over groups of `LANES` neighbouring lanes, in a fixed tree: the same bits in each lane.
template <int LANES = WARP>
DEVICE float sum_lanes(float value) {
#pragma unroll
  for (int mask = LANES / 2; mask; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}
template <int LANES = WARP>
DEVICE float max_lanes(float value) {
#pragma unroll
  for (int mask = LANES / 2; mask; mask /= 2) value = fmaxf(value, shuffle_xor(value, mask));
  return value;
}
