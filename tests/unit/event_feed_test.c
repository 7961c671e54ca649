/* Following the daemon's events: page after page, what was lost, a daemon that goes away and one that starts anew.
 * lensctl is a program without a library, so the code under test is compiled in here. */
#include "client/lensctl/event_feed.c" /* NOLINT(bugprone-suspicious-include) */

#include "tests/unit/support/fake_daemon.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct world {
    struct fake_daemon daemon;
    char path[64];
    struct lens_client *client;
    struct event_feed feed;
};

static int set_up(void **state)
{
    struct lens_client_error err = {0};
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    snprintf(w->path, sizeof w->path, "/tmp/event-feed-%d.sock", (int)getpid());
    fake_daemon_start(&w->daemon, w->path);
    if (lens_client_open(w->path, &w->client, &err) != 0)
        fail_msg("%s", err.text);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    lens_client_close(w->client);
    fake_daemon_stop(&w->daemon);
    unlink(w->path);
    free(w);
    return 0;
}

static void begin(struct world *w, uint64_t from)
{
    const struct lens_events want = {.from = from};
    event_feed_init(&w->feed, w->client, &want);
}

static const struct lens_event_page *page_of(struct world *w)
{
    enum event_feed_news news = event_feed_next(&w->feed);
    if (news != EVENT_FEED_PAGE)
        fail_msg("expected a page, found news %d: %s", (int)news, w->feed.err.text);
    return &w->feed.msg.u.event_page;
}

/* Calls until the news are others than `passing`; a connection is tried again at most every 50 ms. */
static enum event_feed_news news_after(struct world *w, enum event_feed_news passing)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    enum event_feed_news news = event_feed_next(&w->feed);
    for (int i = 0; i < 3000 && news == passing; i++) {
        nanosleep(&pause, NULL);
        news = event_feed_next(&w->feed);
    }
    return news;
}

static void every_event_comes_once_and_in_order(void **state)
{
    struct world *w = *state;
    uint64_t expected = 1;
    w->daemon.event_end = 26;
    begin(w, 0);
    do {
        const struct lens_event_page *page = page_of(w);
        for (uint32_t i = 0; i < page->count; i++, expected++) {
            struct lens_text key = event_feed_key(page, &page->rows[i], page->detections[i].id);
            char name[24];
            assert_int_equal(page->rows[i].number, expected);
            snprintf(name, sizeof name, "Lens%llu:1", (unsigned long long)expected);
            assert_int_equal(key.length, strlen(name));
            assert_memory_equal(key.data, name, key.length);
        }
    } while (!w->feed.caught_up);
    assert_int_equal(expected, 26);
    assert_int_equal(w->feed.lost, 0);
    assert_int_equal(page_of(w)->count, 0); /* quiet */
    assert_true(w->feed.caught_up);
    w->daemon.event_end = 27;
    assert_int_equal(page_of(w)->rows[0].number, 26);
}

static void from_now_on_means_what_comes_after_the_first_page(void **state)
{
    struct world *w = *state;
    w->daemon.event_end = 500;
    begin(w, LENS_EVENTS_NOW);
    assert_int_equal(page_of(w)->count, 0);
    w->daemon.event_end = 501;
    assert_int_equal(page_of(w)->rows[0].number, 500);
}

static void events_that_were_overwritten_are_counted(void **state)
{
    struct world *w = *state;
    w->daemon.event_end = 11;
    begin(w, 0);
    assert_int_equal(page_of(w)->count, 10);
    w->daemon.event_first = 31;
    w->daemon.event_end = 35;
    const struct lens_event_page *page = page_of(w);
    assert_int_equal(page->lost, 20);
    assert_int_equal(page->rows[0].number, 31);
    assert_int_equal(w->feed.lost, 20);
    w->daemon.event_first = 40;
    w->daemon.event_end = 40;
    assert_int_equal(page_of(w)->count, 0); /* lost, and nothing to show for it */
    assert_int_equal(w->feed.lost, 25);
    assert_int_equal(w->feed.want.from, 40);
}

static void a_daemon_that_was_away_is_followed_on(void **state)
{
    struct world *w = *state;
    w->daemon.event_end = 4;
    begin(w, 0);
    assert_int_equal(page_of(w)->count, 3);
    w->daemon.faults.silent = true;
    assert_int_equal(event_feed_next(&w->feed), EVENT_FEED_AWAY);
    assert_true(w->feed.caught_up); /* so that the caller waits */
    w->daemon.faults.silent = false;
    w->daemon.event_end = 6;
    assert_int_equal(news_after(w, EVENT_FEED_AWAY), EVENT_FEED_PAGE);
    assert_int_equal(w->feed.msg.u.event_page.rows[0].number, 4);
}

static void a_daemon_that_starts_anew_is_told_and_read_from_its_beginning(void **state)
{
    struct world *w = *state;
    w->daemon.event_end = 9;
    begin(w, 0);
    assert_int_equal(page_of(w)->count, 8);
    fake_daemon_stop(&w->daemon);
    assert_int_equal(event_feed_next(&w->feed), EVENT_FEED_AWAY);
    fake_daemon_start(&w->daemon, w->path);
    w->daemon.start_time_ns = 99;
    w->daemon.event_end = 3; /* 9 is still to come there, which isn't an error */
    assert_int_equal(news_after(w, EVENT_FEED_AWAY), EVENT_FEED_RESTARTED);
    assert_int_equal(w->feed.daemon_start_ns, 99);
    const struct lens_event_page *page = page_of(w);
    assert_int_equal(page->count, 2);
    assert_int_equal(page->rows[0].number, 1);
    assert_int_equal(page->lost, 0);
}

static void what_the_daemon_refuses_is_said(void **state)
{
    struct world *w = *state;
    begin(w, 1000);
    assert_int_equal(event_feed_next(&w->feed), EVENT_FEED_REFUSED);
    assert_string_equal(w->feed.err.text, "still to come");
    w->daemon.faults.garbage = true;
    begin(w, 0);
    assert_int_equal(event_feed_next(&w->feed), EVENT_FEED_REFUSED);
}

static void a_concept_that_the_page_doesnt_name_has_no_key(void **state)
{
    struct world *w = *state;
    w->daemon.event_end = 2;
    begin(w, 0);
    const struct lens_event_page *page = page_of(w);
    struct lens_event_row other = page->rows[0];
    assert_int_equal(event_feed_key(page, &other, 1).length, 7);
    assert_int_equal(event_feed_key(page, &other, 2).length, 0);
    other.generation++;
    assert_int_equal(event_feed_key(page, &other, 1).length, 0);
}

#define WITH_DAEMON(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DAEMON(every_event_comes_once_and_in_order),
        WITH_DAEMON(from_now_on_means_what_comes_after_the_first_page),
        WITH_DAEMON(events_that_were_overwritten_are_counted),
        WITH_DAEMON(a_daemon_that_was_away_is_followed_on),
        WITH_DAEMON(a_daemon_that_starts_anew_is_told_and_read_from_its_beginning),
        WITH_DAEMON(what_the_daemon_refuses_is_said),
        WITH_DAEMON(a_concept_that_the_page_doesnt_name_has_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
