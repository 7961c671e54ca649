/* The loader: what is read first, that neighbours are one write, host memory, waking, failing and ending. A gate in
 * front of the backend's slot_write holds the loader's threads and notes what came in which order. */
#include "daemon/loader.h"
#include "daemon/sys.h"
#include "tests/unit/support/expected.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SMALL "tests/fixtures/hatcat-small"

enum { LENSES = 70 };

/* ---- the gate --------------------------------------------------------------------------------------------------- */

/* In front of one backend's slot_write; threads of the loader (not the engine's own) wait while it is closed. */
static struct gate {
    struct lens_backend_ops ops;
    const struct lens_backend_ops *behind;
    const struct lens_pack *pack;
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool closed;
    uint32_t inside; /* writes that wait */
    uint32_t wrong;  /* lenses whose bytes were not those of the file */
    uint32_t lenses[4096], n, writes;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER};

static void note(const struct lens_slot_write *writes, uint32_t n)
{
    gate.writes++;
    for (uint32_t i = 0; i < n; i++)
        if (gate.n < sizeof gate.lenses / sizeof gate.lenses[0])
            gate.lenses[gate.n++] = writes[i].lens;
}

/* True when what is written is what the file has. */
static bool as_in_the_file(const struct lens_slot_write *write)
{
    const struct lens_pack *pack = gate.pack;
    unsigned char *w1 = malloc(pack->w1_lens_bytes), *sign = malloc(pack->w1_sign_bytes + 1);
    bool same = lens_pack_read_w1(pack, write->lens, 1, w1, sign, NULL) == 0 &&
                memcmp(write->w1, w1, pack->w1_lens_bytes) == 0 &&
                (pack->w1_sign_bytes == 0 || memcmp(write->sign, sign, pack->w1_sign_bytes) == 0);
    free(w1);
    free(sign);
    return same;
}

static int gated_write(struct lens_slab *slab, uint32_t loader, const struct lens_slot_write *writes, uint32_t n,
                       lens_slot_done_fn done, void *arg, struct lens_error *err)
{
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < n; i++)
        wrong += !as_in_the_file(&writes[i]);
    pthread_mutex_lock(&gate.lock);
    gate.wrong += wrong;
    note(writes, n);
    gate.inside++;
    while (gate.closed && loader > 0)
        pthread_cond_wait(&gate.opened, &gate.lock);
    gate.inside--;
    pthread_mutex_unlock(&gate.lock);
    return gate.behind->slot_write(slab, loader, writes, n, done, arg, err);
}

static void set_gate(bool closed)
{
    pthread_mutex_lock(&gate.lock);
    gate.closed = closed;
    pthread_cond_broadcast(&gate.opened);
    pthread_mutex_unlock(&gate.lock);
}

static uint32_t at_the_gate(void)
{
    pthread_mutex_lock(&gate.lock);
    uint32_t inside = gate.inside;
    pthread_mutex_unlock(&gate.lock);
    return inside;
}

/* ---- the rig ---------------------------------------------------------------------------------------------------- */

struct rig {
    struct lens_backend *backend;
    struct lens_pack *pack;
    struct lens_slab *slab;
    struct lensd_loader *loader;
};

static void open_rig(struct rig *r, uint32_t threads, enum lens_dtype dtype, const char *faults, bool verify)
{
    struct lens_error err = {0};
    struct lens_cpu_options cpu = {.threads = 1, .variant = "auto"};
    struct lens_model model;
    r->pack = import_for_test(SMALL, dtype);
    lens_model_of_pack(r->pack, &model);
    assert_int_equal(lens_cpu_open(&cpu, &r->backend, &err), 0);
    if (faults != NULL)
        assert_int_equal(lens_fault_open(r->backend, faults, &r->backend, &err), 0);
    gate.ops = *r->backend->ops;
    gate.behind = r->backend->ops;
    gate.ops.slot_write = gated_write;
    gate.pack = r->pack;
    gate.n = gate.writes = gate.inside = gate.wrong = 0;
    gate.closed = false;
    r->backend->ops = &gate.ops;
    struct lens_slab_config slab = {.slots = LENSES, .dtype = LENS_F32, .max_batch_rows = 1, .loaders = threads + 1};
    assert_int_equal(r->backend->ops->slab_create(r->backend, &model, &slab, &r->slab, &err), 0);
    struct lensd_loader_config config = {
        .threads = threads, .capacity = LENSES, .verify = verify, .pack = r->pack, .slab = r->slab};
    assert_int_equal(lensd_loader_create(&config, &r->loader, &err), 0);
}

