/* Slots that a pool gives back and takes again while it is in use, on a CPU that plays a card: what lies in which slot,
 * what the policy knows, and that answers stay the same bits. */
#include "daemon/pool_private.h"
#include "tests/unit/support/drive.h"
#include "tests/unit/support/expected.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <errno.h>

#define SMALL "tests/fixtures/hatcat-small"

enum { LENSES = 70, UNIT = 4 };

/* The card that the CPU plays. */
static struct {
    const struct lens_backend_ops *cpu;
    struct lens_backend_ops ops;
    struct lens_backend *backend;
    uint32_t made, resizes;
    atomic_bool no_room, no_writes;
} card;

static struct lens_pack *pack;
static struct lensd_pool *pool;
static struct expected asked;
static float right[LENSES]; /* what the row asked about gives */
static bool known;

static int slab_create(struct lens_backend *backend, const struct lens_model *model,
                       const struct lens_slab_config *config, struct lens_slab **out, struct lens_error *err)
{
    int r = card.cpu->slab_create(backend, model, config, out, err);
    if (r == 0)
        (*out)->slot_unit = UNIT;
    card.made = config->slots;
    return r;
}

/* Nothing is used beyond: the CPU refuses to score what lies beyond config.slots. */
static int slab_resize(struct lens_slab *slab, uint32_t slots, struct lens_error *err)
{
    if (card.no_room)
        return lens_error_set(err, -ENOMEM, "the card is full");
    assert_in_range(slots, 1, card.made);
    uint32_t there = (slots + UNIT - 1) / UNIT * UNIT;
    there = there < card.made ? there : card.made;
    for (uint32_t slot = slots; slot < card.made; slot++)
        assert_int_equal(slab->lens_in[slot], -1);
    __atomic_store_n(&slab->config.slots, there, __ATOMIC_RELAXED);
    card.resizes++;
    return 0;
}

static int slot_write(struct lens_slab *slab, uint32_t loader, const struct lens_slot_write *writes, uint32_t n,
                      lens_slot_done_fn done, void *arg, struct lens_error *err)
{
    if (card.no_writes)
        return lens_error_set(err, -EIO, "the card takes nothing");
    return card.cpu->slot_write(slab, loader, writes, n, done, arg, err);
}

static void open_pool(uint32_t slots, enum lensd_cache_kind policy)
{
    struct lens_error err = {0};
    const struct lens_cpu_options options = {.threads = 1, .variant = "auto"};
    struct lensd_pool_config config = {
        .slots = slots, .max_batch_rows = 128, .base_layers = 1, .pins = 4, .policy = policy, .load_threads = 2};
    memset(&card, 0, sizeof card);
    assert_int_equal(lens_cpu_open(&options, &card.backend, &err), 0);
    card.cpu = card.backend->ops;
    card.ops = *card.cpu;
    card.ops.slab_create = slab_create;
    card.ops.slab_resize = slab_resize;
    card.ops.slot_write = slot_write;
    card.backend->ops = &card.ops;
    assert_int_equal(lensd_cache_quotas_parse("1:0.3,2:0.5", &config.quotas, &err), 0);
    if (lensd_pool_create(card.backend, pack, &config, &pool, &err) != 0)
        fail_msg("%s", err.text);
}

static void close_pool(void)
{
    lensd_pool_destroy(pool);
    card.backend->ops->close(card.backend);
}

