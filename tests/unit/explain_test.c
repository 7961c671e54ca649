/* lensctl explain: its steps are the daemon's own calibration, and its sentences fit the settings. lensctl is a program
 * without a library, so the code under test is compiled in here. */
#include "client/lensctl/columns.c"             /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/daemon_link.c"         /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/explain_calibration.c" /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/explain_rules.c"       /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/output.c"              /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/wrapped.c"             /* NOLINT(bugprone-suspicious-include) */

#include "kernels/calibration.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const float tables[][LENS_CALIBRATION_FIELDS] = {
    /* self_mean, cross_mean, self_std, cross_std, cross_fire, gen_fire, noise_fire */
    {0.9f, 0.01f, 0.1f, 0.1f, 0.001f, 0.02f, 0.3f}, /* clean */
    {0.9f, 0.01f, 0.1f, 0.1f, 0.0f, 0.0f, 0.0f},    /* never fires elsewhere */
    {0.9f, 0.3f, 0.1f, 0.1f, 0.2f, 0.1f, 0.3f},     /* wide gap */
    {0.4f, 0.3f, 0.1f, 0.1f, 0.2f, 0.1f, 0.3f},     /* narrow gap */
    {0.3f, 0.4f, 0.1f, 0.1f, 0.2f, 0.1f, 0.3f},     /* no gap */
    {0.9f, 0.0f, 0.1f, 0.1f, 0.6f, 0.1f, 0.3f},     /* no cross mean */
    {NAN, 0.3f, NAN, NAN, 0.2f, NAN, NAN},          /* keys that are missing have defaults */
    {NAN, NAN, NAN, NAN, NAN, 0.5f, NAN},
};
#define TABLES (sizeof tables / sizeof tables[0])

static struct lens_explanation concept_of(const float *table)
{
    struct lens_explanation e = {.layer = 3, .calibrated = table != NULL, .n_path = 2};
    if (table != NULL)
        memcpy(e.calibration, table, sizeof e.calibration);
    e.path_keys[0] = lens_text_of("Mother:2");
    e.path_keys[1] = e.key = lens_text_of("Child:3");
    return e;
}

static void the_steps_end_where_the_daemon_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < TABLES; i++) {
        struct lens_explanation e = concept_of(tables[i]);
        for (double logit = -12; logit <= 12; logit += 0.37) {
            struct explain_steps steps;
            explain_calibrate(&e, logit, &steps);
            assert_true(fabs(steps.result - lens_calibrate(tables[i], lens_sigmoid(logit))) < 1e-9);
        }
    }
}

static void a_concept_without_calibration_keeps_its_raw_score(void **state)
{
    struct lens_explanation e = concept_of(NULL);
    struct explain_steps steps;
    struct sentences said = {.count = 0};
    (void)state;
    explain_calibrate(&e, 1, &steps);
    assert_true(steps.result == steps.raw);
    explain_say_steps(&steps, &said);
    assert_non_null(strstr(said.text[1], "no calibration"));
}

/* The last number in a sentence. */
static double last_number(const char *text)
{
    return strtod(strrchr(text, '=') + 1, NULL);
}

static void each_step_says_its_numbers(void **state)
{
    struct lens_explanation e = concept_of(tables[2]);
    struct explain_steps steps;
    struct sentences said = {.count = 0};
    (void)state;
    explain_calibrate(&e, 0.8472979, &steps); /* raw 0.7 */
    explain_say_steps(&steps, &said);
    assert_int_equal(said.count, 6);
    assert_string_equal(said.text[0], "raw = sigmoid(0.8473) = 0.7000");
    assert_string_equal(said.text[1], "gap = self_mean - cross_mean = 0.9 - 0.3 = 0.6");
    assert_true(fabs(last_number(said.text[2]) - 0.8 * 0.9 * 0.7) < 1e-4);
    assert_string_equal(said.text[3], "raw is at least cross_mean: r = 0.5 + 0.5 (raw - cross_mean) / gap = 0.8333");
    assert_string_equal(said.text[4], "w = 0.5 + (r - 0.5) k = 0.6680");
    assert_string_equal(said.text[5], "calibrated = sigmoid(6 (w - 0.5)) = 0.7326");
}

