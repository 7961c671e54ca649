/* Policies on content: what lists of patterns mean in a pack, which pins they refuse, and how the configured ones are
 * explained. The packs are the small one of pack_files.h (a concept with two parents) and tests/fixtures/hatcat-small.
 */
#include "daemon/content.h"
#include "daemon/sys.h"
#include "tests/unit/support/expected.h"
#include "tests/unit/support/pack_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALL "tests/fixtures/hatcat-small"

/* A:0 has B:1, C:1 and É:2; B:1 has D:2 and É:2; F:0 is alone. */
static struct lens_pack *tiny_pack(void)
{
    char folder[64], path[128];
    struct small_pack plan;
    struct lens_pack *pack = NULL;
    struct lens_error err = {0};
    temp_folder(folder);
    snprintf(path, sizeof path, "%s/tiny.lens", folder);
    small_pack_fill(&plan, LENS_F32, 1);
    if (small_pack_write(&plan, path, &err) != 0 || lens_pack_open(path, &pack, &err) != 0)
        fail_msg("%s", err.text);
    remove_folder(folder);
    return pack;
}

static int open_tiny(void **state)
{
    *state = tiny_pack();
    return 0;
}

static int close_tiny(void **state)
{
    lens_pack_close(*state);
    return 0;
}

/* The session's lists as one text each, for short tests. */
struct lists {
    const char *include, *exclude, *filter;
};

static uint32_t split(const char *list, struct lens_text out[LENSD_CONTENT_PATTERNS])
{
    uint32_t n = 0;
    while (lensd_list_next(&list, &out[n]))
        n++;
    return n;
}

static int resolve(const struct lens_pack *pack, struct lists configured, struct lists asked,
                   struct lensd_content_maps *maps, char *note, struct lens_error *err)
{
    struct lens_text texts[LENSD_CONTENT_LISTS][LENSD_CONTENT_PATTERNS];
    const char *const own[] = {asked.include, asked.exclude, asked.filter};
    struct lensd_content_source source = {.configured = {configured.include, configured.exclude, configured.filter}};
    struct lensd_content *content;
    memset(maps, 0xa5, sizeof *maps);
    for (unsigned list = 0; list < LENSD_CONTENT_LISTS; list++) {
        source.n_asked[list] = split(own[list], texts[list]);
        source.asked[list] = texts[list];
    }
    int r = lensd_content_create(&source, &content, err);
    if (r != 0)
        return r;
    r = lensd_content_resolve(content, pack, maps, note, err);
    lensd_content_free(content);
    return r;
}

/* "A:0 B:1": the lenses in the map, by id; static buffer. "all" for NULL. */
static const char *lenses_in(const struct lens_pack *pack, const uint64_t *map)
{
    static char text[4096];
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t lens = 0; map != NULL && lens < pack->lenses; lens++) {
        if (!lensd_content_has(map, lens))
            continue;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s", used > 0 ? " " : "");
        used += (size_t)lens_pack_key(pack, lens, text + used, sizeof text - used);
    }
    return map == NULL ? "all" : text;
}

