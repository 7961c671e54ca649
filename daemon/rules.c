/* See rules.h. Sets with their references and totals, and judging: how a row moves the states of its sequence. */
#include "daemon/rules.h"

#include "daemon/counter.h"
#include "daemon/rules_private.h"
#include "daemon/sys.h"
#include "kernels/calibration.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Baselines that don't move have no deviations: less than this is rounding, not a spread of scores. */
#define LEAST_SPREAD 1e-6

/* ---- sets -------------------------------------------------------------------------------------------------------- */

struct lensd_rules *lensd_rules_take(struct lensd_rules *rules)
{
    if (rules != NULL)
        __atomic_add_fetch(&rules->references, 1, __ATOMIC_RELAXED);
    return rules;
}

void lensd_rules_drop(struct lensd_rules *rules)
{
    if (rules != NULL && __atomic_sub_fetch(&rules->references, 1, __ATOMIC_ACQ_REL) == 0)
        lensd_free(rules);
}

static uint32_t find_total(const struct lensd_rule_totals *totals, const char *name)
{
    uint32_t i = 0;
    while (i < totals->n && strcmp(totals->items[i].name, name) != 0)
        i++;
    return i;
}

int lensd_rules_count_in(struct lensd_rules *rules, struct lensd_rule_totals *totals, struct lens_error *err)
{
    uint32_t added = 0;
    for (uint32_t i = 0; i < rules->n; i++)
        added += find_total(totals, rules->rules[i].name) == totals->n;
    if (totals->n + added > LENSD_RULE_TOTALS)
        return lens_error_set(err, -ENOSPC,
                              "the daemon counts at most %u names of rules in its life, found %u more than the %u it "
                              "has: restart it, or use names again",
                              LENSD_RULE_TOTALS, added, totals->n);
    for (uint32_t i = 0; i < rules->n; i++) {
        struct lensd_rule *rule = &rules->rules[i];
        uint32_t at = find_total(totals, rule->name);
        if (at == totals->n) {
            snprintf(totals->items[at].name, sizeof totals->items[at].name, "%s", rule->name);
            totals->n++;
        }
        totals->items[at].action = rule->action;
        rule->total = &totals->items[at].raised;
    }
    return 0;
}

/* ---- states ------------------------------------------------------------------------------------------------------ */

/* One rule in one sequence; a rule with a deviation has its ring of LENSD_RULE_TREND readings behind it. */
struct rule_state {
    uint64_t counted; /* bit i: the reading i rows ago counted */
    uint64_t n;       /* readings so far */
    double smoothed;
    float reading, deviation; /* the last; no meaning while n is 0 */
    uint32_t raised, reserved;
};

static_assert(sizeof(struct rule_state) % 8 == 0 && LENSD_RULE_TREND * sizeof(float) % 8 == 0, "states are aligned");

static size_t state_bytes(const struct lensd_rule *rule)
{
    size_t ring = rule->deviation > 0 ? LENSD_RULE_TREND * sizeof(float) : 0;
    return sizeof(struct rule_state) + ring;
}

size_t lensd_rules_state_bytes(const struct lensd_rules *rules)
{
    size_t bytes = 0;
    for (uint32_t i = 0; rules != NULL && i < rules->n; i++)
        bytes += state_bytes(&rules->rules[i]);
    return bytes;
}

static float *ring_of(struct rule_state *state)
{
    return (float *)(state + 1);
}

/* The mean of the last `n` of state->n readings; at most LENSD_RULE_TREND. */
static double mean_of(const struct rule_state *state, const float *ring, uint64_t n)
{
    double sum = 0;
    for (uint64_t i = state->n - n; i < state->n; i++)
        sum += ring[i % LENSD_RULE_TREND];
    return sum / (double)n;
}

/* How many standard deviations `value` lies above the mean of the readings so far; NAN when there is no saying. Made
 * anew from the readings each time: sums that are carried along gather what rounding leaves. */
static double deviation_of(const struct rule_state *state, const float *ring, double value)
{
    uint64_t n = state->n < LENSD_RULE_BASELINE ? state->n : LENSD_RULE_BASELINE;
    if (n < LENSD_RULE_SAMPLES)
        return NAN;
    double mean = mean_of(state, ring, n), squares = 0;
    for (uint64_t i = state->n - n; i < state->n; i++) {
        double off = ring[i % LENSD_RULE_TREND] - mean;
        squares += off * off;
    }
    double spread = sqrt(squares / (double)n);
    return spread < LEAST_SPREAD ? NAN : (value - mean) / spread;
}

/* ---- judging ----------------------------------------------------------------------------------------------------- */

