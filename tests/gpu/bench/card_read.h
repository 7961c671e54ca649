/* What card.c and the kernels of card_read.cu share. */
#ifndef GPU_BENCH_CARD_READ_H
#define GPU_BENCH_CARD_READ_H

#include <stdint.h>

#define CARD_THREADS 256u
#define CARD_LOADS   8u
#define CARD_PIECE   (CARD_THREADS * CARD_LOADS * 16u)

struct card_read_args {
    uint8_t *buffer; /* [of] pieces of CARD_PIECE */
    uint64_t of, first, pieces;
    uint32_t *sum;
};

#ifndef __cplusplus
void card_read(struct card_read_args args); /* kernels: only their addresses are used here */
void card_fill(struct card_read_args args);
#endif

#endif
