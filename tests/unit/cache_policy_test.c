/* Each cache policy against a plain slow model of it, and what every policy must hold whatever it is. */
#include "daemon/cache/policy.h"
#include "tests/unit/support/slow_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct lensd_cache_policy *open_policy(enum lensd_cache_kind kind, uint32_t capacity, const uint8_t *layer,
                                              const struct lensd_cache_quotas *quotas)
{
    struct lensd_cache_config config = {kind, SLOW_LENSES, capacity, layer, quotas};
    struct lensd_cache_policy *policy = NULL;
    struct lens_error err;
    int r = lensd_cache_policy_create(&config, &policy, &err);
    if (r < 0)
        fail_msg("%s", err.text);
    return policy;
}

static bool is_protected(const void *arg, uint32_t lens)
{
    return ((const bool *)arg)[lens];
}

/* ---- against the model ------------------------------------------------------------------------------------------ */

struct world {
    struct lensd_cache_policy *policy;
    struct slow_cache model;
    unsigned seed;
    bool protect[SLOW_LENSES];
};

static uint32_t below(struct world *w, uint32_t n)
{
    return (uint32_t)rand_r(&w->seed) % n;
}

/* Few lenses are wanted often, many seldom. */
static uint32_t some_lens(struct world *w)
{
    return below(w, below(w, 3) == 0 ? SLOW_LENSES : SLOW_LENSES / 4);
}

static void check_same(const struct world *w)
{
    for (uint32_t i = 0; i < SLOW_LENSES; i++)
        assert_int_equal(lensd_cache_policy_holds(w->policy, i), w->model.lens[i].held);
    assert_int_equal(lensd_cache_policy_size(w->policy), slow_size(&w->model));
}

static bool same_victim(struct world *w)
{
    uint32_t found = 0xdeadbeef, expected = 0xdeadbeef;
    uint32_t odds = 1 + below(w, 6);
    for (uint32_t i = 0; i < SLOW_LENSES; i++)
        w->protect[i] = below(w, odds) != 0;
    bool any = lensd_cache_policy_victim(w->policy, is_protected, w->protect, &found);
    assert_int_equal(any, slow_victim(&w->model, w->protect, &expected));
    assert_int_equal(found, expected);
    if (any) {
        assert_false(w->protect[found]);
        assert_false(lensd_cache_policy_holds(w->policy, found));
    }
    return any;
}

static void same_arrival(struct world *w)
{
    uint32_t lens = some_lens(w);
    bool wanted = below(w, 4) != 0;
    bool room = lensd_cache_policy_holds(w->policy, lens) || slow_size(&w->model) < w->model.capacity;
    if (!room && !same_victim(w))
        return;
    lensd_cache_policy_insert(w->policy, lens, wanted);
    slow_insert(&w->model, lens, wanted);
    assert_true(lensd_cache_policy_holds(w->policy, lens));
}

static void same_step(struct world *w)
{
    uint32_t lens = some_lens(w), what = below(w, 100);
    if (what < 45) {
        same_arrival(w);
    } else if (what < 90) {
        lensd_cache_policy_use(w->policy, lens);
        slow_use(&w->model, lens);
    } else if (what < 95) {
        lensd_cache_policy_remove(w->policy, lens);
        slow_remove(&w->model, lens);
    } else if (what < 98) {
        same_victim(w);
    } else {
        uint32_t capacity = below(w, SLOW_LENSES);
        lensd_cache_policy_resize(w->policy, capacity);
        slow_resize(&w->model, capacity);
    }
}

static void follow_the_model(enum lensd_cache_kind kind, bool with_quotas)
{
    static uint8_t layer[SLOW_LENSES];
    struct world w = {.seed = (unsigned)time(NULL) + (unsigned)kind};
    const struct lensd_cache_quotas quotas = {.share = {[2] = 0.25f, [3] = 0.4f}};
    print_message("# %s seed %u\n", lensd_cache_policy_names[kind], w.seed);
    for (int round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < SLOW_LENSES; i++)
            layer[i] = (uint8_t)below(&w, 4);
        /* "sequence" that is told of no row is LRU; cache_sequence_policy_test.c has the rest. */
        enum lensd_cache_kind model = kind == LENSD_CACHE_SEQUENCE ? LENSD_CACHE_LRU : kind;
        w.model = (struct slow_cache){.kind = model, .capacity = 20, .layer = layer};
        if (with_quotas)
            w.model.quotas = quotas;
        w.policy = open_policy(kind, 20, layer, with_quotas ? &quotas : NULL);
        for (int step = 0; step < 4000; step++) {
            same_step(&w);
            if (step % 50 == 0)
                check_same(&w);
        }
        check_same(&w);
        lensd_cache_policy_destroy(w.policy);
    }
}

