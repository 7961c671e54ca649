/* The engine over real rings, in one process: batching never changes an answer, clients can't hurt each other, and
 * everything that goes wrong is answered. */
#include "daemon/batch.h"
#include "daemon/sys.h"
#include "tests/unit/support/engine_world.h"
#include "tests/unit/support/expected.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/futex.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SMALL "tests/fixtures/hatcat-small"

/* ---- two clients ------------------------------------------------------------------------------------------------ */

enum { SUBMISSIONS = 60, SEQUENCES = 8, DIM = 40 };

/* What one client sends, and a digest of what it got for each row, in order of submission. */
struct script {
    unsigned seed;
    struct lens_cascade_options options;
    uint64_t digest[SUBMISSIONS * 64];
    uint32_t rows;
};

static uint64_t mix(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ p[i]) * UINT64_C(1099511628211);
    return hash;
}

static uint64_t digest_of(const struct lens_result *r)
{
    const struct lens_result_header *h = r->header;
    uint64_t hash = mix(UINT64_C(14695981039346656037), &h->counts.scored, sizeof h->counts.scored);
    hash = mix(hash, &h->status, 1);
    hash = mix(hash, &h->flags, 1);
    hash = mix(hash, &h->sequence, sizeof h->sequence);
    hash = mix(hash, r->expanded, h->expanded_stored * sizeof *r->expanded);
    return mix(hash, r->detections, h->detections * sizeof *r->detections);
}

static void collect(struct ring_client *c, struct script *s, const uint32_t *first_row, uint32_t *received)
{
    struct lens_result r;
    while (lens_ring_client_peek(&c->ring, &r)) {
        s->digest[first_row[r.header->serial] + r.header->row] = digest_of(&r);
        (*received)++;
        lens_ring_client_release(&c->ring);
    }
}

static void play(struct ring_client *c, struct script *s)
{
    static _Thread_local float rows[64 * DIM];
    unsigned seed = s->seed;
    uint32_t first_row[SUBMISSIONS], received = 0;
    s->rows = 0;
    for (uint32_t i = 0; i < SUBMISSIONS; i++) {
        uint32_t n = 1 + (uint32_t)rand_r(&seed) % 64;
        uint64_t sequence = (uint64_t)rand_r(&seed) % SEQUENCES;
        uint32_t flags = rand_r(&seed) % 11 == 0 ? LENS_SUBMIT_LAST : 0;
        random_rows(rows, (size_t)n * DIM, &seed);
        first_row[i] = s->rows;
        s->rows += n;
        while (submit_rows(c, sequence, rows, n, flags) == -EAGAIN)
            collect(c, s, first_row, &received);
    }
    uint64_t give_up = lensd_now_ns() + UINT64_C(60000000000);
    while (received < s->rows && lensd_now_ns() < give_up)
        collect(c, s, first_row, &received);
    assert_int_equal(received, s->rows);
}

struct player {
    struct ring_client client;
    struct script *script;
};

static void *play_one(void *arg)
{
    struct player *p = arg;
    play(&p->client, p->script);
    return NULL;
}

/* Attaching and detaching are the loop thread's, here the test's; playing is each client's own. */
static void play_all(struct engine_world *w, struct script *scripts, uint32_t n)
{
    struct player players[2];
    pthread_t threads[2];
    for (uint32_t i = 0; i < n; i++) {
        struct lensd_session_request request = session_request_of(&scripts[i].options, SEQUENCES);
        players[i].script = &scripts[i];
        open_ring_client(w, &request, &players[i].client);
    }
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, play_one, &players[i]), 0);
    for (uint32_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < n; i++)
        close_ring_client(w, &players[i].client);
}

static void two_clients_at_once_each_get_what_they_get_alone(void **state)
{
    (void)state;
    static struct script alone[2], together[2];
    unsigned seed = (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    for (unsigned i = 0; i < 2; i++) {
        memset(&alone[i], 0xa5, sizeof alone[i]);
        alone[i].seed = seed + i;
        lens_options_default(&alone[i].options);
    }
    alone[1].options.expand = LENS_EXPAND_TOPK;
    alone[1].options.rank = LENS_RANK_CALIBRATED;
    alone[1].options.report = LENS_REPORT_ALL;
    alone[1].options.base_layers = 1;
    alone[1].options.keep_top_k = 5;
    memcpy(together, alone, sizeof alone);
    for (unsigned i = 0; i < 2; i++) {
        struct engine_world *w = open_world(0, 50, NULL);
        play_all(w, &alone[i], 1);
        close_world(w);
    }
    struct engine_world *w = open_world(40, 50, NULL); /* and with fewer slots than lenses */
    play_all(w, together, 2);
    close_world(w);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(together[i].rows, alone[i].rows);
        for (uint32_t r = 0; r < alone[i].rows; r++)
            assert_true(together[i].digest[r] == alone[i].digest[r]);
    }
}

