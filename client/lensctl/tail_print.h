/* The lines of lensctl tail: JSON objects for programs, coloured text on a terminal. */
#ifndef LENSCTL_TAIL_PRINT_H
#define LENSCTL_TAIL_PRINT_H

#include "client/lensctl/output.h"
#include "client/lensctl/rule_names.h"

struct tail_lines {
    struct ctl_output out;
    const struct ctl_output *screen; /* where `out` goes in the end: as wide as lines may be */
    struct rule_names rules;
    bool json;
    bool filtered; /* a row's stored detections are those that match, not all that are remembered */
};

void tail_print_row(struct tail_lines *lines, const struct lens_event_page *page, const struct lens_event_row *row);

/* So many rows were overwritten before they could be read. */
void tail_print_lost(const struct tail_lines *lines, uint64_t lost);

/* The daemon is "away", is "back", or has "restarted": then `start_ns` is when, and `sentence` says what follows. */
void tail_print_daemon(const struct tail_lines *lines, const char *what, uint64_t start_ns, const char *sentence);

#endif
