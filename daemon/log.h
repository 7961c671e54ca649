/* The daemon's log: one line per event, on stderr for people, and with its fields in the journal when stderr is the
 * journal's ($JOURNAL_STREAM).
 *
 * A journal entry has MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, and for events (log_events.h) LENSD_EVENT, MESSAGE_ID and
 * the fields that are set. Where the journal can't be had, lines go to stderr with a "<6>" priority in front; elsewhere
 * with "lensd: ". Control characters and what isn't UTF-8 become '?': a client's name can neither forge a line nor have
 * the journal hide it. Nothing here ever waits:
 * what nobody takes is counted, and told when somebody does. Never called on the hot path.
 * Threads: safe from any; a line is one write(2) or one datagram. */
#ifndef LENSD_LOG_H
#define LENSD_LOG_H

#include "daemon/log_events.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LENSD_LOG_BURST 50u /* lines a second that clients may cause */
#define LENSD_LOG_MORE  3u  /* further fields of an event */

/* Values are syslog's. */
enum lensd_log_level { LENSD_LOG_ERROR = 3, LENSD_LOG_WARNING = 4, LENSD_LOG_INFO = 6, LENSD_LOG_DEBUG = 7 };

/* "error", "warning", "info", "debug"; lensd_log_levels[i] is the level of the name at i. */
extern const char *const lensd_log_level_names[];
extern const enum lensd_log_level lensd_log_levels[];

/* Where lines go. Shared by all copies of a log; must outlive them. */
struct lensd_log_output {
    int fd;           /* stderr */
    bool is_journal;  /* what fd leads to */
    int journal;      /* a socket to the journal, or negative: lines go to fd */
    const char *path; /* where the journal listens */
    atomic_uint lost; /* lines that nobody took, not told yet */
};

struct lensd_log {
    enum lensd_log_level level; /* less important lines are dropped */
    struct lensd_log_output *output;
    uint64_t second;          /* of what clients cause: the second counted now */
    uint32_t lines, left_out; /* in that second */
};

/* What a line is about; what isn't set stays out. */
struct lensd_log_fields {
    const char *pack;    /* LENSD_PACK: its name, or the path it was asked for by */
    uint32_t generation; /* LENSD_PACK_GENERATION */
    uint32_t session;    /* LENSD_SESSION */
    const char *client;  /* LENSD_CLIENT: what it calls itself, */
    uint32_t pid, uid;   /* and, with a pid, LENSD_CLIENT_PID, LENSD_CLIENT_UID */
    int code;            /* ERRNO, from a negative errno */
    struct {
        const char *name, *value; /* "LENSD_RULE", .. */
    } more[LENSD_LOG_MORE];
};

void lensd_log_init(struct lensd_log *log, struct lensd_log_output *output, enum lensd_log_level level);
void lensd_log_close(struct lensd_log *log);

void lensd_log(const struct lensd_log *log, enum lensd_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* An event, with what it is about. */
void lensd_log_event(const struct lensd_log *log, enum lensd_log_level level, enum lensd_log_event event,
                     const struct lensd_log_fields *fields, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* For what clients cause: at most LENSD_LOG_BURST lines a second, so that nobody can slow the daemon down by making
 * it write. What was left out is counted and told. The loop thread alone. */
void lensd_log_client(struct lensd_log *log, enum lensd_log_level level, enum lensd_log_event event,
                      const struct lensd_log_fields *fields, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

#endif
