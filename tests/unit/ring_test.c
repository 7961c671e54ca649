/* The rings of ring.h between two honest sides: what one puts in, the other gets, whole and in order; a full ring and a
 * sleeping side are noticed. */
#include "tests/unit/support/ring_pair.h"

/* ---- geometry --------------------------------------------------------------------------------------------------- */

static void a_layout_keeps_its_parts_apart(void **state)
{
    struct lens_ring_layout l = small_layout();
    (void)state;
    assert_int_equal(lens_ring_layout_init(&l, LIMIT), 0);
    assert_true(l.submit_offset >= sizeof(struct lens_shm_header));
    assert_true(l.result_offset >= l.submit_offset + SUBMIT_SLOTS * sizeof(struct lens_submit_descriptor));
    assert_true(l.payload_offset >= l.result_offset + (uint64_t)RESULT_SLOTS * l.result_stride);
    assert_true(l.total_bytes >= l.payload_offset + l.payload_bytes);
    assert_true(l.result_stride >= sizeof(struct lens_result_header) + EXPANDED * 4 + TOP_K * 16);
    assert_int_equal(l.result_stride % 64, 0);
    assert_int_equal(l.payload_offset % 64, 0);
    assert_true(l.payload_bytes >= 2 * largest());
}

static void a_layout_out_of_range_is_refused_unchanged(void **state)
{
    const struct poke pokes[] = {
        POKE(lens_ring_layout, dim, 0),
        POKE(lens_ring_layout, dim, UINT32_MAX),
        POKE(lens_ring_layout, max_rows, 0),
        POKE(lens_ring_layout, max_rows, LENS_MAX_ROWS + 1),
        POKE(lens_ring_layout, top_k, 0),
        POKE(lens_ring_layout, top_k, LENS_MAX_TOP_K + 1),
        POKE(lens_ring_layout, submit_slots, 1),
        POKE(lens_ring_layout, submit_slots, 12),
        POKE(lens_ring_layout, submit_slots, 8192),
        POKE(lens_ring_layout, result_slots, 2), /* below max_rows */
        POKE(lens_ring_layout, result_slots, 24),
        POKE(lens_ring_layout, result_slots, 131072),
        POKE(lens_ring_layout, payload_bytes, 2 * largest() - 64),
        POKE(lens_ring_layout, payload_bytes, 2 * largest() + 1),
        POKE(lens_ring_layout, payload_bytes, UINT64_MAX - 63),
        POKE(lens_ring_layout, expanded_capacity, UINT32_MAX),
        POKE(lens_ring_layout, expanded_capacity, LIMIT), /* beyond the limit in all */
    };
    (void)state;
    for (size_t i = 0; i < sizeof pokes / sizeof pokes[0]; i++) {
        struct lens_ring_layout l = small_layout(), before;
        poke(&l, &pokes[i]);
        before = l;
        assert_int_equal(lens_ring_layout_init(&l, LIMIT), -EINVAL);
        assert_memory_equal(&l, &before, sizeof l);
    }
    struct lens_ring_layout l = small_layout();
    assert_int_equal(lens_ring_layout_init(&l, 4096), -EINVAL);
    l.payload_bytes = UINT64_MAX - 63;
    assert_int_equal(lens_ring_layout_init(&l, UINT64_MAX), -EINVAL);
    l.payload_bytes = INT64_MAX - 63;
    assert_int_equal(lens_ring_layout_init(&l, UINT64_MAX), -EINVAL);
}

static void payload_bytes_never_overflow(void **state)
{
    (void)state;
    assert_int_equal(lens_payload_bytes(2560, 1, LENS_F32, false), 10240);
    assert_int_equal(lens_payload_bytes(2560, 1, LENS_BF16, false), 5120);
    assert_int_equal(lens_payload_bytes(3, 5, LENS_F16, true), 64 + 64);
    assert_int_equal(lens_payload_bytes(3, 5, LENS_I8, false), 0);
    assert_int_equal(lens_payload_bytes(3, 5, 255, false), 0);
    assert_int_equal(lens_payload_bytes(UINT32_MAX, UINT32_MAX, LENS_F32, true), 0);
    assert_int_equal(lens_payload_bytes(UINT32_MAX, 1, LENS_F32, false), 0);
    assert_int_equal(lens_payload_bytes(UINT32_MAX / 4, 1, LENS_F32, true), 0);
}

static int init_client(const struct pair *p, const struct lens_ring_layout *layout, uint64_t mapped)
{
    struct lens_ring_client client;
    uint64_t ends[SUBMIT_SLOTS];
    return lens_ring_client_init(&client, layout, p->memory, mapped, ends);
}

