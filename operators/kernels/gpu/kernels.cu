// All kernels, as one module for the GPU and one library for the emulation.
#include "adamw.cuh"
#include "extremes.cuh"
#include "loss.cuh"
#include "spmm.cuh"
#include "norm.cuh"
#include "rows.cuh"
#include "score.cuh"
#include "upstream.cuh"

#ifdef GFM_EMULATED
EMULATED_INTERFACE
#endif
