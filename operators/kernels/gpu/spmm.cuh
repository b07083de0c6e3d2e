// Relational SpMM over rows of states (src/rows.rs): sums of messages, and their gradients for
// states and relations.
//
// A row is a pair (node, query). `map` finds the row of a pair, or that of the node's background. x
// of a block goes over the columns of a row, y over rows. Rows with more edges than `split` are cut
// into parts that different blocks sum up (`*_part`), and `join_parts` adds the parts in order.
// Otherwise a hub would keep one block busy long after all others have ended.
#pragma once
#include "common.cuh"

// The number of neighbours whose states are loaded at the same time.
#define AHEAD 4

struct MessagesArgs {
  const void *x, *w, *far, *boundary, *counts;
  void *out;
  const u32 *row_node, *row_query, *map, *offsets, *other, *relation, *start, *parts;
  u32 rows, d, width, split;
};

// Adds the messages of some edges into node v to the sum of query q.
template <class S, class M, int W>
__device__ __forceinline__ void add_messages(const MessagesArgs &a, u32 q, u32 from, u32 to, u32 c, Part<S, W, M::P> &sum) {
  const S *x = static_cast<const S *>(a.x), *w = static_cast<const S *>(a.w), *far = static_cast<const S *>(a.far);
  for (u32 e = from; e < to; e += AHEAD) {
    const S *state[AHEAD];
    u32 relation[AHEAD];
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
      state[k] = nullptr;
      if (e + k < to) {
        relation[k] = a.relation[e + k];
        if (!(relation[k] & REMOVED)) {
          u32 u = a.other[e + k], at = a.map[size_t(u) * a.width + q];
          if (at != NONE) state[k] = x + size_t(at) * a.d;
          else if (far) state[k] = far + size_t(u) * a.d;
        }
      }
    }
    Part<S, W, M::P> xs[AHEAD];
#pragma unroll
    for (int k = 0; k < AHEAD; k++)
      if (state[k]) xs[k].load(state[k], c, a.d);
#pragma unroll
    for (int k = 0; k < AHEAD; k++)
      if (state[k]) {
        Part<S, W, M::P> ws;
        ws.load(w + size_t(relation[k]) * a.d, c, a.d);
        M::message(sum, xs[k], ws);
      }
  }
}

// Adds the boundary, which is one more message, and for a mean divides by the number of messages.
template <class S, int W, int P>
__device__ __forceinline__ void finish_sum(const MessagesArgs &a, u32 i, u32 v, u32 c, Part<S, W, P> &sum) {
  if (a.start && a.start[i] != NONE) {
    Part<Acc<S>, W, P> start;
    start.load(static_cast<const Acc<S> *>(a.boundary) + size_t(a.start[i]) * a.d, c, a.d);
#pragma unroll
    for (int p = 0; p < P; p++)
#pragma unroll
      for (int k = 0; k < W; k++) sum.of[p].at[k] += start.of[p].at[k];
  }
  if (a.counts) sum.over(static_cast<const Acc<S> *>(a.counts)[v]);
  sum.store(static_cast<S *>(a.out) + size_t(i) * a.d, c, a.d);
}

struct SumMessages {
  template <class S, class M, int W> __device__ static __forceinline__ void run(const MessagesArgs &a) {
    u32 i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= a.rows) return;
    u32 v = a.row_node[i], q = a.row_query[i], from = a.offsets[v], to = a.offsets[v + 1];
    if (to - from > a.split) return;
    for (u32 c = threadIdx.x * W; c < a.d / M::P; c += blockDim.x * W) {
      Part<S, W, M::P> sum;
      sum.zero();
      add_messages<S, M, W>(a, q, from, to, c, sum);
      finish_sum<S, W, M::P>(a, i, v, c, sum);
    }
  }
};
FOR_MESSAGES(ALONE, messages, MessagesArgs, SumMessages)

// A part is (row, first edge, end); `out` has a row of accumulators for each.
struct SumMessagesPart {
  template <class S, class M, int W> __device__ static __forceinline__ void run(const MessagesArgs &a) {
    u32 j = blockIdx.x * blockDim.y + threadIdx.y;
    if (j >= a.rows) return;
    u32 i = a.parts[3 * j], q = a.row_query[i];
    for (u32 c = threadIdx.x * W; c < a.d / M::P; c += blockDim.x * W) {
      Part<S, W, M::P> sum;
      sum.zero();
      add_messages<S, M, W>(a, q, a.parts[3 * j + 1], a.parts[3 * j + 2], c, sum);
      sum.store_sums(static_cast<Acc<S> *>(a.out) + size_t(j) * a.d, c, a.d);
    }
  }
};
FOR_MESSAGES(ALONE, messages_part, MessagesArgs, SumMessagesPart)

