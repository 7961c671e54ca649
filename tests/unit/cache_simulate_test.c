/* The cache simulator: Belady's optimum against trying everything, no policy better than it, and figures that add up.
 */
#include "daemon/cache/simulate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_LENSES = 200, MAX_ROWS = 2000, MAX_WORDS = 40 };

/* A trace over lenses without children, all of layer 2 but those set otherwise. */
struct made {
    struct lensd_trace trace;
    uint8_t layer[MAX_LENSES];
    int32_t offsets[MAX_LENSES + 1], children[1];
    struct lens_trace_row row[MAX_ROWS];
    uint64_t first[MAX_ROWS];
    uint32_t words[MAX_ROWS * MAX_WORDS], n_words;
};

static struct made *new_trace(uint32_t lenses)
{
    struct made *m = calloc(1, sizeof *m);
    assert_non_null(m);
    memset(m->layer, 2, sizeof m->layer);
    m->trace = (struct lensd_trace){
        .tables = {lenses, 0, m->layer, m->offsets, m->children}, .row = m->row, .first = m->first, .words = m->words};
    return m;
}

static void add_row(struct made *m, uint64_t sequence, const uint32_t *lenses, uint32_t n, float logit)
{
    uint64_t r = m->trace.rows++;
    assert_true(r < MAX_ROWS && n <= MAX_WORDS);
    m->row[r] = (struct lens_trace_row){.n = n, .sequence = sequence, .base_layers = 3};
    m->first[r] = m->n_words;
    for (uint32_t i = 0; i < n; i++)
        m->words[m->n_words++] = lens_trace_word(lenses[i], logit);
}

static uint32_t below(unsigned *seed, uint32_t n)
{
    return (uint32_t)rand_r(seed) % n;
}

/* Up to `most` different lenses. */
static void add_random_row(struct made *m, unsigned *seed, uint32_t most)
{
    uint32_t lenses[MAX_WORDS], n = 0, wanted = below(seed, most + 1);
    uint32_t some = below(seed, 3) == 0 ? m->trace.tables.lenses : 1 + m->trace.tables.lenses / 2;
    while (n < wanted) {
        uint32_t lens = below(seed, some), i = 0;
        while (i < n && lenses[i] != lens)
            i++;
        if (i == n)
            lenses[n++] = lens;
        else
            wanted--;
    }
    add_row(m, below(seed, 3), lenses, n, 1);
}

static struct lensd_sim_figures run_policy(const struct made *m, int kind, uint32_t capacity, uint32_t prefetch)
{
    struct lensd_sim_input input;
    struct lensd_sim_figures figures;
    struct lensd_predictor_config predictor;
    struct lens_error err = {0};
    lensd_predictor_default(&predictor);
    const struct lensd_sim_config config = {.kind = (enum lensd_cache_kind)kind,
                                            .capacity = capacity,
                                            .predictor = prefetch > 0 ? &predictor : NULL,
                                            .prefetch = prefetch};
    memset(&figures, 0xee, sizeof figures);
    assert_int_equal(lensd_sim_open(&m->trace, &input, &err), 0);
    if (lensd_sim_run(&input, &config, &figures, &err) < 0)
        fail_msg("%s", err.text);
    lensd_sim_close(&input);
    return figures;
}

static struct lensd_sim_figures run_belady(const struct made *m, uint32_t capacity)
{
    struct lensd_sim_input input;
    struct lensd_sim_figures figures;
    memset(&figures, 0xee, sizeof figures);
    assert_int_equal(lensd_sim_open(&m->trace, &input, NULL), 0);
    assert_int_equal(lensd_sim_belady(&input, capacity, &figures, NULL), 0);
    lensd_sim_close(&input);
    return figures;
}

/* ---- Belady ----------------------------------------------------------------------------------------------------- */

