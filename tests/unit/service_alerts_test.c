/* Rules on content through a whole daemon: the row that trips a rule carries the verdict, sequences don't share states,
 * and what was raised shows in events and totals. What a rule means is rules_test's. */
#include "tests/unit/support/service_world.h"

#include "client/liblens/lens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>
#include <unistd.h>

enum { DIM = 16, ALERT = LENS_ROW_ALERT };

/* The root of the test's pack scores about 0.5 on every row. */
static const char *const two_rules[] = {"alerts.rules=noisy: on=Concept00000:0 above=0.2 below=0.1 tokens=3, "
                                        "grave: on=Concept00000:0 above=0.2 below=0.1 tokens=5 action=stop, "
                                        "elsewhere: on=Nowhere:3 above=0.1 action=stop",
                                        "telemetry.events=64", NULL};

struct sender {
    struct lens_client *client;
    struct lens_session *session;
};

static struct sender sender_open(const struct service_world *w)
{
    struct lens_client_error err = {0};
    struct sender s;
    struct lens_session_params params;
    lens_session_params_default(&params);
    params.max_rows = 8;
    if (lens_client_open(w->socket, &s.client, &err) != 0 ||
        lens_session_open(s.client, &params, &s.session, &err) != 0)
        fail_msg("%s", err.text);
    return s;
}

/* Sends `n` rows as one submission; their answers' verdicts, rules and flags come out. */
static void send_rows(struct sender *s, uint64_t sequence, uint32_t n, uint32_t flags, struct lens_answer *out)
{
    struct lens_slot slot;
    assert_int_equal(lens_session_acquire(s->session, n, LENS_TYPE_F32, 0, &slot), 0);
    for (uint32_t i = 0; i < n * DIM; i++)
        ((float *)slot.rows)[i] = (float)(i * 5 % 13) - 6.0f;
    slot.sequence = sequence;
    slot.flags = flags;
    assert_int_equal(lens_session_submit(s->session, &slot), 0);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(lens_session_wait(s->session, 20000000, &out[i]), 0);
        lens_session_release(s->session);
    }
}

static void expect(const struct lens_answer *answer, uint8_t verdict, const char *rule, bool raised)
{
    assert_int_equal(answer->verdict, verdict);
    assert_int_equal(answer->verdict_rule, rule != NULL ? lens_rule_id_of(rule) : 0);
    assert_int_equal((answer->flags & ALERT) != 0, raised);
}

static void the_row_that_trips_a_rule_carries_the_verdict(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(two_rules);
    struct sender s = sender_open(w);
    struct lens_answer answers[8];
    for (int i = 0; i < 6; i++)
        send_rows(&s, 1, 1, 0, &answers[i]);
    expect(&answers[0], LENS_VERDICT_NONE, NULL, false);
    expect(&answers[1], LENS_VERDICT_NONE, NULL, false);
    expect(&answers[2], LENS_VERDICT_FLAG, "noisy", true);
    expect(&answers[3], LENS_VERDICT_FLAG, "noisy", false);
    expect(&answers[4], LENS_VERDICT_STOP, "grave", true);
    expect(&answers[5], LENS_VERDICT_STOP, "grave", false);
    lens_client_close(s.client);
    service_world_close(w);
}

static void rows_of_one_submission_are_judged_one_by_one(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(two_rules);
    struct sender s = sender_open(w);
    struct lens_answer answers[8];
    send_rows(&s, 1, 8, 0, answers);
    expect(&answers[1], LENS_VERDICT_NONE, NULL, false);
    expect(&answers[2], LENS_VERDICT_FLAG, "noisy", true);
    expect(&answers[4], LENS_VERDICT_STOP, "grave", true);
    lens_client_close(s.client);
    service_world_close(w);
}

static void sequences_have_states_of_their_own(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(two_rules);
    struct sender s = sender_open(w);
    struct lens_answer answers[8];
    for (uint64_t sequence = 1; sequence <= 8; sequence++)
        send_rows(&s, sequence, 2, 0, answers);
    expect(&answers[1], LENS_VERDICT_NONE, NULL, false);
    send_rows(&s, 3, 1, 0, answers);
    expect(&answers[0], LENS_VERDICT_FLAG, "noisy", true);
    send_rows(&s, 4, 2, LENS_SLOT_RESET, answers); /* begins anew */
    expect(&answers[1], LENS_VERDICT_NONE, NULL, false);
    send_rows(&s, 5, 2, LENS_SLOT_PREWARM, answers); /* a prompt's rows don't count */
    expect(&answers[1], LENS_VERDICT_NONE, NULL, false);
    send_rows(&s, 5, 1, LENS_SLOT_LAST, answers);
    expect(&answers[0], LENS_VERDICT_FLAG, "noisy", true);
    send_rows(&s, 5, 2, 0, answers); /* a new sequence under an old name */
    expect(&answers[1], LENS_VERDICT_NONE, NULL, false);
    lens_client_close(s.client);
    service_world_close(w);
}

