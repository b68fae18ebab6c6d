// A GPU's block on the host: fibers for threads, and every instruction of portable.cuh in C++.
//
// In → a kernel as a function, its grid, block and shared bytes, a seed; out → what it wrote.
// Blocks run one after the other in an order that the seed draws. Inside a block one warp runs as
// far as it can, to a block barrier or its end, before another begins, warps and lanes in drawn
// orders: the greatest distance that the hardware allows between threads. A missing barrier then
// reads what nobody has written yet, or what somebody has written over.
//
// Shared memory is a fresh allocation of exactly the bytes that the launch gave, filled with 0xff
// (NaN as float and as bf16), so the address sanitizer sees a byte too far. An asynchronous copy
// fills its target with 0xff when it is started and copies when it is waited for: the latest
// moment that the hardware allows. A barrier can be left out, and a wait made one group short, by
// its place in the source (`skip`), so that a test can show that each is needed.
//
// mma.sync as Fasi, Higham, Mikaitis and Pranesh measured it (*Numerical behavior of NVIDIA tensor
// cores*, 2021): exact products; the addends of a step are aligned to the largest, bits below are
// cut off, and the sum is rounded toward zero. 8 products and the accumulator are one step, and one
// bit below the 24 of fp32 is kept, as on A100 for bf16.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define DEVICE inline
#define KERNEL(threads, blocks) extern "C" void

namespace host {

[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "fault: %s\n", what.c_str());
  std::fflush(stderr);
  std::_Exit(3);
}

// SplitMix64 (Steele, Lea and Flood, 2014).
struct Draws {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::vector<int> order(int count) {
    std::vector<int> order(count);
    for (int i = 0; i < count; i++) order[i] = i;
    for (int i = count - 1; i > 0; i--) std::swap(order[i], order[next() % (i + 1)]);
    return order;
  }
};

enum class State { READY, AT_WARP, AT_BLOCK, DONE };

// What one lane brings to an operation that its whole warp does together.
struct Offer {
  enum Kind { BARRIER, SHUFFLE, MULTIPLY, LOAD, LOAD_TRANSPOSED } kind;
  void (*act)(Offer* const* offers) = nullptr;  // for all lanes at once
  void* operands = nullptr;
};

struct Copy {
  void* to;
  const void* from;
  int bytes;
  bool valid;
};

struct Fiber {
  State state = State::READY;
  Offer* offer = nullptr;
  std::vector<Copy> open;
  std::deque<std::vector<Copy>> groups;
  std::vector<unsigned char> stack;
#if defined(__x86_64__)
  void* pointer = nullptr;
#else
  ucontext_t context;
#endif
  void* fake_stack = nullptr;
};

constexpr int LANES = 32;
constexpr size_t STACK = 128 * 1024;

struct Machine {
  int block[3] = {}, grid[3] = {}, threads = 0, current = -1;
  std::vector<Fiber> fibers;
  std::vector<unsigned char*> unused;
  unsigned char* shared = nullptr;
  size_t shared_bytes = 0;
  Draws draws{0};
  std::vector<int> warps, lanes;
  // By warp: how many of its lanes wait for the others, and up to which lane of the drawn order
  // none can run; how many threads wait at the block's barrier.
  std::vector<int> at_warp, cursors;
  int at_block = 0;
  std::function<void()> body;
  std::string skip;              // file:line of the barrier or wait to leave out
  std::set<std::string> places;  // of all that were reached
  Fiber main;
  const void* main_stack = nullptr;
  size_t main_stack_bytes = 0;
};

inline Machine machine;

#if defined(__x86_64__)
// Saves the registers that a call preserves, and goes on where the other fiber did so.
extern "C" void dataprep_switch_fiber(void** save, void* load);
asm(R"(
.text
.globl dataprep_switch_fiber
dataprep_switch_fiber:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");
#endif

inline Fiber& fiber_at(int index) { return index < 0 ? machine.main : machine.fibers[index]; }

inline void arrived(Fiber& fiber) {
#ifdef __SANITIZE_ADDRESS__
  const void* bottom;
  size_t bytes;
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &bottom, &bytes);
  if (!machine.main_stack) machine.main_stack = bottom, machine.main_stack_bytes = bytes;
#else
  (void)fiber;
#endif
}

