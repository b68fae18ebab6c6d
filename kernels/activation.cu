// The activations of the feed-forward layer and their gradients.
//
//   swiglu   y = z·σ(z)·up          geglu   y = gelu(z)·up, with the tanh form of GELU
//   relu2    y = max(z, 0)²         gelu    y = gelu(z), both without a gate
//
// z, up and their gradients: [rows, width] bf16, rows `stride` elements apart, so that both may be
// halves of one fused product; y and its gradient [rows, width]. relu2 and gelu have no up
// (null). width and
// stride are multiples of 8.
//
// Eight elements a thread. Bytes an element of y: forward 6, backward 10; without a gate 4 and 6. σ
// and tanh are computed again in the backward. Ceiling: memory.
#include "portable.cuh"

namespace activation {

constexpr int THREADS = 256;

enum class Kind { SWIGLU, GEGLU, RELU2, GELU };

template <Kind KIND>
constexpr bool IS_GATED = KIND == Kind::SWIGLU || KIND == Kind::GEGLU;

// The gate's value and slope at z.
template <Kind KIND>
DEVICE void gate(float z, float& value, float& slope) {
  if (KIND == Kind::SWIGLU) {
    const float sigmoid = 1.f / (1.f + expf(-z));
    value = z * sigmoid;
    slope = sigmoid * (1.f + z * (1.f - sigmoid));
  } else if (KIND == Kind::GEGLU || KIND == Kind::GELU) {
    const float root = 0.7978845608028654f, cube = 0.044715f;  // sqrt(2/π), Hendrycks and Gimpel
    const float t = tanhf(root * (z + cube * z * z * z));
    value = 0.5f * z * (1.f + t);
    slope = 0.5f * (1.f + t) + 0.5f * z * (1.f - t * t) * root * (1.f + 3.f * cube * z * z);
  } else {
    const float positive = fmaxf(z, 0.f);
    value = positive * positive;
    slope = 2.f * positive;
  }
}

template <Kind KIND>
DEVICE void forward(const bf16* gates, const bf16* ups, bf16* out, size_t rows, int width,
                    int stride) {
  const size_t piece = size_t(block_x()) * THREADS + thread_index();
  const size_t pieces = width / 8, row = piece / pieces, column = piece % pieces * 8;
  if (row >= rows) return;
  const size_t at = row * stride + column;
  float z[8], up[8], value[8], slope;
  unpack(z, load_eight(gates + at));
  if (IS_GATED<KIND>) unpack(up, load_eight(ups + at));
#pragma unroll
  for (int i = 0; i < 8; i++) {
    gate<KIND>(z[i], value[i], slope);
    if (IS_GATED<KIND>) value[i] *= up[i];
  }
  store_eight(out + row * width + column, packed(value));
}

template <Kind KIND>
DEVICE void backward(const bf16* gates, const bf16* ups, const bf16* to_out, bf16* to_gates,
                     bf16* to_ups, size_t rows, int width, int stride) {
  const size_t piece = size_t(block_x()) * THREADS + thread_index();
  const size_t pieces = width / 8, row = piece / pieces, column = piece % pieces * 8;
  if (row >= rows) return;
  const size_t at = row * stride + column;
  float z[8], up[8], g[8], to_z[8], to_up[8];
  unpack(z, load_eight(gates + at));
  if (IS_GATED<KIND>) unpack(up, load_eight(ups + at));
  unpack(g, load_eight(to_out + row * width + column));
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float value, slope;
    gate<KIND>(z[i], value, slope);
    to_z[i] = g[i] * slope * (IS_GATED<KIND> ? up[i] : 1.f);
    to_up[i] = g[i] * value;
  }
  store_eight(to_gates + at, packed(to_z));
  if (IS_GATED<KIND>) store_eight(to_ups + at, packed(to_up));
}

}  // namespace activation

#define ENTRIES(name, KIND)                                                                      \
  KERNEL(activation::THREADS, 4)                                                                 \
  name##_forward(const bf16* gates, const bf16* ups, bf16* out, size_t rows, int width,          \
                 int stride) {                                                                   \
    activation::forward<activation::Kind::KIND>(gates, ups, out, rows, width, stride);           \
  }                                                                                              \
  KERNEL(activation::THREADS, 4)                                                                 \
  name##_backward(const bf16* gates, const bf16* ups, const bf16* to_out, bf16* to_gates,        \
                  bf16* to_ups, size_t rows, int width, int stride) {                            \
    activation::backward<activation::Kind::KIND>(gates, ups, to_out, to_gates, to_ups, rows,     \
                                                 width, stride);                                 \
  }
ENTRIES(swiglu, SWIGLU)
ENTRIES(geglu, GEGLU)
ENTRIES(relu2, RELU2)
ENTRIES(gelu, GELU)
#undef ENTRIES
