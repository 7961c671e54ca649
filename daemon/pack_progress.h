/* How far the opening of a pack is: for `lensctl status`, for the log (a line each tenth, though not more often than
 * each two seconds, and not less often than each ten), and at start-up for the service manager.
 *
 * Threads: begin before the work starts; report on the worker alone; text on any. */
#ifndef LENSD_PACK_PROGRESS_H
#define LENSD_PACK_PROGRESS_H

#include "daemon/log.h"
#include "daemon/supervisor.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define LENSD_PROGRESS_TEXT 136u /* bytes of a sentence with its NUL */

struct lensd_pack_progress {
    char name[64];
    struct lensd_log log;                  /* a copy: a reload may change the service's meanwhile */
    struct lensd_supervisor *supervisor;   /* NULL unless this is start-up, on the loop's thread */
    _Atomic(const char *) what;            /* NULL until something is known */
    _Atomic uint64_t done, total;          /* of `what` */
    uint64_t began_ns, told_ns, told_done; /* the worker's */
};

/* `name`: the pack's, or its file's path, of which the last part is shown. */
void lensd_pack_progress_begin(struct lensd_pack_progress *progress, const struct lensd_log *log, const char *name);

/* A lens_progress_fn; `progress` is a struct lensd_pack_progress, `what` a literal. */
void lensd_pack_progress_report(void *progress, const char *what, uint64_t done, uint64_t total);

/* The sentence below, for the manager of a service that starts. */
void lensd_pack_progress_tell_manager(const struct lensd_pack_progress *progress);

/* "real-tree: 3120 of 7947 lenses loaded", or "real-tree: opening" at first. */
void lensd_pack_progress_text(const struct lensd_pack_progress *progress, char *out, size_t size);

#endif