static void close_rig(struct rig *r)
{
    set_gate(false);
    lensd_loader_destroy(r->loader);
    assert_int_equal(gate.wrong, 0);
    r->backend->ops->slab_destroy(r->slab);
    r->backend->ops = gate.behind;
    r->backend->ops->close(r->backend);
    lens_pack_close(r->pack);
}

/* n neighbours from `first`, each into the slot of its own number. */
static void submit(struct rig *r, uint32_t first, uint32_t n, enum lensd_load_kind kind, bool wake)
{
    struct lensd_load loads[LENSD_LOAD_RUN];
    for (uint32_t i = 0; i < n; i++)
        loads[i] = (struct lensd_load){.lens = first + i, .slot = first + i, .kind = kind};
    lensd_loader_submit(r->loader, loads, n, wake);
}

static uint64_t soon(void)
{
    return lensd_now_ns() + UINT64_C(20000000000);
}

/* The only thread is busy with lens 69 until the gate opens. */
static void hold_the_thread(struct rig *r)
{
    uint64_t give_up = soon();
    set_gate(true);
    submit(r, 69, 1, LENSD_LOAD_DEMAND, true);
    while (at_the_gate() == 0) {
        assert_true(lensd_now_ns() < give_up);
        sched_yield();
    }
}

/* Takes n loads, as they come; all must have gone well. */
static void take_all(struct rig *r, uint32_t n)
{
    struct lensd_load loads[LENSES];
    uint64_t give_up = soon();
    while (n > 0) {
        uint32_t got = lensd_loader_take(r->loader, loads, n);
        for (uint32_t i = 0; i < got; i++) {
            assert_int_equal(loads[i].status, 0);
            assert_int_equal(loads[i].slot, loads[i].lens);
        }
        n -= got;
        assert_true(lensd_now_ns() < give_up);
        sched_yield();
    }
    assert_true(lensd_loader_idle(r->loader));
    assert_false(lensd_loader_ready(r->loader));
}

static void expect_order(const uint32_t *lenses, uint32_t n, uint32_t writes)
{
    assert_int_equal(gate.n, n);
    assert_int_equal(gate.writes, writes);
    assert_memory_equal(gate.lenses, lenses, n * sizeof *lenses);
}

/* ---- order ------------------------------------------------------------------------------------------------------ */

static void what_rows_wait_for_is_read_before_all_else_and_neighbours_at_once(void **state)
{
    (void)state;
    static const uint32_t order[] = {69, 30, 40, 41, 42, 10, 11, 20, 50};
    struct rig r;
    open_rig(&r, 1, LENS_F32, NULL, false);
    hold_the_thread(&r);
    submit(&r, 10, 2, LENSD_LOAD_PREFETCH, true);
    submit(&r, 20, 1, LENSD_LOAD_BEHIND, true);
    submit(&r, 30, 1, LENSD_LOAD_DEMAND, true);
    submit(&r, 50, 1, LENSD_LOAD_PREFETCH, true);
    submit(&r, 40, 3, LENSD_LOAD_DEMAND, true);
    set_gate(false);
    take_all(&r, 9);
    expect_order(order, 9, 6);
    close_rig(&r);
}

static void what_is_promoted_comes_after_what_was_demanded_before(void **state)
{
    (void)state;
    static const uint32_t order[] = {69, 30, 10, 40, 20, 50}; /* of the others, 10 alone */
    struct rig r;
    open_rig(&r, 1, LENS_F32, NULL, false);
    hold_the_thread(&r);
    submit(&r, 10, 1, LENSD_LOAD_PREFETCH, true);
    submit(&r, 30, 1, LENSD_LOAD_DEMAND, true);
    submit(&r, 20, 1, LENSD_LOAD_BEHIND, true);
    lensd_loader_promote(r.loader, 10);
    submit(&r, 50, 1, LENSD_LOAD_PREFETCH, true);
    submit(&r, 40, 1, LENSD_LOAD_DEMAND, true);
    set_gate(false);
    take_all(&r, 6);
    expect_order(order, 6, 6);
    close_rig(&r);
}

