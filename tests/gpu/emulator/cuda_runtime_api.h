/* CUDA 13's runtime, as much of it as kernels/cuda uses, under the same names and values: see README.md. */
#ifndef LENSD_EMULATOR_CUDA_RUNTIME_API_H
#define LENSD_EMULATOR_CUDA_RUNTIME_API_H
#include "types.h"

#include "calls.h"
#endif
