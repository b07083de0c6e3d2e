// Kernels that move rows (gathering, adding, scaling, casting), and sums over rows.
#pragma once
#include "common.cuh"

// The states that a layer's linear map reads: for each row of the output, the state of the input
// for the same node and query.
struct GatherStatesArgs {
  const void *x, *far;
  void *out;
  const u32 *row_node, *row_query, *map;
  u32 rows, d, width;
};
struct Gather {
  template <class S> __device__ static __forceinline__ void run(const GatherStatesArgs &a) {
    u32 i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= a.rows) return;
    u32 v = a.row_node[i], at = a.map[size_t(v) * a.width + a.row_query[i]];
    const S *from = at != NONE ? static_cast<const S *>(a.x) + size_t(at) * a.d
                    : a.far    ? static_cast<const S *>(a.far) + size_t(v) * a.d
                               : nullptr;
    S *out = static_cast<S *>(a.out) + size_t(i) * a.d;
    for (u32 c = threadIdx.x; c < a.d; c += blockDim.x) out[c] = from ? from[c] : Down<S>::of(0);
  }
};
FOR_TYPES(ALONE, gather_states, GatherStatesArgs, Gather)

// The states that the head gathers, as accumulators, side by side with those of other layers:
// out[j, column..] = x[index[j]], or far[node[j]] if there is no such row, or 0 if there is no far.
struct TakeStatesArgs {
  const void *x, *far;
  void *out;
  const u32 *index, *node;
  u32 rows, d, stride, column;
};
struct Take {
  template <class S> __device__ static __forceinline__ void run(const TakeStatesArgs &a) {
    u32 j = blockIdx.x * blockDim.y + threadIdx.y;
    if (j >= a.rows) return;
    u32 at = a.index[j];
    const S *from = at != NONE ? static_cast<const S *>(a.x) + size_t(at) * a.d
                    : a.far    ? static_cast<const S *>(a.far) + size_t(a.node[j]) * a.d
                               : nullptr;
    Acc<S> *out = static_cast<Acc<S> *>(a.out) + size_t(j) * a.stride + a.column;
    for (u32 c = threadIdx.x; c < a.d; c += blockDim.x) out[c] = from ? up(from[c]) : Acc<S>(0);
  }
};
FOR_TYPES(ALONE, take_states, TakeStatesArgs, Take)

// Backward of the above: row[g] of x gets the sum of the gradients at
// positions[offsets[g]..offsets[g + 1]].
struct GiveStatesArgs {
  void *x;
  const void *dout;
  const u32 *row, *offsets, *positions;
  u32 rows, d, stride, column;
};
struct Give {
  template <class S> __device__ static __forceinline__ void run(const GiveStatesArgs &a) {
    u32 g = blockIdx.x * blockDim.y + threadIdx.y;
    if (g >= a.rows) return;
    S *x = static_cast<S *>(a.x) + size_t(a.row[g]) * a.d;
    for (u32 c = threadIdx.x; c < a.d; c += blockDim.x) {
      Acc<S> sum = up(x[c]);
      for (u32 k = a.offsets[g]; k < a.offsets[g + 1]; k++)
        sum += static_cast<const Acc<S> *>(a.dout)[size_t(a.positions[k]) * a.stride + a.column + c];
      x[c] = Down<S>::of(sum);
    }
  }
};
FOR_TYPES(ALONE, give_states, GiveStatesArgs, Give)

// to[to_at[j]] += from[from_at[j]]. No two values of to_at are the same.
struct AddRowsArgs {
  void *to;
  const void *from;
  const u32 *to_at, *from_at;
  u32 rows, d;
};
template <class To, class From> __device__ __forceinline__ void add_rows(const AddRowsArgs &a) {
  u32 j = blockIdx.x * blockDim.y + threadIdx.y;
  if (j >= a.rows) return;
  To *to = static_cast<To *>(a.to) + size_t(a.to_at[j]) * a.d;
  const From *from = static_cast<const From *>(a.from) + size_t(a.from_at[j]) * a.d;
  for (u32 c = threadIdx.x; c < a.d; c += blockDim.x) to[c] = Down<To>::of(up(to[c]) + up(from[c]));
}
struct AddToStates {
  template <class S> __device__ static __forceinline__ void run(const AddRowsArgs &a) { add_rows<S, Acc<S>>(a); }
};
struct AddFromStates {
  template <class S> __device__ static __forceinline__ void run(const AddRowsArgs &a) { add_rows<Acc<S>, S>(a); }
};
FOR_TYPES(ALONE, add_to_states, AddRowsArgs, AddToStates)
FOR_TYPES(ALONE, add_from_states, AddRowsArgs, AddFromStates)

