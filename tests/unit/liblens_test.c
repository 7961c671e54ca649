/* liblens against a fake daemon: what a caller is promised in lens.h, while the daemon behaves. What happens when it
 * doesn't is in liblens_faults_test.c. */
#include "tests/unit/support/liblens_rig.h"

#include <poll.h>

/* ---- connecting ------------------------------------------------------------------------------------------------- */

static void without_a_daemon_open_says_so(void **state)
{
    struct lens_client *client = NULL;
    struct lens_client_error err = {0};
    (void)state;
    assert_int_equal(lens_client_open("/nonexistent/lensd.sock", &client, &err), -ENOENT);
    assert_int_equal(err.code, -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/lensd.sock"));
    assert_null(client);
    assert_int_equal(lens_client_open("/nonexistent/lensd.sock", &client, NULL), -ENOENT);
}

static void a_socket_nobody_listens_at_is_refused(void **state)
{
    struct rig rig;
    struct lens_client *client = NULL;
    (void)state;
    rig_open_daemon(&rig);
    fake_daemon_stop(&rig.daemon);
    assert_int_equal(lens_client_open(rig.path, &client, NULL), -ECONNREFUSED);
    assert_null(client);
    unlink(rig.path);
    rmdir(rig.directory);
}

static void a_path_too_long_for_a_socket_is_refused_whole(void **state)
{
    struct lens_client *client = NULL;
    struct lens_client_error err = {0};
    char path[200];
    (void)state;
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(lens_client_open(path, &client, &err), -ENAMETOOLONG);
    assert_null(client);
}

static void the_environment_names_the_socket(void **state)
{
    struct rig rig;
    struct lens_client *client = NULL;
    (void)state;
    rig_open_daemon(&rig);
    setenv("XDG_RUNTIME_DIR", rig.directory, 1);
    unsetenv("LENSD_SOCKET");
    assert_int_equal(lens_client_open(NULL, &client, NULL), 0);
    lens_client_close(client);
    setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
    setenv("LENSD_SOCKET", rig.path, 1);
    assert_int_equal(lens_client_open(NULL, &client, NULL), 0);
    lens_client_close(client);
    setenv("LENSD_SOCKET", "/nonexistent/lensd.sock", 1);
    assert_int_equal(lens_client_open(NULL, &client, NULL), -ENOENT);
    unsetenv("LENSD_SOCKET");
    unsetenv("XDG_RUNTIME_DIR");
    rig_close_daemon(&rig);
}

static void the_daemon_introduces_itself(void **state)
{
    struct rig rig;
    struct lens_hello_ok hello;
    (void)state;
    rig_open(&rig, NULL);
    memset(&hello, 0xa5, sizeof hello);
    lens_control_daemon(rig.client, &hello);
    assert_int_equal(hello.daemon_pid, 77);
    assert_int_equal(hello.start_time_ns, 88);
    assert_int_equal(hello.role, LENS_PEER_OPERATOR);
    assert_int_equal(hello.daemon_version.length, 6);
    assert_memory_equal(hello.daemon_version.data, "fake-1", 6);
    rig_close(&rig);
}

static void a_refused_request_brings_the_daemons_sentence_and_code(void **state)
{
    static struct lens_msg msg;
    struct rig rig;
    struct lens_client_error err = {0};
    (void)state;
    rig_open(&rig, NULL);
    msg.type = LENS_MSG_EXPLAIN;
    msg.u.explain = (struct lens_explain){.concept = lens_text_of("Animal:1")};
    assert_int_equal(lens_control_call(rig.client, &msg, &msg, LENS_CONTROL_TIMEOUT_MS, &err), -EREMOTEIO);
    assert_int_equal(msg.type, LENS_MSG_ERROR);
    assert_int_equal(msg.u.fault.code, LENS_FAULT_UNSUPPORTED);
    assert_string_equal(err.text, "the fake can't do that");
    msg.type = (enum lens_msg_type)63;
    assert_int_equal(lens_control_call(rig.client, &msg, &msg, LENS_CONTROL_TIMEOUT_MS, &err), -EINVAL);
    rig_close(&rig);
}

/* ---- sessions --------------------------------------------------------------------------------------------------- */

static void a_session_knows_its_pack(void **state)
{
    struct rig rig;
    struct lens_session_info info;
    (void)state;
    rig_open(&rig, NULL);
    memset(&info, 0xa5, sizeof info);
    lens_session_get_info(rig.session, &info);
    assert_string_equal(info.pack, "fake-pack");
    assert_string_equal(info.model_id, "fake/model");
    assert_string_equal(info.tap_layer, "17");
    assert_string_equal(info.tap_point, "after");
    assert_int_equal(info.dim, FAKE_DIM);
    assert_int_equal(info.lenses, FAKE_LENSES);
    assert_int_equal(info.max_rows, 1);
    assert_int_equal(info.top_k, 10);
    assert_int_equal(info.generation, 1);
    assert_int_equal(info.id, rig.daemon.next_session);
    rig_close(&rig);
}

static void defaults_leave_every_choice_to_the_daemon(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    assert_int_equal(rig.daemon.attach.options_set, 0);
    assert_int_equal(rig.daemon.attach.n_pinned, 0);
    assert_int_equal(rig.daemon.attach.max_rows, 1);
    assert_int_equal(rig.daemon.attach.submit_slots, 64);
    assert_int_equal(rig.daemon.attach.result_slots, 64);
    assert_string_equal(rig.daemon.pack, "");
    assert_string_equal(rig.daemon.label, program_invocation_short_name);
    rig_close(&rig);
}

static void every_parameter_reaches_the_daemon(void **state)
{
    const uint8_t layers[] = {0, 2, 63};
    const uint32_t pinned[] = {7, 5};
    const char *const patterns[] = {"A:1/*", "B?:*"};
    struct lens_session_params p = {.pack = "gemma",
                                    .max_rows = 5,
                                    .queue_depth = 9,
                                    .result_slots = 70,
                                    .max_sequences = 3,
                                    .max_expanded = 12,
                                    .top_k = 20,
                                    .keep_top_k = -1,
                                    .max_depth = 2,
                                    .max_scored = 99,
                                    .load_threshold = 0.25f,
                                    .unload_threshold = 0.125f,
                                    .suppress_at = 0.75f,
                                    .expand = 1,
                                    .report = 2,
                                    .rank = 1,
                                    .uncalibrated = 1,
                                    .suppress_parents = 1,
                                    .miss = 2,
                                    .base_layers = layers,
                                    .n_base_layers = 3,
                                    .pinned = pinned,
                                    .n_pinned = 2,
                                    .include = patterns,
                                    .n_include = 2,
                                    .exclude = patterns + 1,
                                    .n_exclude = 1,
                                    .filter = patterns,
                                    .n_filter = 1,
                                    .label = "tester"};
    struct rig rig;
    (void)state;
    rig_open(&rig, &p);
    const struct lens_attach *a = &rig.daemon.attach;
    assert_string_equal(rig.daemon.pack, "gemma");
    assert_string_equal(rig.daemon.label, "tester");
    assert_int_equal(a->max_rows, 5);
    assert_int_equal(a->submit_slots, 16);
    assert_int_equal(a->result_slots, 128);
    assert_int_equal(a->max_sequences, 3);
    assert_int_equal(a->expanded_capacity, 12);
    assert_int_equal(a->options_set, LENS_OPT_ALL);
    assert_int_equal(a->options.top_k, 20);
    assert_int_equal(a->options.keep_top_k, -1);
    assert_int_equal(a->options.max_depth, 2);
    assert_int_equal(a->options.max_scored, 99);
    assert_true(a->options.load_threshold == 0.25f && a->options.unload_threshold == 0.125f);
    assert_true(a->options.suppress_at == 0.75f && a->options.suppress_parents);
    assert_int_equal(a->options.expand, LENS_EXPAND_TOPK);
    assert_int_equal(a->options.report, LENS_REPORT_LEAVES);
    assert_int_equal(a->options.rank, LENS_RANK_CALIBRATED);
    assert_int_equal(a->options.uncalibrated, LENS_UNCALIBRATED_HALF);
    assert_int_equal(a->options.miss, LENS_MISS_SKIP);
    assert_true(a->options.base_layers == (UINT64_C(1) << 63 | 5));
    assert_int_equal(a->n_pinned, 2);
    assert_int_equal(a->pinned[0], 7);
    assert_int_equal(a->pinned[1], 5);
    assert_string_equal(rig.daemon.patterns, "include A:1/* B?:* exclude B?:* filter A:1/*");
    rig_close(&rig);
}

static void patterns_that_no_daemon_could_take_are_refused_here(void **state)
{
    char longest[LENS_PATTERN_MAX + 2];
    const char *many[LENS_MAX_PATTERNS + 1];
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    for (int i = 0; i < 5; i++) {
        struct lens_session_params p;
        struct lens_session *session = NULL;
        struct lens_client_error err = {0};
        lens_session_params_default(&p);
        for (uint32_t k = 0; k <= LENS_MAX_PATTERNS; k++)
            many[k] = i == 1 ? "" : i == 2 ? longest : i == 4 ? longest + 1 : "A:1";
        p.filter = i == 3 ? NULL : many;
        p.n_filter = i == 0 ? LENS_MAX_PATTERNS + 1 : i == 4 ? LENS_MAX_PATTERNS : 1;
        int r = lens_session_open(rig.client, &p, &session, &err);
        assert_int_equal(r, i == 4 ? -EMSGSIZE : -EINVAL); /* the last: each fine, all of them more than a packet */
        assert_null(session);
        assert_true(strlen(err.text) > 10);
    }
    rig_close(&rig);
}

static void parameters_out_of_bounds_never_leave_the_process(void **state)
{
    const uint8_t layer = 64;
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    for (int i = 0; i < 10; i++) {
        struct lens_session_params p;
        struct lens_session *session = NULL;
        struct lens_client_error err = {0};
        lens_session_params_default(&p);
        p.max_rows = i == 0 ? 65 : 1;
        p.queue_depth = i == 1 ? 4097 : 0;
        p.top_k = i == 2 ? 257 : i == 3 ? 0 : -1;
        p.expand = i == 4 ? 2 : -1;
        p.load_threshold = i == 5 ? 1.5f : -1.0f;
        p.suppress_at = i == 6 ? (float)NAN : -1.0f;
        p.base_layers = i == 7 ? &layer : NULL;
        p.n_base_layers = 1;
        p.n_pinned = i == 8 ? 257 : 0;
        p.max_depth = i == 9 ? 65 : -1;
        assert_int_equal(lens_session_open(rig.client, &p, &session, &err), -EINVAL);
        assert_null(session);
        assert_int_equal(err.code, -EINVAL);
        assert_true(strlen(err.text) > 10);
    }
    rig_close(&rig);
}

static void a_closed_session_is_detached(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    lens_session_close(rig.session);
    assert_int_equal(rig.daemon.detached, 1);
    lens_session_close(NULL);
    lens_client_close(NULL);
    rig.session = NULL;
    rig_close(&rig);
}

static void an_ended_sequence_is_told_to_the_daemon(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    assert_int_equal(lens_session_end_sequence(rig.session, 5, NULL), 0);
    assert_int_equal(rig.daemon.ended, 1);
    rig_close(&rig);
}

/* ---- rows and answers ------------------------------------------------------------------------------------------- */

static void an_answer_carries_everything_of_its_row(void **state)
{
    struct lens_session_params p;
    struct lens_answer a;
    struct lens_slot slot;
    struct rig rig;
    (void)state;
    lens_session_params_default(&p);
    p.max_rows = 3;
    rig_open(&rig, &p);
    memset(&slot, 0xa5, sizeof slot);
    assert_int_equal(lens_session_acquire(rig.session, 3, LENS_TYPE_F16, LENS_SLOT_TOKEN_IDS, &slot), 0);
    assert_int_equal(slot.n, 3);
    assert_true(slot.sequence == 0 && slot.tag == 0 && slot.flags == 0 && slot.deadline_ns == 0);
    for (int row = 0; row < 3; row++) {
        memset((unsigned char *)slot.rows + row * FAKE_DIM * 2, 40 + row, FAKE_DIM * 2);
        slot.token_ids[row] = 500 + row;
    }
    slot.sequence = 3;
    slot.tag = 0xabcdef;
    slot.first_position = 1000;
    slot.flags = LENS_SLOT_LAST;
    assert_int_equal(lens_session_submit(rig.session, &slot), 0);
    for (unsigned row = 0; row < 3; row++) {
        memset(&a, 0xa5, sizeof a);
        assert_int_equal(lens_session_wait(rig.session, 5000000, &a), 0);
        assert_true(a.sequence == 3 && a.tag == 0xabcdef && a.position == 1000 + row);
        assert_true(a.serial == 0 && a.row == row && a.rows == 3 && a.token_id == 500 + (int)row);
        assert_true(a.status == LENS_ROW_PARTIAL && a.reason == 0 && a.flags == LENS_ROW_STALE);
        assert_true(a.verdict == 9 && a.verdict_rule == 10 && a.generation == 1);
        assert_true(a.n_hits == 1 && a.hits[0].id == 40 + row && a.hits[0].score == 0.5f);
        assert_true(a.hits[0].raw == 0.25f && a.hits[0].logit == -2.0f);
        assert_true(a.n_expanded_stored == 1 && a.expanded[0] == 0);
        assert_true(a.counts.scored == 1 && a.counts.expanded == 2 && a.counts.loaded == 3);
        assert_true(a.counts.slot_hits == 4 && a.counts.host_hits == 5 && a.counts.cold == 6 && a.counts.missing == 7);
        assert_true(a.ns.queue == 11 && a.ns.copy_in == 12 && a.ns.base == 13 && a.ns.load == 14);
        assert_true(a.ns.expand == 15 && a.ns.select == 16 && a.ns.copy_out == 17 && a.ns.total == 18);
        lens_session_release(rig.session);
    }
    assert_int_equal(lens_session_poll(rig.session, &a), -EAGAIN);
    rig_close(&rig);
}

static void many_submissions_come_back_in_order(void **state)
{
    struct rig rig;
    struct lens_answer a;
    unsigned sent = 0, got = 0;
    (void)state;
    rig_open(&rig, NULL);
    while (got < 2000) {
        if (sent < 2000 && rig_send(&rig, (unsigned char)sent, sent) == 0) {
            sent++;
            continue;
        }
        assert_int_equal(lens_session_wait(rig.session, 5000000, &a), 0);
        assert_int_equal(a.tag, got);
        assert_int_equal(a.hits[0].id, got % 256);
        lens_session_release(rig.session);
        got++;
    }
    rig_close(&rig);
}

static void an_answer_not_released_is_given_again(void **state)
{
    struct rig rig;
    struct lens_answer a;
    (void)state;
    rig_open(&rig, NULL);
    assert_int_equal(rig_send(&rig, 1, 10), 0);
    assert_int_equal(rig_send(&rig, 2, 11), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(lens_session_wait(rig.session, 5000000, &a), 0);
        assert_int_equal(a.tag, 10);
    }
    lens_session_release(rig.session);
    lens_session_release(rig.session); /* nothing is held: nothing happens */
    assert_int_equal(lens_session_wait(rig.session, 5000000, &a), 0);
    assert_int_equal(a.tag, 11);
    rig_close(&rig);
}

static void bad_slots_are_einval(void **state)
{
    struct rig rig;
    struct lens_slot slot, other;
    (void)state;
    rig_open(&rig, NULL);
    assert_int_equal(lens_session_acquire(rig.session, 0, LENS_TYPE_F32, 0, &slot), -EINVAL);
    assert_int_equal(lens_session_acquire(rig.session, 2, LENS_TYPE_F32, 0, &slot), -EINVAL);
    assert_int_equal(lens_session_acquire(rig.session, 1, (enum lens_type)3, 0, &slot), -EINVAL);
    assert_int_equal(lens_session_acquire(rig.session, 1, LENS_TYPE_F32, LENS_SLOT_LAST, &slot), -EINVAL);
    assert_int_equal(lens_session_acquire(rig.session, 1, LENS_TYPE_F32, 0, &slot), 0);
    assert_null(slot.token_ids);
    other = slot;
    slot.flags = 1u << 7;
    assert_int_equal(lens_session_submit(rig.session, &slot), -EINVAL);
    slot.flags = 0;
    assert_int_equal(lens_session_submit(rig.session, &slot), 0);
    assert_int_equal(lens_session_submit(rig.session, &other), -EINVAL); /* the same room twice */
    rig_close(&rig);
}

static void a_full_ring_is_eagain_and_counted(void **state)
{
    struct lens_session_params p;
    struct rig rig;
    struct lens_answer a;
    (void)state;
    lens_session_params_default(&p);
    p.queue_depth = 4;
    rig_open(&rig, &p);
    rig.daemon.faults.hold = true;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(rig_send(&rig, 1, i), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(rig_send(&rig, 1, 9), -EAGAIN);
    assert_int_equal(lens_session_dropped(rig.session), 3);
    rig.daemon.faults.hold = false;
    assert_int_equal(lens_session_wait(rig.session, 5000000, &a), 0);
    lens_session_release(rig.session);
    assert_int_equal(rig_send(&rig, 1, 9), 0);
    assert_int_equal(lens_session_lost(rig.session), 0);
    rig_close(&rig);
}

/* ---- waiting ---------------------------------------------------------------------------------------------------- */

static void waiting_ends_in_time(void **state)
{
    (void)state;
    for (int spin = 0; spin < 2; spin++) {
        struct lens_session_params p;
        struct lens_answer a;
        struct rig rig;
        lens_session_params_default(&p);
        p.spin_us = spin ? 5000 : 0;
        rig_open(&rig, &p);
        uint64_t before = rig_now_ms();
        assert_int_equal(lens_session_wait(rig.session, 0, &a), -ETIMEDOUT);
        assert_int_equal(lens_session_wait(rig.session, 250000, &a), -ETIMEDOUT);
        uint64_t took = rig_now_ms() - before;
        assert_true(took >= 250 && took < 2000);
        rig_close(&rig);
    }
}

static void a_sleeper_is_woken_by_its_answer(void **state)
{
    struct rig rig;
    struct lens_answer a;
    (void)state;
    rig_open(&rig, NULL);
    rig.daemon.faults.delay_ms = 30;
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(rig_send(&rig, 3, i), 0);
        assert_int_equal(lens_session_wait(rig.session, UINT64_MAX, &a), 0);
        assert_int_equal(a.tag, i);
        lens_session_release(rig.session);
    }
    rig_close(&rig);
}

static void an_event_loop_sees_answers_on_the_descriptor(void **state)
{
    struct rig rig;
    struct lens_answer a;
    (void)state;
    rig_open(&rig, NULL);
    rig.daemon.faults.delay_ms = 20;
    for (unsigned i = 0; i < 5; i++) {
        struct pollfd fd = {.fd = lens_session_fd(rig.session), .events = POLLIN};
        assert_int_equal(rig_send(&rig, 3, i), 0);
        if (lens_session_arm(rig.session) == 0)
            assert_int_equal(poll(&fd, 1, 5000), 1);
        assert_int_equal(lens_session_poll(rig.session, &a), 0);
        assert_int_equal(a.tag, i);
        lens_session_release(rig.session);
        assert_int_equal(lens_session_poll(rig.session, &a), -EAGAIN);
    }
    rig_close(&rig);
}

static void arming_says_when_answers_already_wait(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, NULL);
    assert_int_equal(lens_session_arm(rig.session), 0);
    assert_int_equal(rig_send(&rig, 3, 1), 0);
    rig_wait_served(&rig, 1);
    assert_int_equal(lens_session_arm(rig.session), 1);
    rig_close(&rig);
}

