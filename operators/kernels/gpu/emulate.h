// Enough of CUDA for the kernels of this folder to run on the CPU, in tests on machines without a
// GPU.
//
// Blocks run one after another, and the threads of a block take turns on one CPU thread: a thread
// runs until it waits for others (at a barrier or a shuffle) or ends. A kernel computes what it
// computes on a GPU, except for the order in which threads run that do not wait for each other. A
// kernel that depends on that order has a data race. So `gfm_emulated_backward` reverses the turns,
// and tests check that both orders give the same bits.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <csetjmp>
#include <ucontext.h>
#include <utility>
#include <vector>

struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct alignas(8) ushort4 { unsigned short x, y, z, w; };

// bfloat16, rounded to nearest even as the GPU does.
struct __nv_bfloat16 { unsigned short bits; };
inline float __bfloat162float(__nv_bfloat16 x) {
  uint32_t wide = uint32_t(x.bits) << 16;
  float out;
  std::memcpy(&out, &wide, 4);
  return out;
}
inline __nv_bfloat16 __float2bfloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return {static_cast<unsigned short>((bits >> 16) | 64)};
  bits += 0x7fff + ((bits >> 16) & 1);
  return {static_cast<unsigned short>(bits >> 16)};
}

namespace emulated {

enum class Wait { Nothing, Block, Warp, Ended };

// A thread's own stack, kept from block to block. It is entered once with setcontext. From then on
// jumps change stacks, which make no system calls, unlike swapcontext.
struct Fiber {
  std::vector<char> stack = std::vector<char>(64 << 10);
  ucontext_t context;
  std::jmp_buf place;
  bool entered = false;
};

struct Thread {
  dim3 index;
  Wait wait = Wait::Nothing;
  unsigned char shuffled[8];
};

inline dim3 block_index, block_size, grid_size;
inline std::vector<Thread> threads;
inline std::deque<Fiber> fibers;
inline std::vector<char> shared;
inline size_t current;
inline std::jmp_buf scheduler;
inline bool backward;
// Whether the running kernel is declared with ALONE: its threads need no stacks of their own.
inline bool alone;
inline void (*body)(const void *);
inline const void *arguments;

inline void yield(Wait why) {
  if (alone) {
    std::fprintf(stderr, "a kernel declared with ALONE has threads that wait for each other\n");
    std::abort();
  }
  threads[current].wait = why;
  if (_setjmp(fibers[current].place) == 0) _longjmp(scheduler, 1);
}

inline void start() {
  for (;;) {
    body(arguments);
    yield(Wait::Ended);
  }
}

inline void resume(size_t thread) {
  current = thread;
  if (_setjmp(scheduler) != 0) return;
  if (fibers[thread].entered) _longjmp(fibers[thread].place, 1);
  fibers[thread].entered = true;
  ucontext_t &context = fibers[thread].context;
  getcontext(&context);
  context.uc_stack.ss_sp = fibers[thread].stack.data();
  context.uc_stack.ss_size = fibers[thread].stack.size();
  context.uc_link = nullptr;
  makecontext(&context, start, 0);
  setcontext(&context);
}

// Whether all threads of a range wait for `what` or have ended, and at least one waits.
inline bool all_wait(size_t from, size_t to, Wait what) {
  bool any = false;
  for (size_t i = from; i < to; i++) {
    if (threads[i].wait == what) any = true;
    else if (threads[i].wait != Wait::Ended) return false;
  }
  return any;
}

inline void release(size_t from, size_t to) {
  for (size_t i = from; i < to; i++)
    if (threads[i].wait != Wait::Ended) threads[i].wait = Wait::Nothing;
}

inline void run_block() {
  size_t n = size_t(block_size.x) * block_size.y * block_size.z;
  if (alone) {
    if (threads.empty()) threads.resize(1);
    current = 0;
    for (size_t k = 0; k < n; k++) {
      size_t i = backward ? n - 1 - k : k;
      threads[0].index = {unsigned(i % block_size.x), unsigned(i / block_size.x % block_size.y), unsigned(i / block_size.x / block_size.y)};
      body(arguments);
    }
    return;
  }
  while (fibers.size() < n) fibers.emplace_back();
  threads.assign(n, Thread{});
  for (size_t i = 0; i < n; i++)
    threads[i].index = {unsigned(i % block_size.x), unsigned(i / block_size.x % block_size.y), unsigned(i / block_size.x / block_size.y)};
  for (;;) {
    bool ran = false;
    for (size_t k = 0; k < n; k++) {
      size_t next = backward ? n - 1 - k : k;
      if (threads[next].wait == Wait::Nothing) {
        ran = true;
        resume(next);
      }
    }
    for (size_t w = 0; w < n; w += 32) {
      size_t end = w + 32 < n ? w + 32 : n;
      if (all_wait(w, end, Wait::Warp)) { release(w, end); ran = true; }
    }
    if (all_wait(0, n, Wait::Block)) { release(0, n); ran = true; }
    if (!ran) break;
  }
  for (Thread &t : threads)
    if (t.wait != Wait::Ended) {
      std::fprintf(stderr, "a block is stuck: some of its threads wait for others that wait for something else\n");
      std::abort();
    }
}

template <class T> T shuffle(T value, unsigned source) {
  Thread &me = threads[current];
  size_t at = current, first = at / 32 * 32;
  std::memcpy(me.shuffled, &value, sizeof(T));
  yield(Wait::Warp);
  T out = value;
  if (first + source < threads.size()) std::memcpy(&out, threads[first + source].shuffled, sizeof(T));
  // No thread may write its next value before all have read this one.
  yield(Wait::Warp);
  return out;
}

// `args` is the name of the struct that the kernel takes.
struct Kernel { void (*run)(const void *); const char *args; size_t size; bool alone; };
inline std::map<std::string, Kernel> &kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}
struct Register {
  Register(const char *name, Kernel kernel) { kernels()[name] = kernel; }
};

}  // namespace emulated

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
#define threadIdx (emulated::threads[emulated::current].index)
#define blockIdx (emulated::block_index)
#define blockDim (emulated::block_size)
#define gridDim (emulated::grid_size)
#define __syncthreads() emulated::yield(emulated::Wait::Block)
#define __shfl_xor_sync(mask, value, lanes) \
  emulated::shuffle(value, unsigned(emulated::current % 32) ^ unsigned(lanes))
