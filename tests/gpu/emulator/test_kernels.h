/* What test_kernels.cu's kernels work on: shared with tests/unit/cuda_emulator_test.c. */
#ifndef LENSD_EMULATOR_TEST_KERNELS_H
#define LENSD_EMULATOR_TEST_KERNELS_H

#include <stdint.h>

#define EMULATOR_TEST_THREADS  256
#define EMULATOR_TEST_PRODUCTS 8

struct emulator_test_product { /* by lane: fragments as PTX's mma lays them out */
    uint32_t a[32][4], b[32][2];
    float f32[32][4];
    int32_t s32[32][4];
};

struct emulator_test {
    uint32_t steps, arrived;
    uint64_t condition;
    uint32_t out[EMULATOR_TEST_THREADS * 64];
    struct emulator_test_product products[EMULATOR_TEST_PRODUCTS];
};

#endif