static void a_client_refuses_memory_that_is_not_as_announced(void **state)
{
    const struct poke in_layout[] = {
        POKE(lens_ring_layout, dim, 0),           POKE(lens_ring_layout, payload_bytes, 0),
        POKE(lens_ring_layout, result_stride, 0), POKE(lens_ring_layout, submit_offset, 64),
        POKE(lens_ring_layout, result_offset, 0), POKE(lens_ring_layout, payload_offset, 64),
        POKE(lens_ring_layout, total_bytes, 4096)};
    const struct poke in_header[] = {
        POKE(lens_shm_header, magic, 0),          POKE(lens_shm_header, version, 2),
        POKE(lens_shm_header, submit_slots, 4),   POKE(lens_shm_header, result_slots, 4),
        POKE(lens_shm_header, result_stride, 64), POKE(lens_shm_header, expanded_capacity, 1),
        POKE(lens_shm_header, top_k, 1),          POKE(lens_shm_header, dim, 1),
        POKE(lens_shm_header, max_rows, 1),       POKE(lens_shm_header, submit_offset, 0),
        POKE(lens_shm_header, result_offset, 0),  POKE(lens_shm_header, payload_offset, 0),
        POKE(lens_shm_header, payload_bytes, 0),  POKE(lens_shm_header, total_bytes, 0)};
    struct pair p;
    (void)state;
    open_pair(&p, 0);
    const struct lens_ring_layout good = p.server.layout;
    const struct lens_shm_header header = *p.header;
    assert_int_equal(init_client(&p, &good, good.total_bytes), 0);
    assert_int_equal(init_client(&p, &good, good.total_bytes - 1), -EPROTO);
    assert_int_equal(init_client(&p, &good, 64), -EPROTO);
    for (size_t i = 0; i < sizeof in_layout / sizeof in_layout[0]; i++) {
        struct lens_ring_layout l = good;
        poke(&l, &in_layout[i]);
        assert_int_equal(init_client(&p, &l, good.total_bytes), -EPROTO);
    }
    for (size_t i = 0; i < sizeof in_header / sizeof in_header[0]; i++) {
        poke(p.header, &in_header[i]);
        assert_int_equal(init_client(&p, &good, good.total_bytes), -EPROTO);
        *p.header = header;
    }
    close_pair(&p);
}

/* ---- the good path ---------------------------------------------------------------------------------------------- */

static void rows_and_token_ids_arrive_as_written(void **state)
{
    struct pair p;
    struct lens_submit_descriptor d;
    (void)state;
    open_pair(&p, 0);
    assert_false(lens_ring_server_pending(&p.server));
    assert_int_equal(take(&p, &d), 0);
    assert_int_equal(submit(&p, 3, LENS_F16, true, 7), 0);
    assert_true(lens_ring_server_pending(&p.server));
    assert_int_equal(take(&p, &d), 1);
    assert_int_equal(d.rows, 3);
    assert_int_equal(d.dtype, LENS_F16);
    assert_int_equal(d.flags, LENS_SUBMIT_TOKEN_IDS);
    assert_int_equal(d.serial, 0);
    const unsigned char *rows = lens_ring_server_rows(&p.server, &d);
    for (size_t i = 0; i < 3 * DIM * 2; i++)
        assert_int_equal(rows[i], 7);
    const int32_t *ids = lens_ring_server_token_ids(&p.server, &d);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ids[i], 7 + i);
    assert_int_equal(submit(&p, 1, LENS_F32, false, 9), 0);
    assert_int_equal(take(&p, &d), 1);
    assert_int_equal(d.serial, 1);
    assert_null(lens_ring_server_token_ids(&p.server, &d));
    assert_false(lens_ring_server_pending(&p.server));
    close_pair(&p);
}

static void results_are_read_in_place_and_in_order(void **state)
{
    struct pair p;
    struct lens_result result;
    struct lens_submit_descriptor d;
    (void)state;
    open_pair(&p, 0);
    assert_false(lens_ring_client_peek(&p.client, &result));
    assert_int_equal(submit(&p, 3, LENS_F32, false, 1), 0);
    assert_int_equal(take(&p, &d), 1);
    for (uint32_t row = 0; row < 3; row++)
        answer(&p, row);
    for (uint32_t row = 0; row < 3; row++) {
        assert_true(lens_ring_client_peek(&p.client, &result));
        assert_int_equal(result.header->row, row);
        assert_int_equal(result.n_detections, TOP_K);
        assert_int_equal(result.n_expanded, EXPANDED);
        assert_int_equal(result.detections[TOP_K - 1].id, 100 * row + TOP_K - 1);
        assert_int_equal(result.expanded[EXPANDED - 1], 1000 * row + EXPANDED - 1);
        lens_ring_client_release(&p.client);
    }
    assert_false(lens_ring_client_peek(&p.client, &result));
    assert_int_equal(p.client.results_owed, 0);
    lens_ring_client_release(&p.client); /* nothing to give back: nothing happens */
    assert_int_equal(p.header->result_tail, 3);
    close_pair(&p);
}

