// Bias, layer normalisation (Ba et al., 2016), activation and shortcut of a layer, fused, forward
// and backward. Every row has one warp.
#pragma once
#include "common.cuh"

// Activations are numbered as in src/gpu/norms.rs. ReLU compares so that a NaN stays a NaN.
__device__ __forceinline__ float exp_of(float x) { return expf(x); }
__device__ __forceinline__ double exp_of(double x) { return exp(x); }
__device__ __forceinline__ float expm1_of(float x) { return expm1f(x); }
__device__ __forceinline__ double expm1_of(double x) { return expm1(x); }
__device__ __forceinline__ float log1p_of(float x) { return log1pf(x); }
__device__ __forceinline__ double log1p_of(double x) { return log1p(x); }
__device__ __forceinline__ float tanh_of(float x) { return tanhf(x); }
__device__ __forceinline__ double tanh_of(double x) { return tanh(x); }
__device__ __forceinline__ float erf_of(float x) { return erff(x); }
__device__ __forceinline__ double erf_of(double x) { return erf(x); }

template <class A> __device__ __forceinline__ A sigmoid(A x) { return A(1) / (A(1) + exp_of(-x)); }
template <class A> __device__ __forceinline__ A phi(A x) { return A(0.5) * (A(1) + erf_of(x * A(0.70710678118654752440))); }

template <class A> __device__ __forceinline__ A activate(u32 which, A x) {
  switch (which) {
    case 0: return x <= A(0) ? A(0) : x;
    case 1: return x * phi(x);
    case 2: return x * sigmoid(x);
    case 3: return tanh_of(x);
    case 4: return sigmoid(x);
    case 5: return x > A(0) ? x : expm1_of(x);
    case 6: return x > A(0) ? x : A(0.01) * x;
    case 7: return x > A(20) ? x : log1p_of(exp_of(x));
    default: return A(0) / A(0);
  }
}
template <class A> __device__ __forceinline__ A slope(u32 which, A x) {
  switch (which) {
    case 0: return x <= A(0) ? A(0) : A(1);
    case 1: return phi(x) + x * exp_of(A(-0.5) * x * x) * A(0.39894228040143267794);
    case 2: { A s = sigmoid(x); return s * (A(1) + x * (A(1) - s)); }
    case 3: { A t = tanh_of(x); return A(1) - t * t; }
    case 4: { A s = sigmoid(x); return s * (A(1) - s); }
    case 5: return x > A(0) ? A(1) : exp_of(x);
    case 6: return x > A(0) ? A(1) : A(0.01);
    case 7: return x > A(20) ? A(1) : sigmoid(x);
    default: return A(0) / A(0);
  }
}

// `lin` (without its bias) becomes the normalised values. Without `gamma` only the bias is added.
struct NormForwardArgs {
  void *lin, *y, *rstd;
  const void *bias, *gamma, *beta, *shortcut;
  u32 rows, n, activation;
};
struct NormForward {
  template <class S> __device__ static __forceinline__ void run(const NormForwardArgs &a) {
    typedef Acc<S> A;
    u32 i = blockIdx.x * blockDim.y + threadIdx.y;
    // All lanes of a warp return together, because they have the same row.
    if (i >= a.rows) return;
    S *lin = static_cast<S *>(a.lin) + size_t(i) * a.n, *y = static_cast<S *>(a.y) + size_t(i) * a.n;
    const A *bias = static_cast<const A *>(a.bias), *gamma = static_cast<const A *>(a.gamma), *beta = static_cast<const A *>(a.beta);
    const S *shortcut = a.shortcut ? static_cast<const S *>(a.shortcut) + size_t(i) * a.n : nullptr;
    A mean = 0, rstd = 1;
    if (gamma) {
      for (u32 c = threadIdx.x; c < a.n; c += 32) mean += up(lin[c]) + bias[c];
      mean = warp_sum(mean) / A(a.n);
      A squares = 0;
      for (u32 c = threadIdx.x; c < a.n; c += 32) {
        A x = up(lin[c]) + bias[c] - mean;
        squares += x * x;
      }
      rstd = A(1) / sqrt_of(warp_sum(squares) / A(a.n) + A(1e-5));
      if (threadIdx.x == 0) static_cast<A *>(a.rstd)[i] = rstd;
    }
    for (u32 c = threadIdx.x; c < a.n; c += 32) {
      A x = (up(lin[c]) + bias[c] - mean) * rstd;
      lin[c] = Down<S>::of(x);
      A out = activate(a.activation, gamma ? x * gamma[c] + beta[c] : x);
      y[c] = Down<S>::of(shortcut ? out + up(shortcut[c]) : out);
    }
  }
};
FOR_TYPES(TOGETHER, norm_forward, NormForwardArgs, NormForward)