static void no_case_needs_more_sentences_than_there_is_room_for(void **state)
{
    const struct explain_rules rules = {.base_layers = "0,1",
                                        .expand = "threshold",
                                        .report = "frontier",
                                        .load_threshold = 0.3,
                                        .unload_threshold = 0.1,
                                        .keep_top_k = 30};
    (void)state;
    for (size_t i = 0; i < TABLES; i++) {
        struct lens_explanation e = concept_of(tables[i]);
        struct explain_steps steps;
        struct sentences said = {.count = 0}, why = {.count = 1};
        e.n_children = 4;
        explain_calibrate(&e, 1, &steps);
        explain_say_steps(&steps, &said);
        explain_say_thresholds(&e, &rules, steps.raw, &said);
        assert_non_null(strstr(said.text[said.count - 1], "unload_threshold")); /* none was dropped */
        explain_calibration(&e, &why);
        assert_non_null(strstr(why.text[why.count - 1], "compresses"));
    }
}

/* What is said of the rules, one sentence after the other. */
static const char *rules_text(const struct lens_explanation *e, const struct explain_rules *rules)
{
    static char text[4096];
    struct sentences said = {.count = 0};
    text[0] = '\0';
    explain_say_rules(e, rules, &said);
    for (unsigned i = 0; i < said.count; i++)
        strcat(text, said.text[i]);
    return text;
}

static void the_rules_fit_the_settings_and_the_concept(void **state)
{
    struct lens_explanation e = concept_of(NULL);
    struct explain_rules rules = {.base_layers = "0,1",
                                  .expand = "threshold",
                                  .report = "frontier",
                                  .rank = "raw",
                                  .load_threshold = 0.25,
                                  .top_k = 7};
    (void)state;
    assert_non_null(strstr(rules_text(&e, &rules),
                           "when its parent Mother:2 (or another parent of its) has a raw score "
                           "above cascade.load_threshold, 0.25"));
    assert_non_null(strstr(rules_text(&e, &rules), "whenever it is scored and among the row's 7 best"));
    e.n_children = 2;
    assert_non_null(strstr(rules_text(&e, &rules), "above 0.25 its children are scored, and reported in its place"));
    strcpy(rules.report, "leaves");
    assert_non_null(strstr(rules_text(&e, &rules), "Never reported"));
    strcpy(rules.report, "all");
    rules.suppress_parents = true;
    rules.suppress_at = 0.6;
    assert_non_null(strstr(rules_text(&e, &rules), "when a child of its scores 0.6 or more"));
    e.layer = 1;
    assert_non_null(strstr(rules_text(&e, &rules), "Scored on every row"));
    strcpy(rules.expand, "topk");
    e.layer = 2;
    assert_non_null(strstr(rules_text(&e, &rules), "among the 7 best of the row"));
    e.n_path = 1;
    assert_non_null(strstr(rules_text(&e, &rules), "only where it is pinned"));
    e.content = lens_text_of("It is never scored: \"X\" of the daemon's cascade.exclude matches it.");
    assert_string_equal(rules_text(&e, &rules), "");
    e.content = lens_text_of("It is scored but never reported: the daemon's cascade.filter doesn't name it.");
    assert_null(strstr(rules_text(&e, &rules), "Reported"));
}

static void settings_are_taken_by_their_names(void **state)
{
    struct explain_rules rules = {.expand = ""};
    const struct lens_setting_row rows[] = {
        {.name = lens_text_of("cascade.load_threshold"), .value = lens_text_of("0.45")},
        {.name = lens_text_of("cascade.load_thresholds"), .value = lens_text_of("9")},
        {.name = lens_text_of("cascade.keep_top_k"), .value = lens_text_of("-1")},
        {.name = lens_text_of("cascade.suppress_parents"), .value = lens_text_of("on")},
        {.name = lens_text_of("cascade.expand"), .value = lens_text_of("topk")},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        take_row(&rules, &rows[i]);
    assert_true(rules.load_threshold == 0.45);
    assert_int_equal(rules.keep_top_k, -1);
    assert_true(rules.suppress_parents);
    assert_string_equal(rules.expand, "topk");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_steps_end_where_the_daemon_does),
        cmocka_unit_test(a_concept_without_calibration_keeps_its_raw_score),
        cmocka_unit_test(each_step_says_its_numbers),
        cmocka_unit_test(no_case_needs_more_sentences_than_there_is_room_for),
        cmocka_unit_test(the_rules_fit_the_settings_and_the_concept),
        cmocka_unit_test(settings_are_taken_by_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
