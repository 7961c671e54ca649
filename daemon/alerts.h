/* Rules on content as the daemon has them: the set in force for new sessions, and telling the journal what they raised.
 * Judging is the engine's (rules.h, publish.c); sessions keep the set that they attached with.
 *
 * Threads: the loop's. */
#ifndef LENSD_ALERTS_H
#define LENSD_ALERTS_H

#include "daemon/rules.h"

struct lensd_service;

struct lensd_alerts {
    struct lensd_rules *rules; /* of alerts.rules, or NULL: there are none */
    struct lensd_rule_totals totals;
    uint64_t told_raised; /* sum of the totals that the log knows of */
    uint64_t told_event;  /* number of the next event to look at */
    bool behind;          /* the last look found fewer rows than were counted */
};

/* Takes in the setting alerts.rules, which was checked: at the start and after a reload. -ENOMEM, or -ENOSPC when the
 * daemon has seen more names of rules than it counts; then the rules before stay. */
int lensd_alerts_configure(struct lensd_service *service, struct lens_error *err);
void lensd_alerts_close(struct lensd_alerts *alerts);

/* Every tick: one line for each rule that was raised since. */
void lensd_alerts_look(struct lensd_service *service);

#endif
