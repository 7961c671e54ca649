/* Where lensctl timeline's rows come from. Both return an enum ctl_exit, failures said; the timeline is the caller's to
 * free in every case. */
#ifndef LENSCTL_TIMELINE_COLLECT_H
#define LENSCTL_TIMELINE_COLLECT_H

#include "client/lensctl/command.h"
#include "client/lensctl/timeline.h"

struct timeline_origin {
    char name[512], pack[256];
};

/* timeline_file.c: scores the file that is the command's first argument. */
int timeline_from_file(const struct ctl *ctl, struct timeline *timeline, struct timeline_origin *origin);

/* timeline_session.c: what the daemon remembers of one sequence of a session: the one whose number --sequence gives, or
 * the one that sent a row last. */
int timeline_from_session(const struct ctl *ctl, uint32_t session, struct timeline *timeline,
                          struct timeline_origin *origin);

/* timeline_file.c, for both: says why a row couldn't be added (-ENOMEM, -E2BIG). */
int timeline_add_failed(int code);

#endif