static void check_allowed(const struct lens_pack *pack, struct lists configured, struct lists asked, const char *want)
{
    struct lensd_content_maps maps;
    struct lens_error err = {0};
    if (resolve(pack, configured, asked, &maps, NULL, &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(lenses_in(pack, maps.allowed), want);
    assert_null(maps.reported);
    lensd_content_maps_free(&maps);
}

static void check_reported(const struct lens_pack *pack, struct lists configured, struct lists asked, const char *want)
{
    struct lensd_content_maps maps;
    struct lens_error err = {0};
    if (resolve(pack, configured, asked, &maps, NULL, &err) != 0)
        fail_msg("%s", err.text);
    assert_null(maps.allowed);
    assert_string_equal(lenses_in(pack, maps.reported), want);
    lensd_content_maps_free(&maps);
}

static const struct lists none = {NULL, NULL, NULL};

static void without_patterns_everything_is_allowed_and_reported(void **state)
{
    check_allowed(*state, none, none, "all");
    check_allowed(*state, (struct lists){"", "", ""}, none, "all");
}

static void an_exclusion_takes_what_its_glob_matches_and_no_more(void **state)
{
    check_allowed(*state, none, (struct lists){.exclude = "B:1"}, "A:0 F:0 C:1 D:2 É:2");
    check_allowed(*state, none, (struct lists){.exclude = "?:1"}, "A:0 F:0 D:2 É:2");
    check_allowed(*state, none, (struct lists){.exclude = "[AF]:*"}, "B:1 C:1 D:2 É:2");
    check_allowed(*state, none, (struct lists){.exclude = "*"}, "");
    check_allowed(*state, none, (struct lists){.exclude = "D:2,F:0"}, "A:0 B:1 C:1 É:2");
}

static void a_branch_is_everything_below_through_any_parent(void **state)
{
    check_allowed(*state, none, (struct lists){.exclude = "B:1/*"}, "A:0 F:0 C:1");
    check_allowed(*state, none, (struct lists){.exclude = "A*/*"}, "F:0");
    check_allowed(*state, none, (struct lists){.exclude = "D:2/*"}, "A:0 F:0 B:1 C:1 É:2");
}

static void an_inclusion_brings_all_ancestors_of_what_it_matches(void **state)
{
    check_allowed(*state, none, (struct lists){.include = "É:2"}, "A:0 B:1 É:2");
    check_allowed(*state, none, (struct lists){.include = "F:0"}, "F:0");
    check_allowed(*state, none, (struct lists){.include = "B:1/*"}, "A:0 B:1 D:2 É:2");
    check_allowed(*state, none, (struct lists){.include = "C:1, D:2"}, "A:0 B:1 C:1 D:2");
}

static void exclusion_wins_over_inclusion(void **state)
{
    check_allowed(*state, none, (struct lists){.include = "A:0/*", .exclude = "B:1/*"}, "A:0 C:1");
    check_allowed(*state, (struct lists){.exclude = "É:2"}, (struct lists){.include = "É:2"}, "A:0 B:1");
    check_allowed(*state, (struct lists){.include = "É:2"}, (struct lists){.exclude = "A:0"}, "B:1 É:2");
}

static void both_levels_must_allow_a_lens(void **state)
{
    check_allowed(*state, (struct lists){.include = "B:1/*"}, (struct lists){.include = "D:2,F:0"}, "A:0 B:1 D:2");
    check_allowed(*state, (struct lists){.exclude = "D:2"}, (struct lists){.exclude = "F:0"}, "A:0 B:1 C:1 É:2");
    check_allowed(*state, (struct lists){.include = "F:0"}, (struct lists){.include = "D:2"}, "");
}

static void a_filter_limits_the_report_and_filters_are_intersected(void **state)
{
    check_reported(*state, none, (struct lists){.filter = "?:1"}, "B:1 C:1");
    check_reported(*state, none, (struct lists){.filter = "B:1/*"}, "B:1 D:2 É:2");
    check_reported(*state, (struct lists){.filter = "A:0/*"}, (struct lists){.filter = "F:0,D:2"}, "D:2");
}

static void a_slash_alone_is_part_of_a_glob(void **state)
{
    struct lensd_content_maps maps;
    struct lens_error err = {0};
    assert_int_equal(resolve(*state, none, (struct lists){.exclude = "/*"}, &maps, NULL, &err), -ENOENT);
    assert_int_equal(resolve(*state, none, (struct lists){.exclude = "B:1/"}, &maps, NULL, &err), -ENOENT);
}

static void a_pattern_that_matches_nothing_is_refused_at_attach(void **state)
{
    struct lensd_content_maps maps;
    struct lens_error err = {0};
    assert_int_equal(resolve(*state, none, (struct lists){.exclude = "D:2,Decepton:1"}, &maps, NULL, &err), -ENOENT);
    assert_non_null(strstr(err.text, "\"Decepton:1\" of the session's exclude"));
    assert_null(maps.allowed);
    assert_int_equal(resolve(*state, (struct lists){.filter = "B"}, none, &maps, NULL, &err), -ENOENT);
    assert_non_null(strstr(err.text, "\"B\" of the daemon's cascade.filter"));
    assert_null(maps.reported);
}

static void after_a_swap_it_is_noted_and_the_others_hold(void **state)
{
    struct lensd_content_maps maps;
    struct lens_error err = {0};
    char note[LENSD_CONTENT_NOTE];
    struct lists asked = {.exclude = "D:2,Gone:3,Lost:4/*"};
    assert_int_equal(resolve(*state, none, asked, &maps, note, &err), 0);
    assert_string_equal(lenses_in(*state, maps.allowed), "A:0 F:0 B:1 C:1 É:2");
    assert_non_null(strstr(note, "\"Gone:3\" of the session's exclude and 1 more match nothing"));
    lensd_content_maps_free(&maps);
    assert_int_equal(resolve(*state, none, (struct lists){.include = "Gone:3"}, &maps, note, &err), 0);
    assert_string_equal(lenses_in(*state, maps.allowed), "");
    lensd_content_maps_free(&maps);
    assert_int_equal(resolve(*state, none, (struct lists){.exclude = "D:2"}, &maps, note, &err), 0);
    assert_string_equal(note, "");
    lensd_content_maps_free(&maps);
}

static void patterns_that_are_empty_or_too_long_are_refused(void **state)
{
    struct lensd_content_maps maps;
    struct lens_error err = {0};
    char longest[LENSD_CONTENT_PATTERN_MAX + 2];
    memset(longest, '*', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(resolve(*state, none, (struct lists){.filter = "A:0,,B:1"}, &maps, NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "filter pattern: "));
    assert_int_equal(resolve(*state, none, (struct lists){.include = longest}, &maps, NULL, &err), -EINVAL);
    longest[LENSD_CONTENT_PATTERN_MAX] = '\0';
    assert_int_equal(resolve(*state, none, (struct lists){.include = longest}, &maps, NULL, &err), 0);
    lensd_content_maps_free(&maps);
}

static void pins_are_united_each_once(void **state)
{
    const struct lensd_content_maps all = {NULL, NULL};
    struct lens_error err = {0};
    uint32_t asked[] = {4, 1}, out[2 + LENSD_CONTENT_PATTERNS], n = 99;
    memset(out, 0xa5, sizeof out);
    assert_int_equal(lensd_content_pins(asked, 2, "B:1, D, C", *state, &all, out, &n, &err), 0);
    assert_int_equal(n, 4);
    const uint32_t want[] = {4, 1, 2, 3}; /* D:2 is 4 already */
    assert_memory_equal(out, want, sizeof want);
}

static void pins_that_are_not_there_or_not_allowed_are_refused(void **state)
{
    struct lensd_content_maps maps;
    struct lens_error err = {0};
    uint32_t id = 4, far = 6, out[1 + LENSD_CONTENT_PATTERNS], n;
    assert_int_equal(resolve(*state, none, (struct lists){.exclude = "B:1/*"}, &maps, NULL, &err), 0);
    assert_int_equal(lensd_content_pins(&id, 1, NULL, *state, &maps, out, &n, &err), -EINVAL);
    assert_non_null(strstr(err.text, "D:2 is pinned by this session"));
    assert_int_equal(lensd_content_pins(NULL, 0, "C:1,B:1", *state, &maps, out, &n, &err), -EINVAL);
    assert_non_null(strstr(err.text, "B:1 is pinned by the daemon's cascade.pin"));
    assert_int_equal(lensd_content_pins(NULL, 0, "Nope:1", *state, &maps, out, &n, &err), -ENOENT);
    assert_non_null(strstr(err.text, "Nope:1"));
    assert_int_equal(lensd_content_pins(&far, 1, NULL, *state, &maps, out, &n, &err), -EINVAL);
    assert_int_equal(n, 0);
    lensd_content_maps_free(&maps);
}

static void check_explained(const struct lens_pack *pack, struct lists lists, const char *pin, const char *key,
                            const char *want)
{
    struct lensd_content_source source = {.configured = {lists.include, lists.exclude, lists.filter}};
    char out[320];
    uint32_t lens = 0;
    struct lens_error err = {0};
    memset(out, 'x', sizeof out);
    assert_int_equal(lens_pack_find(pack, key, &lens), 0);
    assert_int_equal(lensd_content_explain(&source, pin, pack, lens, out, sizeof out, &err), 0);
    if (want[0] == '\0')
        assert_string_equal(out, "");
    else if (strstr(out, want) == NULL)
        fail_msg("\"%s\" isn't in \"%s\"", want, out);
}

static void the_configured_lists_say_why_a_concept_is_left_out(void **state)
{
    struct lists excluded = {.exclude = "F:0,B:1/*"}, included = {.include = "D:2"}, filtered = {.filter = "*:2"};
    check_explained(*state, none, NULL, "D:2", "");
    check_explained(*state, excluded, NULL, "D:2", "\"B:1/*\" of the daemon's cascade.exclude");
    check_explained(*state, excluded, NULL, "C:1", "");
    check_explained(*state, included, NULL, "C:1", "cascade.include names neither it");
    check_explained(*state, included, NULL, "B:1", "");
    check_explained(*state, filtered, NULL, "B:1", "never reported: the daemon's cascade.filter");
    check_explained(*state, filtered, NULL, "D:2", "");
    check_explained(*state, none, "C:1,D:2", "D:2", "cascade.pin names it");
}

static void list_items_lose_their_blanks_and_may_end_in_a_comma(void **state)
{
    (void)state;
    struct lens_error err = {0};
    struct lens_text items[8];
    const char *list = " A:0 ,\tB 1:1\n, C:2/* , ";
    uint32_t n = 0;
    assert_int_equal(lensd_list_check(list, &err), 0);
    while (lensd_list_next(&list, &items[n]))
        n++;
    assert_int_equal(n, 3);
    assert_memory_equal(items[1].data, "B 1:1", items[1].length);
    assert_int_equal(items[1].length, 5);
    assert_int_equal(items[2].length, 5);
    assert_int_equal(lensd_list_check("", &err), 0);
    assert_int_equal(lensd_list_check(",", &err), -EINVAL);
    assert_int_equal(lensd_list_check("A,,B", &err), -EINVAL);
    assert_int_equal(lensd_list_check("A,,", &err), -EINVAL);
}

static void too_many_wildcards_for_the_pack_are_refused(void **state)
{
    const struct lens_pack *small = *state;
    struct lens_pack wide = *small; /* looked at before anything of it is read */
    struct lensd_content_maps maps;
    struct lens_error err = {0};
    wide.lenses = LENSD_CONTENT_WORK / 2;
    assert_int_equal(resolve(&wide, none, (struct lists){.exclude = "A*,B*", .filter = "?"}, &maps, NULL, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "2 patterns with wildcards"));
    assert_non_null(strstr(err.text, "found 3"));
    assert_null(maps.allowed);
}

static int fail_nth(void *arg, const char *call)
{
    int *left = arg;
    return strcmp(call, "calloc") == 0 && (*left)-- == 0 ? ENOMEM : 0;
}

static void running_out_of_memory_leaves_nothing(void **state)
{
    struct lists asked = {.include = "A:0/*", .filter = "*:2"};
    const struct lensd_content_source configured = {.configured = {"A:0/*", NULL, "*:2"}};
    for (int n = 0; n < 7; n++) {
        struct lensd_content_maps maps;
        struct lens_error err = {0};
        char out[128];
        int left = n;
        lensd_sys_set_hook(fail_nth, &left);
        int r = resolve(*state, none, asked, &maps, NULL, &err); /* the list, the keys, two scratches, two maps */
        lensd_sys_set_hook(NULL, NULL);
        assert_int_equal(r, n < 6 ? -ENOMEM : 0);
        if (n == 6)
            lensd_content_maps_free(&maps);
        left = n;
        lensd_sys_set_hook(fail_nth, &left);
        r = lensd_content_explain(&configured, NULL, *state, 0, out, sizeof out, &err);
        lensd_sys_set_hook(NULL, NULL);
        assert_int_equal(r, -ENOMEM);
    }
}

/* On a bigger tree, against the definition written down slowly. */
static bool is_below(const struct lens_pack *pack, uint32_t top, uint32_t lens)
{
    for (int32_t e = pack->child_offsets[top]; e < pack->child_offsets[top + 1]; e++) {
        uint32_t child = (uint32_t)pack->child_ids[e];
        if (child == lens || is_below(pack, child, lens))
            return true;
    }
    return top == lens;
}

static void every_branch_of_a_bigger_tree_is_as_defined(void **state)
{
    (void)state;
    struct lens_pack *pack = import_for_test(SMALL, LENS_F32);
    struct lens_error err = {0};
    for (uint32_t top = 0; top < pack->lenses; top++) {
        struct lensd_content_maps below, above;
        char key[264], branch[272];
        lens_pack_key(pack, top, key, sizeof key);
        snprintf(branch, sizeof branch, "%s/*", key);
        assert_int_equal(resolve(pack, none, (struct lists){.exclude = branch}, &below, NULL, &err), 0);
        assert_int_equal(resolve(pack, none, (struct lists){.include = key}, &above, NULL, &err), 0);
        for (uint32_t lens = 0; lens < pack->lenses; lens++) {
            assert_int_equal(lensd_content_has(below.allowed, lens), !is_below(pack, top, lens));
            assert_int_equal(lensd_content_has(above.allowed, lens), is_below(pack, lens, top));
        }
        lensd_content_maps_free(&below);
        lensd_content_maps_free(&above);
    }
    lens_pack_close(pack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_patterns_everything_is_allowed_and_reported),
        cmocka_unit_test(an_exclusion_takes_what_its_glob_matches_and_no_more),
        cmocka_unit_test(a_branch_is_everything_below_through_any_parent),
        cmocka_unit_test(an_inclusion_brings_all_ancestors_of_what_it_matches),
        cmocka_unit_test(exclusion_wins_over_inclusion),
        cmocka_unit_test(both_levels_must_allow_a_lens),
        cmocka_unit_test(a_filter_limits_the_report_and_filters_are_intersected),
        cmocka_unit_test(a_slash_alone_is_part_of_a_glob),
        cmocka_unit_test(a_pattern_that_matches_nothing_is_refused_at_attach),
        cmocka_unit_test(after_a_swap_it_is_noted_and_the_others_hold),
        cmocka_unit_test(patterns_that_are_empty_or_too_long_are_refused),
        cmocka_unit_test(pins_are_united_each_once),
        cmocka_unit_test(pins_that_are_not_there_or_not_allowed_are_refused),
        cmocka_unit_test(the_configured_lists_say_why_a_concept_is_left_out),
        cmocka_unit_test(list_items_lose_their_blanks_and_may_end_in_a_comma),
        cmocka_unit_test(too_many_wildcards_for_the_pack_are_refused),
        cmocka_unit_test(running_out_of_memory_leaves_nothing),
        cmocka_unit_test(every_branch_of_a_bigger_tree_is_as_defined),
    };
    return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
