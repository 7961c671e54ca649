/* The daemon's log: one line per event on stderr, for people and for journald.
 *
 * Lines get a "<6>" priority prefix when stderr is the journal's ($JOURNAL_STREAM), "lensd: " otherwise. Control
 * characters in a line become '?', so that a client's name can't forge one. Never called on the hot path.
 * Threads: safe from any; a line is one write(2). */
#ifndef LENSD_LOG_H
#define LENSD_LOG_H

#include <stdbool.h>
#include <stdint.h>

#define LENSD_LOG_BURST 50u /* lines a second that clients may cause */

/* Values are syslog's. */
enum lensd_log_level { LENSD_LOG_ERROR = 3, LENSD_LOG_WARNING = 4, LENSD_LOG_INFO = 6, LENSD_LOG_DEBUG = 7 };

/* "error", "warning", "info", "debug"; lensd_log_levels[i] is the level of the name at i. */
extern const char *const lensd_log_level_names[];
extern const enum lensd_log_level lensd_log_levels[];

struct lensd_log {
    enum lensd_log_level level; /* less important lines are dropped */
    bool priorities;            /* stderr is the journal */
    int fd;
    uint64_t second;          /* of lensd_log_client: the second counted now */
    uint32_t lines, left_out; /* in that second */
};

void lensd_log_init(struct lensd_log *log, enum lensd_log_level level);

void lensd_log(const struct lensd_log *log, enum lensd_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* For what clients cause: at most LENSD_LOG_BURST lines a second, so that nobody can slow the daemon down by making
 * it write. What was left out is counted and told. The loop thread alone. */
void lensd_log_client(struct lensd_log *log, enum lensd_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
