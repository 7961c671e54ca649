/* A CPU backend that plays a card whose slabs give slots back. One at a time. */
#ifndef TEST_PLAYED_CARD_H
#define TEST_PLAYED_CARD_H

#include "daemon/pool_private.h"

#include <stdatomic.h>

struct played_card {
    struct lens_backend_ops ops;
    uint32_t made;
    _Atomic uint64_t free_bytes;   /* what memory_free says; UINT64_MAX = it isn't asked: there is no such call */
    _Atomic uint32_t given, taken; /* how often slots went, and came */
    atomic_bool no_room;           /* slots that come are -ENOMEM */
};
extern struct played_card played_card;

/* From now on the backend of `pool`, which nobody runs yet, is one; `unit` slots go or come at a time. */
void played_card_begin(struct lensd_pool *pool, uint32_t unit, uint64_t free_bytes);

#endif
