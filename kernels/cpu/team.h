/* A team of threads that share out numbered pieces of work: the CPU backend's workers.
 *
 * The caller of team_run works too. Workers spin a short while for the next job and then sleep on a futex; waking a
 * sleeper is the only system call of a run (and a yield, when a worker was descheduled in the middle of a piece).
 * Nothing allocates or locks. Pieces are handed out in no fixed order: work must not depend on who does what. */
#ifndef LENS_CPU_TEAM_H
#define LENS_CPU_TEAM_H

#include "proto/lens_error.h"

#include <stdint.h>

struct cpu_team;

/* Does piece `index`; `worker` is 0 (the caller) .. threads-1 and no two calls with one worker overlap. */
typedef void (*cpu_work_fn)(void *arg, uint32_t index, uint32_t worker);

/* `threads` includes the caller: 1 starts none. Owned by the caller until team_close. */
int cpu_team_open(uint32_t threads, struct cpu_team **out, struct lens_error *err);
void cpu_team_close(struct cpu_team *team); /* NULL is fine */

/* Does pieces 0..n-1 and returns when all are done. Any thread; when another run is going on (another slab's), the
 * caller does its pieces alone. */
void cpu_team_run(struct cpu_team *team, cpu_work_fn work, void *arg, uint32_t n);

#endif
