/* Timelines: what is collected, what is chosen of it and in which order, what the JSON and the page say, and that no
 * text can end the element of the page that it stands in. lensctl is a program without a library, so the code under
 * test is compiled in here. */
#include "client/lensctl/columns.c"           /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/output.c"            /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/row_words.c"         /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/timeline.c"          /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/timeline_html.c"     /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/timeline_json.c"     /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/timeline_page.c"     /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/timeline_terminal.c" /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/wrapped.c"           /* NOLINT(bugprone-suspicious-include) */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void add_token(struct timeline *t, uint64_t row, const char *text)
{
    const struct timeline_token token = {.row = row, .text = (char *)text, .token_id = -1};
    assert_int_equal(timeline_add_token(t, &token), 0);
}

static void add(struct timeline *t, const char *key, float score)
{
    const struct timeline_cell cell = {score, score, score * 10};
    int64_t concept = timeline_concept(t, key, strlen(key));
    assert_true(concept >= 0);
    assert_int_equal(timeline_add_score(t, (uint32_t)concept, &cell), 0);
}

static void set_path(struct timeline *t, const char *key, const char *parent)
{
    int64_t concept = timeline_concept(t, key, strlen(key));
    t->concepts[concept].path = parent != NULL ? json_pack("[ss]", parent, key) : json_pack("[s]", key);
}

/* Late:1 scores best but appears last; Weak:0 never reaches 0.3; Both:0 stands above Low:1. */
static void fill(struct timeline *t)
{
    add_token(t, 0, "zero");
    add(t, "Both:0", 0.5f);
    add(t, "Weak:0", 0.2f);
    add_token(t, 1, "one");
    add(t, "Low:1", 0.4f);
    add(t, "Both:0", 0.9f);
    add_token(t, 2, NULL);
    add(t, "Late:1", 0.95f);
    add(t, "Low:1", 0.1f);
    set_path(t, "Both:0", NULL);
    set_path(t, "Low:1", "Both:0");
    set_path(t, "Late:1", "Another:0");
}

static void assert_lines(const struct timeline *t, const struct timeline_choice *choice, const char *expected)
{
    struct timeline_view view;
    char found[256] = "";
    assert_int_equal(timeline_select(t, choice, &view), 0);
    for (size_t i = 0; i < view.n; i++) {
        strcat(found, i > 0 ? " " : "");
        strcat(found, t->concepts[view.concepts[i]].key);
    }
    assert_string_equal(found, expected);
    timeline_view_free(&view);
}

static void concepts_are_chosen_and_put_in_order(void **state)
{
    struct timeline t = {0};
    struct timeline_choice choice = {.concepts = 10, .min = 0.3f};
    (void)state;
    fill(&t);
    assert_lines(&t, &choice, "Both:0 Low:1 Late:1");
    choice.sort = TIMELINE_BY_SCORE;
    assert_lines(&t, &choice, "Late:1 Both:0 Low:1");
    choice.sort = TIMELINE_BY_HIERARCHY;
    assert_lines(&t, &choice, "Late:1 Both:0 Low:1"); /* Another:0 comes before Both:0 */
    choice.concepts = 2;
    choice.sort = TIMELINE_BY_FIRST;
    assert_lines(&t, &choice, "Both:0 Late:1"); /* the strongest two, by appearance */
    choice = (struct timeline_choice){.concepts = 10, .min = 0.0f, .glob = "*:0"};
    assert_lines(&t, &choice, "Both:0 Weak:0");
    choice.min = 1.0f;
    assert_lines(&t, &choice, "");
    timeline_free(&t);
}

static void a_cell_without_a_score_is_not_a_zero(void **state)
{
    struct timeline t = {0};
    struct timeline_view view;
    const struct timeline_choice choice = {.concepts = 10, .min = 0.3f};
    (void)state;
    fill(&t);
    assert_int_equal(timeline_select(&t, &choice, &view), 0);
    assert_true(timeline_cell(&view, 0, 0)->score == 0.5f);
    assert_true(timeline_cell(&view, 0, 1)->logit == 9.0f);
    assert_true(isnan(timeline_cell(&view, 0, 2)->score));
    assert_true(isnan(timeline_cell(&view, 1, 0)->score));
    assert_int_equal(view.first[1], 1);
    assert_int_equal(view.matching, 3);
    timeline_view_free(&view);
    timeline_free(&t);
}

