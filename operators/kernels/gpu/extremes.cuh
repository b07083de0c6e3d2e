// The aggregates max, min and PNA of messages. Rows are whole: every node has one for every query.
//
// The boundary is one more message into every row, zero for rows without a start. A row of features
// is the extreme (d values), or for PNA mean, max, min and deviation (4 d values). Rows of hubs are
// cut into parts, as in spmm.cuh.
#pragma once
#include "spmm.cuh"

// The smallest variance: smaller ones are raised to it.
#define MIN_VARIANCE 1e-6

// A kernel works on the d values that start at `column` of rows with `stride` columns. `flag` means
// min instead of max, squares of parts instead of messages, or the plain path instead of the fused
// one, depending on the kernel.
struct AggregateArgs {
  const void *x, *w, *boundary, *counts;
  void *features, *grads, *dboundary, *partial;
  const u32 *row_node, *row_query, *map, *offsets, *other, *relation, *start, *parts;
  u32 rows, d, width, split, stride, column, flag;
};

template <int W, int P, class F> __device__ __forceinline__ void each_column(F f) {
#pragma unroll
  for (int p = 0; p < P; p++)
#pragma unroll
    for (int k = 0; k < W; k++) f(p, k);
}

// Loads and stores accumulators.
template <class S, int W, int P> __device__ __forceinline__ void load_wide(Part<S, W, P> &to, const Acc<S> *row, u32 c, u32 d) {
  each_column<W, P>([&](int p, int k) { to.of[p].at[k] = row[c + p * (d / 2) + k]; });
}
template <class S, int W, int P> __device__ __forceinline__ void store_wide(const Part<S, W, P> &from, Acc<S> *row, u32 c, u32 d) {
  each_column<W, P>([&](int p, int k) { row[c + p * (d / 2) + k] = from.of[p].at[k]; });
}

template <class S, int W, int P> __device__ __forceinline__ Part<S, W, P> start_of(const AggregateArgs &a, u32 i, u32 c) {
  Part<S, W, P> out;
  out.zero();
  if (a.start && a.start[i] != NONE)
    load_wide(out, static_cast<const Acc<S> *>(a.boundary) + size_t(a.start[i]) * a.d, c, a.d);
  return out;
}

// Whether a value rounds to the stored one. An extreme was rounded when it was stored, and rounding
// keeps the order of values.
template <class S> __device__ __forceinline__ bool stored_as(Acc<S> x, Acc<S> stored) { return up(Down<S>::of(x)) == stored; }

// A NaN among the messages makes the extreme a NaN.
template <class S, int W, int P> __device__ __forceinline__ void keep_max(Part<S, W, P> &best, const Part<S, W, P> &m) {
  each_column<W, P>([&](int p, int k) { if (m.of[p].at[k] > best.of[p].at[k] || m.of[p].at[k] != m.of[p].at[k]) best.of[p].at[k] = m.of[p].at[k]; });
}
template <class S, int W, int P> __device__ __forceinline__ void keep_min(Part<S, W, P> &best, const Part<S, W, P> &m) {
  each_column<W, P>([&](int p, int k) { if (m.of[p].at[k] < best.of[p].at[k] || m.of[p].at[k] != m.of[p].at[k]) best.of[p].at[k] = m.of[p].at[k]; });
}

// What a row's messages are aggregated to. `begin` starts `total`; `add` adds a message, or `join`
// the totals of a part; `finish` stores the result.
template <class S, int W, int P> struct ExtremeOf {
  static constexpr int N = 1;
  typedef Part<S, W, P> Q;
  Q total[N];
  // Every part may begin with the boundary: counting it twice does not change an extreme.
  __device__ __forceinline__ void begin(const AggregateArgs &a, u32 i, u32 c) { total[0] = start_of<S, W, P>(a, i, c); }
  __device__ __forceinline__ void add(const AggregateArgs &a, const Q &, const Q &, const Q &m) {
    if (a.flag) keep_min(total[0], m);
    else keep_max(total[0], m);
  }
  __device__ __forceinline__ void join(const AggregateArgs &a, const Q *parts) { add(a, parts[0], parts[0], parts[0]); }
  __device__ __forceinline__ void finish(const AggregateArgs &a, u32 i, u32 c) {
    total[0].store(static_cast<S *>(a.features) + size_t(i) * a.stride + a.column, c, a.d);
  }
};

