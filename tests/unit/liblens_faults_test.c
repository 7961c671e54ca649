/* liblens when the daemon dies, hangs, restarts, or answers nonsense: a call returns what lens.h says, soon, and
 * nothing of the caller's process is lost. */
#include "tests/unit/support/liblens_rig.h"

#include <time.h>

static void pause_ms(long ms)
{
    const struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&span, NULL);
}

/* Calls until the session works again. */
static void calls_until_back(struct rig *rig)
{
    uint64_t patience = rig_now_ms() + 10000;
    pause_ms(120); /* a loss is noticed within 100 ms */
    while (rig_now_ms() < patience) {
        int r = rig_send(rig, 1, 55);
        if (r == 0)
            return;
        assert_int_equal(r, -ENOTCONN);
        pause_ms(5);
    }
    fail_msg("the session never came back");
}

static void send_and_get(struct rig *rig, uint64_t tag)
{
    struct lens_answer a;
    assert_int_equal(rig_send(rig, 1, tag), 0);
    assert_int_equal(lens_session_wait(rig->session, 5000000, &a), 0);
    assert_int_equal(a.tag, tag);
    lens_session_release(rig->session);
}

/* ---- a daemon that goes and comes ------------------------------------------------------------------------------- */

static void a_dead_daemon_ends_a_wait_soon(void **state)
{
    struct rig rig;
    struct lens_answer a;
    (void)state;
    rig_open(&rig, NULL);
    rig.daemon.faults.hold = true;
    assert_int_equal(rig_send(&rig, 1, 1), 0);
    rig_kill_daemon(&rig);
    uint64_t before = rig_now_ms();
    assert_int_equal(lens_session_wait(rig.session, UINT64_MAX, &a), -ENOTCONN);
    assert_true(rig_now_ms() - before < 1000);
    assert_int_equal(lens_session_lost(rig.session), 1);
    assert_int_equal(lens_session_wait(rig.session, UINT64_MAX, &a), -ENOTCONN); /* still nobody there */
    rig_start_daemon(&rig);
    rig_close(&rig);
}

static void a_session_comes_back_with_its_parameters(void **state)
{
    const uint32_t pinned[] = {3, 4};
    struct lens_session_params p;
    struct rig rig;
    char pack[] = "gemma", label[] = "mine";
    char branch[] = "Deception:1/*";
    const char *excluded[] = {"War:2", branch}, *filtered[] = {"*:3"};
    uint32_t lent[] = {3, 4};
    (void)state;
    lens_session_params_default(&p);
    p.exclude = excluded;
    p.n_exclude = 2;
    p.filter = filtered;
    p.n_filter = 1;
    p.pack = pack;
    p.label = label;
    p.pinned = lent;
    p.n_pinned = 2;
    p.keep_top_k = 7;
    rig_open(&rig, &p);
    memset(pack, 'x', 5); /* ours to change once open returned */
    memset(label, 'x', 4);
    memset(branch, 'x', 4);
    memset(lent, 0, sizeof lent);
    send_and_get(&rig, 1);
    rig_kill_daemon(&rig);
    rig_start_daemon(&rig);
    calls_until_back(&rig);
    assert_string_equal(rig.daemon.pack, "gemma");
    assert_string_equal(rig.daemon.label, "mine");
    assert_int_equal(rig.daemon.attach.options_set, LENS_OPT_KEEP_TOP_K);
    assert_int_equal(rig.daemon.attach.options.keep_top_k, 7);
    assert_int_equal(rig.daemon.attach.n_pinned, 2);
    assert_memory_equal(rig.daemon.attach.pinned, pinned, sizeof pinned);
    assert_string_equal(rig.daemon.patterns, "include exclude War:2 Deception:1/* filter *:3");
    rig_close(&rig);
}

static void submissions_without_answer_are_counted_as_lost(void **state)
{
    struct rig rig;
    struct lens_answer a;
    (void)state;
    rig_open(&rig, NULL);
    send_and_get(&rig, 1);
    rig.daemon.faults.hold = true;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(rig_send(&rig, 1, i), 0);
    rig_kill_daemon(&rig);
    rig_start_daemon(&rig);
    assert_int_equal(lens_session_wait(rig.session, UINT64_MAX, &a), -ENOTCONN);
    assert_int_equal(lens_session_lost(rig.session), 3);
    calls_until_back(&rig);
    assert_int_equal(lens_session_wait(rig.session, 5000000, &a), 0);
    assert_int_equal(a.tag, 55);
    assert_int_equal(a.serial, 0); /* sequences and serials start afresh */
    assert_int_equal(lens_session_lost(rig.session), 3);
    rig_close(&rig);
}

static void answers_that_had_arrived_survive_the_daemon(void **state)
{
    struct rig rig;
    struct lens_answer a;
    (void)state;
    rig_open(&rig, NULL);
    assert_int_equal(rig_send(&rig, 1, 1), 0);
    assert_int_equal(rig_send(&rig, 1, 2), 0);
    rig_wait_served(&rig, 2);
    rig_kill_daemon(&rig);
    pause_ms(150);
    for (unsigned tag = 1; tag <= 2; tag++) {
        assert_int_equal(lens_session_wait(rig.session, 1000000, &a), 0);
        assert_int_equal(a.tag, tag);
        lens_session_release(rig.session);
    }
    assert_int_equal(lens_session_wait(rig.session, 1000000, &a), -ENOTCONN);
    assert_int_equal(lens_session_lost(rig.session), 0);
    rig_start_daemon(&rig);
    rig_close(&rig);
}