static void no_tokens_and_no_concepts_are_fine(void **state)
{
    struct timeline t = {0};
    struct timeline_view view;
    const struct timeline_choice choice = {.concepts = 10};
    (void)state;
    assert_int_equal(timeline_select(&t, &choice, &view), 0);
    assert_int_equal(view.n, 0);
    timeline_view_free(&view);
    add_token(&t, 0, NULL);
    assert_int_equal(timeline_select(&t, &choice, &view), 0);
    const struct timeline_source source = {"x", ""};
    json_t *json = timeline_json(&view, &source);
    assert_int_equal(json_array_size(json_object_get(json, "tokens")), 1);
    assert_int_equal(json_array_size(json_object_get(json, "concepts")), 0);
    json_decref(json);
    timeline_view_free(&view);
    timeline_free(&t);
}

static void tokens_over_the_bound_are_refused(void **state)
{
    struct timeline t = {0};
    const struct timeline_token token = {.token_id = -1};
    (void)state;
    for (unsigned i = 0; i < TIMELINE_MAX_TOKENS; i++)
        assert_int_equal(timeline_add_token(&t, &token), 0);
    assert_int_equal(timeline_add_token(&t, &token), -E2BIG);
    timeline_free(&t);
}

static void json_says_raw_scores_only_where_they_differ(void **state)
{
    struct timeline t = {0};
    struct timeline_view view;
    const struct timeline_choice choice = {.concepts = 10};
    const struct timeline_source source = {"file", "pack"};
    (void)state;
    fill(&t);
    for (int calibrated = 0; calibrated < 2; calibrated++) {
        assert_int_equal(timeline_select(&t, &choice, &view), 0);
        json_t *json = timeline_json(&view, &source), *first = json_array_get(json_object_get(json, "concepts"), 0);
        assert_string_equal(json_string_value(json_object_get(json, "scores_are")), calibrated ? "calibrated" : "raw");
        assert_int_equal(json_object_get(first, "raw") != NULL, calibrated);
        assert_string_equal(json_string_value(json_object_get(first, "concept")), "Both:0");
        assert_int_equal(json_integer_value(json_object_get(first, "best_row")), 1);
        assert_true(json_is_null(json_array_get(json_object_get(first, "scores"), 2)));
        json_decref(json);
        timeline_view_free(&view);
        t.entries[0].cell.raw = 0.25f;
    }
    timeline_free(&t);
}

/* ---- the page --------------------------------------------------------------------------------------------------- */

static void markup_in_texts_is_escaped_and_comes_back(void **state)
{
    static const char hostile[] = "</script><!--\\\"'&<script>\x01\u202e\u2028";
    size_t length;
    (void)state;
    json_t *json = json_pack("{s:s}", hostile, hostile);
    char *plain = json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII), *safe = escape_markup(plain, &length);
    assert_int_equal(length, strlen(safe));
    assert_null(strpbrk(safe, "<>&"));
    for (const char *at = safe; *at != '\0'; at++)
        assert_true(*at >= ' ' && *at < 0x7f);
    json_t *back = json_loads(safe, 0, NULL);
    assert_true(json_equal(json, back));
    json_decref(json);
    json_decref(back);
    free(plain);
    free(safe);
}

static void the_page_in_the_program_has_one_place_for_the_data(void **state)
{
    const char *mark = strstr(ctl_timeline_page, MARK);
    (void)state;
    assert_non_null(mark);
    assert_null(strstr(mark + 1, MARK));
    assert_int_equal(strlen(ctl_timeline_page), ctl_timeline_page_end - ctl_timeline_page);
    assert_memory_equal(ctl_timeline_page_end - 8, "</html>\n", 8);
}

/* ---- the terminal ----------------------------------------------------------------------------------------------- */

