/* The daemon's figures over an interval: what two looks at its counters differ by.
 *
 * Counters only grow while a daemon runs, with two exceptions that the differences allow for: those of a pack go when
 * it is unloaded (a difference below nothing counts as nothing), and all begin anew when the daemon is restarted (the
 * second look is then compared with the daemon's start). */
#ifndef LENSCTL_FIGURES_H
#define LENSCTL_FIGURES_H

#include "client/liblens/control.h"
#include "daemon/histogram.h"

#include <stdint.h>

/* One look: counters since the daemon's start, and how things are now. Texts are cut, never without a sign of it. */
struct ctl_sample {
    uint64_t at_ns; /* CLOCK_MONOTONIC */
    uint64_t start_time_ns, uptime_ns;
    struct lens_statistics rows;           /* of the session asked for, or of all */
    struct lensd_histogram total;          /* nanoseconds of their rows, from submission to result */
    uint64_t loads, load_bytes, evictions; /* of all packs */
    uint64_t heap_bytes, slab_bytes, queued;
    uint32_t packs, sessions, slots, resident;
    char version[32], backend[64], device[128], degraded[512], loading[160];
};

/* Everything per interval; NAN where there is nothing to divide by. */
struct ctl_figures {
    double seconds;
    double rows_per_s, dropped_per_s, invalid_per_s, loads_per_s, load_bytes_per_s, evictions_per_s;
    double p50_ns, p99_ns;                                 /* of the rows of this interval, within 1% */
    double batch_rows, queue_ns, scored_per_row, hit_rate; /* means; hit_rate 0..1 */
};

/* Asks the daemon. `session` 0 = everyone's rows. 0, or what lens_control_call returns with err filled in; a wrong
 * answer is -EPROTO. */
int ctl_sample_take(struct lens_client *client, uint32_t session, struct ctl_sample *out,
                    struct lens_client_error *err);

/* The same without the rows, which only operators may ask for: `rows` and `total` are zero. */
int ctl_sample_take_status(struct lens_client *client, struct ctl_sample *out, struct lens_client_error *err);

/* Whether `after` is of another daemon than `before`: one that was started since. */
bool ctl_sample_restarted(const struct ctl_sample *before, const struct ctl_sample *after);

void ctl_figures_between(const struct ctl_sample *before, const struct ctl_sample *after, struct ctl_figures *out);

#endif