// `joins` has (row, first part, end) of each row.
struct JoinPartsArgs {
  const void *parts, *boundary, *counts;
  void *out;
  const u32 *joins, *start, *row_node;
  u32 rows, d;
};
struct Join {
  template <class S> __device__ static __forceinline__ void run(const JoinPartsArgs &a) {
    u32 j = blockIdx.x * blockDim.y + threadIdx.y;
    if (j >= a.rows) return;
    u32 i = a.joins[3 * j], from = a.joins[3 * j + 1], to = a.joins[3 * j + 2];
    const Acc<S> *parts = static_cast<const Acc<S> *>(a.parts);
    for (u32 c = threadIdx.x; c < a.d; c += blockDim.x) {
      Acc<S> sum = 0;
      for (u32 k = from; k < to; k++) sum += parts[size_t(k) * a.d + c];
      if (a.start && a.start[i] != NONE) sum += static_cast<const Acc<S> *>(a.boundary)[size_t(a.start[i]) * a.d + c];
      if (a.counts) sum /= static_cast<const Acc<S> *>(a.counts)[a.row_node[i]];
      static_cast<S *>(a.out)[size_t(i) * a.d + c] = Down<S>::of(sum);
    }
  }
};
FOR_TYPES(ALONE, join_parts, JoinPartsArgs, Join)

// Gradient of the states. That of row (u, q) of the input is a sum over all rows of the output that
// were computed from it: rows of node u itself (through the linear map and the shortcut), and rows
// of the nodes that u sends to.
struct StateGradArgs {
  const void *dsum, *dstate, *dy, *w;
  void *out;
  const u32 *row_node, *row_query, *map, *to_offsets, *to_query, *to_map, *offsets, *other, *relation, *parts;
  u32 rows, d, width, split;
};

template <class S, class M, int W>
__device__ __forceinline__ void add_state_grads(const StateGradArgs &a, u32 at, u32 u, u32 q, u32 from, u32 to, u32 c, Part<S, W, M::P> &sum) {
  const S *dsum = static_cast<const S *>(a.dsum), *w = static_cast<const S *>(a.w);
  bool background = q + 1 == a.width;
  if (!background) {
    for (u32 e = from; e < to; e += AHEAD) {
      u32 row[AHEAD], relation[AHEAD];
#pragma unroll
      for (int k = 0; k < AHEAD; k++) {
        row[k] = NONE;
        if (e + k < to) {
          relation[k] = a.relation[e + k];
          if (!(relation[k] & REMOVED)) row[k] = a.to_map[size_t(a.other[e + k]) * a.width + q];
        }
      }
#pragma unroll
      for (int k = 0; k < AHEAD; k++)
        if (row[k] != NONE && a.to_query[row[k]] != q) row[k] = NONE;
      Part<S, W, M::P> gs[AHEAD];
#pragma unroll
      for (int k = 0; k < AHEAD; k++)
        if (row[k] != NONE) gs[k].load(dsum + size_t(row[k]) * a.d, c, a.d);
#pragma unroll
      for (int k = 0; k < AHEAD; k++)
        if (row[k] != NONE) {
          Part<S, W, M::P> ws;
          ws.load(w + size_t(relation[k]) * a.d, c, a.d);
          M::of_x(sum, gs[k], ws);
        }
    }
    return;
  }
  // Every row of a neighbour read the background's state if its query has no row here.
  for (u32 e = from; e < to; e++) {
    u32 relation = a.relation[e];
    if (relation & REMOVED) continue;
    u32 v = a.other[e];
    Part<S, W, M::P> ws;
    ws.load(w + size_t(relation) * a.d, c, a.d);
    for (u32 i = a.to_offsets[v]; i < a.to_offsets[v + 1]; i++) {
      if (a.map[size_t(u) * a.width + a.to_query[i]] != at) continue;
      Part<S, W, M::P> g;
      g.load(dsum + size_t(i) * a.d, c, a.d);
      M::of_x(sum, g, ws);
    }
  }
}

// Adds the gradient that row `at` of node u gets from rows of u itself.
template <class S, int W, int P>
__device__ __forceinline__ void add_own_grads(const StateGradArgs &a, u32 at, u32 u, u32 c, Part<S, W, P> &sum) {
  for (u32 i = a.to_offsets[u]; i < a.to_offsets[u + 1]; i++) {
    if (a.map[size_t(u) * a.width + a.to_query[i]] != at) continue;
    Part<S, W, P> g;
    g.load(static_cast<const S *>(a.dstate) + size_t(i) * a.d, c, a.d);
    sum.add(g);
    if (a.dy) {
      g.load(static_cast<const S *>(a.dy) + size_t(i) * a.d, c, a.d);
      sum.add(g);
    }
  }
}

struct SumStateGrad {
  template <class S, class M, int W> __device__ static __forceinline__ void run(const StateGradArgs &a) {
    u32 i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= a.rows) return;
    u32 u = a.row_node[i], q = a.row_query[i], from = a.offsets[u], to = a.offsets[u + 1];
    if (to - from > a.split) return;
    for (u32 c = threadIdx.x * W; c < a.d / M::P; c += blockDim.x * W) {
      Part<S, W, M::P> sum;
      sum.zero();
      add_own_grads<S, W, M::P>(a, i, u, c, sum);
      add_state_grads<S, M, W>(a, i, u, q, from, to, c, sum);
      sum.store(static_cast<S *>(a.out) + size_t(i) * a.d, c, a.d);
    }
  }
};
FOR_MESSAGES(ALONE, state_grad, StateGradArgs, SumStateGrad)

