/* See played_card.h. */
#include "tests/unit/support/played_card.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>

struct played_card played_card;

static int memory_free(struct lens_backend *backend, uint64_t *bytes)
{
    (void)backend;
    *bytes = played_card.free_bytes;
    return 0;
}

/* The CPU refuses to score what lies beyond config.slots. */
static int slab_resize(struct lens_slab *slab, uint32_t slots, struct lens_error *err)
{
    uint32_t there = (slots + slab->slot_unit - 1) / slab->slot_unit * slab->slot_unit;
    there = there < played_card.made ? there : played_card.made;
    if (slots == 0 || slots > played_card.made)
        return lens_error_set(err, -EINVAL, "%u slots of %u", slots, played_card.made);
    if (there > slab->config.slots && played_card.no_room)
        return lens_error_set(err, -ENOMEM, "the card is full");
    for (uint32_t slot = there; slot < played_card.made; slot++)
        if (slab->lens_in[slot] >= 0)
            return lens_error_set(err, -EINVAL, "slot %u still holds lens %d", slot, slab->lens_in[slot]);
    atomic_fetch_add(there < slab->config.slots ? &played_card.given : &played_card.taken, 1);
    __atomic_store_n(&slab->config.slots, there, __ATOMIC_RELAXED);
    return 0;
}

void played_card_begin(struct lensd_pool *pool, uint32_t unit, uint64_t free_bytes)
{
    assert_int_equal(lensd_pool_resident(pool), 0);
    played_card.ops = *pool->backend->ops;
    played_card.ops.slab_resize = slab_resize;
    if (free_bytes != UINT64_MAX)
        played_card.ops.memory_free = memory_free;
    played_card.made = pool->made;
    played_card.free_bytes = free_bytes;
    played_card.given = played_card.taken = 0;
    played_card.no_room = false;
    pool->backend->ops = &played_card.ops;
    pool->slab->slot_unit = unit;
}