/* ---- what goes wrong -------------------------------------------------------------------------------------------- */

static void default_client(struct engine_world *w, struct ring_client *c)
{
    struct lens_cascade_options options;
    lens_options_default(&options);
    struct lensd_session_request request = session_request_of(&options, 2);
    open_ring_client(w, &request, c);
}

static void a_row_with_nan_is_invalid_and_its_neighbours_are_not(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, NULL);
    struct ring_client c;
    float rows[3 * DIM];
    unsigned seed = 1;
    default_client(w, &c);
    random_rows(rows, 3 * DIM, &seed);
    rows[DIM + 7] = NAN;
    assert_int_equal(submit_rows(&c, 1, rows, 3, 0), 0);
    for (uint32_t i = 0; i < 3; i++) {
        struct lens_result r = next_result(&c);
        assert_int_equal(r.header->row, i);
        assert_int_equal(r.header->status, i == 1 ? LENS_ROW_INVALID_INPUT : LENS_ROW_COMPLETE);
        assert_int_equal(r.header->reason, i == 1 ? LENS_REASON_NOT_FINITE : LENS_REASON_NONE);
        assert_int_equal(r.header->detections, i == 1 ? 0 : 10);
        lens_ring_client_release(&c.ring);
    }
    close_ring_client(w, &c);
    close_world(w);
}

static void more_sequences_than_asked_for_are_refused_with_the_reason(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, NULL);
    struct ring_client c;
    float row[DIM];
    unsigned seed = 2;
    default_client(w, &c);
    random_rows(row, DIM, &seed);
    for (uint64_t sequence = 0; sequence < 3; sequence++) {
        assert_int_equal(submit_rows(&c, sequence, row, 1, 0), 0);
        struct lens_result r = next_result(&c);
        assert_int_equal(r.header->status, sequence < 2 ? LENS_ROW_COMPLETE : LENS_ROW_INVALID_INPUT);
        assert_int_equal(r.header->reason, sequence < 2 ? 0 : LENS_REASON_TOO_MANY_SEQUENCES);
        lens_ring_client_release(&c.ring);
    }
    lensd_engine_end_sequence(w->engine, c.session, 0);
    assert_int_equal(submit_rows(&c, 2, row, 1, LENS_SUBMIT_LAST), 0);
    assert_int_equal(next_result(&c).header->status, LENS_ROW_COMPLETE);
    lens_ring_client_release(&c.ring);
    close_ring_client(w, &c);
    close_world(w);
}

/* The place of a sequence that ends is there for the next one, whether or not both are in the queue already. */
static void a_new_sequence_waits_for_the_place_of_one_that_ends(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, NULL);
    struct ring_client c;
    struct lens_cascade_options options;
    float row[DIM];
    unsigned seed = 2;
    lens_options_default(&options);
    struct lensd_session_request request = session_request_of(&options, 1);
    make_ring_client(w, &request, &c);
    random_rows(row, DIM, &seed);
    for (uint64_t sequence = 1; sequence <= 4; sequence++) {
        assert_int_equal(submit_rows(&c, sequence, row, 1, 0), 0);
        assert_int_equal(submit_rows(&c, sequence, row, 1, sequence < 4 ? LENS_SUBMIT_LAST : 0), 0);
    }
    assert_int_equal(submit_rows(&c, 5, row, 1, 0), 0);
    attach_client(w, &c);
    for (int i = 0; i < 9; i++) {
        /* the fifth is refused: nothing before it ends the fourth */
        struct lens_result r = next_result(&c);
        bool refused = r.header->sequence == 5;
        assert_int_equal(r.header->status, refused ? LENS_ROW_INVALID_INPUT : LENS_ROW_COMPLETE);
        assert_int_equal(r.header->reason, refused ? LENS_REASON_TOO_MANY_SEQUENCES : 0);
        lens_ring_client_release(&c.ring);
    }
    close_ring_client(w, &c);
    close_world(w);
}

