/* Counting detections: what counts, how collapsed routing looks, and the watch list over reloads and swaps. */
#include "daemon/detections.h"

#include "tests/unit/support/service_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define S UINT64_C(1000000000)

/* A row whose report is `n` lenses with these raw scores. */
static void note(struct lensd_detections *d, const struct lens_detection *found, uint32_t n)
{
    struct lens_row_out row = {.n_detections = n, .detections = (struct lens_detection *)found};
    lensd_detections_note(d, &row);
}

static void note_best(struct lensd_detections *d, uint32_t lens, int times)
{
    for (int i = 0; i < times; i++)
        note(d, &(struct lens_detection){.id = lens, .raw = 0.9f}, 1);
}

static struct lensd_detections *make(uint32_t lenses)
{
    struct lensd_detections *d;
    assert_int_equal(lensd_detections_create(lenses, &d), 0);
    return d;
}

static void a_row_detects_what_it_reports_with_half_or_more(void **state)
{
    (void)state;
    struct lensd_detections *d = make(4);
    const struct lens_detection found[] = {{.id = 2, .raw = 0.4f}, {.id = 1, .raw = 0.8f}, {.id = 3, .raw = 0.5f}};
    note(d, found, 3);
    note(d, found, 0);
    assert_int_equal(d->detected[0], 0);
    assert_int_equal(d->detected[1], 1);
    assert_int_equal(d->detected[2], 0);
    assert_int_equal(d->detected[3], 1);
    assert_int_equal(d->best[1], 1); /* the first that is detected */
    assert_int_equal(d->best[3], 0);
    lensd_detections_destroy(d);
}

static void routing_without_rows_says_nothing(void **state)
{
    (void)state;
    struct lensd_detections *d = make(4);
    lensd_detections_look(d, 5 * S);
    assert_true(d->routing.rows == 0);
    lensd_detections_destroy(d);
}

static void even_routing_has_all_its_bits_and_collapsed_routing_none(void **state)
{
    (void)state;
    struct lensd_detections *d = make(8);
    lensd_detections_look(d, 1 * S);
    for (uint32_t i = 0; i < 8; i++)
        note_best(d, i, 10);
    lensd_detections_look(d, 11 * S);
    assert_float_equal(d->routing.rows, 80, 0.01);
    assert_float_equal(d->routing.entropy_bits, 3, 1e-5);
    assert_float_equal(d->routing.top_share, 0.125, 1e-5);
    for (int i = 2; i < 60; i++) { /* ten minutes of one concept alone */
        note_best(d, 5, 100);
        lensd_detections_look(d, (uint64_t)(10 * i + 1) * S);
    }
    assert_float_equal(d->routing.top_share, 1, 0.001);
    assert_float_equal(d->routing.entropy_bits, 0, 0.01);
    lensd_detections_destroy(d);
}

static void looks_come_ten_seconds_apart_and_old_rows_fade(void **state)
{
    (void)state;
    struct lensd_detections *d = make(2);
    lensd_detections_look(d, 1 * S);
    note_best(d, 0, 1000);
    lensd_detections_look(d, 5 * S);
    assert_true(d->routing.rows == 0); /* too early */
    lensd_detections_look(d, 11 * S);
    assert_float_equal(d->routing.rows, 1000, 0.1);
    lensd_detections_look(d, 71 * S);
    assert_float_equal(d->routing.rows, 1000 * exp(-1), 0.1);
    lensd_detections_look(d, 1000 * S);
    assert_true(d->routing.rows == 0);
    lensd_detections_destroy(d);
}

/* A pack of four lenses, Concept00000:0 .. Concept00003:1. */
static struct lens_pack *open_pack(void)
{
    char path[] = "/tmp/lensd-unit-XXXXXX";
    struct lens_pack *pack;
    struct lens_error err = {0};
    close(mkstemp(path));
    service_world_write_pack(path, 4, 16);
    if (lens_pack_open(path, &pack, &err) != 0)
        fail_msg("%s", err.text);
    unlink(path);
    return pack;
}

static void the_watch_list_finds_concepts_and_names_those_that_lack(void **state)
{
    (void)state;
    struct lens_pack *pack = open_pack();
    struct lensd_detections *d = make(4);
    struct lensd_watch watch = {0};
    lensd_watch_parse("Concept00002:1, Nobody:3,Concept00000:0", &watch);
    assert_int_equal(watch.n, 3);
    assert_true(lensd_detections_watch(d, pack, &watch));
    assert_false(lensd_detections_watch(d, pack, &watch));
    assert_string_equal(d->missing, "Nobody:3");
    note_best(d, 2, 7);
    assert_int_equal(lensd_detections_total(d, 0), 7);
    assert_int_equal(d->watched[1], -1);
    assert_int_equal(lensd_detections_total(d, 2), 0);
    lensd_detections_destroy(d);
    lens_pack_close(pack);
}

static void totals_survive_swaps_and_changes_of_the_list(void **state)
{
    (void)state;
    struct lens_pack *pack = open_pack();
    struct lensd_detections *first = make(4), *second = make(4), *third = make(4);
    struct lensd_watch watch = {0};
    lensd_watch_parse("Concept00001:1,Concept00002:1", &watch);
    lensd_detections_watch(first, pack, &watch);
    note_best(first, 1, 5);
    lensd_detections_watch(second, pack, &watch);
    lensd_detections_carry(second, first);
    note_best(second, 1, 2);
    assert_int_equal(lensd_detections_total(second, 0), 7);
    lensd_watch_parse("Concept00003:1,Concept00001:1", &watch); /* it stands elsewhere on the list now */
    lensd_detections_watch(second, pack, &watch);
    assert_int_equal(lensd_detections_total(second, 1), 7);
    assert_int_equal(lensd_detections_total(second, 0), 0);
    lensd_detections_watch(third, pack, &watch);
    lensd_detections_carry(third, second);
    assert_int_equal(lensd_detections_total(third, 1), 7);
    lensd_detections_destroy(first);
    lensd_detections_destroy(second);
    lensd_detections_destroy(third);
    lens_pack_close(pack);
}

static void lists_have_no_doubles_and_at_most_64(void **state)
{
    (void)state;
    struct lens_error err = {0};
    char many[65 * 8] = "";
    for (int i = 0; i < 64; i++)
        sprintf(many + strlen(many), "%sA%d:1", i > 0 ? "," : "", i);
    assert_int_equal(lensd_watch_check("", &err), 0);
    assert_int_equal(lensd_watch_check(many, &err), 0);
    strcat(many, ",B:1");
    assert_true(lensd_watch_check(many, &err) < 0);
    assert_non_null(strstr(err.text, "at most 64"));
    assert_true(lensd_watch_check("A:1, B:1 ,A:1", &err) < 0);
    assert_non_null(strstr(err.text, "\"A:1\" is listed twice"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_detects_what_it_reports_with_half_or_more),
        cmocka_unit_test(routing_without_rows_says_nothing),
        cmocka_unit_test(even_routing_has_all_its_bits_and_collapsed_routing_none),
        cmocka_unit_test(looks_come_ten_seconds_apart_and_old_rows_fade),
        cmocka_unit_test(the_watch_list_finds_concepts_and_names_those_that_lack),
        cmocka_unit_test(totals_survive_swaps_and_changes_of_the_list),
        cmocka_unit_test(lists_have_no_doubles_and_at_most_64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
