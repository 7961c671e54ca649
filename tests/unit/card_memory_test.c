/* What the daemon does with a device that has memory of its own, on a CPU backend that plays one: how many slots a pool
 * gets, what is tried when there is too little memory, which memory of the host is page-locked, and where the device
 * sees a session's rows. */
#include "daemon/host_tier.h"
#include "daemon/pool.h"
#include "daemon/session.h"
#include "tests/unit/support/engine_world.h"
#include "tests/unit/support/expected.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SMALL "tests/fixtures/hatcat-small"

enum { LENSES = 70, ROWS = 256 };

/* The card that the CPU plays. */
static struct {
    const struct lens_backend_ops *cpu;
    struct lens_backend_ops ops;
    struct lens_backend *backend;
    uint64_t free_bytes;
    uint32_t most_slots, most_rows; /* more are -ENOMEM */
    uint32_t tried;                 /* slabs */
    uint32_t allocations, locked;   /* not given back yet */
    bool no_host_memory, no_locking;
} card;

static struct lens_pack *pack;

static int memory_free(struct lens_backend *backend, uint64_t *bytes)
{
    (void)backend;
    *bytes = card.free_bytes;
    return 0;
}

static int slab_create(struct lens_backend *backend, const struct lens_model *model,
                       const struct lens_slab_config *config, struct lens_slab **out, struct lens_error *err)
{
    card.tried++;
    if (config->slots > card.most_slots || config->max_batch_rows > card.most_rows)
        return lens_error_set(err, -ENOMEM, "the card is full");
    return card.cpu->slab_create(backend, model, config, out, err);
}

static void *host_alloc(struct lens_backend *backend, size_t bytes)
{
    (void)backend;
    if (card.no_host_memory)
        return NULL;
    card.allocations++;
    return calloc(1, bytes);
}

static void host_free(struct lens_backend *backend, void *memory)
{
    (void)backend;
    card.allocations--;
    free(memory);
}

/* The device sees everything a gigabyte further up. */
static int host_register(struct lens_backend *backend, void *memory, size_t bytes, void **device_view,
                         struct lens_error *err)
{
    (void)backend;
    assert_int_equal((uintptr_t)memory % 4096, 0);
    assert_int_equal(bytes % 4096, 0);
    if (card.no_locking)
        return lens_error_set(err, -ENOMEM, "no page can be locked");
    card.locked++;
    *device_view = (void *)((uintptr_t)memory + (1u << 30));
    return 0;
}

static void host_unregister(struct lens_backend *backend, void *memory)
{
    (void)backend;
    assert_non_null(memory);
    card.locked--;
}

static int open_card(void **state)
{
    const struct lens_cpu_options options = {.threads = 1, .variant = "scalar"};
    struct lens_error err = {0};
    (void)state;
    memset(&card, 0, sizeof card);
    assert_int_equal(lens_cpu_open(&options, &card.backend, &err), 0);
    card.cpu = card.backend->ops;
    card.ops = *card.cpu;
    card.ops.memory_free = memory_free;
    card.ops.slab_create = slab_create;
    card.ops.host_alloc = host_alloc;
    card.ops.host_free = host_free;
    card.ops.host_register = host_register;
    card.ops.host_unregister = host_unregister;
    card.backend->ops = &card.ops;
    card.free_bytes = UINT64_C(1) << 40;
    card.most_slots = card.most_rows = UINT32_MAX;
    return 0;
}

static int close_card(void **state)
{
    (void)state;
    assert_int_equal(card.allocations, 0);
    assert_int_equal(card.locked, 0);
    card.backend->ops->close(card.backend);
    return 0;
}

static struct lensd_pool_config config_of(uint32_t slots)
{
    return (struct lensd_pool_config){.slots = slots, .max_batch_rows = ROWS, .base_layers = 3};
}

static struct lens_slab_size size_of(void)
{
    struct lens_model model;
    struct lens_slab_size size;
    struct lens_error err = {0};
    const struct lens_slab_config slab = {.dtype = LENS_F32, .max_batch_rows = ROWS, .loaders = 2};
    lens_model_of_pack(pack, &model);
    assert_int_equal(card.ops.slab_size(card.backend, &model, &slab, &size, &err), 0);
    return size;
}

