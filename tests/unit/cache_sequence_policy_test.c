/* The policy "sequence" once it is told of rows: who leaves first, and what ends a claim. Without rows it is LRU, which
 * cache_policy_test.c holds. */
#include "daemon/cache/policy.h"

#ifndef LENSD_SANITIZED
#include "tests/unit/support/counting_malloc.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <time.h>

enum { LENSES = 200 };

static struct lensd_cache_policy *open_policy(void)
{
    const struct lensd_cache_config config = {.kind = LENSD_CACHE_SEQUENCE, .lenses = LENSES, .capacity = 50};
    struct lensd_cache_policy *policy = NULL;
    assert_int_equal(lensd_cache_policy_create(&config, &policy, NULL), 0);
    return policy;
}

/* A row that wants the n lenses from `first` on, as an owner plays it: those not held come in. */
static void row(struct lensd_cache_policy *policy, uint64_t sequence, uint32_t first, uint32_t n, bool ends)
{
    uint32_t lenses[LENSES];
    for (uint32_t i = 0; i < n; i++) {
        lenses[i] = first + i;
        if (lensd_cache_policy_holds(policy, first + i))
            lensd_cache_policy_use(policy, first + i);
        else
            lensd_cache_policy_insert(policy, first + i, true);
    }
    lensd_cache_policy_row(policy, sequence, lenses, n, ends);
}

static uint32_t victim(struct lensd_cache_policy *policy)
{
    uint32_t lens = 0xdeadbeef;
    assert_true(lensd_cache_policy_victim(policy, NULL, NULL, &lens));
    assert_false(lensd_cache_policy_holds(policy, lens));
    return lens;
}

static void what_a_sequence_left_leaves_before_what_its_last_row_wanted(void **state)
{
    (void)state;
    struct lensd_cache_policy *policy = open_policy();
    row(policy, 1, 10, 3, false);
    row(policy, 2, 20, 3, false);
    row(policy, 2, 30, 3, false); /* 20..22 are cold though used later than 10..12 */
    assert_int_equal(victim(policy), 20);
    assert_int_equal(victim(policy), 21);
    assert_int_equal(victim(policy), 22);
    assert_int_not_equal(victim(policy) / 10, 2);
    lensd_cache_policy_destroy(policy);
}

static void of_the_cold_ones_those_leave_that_sequences_turned_to_least(void **state)
{
    (void)state;
    struct lensd_cache_policy *policy = open_policy();
    for (int times = 0; times < 5; times++) {
        row(policy, 1, 10, 2, false); /* turned to five times, stayed for ten rows in all */
        row(policy, 1, 10, 2, false);
        row(policy, 1, 90, 1, false);
    }
    row(policy, 1, 20, 2, false); /* once, later */
    row(policy, 1, 30, 1, false);
    assert_int_equal(victim(policy), 20);
    assert_int_equal(victim(policy), 21);
    assert_int_equal(victim(policy), 10);
    lensd_cache_policy_destroy(policy);
}

static void a_lens_that_two_sequences_want_is_kept_for_the_other(void **state)
{
    (void)state;
    struct lensd_cache_policy *policy = open_policy();
    row(policy, 1, 10, 2, false);
    row(policy, 2, 10, 2, false);
    row(policy, 3, 50, 2, false);
    row(policy, 3, 60, 2, false);
    row(policy, 2, 30, 2, false); /* 2 leaves 10 and 11; 1 still wants them */
    assert_int_equal(victim(policy), 50);
    assert_int_equal(victim(policy), 51);
    row(policy, 1, 40, 2, false);
    assert_int_equal(victim(policy), 10);
    lensd_cache_policy_destroy(policy);
}

static void an_ended_sequence_claims_nothing(void **state)
{
    (void)state;
    struct lensd_cache_policy *policy = open_policy();
    row(policy, 1, 10, 2, false);
    row(policy, 2, 20, 2, true);
    row(policy, 3, 30, 2, false);
    assert_int_equal(victim(policy), 20);
    assert_int_equal(victim(policy), 21);
    lensd_cache_policy_destroy(policy);
}

static void a_sequence_that_falls_silent_claims_nothing_after_a_while(void **state)
{
    (void)state;
    struct lensd_cache_policy *policy = open_policy();
    row(policy, 1, 10, 2, false);
    for (int times = 0; times < 200; times++)
        row(policy, 2, 20, 2, false);
    assert_int_equal(victim(policy), 10);
    lensd_cache_policy_destroy(policy);
}

static void when_sequences_take_turns_the_one_that_was_just_served_gives(void **state)
{
    (void)state;
    struct lensd_cache_policy *policy = open_policy();
    for (int times = 0; times < 100; times++)
        for (uint64_t sequence = 1; sequence <= 4; sequence++)
            row(policy, sequence, (uint32_t)sequence * 10, 3, false);
    for (int n = 0; n < 3; n++)
        assert_int_equal(victim(policy) / 10, 4); /* its turn is furthest; 1 comes next */
    for (int n = 0; n < 3; n++)
        assert_int_equal(victim(policy) / 10, 3);
    lensd_cache_policy_destroy(policy);
}

