// DistMult: x * w, value by value (src/message/distmult.rs).
//
// `message` adds message(x, w) to `to`. `write` replaces `to` by it, with the same bits in every
// kernel: the search for edges that attain an extreme compares bits. `of_x` and `of_w` add the
// gradients of x and w for a gradient g of the message.
#pragma once
#include "../common.cuh"

struct DistMult {
  // A thread has its columns once in a row.
  static constexpr int P = 1;
  template <class S, int W, int P>
  __device__ static __forceinline__ void message(Part<S, W, P> &to, const Part<S, W, P> &x, const Part<S, W, P> &w) {
#pragma unroll
    for (int i = 0; i < W; i++) to.of[0].at[i] += x.of[0].at[i] * w.of[0].at[i];
  }
  template <class S, int W, int P>
  __device__ static __forceinline__ void write(Part<S, W, P> &to, const Part<S, W, P> &x, const Part<S, W, P> &w) {
#pragma unroll
    for (int i = 0; i < W; i++) to.of[0].at[i] = rounded_product(x.of[0].at[i], w.of[0].at[i]);
  }
  template <class Q> __device__ static __forceinline__ void of_x(Q &to, const Q &g, const Q &w) { message(to, g, w); }
  template <class Q> __device__ static __forceinline__ void of_w(Q &to, const Q &g, const Q &x) { message(to, g, x); }
};
