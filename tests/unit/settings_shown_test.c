/* Settings as people see them: the page that lensctl config asks for, --help, and the table of lensd.conf(5). */
#include "daemon/man_text.h"
#include "daemon/settings.h"
#include "daemon/settings_file.h"
#include "daemon/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct lensd_settings settings;
static struct lens_error err;
static char changes[800];

static int fresh(void **state)
{
    (void)state;
    memset(&err, 0, sizeof err);
    return lensd_settings_init(&settings, &err);
}

static int done(void **state)
{
    (void)state;
    lensd_sys_set_hook(NULL, NULL);
    lensd_settings_free(&settings);
    return 0;
}

static uint32_t row_of(const char *key)
{
    int row = lensd_setting_find(key, strlen(key));
    assert_true(row >= 0);
    return (uint32_t)row;
}

static int set(const char *key, const char *text)
{
    return lensd_settings_set(&settings, row_of(key), text, LENSD_ORIGIN_FLAG, &err);
}

static int read_text(const char *text)
{
    return lensd_settings_read_text(&settings, "lensd.conf", text, strlen(text), &err);
}

/* As a reload does it: `text` is the file now. */
static uint32_t reload_text(const char *text)
{
    struct lensd_settings next;
    assert_int_equal(lensd_settings_init(&next, &err), 0);
    assert_int_equal(lensd_settings_read_text(&next, "lensd.conf", text, strlen(text), &err), 0);
    uint32_t waiting = lensd_settings_take_live(&settings, &next, 3, changes, sizeof changes);
    lensd_settings_free(&next);
    return waiting;
}

static const struct lens_setting_row *shown(struct lens_setting_page *page, const char *space, const char *key)
{
    lensd_settings_page(&settings, row_of(key), (char *)space, page);
    assert_true(page->count > 0);
    return &page->rows[0];
}

static void assert_text(struct lens_text text, const char *wanted)
{
    char found[4200];
    assert_true(text.length < sizeof found);
    memcpy(found, text.data, text.length);
    found[text.length] = '\0';
    assert_string_equal(found, wanted);
}

static void the_page_shows_every_setting_and_where_it_came_from(void **state)
{
    (void)state;
    struct lens_setting_page *page = calloc(1, sizeof *page);
    char *space = calloc(1, LENSD_SETTING_SPACE);
    char *environment[] = {"LENSD_CASCADE_TOP_K=9", NULL};
    assert_non_null(page);
    assert_non_null(space);
    assert_int_equal(set("engine.spin_us", "3"), 0);
    assert_int_equal(lensd_settings_read_environment(&settings, environment, &err), 0);
    assert_int_equal(read_text("[pool]\n\nslots = 7\n"), 0);
    lensd_settings_page(&settings, 0, space, page);
    assert_int_equal(page->total, lensd_settings_count);
    assert_int_equal(page->count, lensd_settings_count);
    assert_text(page->rows[0].name, "pool.slots");
    assert_text(page->rows[0].origin, "file");
    assert_text(page->rows[0].place, "lensd.conf:3");
    assert_text(page->rows[0].fallback, "0");
    assert_text(page->rows[0].applies, "new packs");
    assert_text(shown(page, space, "cascade.top_k")->place, "LENSD_CASCADE_TOP_K");
    assert_text(shown(page, space, "engine.spin_us")->place, "--engine-spin-us");
    assert_text(shown(page, space, "pool.dtype")->place, "");
    assert_int_equal(reload_text("[engine]\nthreads = 4\n"), 1);
    assert_true(shown(page, space, "engine.threads")->waits);
    assert_text(shown(page, space, "engine.threads")->pending, "4");
    lensd_settings_page(&settings, lensd_settings_count + 5, space, page);
    assert_int_equal(page->count, 0);
    free(space);
    free(page);
}

