/* The sequence table against a plain model under random operations. */
#include "daemon/sequences.h"
#include "daemon/sys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CAPACITY = 37, NAMES = 90, KEEP = 5 };

static void open_table(struct lensd_sequences *table, uint32_t capacity, uint32_t keep)
{
    uint32_t *storage = lensd_calloc(lensd_sequences_storage(capacity, keep), sizeof *storage);
    assert_int_equal(lensd_sequences_init(table, capacity, storage, keep), 0);
}

/* Names that collide and names that don't. */
static uint64_t name_of(unsigned i)
{
    return i % 3 == 0 ? i : i % 3 == 1 ? (uint64_t)i << 32 : UINT64_MAX - i;
}

static void check_against(struct lensd_sequences *table, const bool *live)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < NAMES; i++) {
        struct lensd_sequence *found = lensd_sequences_find(table, name_of(i));
        assert_int_equal(found != NULL, live[i]);
        if (found == NULL)
            continue;
        n++;
        assert_true(found->name == name_of(i));
        for (uint32_t k = 0; k < found->n_retained; k++)
            assert_int_equal(found->retained[k], i + k);
    }
    assert_int_equal(table->used, n);
}

static void random_operations_match_a_model(void **state)
{
    (void)state;
    struct lensd_sequences table;
    bool live[NAMES] = {false};
    uint32_t n_live = 0;
    unsigned seed = (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    open_table(&table, CAPACITY, KEEP);
    for (int step = 0; step < 20000; step++) {
        unsigned i = (unsigned)rand_r(&seed) % NAMES;
        if (rand_r(&seed) % 2 == 0) {
            struct lensd_sequence *s = lensd_sequences_get(&table, name_of(i));
            assert_int_equal(s != NULL, live[i] || n_live < CAPACITY);
            if (s == NULL)
                continue;
            if (!live[i])
                assert_int_equal(s->n_retained, 0); /* nothing of its predecessor */
            s->n_retained = KEEP;
            for (uint32_t k = 0; k < KEEP; k++)
                s->retained[k] = i + k;
            n_live += !live[i];
            live[i] = true;
        } else {
            lensd_sequences_end(&table, name_of(i));
            n_live -= live[i];
            live[i] = false;
        }
        if (step % 97 == 0)
            check_against(&table, live);
    }
    check_against(&table, live);
    lensd_sequences_free(&table);
}

static void a_rebase_forgets_what_was_retained_and_marks_it_stale(void **state)
{
    (void)state;
    struct lensd_sequences table;
    open_table(&table, 4, 2);
    struct lensd_sequence *s = lensd_sequences_get(&table, 7);
    s->n_retained = 2;
    uint32_t *larger = lensd_calloc(lensd_sequences_storage(4, 100), sizeof *larger);
    lensd_free(lensd_sequences_rebase(&table, larger, 100));
    s = lensd_sequences_find(&table, 7);
    assert_int_equal(s->n_retained, 0);
    assert_true(s->stale);
    assert_int_equal(table.retained_capacity, 100);
    s->retained[99] = s->next[99] = 1; /* in bounds: AddressSanitizer watches */
    assert_false(lensd_sequences_get(&table, 8)->stale);
    lensd_sequences_free(&table);
}

static void keeping_nothing_needs_no_storage_to_speak_of(void **state)
{
    (void)state;
    struct lensd_sequences table;
    open_table(&table, 3, 0);
    assert_non_null(lensd_sequences_get(&table, 1));
    lensd_sequences_free(&table);
}

/* Such names fell on one place of the index when only some of their bits counted: every look-up walked all others. */
static void names_chosen_to_collide_spread(void **state)
{
    (void)state;
    enum { MANY = 4096 };
    for (unsigned shift = 0; shift <= 52; shift += 4) {
        struct lensd_sequences table;
        uint32_t run = 0, longest = 0;
        open_table(&table, MANY, 0);
        for (uint64_t i = 0; i < MANY; i++)
            assert_non_null(lensd_sequences_get(&table, i << shift));
        for (uint32_t at = 0; at < table.index_size; at++) {
            run = table.index[at] != 0 ? run + 1 : 0;
            longest = run > longest ? run : longest;
        }
        assert_true(longest < 400);
        lensd_sequences_free(&table);
    }
}

static void sequences_of_different_tables_never_share_a_key(void **state)
{
    enum { TABLES = 300, EACH = 20 };
    static struct lensd_sequences tables[TABLES];
    static uint64_t keys[TABLES * EACH];
    unsigned n = 0;
    (void)state;
    for (unsigned t = 0; t < TABLES; t++) {
        open_table(&tables[t], 4, 1);
        for (uint64_t name = 0; name < EACH; name++)
            keys[n++] = lensd_sequences_key(&tables[t], name);
    }
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < i; k++)
            assert_true(keys[i] != keys[k]);
    assert_true(lensd_sequences_key(&tables[0], 9) == keys[9]);
    for (unsigned t = 0; t < TABLES; t++)
        lensd_sequences_free(&tables[t]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_match_a_model),
        cmocka_unit_test(a_rebase_forgets_what_was_retained_and_marks_it_stale),
        cmocka_unit_test(keeping_nothing_needs_no_storage_to_speak_of),
        cmocka_unit_test(names_chosen_to_collide_spread),
        cmocka_unit_test(sequences_of_different_tables_never_share_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