static void rows_of_another_tap_are_refused(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, NULL);
    struct ring_client c;
    struct lens_submit_descriptor d;
    void *place;
    const uint16_t taps[] = {0, 17, 16};
    w->served.tap = 17;
    default_client(w, &c);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(lens_ring_client_acquire(&c.ring, 1, LENS_F32, false, &d, &place, NULL), 0);
        d.tap = taps[i];
        (void)lens_ring_client_submit(&c.ring, &d);
        uint64_t one = 1;
        assert_int_equal(write(c.session->doorbell, &one, sizeof one), sizeof one);
        struct lens_result r = next_result(&c);
        assert_int_equal(r.header->status, i < 2 ? LENS_ROW_COMPLETE : LENS_ROW_INVALID_INPUT);
        assert_int_equal(r.header->reason, i < 2 ? 0 : LENS_REASON_BAD_DESCRIPTOR);
        lens_ring_client_release(&c.ring);
    }
    close_ring_client(w, &c);
    close_world(w);
}

static void a_descriptor_that_breaks_the_rules_is_answered_and_counted(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, NULL);
    struct ring_client c;
    struct lens_submit_descriptor d;
    void *place;
    default_client(w, &c);
    assert_int_equal(lens_ring_client_acquire(&c.ring, 1, LENS_F32, false, &d, &place, NULL), 0);
    d.payload_offset += 13; /* not on a boundary */
    (void)lens_ring_client_submit(&c.ring, &d);
    uint64_t one = 1;
    assert_int_equal(write(c.session->doorbell, &one, sizeof one), sizeof one);
    struct lens_result r = next_result(&c);
    assert_int_equal(r.header->status, LENS_ROW_INVALID_INPUT);
    assert_int_equal(r.header->reason, LENS_REASON_BAD_DESCRIPTOR);
    lens_ring_client_release(&c.ring);
    assert_int_equal(c.session->statistics->invalid_rows, 1);
    close_ring_client(w, &c);
    close_world(w);
}

static void a_forged_index_breaks_only_its_own_session(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, NULL);
    struct ring_client evil, good;
    float row[DIM];
    unsigned seed = 3;
    default_client(w, &evil);
    default_client(w, &good);
    struct lens_shm_header *header = (struct lens_shm_header *)evil.session->ring.base;
    __atomic_store_n(&header->submit_head, UINT64_C(1) << 32, __ATOMIC_RELEASE);
    uint64_t one = 1;
    assert_int_equal(write(evil.session->doorbell, &one, sizeof one), sizeof one);
    random_rows(row, DIM, &seed);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(submit_rows(&good, 1, row, 1, 0), 0);
        assert_int_equal(next_result(&good).header->status, LENS_ROW_COMPLETE);
        lens_ring_client_release(&good.ring);
    }
    assert_int_equal(w->broken, 1);
    assert_true(atomic_load(&evil.session->broken));
    assert_false(atomic_load(&good.session->broken));
    close_ring_client(w, &evil);
    close_ring_client(w, &good);
    close_world(w);
}

static void a_client_that_never_reads_loses_results_and_they_are_counted(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, NULL);
    struct ring_client c;
    struct lens_cascade_options options;
    float rows[64 * DIM];
    unsigned seed = 4;
    lens_options_default(&options);
    struct lensd_session_request request = session_request_of(&options, 2);
    request.layout.result_slots = 64;
    open_ring_client(w, &request, &c);
    random_rows(rows, 64 * DIM, &seed);
    for (int i = 0; i < 3; i++) {
        c.ring.results_owed = 0; /* a client that ignores its credit */
        while (submit_rows(&c, 1, rows, 64, 0) == -EAGAIN)
            c.ring.results_owed = 0;
    }
    uint64_t give_up = lensd_now_ns() + UINT64_C(10000000000);
    /* the session's count comes last: after the ring's, and after the submission is given back */
    while (__atomic_load_n(&c.session->statistics->dropped_rows, __ATOMIC_RELAXED) < 128 && lensd_now_ns() < give_up)
        sched_yield();
    assert_int_equal(lens_ring_client_dropped(&c.ring), 128);
    assert_int_equal(__atomic_load_n(&c.session->statistics->dropped_rows, __ATOMIC_RELAXED), 128);
    close_ring_client(w, &c);
    close_world(w);
}