/* The highest logit of each rule in the row; -INFINITY when the row scored none of its lenses. */
static void read_row(const struct lensd_rule_map *map, const struct lens_row_out *row, float highest[LENSD_RULES_MAX])
{
    for (uint32_t r = 0; r < LENSD_RULES_MAX; r++)
        highest[r] = -INFINITY;
    for (uint32_t i = 0; i < row->n_wanted; i++) {
        uint32_t lens = row->wanted[i], rules = map->rules_of[lens];
        for (; rules != 0; rules &= rules - 1) {
            uint32_t r = (uint32_t)__builtin_ctz(rules);
            if (row->logits[lens] > highest[r]) /* never of NaN: left out */
                highest[r] = row->logits[lens];
        }
    }
}

/* Whether the rule's new reading counts; it is in the state, but not in the ring yet. */
static bool counts(const struct lensd_rule *rule, struct rule_state *state)
{
    if (rule->deviation <= 0)
        return state->smoothed >= (double)rule->above;
    double deviation = deviation_of(state, ring_of(state), state->smoothed);
    state->deviation = (float)deviation;
    return deviation >= (double)rule->deviation; /* not of NAN */
}

static bool is_quiet(const struct lensd_rule *rule, const struct rule_state *state)
{
    return rule->deviation > 0 ? state->counted == 0 : state->smoothed < (double)rule->below;
}

/* Takes a reading in. True when it raises the rule. */
static bool move(const struct lensd_rule *rule, struct rule_state *state, float reading)
{
    const uint64_t window = UINT64_MAX >> (64 - rule->window);
    const double smooth = rule->smooth;
    state->smoothed = state->n == 0 ? (double)reading : smooth * state->smoothed + (1 - smooth) * (double)reading;
    state->reading = reading;
    state->counted = (state->counted << 1 | counts(rule, state)) & window;
    if (rule->deviation > 0)
        ring_of(state)[state->n % LENSD_RULE_TREND] = reading;
    state->n++;
    if (state->raised && is_quiet(rule, state)) {
        state->raised = false;
        state->counted = 0; /* what raised it once doesn't raise it again */
    } else if (!state->raised && (uint32_t)__builtin_popcountll(state->counted) >= rule->tokens) {
        state->raised = true;
        return true;
    }
    return false;
}

/* A raised rule's claim to be the verdict; rules come by position. */
static void claim(const struct lensd_rule *rule, bool raised, struct lensd_verdict *out)
{
    if (rule->action > out->action || (rule->action == out->action && raised && !out->raised))
        *out = (struct lensd_verdict){.action = rule->action, .raised = raised, .rule = rule->id};
}

void lensd_rules_judge(const struct lensd_rules *rules, const struct lensd_rule_map *map, void *state,
                       const struct lens_row_out *row, struct lensd_verdict *out)
{
    /* A DEGRADED row looked for less than usual: what it didn't score says nothing, and calms no rule. */
    const bool answered =
        row->logits != NULL && row->status != LENS_ROW_INVALID_INPUT && (row->flags & LENS_ROW_DEGRADED) == 0;
    float highest[LENSD_RULES_MAX];
    char *at = state;
    *out = (struct lensd_verdict){.action = LENS_VERDICT_NONE};
    if (answered)
        read_row(map, row, highest);
    for (uint32_t r = 0; r < rules->n; r++) {
        const struct lensd_rule *rule = &rules->rules[r];
        struct rule_state *s = (struct rule_state *)at;
        at += state_bytes(rule);
        if ((map->watching >> r & 1) == 0)
            continue;
        bool raised = answered && move(rule, s, (float)lens_sigmoid((double)highest[r]));
        if (raised)
            lensd_counter_add(rule->total, 1);
        if (s->raised)
            claim(rule, raised, out);
    }
}

/* ---- for people -------------------------------------------------------------------------------------------------- */

void lensd_rules_reading(const struct lensd_rules *rules, const void *state, uint32_t rule,
                         struct lensd_rule_reading *out)
{
    const char *at = state;
    for (uint32_t r = 0; r < rule; r++)
        at += state_bytes(&rules->rules[r]);
    const struct rule_state *s = (const struct rule_state *)at;
    *out = (struct lensd_rule_reading){NAN, NAN, NAN, NAN, s->raised};
    if (s->n == 0)
        return;
    out->reading = s->reading;
    out->smoothed = (float)s->smoothed;
    if (rules->rules[rule].deviation <= 0)
        return;
    out->deviation = s->deviation;
    if (s->n >= LENSD_RULE_BASELINE) {
        const float *ring = (const float *)(s + 1);
        uint64_t n = s->n < LENSD_RULE_TREND ? s->n : LENSD_RULE_TREND;
        out->trend = (float)(mean_of(s, ring, LENSD_RULE_BASELINE) - mean_of(s, ring, n));
    }
}