// to[j] = from[index[j]], of accumulators as states.
struct FillRowsArgs {
  void *to;
  const void *from;
  const u32 *index;
  u32 rows, d;
};
struct Fill {
  template <class S> __device__ static __forceinline__ void run(const FillRowsArgs &a) {
    u32 j = blockIdx.x * blockDim.y + threadIdx.y;
    if (j >= a.rows) return;
    S *to = static_cast<S *>(a.to) + size_t(j) * a.d;
    const Acc<S> *from = static_cast<const Acc<S> *>(a.from) + size_t(a.index[j]) * a.d;
    for (u32 c = threadIdx.x; c < a.d; c += blockDim.x) to[c] = Down<S>::of(from[c]);
  }
};
FOR_TYPES(ALONE, fill_rows, FillRowsArgs, Fill)

// to[v] += the sum of the rows of node v, rows offsets[v]..offsets[v + 1] of `from`. With an index,
// only of those rows whose index is v.
struct SumNodesArgs {
  void *to;
  const void *from;
  const u32 *offsets, *index;
  u32 nodes, d;
};
struct SumNodes {
  template <class S> __device__ static __forceinline__ void run(const SumNodesArgs &a) {
    u32 v = blockIdx.x * blockDim.y + threadIdx.y;
    if (v >= a.nodes) return;
    Acc<S> *to = static_cast<Acc<S> *>(a.to) + size_t(v) * a.d;
    for (u32 c = threadIdx.x; c < a.d; c += blockDim.x) {
      Acc<S> sum = to[c];
      for (u32 i = a.offsets[v]; i < a.offsets[v + 1]; i++)
        if (!a.index || a.index[i] == v) sum += up(static_cast<const S *>(a.from)[size_t(i) * a.d + c]);
      to[c] = sum;
    }
  }
};
FOR_TYPES(ALONE, sum_nodes, SumNodesArgs, SumNodes)

// values[at[j]] = by[j]
struct SetAtArgs {
  u32 *values;
  const u32 *at, *by;
  u32 count;
};
struct Set {
  __device__ static __forceinline__ void run(const SetAtArgs &a) {
    u32 j = blockIdx.x * blockDim.x + threadIdx.x;
    if (j < a.count) a.values[a.at[j]] = a.by[j];
  }
};
ALONE(set_at, SetAtArgs, Set::run(a))

// x[i] /= by[node[i]]
struct DivideRowsArgs {
  void *x;
  const void *by;
  const u32 *node;
  u32 rows, d;
};
struct Divide {
  template <class S> __device__ static __forceinline__ void run(const DivideRowsArgs &a) {
    u32 i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= a.rows) return;
    Acc<S> by = static_cast<const Acc<S> *>(a.by)[a.node[i]];
    S *x = static_cast<S *>(a.x) + size_t(i) * a.d;
    for (u32 c = threadIdx.x; c < a.d; c += blockDim.x) x[c] = Down<S>::of(up(x[c]) / by);
  }
};
FOR_TYPES(ALONE, divide_rows, DivideRowsArgs, Divide)

// out[j] = weight[j] * x[index[j]], of accumulators. Without weights these are 1.
struct WeighRowsArgs {
  const void *x, *weight;
  void *out;
  const u32 *index;
  u32 rows, d;
};
struct Weigh {
  template <class A> __device__ static __forceinline__ void run(const WeighRowsArgs &a) {
    u32 j = blockIdx.x * blockDim.y + threadIdx.y;
    if (j >= a.rows) return;
    A weight = a.weight ? static_cast<const A *>(a.weight)[j] : A(1);
    const A *from = static_cast<const A *>(a.x) + size_t(a.index[j]) * a.d;
    A *out = static_cast<A *>(a.out) + size_t(j) * a.d;
    for (u32 c = threadIdx.x; c < a.d; c += blockDim.x) out[c] = weight * from[c];
  }
};
// Backward of the above: x[index[j]] += weight[j] * out[j], one row after the other, because an
// index may occur several times. There are few rows.
struct Unweigh {
  template <class A> __device__ static __forceinline__ void run(const WeighRowsArgs &a) {
    u32 c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= a.d) return;
    A *to = static_cast<A *>(const_cast<void *>(a.x));
    for (u32 j = 0; j < a.rows; j++) {
      A weight = a.weight ? static_cast<const A *>(a.weight)[j] : A(1);
      to[size_t(a.index[j]) * a.d + c] += weight * static_cast<const A *>(a.out)[size_t(j) * a.d + c];
    }
  }
};
ALONE(weigh_rows_f32, WeighRowsArgs, Weigh::run<float>(a))
ALONE(weigh_rows_f64, WeighRowsArgs, Weigh::run<double>(a))
ALONE(unweigh_rows_f32, WeighRowsArgs, Unweigh::run<float>(a))
ALONE(unweigh_rows_f64, WeighRowsArgs, Unweigh::run<double>(a))