/* Slots and rows that a pool got, and what it says of it. */
static void expect_pool(const struct lensd_pool_config *config, uint32_t slots, uint32_t rows, const char *says)
{
    struct lensd_pool *pool;
    struct lens_error err = {0};
    if (lensd_pool_create(card.backend, pack, config, &pool, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(lensd_pool_slab(pool)->config.slots, slots);
    assert_int_equal(lensd_pool_slab(pool)->config.max_batch_rows, rows);
    if (says[0] == '\0')
        assert_string_equal(lensd_pool_note(pool), "");
    else if (strstr(lensd_pool_note(pool), says) == NULL)
        fail_msg("expected \"%s\", found \"%s\"", says, lensd_pool_note(pool));
    /* what a setting allows is no shortage, and no step of the ladder */
    bool is_short = strncmp(lensd_pool_note(pool), "device memory is short", 22) == 0;
    assert_string_equal(lensd_pool_shortage(pool), is_short ? lensd_pool_note(pool) : "");
    lensd_pool_destroy(pool);
}

static uint32_t count_least(void)
{
    uint32_t base = 0, family = 0;
    for (uint32_t lens = 0; lens < pack->lenses; lens++) {
        base += pack->layer[lens] < 2;
        if (lens_pack_child_count(pack, lens) > family)
            family = lens_pack_child_count(pack, lens);
    }
    assert_in_range(base + family + 1, 2, LENSES - 1);
    return base + family + 1;
}

static void all_lenses_get_a_slot_where_they_fit(void **state)
{
    (void)state;
    struct lensd_pool_config config = config_of(0);
    expect_pool(&config, LENSES, ROWS, "");
    config.device_memory = card.free_bytes;
    expect_pool(&config, LENSES, ROWS, "");
}

static void slots_are_as_many_as_the_free_memory_has_room_for(void **state)
{
    (void)state;
    struct lensd_pool_config config = config_of(0);
    struct lens_slab_size size = size_of();
    card.free_bytes = LENSD_DEVICE_RESERVE + size.fixed_bytes + 60 * size.slot_bytes;
    expect_pool(&config, 60, ROWS, "device memory is short: 60 of 70 slots");
    card.free_bytes--;
    expect_pool(&config, 59, ROWS, "59 of 70 slots");
    card.free_bytes = 0; /* tried all the same with the least that serves */
    expect_pool(&config, count_least(), ROWS, "device memory is short");
    config.slots = 65; /* who says a number gets it, if there is room at all */
    expect_pool(&config, 65, ROWS, "");
}

static void device_memory_bounds_slots_and_tables(void **state)
{
    (void)state;
    struct lensd_pool *pool;
    struct lens_error err = {0};
    struct lensd_pool_config config = config_of(0);
    struct lens_slab_size size = size_of();
    config.device_memory = size.fixed_bytes + 33 * size.slot_bytes + size.slot_bytes / 2;
    expect_pool(&config, 33, ROWS, "pool.device_memory");
    config.slots = 50;
    expect_pool(&config, 33, ROWS, "allows 33 of 50 slots");
    config.slots = 20;
    expect_pool(&config, 20, ROWS, "");
    card.ops.memory_free = NULL; /* the same on the CPU */
    config.slots = 0;
    expect_pool(&config, 33, ROWS, "allows 33 of 70 slots");
    config.device_memory = size.fixed_bytes + size.slot_bytes - 1;
    assert_int_equal(lensd_pool_create(card.backend, pack, &config, &pool, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "pool.device_memory"));
    card.ops.slab_size = NULL;
    assert_int_equal(lensd_pool_create(card.backend, pack, &config, &pool, &err), -ENOTSUP);
}

static void memory_that_went_meanwhile_costs_slots_first_then_rows(void **state)
{
    (void)state;
    struct lensd_pool_config config = config_of(0);
    uint32_t least = count_least();
    card.most_slots = LENSES - 1;
    expect_pool(&config, LENSES / 2 > least ? LENSES / 2 : least, ROWS, "device memory is short");
    card.tried = 0;
    card.most_slots = least;
    card.most_rows = 100;
    expect_pool(&config, least, 64, "batches of 64 rows instead of 256");
    assert_in_range(card.tried, 3, 10);
    config.slots = 10; /* fewer than the base needs is what was asked for */
    card.most_slots = 10;
    card.most_rows = ROWS;
    expect_pool(&config, 10, ROWS, "");
}

static void a_card_without_room_for_the_least_refuses_the_pack(void **state)
{
    (void)state;
    struct lensd_pool *pool;
    struct lens_error err = {0};
    struct lensd_pool_config config = config_of(0);
    card.most_rows = 63; /* a submission may have 64 */
    assert_int_equal(lensd_pool_create(card.backend, pack, &config, &pool, &err), -ENOMEM);
    assert_non_null(strstr(err.text, "the card is full"));
    card.most_rows = ROWS;
    card.most_slots = LENSES - 1;
    card.tried = 0;
    card.ops.memory_free = NULL; /* the CPU says at once that it hasn't the memory */
    assert_int_equal(lensd_pool_create(card.backend, pack, &config, &pool, &err), -ENOMEM);
    assert_int_equal(card.tried, 1);
}

static void lenses_on_their_way_lie_in_page_locked_memory(void **state)
{
    (void)state;
    struct lensd_pool *pool;
    struct lensd_host_tier *tier;
    struct lens_error err = {0};
    struct lensd_pool_config config = config_of(10);
    config.host_memory = 20 * (pack->w1_lens_bytes + 64);
    assert_int_equal(lensd_pool_create(card.backend, pack, &config, &pool, &err), 0);
    assert_int_equal(card.allocations, 1 + 2 * 2); /* the tier; values and signs for the engine and one thread */
    lensd_pool_destroy(pool);
    assert_int_equal(card.allocations, 0);
    card.no_host_memory = true;
    assert_int_equal(lensd_host_tier_create(pack, card.backend, config.host_memory, &tier, &err), -ENOMEM);
    assert_non_null(strstr(err.text, "page-locked"));
    assert_int_equal(lensd_pool_create(card.backend, pack, &config, &pool, &err), -ENOMEM);
}

/* A session on a pack of the card, and the pack. */
static struct lensd_session *make_session(struct lensd_served_pack *served)
{
    struct lensd_session *session;
    struct lens_error err = {0};
    struct lensd_pool_config config = config_of(0);
    struct lens_cascade_options options = flat_options(3, LENS_MISS_WAIT);
    struct lensd_session_request request = session_request_of(&options, 4);
    *served = (struct lensd_served_pack){.name = "small", .pack = pack, .generation = 1};
    assert_int_equal(lensd_pool_create(card.backend, pack, &config, &served->pool, &err), 0);
    assert_int_equal(lensd_session_create(&request, served, &session, &err), 0);
    return session;
}

static void the_device_sees_rows_where_clients_write_them(void **state)
{
    (void)state;
    struct lensd_served_pack served, other;
    struct lens_error err = {0};
    struct lensd_binding binding;
    struct lensd_session *session = make_session(&served);
    const struct lens_submit_descriptor d = {.rows = 1, .payload_offset = 4160};
    assert_null(lensd_session_device_rows(session, &d));
    assert_int_equal(lensd_session_lock_rows(session, &err), 0);
    assert_int_equal(card.locked, 1);
    const char *rows = lens_ring_server_rows(&session->ring, &d), *seen = lensd_session_device_rows(session, &d);
    assert_true(seen == rows + (1u << 30));

    /* A pack of another device doesn't see them; one of the same does. */
    assert_int_equal(lensd_binding_create(session, &served, &binding, &err), 0);
    assert_true(binding.rows_locked);
    lensd_binding_destroy(&binding);
    const struct lens_cpu_options options = {.threads = 1, .variant = "scalar"};
    const struct lensd_pool_config config = config_of(0);
    struct lens_backend *cpu;
    other = served;
    assert_int_equal(lens_cpu_open(&options, &cpu, &err), 0);
    assert_int_equal(lensd_pool_create(cpu, pack, &config, &other.pool, &err), 0);
    assert_int_equal(lensd_binding_create(session, &other, &binding, &err), 0);
    assert_false(binding.rows_locked);
    lensd_binding_destroy(&binding);
    lensd_pool_destroy(other.pool);
    cpu->ops->close(cpu);

    lensd_session_unlock_rows(session);
    assert_int_equal(card.locked, 0);
    lensd_session_destroy(session);
    lensd_pool_destroy(served.pool);
}

static void rows_that_cannot_be_locked_are_left_to_be_copied(void **state)
{
    (void)state;
    struct lensd_served_pack served;
    struct lens_error err = {0};
    struct lensd_session *session = make_session(&served);
    const struct lens_submit_descriptor d = {.rows = 1};
    card.no_locking = true;
    assert_int_equal(lensd_session_lock_rows(session, &err), -ENOMEM);
    assert_string_equal(err.text, "no page can be locked");
    assert_null(lensd_session_device_rows(session, &d));
    lensd_session_destroy(session);
    lensd_pool_destroy(served.pool);
}

static int import_small(void **state)
{
    (void)state;
    pack = import_for_test(SMALL, LENS_F32);
    return 0;
}

static int close_small(void **state)
{
    (void)state;
    lens_pack_close(pack);
    return 0;
}

#define ON_A_CARD(test) cmocka_unit_test_setup_teardown(test, open_card, close_card)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_CARD(all_lenses_get_a_slot_where_they_fit),
        ON_A_CARD(slots_are_as_many_as_the_free_memory_has_room_for),
        ON_A_CARD(device_memory_bounds_slots_and_tables),
        ON_A_CARD(memory_that_went_meanwhile_costs_slots_first_then_rows),
        ON_A_CARD(a_card_without_room_for_the_least_refuses_the_pack),
        ON_A_CARD(lenses_on_their_way_lie_in_page_locked_memory),
        ON_A_CARD(the_device_sees_rows_where_clients_write_them),
        ON_A_CARD(rows_that_cannot_be_locked_are_left_to_be_copied),
    };
    return cmocka_run_group_tests(tests, import_small, close_small);
}