static void every_policy_does_what_its_plain_model_does(void **state)
{
    (void)state;
    for (int kind = 0; lensd_cache_policy_names[kind] != NULL; kind++)
        follow_the_model((enum lensd_cache_kind)kind, false);
}

static void every_policy_does_what_its_plain_model_does_with_quotas(void **state)
{
    (void)state;
    for (int kind = 0; lensd_cache_policy_names[kind] != NULL; kind++)
        follow_the_model((enum lensd_cache_kind)kind, true);
}

/* ---- textbook sequences ----------------------------------------------------------------------------------------- */

/* Letters are wanted one after the other: held ones are used, others come in after a victim left. Returns who left. */
static const char *play(enum lensd_cache_kind kind, uint32_t capacity, const char *wanted)
{
    static char left[64];
    size_t n = 0;
    struct lensd_cache_policy *policy = open_policy(kind, capacity, NULL, NULL);
    for (const char *c = wanted; *c != '\0'; c++) {
        uint32_t lens = (uint32_t)(*c - 'a'), victim;
        if (lensd_cache_policy_holds(policy, lens)) {
            lensd_cache_policy_use(policy, lens);
            continue;
        }
        if (lensd_cache_policy_size(policy) == capacity) {
            assert_true(lensd_cache_policy_victim(policy, NULL, NULL, &victim));
            left[n++] = (char)('a' + victim);
        }
        lensd_cache_policy_insert(policy, lens, true);
    }
    left[n] = '\0';
    lensd_cache_policy_destroy(policy);
    return left;
}

static void textbook_sequences_evict_as_in_the_textbook(void **state)
{
    (void)state;
    assert_string_equal(play(LENSD_CACHE_LRU, 3, "abcadbe"), "bca");
    /* a was used again twice, b once, c never, then d never */
    assert_string_equal(play(LENSD_CACHE_HATCAT, 3, "abcaabdef"), "cde");
    assert_string_equal(play(LENSD_CACHE_HATCAT, 2, "aabbcac"), "aca");
    /* a is spared once; then the hand goes on from where it was. */
    assert_string_equal(play(LENSD_CACHE_SIEVE, 3, "abcadbe"), "bcd");
    assert_string_equal(play(LENSD_CACHE_SIEVE, 3, "abcabcd"), "a");
    /* One-hit lenses leave through the small list; c comes back as a ghost and outlives d, e, f. */
    assert_string_equal(play(LENSD_CACHE_S3FIFO, 3, "abcdaefbg"), "abcdef");
}

/* ---- what holds for all ----------------------------------------------------------------------------------------- */

static void protected_lenses_stay_even_when_nothing_else_is_left(void **state)
{
    (void)state;
    for (int kind = 0; lensd_cache_policy_names[kind] != NULL; kind++) {
        struct lensd_cache_policy *policy = open_policy((enum lensd_cache_kind)kind, 8, NULL, NULL);
        bool all[SLOW_LENSES];
        uint32_t victim = 0xdeadbeef;
        memset(all, true, sizeof all);
        for (uint32_t i = 0; i < 8; i++)
            lensd_cache_policy_insert(policy, i, i % 2 == 0);
        for (uint32_t i = 0; i < 8; i++)
            for (uint32_t times = 0; times < i; times++)
                lensd_cache_policy_use(policy, i);
        assert_false(lensd_cache_policy_victim(policy, is_protected, all, &victim));
        assert_int_equal(victim, 0xdeadbeef);
        assert_int_equal(lensd_cache_policy_size(policy), 8);
        all[7] = false; /* the most used one */
        assert_true(lensd_cache_policy_victim(policy, is_protected, all, &victim));
        assert_int_equal(victim, 7);
        lensd_cache_policy_destroy(policy);
    }
}

static void a_layer_over_its_quota_gives_first(void **state)
{
    (void)state;
    uint8_t layer[SLOW_LENSES] = {0};
    const struct lensd_cache_quotas quotas = {.share = {[1] = 0.25f}};
    for (uint32_t i = 32; i < SLOW_LENSES; i++)
        layer[i] = 1;
    for (int kind = 0; lensd_cache_policy_names[kind] != NULL; kind++) {
        struct lensd_cache_policy *policy = open_policy((enum lensd_cache_kind)kind, 16, layer, &quotas);
        uint32_t victim;
        for (uint32_t i = 0; i < 10; i++)
            lensd_cache_policy_insert(policy, i, true);
        for (uint32_t i = 32; i < 38; i++)
            lensd_cache_policy_insert(policy, i, true);
        for (uint32_t i = 32; i < 38; i++)
            lensd_cache_policy_use(policy, i);
        for (int n = 0; n < 2; n++) { /* six held, four allowed */
            assert_true(lensd_cache_policy_victim(policy, NULL, NULL, &victim));
            assert_int_equal(layer[victim], 1);
        }
        lensd_cache_policy_resize(policy, 8); /* two allowed */
        assert_true(lensd_cache_policy_victim(policy, NULL, NULL, &victim));
        assert_int_equal(layer[victim], 1);
        lensd_cache_policy_destroy(policy);
    }
}