static void a_submission_that_would_cross_the_end_starts_over(void **state)
{
    struct pair p;
    struct lens_submit_descriptor d;
    (void)state;
    open_pair(&p, 2 * largest() + 64);
    const uint64_t size = p.server.layout.payload_bytes;
    bool wrapped = false;
    for (unsigned i = 0; i < 100; i++) {
        uint32_t rows = 1 + i % MAX_ROWS;
        assert_int_equal(submit(&p, rows, LENS_F32, i % 2 != 0, (unsigned char)i), 0);
        assert_int_equal(take(&p, &d), 1);
        const unsigned char *place = lens_ring_server_rows(&p.server, &d);
        assert_true(place + d.payload_bytes <= p.memory + p.server.layout.payload_offset + size);
        assert_int_equal(place[0], (unsigned char)i);
        assert_int_equal(place[rows * DIM * 4 - 1], (unsigned char)i);
        wrapped = wrapped || d.payload_offset >= size;
        lens_ring_server_release(&p.server, 1);
        for (uint32_t row = 0; row < rows; row++) {
            answer(&p, row);
            lens_ring_client_release(&p.client);
        }
    }
    assert_true(wrapped);
    close_pair(&p);
}

static void bytes_in_flight_are_never_handed_out_again(void **state)
{
    struct pair p;
    struct lens_submit_descriptor d[SUBMIT_SLOTS];
    (void)state;
    open_pair(&p, 2 * largest());
    unsigned n = 0;
    while (submit(&p, MAX_ROWS, LENS_F32, true, (unsigned char)n) == 0)
        n++;
    assert_int_equal(n, 2); /* both largest submissions fit, a third doesn't */
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(take(&p, &d[i]), 1);
        const unsigned char *rows = lens_ring_server_rows(&p.server, &d[i]);
        assert_int_equal(rows[0], i);
        assert_int_equal(rows[MAX_ROWS * DIM * 4 - 1], i);
    }
    lens_ring_server_release(&p.server, 1);
    assert_int_equal(submit(&p, MAX_ROWS, LENS_F32, true, 77), 0);
    assert_int_equal(((const unsigned char *)lens_ring_server_rows(&p.server, &d[1]))[0], 1);
    close_pair(&p);
}

/* ---- full rings ------------------------------------------------------------------------------------------------- */

static void a_full_submit_ring_is_eagain_until_one_is_given_back(void **state)
{
    struct pair p;
    struct lens_submit_descriptor d;
    (void)state;
    open_pair(&p, 0);
    for (int i = 0; i < SUBMIT_SLOTS; i++)
        assert_int_equal(submit(&p, 1, LENS_F32, false, 1), 0);
    assert_int_equal(submit(&p, 1, LENS_F32, false, 1), -EAGAIN);
    assert_int_equal(take(&p, &d), 1);
    assert_int_equal(submit(&p, 1, LENS_F32, false, 1), -EAGAIN); /* taken is not given back */
    lens_ring_server_release(&p.server, 1);
    assert_int_equal(submit(&p, 1, LENS_F32, false, 1), 0);
    lens_ring_server_release(&p.server, 1000); /* no more than were taken */
    assert_int_equal(p.header->submit_tail, 1);
    close_pair(&p);
}

static void no_more_results_are_owed_than_fit(void **state)
{
    struct pair p;
    struct lens_submit_descriptor d;
    (void)state;
    open_pair(&p, 1 << 20);
    for (int i = 0; i < RESULT_SLOTS / MAX_ROWS; i++)
        assert_int_equal(submit(&p, MAX_ROWS, LENS_F32, false, 1), 0);
    assert_int_equal(submit(&p, 1, LENS_F32, false, 1), -EAGAIN);
    while (take(&p, &d) == 1) {
        for (uint32_t row = 0; row < d.rows; row++)
            answer(&p, row);
        lens_ring_server_release(&p.server, 1);
    }
    assert_int_equal(lens_ring_client_dropped(&p.client), 0);
    assert_int_equal(submit(&p, 1, LENS_F32, false, 1), -EAGAIN); /* unread answers still hold their slots */
    lens_ring_client_release(&p.client);
    assert_int_equal(submit(&p, 1, LENS_F32, false, 1), 0);
    close_pair(&p);
}

