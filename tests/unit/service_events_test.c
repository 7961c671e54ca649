/* The request for the rows answered lately, through the control socket: paging, filters, what was lost, and who may see
 * whose rows. */
#include "tests/unit/support/service_world.h"

#include "client/liblens/lens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DIM = 16 };

struct sender {
    struct lens_client *client;
    struct lens_session *session;
    uint32_t id;
};

static void assert_has(const char *sentence, const char *part)
{
    if (strstr(sentence, part) == NULL)
        fail_msg("\"%s\" doesn't say \"%s\"", sentence, part);
}

static struct sender sender_open(const struct service_world *w, uint32_t top_k)
{
    struct lens_client_error err = {0};
    struct lens_session_params params;
    struct lens_session_info info;
    struct sender s;
    lens_session_params_default(&params);
    params.report = 1;
    params.top_k = (int32_t)top_k;
    if (lens_client_open(w->socket, &s.client, &err) != 0 ||
        lens_session_open(s.client, &params, &s.session, &err) != 0)
        fail_msg("%s", err.text);
    lens_session_get_info(s.session, &info);
    s.id = info.id;
    return s;
}

/* Sends rows at positions from..from+n-1 and waits for their answers. */
static void sender_send(struct sender *s, uint64_t from, uint32_t n)
{
    for (uint64_t position = from; position < from + n; position++) {
        struct lens_slot slot;
        struct lens_answer answer;
        assert_int_equal(lens_session_acquire(s->session, 1, LENS_TYPE_F32, LENS_SLOT_TOKEN_IDS, &slot), 0);
        for (int i = 0; i < DIM; i++)
            ((float *)slot.rows)[i] = (float)((int)(position * 7 + (uint64_t)i * 5) % 13) - 6.0f;
        slot.first_position = position;
        slot.sequence = 11;
        slot.tag = 100 + position;
        slot.token_ids[0] = (int32_t)(1000 + position);
        assert_int_equal(lens_session_submit(s->session, &slot), 0);
        assert_int_equal(lens_session_wait(s->session, 20000000, &answer), 0);
        lens_session_release(s->session);
    }
}

static void sender_close(struct sender *s)
{
    lens_client_close(s->client);
}

static struct lens_events *want(struct peer *peer, uint64_t from)
{
    struct lens_events *events = &peer_request(peer, LENS_MSG_EVENTS)->u.events;
    events->from = from;
    return events;
}

static const struct lens_event_page *ask(struct peer *peer)
{
    enum lens_msg_type type = peer_ask(peer);
    if (type == LENS_MSG_ERROR)
        fail_msg("%.*s", (int)peer->answer.u.fault.text.length, peer->answer.u.fault.text.data);
    assert_int_equal(type, LENS_MSG_EVENT_PAGE);
    return &peer->answer.u.event_page;
}

/* The last row is remembered just after its answer shows. */
static void wait_for_rows(struct peer *peer, uint64_t rows)
{
    for (int i = 0; i < 5000; i++) {
        want(peer, LENS_EVENTS_NOW);
        if (ask(peer)->end > rows)
            return;
        usleep(1000);
    }
    fail_msg("row %llu never came", (unsigned long long)rows);
}

static const struct lens_event_concept *concept_of(const struct lens_event_page *page, const struct lens_event_row *row,
                                                   uint32_t detection)
{
    for (uint32_t i = 0; i < page->n_concepts; i++)
        if (page->concepts[i].generation == row->generation &&
            page->concepts[i].id == page->detections[row->first_detection + detection].id)
            return &page->concepts[i];
    fail_msg("a detection without its concept");
    return NULL;
}

