/* Rules on content (the setting alerts.rules): when a concept, or a branch, scores too high for too long in a sequence,
 * the row that trips the rule carries a verdict, so that its client can stop generating at that token.
 *
 * A rule, one item of the list:
 *
 *     NAME: on=CONCEPT [above=P] [below=P] [tokens=K] [window=M] [smooth=S] [deviation=Z] [action=flag|stop]
 *
 *   NAME       1 to 31 of A-Z a-z 0-9 _ . -
 *   on         "Name:layer", or "Name:layer/" and a star: the concept and all below it
 *   above      raw score from which a token counts (0..1); needed unless deviation is given
 *   below      raw score under which the rule is quiet again (default: above): hysteresis
 *   tokens     so many tokens that count raise the rule (1),
 *   window     of the last so many (default: tokens, that is, in a row); 64 at most
 *   smooth     0..0.99 of the reading before goes into each reading (0): an exponential mean
 *   deviation  instead of above: a token counts when its reading lies so many standard deviations above the mean of the
 *              sequence's last 100 readings before it (none under 10 readings, none while they are all the same).
 *              0.1 to 100; the usual one is 2. Such concepts are pinned: scored on every row. `below` is not allowed;
 *              quiet again when no token of the window counts
 *   action     what the verdict says: flag (default) or stop
 *
 * A concept whose name has blanks in it stands in double quotes: on="Name of it:2".
 *
 * A row's reading of a rule: the highest raw score among the rule's lenses that the row scored; 0 when it scored none
 * (the cascade never came near). Rows that failed, are INVALID_INPUT or DEGRADED, or were sent with PREWARM are passed
 * over: no rule moves.
 * Raised: `tokens` of the last `window` readings counted. It stays raised, and rows carry its verdict, until the
 * (smoothed) reading is under `below`; what counted before then doesn't count again. Each sequence has states of its
 * own; they end with it.
 *
 * Threads: judge on the engine's alone, without locks and allocation; totals may be read on any; the rest on any one
 * thread at a time for a set. */
#ifndef LENSD_RULES_H
#define LENSD_RULES_H

#include "kernels/backend.h"
#include "proto/pack.h"

#define LENSD_RULES_MAX     32u  /* rules of one set */
#define LENSD_RULE_NAME     32u  /* bytes of a name, terminator included */
#define LENSD_RULE_TEXT     256u /* bytes of a rule as written */
#define LENSD_RULE_WINDOW   64u
#define LENSD_RULE_BASELINE 100u /* readings that a deviation is taken from */
#define LENSD_RULE_TREND    500u /* readings that the baseline's mean is compared to */
#define LENSD_RULE_SAMPLES  10u  /* at least */
#define LENSD_RULE_TOTALS   256u /* names over the daemon's life */

/* How often each rule was raised since the daemon began, by name: a rule that a reload changes goes on counting. */
struct lensd_rule_totals {
    uint32_t n;
    struct {
        char name[LENSD_RULE_NAME];
        uint8_t action;  /* enum lens_verdict: as last read from the configuration */
        uint64_t raised; /* the engine's; any thread may read it (relaxed) */
    } items[LENSD_RULE_TOTALS];
};

struct lensd_rule {
    char name[LENSD_RULE_NAME];
    char text[LENSD_RULE_TEXT]; /* as written, without the name */
    char on[LENSD_RULE_TEXT];   /* "Name:layer", without a branch's ending */
    uint32_t id;                /* lens_rule_id_of(name): what results and events call it */
    bool branch;
    float above, below, smooth, deviation; /* deviation 0 = none */
    uint32_t tokens, window;
    uint8_t action;  /* enum lens_verdict */
    uint64_t *total; /* in the totals */
};

/* A set of rules as configured. Immutable; sessions share it by reference (atomic count). */
struct lensd_rules {
    uint32_t n;
    struct lensd_rule rules[LENSD_RULES_MAX];
    uint32_t references;
};

/* Reads the list (lensd_list_next's items). *out is NULL for an empty one, else has one reference. `totals` outlives
 * every set; NULL when the list is only checked. -EINVAL with a sentence that names the rule, -ENOMEM, -ENOSPC (more
 * names than totals hold). */
int lensd_rules_parse(const char *list, struct lensd_rule_totals *totals, struct lensd_rules **out,
                      struct lens_error *err);
struct lensd_rules *lensd_rules_take(struct lensd_rules *rules); /* one more reference; NULL is fine */
void lensd_rules_drop(struct lensd_rules *rules);                /* NULL is fine */

/* The rules in terms of one pack. */
struct lensd_rule_map;
/* A rule whose concept the pack lacks is silent there; *silent says how many are. -ENOMEM. */
int lensd_rule_map_create(const struct lensd_rules *rules, const struct lens_pack *pack, struct lensd_rule_map **out,
                          uint32_t *silent);
void lensd_rule_map_destroy(struct lensd_rule_map *map); /* NULL is fine */
/* Lenses that must be scored on every row. */
const uint32_t *lensd_rule_map_pins(const struct lensd_rule_map *map, uint32_t *n);

/* Bytes of one sequence's states, a multiple of 8; all zero = nothing seen yet. */
size_t lensd_rules_state_bytes(const struct lensd_rules *rules);

/* What a row's result says. */
struct lensd_verdict {
    uint8_t action; /* enum lens_verdict: the strongest of the rules that are raised; */
    bool raised;    /* this row raised it: such a rule goes before others of the same action */
    uint32_t rule;  /* its id, 0 with LENS_VERDICT_NONE */
};

/* Takes one answered row into the sequence's states. Rows of a sequence in order, each once. Counts what it raises. */
void lensd_rules_judge(const struct lensd_rules *rules, const struct lensd_rule_map *map, void *state,
                       const struct lens_row_out *row, struct lensd_verdict *out);

/* For people: the last reading, smoothed, and of rules with a deviation how many standard deviations it lay from the
 * mean, and the trend: the mean of the last 100 readings less that of the last 500 (as many as there are; none under
 * 100). NAN when there is none. `rule`: its position in the set. */
struct lensd_rule_reading {
    float reading, smoothed, deviation, trend;
    bool raised;
};
void lensd_rules_reading(const struct lensd_rules *rules, const void *state, uint32_t rule,
                         struct lensd_rule_reading *out);

#endif