static void the_engines_thread_helps_with_what_is_demanded_and_works_on_all(void **state)
{
    (void)state;
    static const uint32_t order[] = {69, 30, 31, 10};
    struct rig r;
    open_rig(&r, 1, LENS_F32, NULL, false);
    hold_the_thread(&r);
    assert_false(lensd_loader_help(r.loader));
    submit(&r, 10, 1, LENSD_LOAD_PREFETCH, true);
    assert_false(lensd_loader_help(r.loader));
    submit(&r, 30, 2, LENSD_LOAD_DEMAND, false);
    bool cached = lensd_loader_help(r.loader); /* only what the page cache has, where the system can tell */
    if (!cached)
        assert_true(lensd_loader_work(r.loader));
    assert_true(lensd_loader_ready(r.loader));
    assert_true(lensd_loader_work(r.loader));
    assert_false(lensd_loader_work(r.loader));
    set_gate(false);
    take_all(&r, 4);
    expect_order(order, 4, 3);
    close_rig(&r);
}

static void loads_submitted_without_waking_are_read_when_woken(void **state)
{
    (void)state;
    struct rig r;
    open_rig(&r, 2, LENS_F32, NULL, false);
    for (uint32_t i = 0; i < 50; i++) {
        submit(&r, i, 1, LENSD_LOAD_DEMAND, false);
        lensd_loader_wake(r.loader);
        take_all(&r, 1);
    }
    close_rig(&r);
}

/* ---- host memory ------------------------------------------------------------------------------------------------ */

static void host_memory_is_filled_and_read_instead_of_the_file(void **state)
{
    (void)state;
    static const enum lens_dtype dtypes[] = {LENS_F32, LENS_LOG8, LENS_I8};
    for (size_t d = 0; d < 3; d++) {
        struct rig r;
        open_rig(&r, 1, dtypes[d], NULL, true);
        size_t bytes = r.pack->w1_lens_bytes + r.pack->w1_sign_bytes;
        unsigned char *places[2] = {malloc(bytes), malloc(bytes)}, *right = malloc(bytes);
        memset(places[0], 0xa5, bytes);
        memset(places[1], 0xa5, bytes);
        struct lensd_load loads[2] = {{.lens = 7, .slot = 7, .host = places[0], .fill_host = true},
                                      {.lens = 8, .slot = LENSD_NO_SLOT, .host = places[1], .fill_host = true}};
        lensd_loader_submit(r.loader, &loads[0], 1, true);
        take_all(&r, 1);
        assert_int_equal(gate.n, 1);
        lensd_loader_submit(r.loader, &loads[1], 1, true);
        while (lensd_loader_take(r.loader, &loads[1], 1) == 0)
            sched_yield();
        assert_int_equal(loads[1].status, 0);
        assert_int_equal(gate.n, 1); /* to host memory alone */
        for (uint32_t i = 0; i < 2; i++) {
            assert_int_equal(lens_pack_read_w1(r.pack, 7 + i, 1, right, right + r.pack->w1_lens_bytes, NULL), 0);
            assert_memory_equal(places[i], right, bytes);
            loads[i] = (struct lensd_load){.lens = 7 + i, .slot = 7 + i, .host = places[i]};
        }
        lensd_loader_submit(r.loader, loads, 2, true); /* the gate compares what is written with the file */
        take_all(&r, 2);
        assert_int_equal(gate.writes, 2);
        close_rig(&r);
        free(places[0]);
        free(places[1]);
        free(right);
    }
}

/* ---- waking ----------------------------------------------------------------------------------------------------- */