// x += bias[i / per] for each row i, then ReLU if `relu`, of accumulators.
struct BiasRowsArgs {
  void *x;
  const void *bias;
  u32 rows, d, per, relu;
};
struct Bias {
  template <class A> __device__ static __forceinline__ void run(const BiasRowsArgs &a) {
    u32 i = blockIdx.x * blockDim.y + threadIdx.y;
    if (i >= a.rows) return;
    A *x = static_cast<A *>(a.x) + size_t(i) * a.d;
    const A *bias = static_cast<const A *>(a.bias) + size_t(i / a.per) * a.d;
    for (u32 c = threadIdx.x; c < a.d; c += blockDim.x) {
      A y = x[c] + bias[c];
      x[c] = a.relu && y <= A(0) ? A(0) : y;
    }
  }
};
ALONE(bias_rows_f32, BiasRowsArgs, Bias::run<float>(a))
ALONE(bias_rows_f64, BiasRowsArgs, Bias::run<double>(a))

// Changes each value as `op` says, of accumulators. Operations are numbered as in src/gpu/rows.rs.
struct EachArgs {
  void *x;
  const void *y;
  u64 count;
  u32 op;
};
struct EachValue {
  template <class A> __device__ static __forceinline__ void run(const EachArgs &a) {
    A *x = static_cast<A *>(a.x);
    const A *y = static_cast<const A *>(a.y);
    u64 step = u64(gridDim.x) * blockDim.x;
    for (u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x; i < a.count; i += step) switch (a.op) {
        case 0: x[i] += y[i]; break;                        // add
        case 1: x[i] = y[i] <= A(0) ? A(0) : x[i]; break;  // backward of ReLU, from its output
      }
  }
};
ALONE(each_f32, EachArgs, EachValue::run<float>(a))
ALONE(each_f64, EachArgs, EachValue::run<double>(a))

// Copies and converts values.
struct CastArgs {
  void *to;
  const void *from;
  u64 count;
};
template <class To, class From> __device__ __forceinline__ void cast(const CastArgs &a) {
  u64 step = u64(gridDim.x) * blockDim.x;
  for (u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x; i < a.count; i += step)
    static_cast<To *>(a.to)[i] = Down<To>::of(up(static_cast<const From *>(a.from)[i]));
}
ALONE(cast_bf16_f32, CastArgs, (cast<bf16, float>(a)))
struct Narrow {
  __device__ static __forceinline__ void run(const CastArgs &a) {
    u64 step = u64(gridDim.x) * blockDim.x;
    for (u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x; i < a.count; i += step)
      static_cast<float *>(a.to)[i] = float(static_cast<const double *>(a.from)[i]);
  }
};
ALONE(cast_f32_f64, CastArgs, Narrow::run(a))

// out[j] = sum of x[first[j]..first[j + 1]], in order, of accumulators.
struct JoinRowsArgs {
  const void *x;
  void *out;
  const u32 *first;
  u32 rows, d;
};
struct SumRows {
  template <class A> __device__ static __forceinline__ void run(const JoinRowsArgs &a) {
    u32 j = blockIdx.x;
    const A *x = static_cast<const A *>(a.x);
    for (u32 c = threadIdx.x; c < a.d; c += blockDim.x) {
      A sum = 0;
      for (u32 i = a.first[j]; i < a.first[j + 1]; i++) sum += x[size_t(i) * a.d + c];
      static_cast<A *>(a.out)[size_t(j) * a.d + c] = sum;
    }
  }
};
ALONE(join_rows_f32, JoinRowsArgs, SumRows::run<float>(a))
ALONE(join_rows_f64, JoinRowsArgs, SumRows::run<double>(a))

// out[chunk] = sum of `per` rows of x, of accumulators.
struct ColumnSumsArgs {
  const void *x;
  void *out;
  u32 rows, d, per;
};
struct SumColumns {
  template <class A> __device__ static __forceinline__ void run(const ColumnSumsArgs &a) {
    u32 chunk = blockIdx.y, from = chunk * a.per, to = from + a.per < a.rows ? from + a.per : a.rows;
    const A *x = static_cast<const A *>(a.x);
    for (u32 c = blockIdx.x * blockDim.x + threadIdx.x; c < a.d; c += gridDim.x * blockDim.x) {
      A sum = 0;
      for (u32 i = from; i < to; i++) sum += x[size_t(i) * a.d + c];
      static_cast<A *>(a.out)[size_t(chunk) * a.d + c] = sum;
    }
  }
};
ALONE(column_sums_f32, ColumnSumsArgs, SumColumns::run<float>(a))
ALONE(column_sums_f64, ColumnSumsArgs, SumColumns::run<double>(a))
