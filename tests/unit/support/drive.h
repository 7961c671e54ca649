/* Drives a pool without an engine: runs jobs to their end, reading what they miss, as the engine would. */
#ifndef TESTS_UNIT_DRIVE_H
#define TESTS_UNIT_DRIVE_H

#include "daemon/pool.h"

/* Sets each job's state and give_up by its options and deadlines_ns[job] (NULL or 0 = none) and returns when all are
 * done: 0, or what lensd_pool_run returned. */
int drive_pool(struct lensd_pool *pool, struct lens_job *jobs, uint32_t n, const uint64_t *deadlines_ns,
               struct lens_error *err);

/* Goes on until nothing that rows went without is left to load. */
void drive_idle(struct lensd_pool *pool);

#endif