static void a_held_answer_stays_readable_until_it_is_released(void **state)
{
    struct rig rig;
    struct lens_answer a;
    (void)state;
    rig_open(&rig, NULL);
    assert_int_equal(rig_send(&rig, 77, 1), 0);
    assert_int_equal(lens_session_wait(rig.session, 5000000, &a), 0);
    rig_kill_daemon(&rig);
    rig_start_daemon(&rig);
    for (int i = 0; i < 30; i++) {
        rig_send(&rig, 1, 2);
        pause_ms(10);
    }
    assert_int_equal(lens_session_acquire(rig.session, 1, LENS_TYPE_F32, 0, &(struct lens_slot){0}), -ENOTCONN);
    assert_int_equal(a.hits[0].id, 77);
    assert_int_equal(rig.daemon.accepted, 0); /* not attached again meanwhile */
    lens_session_release(rig.session);
    calls_until_back(&rig);
    assert_int_equal(lens_session_wait(rig.session, 5000000, &a), 0);
    assert_int_equal(a.hits[0].id, 1);
    rig_close(&rig);
}

static void a_slot_from_before_is_void_but_harmless(void **state)
{
    struct rig rig;
    struct lens_slot slot;
    (void)state;
    rig_open(&rig, NULL);
    assert_int_equal(lens_session_acquire(rig.session, 1, LENS_TYPE_F32, 0, &slot), 0);
    rig_kill_daemon(&rig);
    pause_ms(150);
    memset(slot.rows, 1, FAKE_DIM * sizeof(float)); /* still there to write to */
    assert_int_equal(lens_session_submit(rig.session, &slot), -ENOTCONN);
    rig_start_daemon(&rig);
    calls_until_back(&rig);
    memset(slot.rows, 1, FAKE_DIM * sizeof(float));
    assert_int_equal(lens_session_submit(rig.session, &slot), -ENOTCONN);
    rig_close(&rig);
}

static void attempts_to_reconnect_are_rare_and_short(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig_kill_daemon(&rig);
    rig_start_daemon(&rig);
    rig.daemon.faults.garbage = true; /* takes connections, spoils every hello */
    pause_ms(120);
    uint64_t before = rig_now_ms(), longest = 0;
    while (rig_now_ms() - before < 500) {
        uint64_t start = rig_now_ms();
        rig_send(&rig, 1, 1);
        if (rig_now_ms() - start > longest)
            longest = rig_now_ms() - start;
    }
    assert_in_range(rig.daemon.accepted, 1, 11);
    assert_true(longest < 1000);
    rig.daemon.faults.garbage = false;
    calls_until_back(&rig);
    rig_close(&rig);
}

static void a_daemon_that_says_goodbye_is_gone(void **state)
{
    struct rig rig;
    struct lens_answer a;
    (void)state;
    rig_open(&rig, NULL);
    rig.daemon.say_goodbye_to = -1;
    assert_int_equal(lens_session_wait(rig.session, 2000000, &a), -ENOTCONN);
    calls_until_back(&rig); /* it was back at once */
    assert_int_equal(rig.daemon.accepted, 2);
    rig_close(&rig);
}

static void a_goodbye_to_one_session_leaves_the_other(void **state)
{
    struct rig rig;
    struct lens_session_params p;
    struct lens_session_info info;
    struct lens_session *other = NULL;
    struct lens_answer a;
    (void)state;
    rig_open(&rig, NULL);
    lens_session_params_default(&p);
    assert_int_equal(lens_session_open(rig.client, &p, &other, NULL), 0);
    lens_session_get_info(other, &info);
    rig.daemon.say_goodbye_to = (int)info.id;
    assert_int_equal(lens_session_wait(other, 2000000, &a), -ENOTCONN);
    send_and_get(&rig, 4);
    assert_int_equal(rig.daemon.accepted, 1);
    rig_close(&rig);
}

static void requests_work_again_after_a_restart(void **state)
{
    struct rig rig;
    struct lens_client_error err = {0};
    (void)state;
    rig_open(&rig, NULL);
    assert_non_null(lens_session_concept(rig.session, 1, &err));
    rig_kill_daemon(&rig);
    assert_int_equal(lens_session_end_sequence(rig.session, 1, &err), -ENOTCONN);
    assert_int_equal(err.code, -ENOTCONN);
    rig_start_daemon(&rig);
    rig.daemon.generation = 6;
    calls_until_back(&rig);
    assert_int_equal(lens_session_end_sequence(rig.session, 1, &err), 0);
    assert_string_equal(lens_session_concept(rig.session, 1, &err), "Lens1.6:1");
    rig_close(&rig);
}