/* What is printed for a terminal, or for a pipe, into text[size]. */
static void print_to(char *text, size_t size, const struct timeline *t, bool terminal, unsigned width, bool narrow)
{
    struct timeline_view view;
    const struct timeline_choice choice = {.concepts = 10, .min = 0.3f};
    struct ctl_output out = {.file = fmemopen(text, size, "w"), .terminal = terminal};
    assert_non_null(out.file);
    assert_int_equal(timeline_select(t, &choice, &view), 0);
    timeline_print(&view, &out, width, narrow);
    fclose(out.file);
    timeline_view_free(&view);
}

static void blocks_are_no_wider_than_the_terminal(void **state)
{
    char text[65536];
    struct timeline t = {0};
    (void)state;
    for (uint64_t i = 0; i < 40; i++) {
        add_token(&t, i, i % 3 == 0 ? "a token that is too long for a column" : "tok");
        add(&t, "Concept:0", (float)i / 40);
    }
    for (unsigned width = 30; width < 130; width += 7) {
        unsigned blocks = 0;
        print_to(text, sizeof text, &t, true, width, false);
        for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
            blocks += strncmp(line, "Concept:0", 9) == 0;
            assert_true(ctl_columns(line) <= width);
        }
        assert_true(blocks >= 40 / (width / 4));
    }
    timeline_free(&t);
}

static void a_terminal_too_narrow_for_anything_still_gets_a_column_a_block(void **state)
{
    char text[65536];
    struct timeline t = {0};
    (void)state;
    fill(&t);
    print_to(text, sizeof text, &t, true, 1, false);
    assert_non_null(strstr(text, "zero"));
    assert_non_null(strstr(text, "one"));
    timeline_free(&t);
}

static void long_and_wide_texts_are_cut_to_their_columns(void **state)
{
    static const struct {
        const char *text, *cut;
        unsigned columns;
    } cases[] = {{"dog", "dog", 3},
                 {"dogs", "dogs", 4},
                 {"doggy", "dog~", 4},
                 {"", "", 0},
                 {"\x1b[m", "\\x1~", 4},
                 {"\u72ac\u72ac", "\u72ac\u72ac", 4},
                 {"\u72ac\u72ac\u72ac", "\u72ac~", 3},
                 {"a\u72ac\u72ac", "a\u72ac~", 4},
                 {"e\u0301t\u00e9", "e\u0301t\u00e9", 3}};
    char out[64];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(fit(cases[i].text, 4, out, sizeof out), cases[i].columns);
        assert_string_equal(out, cases[i].cut);
    }
}

static void scores_near_one_are_not_rounded_up_to_it(void **state)
{
    char text[8];
    (void)state;
    score_text(0.9994f, text);
    assert_string_equal(text, ".99");
    score_text(0.9999f, text);
    assert_string_equal(text, "1.0");
    score_text(0.501f, text);
    assert_string_equal(text, ".50");
    score_text(0.0f, text);
    assert_string_equal(text, ".00");
}

static void a_pipe_gets_a_table_with_empty_cells_for_no_score(void **state)
{
    char text[4096];
    struct timeline t = {0};
    (void)state;
    fill(&t);
    print_to(text, sizeof text, &t, false, 0, false);
    assert_string_equal(text, "concept\t0 zero\t1 one\t2\n"
                              "Both:0\t0.5000\t0.9000\t\n"
                              "Low:1\t\t0.4000\t0.1000\n"
                              "Late:1\t\t\t0.9500\n");
    timeline_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(concepts_are_chosen_and_put_in_order),
        cmocka_unit_test(a_cell_without_a_score_is_not_a_zero),
        cmocka_unit_test(no_tokens_and_no_concepts_are_fine),
        cmocka_unit_test(tokens_over_the_bound_are_refused),
        cmocka_unit_test(json_says_raw_scores_only_where_they_differ),
        cmocka_unit_test(markup_in_texts_is_escaped_and_comes_back),
        cmocka_unit_test(the_page_in_the_program_has_one_place_for_the_data),
        cmocka_unit_test(blocks_are_no_wider_than_the_terminal),
        cmocka_unit_test(a_terminal_too_narrow_for_anything_still_gets_a_column_a_block),
        cmocka_unit_test(long_and_wide_texts_are_cut_to_their_columns),
        cmocka_unit_test(scores_near_one_are_not_rounded_up_to_it),
        cmocka_unit_test(a_pipe_gets_a_table_with_empty_cells_for_no_score),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
