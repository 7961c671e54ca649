/* The events of the log: what an operator searches the journal for. Each has a name (the field LENSD_EVENT) and an id
 * (MESSAGE_ID) that never change, what it means, and what to do about it. lensd(8) and the journal's catalog list them
 * from the same table. */
#ifndef LENSD_LOG_EVENTS_H
#define LENSD_LOG_EVENTS_H

enum lensd_log_event {
    LENSD_LOG_PLAIN, /* a line that is no event */
    LENSD_LOG_READY,
    LENSD_LOG_START_FAILED,
    LENSD_LOG_STOPPING,
    LENSD_LOG_STOPPED,
    LENSD_LOG_RELOADED,
    LENSD_LOG_RELOAD_FAILED,
    LENSD_LOG_CONFIG_ODD,
    LENSD_LOG_PACK_LOADED,
    LENSD_LOG_PACK_SWAPPED,
    LENSD_LOG_PACK_UNLOADED,
    LENSD_LOG_PACK_REFUSED,
    LENSD_LOG_PACK_UNUSABLE,
    LENSD_LOG_BATCHES_FAILED,
    LENSD_LOG_DEVICE_LOST,
    LENSD_LOG_DEVICE_REPLACED,
    LENSD_LOG_TAKEOVER_FAILED,
    LENSD_LOG_MEMORY_SHORT,
    LENSD_LOG_MEMORY_EASED,
    LENSD_LOG_DEGRADED,
    LENSD_LOG_RECOVERED,
    LENSD_LOG_SESSION_ATTACHED,
    LENSD_LOG_SESSION_ENDED,
    LENSD_LOG_CLIENT_DROPPED,
    LENSD_LOG_BACKEND,
    LENSD_LOG_METRICS_FAILED,
    LENSD_LOG_SLOTS_FEWER,
    LENSD_LOG_SESSION_CHANGED,
    LENSD_LOG_TRACE_BEGAN,
    LENSD_LOG_TRACE_ENDED,
    LENSD_LOG_ALERT,
    LENSD_LOG_EVENTS
};

struct lensd_log_event_info {
    const char *name, *id;        /* "pack-refused"; 32 hexadecimal digits */
    const char *meaning, *remedy; /* "" = nothing to do */
};

extern const struct lensd_log_event_info lensd_log_events[LENSD_LOG_EVENTS]; /* [LENSD_LOG_PLAIN] is empty */

/* mdoc(7) for lensd(8), and a catalog for `journalctl -x` (systemd's message catalog format). */
void lensd_log_events_print_man(void (*print)(void *arg, const char *line), void *arg);
void lensd_log_events_print_catalog(void (*print)(void *arg, const char *line), void *arg);

#endif
