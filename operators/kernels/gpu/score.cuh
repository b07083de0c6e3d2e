// The scoring head over the rows of all nodes (src/score.rs). Its first map is the sum of two: `p`
// is the share of the states, `share` that of the queries. Hidden values are not kept.
#pragma once
#include "common.cuh"

struct ScoresArgs {
  void *p;
  const void *far, *share, *w2, *b2, *dscores;
  void *scores, *partial;
  const u32 *map, *row_node, *row_query;
  u32 nodes, queries, f, rows, per;
};

// Every pair of node and query has one warp. The queries of a node are neighbours, because they
// read much of the same memory.
struct Score {
  template <class S> __device__ static __forceinline__ void run(const ScoresArgs &a) {
    typedef Acc<S> A;
    u64 pair = u64(blockIdx.x) * blockDim.y + threadIdx.y;
    if (pair >= u64(a.nodes) * a.queries) return;
    u32 v = u32(pair / a.queries), q = u32(pair % a.queries), at = a.map[size_t(v) * (a.queries + 1) + q];
    const S *p = at != NONE ? static_cast<const S *>(a.p) + size_t(at) * a.f
                 : a.far    ? static_cast<const S *>(a.far) + size_t(v) * a.f
                            : nullptr;
    const A *share = static_cast<const A *>(a.share) + size_t(q) * a.f, *w2 = static_cast<const A *>(a.w2);
    A sum = 0;
    for (u32 c = threadIdx.x; c < a.f; c += 32) {
      A h = (p ? up(p[c]) : A(0)) + share[c];
      // Written so that a NaN passes the ReLU.
      if (!(h <= A(0))) sum += h * w2[c];
    }
    sum = warp_sum(sum);
    if (threadIdx.x == 0) static_cast<A *>(a.scores)[size_t(q) * a.nodes + v] = sum + static_cast<const A *>(a.b2)[0];
  }
};
FOR_TYPES(TOGETHER, scores, ScoresArgs, Score)

// Gradients of the queries' share and of the second map, over `per` nodes at a time. For each chunk
// `partial` has `queries` rows of the first and as many of the second.
struct ScoreSums {
  template <class S> __device__ static __forceinline__ void run(const ScoresArgs &a) {
    typedef Acc<S> A;
    u32 chunk = blockIdx.x, q = blockIdx.y;
    u32 from = chunk * a.per, to = from + a.per < a.nodes ? from + a.per : a.nodes;
    const A *ds = static_cast<const A *>(a.dscores) + size_t(q) * a.nodes;
    A *partial = static_cast<A *>(a.partial) + size_t(chunk) * 2 * a.queries * a.f;
    for (u32 c = threadIdx.x; c < a.f; c += blockDim.x) {
      A share = static_cast<const A *>(a.share)[size_t(q) * a.f + c], w2 = static_cast<const A *>(a.w2)[c];
      A dshare = 0, dw2 = 0;
      for (u32 v = from; v < to; v++) {
        if (ds[v] == A(0)) continue;
        u32 at = a.map[size_t(v) * (a.queries + 1) + q];
        A h = share + (at != NONE ? up(static_cast<const S *>(a.p)[size_t(at) * a.f + c]) : A(0));
        if (!(h <= A(0))) dshare += ds[v] * w2, dw2 += ds[v] * h;
      }
      partial[size_t(q) * a.f + c] = dshare;
      partial[size_t(a.queries + q) * a.f + c] = dw2;
    }
  }
};
FOR_TYPES(ALONE, score_sums, ScoresArgs, ScoreSums)

// `p` becomes its own gradient.
struct ScoreBack {
  template <class S> __device__ static __forceinline__ void run(const ScoresArgs &a) {
    typedef Acc<S> A;
    u32 i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= a.rows) return;
    u32 v = a.row_node[i], own = a.row_query[i];
    u32 from = own == a.queries ? 0 : own, to = own == a.queries ? a.queries : own + 1;
    const u32 *map = a.map + size_t(v) * (a.queries + 1);
    const A *ds = static_cast<const A *>(a.dscores);
    S *p = static_cast<S *>(a.p) + size_t(i) * a.f;
    for (u32 c = threadIdx.x; c < a.f; c += blockDim.x) {
      A x = up(p[c]), open = 0;
      for (u32 q = from; q < to; q++)
        if (map[q] == i && !(x + static_cast<const A *>(a.share)[size_t(q) * a.f + c] <= A(0))) open += ds[size_t(q) * a.nodes + v];
      p[c] = Down<S>::of(open * static_cast<const A *>(a.w2)[c]);
    }
  }
};
FOR_TYPES(ALONE, score_back, ScoresArgs, ScoreBack)