static void events_and_totals_tell_of_it(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(two_rules);
    struct sender s = sender_open(w);
    struct lens_answer answers[8];
    struct peer *peer = peer_greet(w);
    uint32_t raised = 0;
    send_rows(&s, 1, 6, 0, answers);
    for (int i = 0; i < 5000 && raised == 0; i++) { /* the last row is remembered just after its answer shows */
        peer_request(peer, LENS_MSG_EVENTS);
        assert_int_equal(peer_ask(peer), LENS_MSG_EVENT_PAGE);
        raised = peer->answer.u.event_page.count == 6;
        usleep(1000);
    }
    assert_int_equal(raised, 1);
    const struct lens_event_row *rows = peer->answer.u.event_page.rows;
    for (int i = 0; i < 6; i++) {
        assert_int_equal(rows[i].verdict, answers[i].verdict);
        assert_int_equal(rows[i].verdict_rule, answers[i].verdict_rule);
        assert_int_equal(rows[i].flags, answers[i].flags);
    }
    const struct lensd_rule_totals *totals = &w->service->alerts.totals;
    assert_int_equal(totals->n, 3);
    for (uint32_t i = 0; i < totals->n; i++)
        assert_int_equal(__atomic_load_n(&totals->items[i].raised, __ATOMIC_RELAXED),
                         strcmp(totals->items[i].name, "elsewhere") != 0);
    peer_close(peer);
    lens_client_close(s.client);
    service_world_close(w);
}

static void a_swap_keeps_the_states_of_rules(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(two_rules);
    struct sender s = sender_open(w);
    struct lens_answer answers[8];
    struct peer *peer = peer_greet(w);
    send_rows(&s, 1, 2, 0, answers);
    peer_request(peer, LENS_MSG_SWAP)->u.load.pack = lens_text_of(w->pack);
    assert_int_equal(peer_ask(peer), LENS_MSG_DONE);
    send_rows(&s, 1, 3, 0, answers);
    expect(&answers[0], LENS_VERDICT_FLAG, "noisy", true);
    expect(&answers[2], LENS_VERDICT_STOP, "grave", true);
    peer_close(peer);
    lens_client_close(s.client);
    service_world_close(w);
}

static void what_rules_read_is_told_sequence_by_sequence(void **state)
{
    (void)state;
    const char *const settings[] = {"alerts.rules=noisy: on=Concept00000:0 above=0.2 below=0.1 tokens=3, "
                                    "odd: on=Concept00150:4 deviation=2",
                                    NULL};
    struct service_world *w = service_world_open(settings);
    struct sender s = sender_open(w);
    struct lens_answer answers[8];
    struct peer *peer = peer_greet(w);
    struct lens_session_info info;
    lens_session_get_info(s.session, &info);
    send_rows(&s, 1, 2, 0, answers);
    for (int i = 0; i < 14; i++)
        send_rows(&s, 2, 8, 0, answers);
    for (uint64_t sequence = 1; sequence <= 2; sequence++) {
        struct lens_end_sequence *asked = &peer_request(peer, LENS_MSG_RULE_READINGS)->u.rule_readings;
        *asked = (struct lens_end_sequence){info.id, sequence};
        assert_int_equal(peer_ask(peer), LENS_MSG_RULE_READING_PAGE);
        const struct lens_rule_reading_page *page = &peer->answer.u.rule_reading_page;
        assert_int_equal(page->count, 2);
        assert_int_equal(page->rows[0].id, lens_rule_id_of("noisy"));
        assert_int_equal(page->rows[0].raised, sequence == 2);
        assert_true(page->rows[0].reading > 0.2f && page->rows[0].smoothed == page->rows[0].reading);
        assert_true(isnan(page->rows[0].deviation) && isnan(page->rows[0].trend));
        assert_true(isnan(page->rows[1].trend) == (sequence == 1)); /* none under a hundred readings */
    }
    peer_request(peer, LENS_MSG_RULE_READINGS)->u.rule_readings = (struct lens_end_sequence){info.id, 3};
    peer_ask_refused(peer, LENS_FAULT_NO_SUCH_SESSION);
    peer_request(peer, LENS_MSG_RULE_READINGS)->u.rule_readings = (struct lens_end_sequence){info.id + 1, 1};
    peer_ask_refused(peer, LENS_FAULT_NO_SUCH_SESSION);
    peer_close(peer);
    lens_client_close(s.client);
    service_world_close(w);
}

static void deviations_pin_their_concepts(void **state)
{
    (void)state;
    const char *const settings[] = {"alerts.rules=odd: on=Concept00150:4 deviation=2", "cascade.base_layers=0",
                                    "cascade.load_threshold=1", "cascade.keep_top_k=0", NULL};
    struct service_world *w = service_world_open(settings);
    struct sender s = sender_open(w);
    struct lens_answer answers[8];
    send_rows(&s, 1, 1, 0, answers);
    assert_int_equal(answers[0].counts.scored, 2); /* the root, and what the rule wants */
    lens_client_close(s.client);
    service_world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_row_that_trips_a_rule_carries_the_verdict),
        cmocka_unit_test(rows_of_one_submission_are_judged_one_by_one),
        cmocka_unit_test(sequences_have_states_of_their_own),
        cmocka_unit_test(events_and_totals_tell_of_it),
        cmocka_unit_test(a_swap_keeps_the_states_of_rules),
        cmocka_unit_test(what_rules_read_is_told_sequence_by_sequence),
        cmocka_unit_test(deviations_pin_their_concepts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