inline void go_to(int index) {
  const int from = machine.current;
  Fiber &old = fiber_at(from), &next = fiber_at(index);
  machine.current = index;
#ifdef __SANITIZE_ADDRESS__
  const void* bottom = index < 0 ? machine.main_stack : next.stack.data();
  const size_t bytes = index < 0 ? machine.main_stack_bytes : STACK;
  const bool ends = from >= 0 && old.state == State::DONE;
  __sanitizer_start_switch_fiber(ends ? nullptr : &old.fake_stack, bottom, bytes);
#endif
#if defined(__x86_64__)
  dataprep_switch_fiber(&old.pointer, next.pointer);
#else
  swapcontext(&old.context, &next.context);
#endif
  arrived(old);
}

inline int warps() { return machine.threads / LANES; }

// The fiber to run next: the present warp as long as it can, then others in the drawn order.
inline int next_ready() {
  const int here = machine.current < 0 ? machine.warps[0] : machine.current / LANES;
  for (int turn = -1; turn < warps(); turn++) {
    const int warp = turn < 0 ? here : machine.warps[turn];
    for (int& at = machine.cursors[warp]; at < LANES; at++) {
      const int index = warp * LANES + machine.lanes[at];
      if (machine.fibers[index].state == State::READY) return index;
    }
  }
  return -1;
}

// Everyone of a warp can run again.
inline void release(int warp) {
  for (int i = warp * LANES; i < (warp + 1) * LANES; i++) machine.fibers[i].state = State::READY;
  machine.cursors[warp] = machine.at_warp[warp] = 0;
}

inline void go_on() {
  const int next = next_ready();
  if (next == machine.current) return;
  if (next >= 0) return go_to(next);
  for (Fiber& fiber : machine.fibers)
    if (fiber.state != State::DONE)
      fail("threads wait for others that have ended or wait elsewhere");
  go_to(-1);
}

inline void fiber_body() {
  arrived(machine.fibers[machine.current]);
  machine.body();
  Fiber& fiber = machine.fibers[machine.current];
  for (auto& group : fiber.groups)
    if (!group.empty()) fail("a thread ended before it waited for its copies");
  if (!fiber.open.empty()) fail("a thread ended with copies in no group");
  fiber.state = State::DONE;
  go_on();
  fail("a fiber that had ended went on");
}

inline void prepare(Fiber& fiber) {
  fiber.state = State::READY;
  fiber.groups.clear();
  fiber.stack.resize(STACK);
#ifdef __SANITIZE_ADDRESS__
  // The frames of a fiber that has ended never returned, so their red zones are still marked.
  __asan_unpoison_memory_region(fiber.stack.data(), STACK);
#endif
#if defined(__x86_64__)
  auto top = reinterpret_cast<uintptr_t>(fiber.stack.data() + STACK) & ~uintptr_t(15);
  auto slots = reinterpret_cast<void**>(top) - 8;
  for (int i = 0; i < 6; i++) slots[i] = nullptr;
  slots[6] = reinterpret_cast<void*>(&fiber_body);
  slots[7] = nullptr;
  fiber.pointer = slots;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.data();
  fiber.context.uc_stack.ss_size = STACK;
  makecontext(&fiber.context, &fiber_body, 0);
#endif
}

// Runs a kernel over its grid; `threads` is a multiple of 32.
inline void launch(const int (&grid)[3], int threads, size_t shared_bytes, uint64_t seed,
                   std::function<void()> body) {
  if (threads % LANES || threads > 1024) fail("a block is up to 1024 threads in whole warps");
  machine.draws = Draws{seed};
  machine.threads = threads;
  machine.body = std::move(body);
  machine.shared_bytes = shared_bytes;
  std::memcpy(machine.grid, grid, sizeof grid);
  if (machine.fibers.size() != size_t(threads)) machine.fibers = std::vector<Fiber>(threads);
  for (int index : machine.draws.order(grid[0] * grid[1] * grid[2])) {
    machine.block[0] = index % grid[0];
    machine.block[1] = index / grid[0] % grid[1];
    machine.block[2] = index / grid[0] / grid[1];
    machine.warps = machine.draws.order(warps());
    machine.lanes = machine.draws.order(LANES);
    machine.at_warp = machine.cursors = std::vector<int>(warps());
    machine.at_block = 0;
    const size_t whole = (shared_bytes + 127) / 128 * 128;
    machine.shared = static_cast<unsigned char*>(std::aligned_alloc(128, whole));
    std::memset(machine.shared, 0xff, shared_bytes);
#ifdef __SANITIZE_ADDRESS__
    __asan_poison_memory_region(machine.shared + shared_bytes, whole - shared_bytes);
#endif
    for (Fiber& fiber : machine.fibers) prepare(fiber);
    machine.current = -1;
    go_to(next_ready());
    std::free(machine.shared);
  }
}

