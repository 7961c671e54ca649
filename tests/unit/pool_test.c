/* The pool: pins, eviction, deadlines, and what happens when a lens can't be brought in. */
#include "daemon/pool_private.h"
#include "daemon/sys.h"
#include "tests/unit/support/drive.h"
#include "tests/unit/support/walk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SMALL "tests/fixtures/hatcat-small"

struct fixture {
    struct lens_backend *backend;
    struct lens_pack *pack;
    struct lensd_pool *pool;
};

static void open_fixture(struct fixture *f, uint32_t slots, const char *faults)
{
    struct lens_error err = {0};
    struct lens_cpu_options cpu = {.threads = 1, .variant = "auto"};
    struct lensd_pool_config config = {.slots = slots, .max_batch_rows = 128};
    assert_int_equal(lens_cpu_open(&cpu, &f->backend, &err), 0);
    if (faults != NULL)
        assert_int_equal(lens_fault_open(f->backend, faults, &f->backend, &err), 0);
    f->pack = import_for_test(SMALL, LENS_F32);
    assert_int_equal(lensd_pool_create(f->backend, f->pack, &config, &f->pool, &err), 0);
}

static void close_fixture(struct fixture *f)
{
    lensd_pool_destroy(f->pool);
    lens_pack_close(f->pack);
    f->backend->ops->close(f->backend);
}

/* One row of the fixture's states that wants n lenses from `first` on, `step` apart, and no children. */
static int run_lenses(struct fixture *f, uint32_t first, uint32_t n, uint32_t step, enum lens_miss miss,
                      uint64_t deadline, struct lens_row_out *out, struct lens_error *err)
{
    struct expected e;
    static struct lens_detection detections[LENS_MAX_TOP_K];
    uint32_t base[70], retained[70], expanded[70];
    expected_load(SMALL, "expected-threshold.json", f->pack, &e);
    e.options.miss = miss;
    e.options.base_layers = UINT64_MAX;
    e.options.max_depth = 0;
    for (uint32_t i = 0; i < n; i++)
        base[i] = first + i * step;
    *out = (struct lens_row_out){.expanded = expanded, .expanded_capacity = 70, .detections = detections};
    struct lens_job job = {.rows = e.states,
                           .dtype = e.dtype,
                           .n_rows = 1,
                           .options = &e.options,
                           .base = base,
                           .n_base = n,
                           .out = out,
                           .retained = retained,
                           .retained_capacity = 70};
    int r = drive_pool(f->pool, &job, 1, &deadline, err);
    expected_free(&e);
    return r;
}

/* A row that wants every lens. */
static int run_row(struct fixture *f, enum lens_miss miss, uint64_t deadline, struct lens_row_out *out,
                   struct lens_error *err)
{
    return run_lenses(f, 0, 70, 1, miss, deadline, out, err);
}

static void pins_are_counted_and_always_leave_a_slot_to_work_with(void **state)
{
    (void)state;
    struct fixture f;
    struct lens_error err = {0};
    uint32_t first[3] = {0, 1, 2}, second[3] = {2, 3, 4};
    open_fixture(&f, 5, NULL);
    assert_int_equal(lensd_pool_pin(f.pool, first, 3, &err), 0);
    assert_int_equal(lensd_pool_pin(f.pool, second, 3, &err), -ENOSPC);
    assert_int_equal(lensd_pool_pin(f.pool, second, 2, &err), 0); /* the failed call pinned nothing */
    lensd_pool_unpin(f.pool, first, 3);
    assert_int_equal(lensd_pool_pin(f.pool, second, 3, &err), 0);
    close_fixture(&f);
}

