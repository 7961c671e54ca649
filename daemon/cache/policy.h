/* Which lens leaves when a place is needed: cache policies behind one interface (DESIGN 5).
 *
 * A policy keeps order over the lenses that are in some tier (slots or host memory); it never sees weights. Its owner
 * tells it what comes in, what is used and what leaves; lenses that must not leave (base lenses, pins) are simply never
 * given to it. Everything is one choice of order: which answers rows get never depends on it.
 *
 * All memory is taken at creation (a few words a lens); the calls allocate nothing and are O(1), but for `row`
 * and for `victim`, which may pass over protected lenses (and with "sequence" may look at all that are held). Threads:
 * one at a time. This folder knows nobody but proto/lens_error.h. */
#ifndef LENSD_CACHE_POLICY_H
#define LENSD_CACHE_POLICY_H

#include "proto/lens_error.h"

#include <stdbool.h>
#include <stdint.h>

/* Values are those of the setting cache.policy, in the order of lensd_cache_policy_names. */
enum lensd_cache_kind {
    LENSD_CACHE_LRU,
    LENSD_CACHE_HATCAT,
    LENSD_CACHE_SIEVE,
    LENSD_CACHE_S3FIFO,
    LENSD_CACHE_SEQUENCE
};
extern const char *const lensd_cache_policy_names[]; /* "lru", "hatcat", "sieve", "s3fifo", "sequence", NULL */

/* Shares of the capacity that one layer's lenses may hold while others want room: a lens of a layer over its quota
 * leaves before any other. 0 = no quota for that layer. */
#define LENSD_CACHE_LAYERS 256u
struct lensd_cache_quotas {
    float share[LENSD_CACHE_LAYERS]; /* 0..1 */
};

/* "2:0.25,3:0.4" -> quotas; "" = none. -EINVAL with a sentence. */
int lensd_cache_quotas_parse(const char *text, struct lensd_cache_quotas *out, struct lens_error *err);

struct lensd_cache_config {
    enum lensd_cache_kind kind;
    uint32_t lenses;                         /* N: ids are 0..N-1 */
    uint32_t capacity;                       /* lenses that the tier holds, without those never given to the policy */
    const uint8_t *layer;                    /* [N], lent; may be NULL when quotas is NULL */
    const struct lensd_cache_quotas *quotas; /* NULL = none; copied */
};

struct lensd_cache_policy;

int lensd_cache_policy_create(const struct lensd_cache_config *config, struct lensd_cache_policy **out,
                              struct lens_error *err);
void lensd_cache_policy_destroy(struct lensd_cache_policy *policy); /* NULL is fine */

/* The capacity changes as lenses are pinned and unpinned. */
void lensd_cache_policy_resize(struct lensd_cache_policy *policy, uint32_t capacity);

/* `lens`, not held so far (else nothing happens), came in. `wanted`: a row asked for it, and this is that row's use: no
 * `use` follows for the same step. A prefetched lens is not wanted yet; its first `use` counts as its arrival. */
void lensd_cache_policy_insert(struct lensd_cache_policy *policy, uint32_t lens, bool wanted);

/* A row used `lens`, which is held (else nothing happens). Once a batch step at most. */
void lensd_cache_policy_use(struct lensd_cache_policy *policy, uint32_t lens);

/* A row of `sequence` (unique over all sessions) was answered and wanted these lenses beside base and pins, each once,
 * in the order asked for; after their `insert` or `use`, before the next row's. `ends`: the sequence is over. The
 * policy "sequence" lives on this (without it, it is LRU); the others don't look. O(n log held). */
void lensd_cache_policy_row(struct lensd_cache_policy *policy, uint64_t sequence, const uint32_t *lenses, uint32_t n,
                            bool ends);

/* `lens` is no longer the policy's business: it was pinned, or lost. Not held: nothing happens. */
void lensd_cache_policy_remove(struct lensd_cache_policy *policy, uint32_t lens);

/* Chooses a lens to leave, takes it out, and remembers what the policy remembers of those that left (ghosts).
 * `protect` (NULL = none) names lenses that must stay: it is asked about each candidate in the policy's order. False
 * when there is none. */
typedef bool (*lensd_cache_protect_fn)(const void *arg, uint32_t lens);
bool lensd_cache_policy_victim(struct lensd_cache_policy *policy, lensd_cache_protect_fn protect, const void *arg,
                               uint32_t *lens);

bool lensd_cache_policy_holds(const struct lensd_cache_policy *policy, uint32_t lens);
uint32_t lensd_cache_policy_size(const struct lensd_cache_policy *policy);

#endif