// Whether the barrier or wait at this place is to be left out.
inline bool skipped(const char* file, int line) {
  const char* name = std::strrchr(file, '/');
  std::string place = std::string(name ? name + 1 : file) + ":" + std::to_string(line);
  const bool skip = place == machine.skip;
  machine.places.insert(std::move(place));
  return skip;
}

// An operation of the whole warp: the last lane to come does it for all.
inline void together(Offer& offer) {
  const int here = machine.current, first = here / LANES * LANES;
  machine.fibers[here].offer = &offer;
  machine.fibers[here].state = State::AT_WARP;
  if (++machine.at_warp[first / LANES] == LANES) {
    Offer* offers[LANES];
    for (int lane = 0; lane < LANES; lane++) {
      offers[lane] = machine.fibers[first + lane].offer;
      if (offers[lane]->kind != offer.kind) fail("lanes of a warp are at different operations");
    }
    offer.act(offers);
    release(first / LANES);
  }
  go_on();
}

inline float number(uint32_t word, int half) {
  const uint32_t bits = half ? word & 0xffff0000u : word << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// One step of a tensor core: c + Σ of 8 products.
inline float step(float c, const double* products) {
  double largest = std::fabs(double(c)), plain = c;
  for (int k = 0; k < 8; k++) {
    largest = std::fmax(largest, std::fabs(products[k]));
    plain += products[k];
  }
  if (largest == 0 || !std::isfinite(plain)) return float(plain);
  // The bit that is 24 below the largest addend's highest, and its inverse: powers of two.
  const double unit = std::ldexp(1.0, std::ilogb(largest) - 24), inverse = 1 / unit;
  int64_t sum = int64_t(double(c) * inverse);
  for (int k = 0; k < 8; k++) sum += int64_t(products[k] * inverse);
  const double exact = double(sum) * unit;
  const float rounded = float(exact);
  const bool away = std::fabs(double(rounded)) > std::fabs(exact);
  return away ? std::nextafterf(rounded, 0.f) : rounded;
}

struct Multiply {
  float (*c)[4];
  const uint32_t (*a)[4];
  uint32_t b[2];
};

inline void multiply(Offer* const* offers) {
  double a[16][16], b[8][16];  // b by columns
  for (int lane = 0; lane < LANES; lane++) {
    const auto& from = *static_cast<Multiply*>(offers[lane]->operands);
    const int g = lane / 4, t = lane % 4 * 2;
    for (int i = 0; i < 4; i++)
      for (int half = 0; half < 2; half++)
        a[g + i % 2 * 8][t + half + i / 2 * 8] = number((*from.a)[i], half);
    for (int i = 0; i < 2; i++)
      for (int half = 0; half < 2; half++) b[g][t + half + i * 8] = number(from.b[i], half);
  }
  for (int lane = 0; lane < LANES; lane++)
    for (int i = 0; i < 4; i++) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      float& c = (*static_cast<Multiply*>(offers[lane]->operands)->c)[i];
      double products[16];
      for (int k = 0; k < 16; k++) products[k] = a[row][k] * b[column][k];
      c = step(step(c, products), products + 8);
    }
}

struct Load {
  uint32_t (*out)[4];
  const unsigned char* row;
  bool transposed;
};

inline void load(Offer* const* offers) {
  uint16_t rows[LANES][8];  // of all four matrices
  for (int lane = 0; lane < LANES; lane++)
    std::memcpy(rows[lane], static_cast<Load*>(offers[lane]->operands)->row, 16);
  for (int lane = 0; lane < LANES; lane++)
    for (int matrix = 0; matrix < 4; matrix++) {
      auto& mine = *static_cast<Load*>(offers[lane]->operands);
      const auto elements = rows + matrix * 8;
      const int g = lane / 4, t = lane % 4 * 2;
      const uint32_t low = mine.transposed ? elements[t][g] : elements[g][t];
      const uint32_t high = mine.transposed ? elements[t + 1][g] : elements[g][t + 1];
      (*mine.out)[matrix] = low | high << 16;
    }
}