struct SumStateGradPart {
  template <class S, class M, int W> __device__ static __forceinline__ void run(const StateGradArgs &a) {
    u32 j = blockIdx.x * blockDim.y + threadIdx.y;
    if (j >= a.rows) return;
    u32 i = a.parts[3 * j], u = a.row_node[i], q = a.row_query[i], from = a.parts[3 * j + 1];
    for (u32 c = threadIdx.x * W; c < a.d / M::P; c += blockDim.x * W) {
      Part<S, W, M::P> sum;
      sum.zero();
      if (from == a.offsets[u]) add_own_grads<S, W, M::P>(a, i, u, c, sum);
      add_state_grads<S, M, W>(a, i, u, q, from, a.parts[3 * j + 2], c, sum);
      sum.store_sums(static_cast<Acc<S> *>(a.out) + size_t(j) * a.d, c, a.d);
    }
  }
};
FOR_MESSAGES(ALONE, state_grad_part, StateGradArgs, SumStateGradPart)

// Gradient of the relations. Edges in relation order are cut into chunks of one relation each.
// `out` has a row of accumulators for every chunk; `join_rows` adds those of a relation.
struct RelationGradArgs {
  const void *dsum, *x;
  void *out;
  const u32 *to_offsets, *to_query, *map, *chunks, *receiver, *sender;
  u32 rows, d, width;
};
struct SumRelationGrad {
  template <class S, class M, int W> __device__ static __forceinline__ void run(const RelationGradArgs &a) {
    u32 j = blockIdx.x * blockDim.y + threadIdx.y;
    if (j >= a.rows) return;
    const S *dsum = static_cast<const S *>(a.dsum), *x = static_cast<const S *>(a.x);
    for (u32 c = threadIdx.x * W; c < a.d / M::P; c += blockDim.x * W) {
      Part<S, W, M::P> sum;
      sum.zero();
      for (u32 e = a.chunks[j]; e < a.chunks[j + 1]; e++) {
        u32 v = a.receiver[e], u = a.sender[e];
        if ((v | u) & REMOVED) continue;
        u32 end = a.to_offsets[v + 1];
        for (u32 i = a.to_offsets[v]; i < end; i += AHEAD) {
          u32 at[AHEAD];
#pragma unroll
          for (int k = 0; k < AHEAD; k++) at[k] = i + k < end ? a.map[size_t(u) * a.width + a.to_query[i + k]] : NONE;
          Part<S, W, M::P> gs[AHEAD], xs[AHEAD];
#pragma unroll
          for (int k = 0; k < AHEAD; k++)
            if (at[k] != NONE) {
              gs[k].load(dsum + size_t(i + k) * a.d, c, a.d);
              xs[k].load(x + size_t(at[k]) * a.d, c, a.d);
            }
#pragma unroll
          for (int k = 0; k < AHEAD; k++)
            if (at[k] != NONE) M::of_w(sum, gs[k], xs[k]);
        }
      }
      sum.store_sums(static_cast<Acc<S> *>(a.out) + size_t(j) * a.d, c, a.d);
    }
  }
};
FOR_MESSAGES(ALONE, relation_grad, RelationGradArgs, SumRelationGrad)

// Fills `map`: for every pair of node and query its row, or the background's if it has none, or
// NONE if there is no background. Fills `row_node` with the node of each row.
struct RowsMapArgs {
  u32 *map, *row_node;
  const u32 *offsets, *row_query;
  u32 nodes, width;
};
struct MapRows {
  __device__ static __forceinline__ void run(const RowsMapArgs &a) {
    u32 v = blockIdx.x * blockDim.x + threadIdx.x;
    if (v >= a.nodes) return;
    u32 from = a.offsets[v], to = a.offsets[v + 1];
    // The background is the last row of a node.
    u32 background = to > from && a.row_query[to - 1] + 1 == a.width ? to - 1 : NONE;
    u32 *map = a.map + size_t(v) * a.width;
    for (u32 q = 0; q < a.width; q++) map[q] = background;
    for (u32 i = from; i < to; i++) map[a.row_query[i]] = i, a.row_node[i] = v;
  }
};
ALONE(rows_map, RowsMapArgs, MapRows::run(a))

// Takes edges out of the graph, or puts them back, by flipping their mark.
struct FlipMarksArgs {
  u32 *values;
  const u32 *at;
  u32 count;
};
struct Flip {
  __device__ static __forceinline__ void run(const FlipMarksArgs &a) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < a.count) a.values[a.at[i]] ^= REMOVED;
  }
};
ALONE(flip_marks, FlipMarksArgs, Flip::run(a))
