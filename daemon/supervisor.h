/* Talking to the service manager (sd_notify): ready, status, reload, stop, watchdog. Without one nothing happens.
 *
 * Threads: the loop's. */
#ifndef LENSD_SUPERVISOR_H
#define LENSD_SUPERVISOR_H

#include <stdint.h>

#define LENSD_SUPERVISOR_LINE 1024u /* bytes of a status line with its NUL; what is more is cut */

/* An engine without work shows itself once a second: a watchdog of less than this would starve beside it. */
#define LENSD_WATCHDOG_LEAST_US UINT64_C(3000000)

struct lensd_supervisor {
    uint64_t watchdog_us; /* 0 = none asked for */
    uint64_t fed_heartbeat;
    char status[LENSD_SUPERVISOR_LINE]; /* last one sent */
};

void lensd_supervisor_init(struct lensd_supervisor *supervisor);

/* How often to call feed, in milliseconds: a third of the watchdog's time, a second at most. */
uint64_t lensd_supervisor_interval_ms(const struct lensd_supervisor *supervisor);

/* While it starts or stops, and gets on with it: shows the line, and asks for half a minute more from now before the
 * manager gives up. */
void lensd_supervisor_extend(struct lensd_supervisor *supervisor, const char *line);

/* Serving, at first or after a reload. */
void lensd_supervisor_ready(struct lensd_supervisor *supervisor, const char *line);
void lensd_supervisor_reloading(void); /* ready ends it */
/* Draining, which takes `drain_ms` at most. */
void lensd_supervisor_stopping(struct lensd_supervisor *supervisor, uint32_t drain_ms);

/* Sends the line when it differs from the last. */
void lensd_supervisor_status(struct lensd_supervisor *supervisor, const char *line);

/* Feeds the watchdog if the engine's heartbeat went on since last time: a stuck engine starves it. */
void lensd_supervisor_feed(struct lensd_supervisor *supervisor, uint64_t heartbeat);

#endif
