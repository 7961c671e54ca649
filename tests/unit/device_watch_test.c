/* What the daemon does when a device gets short of memory while it serves, and when it no longer is: on a CPU that
 * plays a card, with the loop's looks made here. */
#include "daemon/device_watch.h"
#include "tests/unit/support/engine_world.h"
#include "tests/unit/support/played_card.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB     (UINT64_C(1) << 20)
#define LITTLE  (100 * MIB)
#define MUCH    (8192 * MIB)
#define MINUTE  UINT64_C(61000000000)
#define LENSES  70u
#define LOG_MAX 8192u

static struct engine_world *w;
static struct lensd_service *service;
static struct lensd_settings settings;
static int log_pipe[2];
static char said[LOG_MAX];

static int open_watch(void **state)
{
    (void)state;
    w = open_world(0, 0, NULL);
    played_card_begin(w->served.pool, 4, MUCH);
    service = calloc(1, sizeof *service);
    assert_non_null(service);
    assert_int_equal(pipe(log_pipe), 0);
    lensd_log_init(&service->log, &service->log_output, LENSD_LOG_INFO);
    service->log_output.fd = log_pipe[1];
    service->settings = &settings;
    service->backend = w->backend;
    service->engine = w->engine;
    service->packs[0] = &w->served;
    service->n_packs = 1;
    return 0;
}

static int close_watch(void **state)
{
    (void)state;
    close(log_pipe[0]);
    close(log_pipe[1]);
    free(service);
    close_world(w);
    return 0;
}

/* One look with so much free. What the log said is in `said`. */
static void look(uint64_t free_bytes)
{
    played_card.free_bytes = free_bytes;
    service->device_memory.looked_ns = 0;
    lensd_log(&service->log, LENSD_LOG_INFO, "look");
    lensd_device_watch(service);
    ssize_t n = read(log_pipe[0], said, sizeof said - 1);
    assert_true(n > 0);
    said[n] = '\0';
}

/* The same a minute after the last. */
static void look_later(uint64_t free_bytes)
{
    if (service->device_memory.roomy_ns != 0)
        service->device_memory.roomy_ns -= MINUTE;
    look(free_bytes);
}

static void expect_said(const char *part)
{
    if (strstr(said, part) == NULL)
        fail_msg("\"%s\" doesn't say \"%s\"", said, part);
}

static void expect_quiet(void)
{
    if (strchr(said, '\n') != said + strlen(said) - 1)
        fail_msg("\"%s\" says more than that somebody looked", said);
}

static void expect_text(const char *part)
{
    char text[LENSD_DEVICE_TEXT];
    lensd_device_text(service, text, sizeof text);
    if (part[0] == '\0' ? text[0] != '\0' : strstr(text, part) == NULL)
        fail_msg("\"%s\" isn't \"%s\"", text, part);
}

static uint32_t slots(void)
{
    return lensd_pool_slots(w->served.pool);
}

static void slots_go_while_memory_is_short_and_come_again_when_it_is_not(void **state)
{
    (void)state;
    float row[40];
    struct ring_client client;
    struct lens_cascade_options options = deep_options();
    open_client_with(w, &options, 1, &client);
    one_row(row, 7);
    struct lens_result_header want = ask_row(&client, row, 0);
    look(MUCH);
    expect_quiet();
    expect_text("");
    assert_int_equal(slots(), LENSES);
    uint32_t before = LENSES;
    for (uint32_t looks = 0; before > 0 && looks < 100; looks++) {
        look(LITTLE);
        struct lens_result_header got = ask_row(&client, row, 0);
        assert_int_equal(got.counts.scored, want.counts.scored);
        assert_int_equal(got.status, LENS_ROW_COMPLETE);
        if (slots() == before && strstr(said, "no pack has a slot that it can give back") != NULL)
            before = 0;
        else if (slots() < before)
            expect_said("slots are given back");
        before = before == 0 ? 0 : slots();
    }
    assert_int_equal(before, 0);
    expect_text("of its 70 slots were given back");
    expect_text("100 MiB of the device's memory are free");
    look(LITTLE);
    expect_quiet(); /* it was said */

    look(MUCH);
    expect_said("are free again");
    expect_text("of its 70 slots were given back");
    look(MUCH);
    expect_quiet(); /* not for a minute yet */
    before = slots();
    while (slots() < LENSES) {
        look_later(MUCH);
        expect_said("slots of 70 again");
        assert_true(slots() > before);
        before = slots();
        struct lens_result_header got = ask_row(&client, row, 0);
        assert_int_equal(got.counts.scored, want.counts.scored);
    }
    look_later(MUCH);
    expect_quiet();
    expect_text("");
    close_ring_client(w, &client);
}

static void slots_come_only_as_far_as_much_stays_free(void **state)
{
    (void)state;
    look(MUCH);
    look(LITTLE);
    uint32_t had = slots();
    assert_true(had < LENSES);
    look_later(4 * LENSD_DEVICE_RESERVE);
    look_later(4 * LENSD_DEVICE_RESERVE); /* not a byte more than is to stay */
    assert_int_equal(slots(), had);
    look_later(4 * LENSD_DEVICE_RESERVE - 1);
    look_later(MUCH); /* a minute begins */
    assert_int_equal(slots(), had);
    played_card.no_room = true; /* somebody was faster */
    look_later(MUCH);
    expect_quiet();
    assert_int_equal(slots(), had);
    played_card.no_room = false;
    look_later(MUCH);
    assert_true(slots() > had);
}

static void memory_that_was_short_from_the_start_is_no_pressure(void **state)
{
    (void)state;
    look(LITTLE);
    expect_quiet();
    look(LITTLE * 3 / 4);
    expect_quiet();
    assert_int_equal(slots(), LENSES);
    w->served.generation++; /* a pack was loaded: it takes what it takes */
    look(LITTLE / 4);
    expect_quiet();
    look(LITTLE / 10); /* others took of what there was */
    expect_said("are given back");
    assert_true(slots() < LENSES);
}

static void the_largest_pack_gives_first(void **state)
{
    (void)state;
    struct lensd_served_pack small;
    struct world_options options = {.pool.slots = 30};
    open_served(w, &options, &small);
    service->packs[1] = service->packs[0];
    service->packs[0] = &small;
    service->n_packs = 2;
    look(MUCH);
    look(LITTLE);
    assert_int_equal(lensd_pool_slots(small.pool), 30);
    assert_true(slots() < LENSES);
    lensd_engine_forget_pack(w->engine, &small);
    service->n_packs = 0;
    close_served(&small, true);
}

#define WATCH(test) cmocka_unit_test_setup_teardown(test, open_watch, close_watch)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WATCH(slots_go_while_memory_is_short_and_come_again_when_it_is_not),
        WATCH(slots_come_only_as_far_as_much_stays_free),
        WATCH(memory_that_was_short_from_the_start_is_no_pressure),
        WATCH(the_largest_pack_gives_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
