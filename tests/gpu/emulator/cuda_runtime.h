/* What a .cu file sees of CUDA's runtime under the emulator. */
#ifndef LENSD_EMULATOR_CUDA_RUNTIME_H
#define LENSD_EMULATOR_CUDA_RUNTIME_H
#include "cuda_runtime_api.h"
#endif
