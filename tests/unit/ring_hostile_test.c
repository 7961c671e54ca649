/* The rings of ring.h against a forger: whatever stands in the shared memory, each side reads and writes no further
 * than it should, and goes on working. */
#include "tests/unit/support/ring_pair.h"

static void a_forged_submit_head_is_eproto(void **state)
{
    static const uint64_t forged[] = {SUBMIT_SLOTS + 3, 1, 0, UINT64_MAX, UINT64_C(1) << 32, (UINT64_C(1) << 32) + 2};
    (void)state;
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        struct pair p;
        struct lens_submit_descriptor d;
        open_pair(&p, 0);
        assert_int_equal(submit(&p, 1, LENS_F32, false, 1), 0);
        assert_int_equal(submit(&p, 1, LENS_F32, false, 1), 0);
        assert_int_equal(take(&p, &d), 1);
        assert_int_equal(take(&p, &d), 1);
        lens_ring_server_release(&p.server, 1);
        p.header->submit_head = forged[i];
        assert_int_equal(take(&p, &d), -EPROTO);
        assert_int_equal(take(&p, &d), -EPROTO);
        close_pair(&p);
    }
}

static void a_forged_result_tail_only_drops(void **state)
{
    static const uint64_t forged[] = {3, UINT64_MAX - 100, UINT64_C(1) << 32, UINT64_C(1) << 63};
    (void)state;
    for (size_t i = 0; i < sizeof forged / sizeof forged[0]; i++) {
        struct pair p;
        struct lens_result result;
        open_pair(&p, 0);
        answer(&p, 0);
        answer(&p, 1);
        p.header->result_tail = forged[i];
        assert_false(lens_ring_server_reserve(&p.server, &result));
        assert_int_equal(p.header->dropped_results, 1);
        close_pair(&p);
    }
}

static void a_forged_daemon_index_stops_the_client(void **state)
{
    struct pair p;
    struct lens_result result;
    (void)state;
    open_pair(&p, 0);
    assert_int_equal(submit(&p, 1, LENS_F32, false, 1), 0);
    p.header->submit_tail = 2;
    assert_int_equal(submit(&p, 1, LENS_F32, false, 1), -EPROTO);
    p.header->submit_tail = UINT64_MAX;
    assert_int_equal(submit(&p, 1, LENS_F32, false, 1), -EPROTO);
    p.header->result_head = RESULT_SLOTS + 1;
    assert_false(lens_ring_client_peek(&p.client, &result));
    p.header->result_head = UINT64_MAX;
    assert_false(lens_ring_client_peek(&p.client, &result));
    close_pair(&p);
}

static void counts_of_a_result_are_clamped_to_the_slot(void **state)
{
    struct pair p;
    struct lens_result result;
    (void)state;
    open_pair(&p, 0);
    assert_true(lens_ring_server_reserve(&p.server, &result));
    result.header->detections = UINT32_MAX;
    result.header->expanded_stored = EXPANDED + 1;
    lens_ring_server_publish(&p.server);
    assert_true(lens_ring_client_peek(&p.client, &result));
    assert_int_equal(result.n_detections, TOP_K);
    assert_int_equal(result.n_expanded, EXPANDED);
    assert_int_equal(result.header->detections, TOP_K);
    close_pair(&p);
}

static void a_bad_descriptor_is_refused_and_the_next_good_one_works(void **state)
{
    const uint64_t one_row = lens_payload_bytes(DIM, 1, LENS_F32, false), ring_bytes = 4 * largest();
    const struct poke pokes[] = {
        POKE(lens_submit_descriptor, rows, 0),
        POKE(lens_submit_descriptor, rows, MAX_ROWS + 1),
        POKE(lens_submit_descriptor, rows, UINT32_MAX),
        POKE(lens_submit_descriptor, rows, 2), /* not what payload_bytes says */
        POKE(lens_submit_descriptor, dtype, LENS_I8),
        POKE(lens_submit_descriptor, dtype, 255),
        POKE(lens_submit_descriptor, flags, 1u << 4),
        POKE(lens_submit_descriptor, flags, UINT32_MAX),
        POKE(lens_submit_descriptor, flags, LENS_SUBMIT_TOKEN_IDS), /* no room for them */
        POKE(lens_submit_descriptor, adapter, 1),
        POKE(lens_submit_descriptor, reserved0, 1),
        POKE(lens_submit_descriptor, reserved[0], 1),
        POKE(lens_submit_descriptor, reserved[55], 1),
        POKE(lens_submit_descriptor, payload_offset, 32),
        POKE(lens_submit_descriptor, payload_offset, UINT64_MAX - 63),
        POKE(lens_submit_descriptor, payload_offset, UINT64_C(1) << 32),
        POKE(lens_submit_descriptor, payload_offset, ring_bytes - 64), /* runs over the end */
        POKE(lens_submit_descriptor, payload_offset, 2 * ring_bytes),  /* further than one ring length */
        POKE(lens_submit_descriptor, payload_bytes, 0),
        POKE(lens_submit_descriptor, payload_bytes, UINT32_MAX & ~63u),
        POKE(lens_submit_descriptor, payload_bytes, one_row - 64),
        POKE(lens_submit_descriptor, payload_bytes, one_row + 1),
    };
    (void)state;
    for (size_t i = 0; i < sizeof pokes / sizeof pokes[0]; i++) {
        struct pair p;
        struct lens_submit_descriptor d;
        open_pair(&p, ring_bytes);
        assert_int_equal(submit(&p, 1, LENS_F32, false, 1), 0);
        assert_int_equal(submit(&p, 2, LENS_BF16, true, 42), 0);
        poke(p.memory + p.server.layout.submit_offset, &pokes[i]); /* after it was published */
        assert_int_equal(take(&p, &d), -EBADMSG);
        assert_true(d.rows >= 1 && d.rows <= MAX_ROWS);
        assert_int_equal(take(&p, &d), 1);
        assert_int_equal(((const unsigned char *)lens_ring_server_rows(&p.server, &d))[0], 42);
        lens_ring_server_release(&p.server, 2);
        assert_int_equal(p.header->submit_tail, 2);
        close_pair(&p);
    }
}