static void a_full_submit_ring_is_eagain(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, "run * slow:50");
    struct ring_client c;
    float row[DIM];
    unsigned seed = 5;
    int sent = 0;
    default_client(w, &c);
    random_rows(row, DIM, &seed);
    while (sent < 1000 && submit_rows(&c, 1, row, 1, 0) == 0)
        sent++;
    assert_in_range(sent, 16, 40); /* the ring's 16 slots, and what a few turns took meanwhile */
    for (int i = 0; i < sent; i++) {
        assert_int_equal(next_result(&c).header->status, LENS_ROW_COMPLETE);
        lens_ring_client_release(&c.ring);
    }
    close_ring_client(w, &c);
    close_world(w);
}

/* Else a client that meets EAGAIN with nothing in flight would wait for an answer that can't come. */
static void who_has_all_answers_has_all_room_again(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 1000, NULL);
    struct ring_client c;
    float rows[3 * DIM];
    unsigned seed = 9;
    default_client(w, &c);
    const struct lens_shm_header *header = (const struct lens_shm_header *)c.session->ring.base;
    random_rows(rows, sizeof rows / sizeof *rows, &seed);
    rows[DIM] = NAN; /* invalid rows are answered on the same way out, refused submissions on another */
    for (uint32_t round = 0; round < 300; round++) {
        uint32_t submissions = 1 + round % 5, read = 0;
        for (uint64_t i = 0; i < submissions; i++)
            assert_int_equal(submit_rows(&c, round % 2 + i * (round % 3), rows, 3, 0), 0);
        while (read < 3 * submissions) {
            next_result(&c);
            if (++read == 3 * submissions)
                assert_int_equal(__atomic_load_n(&header->submit_tail, __ATOMIC_ACQUIRE), header->submit_head);
            lens_ring_client_release(&c.ring);
        }
    }
    close_ring_client(w, &c);
    close_world(w);
}

static void a_failing_backend_answers_degraded_and_recovers(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, "run 2 eio");
    struct ring_client c;
    assert_int_equal(lensd_pool_preload(w->served.pool, NULL, NULL, NULL), 0); /* one run a row from now on */
    float row[DIM];
    unsigned seed = 6;
    default_client(w, &c);
    random_rows(row, DIM, &seed);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(submit_rows(&c, 1, row, 1, 0), 0);
        struct lens_result r = next_result(&c);
        assert_int_equal(r.header->status, i == 2 ? LENS_ROW_PARTIAL : LENS_ROW_COMPLETE);
        assert_int_equal(r.header->flags, i == 2 ? LENS_ROW_DEGRADED : 0);
        assert_int_equal(r.header->reason, i == 2 ? LENS_REASON_ENGINE_FAILURE : 0);
        lens_ring_client_release(&c.ring);
    }
    struct lens_error last;
    assert_int_equal(lensd_engine_failure(w->engine, &last), 1);
    assert_int_equal(last.code, -EIO);
    assert_int_equal(w->failed, 1);
    close_ring_client(w, &c);
    close_world(w);
}

static void skip_answers_partial_now_and_loads_behind(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, NULL); /* room for all, none loaded yet */
    struct ring_client c;
    struct lens_cascade_options options;
    float row[DIM];
    unsigned seed = 7;
    lens_options_default(&options);
    options.miss = LENS_MISS_SKIP;
    struct lensd_session_request request = session_request_of(&options, 2);
    open_ring_client(w, &request, &c);
    random_rows(row, DIM, &seed);
    assert_int_equal(submit_rows(&c, 1, row, 1, 0), 0);
    struct lens_result r = next_result(&c);
    assert_int_equal(r.header->status, LENS_ROW_PARTIAL);
    assert_int_equal(r.header->counts.scored, 0);
    assert_true(r.header->counts.missing >= 5);
    lens_ring_client_release(&c.ring);
    uint8_t status = LENS_ROW_PARTIAL;
    for (int i = 0; i < 200 && status == LENS_ROW_PARTIAL; i++) {
        usleep(1000);
        assert_int_equal(submit_rows(&c, 1, row, 1, LENS_SUBMIT_RESET), 0);
        status = next_result(&c).header->status;
        lens_ring_client_release(&c.ring);
    }
    assert_int_equal(status, LENS_ROW_COMPLETE);
    close_ring_client(w, &c);
    close_world(w);
}

