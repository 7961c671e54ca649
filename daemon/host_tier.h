/* The host tier: lenses as stored, in memory between slots and file (DESIGN 5, cache.host_memory).
 *
 * A fixed number of places, each one lens's encoded W1 (and its signs). A lens gets a place when it is read from the
 * file; the least recently loaded leaves. Places that a load reads or fills are protected until it is settled.
 *
 * All memory is taken at creation, page-locked where the backend's device reads it by itself (locked_memory.h).
 * Threads: the engine's; the count may be read from any thread. */
#ifndef LENSD_HOST_TIER_H
#define LENSD_HOST_TIER_H

#include "kernels/backend.h"
#include "proto/lens_error.h"
#include "proto/pack.h"

struct lensd_host_tier;

/* As many places as fit `bytes`, at most one for each lens. *out is NULL, and the result 0, when that is none. */
int lensd_host_tier_create(const struct lens_pack *pack, struct lens_backend *backend, uint64_t bytes,
                           struct lensd_host_tier **out, struct lens_error *err);
void lensd_host_tier_destroy(struct lensd_host_tier *tier); /* NULL is fine */

/* The lens's encoded weights, W1 then signs, protected until settled; NULL when it isn't held (or `tier` is NULL). */
void *lensd_host_tier_get(struct lensd_host_tier *tier, uint32_t lens);
/* A place to read a lens into that isn't held, protected until settled; NULL when there is none now. */
void *lensd_host_tier_reserve(struct lensd_host_tier *tier, uint32_t lens);
/* The load of get or reserve is over. `good` = false: what was reserved holds nothing. */
void lensd_host_tier_settle(struct lensd_host_tier *tier, uint32_t lens, bool good);

uint32_t lensd_host_tier_places(const struct lensd_host_tier *tier); /* 0 for NULL, like the next */
uint32_t lensd_host_tier_held(const struct lensd_host_tier *tier);
bool lensd_host_tier_holds(const struct lensd_host_tier *tier, uint32_t lens);

#endif
