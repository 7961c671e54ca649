/* Names of the daemon's rules on content for the ids that results and events carry, and how a verdict is shown.
 *
 * The rules are asked for over a connection of their own, and only when a verdict shows up: a page of events stays
 * valid while its rows are printed. A reload may bring rules that weren't there before, so an id that isn't known is
 * asked for again, at most once a second. An id that the daemon has no name for is shown in hexadecimal.
 *
 * Threads: one at a time. */
#ifndef LENSCTL_RULE_NAMES_H
#define LENSCTL_RULE_NAMES_H

#include "client/lensctl/output.h"

#include <stdint.h>

#define RULE_NAME_BYTES 32u /* terminator included */

struct lens_client;

struct rule_name {
    uint32_t id;
    char text[RULE_NAME_BYTES]; /* A-Z a-z 0-9 _ . - alone, whatever the daemon says */
};

struct rule_names {
    const char *socket_path; /* lent; NULL = where liblens looks by itself */
    struct lens_client *client;
    struct rule_name *items;
    size_t n, room;
    uint64_t asked_ns; /* 0 = never */
    char number[16];   /* of an id without a name */
};

void rule_names_init(struct rule_names *names, const char *socket_path);
void rule_names_free(struct rule_names *names);

/* The name, or the id in hexadecimal; valid until the next call. */
const char *rule_name(struct rule_names *names, uint32_t id);

/* A row's verdict as results and events carry it. */
struct row_verdict {
    uint8_t action; /* enum lens_verdict */
    uint8_t flags;  /* enum lens_row_flags */
    uint32_t rule;
};

/* "none", "flag", "stop"; "?" for another. */
const char *verdict_action(uint8_t action);

/* {"action": .., "rule": .., "raised": whether this row raised it}; null without a verdict. */
json_t *verdict_json(struct rule_names *names, const struct row_verdict *verdict);

/* In a line of text: two spaces, then STOP or FLAG and the rule; nothing without a verdict. Returns the
 * columns it took. */
unsigned verdict_print(const struct ctl_output *out, struct rule_names *names, const struct row_verdict *verdict);

#endif
