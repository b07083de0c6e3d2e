// TransE: x + w (src/message/transe.rs).
//
// `message` adds message(x, w) to `to`. `write` replaces `to` by it, with the same bits in every
// kernel: the search for edges that attain an extreme compares bits. `of_x` and `of_w` add the
// gradients of x and w for a gradient g of the message.
#pragma once
#include "../common.cuh"

struct TransE {
  // A thread has its columns once in a row.
  static constexpr int P = 1;
  template <class Q> __device__ static __forceinline__ void message(Q &to, const Q &x, const Q &w) { to.add(x), to.add(w); }
  template <class Q> __device__ static __forceinline__ void write(Q &to, const Q &x, const Q &w) { to = x, to.add(w); }
  template <class Q> __device__ static __forceinline__ void of_x(Q &to, const Q &g, const Q &) { to.add(g); }
  template <class Q> __device__ static __forceinline__ void of_w(Q &to, const Q &g, const Q &) { to.add(g); }
};