/* ---- a daemon that answers nonsense ----------------------------------------------------------------------------- */

static void a_silent_daemon_costs_a_second_at_most(void **state)
{
    struct rig rig;
    struct lens_client *client = NULL;
    struct lens_client_error err = {0};
    (void)state;
    rig_open_daemon(&rig);
    rig.daemon.faults.silent = true;
    uint64_t before = rig_now_ms();
    assert_int_equal(lens_client_open(rig.path, &client, &err), -ETIMEDOUT);
    assert_true(rig_now_ms() - before >= 900 && rig_now_ms() - before < 3000);
    assert_null(client);
    assert_non_null(strstr(err.text, "did not answer"));
    rig_close_daemon(&rig);
}

static void a_daemon_fallen_silent_stalls_a_session_once(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig_kill_daemon(&rig);
    rig_start_daemon(&rig);
    rig.daemon.faults.silent = true;
    pause_ms(120);
    uint64_t before = rig_now_ms();
    while (rig_now_ms() - before < 1800)
        assert_int_equal(rig_send(&rig, 1, 1), -ENOTCONN);
    assert_int_equal(rig.daemon.accepted, 1);
    rig.daemon.faults.silent = false;
    rig_close(&rig);
}

static void garbage_and_wrong_answers_break_the_connection_not_the_client(void **state)
{
    struct rig rig;
    struct lens_client_error err = {0};
    (void)state;
    rig_open(&rig, NULL);
    rig.daemon.faults.garbage = true;
    assert_int_equal(lens_session_end_sequence(rig.session, 1, &err), -EBADMSG);
    rig.daemon.faults.garbage = false;
    calls_until_back(&rig);
    rig.daemon.faults.wrong_id = true;
    assert_int_equal(lens_session_end_sequence(rig.session, 1, &err), -EPROTO);
    rig.daemon.faults.wrong_id = false;
    calls_until_back(&rig);
    rig_close(&rig);
}

static void notices_between_request_and_answer_are_no_answers(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    rig.daemon.faults.chatty = true;
    assert_int_equal(lens_session_end_sequence(rig.session, 1, NULL), 0);
    assert_string_equal(lens_session_concept(rig.session, 1, NULL), "Lens1.1:1");
    send_and_get(&rig, 1);
    assert_int_equal(rig.daemon.accepted, 1);
    rig_close(&rig);
}

static void a_refused_attach_brings_the_sentence_and_leaves_the_client(void **state)
{
    struct rig rig;
    struct lens_session_params p;
    struct lens_session *session = NULL;
    struct lens_client_error err = {0};
    (void)state;
    rig_open(&rig, NULL);
    lens_session_params_default(&p);
    rig.daemon.faults.refuse_attach = true;
    assert_int_equal(lens_session_open(rig.client, &p, &session, &err), -EREMOTEIO);
    assert_string_equal(err.text, "no room for another session");
    assert_null(session);
    send_and_get(&rig, 1);
    rig_close(&rig);
}

static void an_attachment_that_is_not_sound_is_not_mapped(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct rig rig;
        struct lens_session_params p;
        struct lens_session *session = NULL;
        struct lens_client_error err = {0};
        lens_session_params_default(&p);
        rig_open_daemon(&rig);
        assert_int_equal(lens_client_open(rig.path, &rig.client, NULL), 0);
        rig.daemon.faults.unsealed = i == 0;
        rig.daemon.faults.short_memory = i == 1;
        rig.daemon.faults.no_fds = i == 2;
        rig.daemon.faults.many_fds = i == 3;
        rig.daemon.faults.wrong_layout = i == 4;
        assert_int_equal(lens_session_open(rig.client, &p, &session, &err), -EPROTO);
        assert_null(session);
        assert_true(strlen(err.text) > 10);
        lens_client_close(rig.client);
        rig_close_daemon(&rig); /* and no descriptor stayed behind */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_daemon_ends_a_wait_soon),
        cmocka_unit_test(a_session_comes_back_with_its_parameters),
        cmocka_unit_test(submissions_without_answer_are_counted_as_lost),
        cmocka_unit_test(answers_that_had_arrived_survive_the_daemon),
        cmocka_unit_test(a_held_answer_stays_readable_until_it_is_released),
        cmocka_unit_test(a_slot_from_before_is_void_but_harmless),
        cmocka_unit_test(attempts_to_reconnect_are_rare_and_short),
        cmocka_unit_test(a_daemon_that_says_goodbye_is_gone),
        cmocka_unit_test(a_goodbye_to_one_session_leaves_the_other),
        cmocka_unit_test(requests_work_again_after_a_restart),
        cmocka_unit_test(a_silent_daemon_costs_a_second_at_most),
        cmocka_unit_test(a_daemon_fallen_silent_stalls_a_session_once),
        cmocka_unit_test(garbage_and_wrong_answers_break_the_connection_not_the_client),
        cmocka_unit_test(notices_between_request_and_answer_are_no_answers),
        cmocka_unit_test(a_refused_attach_brings_the_sentence_and_leaves_the_client),
        cmocka_unit_test(an_attachment_that_is_not_sound_is_not_mapped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