static void rows_come_in_order_with_what_they_were(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct sender sender = sender_open(w, 5);
    struct peer *peer = peer_greet(w);
    sender_send(&sender, 0, 10);
    wait_for_rows(peer, 10);
    want(peer, 0);
    const struct lens_event_page *page = ask(peer);
    assert_int_equal(page->count, 10);
    assert_int_equal(page->next, 11);
    assert_int_equal(page->end, 11);
    assert_int_equal(page->lost, 0);
    for (uint32_t i = 0; i < 10; i++) {
        const struct lens_event_row *row = &page->rows[i];
        assert_int_equal(row->number, i + 1);
        assert_int_equal(row->position, i);
        assert_int_equal(row->sequence, 11);
        assert_int_equal(row->tag, 100 + i);
        assert_int_equal(row->token_id, 1000 + i);
        assert_int_equal(row->session, sender.id);
        assert_int_equal(row->generation, 1);
        assert_int_equal(row->status, LENS_ROW_COMPLETE);
        assert_true(row->scored >= 5 && row->total_ns > 0);
        assert_true(row->time_ns > UINT64_C(1600000000) * UINT64_C(1000000000)); /* of this century */
        assert_int_equal(row->n_detections, 5);
        assert_int_equal(row->stored_detections, 5);
        for (uint32_t k = 0; k < 5; k++) {
            char key[32];
            snprintf(key, sizeof key, "Concept%05u:", page->detections[row->first_detection + k].id);
            assert_memory_equal(concept_of(page, row, k)->key.data, key, strlen(key));
        }
    }
    peer_close(peer);
    sender_close(&sender);
    service_world_close(w);
}

static void asking_again_gives_the_rest_and_nothing_twice(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct sender sender = sender_open(w, 20);
    struct peer *peer = peer_greet(w);
    uint64_t next = 1, seen = 0;
    sender_send(&sender, 0, 300);
    wait_for_rows(peer, 300);
    for (int pages = 0; next < 301; pages++) {
        want(peer, next);
        const struct lens_event_page *page = ask(peer);
        assert_true(pages < 301 && page->count > 0 && page->lost == 0);
        for (uint32_t i = 0; i < page->count; i++) {
            assert_int_equal(page->rows[i].number, ++seen);
            assert_int_equal(page->rows[i].n_detections, 20);
            assert_int_equal(page->rows[i].stored_detections, 16); /* what is remembered */
        }
        assert_int_equal(page->next, seen + 1);
        next = page->next;
    }
    assert_int_equal(seen, 300);
    peer_close(peer);
    sender_close(&sender);
    service_world_close(w);
}

static void what_was_overwritten_is_counted_as_lost(void **state)
{
    (void)state;
    const char *const settings[] = {"telemetry.events=16", NULL};
    struct service_world *w = service_world_open(settings);
    struct sender sender = sender_open(w, 1);
    struct peer *peer = peer_greet(w);
    sender_send(&sender, 0, 100);
    wait_for_rows(peer, 100);
    want(peer, 41);
    const struct lens_event_page *page = ask(peer);
    assert_int_equal(page->lost, 44); /* 41..84: 85..100 are kept */
    assert_int_equal(page->count, 16);
    assert_int_equal(page->rows[0].number, 85);
    assert_int_equal(page->next, 101);
    want(peer, 0); /* the oldest kept: nothing was promised before it */
    page = ask(peer);
    assert_int_equal(page->lost, 0);
    assert_int_equal(page->rows[0].number, 85);
    peer_close(peer);
    sender_close(&sender);
    service_world_close(w);
}

static void now_is_what_comes_next(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct sender sender = sender_open(w, 1);
    struct peer *peer = peer_greet(w);
    sender_send(&sender, 0, 5);
    wait_for_rows(peer, 5);
    want(peer, LENS_EVENTS_NOW);
    const struct lens_event_page *page = ask(peer);
    assert_int_equal(page->count, 0);
    assert_int_equal(page->next, 6);
    sender_send(&sender, 5, 1);
    wait_for_rows(peer, 6);
    want(peer, 6);
    page = ask(peer);
    assert_int_equal(page->count, 1);
    assert_int_equal(page->rows[0].position, 5);
    peer_close(peer);
    sender_close(&sender);
    service_world_close(w);
}

