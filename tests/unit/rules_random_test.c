/* Rules on content: random rules on random rows, against the plain reference of rules_reference.h, row by row. */
#include "daemon/rules.h"
#include "tests/unit/support/conformance_model.h"
#include "tests/unit/support/rules_reference.h"
#include "tests/unit/support/rules_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANDOM_RULES 12u

static double pick(struct conformance_random *random, const double *from, uint32_t n)
{
    return (float)from[conformance_below(random, n)];
}

/* Writes a random rule into `out`, and what it means into `rule`. */
static int draw_rule(struct conformance_random *random, uint32_t i, struct reference_rule *rule, char *out, size_t size)
{
    static const char *const on[] = {"A:0", "F:0", "B:1", "D:2", "A:0/*", "F:0/*", "B:1/*", "É:2"};
    static const char watched[][SMALL_LENSES + 1] = {"A", "F", "B", "D", "ABCDE", "FE", "BDE", "E"};
    static const double scores[] = {0, 0.2, 0.35, 0.5, 0.65, 0.8, 1}, smooths[] = {0, 0.3, 0.7, 0.95};
    static const double deviations[] = {0.5, 1, 1.5, 2, 3};
    uint32_t which = conformance_below(random, 8), above = 1 + conformance_below(random, 6);
    bool deviates = conformance_below(random, 3) == 0;
    char name[16];
    snprintf(name, sizeof name, "rule%u", i);
    *rule = (struct reference_rule){.id = lens_rule_id_of(name)};
    for (const char *c = watched[which]; *c != '\0'; c++)
        rule->watches[strchr("AFBCDE", *c) - "AFBCDE"] = true;
    rule->window = 1 + conformance_below(random, conformance_below(random, 4) == 0 ? 64 : 6);
    rule->tokens = 1 + conformance_below(random, rule->window < 8 ? rule->window : 8);
    rule->smooth = conformance_below(random, 2) == 0 ? 0 : pick(random, smooths, 4);
    rule->action = (uint8_t)(LENS_VERDICT_FLAG + conformance_below(random, 2));
    rule->above = (float)scores[above];
    rule->below = pick(random, scores, above + 1);
    rule->deviation = deviates ? pick(random, deviations, 5) : 0;
    int n = snprintf(out, size, "%s: on=%s tokens=%u window=%u smooth=%g action=%s ", name, on[which], rule->tokens,
                     rule->window, rule->smooth, rule->action == LENS_VERDICT_STOP ? "stop" : "flag");
    if (deviates)
        return n + snprintf(out + n, size - (size_t)n, "deviation=%g,", rule->deviation);
    return n + snprintf(out + n, size - (size_t)n, "above=%g below=%g,", rule->above, rule->below);
}

/* A row as the backend gives it, and as the reference takes it. */
struct random_row {
    struct lens_row_out out;
    uint32_t wanted[SMALL_LENSES];
    float logits[SMALL_LENSES];
    bool scored[REFERENCE_LENSES], passed_over;
    double plain[REFERENCE_LENSES];
};

static void draw_row(struct conformance_random *random, double around, struct random_row *row)
{
    memset(row, 0, sizeof *row);
    row->passed_over = conformance_below(random, 20) == 0;
    for (uint32_t lens = 0; lens < SMALL_LENSES; lens++) {
        row->logits[lens] = 50; /* of a lens that isn't wanted: means nothing */
        if (conformance_below(random, 5) == 0)
            continue;
        row->wanted[row->out.n_wanted++] = lens;
        row->scored[lens] = conformance_below(random, 12) != 0;
        row->logits[lens] = row->scored[lens] ? (float)(around + conformance_normal(random)) : NAN;
        row->plain[lens] = row->logits[lens];
    }
    conformance_shuffle(random, row->wanted, row->out.n_wanted);
    row->out.wanted = row->wanted;
    row->out.logits = row->logits;
    row->out.status = LENS_ROW_PARTIAL;
    switch (row->passed_over ? conformance_below(random, 3) : 3) {
    case 0:
        row->out.status = LENS_ROW_INVALID_INPUT;
        break;
    case 1:
        row->out.logits = NULL;
        break;
    case 2:
        row->out.flags = LENS_ROW_DEGRADED;
        break;
    }
}

/* NAN is as NAN. */
static void assert_near(double a, double b)
{
    if (isnan(a) != isnan(b) || fabs(a - b) > 1e-4 * (1 + fabs(b)))
        fail_msg("%.9g is not %.9g", a, b);
}

static void assert_same(const struct rules_world *w, const struct reference_rule *rules,
                        const struct reference_state *states, const bool *now)
{
    struct reference_verdict verdict = reference_verdict(rules, states, now, w->rules->n);
    assert_int_equal(w->verdict.action, verdict.action);
    assert_int_equal(w->verdict.rule, verdict.rule);
    assert_int_equal(w->verdict.raised, verdict.raised);
    for (uint32_t r = 0; r < w->rules->n; r++) {
        const struct reference_state *s = &states[r];
        struct lensd_rule_reading out = rules_reading(w, r);
        assert_int_equal(out.raised, s->raised);
        assert_near(out.reading, s->n > 0 ? s->readings[s->n - 1] : NAN);
        assert_near(out.smoothed, s->n > 0 ? s->smoothed[s->n - 1] : NAN);
        assert_near(out.deviation, s->n > 0 ? s->deviations[s->n - 1] : NAN);
        assert_near(out.trend, rules[r].deviation > 0 ? reference_trend(s) : NAN);
        assert_int_equal(w->totals.items[r].raised, s->times);
    }
}

/* One sequence of 700 rows. Returns how often any rule was raised. */
static uint64_t compare_a_sequence(struct conformance_random *random)
{
    static struct reference_state states[RANDOM_RULES];
    struct reference_rule rules[RANDOM_RULES];
    struct rules_world w;
    struct random_row row;
    char list[4096];
    size_t used = 0;
    double around = 0;
    uint64_t times = 0;
    memset(states, 0, sizeof states);
    for (uint32_t r = 0; r < RANDOM_RULES; r++)
        used += (size_t)draw_rule(random, r, &rules[r], list + used, sizeof list - used);
    rules_start(&w, list);
    for (uint32_t i = 0; i < REFERENCE_ROWS; i++) {
        bool now[RANDOM_RULES] = {false};
        if (conformance_below(random, 15) == 0)
            around = 1.5 * conformance_normal(random); /* the text turns to something else */
        draw_row(random, around, &row);
        for (uint32_t r = 0; r < RANDOM_RULES && !row.passed_over; r++)
            now[r] = reference_move(&rules[r], &states[r], row.scored, row.plain);
        lensd_rules_judge(w.rules, w.map, w.state, &row.out, &w.verdict);
        assert_same(&w, rules, states, now);
    }
    for (uint32_t r = 0; r < RANDOM_RULES; r++)
        times += states[r].times;
    rules_stop(&w);
    return times;
}

static void random_rules_on_random_rows_agree_with_the_reference(void **state)
{
    (void)state;
    struct conformance_random random = {conformance_seed()};
    uint64_t times = 0;
    for (int i = 0; i < 12; i++)
        times += compare_a_sequence(&random);
    assert_true(times > 100); /* else nothing was compared */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_rules_on_random_rows_agree_with_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
