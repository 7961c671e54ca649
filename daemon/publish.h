/* Writing results into the sessions' result rings, and giving descriptors back. Engine thread; private to daemon/. */
#ifndef LENSD_PUBLISH_H
#define LENSD_PUBLISH_H

#include "daemon/batch.h"

/* Publishes every row of an answered submission in order, and keeps its retained set. Its descriptor is given back just
 * before the last row shows (in turn: not while an older one is in flight). */
void lensd_publish_flight(struct lensd_flight *flight, struct lensd_statistics *statistics);

/* Answers every row of the submission pending[at], which is not run, with INVALID_INPUT and `reason`; given back as
 * above. */
void lensd_publish_refusal(struct lensd_session *session, uint64_t at, enum lens_row_reason reason,
                           struct lensd_statistics *statistics);

/* Gives back the session's finished descriptors, oldest first, and wakes its client if results wait. */
void lensd_publish_release(struct lensd_session *session);

#endif
