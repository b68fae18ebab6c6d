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
// moment that the hardware allows. A barrier or a wait can be left out by its place in the source
// (`skip`), so that a test can show that each is needed.
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
  const char* kind = "";
  void (*act)(Offer* const* offers, int lane) = nullptr;
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
    for (int lane : machine.lanes)
      if (machine.fibers[warp * LANES + lane].state == State::READY) return warp * LANES + lane;
  }
  return -1;
}

inline void release(int first, int count, State waiting) {
  for (int i = first; i < first + count; i++)
    if (machine.fibers[i].state == waiting) machine.fibers[i].state = State::READY;
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
  Offer* offers[LANES];
  int waiting = 0;
  for (; waiting < LANES && machine.fibers[first + waiting].state == State::AT_WARP; waiting++)
    offers[waiting] = machine.fibers[first + waiting].offer;
  if (waiting == LANES) {
    for (Offer* other : offers)
      if (std::strcmp(other->kind, offer.kind)) fail("lanes of a warp are at different operations");
    for (int lane = 0; lane < LANES; lane++) offer.act(offers, lane);
    release(first, LANES, State::AT_WARP);
    machine.lanes = machine.draws.order(LANES);
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
inline float step(float c, const double (&products)[8]) {
  double largest = std::fabs(double(c)), plain = c;
  for (double product : products) largest = std::fmax(largest, std::fabs(product)), plain += product;
  if (largest == 0 || !std::isfinite(plain)) return float(plain);
  int exponent;
  std::frexp(largest, &exponent);
  const double unit = std::ldexp(1.0, exponent - 25);
  double sum = std::trunc(double(c) / unit);
  for (double product : products) sum += std::trunc(product / unit);
  sum *= unit;
  float rounded = float(sum);
  if (std::fabs(double(rounded)) > std::fabs(sum)) rounded = std::nextafterf(rounded, 0.f);
  return rounded;
}

struct Multiply {
  float (*c)[4];
  const uint32_t (*a)[4];
  uint32_t b[2];
};

inline void multiply(Offer* const* offers, int lane) {
  auto at = [&](int lane) { return static_cast<Multiply*>(offers[lane]->operands); };
  auto a = [&](int row, int k) { // a0 a1: rows g, g+8; a2 a3: the same, columns from 8
    const int lane = row % 8 * 4 + k % 8 / 2;
    return double(number((*at(lane)->a)[row / 8 + k / 8 * 2], k % 2));
  };
  auto b = [&](int k, int column) {
    return double(number(at(column * 4 + k % 8 / 2)->b[k / 8], k % 2));
  };
  for (int i = 0; i < 4; i++) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    float& c = (*at(lane)->c)[i];
    for (int half = 0; half < 16; half += 8) {
      double products[8];
      for (int k = 0; k < 8; k++) products[k] = a(row, half + k) * b(half + k, column);
      c = step(c, products);
    }
  }
}

struct Load {
  uint32_t (*out)[4];
  const unsigned char* row;
  bool transposed;
};

inline void load(Offer* const* offers, int lane) {
  auto& mine = *static_cast<Load*>(offers[lane]->operands);
  for (int matrix = 0; matrix < 4; matrix++) {
    auto element = [&](int row, int column) {
      auto& other = *static_cast<Load*>(offers[matrix * 8 + row]->operands);
      uint16_t bits;
      std::memcpy(&bits, other.row + 2 * column, 2);
      return uint32_t(bits);
    };
    const int g = lane / 4, t = lane % 4 * 2;
    const uint32_t low = mine.transposed ? element(t, g) : element(g, t);
    const uint32_t high = mine.transposed ? element(t + 1, g) : element(g, t + 1);
    (*mine.out)[matrix] = low | high << 16;
  }
}

inline void load_four(const char* kind, uint32_t (&out)[4], const void* row, bool transposed) {
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
  bool all = true;
  for (const Fiber& fiber : machine.fibers) all = all && fiber.state == State::AT_BLOCK;
  if (all) {
    release(0, machine.threads, State::AT_BLOCK);
    machine.warps = machine.draws.order(warps());
  }
  go_on();
}
inline void warp_barrier(HERE) {
  if (host::skipped(file, line)) return;
  host::Offer offer{"barrier", [](host::Offer* const*, int) {}, nullptr};
  host::together(offer);
}
inline float shuffle_xor(float value, int mask) {
  struct Operands {
    float in;
    int mask;
    float out;
  } operands{value, mask, 0};
  host::Offer offer{"shuffle",
                    [](host::Offer* const* offers, int lane) {
                      auto& mine = *static_cast<Operands*>(offers[lane]->operands);
                      mine.out = static_cast<Operands*>(offers[lane ^ mine.mask]->operands)->in;
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
  if (!host::skipped(file, line)) host::finish_copies(LATER);
}

inline void load_matrices(uint32_t (&out)[4], const void* row) {
  host::load_four("ldmatrix", out, row, false);
}
inline void load_matrices_transposed(uint32_t (&out)[4], const void* row) {
  host::load_four("ldmatrix.trans", out, row, true);
}
inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  host::Multiply operands{&c, &a, {b0, b1}};
  host::Offer offer{"mma", host::multiply, &operands};
  host::together(offer);
}

inline float inverse_root(float value) { return 1.f / std::sqrt(value); }
inline uint32_t high_product(uint32_t a, uint32_t b) { return uint64_t(a) * b >> 32; }

using std::exp;
using std::fmaxf;
#undef HERE