static void calls_about_lenses_that_are_not_held_change_nothing(void **state)
{
    (void)state;
    for (int kind = 0; lensd_cache_policy_names[kind] != NULL; kind++) {
        struct lensd_cache_policy *policy = open_policy((enum lensd_cache_kind)kind, 4, NULL, NULL);
        uint32_t victim = 0xdeadbeef;
        lensd_cache_policy_use(policy, 3);
        lensd_cache_policy_remove(policy, 3);
        assert_int_equal(lensd_cache_policy_size(policy), 0);
        assert_false(lensd_cache_policy_victim(policy, NULL, NULL, &victim));
        lensd_cache_policy_insert(policy, 3, true);
        lensd_cache_policy_insert(policy, 3, true);
        assert_int_equal(lensd_cache_policy_size(policy), 1);
        lensd_cache_policy_destroy(policy);
    }
}

static void wrong_configurations_are_refused_with_a_sentence(void **state)
{
    (void)state;
    static const struct lensd_cache_quotas none;
    const struct lensd_cache_config wrong[] = {
        {(enum lensd_cache_kind)99, 10, 5, NULL, NULL},
        {LENSD_CACHE_LRU, 0, 5, NULL, NULL},
        {LENSD_CACHE_LRU, UINT32_MAX, 5, NULL, NULL},
        {LENSD_CACHE_LRU, 10, 5, NULL, &none},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct lensd_cache_policy *policy = NULL;
        struct lens_error err = {0};
        assert_int_equal(lensd_cache_policy_create(&wrong[i], &policy, &err), -EINVAL);
        assert_true(strlen(err.text) > 10);
    }
}

static void quotas_are_read_as_written_and_refused_otherwise(void **state)
{
    (void)state;
    static const char *const wrong[] = {"2",
                                        "2:",
                                        ":0.5",
                                        "2:0.5,",
                                        "2:0.5;3:1",
                                        "256:0.5",
                                        "-1:0.5",
                                        "2:1.5",
                                        "2:0",
                                        "2:-0.5",
                                        "2:x",
                                        "x:0.5",
                                        "2:nan",
                                        "2:inf",
                                        "2:0.5,,",
                                        ",2:0.5",
                                        " 2:0.5",
                                        "2: 0.5",
                                        "2:0.5 ",
                                        "2:0.1,2:0.2",
                                        "2.5:0.5",
                                        "4294967298:0.5",
                                        "99999999999999999999:0.5"};
    struct lensd_cache_quotas quotas;
    memset(&quotas, 0xff, sizeof quotas);
    assert_int_equal(lensd_cache_quotas_parse("2:0.25,3:0.4,255:1", &quotas, NULL), 0);
    for (uint32_t i = 0; i < LENSD_CACHE_LAYERS; i++)
        assert_float_equal(quotas.share[i], i == 2 ? 0.25 : i == 3 ? 0.4 : i == 255 ? 1 : 0, 1e-6);
    assert_int_equal(lensd_cache_quotas_parse("", &quotas, NULL), 0);
    assert_float_equal(quotas.share[2], 0, 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct lens_error err = {0};
        if (lensd_cache_quotas_parse(wrong[i], &quotas, &err) != -EINVAL)
            fail_msg("'%s' was taken", wrong[i]);
        assert_non_null(strstr(err.text, "LAYER:SHARE"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_policy_does_what_its_plain_model_does),
        cmocka_unit_test(every_policy_does_what_its_plain_model_does_with_quotas),
        cmocka_unit_test(textbook_sequences_evict_as_in_the_textbook),
        cmocka_unit_test(protected_lenses_stay_even_when_nothing_else_is_left),
        cmocka_unit_test(a_layer_over_its_quota_gives_first),
        cmocka_unit_test(calls_about_lenses_that_are_not_held_change_nothing),
        cmocka_unit_test(wrong_configurations_are_refused_with_a_sentence),
        cmocka_unit_test(quotas_are_read_as_written_and_refused_otherwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
