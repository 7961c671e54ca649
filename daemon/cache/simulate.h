/* What a cache of some size would have done with a recorded trace: each policy, with or without the predictor, and
 * Belady's optimum, which knows the future (DESIGN 5, goal P9).
 *
 * The unit is a row: all lenses it wants are needed together. Lenses of a row's base layers are always there; they are
 * neither counted nor given to the policy. `capacity` is the number of lenses held beside them. Lenses that a row gave
 * up (PARTIAL) were wanted all the same. Rows follow each other in the order of the trace.
 *
 * A row that wants more than the capacity runs in waves: what is held when it begins are hits, the rest are misses, and
 * the policy's victims are other rows' lenses first, then the row's own. Belady's optimum may keep any of what was held
 * or loaded there, so that no order of waves does better.
 *
 * Threads: an input is read-only once open, so several may simulate it at once. */
#ifndef LENSD_CACHE_SIMULATE_H
#define LENSD_CACHE_SIMULATE_H

#include "daemon/cache/policy.h"
#include "daemon/cache/predict.h"
#include "daemon/cache/trace.h"

/* A trace prepared for simulations: which rows want which lenses beside the base, and when each is wanted again. */
struct lensd_sim_input {
    const struct lensd_trace *trace; /* lent */
    uint64_t *begin;                 /* [rows + 1] in `lens` */
    uint32_t *lens;                  /* each once a row, in the order asked for */
    uint64_t *next;                  /* the row that wants the lens next; UINT64_MAX = none */
    uint32_t most;                   /* lenses that one row wants, at most */
    uint32_t distinct;               /* lenses wanted by any row */
};
int lensd_sim_open(const struct lensd_trace *trace, struct lensd_sim_input *out, struct lens_error *err);
void lensd_sim_close(struct lensd_sim_input *input); /* a zeroed one is fine */

struct lensd_sim_config {
    enum lensd_cache_kind kind;
    uint32_t capacity;                              /* at least 1 */
    const struct lensd_cache_quotas *quotas;        /* NULL = none */
    const struct lensd_predictor_config *predictor; /* NULL = no prefetch; its hierarchy is the trace's */
    uint32_t prefetch;                              /* lenses prefetched after a row, at most */
};

struct lensd_sim_figures {
    uint64_t rows, requests, hits, misses;
    uint64_t prefetched; /* = used + wasted + those still held that nobody wanted yet */
    uint64_t prefetch_used, prefetch_wasted;
};

/* Misses are lenses that a row waited for: a prefetched lens that was there in time is a hit. */
int lensd_sim_run(const struct lensd_sim_input *input, const struct lensd_sim_config *config,
                  struct lensd_sim_figures *out, struct lens_error *err);

/* The fewest misses any policy without prefetch can have (MIN: what is wanted last leaves first). */
int lensd_sim_belady(const struct lensd_sim_input *input, uint32_t capacity, struct lensd_sim_figures *out,
                     struct lens_error *err);

/* 0 where the denominator is. */
double lensd_sim_miss_ratio(const struct lensd_sim_figures *figures);
double lensd_sim_precision(const struct lensd_sim_figures *figures); /* used / prefetched */
double lensd_sim_recall(const struct lensd_sim_figures *figures);    /* used / (used + misses) */

#endif