static void base_and_pins_that_leave_no_free_slot_are_refused(void **state)
{
    (void)state;
    struct engine_world *w = open_world(10, 50, NULL);
    struct lens_cascade_options options;
    struct lensd_session *session;
    struct lens_error err = {0};
    lens_options_default(&options);
    struct lensd_session_request request = session_request_of(&options, 2);
    assert_int_equal(lensd_session_create(&request, &w->served, &session, &err), 0);
    assert_int_equal(lensd_engine_attach(w->engine, session, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "pool.slots"));
    lensd_session_destroy(session);
    close_world(w);
}

static bool engine_sleeps(const struct ring_client *c)
{
    const struct lens_shm_header *header = (const struct lens_shm_header *)c->ring.base;
    return __atomic_load_n(&header->daemon_sleeping, __ATOMIC_ACQUIRE) != 0;
}

static void how_long_it_spins_changes_while_it_runs(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 4000000000, NULL); /* an hour: it never gets to sleep */
    struct ring_client c;
    float row[DIM];
    default_client(w, &c);
    one_row(row, 3);
    ask_row(&c, row, 0);
    usleep(20000);
    assert_false(engine_sleeps(&c));
    lensd_engine_set_spin(w->engine, 0);
    for (int i = 0; i < 20000 && !engine_sleeps(&c); i++)
        usleep(1000);
    assert_true(engine_sleeps(&c));
    ask_row(&c, row, 0);
    close_ring_client(w, &c);
    close_world(w);
}

static void foresight_comes_and_goes_while_rows_do(void **state)
{
    (void)state;
    struct engine_world *w = open_world(40, 50, NULL);
    struct ring_client c;
    struct lens_error err = {0};
    float row[DIM];
    default_client(w, &c);
    for (unsigned i = 0; i < 60; i++) {
        one_row(row, i % 5);
        assert_int_equal(lensd_engine_set_prefetch(w->engine, &w->served, i % 7 < 4, &err), 0);
        assert_true(lensd_pool_foresees(w->served.pool) == (i % 7 < 4));
        assert_int_equal(ask_row(&c, row, 0).status, LENS_ROW_COMPLETE);
    }
    close_ring_client(w, &c);
    close_world(w);
}

static void a_sleeping_client_is_woken_and_a_sleeping_daemon_hears_the_doorbell(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 0, NULL); /* the engine sleeps at once */
    struct ring_client c;
    float row[DIM];
    unsigned seed = 8;
    default_client(w, &c);
    random_rows(row, DIM, &seed);
    for (int i = 0; i < 50; i++) {
        struct lens_result r;
        struct timespec limit = {5, 0};
        uint32_t value;
        usleep(i % 5 == 0 ? 2000 : 0);
        assert_int_equal(submit_rows(&c, 1, row, 1, 0), 0);
        uint32_t *word = lens_ring_client_set_sleeping(&c.ring, LENS_CLIENT_ON_FUTEX, &value);
        while (!lens_ring_client_peek(&c.ring, &r)) {
            long woken = syscall(SYS_futex, word, FUTEX_WAIT, value, &limit, NULL, 0);
            assert_true(woken == 0 || errno == EAGAIN || errno == EINTR);
            word = lens_ring_client_set_sleeping(&c.ring, LENS_CLIENT_ON_FUTEX, &value);
        }
        (void)lens_ring_client_set_sleeping(&c.ring, LENS_CLIENT_AWAKE, &value);
        assert_int_equal(r.header->status, LENS_ROW_COMPLETE);
        lens_ring_client_release(&c.ring);
    }
    close_ring_client(w, &c);
    close_world(w);
}

