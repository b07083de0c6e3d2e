// One AdamW step (src/adamw.rs) over all parameters at once, and the norm of all gradients.
#pragma once
#include "common.cuh"

struct AdamArgs {
  void *param;
  const void *grad;
  void *m, *v;
  const double *squares;
  u64 count;
  double b1, b2, c1, c2, step_size, root, keep, eps, most;
};
struct AdamStep {
  template <class A> __device__ static __forceinline__ void run(const AdamArgs &a) {
    A *p = static_cast<A *>(a.param), *m = static_cast<A *>(a.m), *v = static_cast<A *>(a.v);
    const A b1 = a.b1, b2 = a.b2, c1 = a.c1, c2 = a.c2, step = a.step_size, root = a.root, keep = a.keep, eps = a.eps;
    // The norm of the gradients stays on the device, so that the host need not wait for it.
    A scale = 1;
    if (a.squares) {
      double factor = a.most / (sqrt(a.squares[0]) + 1e-6);
      if (factor < 1) scale = A(factor);
    }
    u64 stride = u64(gridDim.x) * blockDim.x;
    for (u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x; i < a.count; i += stride) {
      A g = static_cast<const A *>(a.grad)[i] * scale;
      A first = b1 * m[i] + c1 * g, second = b2 * v[i] + c2 * g * g;
      m[i] = first, v[i] = second;
      p[i] = p[i] * keep - step * first / (sqrt_of(second) / root + eps);
    }
  }
};
ALONE(adamw_f32, AdamArgs, AdamStep::run<float>(a))
ALONE(adamw_f64, AdamArgs, AdamStep::run<double>(a))

// Sums of squares in f64: one per thread block, of `per` values. If `squared` is set, the values
// are squares already.
struct SquaresArgs {
  const void *x;
  double *out;
  u64 count, per;
  u32 squared;
};
struct SumSquares {
  template <class A> __device__ static __forceinline__ void run(const SquaresArgs &a) {
    SHARED(double, room);
    u64 from = blockIdx.x * a.per, to = from + a.per < a.count ? from + a.per : a.count;
    double sum = 0;
    for (u64 i = from + threadIdx.x; i < to; i += blockDim.x) {
      double x = static_cast<const A *>(a.x)[i];
      sum += a.squared ? x : x * x;
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
      double all = 0;
      for (u32 w = 0; w < blockDim.x / 32; w++) all += room[w];
      a.out[blockIdx.x] = all;
    }
  }
};
TOGETHER(squares_f32, SquaresArgs, SumSquares::run<float>(a))
TOGETHER(squares_f64, SquaresArgs, SumSquares::run<double>(a))
