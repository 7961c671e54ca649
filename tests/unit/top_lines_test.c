/* The texts of `lensctl top` and what its keys change, without a terminal. lensctl is a program without a library, so
 * the code under test is compiled in here. */
#include "client/lensctl/columns.c"   /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/output.c"    /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/top_keys.c"  /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/top_lines.c" /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/top_model.c" /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/top_order.c" /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/waiting.c"   /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/wrapped.c"   /* NOLINT(bugprone-suspicious-include) */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <locale.h>

static int set_up(void **state)
{
    struct top *top = calloc(1, sizeof *top);
    assert_non_null(setlocale(LC_CTYPE, "C.UTF-8"));
    assert_non_null(top);
    assert_int_equal(top_model_init(&top->model, 50, NULL), 0);
    top->interval_s = 1.0;
    top->connected = top->operator_ = true;
    top->page_rows = 5;
    *state = top;
    return 0;
}

static int tear_down(void **state)
{
    struct top *top = *state;
    top_model_free(&top->model);
    free(top);
    return 0;
}

static void watch_some(struct top *top, const char *const *keys)
{
    for (; *keys != NULL; keys++)
        assert_int_equal(top_model_watch(&top->model, "pack", *keys), 0);
}

/* ---- cells ------------------------------------------------------------------------------------------------------ */

static void assert_fits(const char *text, unsigned width, const char *wanted)
{
    char out[TOP_LINE];
    assert_string_equal(top_fit(text, width, out, sizeof out), wanted);
}

static void texts_fill_their_columns_exactly(void **state)
{
    (void)state;
    assert_fits("", 3, "   ");
    assert_fits("abc", 5, "abc  ");
    assert_fits("abc", 3, "abc");
    assert_fits("abcd", 3, "ab~");
    assert_fits("abcd", 1, "~");
    assert_fits("abcd", 0, "");
    assert_fits("\xc3\x89lan", 5, "\xc3\x89lan ");              /* É: two bytes, one column */
    assert_fits("e\xcc\x81t\xc3\xa9", 3, "e\xcc\x81t\xc3\xa9"); /* e and a combining accent: no column of its own */
}

static void wide_characters_take_two_columns_and_are_never_halved(void **state)
{
    (void)state;
    assert_fits("\xe6\x83\x85\xe6\x84\x9f", 4, "\xe6\x83\x85\xe6\x84\x9f");
    assert_fits("\xe6\x83\x85\xe6\x84\x9f", 5, "\xe6\x83\x85\xe6\x84\x9f ");
    assert_fits("\xe6\x83\x85\xe6\x84\x9f", 3, "\xe6\x83\x85~");
    assert_fits("\xe6\x83\x85\xe6\x84\x9f", 2, " ~");
}

static void what_a_terminal_would_not_show_becomes_a_question_mark(void **state)
{
    (void)state;
    assert_fits("a\xff"
                "b",
                3, "a?b");
    assert_fits("a\x1b[31m", 6, "a?[31m");
    assert_fits("a\xe2\x80\xae"
                "b",
                3, "a?b"); /* U+202E turns the writing direction */
    assert_fits("\xc3", 2, "? ");
}

static void no_text_is_too_long_for_its_buffer(void **state)
{
    char out[8], long_text[4096];
    (void)state;
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    for (unsigned width = 0; width < 300; width += 7)
        assert_true(strlen(top_fit(long_text, width, out, sizeof out)) < sizeof out);
}

