// Runs kernels on the host: a request on stdin, the buffers afterwards on stdout.
//
// Request, little-endian: seed u64; skip (u32 length, bytes); buffers u32, each u64 bytes, u8
// given, then its contents if given (else it is filled with 0xff); launches u32, each name (u32, bytes),
// grid 3 x u32, threads u32, shared u64, arguments u32, each u8 kind: 0 null, 1 buffer (u32)
// from an offset in bytes (u32), 2 value (u32 length, bytes).
// Answer: barriers and waits that were reached, u32, each (u32, bytes); every buffer's contents.
//
// A launch must match the kernel: the number and width of its arguments, its threads, its shared
// memory. Each buffer is an allocation of its own, so the address sanitizer sees a byte too far.
#include "portable.cuh"

#include "activation.cu"
#include "attention_backward.cu"
#include "attention_forward.cu"
#include "bias.cu"
#include "combine.cu"
#include "cross_entropy.cu"
#include "dropout.cu"
#include "embedding.cu"
#include "layer_norm.cu"
#include "muon.cu"
#include "optimizer.cu"
#include "probe.cu"
#include "rms_norm.cu"
#include "rope.cu"

#include <map>
#include <type_traits>

namespace {

struct Argument {
  int kind;
  void* buffer = nullptr;
  std::vector<unsigned char> bytes;
};

template <class T>
T argument(const Argument& given) {
  if constexpr (std::is_pointer_v<T>) {
    if (given.kind == 2) host::fail("a value is given where a buffer is meant");
    return static_cast<T>(given.buffer);
  } else {
    if (given.kind != 2) host::fail("a buffer is given where a value is meant");
    if (given.bytes.size() != sizeof(T)) host::fail("an argument has the wrong width");
    T value;
    std::memcpy(&value, given.bytes.data(), sizeof(T));
    return value;
  }
}

constexpr size_t ANY = ~size_t(0);

struct Entry {
  int threads;
  size_t shared;  // bytes, or ANY where they depend on sizes
  std::function<void(const std::vector<Argument>&)> call;
};

std::map<std::string, Entry> entries;

template <class... T, size_t... I>
void call(void (*kernel)(T...), const std::vector<Argument>& given, std::index_sequence<I...>) {
  if (given.size() != sizeof...(T)) host::fail("a kernel got the wrong number of arguments");
  kernel(argument<T>(given[I])...);
}

template <class... T>
void add(const char* name, int threads, size_t shared, void (*kernel)(T...)) {
  entries[name] = Entry{threads, shared, [kernel](const std::vector<Argument>& given) {
                          call(kernel, given, std::index_sequence_for<T...>());
                        }};
}
#define ADD(name, threads, shared) add(#name, threads, shared, name)

void add_all() {
  ADD(swiglu_forward, activation::THREADS, 0);
  ADD(swiglu_backward, activation::THREADS, 0);
  ADD(geglu_forward, activation::THREADS, 0);
  ADD(geglu_backward, activation::THREADS, 0);
  ADD(relu2_forward, activation::THREADS, 0);
  ADD(relu2_backward, activation::THREADS, 0);
  ADD(gelu_forward, activation::THREADS, 0);
  ADD(gelu_backward, activation::THREADS, 0);
  ADD(attention_forward_64, attention::THREADS, attention::ForwardShared<64>::BYTES);
  ADD(attention_forward_128, attention::THREADS, attention::ForwardShared<128>::BYTES);
  ADD(attention_delta_64, attention::DELTA_THREADS, 0);
  ADD(attention_delta_128, attention::DELTA_THREADS, 0);
  ADD(attention_keys_64, attention::THREADS, attention::KeysShared<64>::BYTES);
  ADD(attention_keys_128, attention::THREADS, attention::KeysShared<128>::BYTES);
  ADD(attention_queries_64, attention::THREADS, attention::QueriesShared<64>::BYTES);
  ADD(attention_queries_128, attention::THREADS, attention::QueriesShared<128>::BYTES);
  ADD(bias_forward, bias::THREADS, 0);
  ADD(bias_backward, bias::THREADS, 4 * bias::COLUMNS * bias::SLICES);
  ADD(combine_two, combine::THREADS, 0);
  ADD(cross_entropy_rows, cross_entropy::THREADS, 8 * cross_entropy::WARPS);
  ADD(dropout_apply, dropout::THREADS, 0);
  ADD(embedding_forward, embedding::THREADS, 0);
  ADD(embedding_backward, embedding::THREADS, 0);
  ADD(layer_norm_forward_1024, layer_norm::THREADS, 0);
  ADD(layer_norm_forward_2048, layer_norm::THREADS, 0);
  ADD(layer_norm_forward_4096, layer_norm::THREADS, 0);
  ADD(layer_norm_backward_1024, layer_norm::THREADS, ANY);
  ADD(layer_norm_backward_2048, layer_norm::THREADS, ANY);
  ADD(layer_norm_backward_4096, layer_norm::THREADS, ANY);
  ADD(square_sums, optimizer::THREADS, sums::BYTES);
  ADD(clip_factor, optimizer::THREADS, sums::BYTES);
  ADD(adamw, optimizer::THREADS, 0);
  ADD(lion, optimizer::THREADS, 0);
  ADD(sgd, optimizer::THREADS, 0);
  ADD(average_towards, optimizer::THREADS, 0);
  ADD(muon_momentum, muon::THREADS, sums::BYTES);
  ADD(muon_inverses, muon::THREADS, sums::BYTES);
  ADD(muon_scale, muon::THREADS, 0);
  ADD(muon_update, muon::THREADS, 0);
  ADD(probe_multiply, WARP, 0);
  ADD(probe_load, WARP, 512);
  ADD(probe_sums, WARP, 0);
  ADD(rms_norm_forward_1024, rms::THREADS, 0);
  ADD(rms_norm_forward_2048, rms::THREADS, 0);
  ADD(rms_norm_forward_4096, rms::THREADS, 0);
  ADD(rms_norm_backward_1024, rms::THREADS, ANY);
  ADD(rms_norm_backward_2048, rms::THREADS, ANY);
  ADD(rms_norm_backward_4096, rms::THREADS, ANY);
  ADD(sum_parts, rms::SUM_COLUMNS * rms::SUM_SLICES, 4 * rms::SUM_COLUMNS * rms::SUM_SLICES);
  ADD(rope_forward_64, rope::THREADS, 0);
  ADD(rope_forward_128, rope::THREADS, 0);
  ADD(rope_backward_64, rope::THREADS, rope::SHARED);
  ADD(rope_backward_128, rope::THREADS, rope::SHARED);
}

void read(void* to, size_t bytes) {
  if (bytes && std::fread(to, 1, bytes, stdin) != bytes) host::fail("the request ends early");
}
template <class T>
T read() {
  T value;
  read(&value, sizeof value);
  return value;
}
std::string read_text() {
  std::string text(read<uint32_t>(), ' ');
  read(text.data(), text.size());
  return text;
}
void write(const void* from, size_t bytes) {
  if (std::fwrite(from, 1, bytes, stdout) != bytes) host::fail("the answer cannot be written");
}

struct Buffer {
  void* start;
  size_t bytes;
};

void launch(const std::vector<Buffer>& buffers, uint64_t seed) {
  const std::string name = read_text();
  int grid[3];
  for (int& count : grid) count = read<int32_t>();
  const int threads = read<int32_t>();
  const size_t shared = read<uint64_t>();
  std::vector<Argument> given(read<uint32_t>());
  for (Argument& argument : given) {
    argument.kind = read<uint8_t>();
    if (argument.kind == 1) {
      argument.buffer = buffers.at(read<uint32_t>()).start;
      argument.buffer = static_cast<unsigned char*>(argument.buffer) + read<uint32_t>();
    }
    if (argument.kind != 2) continue;
    argument.bytes.resize(read<uint32_t>());
    read(argument.bytes.data(), argument.bytes.size());
  }
  const auto found = entries.find(name);
  if (found == entries.end()) host::fail("there is no kernel " + name);
  const Entry& entry = found->second;
  if (entry.threads != threads) host::fail(name + " is launched with other threads than it has");
  if (entry.shared != ANY && entry.shared != shared)
    host::fail(name + " is launched with other shared memory than it uses");
  host::launch(grid, threads, shared, seed, [&] { entry.call(given); });
}

}  // namespace

int main(int count, char**) {
  add_all();
  if (count > 1) {  // with any argument: how each kernel is launched
    for (const auto& [name, entry] : entries)
      std::printf("%s %d %lld\n", name.c_str(), entry.threads, (long long)entry.shared);
    return 0;
  }
  const uint64_t seed = read<uint64_t>();
  host::machine.skip = read_text();
  std::vector<Buffer> buffers(read<uint32_t>());
  for (Buffer& buffer : buffers) {
    buffer.bytes = read<uint64_t>();
    buffer.start = std::malloc(buffer.bytes);
    if (read<uint8_t>()) read(buffer.start, buffer.bytes);
    else std::memset(buffer.start, 0xff, buffer.bytes);
  }
  const uint32_t launches = read<uint32_t>();
  for (uint32_t i = 0; i < launches; i++) launch(buffers, seed + i);
  const uint32_t places = host::machine.places.size();
  write(&places, 4);
  for (const std::string& place : host::machine.places) {
    const uint32_t length = place.size();
    write(&length, 4);
    write(place.data(), length);
  }
  for (const Buffer& buffer : buffers) write(buffer.start, buffer.bytes);
}