#define SHARED(type, name) type *name = reinterpret_cast<type *>(emulated::shared.data())
template <class T> T __ldg(const T *p) { return *p; }

#define EMULATED_ENTRY(name, args, call, alone)                                                    \
  CHECK_LAYOUT(args)                                                                                \
  static void name##_entry(const void *p) { const args &a = *static_cast<const args *>(p); call; } \
  static emulated::Register name##_registered(#name, {name##_entry, #args, sizeof(args), alone});
#define ALONE(name, args, call) EMULATED_ENTRY(name, args, call, true)
#define TOGETHER(name, args, call) EMULATED_ENTRY(name, args, call, false)

#define EMULATED_INTERFACE                                                                                            \
  extern "C" int gfm_emulated_launch(const char *name, const unsigned *grid, const unsigned *block, size_t bytes,      \
                                     const void *args, const char *type, size_t size) {                                \
    auto found = emulated::kernels().find(name);                                                                       \
    if (found == emulated::kernels().end()) return 1;                                                                  \
    if (std::strcmp(found->second.args, type) != 0 || found->second.size != size) return 2;                            \
    emulated::alone = found->second.alone;                                                                             \
    emulated::body = found->second.run;                                                                                \
    emulated::arguments = args;                                                                                        \
    emulated::grid_size = {grid[0], grid[1], grid[2]};                                                                 \
    emulated::block_size = {block[0], block[1], block[2]};                                                             \
    for (unsigned z = 0; z < grid[2]; z++)                                                                             \
      for (unsigned y = 0; y < grid[1]; y++)                                                                           \
        for (unsigned x = 0; x < grid[0]; x++) {                                                                       \
          emulated::block_index = {x, y, z};                                                                           \
          emulated::shared.assign(bytes + 16, char(0x7f));                                                             \
          emulated::run_block();                                                                                       \
        }                                                                                                              \
    return 0;                                                                                                          \
  }                                                                                                                    \
  extern "C" void gfm_emulated_backward(int backward) { emulated::backward = backward; }