static bool readable(const struct rig *r)
{
    struct pollfd fd = {.fd = lensd_loader_fd(r->loader), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

static void an_armed_loader_rings_once(void **state)
{
    (void)state;
    struct rig r;
    uint64_t rings = 0, give_up = soon();
    open_rig(&r, 1, LENS_F32, NULL, false);
    submit(&r, 1, 1, LENSD_LOAD_DEMAND, true);
    take_all(&r, 1);
    assert_false(readable(&r)); /* nobody asked */
    hold_the_thread(&r);
    assert_true(lensd_loader_arm(r.loader));
    for (uint32_t i = 2; i < 5; i++)
        submit(&r, 10 * i, 1, LENSD_LOAD_BEHIND, true);
    assert_false(readable(&r));
    set_gate(false);
    while (!readable(&r))
        assert_true(lensd_now_ns() < give_up);
    take_all(&r, 4);
    assert_int_equal(read(lensd_loader_fd(r.loader), &rings, sizeof rings), sizeof rings);
    assert_int_equal(rings, 1);
    close_rig(&r);
}

static void a_disarmed_loader_is_silent_and_one_with_something_ready_says_so_at_once(void **state)
{
    (void)state;
    struct rig r;
    uint64_t give_up = soon();
    open_rig(&r, 1, LENS_F32, NULL, false);
    hold_the_thread(&r);
    assert_true(lensd_loader_arm(r.loader));
    lensd_loader_disarm(r.loader);
    set_gate(false);
    while (!lensd_loader_ready(r.loader))
        assert_true(lensd_now_ns() < give_up);
    usleep(2000);
    assert_false(readable(&r));
    assert_false(lensd_loader_arm(r.loader));
    lensd_loader_disarm(r.loader);
    take_all(&r, 1);
    hold_the_thread(&r);
    assert_true(lensd_loader_arm(r.loader));
    set_gate(false);
    while (!readable(&r))
        assert_true(lensd_now_ns() < give_up);
    lensd_loader_disarm(r.loader); /* takes the ring back, too */
    assert_false(readable(&r));
    take_all(&r, 1);
    close_rig(&r);
}

/* ---- all at once ------------------------------------------------------------------------------------------------ */

/* Submits every lens, in runs of random length and kind. */
static void submit_everything(struct rig *r, unsigned *seed)
{
    for (uint32_t first = 0; first < LENSES;) {
        uint32_t n = 1 + (uint32_t)rand_r(seed) % 9;
        n = first + n > LENSES ? LENSES - first : n;
        submit(r, first, n, (enum lensd_load_kind)(rand_r(seed) % 3), rand_r(seed) % 2);
        first += n;
    }
}

/* Every load comes back once, with its own status, whoever reads it; what failed is counted. */
static void each_load_comes_back_once_with_threads_helpers_and_failures(void **state)
{
    (void)state;
    struct rig r;
    struct lens_error why = {0};
    unsigned seed = (unsigned)time(NULL);
    uint64_t failed = 0, give_up = soon();
    print_message("# seed %u\n", seed);
    open_rig(&r, 3, LENS_F32, "slot_write 3 eio\nslot_write 17 late\nslot_write 40 eio", false);
    for (int round = 0; round < 20; round++) {
        uint32_t left = LENSES, times[LENSES] = {0};
        struct lensd_load loads[LENSES];
        submit_everything(&r, &seed);
        lensd_loader_wake(r.loader);
        while (left > 0) {
            if (rand_r(&seed) % 3 == 0)
                (void)lensd_loader_work(r.loader);
            if (rand_r(&seed) % 7 == 0)
                lensd_loader_promote(r.loader, (uint32_t)rand_r(&seed) % LENSES);
            uint32_t n = lensd_loader_take(r.loader, loads, 1 + (uint32_t)rand_r(&seed) % LENSES);
            for (uint32_t i = 0; i < n; i++) {
                times[loads[i].lens]++;
                assert_true(loads[i].status == 0 || loads[i].status == -EIO);
                failed += loads[i].status != 0;
            }
            left -= n;
            assert_true(lensd_now_ns() < give_up);
        }
        for (uint32_t lens = 0; lens < LENSES; lens++)
            assert_int_equal(times[lens], 1);
        assert_true(lensd_loader_idle(r.loader));
    }
    assert_true(failed >= 3);
    assert_int_equal(lensd_loader_failures(r.loader, &why), failed);
    assert_int_equal(why.code, -EIO);
    assert_true(why.text[0] != '\0');
    close_rig(&r);
}

static void a_loader_can_be_destroyed_with_work_queued_under_way_and_not_taken(void **state)
{
    (void)state;
    unsigned seed = 15;
    for (int i = 0; i < 20; i++) {
        struct rig r;
        open_rig(&r, 1 + (uint32_t)i % 3, LENS_F32, NULL, false);
        if (i % 2) {
            hold_the_thread(&r);
            submit(&r, 0, 9, LENSD_LOAD_DEMAND, true);
        } else {
            submit_everything(&r, &seed);
        }
        close_rig(&r); /* opens the gate first */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rows_wait_for_is_read_before_all_else_and_neighbours_at_once),
        cmocka_unit_test(what_is_promoted_comes_after_what_was_demanded_before),
        cmocka_unit_test(the_engines_thread_helps_with_what_is_demanded_and_works_on_all),
        cmocka_unit_test(loads_submitted_without_waking_are_read_when_woken),
        cmocka_unit_test(host_memory_is_filled_and_read_instead_of_the_file),
        cmocka_unit_test(an_armed_loader_rings_once),
        cmocka_unit_test(a_disarmed_loader_is_silent_and_one_with_something_ready_says_so_at_once),
        cmocka_unit_test(each_load_comes_back_once_with_threads_helpers_and_failures),
        cmocka_unit_test(a_loader_can_be_destroyed_with_work_queued_under_way_and_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