static void pinned_lenses_stay_while_others_come_and_go(void **state)
{
    (void)state;
    struct fixture f;
    struct lens_error err = {0};
    struct lens_row_out out;
    struct lensd_pool_counters counters;
    uint32_t pins[2] = {3, 66};
    open_fixture(&f, 4, NULL);
    assert_int_equal(lensd_pool_pin(f.pool, pins, 2, &err), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(run_row(&f, LENS_MISS_WAIT, 0, &out, &err), 0);
    assert_int_equal(out.status, LENS_ROW_COMPLETE);
    assert_int_equal(out.counts.scored, 70);
    const struct lens_slab *slab = lensd_pool_slab(f.pool);
    assert_true(slab->slot_of[3] >= 0 && slab->slot_of[66] >= 0);
    lensd_pool_get_counters(f.pool, &counters);
    assert_int_equal(counters.loads - counters.evictions, lensd_pool_resident(f.pool));
    assert_int_equal(counters.loads_waited, counters.loads);
    assert_int_equal(counters.load_bytes, counters.loads * f.pack->w1_lens_bytes);
    assert_int_equal(lensd_pool_resident(f.pool), 4);
    close_fixture(&f);
}

/* What was in a slot before it was pinned stays as well; what was unpinned makes room, also for other pins. */
static void pins_come_and_go_while_their_lenses_are_in_slots(void **state)
{
    (void)state;
    struct fixture f;
    struct lens_error err = {0};
    struct lens_row_out out;
    uint32_t first[3] = {0, 1, 2}, second[3] = {10, 11, 12};
    open_fixture(&f, 4, NULL);
    const struct lens_slab *slab = lensd_pool_slab(f.pool);
    assert_int_equal(run_lenses(&f, 0, 3, 1, LENS_MISS_WAIT, 0, &out, &err), 0);
    assert_int_equal(lensd_pool_pin(f.pool, first, 3, &err), 0);
    assert_int_equal(run_row(&f, LENS_MISS_WAIT, 0, &out, &err), 0);
    assert_true(slab->slot_of[0] >= 0 && slab->slot_of[1] >= 0 && slab->slot_of[2] >= 0);
    lensd_pool_unpin(f.pool, first, 3);
    assert_int_equal(lensd_pool_pin(f.pool, second, 3, &err), 0);
    assert_int_equal(run_lenses(&f, 10, 4, 1, LENS_MISS_WAIT, 0, &out, &err), 0);
    assert_int_equal(out.status, LENS_ROW_COMPLETE);
    assert_int_equal(run_row(&f, LENS_MISS_WAIT, 0, &out, &err), 0);
    assert_true(slab->slot_of[10] >= 0 && slab->slot_of[11] >= 0 && slab->slot_of[12] >= 0);
    close_fixture(&f);
}

static void a_passed_deadline_gives_partial_with_the_number_missing(void **state)
{
    (void)state;
    struct fixture f;
    struct lens_error err = {0};
    struct lens_row_out out;
    open_fixture(&f, 0, NULL);
    assert_int_equal(run_row(&f, LENS_MISS_DEADLINE, 1, &out, &err), 0);
    assert_int_equal(out.status, LENS_ROW_PARTIAL);
    assert_int_equal(out.counts.missing, 70);
    drive_idle(f.pool);
    assert_int_equal(lensd_pool_resident(f.pool), 70);
    assert_int_equal(run_row(&f, LENS_MISS_DEADLINE, 1, &out, &err), 0);
    assert_int_equal(out.status, LENS_ROW_COMPLETE);
    close_fixture(&f);
}

/* What is loaded behind a row takes the place of what was used long ago, not of what was loaded behind the one before.
 */
static void what_is_loaded_behind_stays_until_it_is_wanted(void **state)
{
    (void)state;
    struct fixture f;
    struct lens_error err = {0};
    struct lens_row_out out;
    open_fixture(&f, 30, NULL);
    assert_int_equal(run_lenses(&f, 0, 30, 1, LENS_MISS_WAIT, 0, &out, &err), 0);
    for (uint32_t first = 30; first < 50; first += 10) {
        assert_int_equal(run_lenses(&f, first, 10, 1, LENS_MISS_SKIP, 0, &out, &err), 0);
        assert_int_equal(out.counts.missing, 10);
        drive_idle(f.pool);
    }
    assert_int_equal(run_lenses(&f, 30, 20, 1, LENS_MISS_SKIP, 0, &out, &err), 0);
    assert_int_equal(out.status, LENS_ROW_COMPLETE);
    close_fixture(&f);
}

/* Loading stops when the deadline comes, however much is wanted. */
static void a_deadline_that_comes_while_loading_is_kept(void **state)
{
    (void)state;
    struct fixture f;
    struct lens_error err = {0};
    struct lens_row_out out;
    open_fixture(&f, 0, "slot_write * slow:40\n");
    uint64_t deadline = lensd_now_ns() + 10000000;
    assert_int_equal(run_lenses(&f, 0, 35, 2, LENS_MISS_DEADLINE, deadline, &out, &err), 0); /* no neighbours */
    assert_int_equal(out.status, LENS_ROW_PARTIAL);
    assert_true(out.counts.cold <= 2); /* each reader finishes the one it is at */
    assert_int_equal(out.counts.missing, 35 - out.counts.cold);
    close_fixture(&f);
}

static void a_deadline_far_away_waits(void **state)
{
    (void)state;
    struct fixture f;
    struct lens_error err = {0};
    struct lens_row_out out;
    open_fixture(&f, 0, NULL);
    assert_int_equal(run_row(&f, LENS_MISS_DEADLINE, lensd_now_ns() + UINT64_C(60000000000), &out, &err), 0);
    assert_int_equal(out.status, LENS_ROW_COMPLETE);
    assert_int_equal(out.counts.missing, 0);
    assert_int_equal(out.counts.cold, 70);
    close_fixture(&f);
}

static void expect_engine_failure(const struct fixture *f, const struct lens_row_out *out)
{
    struct lens_error why = {0};
    assert_int_equal(out->status, LENS_ROW_PARTIAL);
    assert_int_equal(out->flags, LENS_ROW_DEGRADED);
    assert_int_equal(out->reason, LENS_REASON_ENGINE_FAILURE);
    assert_int_equal(out->n_detections, 0);
    assert_true(lensd_pool_failures(f->pool, &why) > 0);
    assert_int_equal(why.code, -EIO);
    assert_true(why.text[0] != '\0');
}

static void a_failed_load_fails_the_row_that_waits_and_the_next_row_is_whole(void **state)
{
    (void)state;
    static const char *const faults[] = {"slot_write 1 eio", "slot_write 1 late"};
    for (size_t i = 0; i < 2; i++) {
        struct fixture f;
        struct lens_error err = {0};
        struct lens_row_out out;
        open_fixture(&f, 0, faults[i]);
        assert_int_equal(run_row(&f, LENS_MISS_WAIT, 0, &out, &err), 0);
        expect_engine_failure(&f, &out);
        drive_idle(f.pool); /* what else it asked for may still come */
        assert_int_equal(run_row(&f, LENS_MISS_WAIT, 0, &out, &err), 0);
        assert_int_equal(out.status, LENS_ROW_COMPLETE);
        assert_int_equal(out.counts.scored, 70);
        assert_int_equal(lensd_pool_resident(f.pool), 70);
        close_fixture(&f);
    }
}

static void a_pack_file_cut_short_while_served_is_an_error_not_a_crash(void **state)
{
    (void)state;
    struct fixture f;
    struct lens_error err = {0};
    struct lens_row_out out;
    char link[64];
    open_fixture(&f, 0, NULL);
    snprintf(link, sizeof link, "/proc/self/fd/%d", f.pack->fd);
    assert_int_equal(truncate(link, 5000), 0);
    assert_int_equal(run_row(&f, LENS_MISS_WAIT, 0, &out, &err), 0);
    expect_engine_failure(&f, &out);
    close_fixture(&f);
}

/* Rows that want one lens each, all at once. */
static void run_one_lens_each(struct fixture *f, const uint32_t *lenses, uint32_t n, struct lens_row_out *outs)
{
    static struct lens_detection detections[8][LENS_MAX_TOP_K];
    static uint32_t expanded[8][70], retained[8][70];
    struct lens_job jobs[8];
    struct expected e;
    struct lens_error err = {0};
    assert_true(n <= 8);
    expected_load(SMALL, "expected-threshold.json", f->pack, &e);
    e.options.miss = LENS_MISS_WAIT;
    e.options.max_depth = 0;
    for (uint32_t i = 0; i < n; i++) {
        memset(&outs[i], 0xa5, sizeof outs[i]);
        outs[i].expanded = expanded[i];
        outs[i].expanded_capacity = 70;
        outs[i].detections = detections[i];
        jobs[i] = (struct lens_job){.rows = e.states,
                                    .dtype = e.dtype,
                                    .n_rows = 1,
                                    .options = &e.options,
                                    .base = &lenses[i],
                                    .n_base = 1,
                                    .out = &outs[i],
                                    .retained = retained[i],
                                    .retained_capacity = 70};
    }
    assert_int_equal(drive_pool(f->pool, jobs, n, NULL, &err), 0);
    expected_free(&e);
}

/* Lenses 1..4 are one read. What is wrong with lens 3 fails the row that wants it, not those of its neighbours. */
static void expect_only_lens_3_to_fail(struct fixture *f, int code)
{
    static const uint32_t lenses[4] = {1, 2, 3, 4};
    struct lens_row_out outs[4];
    struct lens_error why = {0};
    run_one_lens_each(f, lenses, 4, outs);
    for (uint32_t i = 0; i < 4; i++) {
        bool bad = lenses[i] == 3 || (code == -EIO && lenses[i] > 3); /* a file that was cut lacks the rest, too */
        assert_int_equal(outs[i].status, bad ? LENS_ROW_PARTIAL : LENS_ROW_COMPLETE);
        assert_int_equal(outs[i].reason, bad ? LENS_REASON_ENGINE_FAILURE : 0);
        assert_int_equal(outs[i].counts.scored, bad ? 0 : 1);
    }
    assert_int_equal(lensd_pool_failures(f->pool, &why), code == -EIO ? 2 : 1);
    assert_int_equal(why.code, code);
    assert_true(why.text[0] != '\0');
}

static void open_verifying_fixture(struct fixture *f, uint64_t host_memory)
{
    struct lens_error err = {0};
    struct lensd_pool_config config = {.max_batch_rows = 128, .verify_loads = true, .host_memory = host_memory};
    open_fixture(f, 0, NULL);
    lensd_pool_destroy(f->pool);
    assert_int_equal(lensd_pool_create(f->backend, f->pack, &config, &f->pool, &err), 0);
}

static void flip_byte_of_lens_3(const struct fixture *f)
{
    char link[64], byte;
    snprintf(link, sizeof link, "/proc/self/fd/%d", f->pack->fd);
    int fd = open(link, O_RDWR | O_CLOEXEC);
    off_t at = (off_t)(f->pack->w1_offset + 3 * f->pack->w1_lens_bytes + 17);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (char)(byte ^ 0x40);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void a_damaged_lens_fails_only_rows_that_want_it_until_it_is_whole_again(void **state)
{
    (void)state;
    for (int host = 0; host < 2; host++) {
        static const uint32_t lens = 3;
        struct fixture f;
        struct lens_row_out out;
        open_verifying_fixture(&f, host ? 1 << 20 : 0);
        flip_byte_of_lens_3(&f);
        expect_only_lens_3_to_fail(&f, -EBADMSG);
        run_one_lens_each(&f, &lens, 1, &out);
        assert_int_equal(out.reason, LENS_REASON_ENGINE_FAILURE); /* nothing damaged stays in host memory */
        flip_byte_of_lens_3(&f);
        run_one_lens_each(&f, &lens, 1, &out);
        assert_int_equal(out.status, LENS_ROW_COMPLETE);
        assert_int_equal(out.reason, 0);
        close_fixture(&f);
    }
}

static void a_pack_file_cut_in_a_read_fails_only_rows_that_want_what_is_gone(void **state)
{
    (void)state;
    struct fixture f;
    char link[64];
    open_fixture(&f, 0, NULL);
    snprintf(link, sizeof link, "/proc/self/fd/%d", f.pack->fd);
    assert_int_equal(truncate(link, (off_t)(f.pack->w1_offset + 3 * f.pack->w1_lens_bytes + 17)), 0);
    expect_only_lens_3_to_fail(&f, -EIO);
    close_fixture(&f);
}

/* One row that wants ten lenses from `first` on as its retained set, and tells the pool what it wanted. */
static void foresee_after(struct fixture *f, const struct expected *e, uint32_t first, bool *kept_in_slots)
{
    static struct lens_detection detections[LENS_MAX_TOP_K];
    uint32_t kept[10], retained[70], expanded[70];
    bool stays[70];
    struct lens_error err = {0};
    struct lens_row_out out = {.expanded = expanded, .expanded_capacity = 70, .detections = detections};
    for (uint32_t i = 0; i < 10; i++)
        kept[i] = first + i;
    struct lens_job job = {.rows = e->states,
                           .dtype = e->dtype,
                           .n_rows = 1,
                           .options = &e->options,
                           .kept = kept,
                           .n_kept = 10,
                           .out = &out,
                           .retained = retained,
                           .retained_capacity = 70};
    assert_int_equal(drive_pool(f->pool, &job, 1, NULL, &err), 0);
    assert_int_equal(out.status, LENS_ROW_COMPLETE);
    for (uint32_t lens = 0; lens < 70; lens++)
        stays[lens] = f->pool->slab->slot_of[lens] >= 0 && f->pool->used_in[lens] + 1 >= f->pool->run;
    lensd_pool_note_row(f->pool, 1, &out, -INFINITY, false);
    for (uint32_t lens = 0; lens < 70; lens++)
        *kept_in_slots = *kept_in_slots && (!stays[lens] || f->pool->slab->slot_of[lens] >= 0);
}

/* Three sets of ten take turns in 24 slots: what the next row wants is learnt, and loaded ahead of it. */
static void what_is_loaded_ahead_takes_no_slot_of_what_rows_just_used(void **state)
{
    (void)state;
    struct fixture f;
    struct expected e;
    struct lens_error err = {0};
    struct lensd_pool_config config = {.slots = 24, .max_batch_rows = 128, .prefetch = true};
    struct lensd_pool_counters n;
    bool kept = true;
    open_fixture(&f, 0, "slot_write * slow:1"); /* rows come before what is loaded ahead of them */
    lensd_pool_destroy(f.pool);
    assert_int_equal(lensd_pool_create(f.backend, f.pack, &config, &f.pool, &err), 0);
    expected_load(SMALL, "expected-threshold.json", f.pack, &e);
    e.options.max_depth = 0;
    for (uint32_t i = 0; i < 120; i++) {
        foresee_after(&f, &e, i % 3 * 20, &kept);
        assert_true(kept);
        assert_true(f.pool->ahead <= 24 / 8);
    }
    drive_idle(f.pool);
    lensd_pool_get_counters(f.pool, &n);
    assert_true(n.prefetch_issued > 40 && n.prefetch_used > 0 && n.prefetch_late > 0);
    assert_int_equal(n.prefetch_issued, n.prefetch_used + n.prefetch_wasted + f.pool->ahead);
    assert_int_equal(n.loads, n.host_hits + n.cold);
    expected_free(&e);
    close_fixture(&f);
}

static int refuse_nth(void *arg, const char *call)
{
    int *left = arg;
    (void)call;
    return (*left)-- == 0 ? ENOMEM : 0;
}

static void every_allocation_failure_while_opening_is_reported(void **state)
{
    (void)state;
    struct fixture f;
    struct lens_error err = {0};
    struct lensd_pool_config config = {.max_batch_rows = 128};
    open_fixture(&f, 0, NULL);
    int failures = 0;
    for (int n = 0; n < 100; n++) {
        struct lensd_pool *pool = NULL;
        int left = n;
        lensd_sys_set_hook(refuse_nth, &left);
        int r = lensd_pool_create(f.backend, f.pack, &config, &pool, &err);
        lensd_sys_set_hook(NULL, NULL);
        if (r == 0) {
            lensd_pool_destroy(pool);
            break;
        }
        assert_int_equal(r, -ENOMEM);
        assert_null(pool);
        failures++;
    }
    assert_in_range(failures, 8, 99);
    close_fixture(&f);
}

static void filling_goes_on_with_host_memory_and_evicts_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct lens_error err = {0};
    struct lensd_pool_counters counters;
    open_fixture(&f, 10, NULL);
    lensd_pool_destroy(f.pool);
    uint64_t each = (f.pack->w1_lens_bytes + f.pack->w1_sign_bytes + 63) / 64 * 64;
    struct lensd_pool_config config = {.slots = 10, .max_batch_rows = 128, .host_memory = 25 * each};
    assert_int_equal(lensd_pool_create(f.backend, f.pack, &config, &f.pool, &err), 0);
    assert_int_equal(lensd_pool_host_places(f.pool), 25);
    assert_int_equal(lensd_pool_fill(f.pool), 10);
    drive_idle(f.pool);
    assert_int_equal(lensd_pool_resident(f.pool), 10);
    assert_int_equal(lensd_pool_host_held(f.pool), 25);
    lensd_pool_get_counters(f.pool, &counters);
    assert_int_equal(counters.evictions, 0);
    assert_int_equal(lensd_pool_fill(f.pool), 0);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pins_are_counted_and_always_leave_a_slot_to_work_with),
        cmocka_unit_test(pinned_lenses_stay_while_others_come_and_go),
        cmocka_unit_test(pins_come_and_go_while_their_lenses_are_in_slots),
        cmocka_unit_test(a_passed_deadline_gives_partial_with_the_number_missing),
        cmocka_unit_test(what_is_loaded_behind_stays_until_it_is_wanted),
        cmocka_unit_test(a_deadline_that_comes_while_loading_is_kept),
        cmocka_unit_test(a_deadline_far_away_waits),
        cmocka_unit_test(a_failed_load_fails_the_row_that_waits_and_the_next_row_is_whole),
        cmocka_unit_test(a_pack_file_cut_short_while_served_is_an_error_not_a_crash),
        cmocka_unit_test(a_damaged_lens_fails_only_rows_that_want_it_until_it_is_whole_again),
        cmocka_unit_test(a_pack_file_cut_in_a_read_fails_only_rows_that_want_what_is_gone),
        cmocka_unit_test(what_is_loaded_ahead_takes_no_slot_of_what_rows_just_used),
        cmocka_unit_test(every_allocation_failure_while_opening_is_reported),
        cmocka_unit_test(filling_goes_on_with_host_memory_and_evicts_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
