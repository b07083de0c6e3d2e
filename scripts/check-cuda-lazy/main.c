/* Calls functions of libcuda through its lazy archive: `main present` or `main absent`. */
#include <stdio.h>
#include <string.h>

int cuDriverGetVersion(int *version);
int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, void *stream, void **params, void **extra);
int cuInit(double a, float b, double c, int d);
int cuDeviceGetCount(int *count);
const char *cublasGetStatusString(int status);
unsigned long cublasLtGetVersion(void);

static int wrong(const char *what, int got) {
  fprintf(stderr, "%s: %d\n", what, got);
  return 1;
}

int main(int argc, char **argv) {
  int version = 0, count = 0, code;
  int there = argc > 1 && !strcmp(argv[1], "present");
  /* Twice: the second call jumps right there. */
  for (int i = 0; i < 2; i++) {
    if ((code = cuInit(1.5, 2.5F, 3.5, 4)) != (there ? 0 : 34))
      return wrong("cuInit", code);
    code = cuLaunchKernel((void *)1, 2, 3, 4, 5, 6, 7, 8, (void *)9, (void **)10, (void **)11);
    if (code != (there ? 0 : 34))
      return wrong("cuLaunchKernel", code);
    if ((code = cuDriverGetVersion(&version)) != (there ? 0 : 34))
      return wrong("cuDriverGetVersion", code);
    /* The library that stands for it lacks this one. */
    if ((code = cuDeviceGetCount(&count)) != 34)
      return wrong("cuDeviceGetCount", code);
  }
  if (version != (there ? 13000 : 0))
    return wrong("version", version);
  if (strcmp(cublasGetStatusString(0), "cublas is not installed"))
    return wrong("cublasGetStatusString", 0);
  if (cublasLtGetVersion() != 0)
    return wrong("cublasLtGetVersion", 1);
  return 0;
}
