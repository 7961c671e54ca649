/* Shared by card.c and card_gemm.c. */
#ifndef GPU_BENCH_CARD_PRIVATE_H
#define GPU_BENCH_CARD_PRIVATE_H

#include "tests/gpu/bench/card.h"

#include <cuda_runtime_api.h>

struct card {
    struct card_facts facts;
    cudaStream_t stream;
    cudaEvent_t from, to;
    uint8_t *buffer;
    uint64_t pieces, next; /* of the buffer; where the next read begins */
    uint32_t *sum;
    uint32_t blocks;
    void *gemm; /* the cuBLAS handle, once it is wanted */
};

void card_must(cudaError_t error, const char *what); /* dies when it isn't success */

/* Nanoseconds of what is put on the card's stream between the two, by the card's own clock. */
void card_begin(struct card *card);
double card_end(struct card *card);

void card_gemm_close(struct card *card);

#endif