static void a_swap_moves_sessions_between_two_rows_and_says_so(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, NULL);
    struct ring_client c;
    struct lens_error err = {0};
    struct lensd_served_pack next = {.name = "next", .generation = 2};
    struct lensd_pool_config config = {.max_batch_rows = 128};
    struct lensd_binding binding;
    float row[DIM];
    unsigned seed = 9;
    next.pack = import_for_test(SMALL, LENS_BF16);
    assert_int_equal(lensd_pool_create(w->backend, next.pack, &config, &next.pool, &err), 0);
    assert_int_equal(lensd_batch_create(128, next.pack->lenses, &next.batch), 0);
    default_client(w, &c);
    random_rows(row, DIM, &seed);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(submit_rows(&c, 1, row, 1, 0), 0);
        struct lens_result r = next_result(&c);
        assert_int_equal(r.header->pack_generation, i == 0 ? 1 : 2);
        assert_int_equal(r.header->flags, i == 1 ? LENS_ROW_STALE : 0);
        lens_ring_client_release(&c.ring);
        if (i != 0)
            continue;
        assert_int_equal(lensd_binding_create(c.session, &next, &binding, &err), 0);
        assert_int_equal(lensd_engine_swap(w->engine, &c.session, &binding, 1, &err), 0);
        assert_ptr_equal(binding.served, &w->served); /* the old one, for us to destroy */
        lensd_binding_destroy(&binding);
    }
    close_ring_client(w, &c);
    lensd_batch_destroy(next.batch);
    lensd_pool_destroy(next.pool);
    lens_pack_close(next.pack);
    close_world(w);
}

/* Ids mean something else in another pack: what is pinned is the concept. */
static void a_swap_keeps_what_is_pinned_by_its_key(void **state)
{
    (void)state;
    struct engine_world *w = open_world(0, 50, NULL);
    struct ring_client c;
    struct lens_cascade_options options;
    struct lensd_served_pack next = {.name = "next", .generation = 2};
    struct lensd_binding binding;
    struct lens_error err = {0};
    uint32_t pinned[2], liquid;
    next.pack = import_for_test("tests/fixtures/hatcat-flat", LENS_F32);
    assert_int_equal(lens_pack_find(w->served.pack, "Echo:1", &pinned[0]), 0); /* the next pack hasn't got it */
    assert_int_equal(lens_pack_find(w->served.pack, "Liquid:1", &pinned[1]), 0);
    assert_int_equal(lens_pack_find(next.pack, "Liquid:1", &liquid), 0);
    assert_int_not_equal(liquid, pinned[1]);
    lens_options_default(&options);
    struct lensd_session_request request = session_request_of(&options, 2);
    request.pinned = pinned;
    request.n_pinned = 2;
    open_ring_client(w, &request, &c);
    assert_int_equal(lensd_binding_create(c.session, &next, &binding, &err), 0);
    assert_int_equal(binding.n_pinned, 1);
    assert_int_equal(binding.pinned[0], liquid);
    lensd_binding_destroy(&binding);
    close_ring_client(w, &c);
    lens_pack_close(next.pack);
    close_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_clients_at_once_each_get_what_they_get_alone),
        cmocka_unit_test(a_row_with_nan_is_invalid_and_its_neighbours_are_not),
        cmocka_unit_test(more_sequences_than_asked_for_are_refused_with_the_reason),
        cmocka_unit_test(a_new_sequence_waits_for_the_place_of_one_that_ends),
        cmocka_unit_test(rows_of_another_tap_are_refused),
        cmocka_unit_test(a_descriptor_that_breaks_the_rules_is_answered_and_counted),
        cmocka_unit_test(a_forged_index_breaks_only_its_own_session),
        cmocka_unit_test(a_client_that_never_reads_loses_results_and_they_are_counted),
        cmocka_unit_test(a_full_submit_ring_is_eagain),
        cmocka_unit_test(who_has_all_answers_has_all_room_again),
        cmocka_unit_test(a_failing_backend_answers_degraded_and_recovers),
        cmocka_unit_test(skip_answers_partial_now_and_loads_behind),
        cmocka_unit_test(base_and_pins_that_leave_no_free_slot_are_refused),
        cmocka_unit_test(how_long_it_spins_changes_while_it_runs),
        cmocka_unit_test(foresight_comes_and_goes_while_rows_do),
        cmocka_unit_test(a_sleeping_client_is_woken_and_a_sleeping_daemon_hears_the_doorbell),
        cmocka_unit_test(a_swap_moves_sessions_between_two_rows_and_says_so),
        cmocka_unit_test(a_swap_keeps_what_is_pinned_by_its_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
