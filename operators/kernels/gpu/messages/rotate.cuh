// RotatE: the complex product of x and w (src/message/rotate.rs).
//
// `message` adds message(x, w) to `to`. `write` replaces `to` by it, with the same bits in every
// kernel: the search for edges that attain an extreme compares bits. `of_x` and `of_w` add the
// gradients of x and w for a gradient g of the message.
#pragma once
#include "../common.cuh"

struct RotatE {
  // A thread has its columns in both halves of a row: real and imaginary parts.
  static constexpr int P = 2;
  template <class S, int W, int P>
  __device__ static __forceinline__ void message(Part<S, W, P> &to, const Part<S, W, P> &x, const Part<S, W, P> &w) {
#pragma unroll
    for (int i = 0; i < W; i++) {
      to.of[0].at[i] += x.of[0].at[i] * w.of[0].at[i] - x.of[1].at[i] * w.of[1].at[i];
      to.of[1].at[i] += x.of[0].at[i] * w.of[1].at[i] + x.of[1].at[i] * w.of[0].at[i];
    }
  }
  template <class S, int W, int P>
  __device__ static __forceinline__ void write(Part<S, W, P> &to, const Part<S, W, P> &x, const Part<S, W, P> &w) {
#pragma unroll
    for (int i = 0; i < W; i++) {
      to.of[0].at[i] = rounded_product(x.of[0].at[i], w.of[0].at[i]) - rounded_product(x.of[1].at[i], w.of[1].at[i]);
      to.of[1].at[i] = rounded_product(x.of[0].at[i], w.of[1].at[i]) + rounded_product(x.of[1].at[i], w.of[0].at[i]);
    }
  }
  // The gradient is a product with the conjugate.
  template <class S, int W, int P>
  __device__ static __forceinline__ void of_x(Part<S, W, P> &to, const Part<S, W, P> &g, const Part<S, W, P> &w) {
#pragma unroll
    for (int i = 0; i < W; i++) {
      to.of[0].at[i] += g.of[0].at[i] * w.of[0].at[i] + g.of[1].at[i] * w.of[1].at[i];
      to.of[1].at[i] += g.of[1].at[i] * w.of[0].at[i] - g.of[0].at[i] * w.of[1].at[i];
    }
  }
  template <class Q> __device__ static __forceinline__ void of_w(Q &to, const Q &g, const Q &x) { of_x(to, g, x); }
};
