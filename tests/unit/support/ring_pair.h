/* Both sides of a session's rings over one piece of memory, in one process. */
#ifndef LENS_TEST_RING_PAIR_H
#define LENS_TEST_RING_PAIR_H

#include "proto/dtype.h"
#include "proto/ring.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LIMIT = 1 << 24, DIM = 40, MAX_ROWS = 4, SUBMIT_SLOTS = 8, RESULT_SLOTS = 16, TOP_K = 5, EXPANDED = 3 };

struct pair {
    struct lens_ring_server server;
    struct lens_ring_client client;
    struct lens_shm_header *header;
    unsigned char *memory;
    uint64_t ends[SUBMIT_SLOTS];
};

struct lens_ring_layout small_layout(void);

/* `payload`: bytes of the payload ring; 0 = the default. Payload and results start poisoned. */
void open_pair(struct pair *p, uint64_t payload);
void close_pair(struct pair *p);

uint64_t largest(void); /* payload bytes of the largest submission */

/* A submission whose rows are all `fill`; what lens_ring_client_acquire says when there is no room. */
int submit(struct pair *p, uint32_t rows, uint8_t dtype, bool ids, unsigned char fill);

/* lens_ring_server_take into a poisoned descriptor. */
int take(struct pair *p, struct lens_submit_descriptor *d);

/* A full result with recognisable ids. */
void answer(struct pair *p, uint32_t row);

/* One field of a struct, and what to write there. */
struct poke {
    size_t offset, width;
    uint64_t value;
};

#define POKE(type, field, value)                                                                                       \
    {                                                                                                                  \
        offsetof(struct type, field), sizeof(((struct type *)0)->field), value                                         \
    }

void poke(void *base, const struct poke *p);

#endif
