/* Patterns of names (daemon/glob.h): what they mean, beside fnmatch; clients write them. */
#include "daemon/glob.h"

#include <fnmatch.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static bool matches(const char *pattern, const char *text)
{
    struct lensd_glob glob;
    lensd_glob_read(&glob, pattern, strlen(pattern));
    return lensd_glob_matches(&glob, text, strlen(text));
}

static void the_whole_name_is_matched(void **state)
{
    (void)state;
    assert_true(matches("Deception:1", "Deception:1"));
    assert_false(matches("Deception", "Deception:1"));
    assert_false(matches("eception:1", "Deception:1"));
    assert_true(matches("", ""));
    assert_false(matches("", "a"));
    assert_true(matches("*", ""));
    assert_true(matches("*:[0-2]", "Deception:1"));
    assert_true(matches("D*e*n:?", "Deception:1"));
    assert_false(matches("D*e*n:?", "Deception:10"));
}

static void brackets_hold_bytes_ranges_and_classes(void **state)
{
    (void)state;
    assert_true(matches("[]a]", "]"));
    assert_true(matches("[!]a]", "b"));
    assert_false(matches("[^]a]", "]"));
    assert_true(matches("[a-]", "-"));
    assert_true(matches("[\\]]", "]"));
    assert_true(matches("[[:digit:]x][[:upper:]]", "7A"));
    assert_false(matches("[[:digit:]x][[:upper:]]", "7a"));
    assert_false(matches("[z-a]", "m"));
}

static void what_is_not_closed_stands_for_itself(void **state)
{
    (void)state;
    assert_true(matches("[a", "[a"));
    assert_true(matches("*[", "list["));
    assert_true(matches("[[[", "[[["));
    assert_true(matches("\\*", "*"));
    assert_false(matches("\\*", "a"));
    assert_false(matches("a\\", "a\\"));
}

static void too_long_a_pattern_matches_nothing(void **state)
{
    char pattern[LENSD_GLOB_MAX + 2];
    struct lensd_glob glob;
    (void)state;
    memset(pattern, '*', sizeof pattern);
    lensd_glob_read(&glob, pattern, LENSD_GLOB_MAX);
    assert_true(lensd_glob_matches(&glob, "a", 1));
    lensd_glob_read(&glob, pattern, LENSD_GLOB_MAX + 1);
    assert_false(lensd_glob_matches(&glob, "a", 1));
}

static uint32_t next(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

static void make_text(uint32_t *seed, const char *alphabet, char *out, size_t longest)
{
    size_t length = next(seed) % (longest + 1);
    for (size_t i = 0; i < length; i++)
        out[i] = alphabet[next(seed) % strlen(alphabet)];
    out[length] = '\0';
}

/* Closed brackets, so that both agree what a pattern is. */
static void make_pattern(uint32_t *seed, char *out, size_t size)
{
    static const char *const pieces[] = {"a",    "b",     "*",      "?",   "[ab]",        "[!a]",
                                         "[^b]", "[a-c]", ":1",     "\\*", "[[:alpha:]]", "[![:digit:]]",
                                         "[]b]", "[b-]",  "[\\]a]", "**",  "c",           "é"};
    size_t n = 1 + next(seed) % 6;
    for (size_t i = 0, used = 0; i < n; i++)
        used +=
            (size_t)snprintf(out + used, size - used, "%s", pieces[next(seed) % (sizeof pieces / sizeof pieces[0])]);
}

static void they_mean_what_fnmatch_says(void **state)
{
    uint32_t seed = 1, agreed = 0;
    (void)state;
    for (int i = 0; i < 200000; i++) {
        char pattern[128], text[16];
        make_pattern(&seed, pattern, sizeof pattern);
        make_text(&seed, "abbc:1]-*\xc3\xa9", text, 8);
        bool expected = fnmatch(pattern, text, 0) == 0;
        agreed += expected;
        if (matches(pattern, text) != expected)
            fail_msg("\"%s\" and \"%s\": fnmatch says %d", pattern, text, expected);
    }
    assert_true(agreed > 2000);
}

/* Each of these costs fnmatch a hundred microseconds or more a name. */
static void patterns_made_to_be_slow_are_read_and_tried(void **state)
{
    static const char *const pieces[] = {"[", "*[", "*a", "*?", "[[:digit:]", "*[[:alpha:]]", "*[!b]", "[[.a", "[[=a"};
    char name[256], pattern[LENSD_GLOB_MAX + 1];
    (void)state;
    memset(name, 'a', sizeof name);
    for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
        struct lensd_glob glob;
        size_t length = 0;
        for (pattern[length++] = '*'; length + strlen(pieces[p]) + 2 < sizeof pattern; length += strlen(pieces[p]))
            memcpy(pattern + length, pieces[p], strlen(pieces[p]));
        pattern[length++] = ']';
        pattern[length++] = '%';
        lensd_glob_read(&glob, pattern, length);
        for (int i = 0; i < 2000; i++)
            assert_false(lensd_glob_matches(&glob, name, sizeof name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_name_is_matched),
        cmocka_unit_test(brackets_hold_bytes_ranges_and_classes),
        cmocka_unit_test(what_is_not_closed_stands_for_itself),
        cmocka_unit_test(too_long_a_pattern_matches_nothing),
        cmocka_unit_test(they_mean_what_fnmatch_says),
        cmocka_unit_test(patterns_made_to_be_slow_are_read_and_tried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