static void filters_leave_out_detections_and_rows(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct sender a = sender_open(w, 8), b = sender_open(w, 8);
    struct peer *peer = peer_greet(w);
    sender_send(&a, 0, 4);
    sender_send(&b, 10, 3);
    wait_for_rows(peer, 7);
    want(peer, 0)->session = b.id;
    const struct lens_event_page *page = ask(peer);
    assert_int_equal(page->count, 3);
    assert_int_equal(page->rows[0].position, 10);
    assert_int_equal(page->next, 8);

    char glob[32];
    const uint32_t id = page->detections[page->rows[0].first_detection].id;
    snprintf(glob, sizeof glob, "Concept%05u:*", id);
    want(peer, 0)->glob = lens_text_of(glob);
    page = ask(peer);
    assert_int_equal(page->count, 7);
    assert_true(page->n_detections > 0 && page->n_detections < 7 * 8);
    assert_int_equal(page->n_concepts, 1);
    for (uint32_t i = 0; i < page->n_detections; i++)
        assert_int_equal(page->detections[i].id, id);

    struct lens_events *events = want(peer, 0);
    events->glob = lens_text_of("Nothing*");
    events->only_hits = true;
    page = ask(peer);
    assert_int_equal(page->count, 0);
    assert_int_equal(page->next, 8);

    want(peer, 0);
    float best = ask(peer)->detections[0].score;
    for (uint32_t i = 0; i < peer->answer.u.event_page.n_detections; i++)
        if (peer->answer.u.event_page.detections[i].score > best)
            best = peer->answer.u.event_page.detections[i].score;
    events = want(peer, 0);
    events->min_score = best;
    events->only_hits = true;
    page = ask(peer);
    assert_true(page->count >= 1 && page->n_detections >= 1);
    for (uint32_t i = 0; i < page->n_detections; i++)
        assert_true(page->detections[i].score == best);
    peer_close(peer);
    sender_close(&a);
    sender_close(&b);
    service_world_close(w);
}

/* Whoever follows some concepts alone hears of alerts all the same. */
static void a_row_that_raised_a_rule_is_never_passed_over(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w);
    for (uint32_t i = 0; i < 6; i++) {
        const struct lens_result_header header = {.position = i,
                                                  .pack_generation = 1,
                                                  .flags = i == 4 ? LENS_ROW_ALERT : 0,
                                                  .verdict = i >= 4 ? LENS_VERDICT_STOP : 0,
                                                  .verdict_rule = i >= 4 ? 99 : 0};
        lensd_events_add(w->service->events, 1, geteuid(), &header, NULL, 1);
    }
    struct lens_events *events = want(peer, 1);
    events->glob = lens_text_of("Nothing*");
    events->only_hits = true;
    const struct lens_event_page *page = ask(peer);
    assert_int_equal(page->count, 1);
    assert_int_equal(page->rows[0].position, 4);
    assert_int_equal(page->rows[0].verdict, LENS_VERDICT_STOP);
    assert_int_equal(page->rows[0].verdict_rule, 99);
    assert_int_equal(page->rows[0].stored_detections, 0);
    peer_close(peer);
    service_world_close(w);
}

/* However long the list of rows, a pattern is tried on so many detections and no more before others have their turn. */
static void a_pattern_that_fits_nothing_takes_several_pages(void **state)
{
    (void)state;
    static const char *const settings[] = {"telemetry.events=1000", NULL};
    struct service_world *w = service_world_open(settings);
    struct peer *peer = peer_greet(w);
    struct lens_detection found[16] = {0};
    const struct lens_result_header header = {.position = 1, .pack_generation = 1, .detections = 16};
    for (uint32_t i = 0; i < 900; i++)
        lensd_events_add(w->service->events, 1, geteuid(), &header, found, 1);
    uint64_t from = 1;
    uint32_t pages = 0;
    for (; from < 901; pages++) {
        struct lens_events *events = want(peer, from);
        events->glob = lens_text_of("*[[[[[[[[[[[[[[[[Nothing");
        events->only_hits = true;
        const struct lens_event_page *page = ask(peer);
        assert_int_equal(page->count, 0);
        assert_true(page->next > from && page->next - from <= 100);
        from = page->next;
    }
    assert_int_equal(from, 901);
    assert_true(pages >= 9);
    peer_close(peer);
    service_world_close(w);
}

