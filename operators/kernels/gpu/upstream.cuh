// Gradients of states and relations through the aggregates of extremes.cuh, and PNA's steps that
// work value by value.
#pragma once
#include "extremes.cuh"

// What the gradient of a message into a row is computed from. `grads` has, for each row, the share
// of each edge that attains the extreme. For PNA it has, in the order of `features`, the gradient
// of the sum of messages, the shares of edges that attain the maximum and the minimum, and the
// gradient of the sum of squares (of parts instead of messages if `parts` is set).
struct UpstreamArgs {
  const void *features, *grads;
  u32 stride, pna, parts;
};
CHECK_LAYOUT(UpstreamArgs)

template <class S, int W, int P>
__device__ __forceinline__ void message_grad(const UpstreamArgs &a, u32 row, u32 c, u32 d, const Part<S, W, P> &m, Part<S, W, P> &g, Part<S, W, P> &square) {
  const S *best = static_cast<const S *>(a.features) + size_t(row) * a.stride, *grads = static_cast<const S *>(a.grads) + size_t(row) * a.stride;
  u32 first = 0, end = d;
  g.zero(), square.zero();
  if (a.pna) {
    first = d, end = 3 * d;
    g.load(grads, c, d);
    square.load(grads + 3 * d, c, d);
    if (!a.parts) each_column<W, P>([&](int p, int k) { g.of[p].at[k] += (m.of[p].at[k] + m.of[p].at[k]) * square.of[p].at[k]; });
  }
  for (u32 at = first; at < end; at += d) {
    Part<S, W, P> extreme, share;
    extreme.load(best + at, c, d), share.load(grads + at, c, d);
    each_column<W, P>([&](int p, int k) {
      if (stored_as<S>(m.of[p].at[k], extreme.of[p].at[k])) g.of[p].at[k] += share.of[p].at[k];
    });
  }
}

// `sum += 2 part square`, if parts of messages are squared.
template <class S, int W, int P>
__device__ __forceinline__ void add_square_grad(const UpstreamArgs &a, const Part<S, W, P> &part, const Part<S, W, P> &square, Part<S, W, P> &sum) {
  if (a.pna && a.parts)
    each_column<W, P>([&](int p, int k) { sum.of[p].at[k] += (part.of[p].at[k] + part.of[p].at[k]) * square.of[p].at[k]; });
}

// Rows are whole, so what a row gets from its own node comes from the same row of the output.
struct UpstreamStateArgs {
  UpstreamArgs up;
  const void *x, *w, *dstate, *dy;
  void *out;
  const u32 *row_node, *row_query, *map, *offsets, *other, *relation, *parts;
  u32 rows, d, width, split;
};

template <class S, class M, int W>
__device__ __forceinline__ void add_upstream(const UpstreamStateArgs &a, u32 i, u32 from, u32 to, u32 c, Part<S, W, M::P> &sum) {
  u32 q = a.row_query[i];
  Part<S, W, M::P> xs;
  xs.load(static_cast<const S *>(a.x) + size_t(i) * a.d, c, a.d);
  for (u32 e = from; e < to; e++) {
    u32 relation = a.relation[e];
    if (relation & REMOVED) continue;
    u32 row = a.map[size_t(a.other[e]) * a.width + q];
    if (row == NONE) continue;
    Part<S, W, M::P> ws, m, g, square;
    ws.load(static_cast<const S *>(a.w) + size_t(relation) * a.d, c, a.d);
    M::write(m, xs, ws);
    message_grad(a.up, row, c, a.d, m, g, square);
    M::of_x(sum, g, ws);
    add_square_grad(a.up, xs, square, sum);
  }
}

template <class S, int W, int P>
__device__ __forceinline__ void add_own(const UpstreamStateArgs &a, u32 i, u32 c, Part<S, W, P> &sum) {
  Part<S, W, P> g;
  g.load(static_cast<const S *>(a.dstate) + size_t(i) * a.d, c, a.d);
  sum.add(g);
  if (a.dy) {
    g.load(static_cast<const S *>(a.dy) + size_t(i) * a.d, c, a.d);
    sum.add(g);
  }
}