// All four statistics at once, so that neighbours' states are read only once, and the variance is
// computed from a mean that was not rounded.
template <class S, int W, int P> struct PnaOf {
  static constexpr int N = 4;
  typedef Part<S, W, P> Q;
  // Sum, max, min, sum of squares.
  Q total[N];
  __device__ __forceinline__ void begin(const AggregateArgs &a, u32 i, u32 c) {
    total[0].zero(), total[3].zero();
    total[1] = total[2] = start_of<S, W, P>(a, i, c);
  }
  __device__ __forceinline__ void add(const AggregateArgs &a, const Q &x, const Q &w, const Q &m) {
    total[0].add(m), keep_max(total[1], m), keep_min(total[2], m);
    each_column<W, P>([&](int p, int k) {
      Acc<S> s = x.of[p].at[k], t = w.of[p].at[k], y = m.of[p].at[k];
      total[3].of[p].at[k] += a.flag ? s * s + t * t : y * y;
    });
  }
  __device__ __forceinline__ void join(const AggregateArgs &, const Q *parts) {
    total[0].add(parts[0]), keep_max(total[1], parts[1]), keep_min(total[2], parts[2]), total[3].add(parts[3]);
  }
  __device__ __forceinline__ void finish(const AggregateArgs &a, u32 i, u32 c) {
    typedef Acc<S> A;
    Q start = start_of<S, W, P>(a, i, c);
    A count = static_cast<const A *>(a.counts)[a.row_node[i]];
    each_column<W, P>([&](int p, int k) {
      A s = start.of[p].at[k], mean = (total[0].of[p].at[k] + s) / count, second = (total[3].of[p].at[k] + s * s) / count;
      A variance = second - mean * mean;
      total[0].of[p].at[k] = mean;
      total[3].of[p].at[k] = sqrt_of(variance <= A(MIN_VARIANCE) ? A(MIN_VARIANCE) : variance);
    });
    S *out = static_cast<S *>(a.features) + size_t(i) * a.stride;
#pragma unroll
    for (int n = 0; n < N; n++) total[n].store(out + n * a.d, c, a.d);
  }
};

// Counts the edges that attain an extreme, and replaces the extreme's gradient by the share of
// each. The boundary's share is added to the gradient of its row.
template <class S, int W, int P> struct SplitOf {
  static constexpr int N = 1;
  typedef Part<S, W, P> Q;
  Q total[N], best;
  __device__ __forceinline__ void begin(const AggregateArgs &a, u32 i, u32 c) {
    total[0].zero();
    best.load(static_cast<const S *>(a.features) + size_t(i) * a.stride + a.column, c, a.d);
  }
  __device__ __forceinline__ void add(const AggregateArgs &, const Q &, const Q &, const Q &m) {
    each_column<W, P>([&](int p, int k) {
      if (stored_as<S>(m.of[p].at[k], best.of[p].at[k])) total[0].of[p].at[k] += 1;
    });
  }
  __device__ __forceinline__ void join(const AggregateArgs &, const Q *parts) { total[0].add(parts[0]); }
  __device__ __forceinline__ void finish(const AggregateArgs &a, u32 i, u32 c) {
    typedef Acc<S> A;
    S *grads = static_cast<S *>(a.grads) + size_t(i) * a.stride + a.column;
    Q g, own, start = start_of<S, W, P>(a, i, c);
    g.load(grads, c, a.d);
    each_column<W, P>([&](int p, int k) {
      A whole = g.of[p].at[k], edges = total[0].of[p].at[k], edge, boundary;
      bool attains = stored_as<S>(start.of[p].at[k], best.of[p].at[k]);
      if (a.flag) {
        // PyTorch's scatter_reduce starts from zero, and counts that zero as one more tie.
        A ties = edges + (attains ? A(1) : A(0)) + (best.of[p].at[k] == A(0) ? A(1) : A(0));
        edge = A(1) / ties, boundary = attains ? edge : A(0);
      } else if (attains && edges > A(0)) {
        edge = boundary = A(0.5);
      } else {
        edge = attains ? A(0) : A(1), boundary = attains ? A(1) : A(0);
      }
      g.of[p].at[k] = whole * edge, own.of[p].at[k] = whole * boundary;
    });
    g.store(grads, c, a.d);
    if (a.start && a.start[i] != NONE) {
      Acc<S> *to = static_cast<A *>(a.dboundary) + size_t(a.start[i]) * a.d;
      Q old;
      load_wide(old, to, c, a.d);
      old.add(own);
      store_wide(old, to, c, a.d);
    }
  }
};