/* One row that wants n lenses from `first` on, `step` apart; logits as they were when all lenses had a slot. */
static void ask(uint32_t first, uint32_t n, uint32_t step, enum lens_miss miss)
{
    struct lens_error err = {0};
    struct lens_detection detections[LENS_MAX_TOP_K];
    uint32_t base[LENSES], retained[LENSES], expanded[LENSES];
    asked.options.miss = miss;
    asked.options.base_layers = UINT64_MAX;
    asked.options.max_depth = 0;
    for (uint32_t i = 0; i < n; i++)
        base[i] = (first + i * step) % LENSES;
    struct lens_row_out out = {.expanded = expanded, .expanded_capacity = LENSES, .detections = detections};
    struct lens_job job = {.rows = asked.states,
                           .dtype = asked.dtype,
                           .n_rows = 1,
                           .options = &asked.options,
                           .base = base,
                           .n_base = n,
                           .out = &out,
                           .retained = retained,
                           .retained_capacity = LENSES};
    if (drive_pool(pool, &job, 1, NULL, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(out.status, LENS_ROW_COMPLETE);
    for (uint32_t i = 0; i < n; i++) {
        if (!known)
            right[base[i]] = out.logits[base[i]];
        assert_memory_equal(&out.logits[base[i]], &right[base[i]], sizeof(float));
    }
    lensd_pool_note_row(pool, 1, &out, 0.5f, false);
}

/* Each slot is in one state, and policy and counters know of each lens what is so. */
static void check_books(void)
{
    uint32_t held = 0, gone = 0, leaving = 0, on_way = 0, evictable = 0;
    struct lensd_pool_counters n;
    bool empty[LENSES] = {false};
    for (uint32_t i = 0; i < pool->n_empty; i++) {
        assert_true(pool->empty[i] < pool->slots && !empty[pool->empty[i]]);
        assert_int_equal(pool->slab->lens_in[pool->empty[i]], -1);
        empty[pool->empty[i]] = true;
    }
    for (uint32_t slot = 0; slot < pool->made; slot++) {
        assert_false(pool->gone[slot] && (slot < pool->slots || pool->slab->lens_in[slot] >= 0));
        gone += pool->gone[slot];
        leaving += slot >= pool->slots && !pool->gone[slot];
    }
    for (uint32_t lens = 0; lens < LENSES; lens++) {
        bool here = pool->slab->slot_of[lens] >= 0;
        held += here;
        on_way += pool->on_way[lens] != 0;
        evictable += here && pool->pins[lens] == 0;
        assert_int_equal(lensd_cache_policy_holds(pool->policy, lens), here && pool->pins[lens] == 0);
    }
    lensd_pool_get_counters(pool, &n);
    assert_int_equal(leaving, pool->leaving);
    assert_int_equal(held + on_way + gone + pool->n_empty, pool->made);
    assert_int_equal(evictable, lensd_cache_policy_size(pool->policy));
    assert_int_equal(held, lensd_pool_resident(pool));
    assert_true(pool->slots >= pool->pinned + 1 || pool->slots == LENSES);
}

static void settle(void)
{
    drive_idle(pool);
    check_books();
    assert_int_equal(pool->leaving, 0);
    assert_int_equal(pool->slab->config.slots, pool->slots);
}

static void answers_stay_while_slots_go_and_come(void **state)
{
    (void)state;
    struct lens_error err = {0};
    for (int policy = 0; policy <= LENSD_CACHE_SEQUENCE; policy++) {
        open_pool(LENSES, (enum lensd_cache_kind)policy);
        assert_int_equal(lensd_pool_preload(pool, NULL, NULL, &err), 0);
        uint32_t slots = pool->slots, times = 0;
        while (lensd_pool_give_back(pool)) {
            assert_true(lensd_pool_slots(pool) < slots);
            slots = lensd_pool_slots(pool);
            check_books();
            ask(0, LENSES, 1, LENS_MISS_WAIT); /* while they go */
            settle();
            times++;
        }
        assert_true(times > 3);
        assert_in_range(slots, pool->least, pool->least + UNIT - 1); /* base layers, pins, a family and one */
        assert_int_equal(lensd_pool_slots_made(pool), LENSES);
        while (lensd_pool_slots(pool) < LENSES) {
            slots = lensd_pool_slots(pool);
            assert_int_equal(lensd_pool_take_again(pool, UINT64_MAX, &err), 0);
            assert_true(lensd_pool_slots(pool) > slots);
            assert_int_equal(pool->slab->config.slots, pool->slots);
            check_books();
            ask(0, LENSES, 1, LENS_MISS_WAIT);
        }
        settle();
        assert_int_equal(lensd_pool_resident(pool), LENSES);
        close_pool();
    }
}

/* Where they lie doesn't matter, nor how often slots go: no row finds a pinned lens missing. */
static void pinned_lenses_move_before_their_slots_go(void **state)
{
    (void)state;
    struct lens_error err = {0};
    const uint32_t pins[] = {61, 62, 65, 69};
    open_pool(LENSES, LENSD_CACHE_LRU);
    assert_int_equal(lensd_pool_preload(pool, NULL, NULL, &err), 0);
    assert_int_equal(pool->slab->slot_of[65], 65);
    assert_int_equal(lensd_pool_pin(pool, pins, 4, &err), 0);
    assert_true(lensd_pool_give_back(pool));
    for (int i = 0; i < 1000 && pool->leaving > 0; i++) {
        ask(61, 2, 1, LENS_MISS_SKIP);
        ask(65, 2, 4, LENS_MISS_SKIP);
        check_books();
    }
    settle();
    ask(61, 2, 1, LENS_MISS_SKIP);
    ask(65, 2, 4, LENS_MISS_SKIP);
    for (int i = 0; i < 4; i++)
        assert_in_range(pool->slab->slot_of[pins[i]], 0, pool->slots - 1);
    close_pool();
}

/* What the policy would let go first goes; the others are still there when the slots are gone. */
static void the_policy_chooses_what_goes(void **state)
{
    (void)state;
    struct lens_error err = {0};
    open_pool(LENSES, LENSD_CACHE_LRU);
    assert_int_equal(lensd_pool_preload(pool, NULL, NULL, &err), 0);
    ask(40, 30, 1, LENS_MISS_WAIT); /* most lie where slots go */
    assert_true(lensd_pool_give_back(pool));
    settle();
    assert_int_equal(pool->slots, 56);
    for (uint32_t lens = 40; lens < LENSES; lens++)
        assert_true(pool->slab->slot_of[lens] >= 0);
    assert_in_range(lensd_pool_resident(pool), 55, 56);
    close_pool();
}

static void lenses_on_their_way_into_slots_that_leave_are_used_and_moved(void **state)
{
    (void)state;
    for (int again = 0; again < 20; again++) {
        open_pool(LENSES, LENSD_CACHE_HATCAT);
        assert_int_equal(lensd_pool_fill(pool), LENSES);
        lensd_pool_idle(pool); /* loads are under way */
        assert_true(lensd_pool_give_back(pool));
        if (again % 2 == 0)
            ask(0, LENSES, 1, LENS_MISS_WAIT);
        settle();
        ask(0, LENSES, 1, LENS_MISS_WAIT);
        close_pool();
    }
}

static void slots_that_cannot_be_had_leave_the_pool_as_it_was(void **state)
{
    (void)state;
    struct lens_error err = {0};
    open_pool(LENSES, LENSD_CACHE_SIEVE);
    assert_int_equal(lensd_pool_take_again(pool, UINT64_MAX, &err), 0); /* all are there */
    assert_true(lensd_pool_give_back(pool));
    settle();
    uint32_t slots = pool->slots, resizes = card.resizes;
    assert_int_equal(lensd_pool_take_again(pool, lensd_pool_slot_bytes(pool) * UNIT - 1, &err), 0);
    assert_int_equal(card.resizes, resizes); /* no whole unit fits */
    card.no_room = true;
    assert_int_equal(lensd_pool_take_again(pool, UINT64_MAX, &err), -ENOMEM);
    assert_int_equal(pool->slots, slots);
    settle();
    ask(0, LENSES, 1, LENS_MISS_WAIT);
    card.no_room = false;
    assert_int_equal(lensd_pool_take_again(pool, lensd_pool_slot_bytes(pool) * UNIT, &err), 0);
    assert_int_equal(pool->slots, slots + UNIT);
    close_pool();
}

static void a_lens_that_cannot_be_moved_stays_until_it_can(void **state)
{
    (void)state;
    struct lens_error err = {0};
    const uint32_t pin = 69;
    open_pool(LENSES, LENSD_CACHE_LRU);
    assert_int_equal(lensd_pool_preload(pool, NULL, NULL, &err), 0);
    assert_int_equal(lensd_pool_pin(pool, &pin, 1, &err), 0);
    card.no_writes = true;
    assert_true(lensd_pool_give_back(pool));
    drive_idle(pool);
    check_books();
    assert_true(pool->leaving > 0 && pool->halted);
    assert_int_equal(pool->slab->config.slots, LENSES);
    ask(pin, 1, 1, LENS_MISS_SKIP);
    assert_true(lensd_pool_give_back(pool)); /* tried again; all but the pinned one are let go */
    drive_idle(pool);
    assert_int_equal(pool->leaving, 1);
    card.no_writes = false;
    assert_true(lensd_pool_give_back(pool));
    settle();
    ask(pin, 1, 1, LENS_MISS_SKIP);
    card.no_writes = true; /* what was leaving may stay after all */
    assert_true(lensd_pool_give_back(pool));
    drive_idle(pool);
    assert_int_equal(lensd_pool_take_again(pool, 0, &err), 0);
    assert_int_equal(pool->slots, pool->slab->config.slots);
    check_books();
    close_pool();
}

static void a_pool_of_memory_that_is_not_a_cards_gives_nothing(void **state)
{
    (void)state;
    struct lens_error err = {0};
    open_pool(LENSES, LENSD_CACHE_LRU);
    card.ops.slab_resize = NULL;
    assert_false(lensd_pool_give_back(pool));
    assert_int_equal(lensd_pool_take_again(pool, UINT64_MAX, &err), 0);
    card.ops.slab_resize = slab_resize;
    uint32_t all[LENSES]; /* nor does one whose lenses are all pinned */
    for (uint32_t lens = 0; lens < LENSES; lens++)
        all[lens] = lens;
    assert_int_equal(lensd_pool_pin(pool, all, LENSES, &err), 0);
    assert_false(lensd_pool_give_back(pool));
    close_pool();
}

static void a_step_at_random(unsigned *seed)
{
    struct lens_error err;
    uint32_t lens = (uint32_t)rand_r(seed) % LENSES;
    switch (rand_r(seed) % 8) {
    case 0:
        (void)lensd_pool_give_back(pool);
        break;
    case 1:
        (void)lensd_pool_take_again(pool, (uint64_t)rand_r(seed), &err);
        break;
    case 2:
        if (pool->pinned < 4)
            (void)lensd_pool_pin(pool, &lens, 1, &err);
        break;
    case 3:
        if (pool->pins[lens] > 0)
            lensd_pool_unpin(pool, &lens, 1);
        break;
    case 4:
        lensd_pool_idle(pool);
        break;
    case 5:
        (void)lensd_pool_fill(pool);
        break;
    default:
        ask(lens, 1 + (uint32_t)rand_r(seed) % LENSES, 1, LENS_MISS_WAIT);
        break;
    }
    check_books();
}

static void books_are_right_whatever_happens(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    for (int policy = 0; policy <= LENSD_CACHE_SEQUENCE; policy++) {
        open_pool(LENSES - (uint32_t)rand_r(&seed) % 20, (enum lensd_cache_kind)policy);
        for (int i = 0; i < 400; i++)
            a_step_at_random(&seed);
        drive_idle(pool);
        (void)lensd_pool_give_back(pool);
        settle();
        close_pool();
    }
}

static int open_all(void **state)
{
    (void)state;
    pack = import_for_test(SMALL, LENS_F32);
    expected_load(SMALL, "expected-threshold.json", pack, &asked);
    open_pool(LENSES, LENSD_CACHE_LRU);
    ask(0, LENSES, 1, LENS_MISS_WAIT);
    close_pool();
    known = true;
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    expected_free(&asked);
    lens_pack_close(pack);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_stay_while_slots_go_and_come),
        cmocka_unit_test(pinned_lenses_move_before_their_slots_go),
        cmocka_unit_test(the_policy_chooses_what_goes),
        cmocka_unit_test(lenses_on_their_way_into_slots_that_leave_are_used_and_moved),
        cmocka_unit_test(slots_that_cannot_be_had_leave_the_pool_as_it_was),
        cmocka_unit_test(a_lens_that_cannot_be_moved_stays_until_it_can),
        cmocka_unit_test(a_pool_of_memory_that_is_not_a_cards_gives_nothing),
        cmocka_unit_test(books_are_right_whatever_happens),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