struct SumUpstreamState {
  template <class S, class M, int W> __device__ static __forceinline__ void run(const UpstreamStateArgs &a) {
    u32 i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= a.rows) return;
    u32 u = a.row_node[i], from = a.offsets[u], to = a.offsets[u + 1];
    if (to - from > a.split) return;
    for (u32 c = threadIdx.x * W; c < a.d / M::P; c += blockDim.x * W) {
      Part<S, W, M::P> sum;
      sum.zero();
      add_own<S, W, M::P>(a, i, c, sum);
      add_upstream<S, M, W>(a, i, from, to, c, sum);
      sum.store(static_cast<S *>(a.out) + size_t(i) * a.d, c, a.d);
    }
  }
};
FOR_MESSAGES(ALONE, upstream_state_grad, UpstreamStateArgs, SumUpstreamState)

struct SumUpstreamStatePart {
  template <class S, class M, int W> __device__ static __forceinline__ void run(const UpstreamStateArgs &a) {
    u32 j = blockIdx.x * blockDim.y + threadIdx.y;
    if (j >= a.rows) return;
    u32 i = a.parts[3 * j], from = a.parts[3 * j + 1];
    for (u32 c = threadIdx.x * W; c < a.d / M::P; c += blockDim.x * W) {
      Part<S, W, M::P> sum;
      sum.zero();
      if (from == a.offsets[a.row_node[i]]) add_own<S, W, M::P>(a, i, c, sum);
      add_upstream<S, M, W>(a, i, from, a.parts[3 * j + 2], c, sum);
      store_wide(sum, static_cast<Acc<S> *>(a.out) + size_t(j) * a.d, c, a.d);
    }
  }
};
FOR_MESSAGES(ALONE, upstream_state_grad_part, UpstreamStateArgs, SumUpstreamStatePart)

// As `RelationGradArgs`; `of` is the relation of each chunk.
struct UpstreamRelationArgs {
  UpstreamArgs up;
  const void *x, *w;
  void *out;
  const u32 *to_offsets, *to_query, *map, *chunks, *of, *receiver, *sender;
  u32 rows, d, width;
};
struct SumUpstreamRelation {
  template <class S, class M, int W> __device__ static __forceinline__ void run(const UpstreamRelationArgs &a) {
    u32 j = blockIdx.x * blockDim.y + threadIdx.y;
    if (j >= a.rows) return;
    const S *x = static_cast<const S *>(a.x);
    for (u32 c = threadIdx.x * W; c < a.d / M::P; c += blockDim.x * W) {
      Part<S, W, M::P> sum, ws;
      sum.zero();
      ws.load(static_cast<const S *>(a.w) + size_t(a.of[j]) * a.d, c, a.d);
      for (u32 e = a.chunks[j]; e < a.chunks[j + 1]; e++) {
        u32 v = a.receiver[e], u = a.sender[e];
        if ((v | u) & REMOVED) continue;
        for (u32 i = a.to_offsets[v]; i < a.to_offsets[v + 1]; i++) {
          u32 at = a.map[size_t(u) * a.width + a.to_query[i]];
          if (at == NONE) continue;
          Part<S, W, M::P> xs, m, g, square;
          xs.load(x + size_t(at) * a.d, c, a.d);
          M::write(m, xs, ws);
          message_grad(a.up, i, c, a.d, m, g, square);
          M::of_w(sum, g, xs);
          add_square_grad(a.up, ws, square, sum);
        }
      }
      store_wide(sum, static_cast<Acc<S> *>(a.out) + size_t(j) * a.d, c, a.d);
    }
  }
};
FOR_MESSAGES(ALONE, upstream_relation_grad, UpstreamRelationArgs, SumUpstreamRelation)

