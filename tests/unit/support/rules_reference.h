/* Rules on content, judged again in the plainest way: in double, with every reading of the sequence kept, no masks and
 * no index. Shares no code with the daemon's rules. Test support. */
#ifndef LENS_TEST_RULES_REFERENCE_H
#define LENS_TEST_RULES_REFERENCE_H

#include "proto/wire.h"

#include <stdbool.h>
#include <stdint.h>

#define REFERENCE_ROWS   700u
#define REFERENCE_LENSES 8u

struct reference_rule {
    bool watches[REFERENCE_LENSES];
    double above, below, smooth, deviation; /* deviation 0 = none */
    uint32_t tokens, window, id;
    uint8_t action;
};

/* One rule in one sequence. */
struct reference_state {
    uint32_t n, quiet_at; /* readings; how many there were when it last went quiet */
    double readings[REFERENCE_ROWS], smoothed[REFERENCE_ROWS], deviations[REFERENCE_ROWS];
    bool counted[REFERENCE_ROWS];
    bool raised;
    uint64_t times; /* it was raised */
};

/* A row in which lens l, if scored[l], has this logit. True when the row raises the rule. */
bool reference_move(const struct reference_rule *rule, struct reference_state *state,
                    const bool scored[REFERENCE_LENSES], const double logits[REFERENCE_LENSES]);

/* The mean of the last 100 readings less that of the last 500. NAN under 100. */
double reference_trend(const struct reference_state *state);

struct reference_verdict {
    uint8_t action;
    bool raised;
    uint32_t rule;
};

/* Of rules whose last row raised those with now[r]. */
struct reference_verdict reference_verdict(const struct reference_rule *rules, const struct reference_state *states,
                                           const bool *now, uint32_t n);

#endif