struct NormBackwardArgs {
  const void *dy, *normed, *rstd, *gamma, *beta;
  void *dlin, *partial;
  u32 rows, n, activation, per;
};
// The gradient of the linear map's output.
struct NormBackward {
  template <class S> __device__ static __forceinline__ void run(const NormBackwardArgs &a) {
    typedef Acc<S> A;
    u32 i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= a.rows) return;
    const S *dy = static_cast<const S *>(a.dy) + size_t(i) * a.n, *x = static_cast<const S *>(a.normed) + size_t(i) * a.n;
    const A *gamma = static_cast<const A *>(a.gamma), *beta = static_cast<const A *>(a.beta);
    S *dlin = static_cast<S *>(a.dlin) + size_t(i) * a.n;
    if (!gamma) {
      for (u32 c = threadIdx.x; c < a.n; c += 32) dlin[c] = Down<S>::of(slope(a.activation, up(x[c])) * up(dy[c]));
      return;
    }
    A mean = 0, tilt = 0;
    for (u32 c = threadIdx.x; c < a.n; c += 32) {
      A v = up(x[c]), g = slope(a.activation, v * gamma[c] + beta[c]) * up(dy[c]) * gamma[c];
      mean += g, tilt += g * v;
    }
    mean = warp_sum(mean) / A(a.n), tilt = warp_sum(tilt) / A(a.n);
    A rstd = static_cast<const A *>(a.rstd)[i];
    for (u32 c = threadIdx.x; c < a.n; c += 32) {
      A v = up(x[c]), g = slope(a.activation, v * gamma[c] + beta[c]) * up(dy[c]) * gamma[c];
      dlin[c] = Down<S>::of((g - mean - v * tilt) * rstd);
    }
  }
};
FOR_TYPES(TOGETHER, norm_backward, NormBackwardArgs, NormBackward)

// Sums over `per` rows at a time. `partial` has three rows per chunk: of bias, scale and shift.
struct NormSums {
  template <class S> __device__ static __forceinline__ void run(const NormBackwardArgs &a) {
    typedef Acc<S> A;
    SHARED(A, sums);
    u32 c = blockIdx.x * 32 + threadIdx.x, chunk = blockIdx.y;
    u32 end = min_of((chunk + 1) * a.per, a.rows);
    const A *gamma = static_cast<const A *>(a.gamma), *beta = static_cast<const A *>(a.beta);
    A bias = 0, scale = 0, shift = 0;
    if (c < a.n)
      for (u32 i = chunk * a.per + threadIdx.y; i < end; i += blockDim.y) {
        size_t at = size_t(i) * a.n + c;
        bias += up(static_cast<const S *>(a.dlin)[at]);
        if (gamma) {
          A v = up(static_cast<const S *>(a.normed)[at]);
          A g = slope(a.activation, v * gamma[c] + beta[c]) * up(static_cast<const S *>(a.dy)[at]);
          scale += g * v, shift += g;
        }
      }
    A *mine = sums + 3 * (threadIdx.y * 32 + threadIdx.x);
    mine[0] = bias, mine[1] = scale, mine[2] = shift;
    __syncthreads();
    if (threadIdx.y == 0 && c < a.n)
      for (u32 k = 0; k < 3; k++) {
        A sum = 0;
        for (u32 y = 0; y < blockDim.y; y++) sum += sums[3 * (y * 32 + threadIdx.x) + k];
        static_cast<A *>(a.partial)[size_t(3 * chunk + k) * a.n + c] = sum;
      }
  }
  __device__ static __forceinline__ u32 min_of(u32 x, u32 y) { return x < y ? x : y; }
};
FOR_TYPES(TOGETHER, norm_sums, NormBackwardArgs, NormSums)