/* The fewest misses, by trying every set that could be held after every row. */
static uint64_t fewest_misses(const struct made *m, uint32_t capacity)
{
    enum { SETS = 1 << 6 };
    uint64_t best[SETS], next[SETS];
    memset(best, 0xff, sizeof best);
    best[0] = 0;
    for (uint64_t r = 0; r < m->trace.rows; r++) {
        uint32_t wanted = 0;
        for (uint32_t i = 0; i < m->row[r].n; i++)
            wanted |= 1u << lens_trace_lens(m->words[m->first[r] + i]);
        bool fits = (uint32_t)__builtin_popcount(wanted) <= capacity;
        memset(next, 0xff, sizeof next);
        for (uint32_t held = 0; held < SETS; held++) {
            if (best[held] == UINT64_MAX)
                continue;
            uint64_t misses = best[held] + (uint64_t)__builtin_popcount(wanted & ~held);
            for (uint32_t after = 0; after < SETS; after++) {
                bool possible = (after & ~(held | wanted)) == 0 && (uint32_t)__builtin_popcount(after) <= capacity;
                if (possible && (!fits || (wanted & ~after) == 0) && misses < next[after])
                    next[after] = misses;
            }
        }
        memcpy(best, next, sizeof best);
    }
    uint64_t fewest = UINT64_MAX;
    for (uint32_t held = 0; held < SETS; held++)
        fewest = best[held] < fewest ? best[held] : fewest;
    return fewest;
}

static void belady_has_the_fewest_misses_there_can_be(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    for (int round = 0; round < 150; round++) {
        struct made *m = new_trace(6);
        uint32_t capacity = 1 + below(&seed, 5), most = 1 + below(&seed, 5);
        for (uint32_t rows = 3 + below(&seed, 15); rows > 0; rows--)
            add_random_row(m, &seed, most);
        assert_int_equal(run_belady(m, capacity).misses, fewest_misses(m, capacity));
        free(m);
    }
}

static void no_policy_beats_belady(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    for (int round = 0; round < 12; round++) {
        struct made *m = new_trace(MAX_LENSES);
        uint32_t capacity = 1 + below(&seed, MAX_LENSES);
        for (int rows = 0; rows < 400; rows++)
            add_random_row(m, &seed, MAX_WORDS);
        struct lensd_sim_figures belady = run_belady(m, capacity);
        assert_int_equal(belady.hits + belady.misses, belady.requests);
        for (int kind = 0; lensd_cache_policy_names[kind] != NULL; kind++) {
            struct lensd_sim_figures f = run_policy(m, kind, capacity, 0);
            assert_int_equal(f.rows, 400);
            assert_int_equal(f.requests, belady.requests);
            assert_int_equal(f.hits + f.misses, f.requests);
            assert_int_equal(f.prefetched, 0);
            if (f.misses < belady.misses)
                fail_msg("%s missed %llu times, Belady %llu", lensd_cache_policy_names[kind],
                         (unsigned long long)f.misses, (unsigned long long)belady.misses);
        }
        free(m);
    }
}

static void where_everything_fits_each_lens_misses_once(void **state)
{
    (void)state;
    unsigned seed = 3;
    struct made *m = new_trace(MAX_LENSES);
    bool seen[MAX_LENSES] = {false};
    uint64_t distinct = 0;
    for (int rows = 0; rows < 300; rows++)
        add_random_row(m, &seed, MAX_WORDS);
    for (uint32_t i = 0; i < m->n_words; i++) {
        distinct += !seen[lens_trace_lens(m->words[i])];
        seen[lens_trace_lens(m->words[i])] = true;
    }
    assert_int_equal(run_belady(m, MAX_LENSES).misses, distinct);
    for (int kind = 0; lensd_cache_policy_names[kind] != NULL; kind++)
        assert_int_equal(run_policy(m, kind, MAX_LENSES, 0).misses, distinct);
    free(m);
}

/* ---- what is counted -------------------------------------------------------------------------------------------- */

static void figures_are_those_worked_out_by_hand(void **state)
{
    (void)state;
    struct made *m = new_trace(10);
    m->layer[0] = 0;
    m->layer[1] = 1; /* base */
    add_row(m, 1, (uint32_t[]){0, 1, 2, 3}, 4, 0);
    add_row(m, 1, (uint32_t[]){0, 1, 3, 4}, 4, 0);
    add_row(m, 1, (uint32_t[]){0, 1, 2, 2}, 4, 0);            /* twice is once */
    add_row(m, 1, (uint32_t[]){4, 3}, 2, __builtin_nanf("")); /* given up, but wanted */
    add_row(m, 1, (uint32_t[]){0}, 1, 0);
    struct lensd_sim_figures f = run_policy(m, LENSD_CACHE_LRU, 2, 0);
    assert_int_equal(f.rows, 5);
    assert_int_equal(f.requests, 7);
    assert_int_equal(f.misses, 5); /* 2 3 | 4 for 2 | 2 for 3 | 3 for 2 */
    f = run_belady(m, 2);
    assert_int_equal(f.misses, 5);
    f = run_policy(m, LENSD_CACHE_LRU, 3, 0);
    assert_int_equal(f.misses, 3);
    assert_float_equal(lensd_sim_miss_ratio(&f), 3 / 7.0, 1e-9);
    free(m);
}