/* The longest lists there may be are more than one answer has room for: their rows come on further pages. */
static void pages_fit_an_answer_however_long_the_values_are(void **state)
{
    (void)state;
    static const char *const lists[] = {"cascade.pin", "cascade.include", "cascade.exclude", "cascade.filter"};
    static unsigned char packet[LENS_ANSWER_MAX];
    struct lens_msg *msg = calloc(1, sizeof *msg);
    char *space = calloc(1, LENSD_SETTING_SPACE), *value = calloc(1, 16385);
    assert_true(msg != NULL && space != NULL && value != NULL);
    memset(value, 'x', 16384);
    assert_int_equal(set("packs.directories", value), 0);
    value[8192] = '\0';
    for (size_t i = 0; i < 4; i++) {
        for (size_t at = 200; at < 8192; at += 200)
            value[at] = ',';
        assert_int_equal(set(lists[i], value), 0);
    }
    uint32_t seen = 0;
    while (seen < lensd_settings_count) {
        lensd_settings_page(&settings, seen, space, &msg->u.setting_page);
        msg->type = LENS_MSG_SETTING_PAGE;
        assert_true(msg->u.setting_page.count > 0);
        assert_true(lens_msg_encode(msg, packet, sizeof packet) > 0);
        seen += msg->u.setting_page.count;
    }
    assert_int_equal(seen, lensd_settings_count);
    free(value);
    free(space);
    free(msg);
}

/* A value that fits no answer could be set and never be looked at. */
static void the_longest_value_of_every_setting_fits_an_answer(void **state)
{
    (void)state;
    for (uint32_t row = 0; row < lensd_settings_count; row++) {
        const struct lensd_setting *setting = &lensd_settings_table[row];
        bool text = setting->type == LENSD_SETTING_TEXT || setting->type == LENSD_SETTING_LIST;
        double values = setting->applies == LENSD_APPLIES_RESTART ? 2 : 1; /* the one that waits, too */
        if (text && values * setting->max > LENS_ANSWER_MAX - 8192)
            fail_msg("%s may have %.0f bytes", setting->key, setting->max);
    }
}

static void count_line(void *arg, const char *line)
{
    unsigned *lines = arg;
    *lines += strstr(line, "  --") == line;
}

static void help_has_every_flag(void **state)
{
    (void)state;
    unsigned lines = 0;
    lensd_settings_print_help(count_line, &lines);
    assert_int_equal(lines, lensd_settings_count);
}

struct man_seen {
    unsigned items, bounds, control;
};

static void look_at_man(void *arg, const char *line)
{
    struct man_seen *seen = arg;
    seen->items += strncmp(line, ".It Ic ", 7) == 0;
    seen->bounds += strstr(line, "Default: ") == line;
    seen->control += line[0] == '.' && strncmp(line, ".It ", 4) != 0 && strncmp(line, ".Ss ", 4) != 0 &&
                     strncmp(line, ".El", 3) != 0;
}

static void the_man_page_has_every_setting(void **state)
{
    (void)state;
    struct man_seen seen = {0};
    lensd_settings_print_man(look_at_man, &seen);
    assert_int_equal(seen.items, lensd_settings_count);
    assert_int_equal(seen.bounds, lensd_settings_count);
    assert_int_equal(seen.control, 0);
}

static void text_of_a_man_page_is_no_macro(void **state)
{
    (void)state;
    char out[64];
    lensd_man_escape(".Dd \\fB --flag 'x", out, sizeof out);
    assert_string_equal(out, "\\&.Dd \\efB \\-\\-flag 'x");
    lensd_man_escape("'quoted", out, sizeof out);
    assert_string_equal(out, "\\&'quoted");
    lensd_man_escape("0123456789", out, 8);
    assert_true(strlen(out) < 8);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, done)
    const struct CMUnitTest tests[] = {
        T(the_page_shows_every_setting_and_where_it_came_from),
        T(pages_fit_an_answer_however_long_the_values_are),
        T(the_longest_value_of_every_setting_fits_an_answer),
        T(help_has_every_flag),
        T(the_man_page_has_every_setting),
        T(text_of_a_man_page_is_no_macro),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