inline void load_four(Offer::Kind kind, uint32_t (&out)[4], const void* row, bool transposed) {
  auto address = static_cast<const unsigned char*>(row);
  if (reinterpret_cast<uintptr_t>(row) % 16) fail("a row of a matrix is not aligned to 16 bytes");
  if (address < machine.shared || address + 16 > machine.shared + machine.shared_bytes)
    fail("a row of a matrix is not in shared memory");
  Load operands{&out, address, transposed};
  Offer offer{kind, load, &operands};
  together(offer);
}

inline void start_copy(void* to, const void* from, int bytes, bool valid) {
  auto address = static_cast<unsigned char*>(to);
  if (address < machine.shared || address + bytes > machine.shared + machine.shared_bytes)
    fail("a copy does not go to shared memory");
  if (reinterpret_cast<uintptr_t>(to) % bytes || reinterpret_cast<uintptr_t>(from) % bytes)
    fail("a copy is not aligned to its size");
  std::memset(to, 0xff, bytes);
  machine.fibers[machine.current].open.push_back(Copy{to, from, bytes, valid});
}

inline void finish_copies(size_t later) {
  auto& groups = machine.fibers[machine.current].groups;
  for (; groups.size() > later; groups.pop_front())
    for (const Copy& copy : groups.front())
      if (copy.valid) std::memcpy(copy.to, copy.from, copy.bytes);
      else std::memset(copy.to, 0, copy.bytes);
}

}  // namespace host

#define HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline int thread_index() { return host::machine.current; }
inline int block_x() { return host::machine.block[0]; }
inline int block_y() { return host::machine.block[1]; }
inline int block_z() { return host::machine.block[2]; }
inline int blocks_x() { return host::machine.grid[0]; }
inline unsigned char* shared_memory() { return host::machine.shared; }

inline void block_barrier(HERE) {
  using namespace host;
  if (skipped(file, line)) return;
  machine.fibers[machine.current].state = State::AT_BLOCK;
  if (++machine.at_block == machine.threads) {
    machine.at_block = 0;
    for (int warp = 0; warp < warps(); warp++) release(warp);
    machine.warps = machine.draws.order(warps());
    machine.lanes = machine.draws.order(LANES);
  }
  go_on();
}
inline void warp_barrier(HERE) {
  if (host::skipped(file, line)) return;
  host::Offer offer{host::Offer::BARRIER, [](host::Offer* const*) {}, nullptr};
  host::together(offer);
}
inline float shuffle_xor(float value, int mask) {
  struct Operands {
    float in;
    int mask;
    float out;
  } operands{value, mask, 0};
  host::Offer offer{host::Offer::SHUFFLE,
                    [](host::Offer* const* offers) {
                      auto at = [&](int lane) {
                        return static_cast<Operands*>(offers[lane]->operands);
                      };
                      for (int lane = 0; lane < host::LANES; lane++)
                        at(lane)->out = at(lane ^ at(lane)->mask)->in;
                    },
                    &operands};
  host::together(offer);
  return operands.out;
}

inline uint32_t float_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
inline float bits_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline uint32_t pack(float low, float high) {
  auto rounded = [](float value) -> uint32_t {
    const uint32_t bits = float_bits(value);
    if (std::isnan(value)) return 0x7fff;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  };
  return rounded(low) | rounded(high) << 16;
}

inline void copy_async(void* to, const void* from, bool valid) {
  host::start_copy(to, from, 16, valid);
}
inline void copy_async_word(void* to, const void* from, bool valid) {
  host::start_copy(to, from, 4, valid);
}
inline void commit_copies() {
  auto& fiber = host::machine.fibers[host::machine.current];
  fiber.groups.push_back(std::move(fiber.open));
  fiber.open.clear();
}
template <int LATER>
inline void wait_copies(HERE) {
  // "Left out" is one group too few: the smallest mistake there is.
  host::finish_copies(host::skipped(file, line) ? LATER + 1 : LATER);
}

inline void load_matrices(uint32_t (&out)[4], const void* row) {
  host::load_four(host::Offer::LOAD, out, row, false);
}
inline void load_matrices_transposed(uint32_t (&out)[4], const void* row) {
  host::load_four(host::Offer::LOAD_TRANSPOSED, out, row, true);
}
inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  host::Multiply operands{&c, &a, {b0, b1}};
  host::Offer offer{host::Offer::MULTIPLY, host::multiply, &operands};
  host::together(offer);
}

inline float inverse_root(float value) { return 1.f / std::sqrt(value); }
inline uint32_t high_product(uint32_t a, uint32_t b) { return uint64_t(a) * b >> 32; }

using std::exp;
using std::fmaxf;
#undef HERE
