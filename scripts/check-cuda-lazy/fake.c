/* Stands for libcuda.so.1: functions with few, many and floating-point arguments. */
#include <stddef.h>

int cuDriverGetVersion(int *version) {
  *version = 13000;
  return 0;
}

/* More arguments than there are registers for them: the last five come over the stack. */
int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **params, void **extra) {
  unsigned long a[] = {(unsigned long)f, gx, gy, gz, bx, by, bz, shared, (unsigned long)stream,
                       (unsigned long)params, (unsigned long)extra};
  for (size_t i = 0; i < sizeof a / sizeof *a; i++)
    if (a[i] != i + 1)
      return 100 + (int)i;
  return 0;
}

/* The driver has no function like this, but cuBLAS has some with floating-point numbers. */
int cuInit(double a, float b, double c, int d) { return a == 1.5 && b == 2.5F && c == 3.5 && d == 4 ? 0 : 7; }
