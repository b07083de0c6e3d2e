// What all kernels share: entries, element types, vectors of columns.
//
// A kernel takes one struct by value, which the Rust side defines too, under the same name and with
// the same fields (src/gpu/layout.rs). It is defined by ALONE if its threads never wait for each
// other, by TOGETHER if they do; both check that the struct lies in memory as the Rust side says.
//
// No kernel adds to memory atomically: every value has one writer, and the order of a sum depends
// on sizes alone. So the same launch gives the same bits.
#pragma once
#include <cstddef>

// Asserts the size of a struct and the offsets of its fields; generated.h has one for each struct.
template <class Args> struct LayoutOf;
#define CHECK_LAYOUT(args) static_assert(LayoutOf<args>::matches<args>(), #args);

#ifdef GFM_EMULATED
#include "emulate.h"
#else
#include <cuda_bf16.h>
#include <cstdint>
#define SHARED(type, name)                                  \
  extern __shared__ __align__(16) unsigned char shared_bytes[]; \
  type *name = reinterpret_cast<type *>(shared_bytes)
#define ALONE(name, args, call) \
  CHECK_LAYOUT(args)            \
  extern "C" __global__ void __launch_bounds__(256) name(const __grid_constant__ args a) { call; }
#define TOGETHER(name, args, call) ALONE(name, args, call)
#endif

typedef uint32_t u32;
typedef uint64_t u64;
typedef __nv_bfloat16 bf16;

// In place of the index of a row: there is none.
#define NONE 0xffffffffu
// An edge whose relation has this bit is out of the graph for now.
#define REMOVED 0x80000000u

// Element types: S is how values lie in memory, Acc<S> is what they are computed with.
template <class S> struct AccOf { typedef S type; };
template <> struct AccOf<bf16> { typedef float type; };
template <class S> using Acc = typename AccOf<S>::type;

__device__ __forceinline__ float up(float x) { return x; }
__device__ __forceinline__ double up(double x) { return x; }
__device__ __forceinline__ float up(bf16 x) { return __bfloat162float(x); }
template <class S> struct Down;
template <> struct Down<float> { __device__ static __forceinline__ float of(float x) { return x; } };
template <> struct Down<double> { __device__ static __forceinline__ double of(double x) { return x; } };
template <> struct Down<bf16> { __device__ static __forceinline__ bf16 of(float x) { return __float2bfloat16(x); } };

// W neighbouring columns of a row. If W is 4, rows start at multiples of 16 bytes.
template <class S, int W> struct Columns {
  Acc<S> at[W];
  __device__ __forceinline__ void zero() {
#pragma unroll
    for (int i = 0; i < W; i++) at[i] = 0;
  }
  __device__ __forceinline__ void load(const S *p) {
#pragma unroll
    for (int i = 0; i < W; i++) at[i] = up(p[i]);
  }
  __device__ __forceinline__ void store(S *p) const {
#pragma unroll
    for (int i = 0; i < W; i++) p[i] = Down<S>::of(at[i]);
  }
};
template <> __device__ __forceinline__ void Columns<float, 4>::load(const float *p) {
  float4 v = *reinterpret_cast<const float4 *>(p);
  at[0] = v.x, at[1] = v.y, at[2] = v.z, at[3] = v.w;
}
template <> __device__ __forceinline__ void Columns<float, 4>::store(float *p) const {
  float4 v;
  v.x = at[0], v.y = at[1], v.z = at[2], v.w = at[3];
  *reinterpret_cast<float4 *>(p) = v;
}
template <> __device__ __forceinline__ void Columns<double, 4>::load(const double *p) {
  double2 v = reinterpret_cast<const double2 *>(p)[0], w = reinterpret_cast<const double2 *>(p)[1];
  at[0] = v.x, at[1] = v.y, at[2] = w.x, at[3] = w.y;
}
template <> __device__ __forceinline__ void Columns<double, 4>::store(double *p) const {
  double2 v, w;
  v.x = at[0], v.y = at[1], w.x = at[2], w.y = at[3];
  reinterpret_cast<double2 *>(p)[0] = v, reinterpret_cast<double2 *>(p)[1] = w;
}
template <> __device__ __forceinline__ void Columns<bf16, 4>::load(const bf16 *p) {
  ushort4 v = *reinterpret_cast<const ushort4 *>(p);
  const unsigned short bits[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    // A bfloat16 is the upper half of a float.
    u32 wide = u32(bits[i]) << 16;
#ifdef GFM_EMULATED
    std::memcpy(&at[i], &wide, 4);
#else
    at[i] = __uint_as_float(wide);
#endif
  }
}
template <> __device__ __forceinline__ void Columns<bf16, 4>::store(bf16 *p) const {
#ifdef GFM_EMULATED
  for (int i = 0; i < 4; i++) p[i] = __float2bfloat16(at[i]);
#else
  ushort4 v;
  v.x = __bfloat16_as_ushort(__float2bfloat16(at[0])), v.y = __bfloat16_as_ushort(__float2bfloat16(at[1]));
  v.z = __bfloat16_as_ushort(__float2bfloat16(at[2])), v.w = __bfloat16_as_ushort(__float2bfloat16(at[3]));
  *reinterpret_cast<ushort4 *>(p) = v;
#endif
}