static void a_row_larger_than_the_cache_misses_what_it_does_not_find(void **state)
{
    (void)state;
    struct made *m = new_trace(10);
    add_row(m, 1, (uint32_t[]){1, 2}, 2, 0);
    add_row(m, 1, (uint32_t[]){1, 3, 4, 5}, 4, 0); /* finds 1 */
    add_row(m, 1, (uint32_t[]){2}, 1, 0);
    for (int kind = 0; lensd_cache_policy_names[kind] != NULL; kind++)
        assert_int_equal(run_policy(m, kind, 2, 0).misses, 2 + 3 + 1);
    assert_int_equal(run_belady(m, 2).misses, 2 + 3); /* may keep 2 */
    free(m);
}

/* Lens 1 fires, then lenses 2..9 come; in between come others, so that they have left when they are wanted again. */
static struct made *pattern(void)
{
    struct made *m = new_trace(100);
    for (int times = 0; times < 60; times++) {
        add_row(m, 7, (uint32_t[]){1}, 1, 3);
        add_row(m, 7, (uint32_t[]){2, 3, 4, 5, 6, 7, 8, 9}, 8, -5);
        for (uint32_t other = 0; other < 10; other++)
            add_row(m, 7,
                    (uint32_t[]){20 + (uint32_t)times % 4 * 20 + other * 2, 21 + (uint32_t)times % 4 * 20 + other * 2},
                    2, -5);
    }
    return m;
}

static void prefetch_brings_what_a_pattern_foretells_in_time(void **state)
{
    (void)state;
    struct made *m = pattern();
    for (int kind = 0; lensd_cache_policy_names[kind] != NULL; kind++) {
        struct lensd_sim_figures without = run_policy(m, kind, 15, 0), with = run_policy(m, kind, 15, 8);
        assert_true(with.prefetched > 0);
        assert_true(with.prefetch_used + with.prefetch_wasted <= with.prefetched);
        assert_true(with.prefetched <= with.prefetch_used + with.prefetch_wasted + 15);
        assert_int_equal(with.hits + with.misses, with.requests);
        assert_int_equal(with.requests, without.requests);
        if (kind == LENSD_CACHE_LRU) {
            assert_true(without.misses > 1600);              /* nearly all */
            assert_true(with.misses + 300 < without.misses); /* 8 in each of nearly 60 rounds */
            assert_true(lensd_sim_precision(&with) > 0.9);
            assert_true(lensd_sim_recall(&with) > 0.15);
        }
    }
    free(m);
}

static void senseless_sizes_are_refused(void **state)
{
    (void)state;
    struct made *m = new_trace(3);
    struct lensd_sim_input input;
    struct lensd_sim_figures figures;
    struct lens_error err = {0};
    add_row(m, 1, (uint32_t[]){1}, 1, 0);
    assert_int_equal(lensd_sim_open(&m->trace, &input, &err), 0);
    assert_int_equal(lensd_sim_belady(&input, 0, &figures, &err), -EINVAL);
    assert_int_equal(lensd_sim_run(&input, &(struct lensd_sim_config){.capacity = 0}, &figures, &err), -EINVAL);
    assert_true(strlen(err.text) > 20);
    lensd_sim_close(&input);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(belady_has_the_fewest_misses_there_can_be),
        cmocka_unit_test(no_policy_beats_belady),
        cmocka_unit_test(where_everything_fits_each_lens_misses_once),
        cmocka_unit_test(figures_are_those_worked_out_by_hand),
        cmocka_unit_test(a_row_larger_than_the_cache_misses_what_it_does_not_find),
        cmocka_unit_test(prefetch_brings_what_a_pattern_foretells_in_time),
        cmocka_unit_test(senseless_sizes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