static void a_full_result_ring_drops_and_counts(void **state)
{
    struct pair p;
    struct lens_result result;
    (void)state;
    open_pair(&p, 0);
    for (uint32_t i = 0; i < RESULT_SLOTS; i++)
        answer(&p, i);
    for (int i = 0; i < 3; i++)
        assert_false(lens_ring_server_reserve(&p.server, &result));
    assert_int_equal(lens_ring_client_dropped(&p.client), 3);
    assert_true(lens_ring_client_peek(&p.client, &result));
    assert_int_equal(result.header->row, 0);
    lens_ring_client_release(&p.client);
    assert_true(lens_ring_server_reserve(&p.server, &result));
    close_pair(&p);
}

static void bad_requests_of_the_client_are_einval(void **state)
{
    struct pair p;
    (void)state;
    open_pair(&p, 0);
    assert_int_equal(submit(&p, 0, LENS_F32, false, 1), -EINVAL);
    assert_int_equal(submit(&p, MAX_ROWS + 1, LENS_F32, false, 1), -EINVAL);
    assert_int_equal(submit(&p, 1, LENS_I8, false, 1), -EINVAL);
    assert_int_equal(p.header->submit_head, 0);
    close_pair(&p);
}

/* ---- sleep and wake --------------------------------------------------------------------------------------------- */

static void a_sleeping_daemon_wants_its_doorbell(void **state)
{
    struct pair p;
    struct lens_submit_descriptor d;
    void *rows;
    (void)state;
    open_pair(&p, 0);
    assert_int_equal(lens_ring_client_acquire(&p.client, 1, LENS_F32, false, &d, &rows, NULL), 0);
    assert_false(lens_ring_client_submit(&p.client, &d));
    lens_ring_server_set_sleeping(&p.server, true);
    assert_int_equal(lens_ring_client_acquire(&p.client, 1, LENS_F32, false, &d, &rows, NULL), 0);
    assert_true(lens_ring_client_submit(&p.client, &d));
    lens_ring_server_set_sleeping(&p.server, false);
    assert_int_equal(lens_ring_client_acquire(&p.client, 1, LENS_F32, false, &d, &rows, NULL), 0);
    assert_false(lens_ring_client_submit(&p.client, &d));
    close_pair(&p);
}

static void a_sleeping_client_is_woken_once_and_as_it_asked(void **state)
{
    struct pair p;
    enum lens_client_sleep how = LENS_CLIENT_ON_SOCKET;
    uint32_t before = 99;
    (void)state;
    open_pair(&p, 0);
    assert_false(lens_ring_server_wake_due(&p.server, &how));
    assert_int_equal(how, LENS_CLIENT_AWAKE);
    uint32_t *word = lens_ring_client_set_sleeping(&p.client, LENS_CLIENT_ON_FUTEX, &before);
    assert_int_equal(before, *word);
    assert_true(lens_ring_server_wake_due(&p.server, &how));
    assert_int_equal(how, LENS_CLIENT_ON_FUTEX);
    assert_int_not_equal(before, *word); /* a client about to wait on the old value doesn't */
    assert_false(lens_ring_server_wake_due(&p.server, &how));
    lens_ring_client_set_sleeping(&p.client, LENS_CLIENT_ON_SOCKET, NULL);
    assert_true(lens_ring_server_wake_due(&p.server, &how));
    assert_int_equal(how, LENS_CLIENT_ON_SOCKET);
    p.header->client_sleeping = 77; /* no way of sleeping */
    assert_false(lens_ring_server_wake_due(&p.server, &how));
    lens_ring_client_set_sleeping(&p.client, LENS_CLIENT_ON_FUTEX, NULL);
    lens_ring_client_set_sleeping(&p.client, LENS_CLIENT_AWAKE, NULL);
    assert_false(lens_ring_server_wake_due(&p.server, &how));
    close_pair(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layout_keeps_its_parts_apart),
        cmocka_unit_test(a_layout_out_of_range_is_refused_unchanged),
        cmocka_unit_test(payload_bytes_never_overflow),
        cmocka_unit_test(a_client_refuses_memory_that_is_not_as_announced),
        cmocka_unit_test(rows_and_token_ids_arrive_as_written),
        cmocka_unit_test(results_are_read_in_place_and_in_order),
        cmocka_unit_test(a_submission_that_would_cross_the_end_starts_over),
        cmocka_unit_test(bytes_in_flight_are_never_handed_out_again),
        cmocka_unit_test(a_full_submit_ring_is_eagain_until_one_is_given_back),
        cmocka_unit_test(no_more_results_are_owed_than_fit),
        cmocka_unit_test(a_full_result_ring_drops_and_counts),
        cmocka_unit_test(bad_requests_of_the_client_are_einval),
        cmocka_unit_test(a_sleeping_daemon_wants_its_doorbell),
        cmocka_unit_test(a_sleeping_client_is_woken_once_and_as_it_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