static void clients_see_the_rows_of_their_user_alone(void **state)
{
    (void)state;
    static const char *const as_client[] = {"ipc.admin_uids=4242", "ipc.allow_uids=self", NULL};
    struct service_world *w = service_world_open(as_client);
    struct peer *peer = peer_greet(w);
    /* Nobody is attached: the engine writes nothing meanwhile. */
    const struct lens_result_header header = {.position = 1, .pack_generation = 1};
    lensd_events_add(w->service->events, 1, geteuid() + 1, &header, NULL, 1);
    lensd_events_add(w->service->events, 2, geteuid(), &header, NULL, 2);
    lensd_events_add(w->service->events, 3, 65534, &header, NULL, 3);
    want(peer, 0);
    const struct lens_event_page *page = ask(peer);
    assert_int_equal(page->count, 1);
    assert_int_equal(page->rows[0].session, 2);
    assert_int_equal(page->next, 4);
    peer_close(peer);
    service_world_close(w);
}

static void a_pack_that_is_gone_leaves_numbers_without_names(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct sender sender = sender_open(w, 3);
    struct peer *peer = peer_greet(w);
    char path[128];
    sender_send(&sender, 0, 1);
    wait_for_rows(peer, 1);
    snprintf(path, sizeof path, "%s/other.lens", w->dir);
    service_world_write_pack(path, 50, DIM);
    struct lens_load *load = &peer_request(peer, LENS_MSG_SWAP)->u.load;
    load->pack = lens_text_of(path);
    assert_int_equal(peer_ask(peer), LENS_MSG_DONE);
    want(peer, 0);
    const struct lens_event_page *page = ask(peer);
    assert_int_equal(page->count, 1);
    assert_int_equal(page->rows[0].stored_detections, 3);
    assert_int_equal(page->n_concepts, 3);
    assert_int_equal(page->concepts[0].generation, 1);
    assert_int_equal(page->concepts[0].key.length, 0);
    want(peer, 0)->glob = lens_text_of("*"); /* asks for names */
    assert_int_equal(ask(peer)->n_detections, 0);
    peer_close(peer);
    sender_close(&sender);
    service_world_close(w);
}

static void what_can_not_be_answered_is_refused_with_a_sentence(void **state)
{
    (void)state;
    const char *const none[] = {"telemetry.events=0", NULL};
    struct service_world *w = service_world_open(none);
    struct sender sender = sender_open(w, 1);
    struct peer *peer = peer_greet(w);
    sender_send(&sender, 0, 2);
    want(peer, 0);
    assert_has(peer_ask_refused(peer, LENS_FAULT_UNSUPPORTED), "telemetry.events");
    peer_close(peer);
    sender_close(&sender);
    service_world_close(w);

    char glob[600];
    memset(glob, '*', sizeof glob);
    w = service_world_open(NULL);
    peer = peer_greet(w);
    want(peer, 77);
    assert_has(peer_ask_refused(peer, LENS_FAULT_BAD_MESSAGE), "77");
    want(peer, 0)->session = 9;
    assert_has(peer_ask_refused(peer, LENS_FAULT_NO_SUCH_SESSION), "9");
    want(peer, 0)->glob = (struct lens_text){glob, sizeof glob};
    assert_has(peer_ask_refused(peer, LENS_FAULT_BAD_MESSAGE), "511");
    peer_close(peer);
    service_world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_in_order_with_what_they_were),
        cmocka_unit_test(asking_again_gives_the_rest_and_nothing_twice),
        cmocka_unit_test(what_was_overwritten_is_counted_as_lost),
        cmocka_unit_test(now_is_what_comes_next),
        cmocka_unit_test(filters_leave_out_detections_and_rows),
        cmocka_unit_test(a_row_that_raised_a_rule_is_never_passed_over),
        cmocka_unit_test(a_pattern_that_fits_nothing_takes_several_pages),
        cmocka_unit_test(clients_see_the_rows_of_their_user_alone),
        cmocka_unit_test(a_pack_that_is_gone_leaves_numbers_without_names),
        cmocka_unit_test(what_can_not_be_answered_is_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