/* Both share a socket; the packet that wakes one may be read while the other is armed. */
static void arming_one_session_never_swallows_the_wake_of_another(void **state)
{
    struct rig rig;
    struct lens_session_params p;
    struct lens_session *other = NULL;
    struct lens_answer a;
    (void)state;
    rig_open(&rig, NULL);
    lens_session_params_default(&p);
    assert_int_equal(lens_session_open(rig.client, &p, &other, NULL), 0);
    assert_int_equal(lens_session_fd(other), lens_session_fd(rig.session));
    assert_int_equal(lens_session_arm(rig.session), 0);
    assert_int_equal(rig_send(&rig, 3, 1), 0);
    rig_wait_served(&rig, 1);
    assert_int_equal(lens_session_arm(other), 1);
    assert_int_equal(lens_session_poll(other, &a), -EAGAIN);
    assert_int_equal(lens_session_poll(rig.session, &a), 0);
    lens_session_release(rig.session);
    assert_int_equal(lens_session_arm(other), 0);
    rig_close(&rig);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

static void names_are_fetched_once_and_kept(void **state)
{
    struct rig rig;
    struct lens_client_error err = {0};
    (void)state;
    rig_open(&rig, NULL);
    for (int round = 0; round < 2; round++) {
        assert_string_equal(lens_session_concept(rig.session, 5, &err), "Lens5.1:2");
        assert_string_equal(lens_session_concept(rig.session, 44, &err), "Lens44.1:2");
        assert_string_equal(lens_session_concept(rig.session, 149, &err), "Lens149.1:2");
    }
    assert_int_equal(rig.daemon.concept_pages, 2);
    assert_null(lens_session_concept(rig.session, FAKE_LENSES, &err));
    assert_int_equal(err.code, -ENOENT);
    assert_null(lens_session_concept(rig.session, UINT32_MAX, &err));
    rig_close(&rig);
}

static void names_of_a_swapped_pack_replace_the_old(void **state)
{
    struct rig rig;
    struct lens_answer a;
    (void)state;
    rig_open(&rig, NULL);
    assert_string_equal(lens_session_concept(rig.session, 5, NULL), "Lens5.1:2");
    rig.daemon.generation = 2;
    assert_string_equal(lens_session_concept(rig.session, 5, NULL), "Lens5.1:2"); /* nothing told us yet */
    assert_int_equal(rig_send(&rig, 3, 1), 0);
    assert_int_equal(lens_session_wait(rig.session, 5000000, &a), 0);
    assert_int_equal(a.generation, 2);
    assert_string_equal(lens_session_concept(rig.session, 5, NULL), "Lens5.2:2");
    assert_string_equal(lens_session_concept(rig.session, 6, NULL), "Lens6.2:0");
    assert_int_equal(rig.daemon.concept_pages, 2);
    rig_close(&rig);
}

static void ids_of_an_answer_older_than_a_swap_get_no_name_of_the_new_pack(void **state)
{
    struct rig rig;
    struct lens_answer a;
    struct lens_client_error err = {0};
    (void)state;
    rig_open(&rig, NULL);
    assert_int_equal(rig_send(&rig, 3, 1), 0);
    assert_int_equal(lens_session_wait(rig.session, 5000000, &a), 0);
    assert_int_equal(a.generation, 1);
    rig.daemon.generation = 2; /* swapped after it answered */
    assert_null(lens_session_concept(rig.session, 5, &err));
    assert_int_equal(err.code, -ESTALE);
    lens_session_release(rig.session);
    assert_string_equal(lens_session_concept(rig.session, 5, &err), "Lens5.2:2");
    rig_close(&rig);
}

static void every_reason_has_a_sentence(void **state)
{
    (void)state;
    for (unsigned reason = 0; reason < 256; reason++) {
        bool known = reason <= LENS_REASON_ENGINE_FAILURE;
        assert_int_equal(known, strcmp(lens_reason_text((uint8_t)reason), "unknown reason") != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_daemon_open_says_so),
        cmocka_unit_test(a_socket_nobody_listens_at_is_refused),
        cmocka_unit_test(a_path_too_long_for_a_socket_is_refused_whole),
        cmocka_unit_test(the_environment_names_the_socket),
        cmocka_unit_test(the_daemon_introduces_itself),
        cmocka_unit_test(a_refused_request_brings_the_daemons_sentence_and_code),
        cmocka_unit_test(a_session_knows_its_pack),
        cmocka_unit_test(defaults_leave_every_choice_to_the_daemon),
        cmocka_unit_test(every_parameter_reaches_the_daemon),
        cmocka_unit_test(patterns_that_no_daemon_could_take_are_refused_here),
        cmocka_unit_test(parameters_out_of_bounds_never_leave_the_process),
        cmocka_unit_test(a_closed_session_is_detached),
        cmocka_unit_test(an_ended_sequence_is_told_to_the_daemon),
        cmocka_unit_test(an_answer_carries_everything_of_its_row),
        cmocka_unit_test(many_submissions_come_back_in_order),
        cmocka_unit_test(an_answer_not_released_is_given_again),
        cmocka_unit_test(bad_slots_are_einval),
        cmocka_unit_test(a_full_ring_is_eagain_and_counted),
        cmocka_unit_test(waiting_ends_in_time),
        cmocka_unit_test(a_sleeper_is_woken_by_its_answer),
        cmocka_unit_test(an_event_loop_sees_answers_on_the_descriptor),
        cmocka_unit_test(arming_says_when_answers_already_wait),
        cmocka_unit_test(arming_one_session_never_swallows_the_wake_of_another),
        cmocka_unit_test(names_are_fetched_once_and_kept),
        cmocka_unit_test(names_of_a_swapped_pack_replace_the_old),
        cmocka_unit_test(ids_of_an_answer_older_than_a_swap_get_no_name_of_the_new_pack),
        cmocka_unit_test(every_reason_has_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
