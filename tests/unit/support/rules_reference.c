/* See rules_reference.h. */
#include "tests/unit/support/rules_reference.h"

#include <math.h>

static double reading_of(const struct reference_rule *rule, const bool *scored, const double *logits)
{
    double highest = 0;
    for (uint32_t lens = 0; lens < REFERENCE_LENSES; lens++) {
        if (rule->watches[lens] && scored[lens])
            highest = fmax(highest, (float)(1 / (1 + exp(-logits[lens]))));
    }
    return highest;
}

static double mean(const double *values, uint32_t from, uint32_t to)
{
    double sum = 0;
    for (uint32_t i = to; i-- > from;)
        sum += values[i];
    return sum / (to - from);
}

/* Of the smoothed reading `at` against at most 100 before it. */
static double deviation_at(const struct reference_state *state, uint32_t at)
{
    uint32_t from = at > 100 ? at - 100 : 0;
    if (at - from < 10)
        return NAN;
    double middle = mean(state->readings, from, at), variance = 0;
    for (uint32_t i = from; i < at; i++)
        variance += pow(state->readings[i] - middle, 2) / (at - from);
    return sqrt(variance) < 1e-6 ? NAN : (state->smoothed[at] - middle) / sqrt(variance);
}

/* How many of the last readings up to `at` counted, none from before the rule was quiet. */
static uint32_t counted_until(const struct reference_rule *rule, const struct reference_state *state, uint32_t at)
{
    uint32_t counted = 0;
    for (uint32_t back = 0; back < rule->window && back <= at && at - back >= state->quiet_at; back++)
        counted += state->counted[at - back];
    return counted;
}

bool reference_move(const struct reference_rule *rule, struct reference_state *state,
                    const bool scored[REFERENCE_LENSES], const double logits[REFERENCE_LENSES])
{
    uint32_t at = state->n++;
    state->readings[at] = reading_of(rule, scored, logits);
    state->smoothed[at] = state->readings[0];
    for (uint32_t i = 1; i <= at; i++)
        state->smoothed[at] = rule->smooth * state->smoothed[at] + (1 - rule->smooth) * state->readings[i];
    state->deviations[at] = rule->deviation > 0 ? deviation_at(state, at) : NAN;
    state->counted[at] = rule->deviation > 0 ? isgreaterequal(state->deviations[at], rule->deviation)
                                             : state->smoothed[at] >= rule->above;
    uint32_t counted = counted_until(rule, state, at);
    if (state->raised) {
        state->raised = rule->deviation > 0 ? counted > 0 : state->smoothed[at] >= rule->below;
        state->quiet_at = state->raised ? state->quiet_at : state->n;
        return false;
    }
    state->raised = counted >= rule->tokens;
    state->times += state->raised;
    return state->raised;
}

double reference_trend(const struct reference_state *state)
{
    if (state->n < 100)
        return NAN;
    return mean(state->readings, state->n - 100, state->n) -
           mean(state->readings, state->n > 500 ? state->n - 500 : 0, state->n);
}

struct reference_verdict reference_verdict(const struct reference_rule *rules, const struct reference_state *states,
                                           const bool *now, uint32_t n)
{
    for (unsigned action = LENS_VERDICT_STOP; action >= LENS_VERDICT_FLAG; action--) {
        for (int just = 1; just >= 0; just--) {
            for (uint32_t r = 0; r < n; r++) {
                if (states[r].raised && rules[r].action == action && now[r] == (just == 1))
                    return (struct reference_verdict){(uint8_t)action, now[r], rules[r].id};
            }
        }
    }
    return (struct reference_verdict){LENS_VERDICT_NONE, false, 0};
}