static void blocks_rise_with_the_score(void **state)
{
    (void)state;
    assert_string_equal(top_block(0.0f, true), " ");
    assert_string_equal(top_block(0.01f, true), "▁");
    assert_string_equal(top_block(0.5f, true), "▄");
    assert_string_equal(top_block(1.0f, true), "█");
    assert_string_equal(top_block(7.0f, false), "#");
    assert_string_equal(top_block(-1.0f, false), " ");
    assert_string_equal(top_block(NAN, true), " ");
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static unsigned width_of(const char *text)
{
    return columns_of(text);
}

static void rows_and_titles_have_the_same_width_on_every_screen(void **state)
{
    struct top *top = *state;
    static const char *const keys[] = {"A name in \xe6\x83\x85\xe6\x84\x9f that goes on and on and on and on:3", NULL};
    char row[TOP_LINE], titles[TOP_LINE];
    watch_some(top, keys);
    struct top_concept *c = top->model.concepts[0];
    c->path = calloc(1, 200);
    memcpy(c->path, "Root:0\0Middle:1\0This:3\0", 23);
    c->n_path = 3;
    c->detections = 5;
    c->rate = 123456789.0;
    c->score = c->last = 1.0f;
    for (unsigned width = 16; width <= 300; width++) {
        struct top_columns columns;
        top_columns_fit(width, &columns);
        assert_true(columns.name >= 10 || width < 12);
        assert_true(columns.spark <= TOP_HISTORY);
        top_titles(&columns, titles, sizeof titles);
        c->rate = 12.3;
        top_row(top, c, &columns, true, row, sizeof row);
        assert_true(width_of(row) <= width);
        assert_int_equal(width_of(row), width_of(titles));
        assert_true(columns.path == 0 || width_of(row) == width);
    }
}

static void a_wide_screen_shows_everything_and_a_narrow_one_the_score(void **state)
{
    struct top_columns c;
    (void)state;
    top_columns_fit(100, &c);
    assert_true(c.name >= 24 && c.score && c.last && c.trend && c.spark >= 16 && c.rate && c.path >= 10);
    top_columns_fit(80, &c);
    assert_true(c.name >= 24 && c.score && c.last && c.trend && c.spark >= 8 && c.rate && c.path >= 10);
    top_columns_fit(20, &c);
    assert_true(c.name == 10 && c.score == 5 && c.last == 0 && c.path == 0);
    top_columns_fit(0, &c);
    assert_true(c.name == 0 && c.score == 0);
}

static void a_row_says_what_is_known(void **state)
{
    struct top *top = *state;
    static const char *const keys[] = {"Fear:2", NULL};
    struct top_columns columns;
    char row[TOP_LINE];
    watch_some(top, keys);
    top_columns_fit(80, &columns);
    top_row(top, top->model.concepts[0], &columns, true, row, sizeof row);
    assert_non_null(strstr(row, "* Fear:2 "));
    assert_non_null(strstr(row, "    -     - ")); /* watched, never detected: no score */
    struct top_concept *c = top->model.concepts[0];
    c->path = calloc(1, 32);
    memcpy(c->path, "Mind:0\0Fear:2\0", 14);
    c->n_path = 2;
    c->detections = 3;
    c->score = 0.9;
    c->last = 0.25f;
    c->rate = 2.5;
    c->trend = TOP_RISING;
    top_row(top, c, &columns, true, row, sizeof row);
    assert_non_null(strstr(row, "0.900 0.250 ↑"));
    assert_non_null(strstr(row, "    2.5 Mind:0"));
    top->after.packs = 2;
    top_row(top, c, &columns, false, row, sizeof row);
    assert_non_null(strstr(row, "0.250 ^"));
    assert_non_null(strstr(row, "pack: Mind:"));
}

static void names_bring_no_control_characters(void **state)
{
    struct top *top = *state;
    static const char *const keys[] = {"red\x1b[31m\nname:1", NULL};
    struct top_columns columns;
    char row[TOP_LINE];
    watch_some(top, keys);
    top_columns_fit(120, &columns);
    top_row(top, top->model.concepts[0], &columns, true, row, sizeof row);
    assert_null(strpbrk(row, "\x1b\n"));
    assert_non_null(strstr(row, "red\\x1b[31m\\nname:1"));
}

/* ---- above the list --------------------------------------------------------------------------------------------- */

static void assert_header(const struct top *top, enum top_header which, enum top_style style, const char *part)
{
    char text[TOP_LINE];
    assert_int_equal(top_header(top, which, 3, text, sizeof text), style);
    if (strstr(text, part) == NULL)
        fail_msg("'%s' isn't in '%s'", part, text);
}

static void degradation_and_absence_are_bad_news(void **state)
{
    struct top *top = *state;
    assert_header(top, TOP_SERVICE, TOP_GOOD, "full service");
    snprintf(top->after.loading, sizeof top->after.loading, "big: 3 of 9 lenses");
    assert_header(top, TOP_SERVICE, TOP_NOTE, "loading big: 3 of 9");
    snprintf(top->after.degraded, sizeof top->after.degraded, "base lenses only");
    assert_header(top, TOP_SERVICE, TOP_BAD, "degraded: base lenses only");
    snprintf(top->trouble, sizeof top->trouble, "no session 9");
    assert_header(top, TOP_SERVICE, TOP_BAD, "no session 9");
    top->connected = false;
    top->gone_ns = ctl_now_ns();
    assert_header(top, TOP_SERVICE, TOP_BAD, "no daemon, trying again (for 0 s)");
}

static void alerts_are_told_for_a_minute(void **state)
{
    struct top *top = *state;
    top->alerts = 3;
    top->alert_ns = ctl_now_ns() - UINT64_C(12000000000);
    top->alert_action = LENS_VERDICT_STOP;
    snprintf(top->alert_rule, sizeof top->alert_rule, "fraud");
    assert_header(top, TOP_SERVICE, TOP_NOTE, "full service; 3 alerts, the last 12 s ago: stop fraud");
    snprintf(top->after.degraded, sizeof top->after.degraded, "base lenses only");
    assert_header(top, TOP_SERVICE, TOP_BAD, "base lenses only; 3 alerts");
    top->after.degraded[0] = '\0';
    top->alert_ns = ctl_now_ns() - UINT64_C(61000000000);
    assert_header(top, TOP_SERVICE, TOP_GOOD, "full service");
}

static void figures_say_which_time_they_are_of(void **state)
{
    struct top *top = *state;
    assert_header(top, TOP_WORK, TOP_DIM, "measuring for 1 s");
    top->has_figures = true;
    top->figures = (struct ctl_figures){.seconds = 1.0, .rows_per_s = 200, .p50_ns = 50000, .p99_ns = NAN};
    assert_header(top, TOP_WORK, TOP_PLAIN, "last 1.0 s: 200.0 rows/s  p50 50.0 us  p99 -  dropped 0.0/s");
    top->figures.dropped_per_s = 3;
    assert_header(top, TOP_WORK, TOP_NOTE, "dropped 3.0/s");
    top->figures.hit_rate = 0.5;
    assert_header(top, TOP_MEMORY, TOP_NOTE, "hits 50.0%");
}

static void nothing_is_left_out_in_silence(void **state)
{
    struct top *top = *state;
    top->feed.lost = 12;
    top->model.forgotten = 4;
    top->model.unnamed = 5;
    snprintf(top->filter, sizeof top->filter, "Dec*");
    assert_header(top, TOP_LIST, TOP_PLAIN, "3 of 0 concepts by score  filter Dec*");
    assert_header(top, TOP_LIST, TOP_PLAIN, "12 rows not seen");
    assert_header(top, TOP_LIST, TOP_PLAIN, "4 concepts forgotten (room for 50)");
    assert_header(top, TOP_LIST, TOP_PLAIN, "5 detections of packs that are gone");
    top->operator_ = false;
    assert_header(top, TOP_SERVICE, TOP_GOOD, "rows of your own user only");
}

/* ---- keys ------------------------------------------------------------------------------------------------------- */

static void type(struct top *top, const char *text)
{
    for (; *text != '\0'; text++)
        top_press(top, (unsigned char)*text);
}

static void keys_sort_pause_and_end(void **state)
{
    struct top *top = *state;
    type(top, "s");
    assert_int_equal(top->sort, TOP_BY_RATE);
    type(top, "sss");
    assert_int_equal(top->sort, TOP_BY_SCORE);
    type(top, "p");
    assert_true(top->paused);
    type(top, "p");
    assert_false(top->paused);
    type(top, "h");
    assert_true(top->help);
    type(top, "s"); /* any key goes back, and does no more than that */
    assert_false(top->help);
    assert_int_equal(top->sort, TOP_BY_SCORE);
    type(top, "x");
    assert_non_null(strstr(top->notice, "h shows"));
    type(top, "hq");
    assert_true(top->over);
}

static void the_interval_goes_up_and_down_within_its_steps(void **state)
{
    struct top *top = *state;
    type(top, "+");
    assert_true(top->interval_s == 2.0);
    type(top, "--");
    assert_true(top->interval_s == 0.5);
    type(top, "--------");
    assert_true(top->interval_s == 0.1);
    type(top, "++++++++++++++++");
    assert_true(top->interval_s == 300.0);
    top->interval_s = 0.7; /* from the command line */
    type(top, "-");
    assert_true(top->interval_s == 0.5);
}

static void a_filter_is_typed_taken_left_and_dropped(void **state)
{
    struct top *top = *state;
    type(top, "/sq");
    assert_true(top->editing && !top->over);
    assert_string_equal(top->edited, "sq");
    top_press(top, 0xe9);
    assert_string_equal(top->edited, "sq\xc3\xa9");
    top_press(top, TOP_KEY_BACKSPACE);
    top_press(top, TOP_KEY_BACKSPACE);
    assert_string_equal(top->edited, "s");
    assert_string_equal(top->filter, "");
    top_press(top, TOP_KEY_ENTER);
    assert_string_equal(top->filter, "s");
    assert_false(top->editing);
    type(top, "/xyz");
    top_press(top, TOP_KEY_ESCAPE);
    assert_string_equal(top->filter, "s");
    top_press(top, TOP_KEY_ESCAPE);
    assert_string_equal(top->filter, "");
}

static void a_filter_takes_no_more_than_it_holds(void **state)
{
    struct top *top = *state;
    type(top, "/");
    for (int i = 0; i < 1000; i++)
        top_press(top, 0x1f600);
    top_press(top, 0x1b5b41); /* no character */
    assert_true(strlen(top->edited) <= TOP_FILTER_MAX);
    for (int i = 0; i < 1000; i++)
        top_press(top, TOP_KEY_BACKSPACE);
    assert_string_equal(top->edited, "");
}

static const char *const nine[] = {"A:1", "B:1", "C:1", "D:1", "E:1", "F:1", "G:1", "H:1", "I:1", NULL};

static uint32_t show(struct top *top)
{
    struct top_concept **list;
    uint32_t n = top_model_order(&top->model, top->sort, top->filter, &list);
    top_keep_in_view(top, list, n);
    return n;
}

static void the_mark_moves_and_the_list_scrolls_with_it(void **state)
{
    struct top *top = *state;
    watch_some(top, nine);
    show(top);
    for (int i = 0; i < 5; i++)
        top_press(top, TOP_KEY_DOWN);
    show(top);
    assert_int_equal(top->selected, 5);
    assert_int_equal(top->first, 1);
    top_press(top, TOP_KEY_END);
    show(top);
    assert_int_equal(top->selected, 8);
    assert_int_equal(top->first, 4);
    top_press(top, TOP_KEY_PAGE_UP);
    show(top);
    assert_int_equal(top->selected, 4);
    top_press(top, TOP_KEY_HOME);
    top_press(top, TOP_KEY_UP);
    show(top);
    assert_int_equal(top->selected, 0);
    assert_int_equal(top->first, 0);
}

static void the_mark_goes_with_its_concept(void **state)
{
    struct top *top = *state;
    watch_some(top, nine);
    show(top);
    top_press(top, TOP_KEY_DOWN); /* B */
    show(top);
    for (uint32_t i = 0; i < top->model.n; i++)
        top->model.concepts[i]->score = strcmp(top->model.concepts[i]->key, "B:1") == 0 ? 0.1 : 0.0;
    show(top);
    assert_int_equal(top->selected, 0);
    top_press(top, 'w');
    assert_non_null(strstr(top->notice, "B:1 is no longer watched"));
}

static void a_shorter_list_keeps_the_mark_inside(void **state)
{
    struct top *top = *state;
    static const char *const none[] = {NULL};
    watch_some(top, none);
    top->selected = 7;
    top->first = 5;
    assert_int_equal(show(top), 0);
    assert_int_equal(top->selected, 0);
    assert_int_equal(top->first, 0);
    top_press(top, 'w'); /* nothing is marked */
    assert_string_equal(top->notice, "");
    watch_some(top, nine);
    top->page_rows = 0; /* no room for any row */
    top_press(top, TOP_KEY_END);
    show(top);
    assert_int_equal(top->selected, 8);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(texts_fill_their_columns_exactly),
        TEST(wide_characters_take_two_columns_and_are_never_halved),
        TEST(what_a_terminal_would_not_show_becomes_a_question_mark),
        TEST(no_text_is_too_long_for_its_buffer),
        TEST(blocks_rise_with_the_score),
        TEST(rows_and_titles_have_the_same_width_on_every_screen),
        TEST(a_wide_screen_shows_everything_and_a_narrow_one_the_score),
        TEST(a_row_says_what_is_known),
        TEST(names_bring_no_control_characters),
        TEST(degradation_and_absence_are_bad_news),
        TEST(alerts_are_told_for_a_minute),
        TEST(figures_say_which_time_they_are_of),
        TEST(nothing_is_left_out_in_silence),
        TEST(keys_sort_pause_and_end),
        TEST(the_interval_goes_up_and_down_within_its_steps),
        TEST(a_filter_is_typed_taken_left_and_dropped),
        TEST(a_filter_takes_no_more_than_it_holds),
        TEST(the_mark_moves_and_the_list_scrolls_with_it),
        TEST(the_mark_goes_with_its_concept),
        TEST(a_shorter_list_keeps_the_mark_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