static void a_descriptor_behind_the_last_payload_is_refused(void **state)
{
    struct pair p;
    struct lens_submit_descriptor d;
    (void)state;
    open_pair(&p, 0);
    assert_int_equal(submit(&p, 1, LENS_F32, false, 1), 0);
    assert_int_equal(submit(&p, 1, LENS_F32, false, 2), 0);
    struct lens_submit_descriptor *shared = (void *)(p.memory + p.server.layout.submit_offset);
    shared[1].payload_offset = 0;
    assert_int_equal(take(&p, &d), 1);
    assert_int_equal(take(&p, &d), -EBADMSG);
    close_pair(&p);
}

static void geometry_in_shared_memory_is_never_read_back(void **state)
{
    struct pair p;
    struct lens_submit_descriptor d;
    struct lens_result result;
    (void)state;
    open_pair(&p, 0);
    assert_int_equal(submit(&p, 1, LENS_F32, false, 5), 0);
    memset(p.header, 0xff, offsetof(struct lens_shm_header, submit_head));
    assert_int_equal(take(&p, &d), 1);
    assert_int_equal(((const unsigned char *)lens_ring_server_rows(&p.server, &d))[0], 5);
    answer(&p, 0);
    assert_true(lens_ring_client_peek(&p.client, &result));
    lens_ring_client_release(&p.client);
    assert_int_equal(submit(&p, 1, LENS_F32, false, 6), 0);
    close_pair(&p);
}

static void random_words_in_shared_memory_do_no_harm(void **state)
{
    unsigned seed = 77001;
    (void)state;
    print_message("seed %u\n", seed);
    srand(seed);
    for (int round = 0; round < 3000; round++) {
        struct pair p;
        struct lens_submit_descriptor d;
        struct lens_result result;
        open_pair(&p, 2 * largest());
        for (int step = 0; step < 40; step++) {
            if (rand() % 3 == 0) {
                size_t words = (4096 + SUBMIT_SLOTS * sizeof d) / 4;
                uint32_t value = rand() % 2 ? (uint32_t)rand() % 64 : (uint32_t)rand() * 2654435761u;
                memcpy(p.memory + 4 * ((size_t)rand() % words), &value, sizeof value);
            }
            submit(&p, 1 + (uint32_t)rand() % MAX_ROWS, (uint8_t)(rand() % 3), rand() % 2, 1);
            int r = take(&p, &d);
            if (r == 1) { /* a sanitizer sees whether all of it may be read */
                const unsigned char *rows = lens_ring_server_rows(&p.server, &d);
                const int32_t *ids = lens_ring_server_token_ids(&p.server, &d);
                volatile unsigned sum = rows[0] + rows[d.payload_bytes - 1] + (unsigned)(ids != NULL ? ids[0] : 0);
                (void)sum;
                assert_true(rows >= p.memory + p.server.layout.payload_offset);
            }
            lens_ring_server_release(&p.server, 1);
            if (lens_ring_server_reserve(&p.server, &result)) {
                memset(result.header, rand(), sizeof *result.header);
                lens_ring_server_publish(&p.server);
            }
            if (lens_ring_client_peek(&p.client, &result)) {
                assert_true(result.n_detections <= TOP_K && result.n_expanded <= EXPANDED);
                lens_ring_client_release(&p.client);
            }
        }
        close_pair(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_forged_submit_head_is_eproto),
        cmocka_unit_test(a_forged_result_tail_only_drops),
        cmocka_unit_test(a_forged_daemon_index_stops_the_client),
        cmocka_unit_test(counts_of_a_result_are_clamped_to_the_slot),
        cmocka_unit_test(a_bad_descriptor_is_refused_and_the_next_good_one_works),
        cmocka_unit_test(a_descriptor_behind_the_last_payload_is_refused),
        cmocka_unit_test(geometry_in_shared_memory_is_never_read_back),
        cmocka_unit_test(random_words_in_shared_memory_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
