// The kernels for the CPU.
#define GFM_EMULATED
#include "kernels.cu"