template <class S, class M, int W, class Op>
__device__ __forceinline__ void add_edges(const AggregateArgs &a, u32 q, u32 from, u32 to, u32 c, Op &op) {
  const S *x = static_cast<const S *>(a.x), *w = static_cast<const S *>(a.w);
  for (u32 e = from; e < to; e += AHEAD) {
    u32 row[AHEAD], relation[AHEAD];
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
      row[k] = NONE;
      if (e + k < to) {
        relation[k] = a.relation[e + k];
        if (!(relation[k] & REMOVED)) row[k] = a.map[size_t(a.other[e + k]) * a.width + q];
      }
    }
    Part<S, W, M::P> xs[AHEAD];
#pragma unroll
    for (int k = 0; k < AHEAD; k++)
      if (row[k] != NONE) xs[k].load(x + size_t(row[k]) * a.d, c, a.d);
#pragma unroll
    for (int k = 0; k < AHEAD; k++)
      if (row[k] != NONE) {
        Part<S, W, M::P> ws, m;
        ws.load(w + size_t(relation[k]) * a.d, c, a.d);
        M::write(m, xs[k], ws);
        op.add(a, xs[k], ws, m);
      }
  }
}

template <template <class, int, int> class Op> struct OverRows {
  template <class S, class M, int W> __device__ static __forceinline__ void run(const AggregateArgs &a) {
    u32 i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= a.rows) return;
    u32 v = a.row_node[i], from = a.offsets[v], to = a.offsets[v + 1];
    if (to - from > a.split) return;
    for (u32 c = threadIdx.x * W; c < a.d / M::P; c += blockDim.x * W) {
      Op<S, W, M::P> op;
      op.begin(a, i, c);
      add_edges<S, M, W>(a, a.row_query[i], from, to, c, op);
      op.finish(a, i, c);
    }
  }
};

// A part is (row, first edge, end); `partial` has N rows of accumulators for each.
template <template <class, int, int> class Op> struct OverParts {
  template <class S, class M, int W> __device__ static __forceinline__ void run(const AggregateArgs &a) {
    u32 j = blockIdx.x * blockDim.y + threadIdx.y;
    if (j >= a.rows) return;
    u32 i = a.parts[3 * j];
    for (u32 c = threadIdx.x * W; c < a.d / M::P; c += blockDim.x * W) {
      Op<S, W, M::P> op;
      op.begin(a, i, c);
      add_edges<S, M, W>(a, a.row_query[i], a.parts[3 * j + 1], a.parts[3 * j + 2], c, op);
#pragma unroll
      for (int n = 0; n < op.N; n++) store_wide(op.total[n], static_cast<Acc<S> *>(a.partial) + (size_t(j) * op.N + n) * a.d, c, a.d);
    }
  }
};

// Here `parts` has (row, first part, end) of each row.
template <template <class, int, int> class Op> struct JoinOver {
  template <class S> __device__ static __forceinline__ void run(const AggregateArgs &a) {
    u32 j = blockIdx.x * blockDim.y + threadIdx.y;
    if (j >= a.rows) return;
    u32 i = a.parts[3 * j];
    for (u32 c = threadIdx.x; c < a.d; c += blockDim.x) {
      Op<S, 1, 1> op;
      op.begin(a, i, c);
      for (u32 k = a.parts[3 * j + 1]; k < a.parts[3 * j + 2]; k++) {
        Part<S, 1, 1> part[op.N];
#pragma unroll
        for (int n = 0; n < op.N; n++) load_wide(part[n], static_cast<const Acc<S> *>(a.partial) + (size_t(k) * op.N + n) * a.d, c, a.d);
        op.join(a, part);
      }
      op.finish(a, i, c);
    }
  }
};

#define OVER_ROWS(name, Op) \
  FOR_MESSAGES(ALONE, name, AggregateArgs, OverRows<Op>) \
  FOR_MESSAGES(ALONE, name##_part, AggregateArgs, OverParts<Op>) \
  FOR_TYPES(ALONE, name##_join, AggregateArgs, JoinOver<Op>)
OVER_ROWS(extreme, ExtremeOf)
OVER_ROWS(pna, PnaOf)
OVER_ROWS(split_extreme, SplitOf)
