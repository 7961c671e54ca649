/* Talking to the service manager (sd_notify): ready, status, reload, stop, watchdog. Without one nothing happens.
 *
 * Threads: the loop's. */
#ifndef LENSD_SUPERVISOR_H
#define LENSD_SUPERVISOR_H

#include <stdint.h>

struct lensd_supervisor {
    uint64_t watchdog_us; /* 0 = none asked for */
    uint64_t fed_heartbeat;
    char status[160]; /* last one sent */
};

void lensd_supervisor_init(struct lensd_supervisor *supervisor);

/* How often to call feed, in milliseconds: a third of the watchdog's time, a second at most. */
uint64_t lensd_supervisor_interval_ms(const struct lensd_supervisor *supervisor);

/* At start-up: shows the line, and asks for half a minute more before the manager gives up waiting for ready. */
void lensd_supervisor_starting(struct lensd_supervisor *supervisor, const char *line);

void lensd_supervisor_ready(void);
void lensd_supervisor_reloading(void); /* READY=1 ends it */
void lensd_supervisor_stopping(void);

/* Sends the line when it differs from the last. */
void lensd_supervisor_status(struct lensd_supervisor *supervisor, const char *line);

/* Feeds the watchdog if the engine's heartbeat went on since last time: a stuck engine starves it. */
void lensd_supervisor_feed(struct lensd_supervisor *supervisor, uint64_t heartbeat);

#endif
