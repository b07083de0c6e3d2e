// Losses and their gradients for scores (formulas: gfm's loss.rs), in f64 whatever the type of
// scores. Every row of the batch has one block.
#pragma once
#include "common.cuh"

__device__ __forceinline__ double softplus_of(double x) { return (x > 0 ? x : 0.0) + log1p(exp(-fabs(x))); }
__device__ __forceinline__ double logistic(double x) {
  if (x >= 0) return 1 / (1 + exp(-x));
  double e = exp(x);
  return e / (1 + e);
}

// The sum or maximum over all threads of a block, which all of them get. `room` is shared memory
// for one value per warp.
template <bool MAX> __device__ __forceinline__ double over_block(double x, double *room) {
  x = MAX ? warp_max(x) : warp_sum(x);
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
  __syncthreads();
  double out = room[0];
  for (u32 w = 1; w < blockDim.x / 32; w++) {
    if (MAX) out = room[w] > out ? room[w] : out;
    else out += room[w];
  }
  __syncthreads();
  return out;
}

struct LossArgs {
  const void *scores;
  double *grad, *loss;
  const u32 *offsets, *positives;
  // The mean is over `used` rows. `weight` times the gradient is added to `grad`.
  double temperature, weight, used;
  u32 rows, columns;
};

// Whether a column is among the positives of a row, which are in increasing order.
__device__ __forceinline__ bool is_positive(const LossArgs &a, u32 row, u32 column) {
  u32 low = a.offsets[row], high = a.offsets[row + 1];
  while (low < high) {
    u32 mid = low + (high - low) / 2;
    if (a.positives[mid] < column) low = mid + 1;
    else high = mid;
  }
  return low < a.offsets[row + 1] && a.positives[low] == column;
}

// Binary cross-entropy with self-adversarial weights, of link prediction (the first column is the
// positive) or of lists.
template <bool LINKS> struct CrossEntropy {
  template <class A> __device__ static __forceinline__ void run(const LossArgs &a) {
    SHARED(double, room);
    u32 b = blockIdx.x;
    const A *scores = static_cast<const A *>(a.scores) + size_t(b) * a.columns;
    double *grad = a.grad + size_t(b) * a.columns;
    u32 count = LINKS ? 1 : a.offsets[b + 1] - a.offsets[b], others = a.columns - count;
    double most = -1.0 / 0.0;
    for (u32 c = threadIdx.x; c < a.columns; c += blockDim.x)
      if (!positive(a, b, c) && double(scores[c]) > most) most = scores[c];
    most = over_block<true>(most, room);
    double sum = 0;
    if (a.temperature > 0)
      for (u32 c = threadIdx.x; c < a.columns; c += blockDim.x)
        if (!positive(a, b, c)) sum += exp((double(scores[c]) - most) / a.temperature);
    sum = over_block<false>(sum, room);
    double total = (count > 0 ? 1.0 : 0.0) + (others > 0 ? 1.0 : 0.0), scale = 1.0 / (total * a.used), loss = 0;
    for (u32 c = threadIdx.x; c < a.columns; c += blockDim.x) {
      double s = scores[c];
      if (positive(a, b, c)) {
        double w = scale / count;
        loss += w * softplus_of(-s);
        grad[c] += a.weight * w * (logistic(s) - 1.0);
      } else {
        double w = scale * (a.temperature > 0 ? exp((s - most) / a.temperature) / sum : 1.0 / others);
        loss += w * softplus_of(s);
        grad[c] += a.weight * w * logistic(s);
      }
    }
    loss = over_block<false>(loss, room);
    if (threadIdx.x == 0) a.loss[b] = loss;
  }
  __device__ static __forceinline__ bool positive(const LossArgs &a, u32 row, u32 column) { return LINKS ? column == 0 : is_positive(a, row, column); }
};
TOGETHER(loss_links_f32, LossArgs, CrossEntropy<true>::run<float>(a))
TOGETHER(loss_links_f64, LossArgs, CrossEntropy<true>::run<double>(a))
TOGETHER(loss_bce_f32, LossArgs, CrossEntropy<false>::run<float>(a))
TOGETHER(loss_bce_f64, LossArgs, CrossEntropy<false>::run<double>(a))

struct ListCrossEntropy {
  template <class A> __device__ static __forceinline__ void run(const LossArgs &a) {
    SHARED(double, room);
    const double eps = 1e-5;
    u32 b = blockIdx.x, from = a.offsets[b], to = a.offsets[b + 1];
    if (from == to) {
      if (threadIdx.x == 0) a.loss[b] = 0;
      return;
    }
    const A *scores = static_cast<const A *>(a.scores) + size_t(b) * a.columns;
    double *grad = a.grad + size_t(b) * a.columns;
    double sum = 0;
    for (u32 c = threadIdx.x; c < a.columns; c += blockDim.x) sum += logistic(scores[c]);
    sum = over_block<false>(sum, room) + eps;
    double scale = 1.0 / (double(to - from) * a.used), loss = 0, through = 0;
    for (u32 k = from + threadIdx.x; k < to; k += blockDim.x) {
      double q = logistic(scores[a.positives[k]]) / sum;
      loss -= log(q + eps) * scale;
      through += q / (q + eps) / sum * scale;
    }
    loss = over_block<false>(loss, room), through = over_block<false>(through, room);
    for (u32 c = threadIdx.x; c < a.columns; c += blockDim.x) {
      double p = logistic(scores[c]), g = through;
      if (is_positive(a, b, c)) g -= scale / (sum * (p / sum + eps));
      grad[c] += a.weight * g * p * (1 - p);
    }
    if (threadIdx.x == 0) a.loss[b] = loss;
  }
};
TOGETHER(loss_list_ce_f32, LossArgs, ListCrossEntropy::run<float>(a))
TOGETHER(loss_list_ce_f64, LossArgs, ListCrossEntropy::run<double>(a))

// out[b, j] += weight * sum of x[b, other[k]] over k in offsets[j]..offsets[j + 1]. This computes
// the scores of documents from those of their entities, and with the transpose the gradient.
struct SumOverArgs {
  const void *x;
  double *out;
  const u32 *offsets, *other;
  double weight;
  u32 from_columns, to_columns;
};
struct SumThem {
  template <class A> __device__ static __forceinline__ void run(const SumOverArgs &a) {
    u32 j = blockIdx.x * blockDim.x + threadIdx.x, b = blockIdx.y;
    if (j >= a.to_columns) return;
    const A *x = static_cast<const A *>(a.x) + size_t(b) * a.from_columns;
    double sum = 0;
    for (u32 k = a.offsets[j]; k < a.offsets[j + 1]; k++) sum += x[a.other[k]];
    a.out[size_t(b) * a.to_columns + j] += a.weight * sum;
  }
};
ALONE(sum_over_f32, SumOverArgs, SumThem::run<float>(a))
ALONE(sum_over_f64, SumOverArgs, SumThem::run<double>(a))
