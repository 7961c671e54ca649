/* A backend that does nothing: every row is answered COMPLETE at once, without detections. What is left is the path
 * between client and engine. */
#ifndef LENS_BENCH_NULL_BACKEND_H
#define LENS_BENCH_NULL_BACKEND_H

#include "kernels/backend.h"

struct lens_backend *bench_null_backend_open(void); /* close with ops->close */

#endif