static void a_prefetched_lens_is_kept_for_two_turns_then_it_is_cold(void **state)
{
    (void)state;
    struct lensd_cache_policy *policy = open_policy();
    row(policy, 1, 10, 2, false);
    row(policy, 1, 20, 2, false);
    lensd_cache_policy_insert(policy, 100, false);
    assert_int_equal(victim(policy), 10);
    assert_int_equal(victim(policy), 11);
    row(policy, 1, 12, 2, false);
    for (int times = 0; times < 20; times++)
        row(policy, 1, 30, 2, false); /* 20 and 12 were wanted once, 100 never */
    assert_int_equal(victim(policy), 100);
    lensd_cache_policy_destroy(policy);
}

static void many_sequences_are_more_than_it_remembers(void **state)
{
    (void)state;
    struct lensd_cache_policy *policy = open_policy();
    for (uint64_t sequence = 0; sequence < 10000; sequence++)
        row(policy, sequence << 32, (uint32_t)(sequence % 50), 1, false);
    assert_int_equal(lensd_cache_policy_size(policy), 50);
    for (int n = 0; n < 50; n++)
        victim(policy);
    assert_int_equal(lensd_cache_policy_size(policy), 0);
    lensd_cache_policy_destroy(policy);
}

static bool odd_ones(const void *arg, uint32_t lens)
{
    return lens % 2 == *(const uint32_t *)arg;
}

/* One random call; `held` follows what should be held. */
static void random_call(struct lensd_cache_policy *policy, unsigned *seed, bool *held)
{
    uint32_t lens = (uint32_t)rand_r(seed) % LENSES, n = (uint32_t)rand_r(seed) % 12, odd = lens % 3;
    uint32_t lenses[12];
    switch (rand_r(seed) % 5) {
    case 0:
        lensd_cache_policy_insert(policy, lens, rand_r(seed) % 2);
        held[lens] = true;
        break;
    case 1:
        lensd_cache_policy_use(policy, lens);
        break;
    case 2:
        for (uint32_t i = 0; i < n; i++)
            lenses[i] = (lens + i * 7) % LENSES; /* held or not */
        lensd_cache_policy_row(policy, (uint64_t)rand_r(seed) % 9, lenses, n, rand_r(seed) % 20 == 0);
        break;
    case 3:
        if (rand_r(seed) % 8 == 0) {
            lensd_cache_policy_remove(policy, lens);
            held[lens] = false;
        }
        break;
    default:
        if (lensd_cache_policy_victim(policy, odd_ones, &odd, &lens)) {
            assert_true(held[lens] && lens % 2 != odd);
            held[lens] = false;
        } else {
            for (uint32_t i = 0; i < LENSES; i++)
                assert_true(!held[i] || i % 2 == odd);
        }
    }
}

static void random_calls_lose_and_invent_no_lens(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL);
    bool held[LENSES] = {false};
    struct lensd_cache_policy *policy = open_policy();
    print_message("# seed %u\n", seed);
    for (int step = 0; step < 200000; step++) {
        random_call(policy, &seed, held);
        if (step % 100 != 0)
            continue;
        uint32_t n = 0;
        for (uint32_t i = 0; i < LENSES; i++) {
            assert_int_equal(lensd_cache_policy_holds(policy, i), held[i]);
            n += held[i];
        }
        assert_int_equal(lensd_cache_policy_size(policy), n);
    }
    lensd_cache_policy_destroy(policy);
}

static void calls_allocate_nothing(void **state)
{
    (void)state;
#ifdef LENSD_SANITIZED
    skip(); /* sanitizers bring their own heap */
#else
    for (int kind = 0; lensd_cache_policy_names[kind] != NULL; kind++) {
        const struct lensd_cache_config config = {(enum lensd_cache_kind)kind, LENSES, 50, NULL, NULL};
        struct lensd_cache_policy *policy = NULL;
        bool held[LENSES] = {false};
        unsigned seed = 5;
        unsigned long at_first = atomic_load(&counting_calls);
        assert_int_equal(lensd_cache_policy_create(&config, &policy, NULL), 0);
        unsigned long before = atomic_load(&counting_calls);
        assert_true(before > at_first); /* the counter counts */
        for (int step = 0; step < 5000; step++)
            random_call(policy, &seed, held);
        assert_int_equal(atomic_load(&counting_calls), before);
        lensd_cache_policy_destroy(policy);
    }
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_sequence_left_leaves_before_what_its_last_row_wanted),
        cmocka_unit_test(of_the_cold_ones_those_leave_that_sequences_turned_to_least),
        cmocka_unit_test(a_lens_that_two_sequences_want_is_kept_for_the_other),
        cmocka_unit_test(an_ended_sequence_claims_nothing),
        cmocka_unit_test(a_sequence_that_falls_silent_claims_nothing_after_a_while),
        cmocka_unit_test(when_sequences_take_turns_the_one_that_was_just_served_gives),
        cmocka_unit_test(a_prefetched_lens_is_kept_for_two_turns_then_it_is_cold),
        cmocka_unit_test(many_sequences_are_more_than_it_remembers),
        cmocka_unit_test(random_calls_lose_and_invent_no_lens),
        cmocka_unit_test(calls_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