// Turns the gradients of PNA's mean and deviation into those of the sum of messages and of the sum
// of squares, and adds the boundary's.
struct MomentsGradArgs {
  const void *features, *counts, *boundary;
  void *grads, *dboundary;
  const u32 *row_node, *start;
  u32 rows, d;
};
struct GradOfMoments {
  template <class S> __device__ static __forceinline__ void run(const MomentsGradArgs &a) {
    typedef Acc<S> A;
    u32 i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= a.rows) return;
    const S *features = static_cast<const S *>(a.features) + size_t(i) * 4 * a.d;
    S *grads = static_cast<S *>(a.grads) + size_t(i) * 4 * a.d;
    A count = static_cast<const A *>(a.counts)[a.row_node[i]];
    // The smallest deviation, as it was stored.
    A least = up(Down<S>::of(sqrt_of(A(MIN_VARIANCE))));
    for (u32 c = threadIdx.x; c < a.d; c += blockDim.x) {
      A mean = up(features[c]), deviation = up(features[3 * a.d + c]);
      A variance = deviation > least ? up(grads[3 * a.d + c]) / (deviation + deviation) : A(0);
      A sum = (up(grads[c]) - (mean + mean) * variance) / count, square = variance / count;
      grads[c] = Down<S>::of(sum), grads[3 * a.d + c] = Down<S>::of(square);
      if (a.start && a.start[i] != NONE) {
        size_t at = size_t(a.start[i]) * a.d + c;
        A start = static_cast<const A *>(a.boundary)[at];
        static_cast<A *>(a.dboundary)[at] += sum + (start + start) * square;
      }
    }
  }
};
FOR_TYPES(ALONE, moments_grad, MomentsGradArgs, GradOfMoments)

// PNA's features by statistic (4 d values per row), and the same times three functions of the
// node's degree, 1 and two scales (12 d values per row, in the order feature, statistic, function).
struct ScaleFeaturesArgs {
  void *features, *wide;
  const void *scale, *inverse;
  const u32 *row_node;
  u32 rows, d;
};
struct Scale {
  template <class S> __device__ static __forceinline__ void run(const ScaleFeaturesArgs &a) {
    typedef Acc<S> A;
    u32 i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= a.rows) return;
    const S *features = static_cast<const S *>(a.features) + size_t(i) * 4 * a.d;
    S *wide = static_cast<S *>(a.wide) + size_t(i) * 12 * a.d;
    u32 v = a.row_node[i];
    const A by[3] = {A(1), static_cast<const A *>(a.scale)[v], static_cast<const A *>(a.inverse)[v]};
    for (u32 k = threadIdx.x; k < 12 * a.d; k += blockDim.x) {
      A x = up(features[k % 12 / 3 * a.d + k / 12]);
      wide[k] = Down<S>::of(x * (k % 3 == 0 ? by[0] : k % 3 == 1 ? by[1] : by[2]));
    }
  }
};
FOR_TYPES(ALONE, scale_features, ScaleFeaturesArgs, Scale)
struct ScaleBack {
  template <class S> __device__ static __forceinline__ void run(const ScaleFeaturesArgs &a) {
    typedef Acc<S> A;
    u32 i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= a.rows) return;
    S *features = static_cast<S *>(a.features) + size_t(i) * 4 * a.d;
    const S *wide = static_cast<const S *>(a.wide) + size_t(i) * 12 * a.d;
    u32 v = a.row_node[i];
    A scale = static_cast<const A *>(a.scale)[v], inverse = static_cast<const A *>(a.inverse)[v];
    for (u32 k = threadIdx.x; k < 4 * a.d; k += blockDim.x) {
      const S *from = wide + 12 * (k % a.d) + 3 * (k / a.d);
      features[k] = Down<S>::of(up(from[0]) + scale * up(from[1]) + inverse * up(from[2]));
    }
  }
};
FOR_TYPES(ALONE, scale_features_grad, ScaleFeaturesArgs, ScaleBack)