// The columns that one thread has of a row of width d: W at `first`, and for functions of pairs
// (real and imaginary halves) W more half a row later.
template <class S, int W, int P> struct Part {
  Columns<S, W> of[P];
  __device__ __forceinline__ void zero() {
#pragma unroll
    for (int p = 0; p < P; p++) of[p].zero();
  }
  __device__ __forceinline__ void load(const S *row, u32 first, u32 d) {
#pragma unroll
    for (int p = 0; p < P; p++) of[p].load(row + first + p * (d / 2));
  }
  __device__ __forceinline__ void store(S *row, u32 first, u32 d) const {
#pragma unroll
    for (int p = 0; p < P; p++) of[p].store(row + first + p * (d / 2));
  }
  // Stores accumulators, not rounded to S.
  __device__ __forceinline__ void store_sums(Acc<S> *row, u32 first, u32 d) const {
#pragma unroll
    for (int p = 0; p < P; p++)
#pragma unroll
      for (int i = 0; i < W; i++) row[first + p * (d / 2) + i] = of[p].at[i];
  }
  __device__ __forceinline__ void add(const Part &x) {
#pragma unroll
    for (int p = 0; p < P; p++)
#pragma unroll
      for (int i = 0; i < W; i++) of[p].at[i] += x.of[p].at[i];
  }
  __device__ __forceinline__ void times(Acc<S> c) {
#pragma unroll
    for (int p = 0; p < P; p++)
#pragma unroll
      for (int i = 0; i < W; i++) of[p].at[i] *= c;
  }
  __device__ __forceinline__ void over(Acc<S> c) {
#pragma unroll
    for (int p = 0; p < P; p++)
#pragma unroll
      for (int i = 0; i < W; i++) of[p].at[i] /= c;
  }
};

// A product that is rounded before anything is added to it. Without this, the compiler chooses in
// each place whether `x * y + z` is one operation or two.
__device__ __forceinline__ float rounded_product(float x, float y) {
#ifdef GFM_EMULATED
  return x * y;
#else
  return __fmul_rn(x, y);
#endif
}
__device__ __forceinline__ double rounded_product(double x, double y) {
#ifdef GFM_EMULATED
  return x * y;
#else
  return __dmul_rn(x, y);
#endif
}

// Calls F::run<S, M, W> with the widest W that fits. x of a block goes over the columns of a row, y
// over rows.
template <class F, class S, class M, class A> __device__ __forceinline__ void by_width(const A &a) {
  if (a.d % (4 * M::P) == 0) F::template run<S, M, 4>(a);
  else F::template run<S, M, 1>(a);
}

// Defines a kernel for every element type of states.
#define FOR_TYPES(HOW, name, args, F) \
  HOW(name##_f32, args, F::run<float>(a)) \
  HOW(name##_f64, args, F::run<double>(a)) \
  HOW(name##_bf16, args, F::run<bf16>(a))

// Defines a kernel for one message function and every element type of states.
#define FOR_MESSAGES_OF(HOW, name, args, F, M, tag) \
  HOW(name##_##tag##_f32, args, (by_width<F, float, M>(a))) \
  HOW(name##_##tag##_f64, args, (by_width<F, double, M>(a))) \
  HOW(name##_##tag##_bf16, args, (by_width<F, bf16, M>(a)))

__device__ __forceinline__ float sqrt_of(float x) { return sqrtf(x); }
__device__ __forceinline__ double sqrt_of(double x) { return sqrt(x); }

// The sum over the lanes of a warp, in a fixed order. Every lane gets it.
template <class T> __device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffu, x, lanes);
  return x;
}
template <class T> __device__ __forceinline__ T warp_max(T x) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    T y = __shfl_xor_sync(0xffffffffu, x, lanes);
    x = y > x ? y : x;
  }
  return x;
}

#include "generated.h"
