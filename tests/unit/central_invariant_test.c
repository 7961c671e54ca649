/* The central invariant (DESIGN 1) through the engine and its rings: what rows that wait are answered with doesn't
 * depend on the number of slots, the eviction policy and its quotas, foresight, host memory, loading and scoring
 * threads, batch shapes, neighbours that don't wait, slow loads, or whether the engine sleeps. Hundreds of random
 * combinations of those; the answers to compare with come from a pool that holds everything, one session at a time. */
#include "daemon/pool_private.h"
#include "tests/unit/support/drive.h"
#include "tests/unit/support/expected.h"
#include "tests/unit/support/played_card.h"
#include "tests/unit/support/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SMALL "tests/fixtures/hatcat-small"

#ifdef LENSD_SANITIZED
enum { COMBINATIONS = 60, WAITING = 6, HASTY = 4 };
#else
enum { COMBINATIONS = 400, WAITING = 16, HASTY = 8 };
#endif
enum { PACKS = 6, AT_ONCE = 5 };

/* What the pack stores, what slots hold, and how they are scored. */
static const struct {
    enum lens_dtype dtype, slots;
    enum lens_compute compute;
} kinds[PACKS] = {{LENS_F32, LENS_F32, LENS_COMPUTE_EXACT},   {LENS_BF16, LENS_BF16, LENS_COMPUTE_BF16},
                  {LENS_I8, LENS_I8, LENS_COMPUTE_INT8},      {LENS_LOG8, LENS_F32, LENS_COMPUTE_EXACT},
                  {LENS_LOG8, LENS_LOG8, LENS_COMPUTE_EXACT}, {LENS_BF16, LENS_F32, LENS_COMPUTE_EXACT}};

struct reference {
    struct script script;
    struct script_answer *answers[PACKS];
};

struct stage {
    struct lens_pack *packs[PACKS];
    struct reference waiting[WAITING], hasty[HASTY];
};

static uint32_t below(unsigned *seed, uint32_t n)
{
    return (uint32_t)rand_r(seed) % n;
}

static unsigned new_seed(void)
{
    const char *given = getenv("LENSD_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    print_message("# seed %u (LENSD_TEST_SEED)\n", seed);
    return seed;
}

/* ---- the answers to compare with -------------------------------------------------------------------------------- */

/* Every lens in its slot before, one session, one submission at a time, one thread. */
static void learn(struct stage *stage, struct reference *reference, uint32_t kind, unsigned *seed)
{
    static struct play play;
    struct world_options options = {
        .pack = stage->packs[kind],
        .pool = {.dtype_set = true, .dtype = kinds[kind].slots, .compute = kinds[kind].compute},
        .spin_us = 50,
    };
    struct engine_world *w = open_world_with(&options);
    assert_int_equal(lensd_pool_preload(w->served.pool, NULL, NULL, NULL), 0);
    play_open(&play, w, &reference->script, LENS_MISS_WAIT, 1);
    attach_client(w, &play.client);
    play_all(&play, 1, 1, 0, seed);
    close_ring_client(w, &play.client);
    close_world(w);
    reference->answers[kind] = malloc(sizeof play.answers);
    memcpy(reference->answers[kind], play.answers, sizeof play.answers);
}

static void learn_all(struct stage *stage, unsigned *seed)
{
    for (uint32_t i = 0; i < WAITING; i++)
        script_make(&stage->waiting[i].script, stage->packs[0], seed);
    for (uint32_t i = 0; i < HASTY; i++)
        script_make_hasty(&stage->hasty[i].script, stage->packs[0], i % 2 ? LENS_MISS_SKIP : LENS_MISS_DEADLINE, seed);
    for (uint32_t kind = 0; kind < PACKS; kind++) {
        for (uint32_t i = 0; i < WAITING; i++)
            learn(stage, &stage->waiting[i], kind, seed);
        for (uint32_t i = 0; i < HASTY; i++)
            learn(stage, &stage->hasty[i], kind, seed);
    }
}

static int open_stage(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    for (uint32_t kind = 0; kind < PACKS; kind++)
        stage->packs[kind] = import_for_test(SMALL, kinds[kind].dtype);
    *state = stage;
    return 0;
}

static void free_reference(struct reference *reference)
{
    script_free(&reference->script);
    for (uint32_t kind = 0; kind < PACKS; kind++)
        free(reference->answers[kind]);
}

static int close_stage(void **state)
{
    struct stage *stage = *state;
    for (uint32_t i = 0; i < WAITING; i++)
        free_reference(&stage->waiting[i]);
    for (uint32_t i = 0; i < HASTY; i++)
        free_reference(&stage->hasty[i]);
    for (uint32_t kind = 0; kind < PACKS; kind++)
        lens_pack_close(stage->packs[kind]);
    free(stage);
    return 0;
}

/* ---- circumstances ---------------------------------------------------------------------------------------------- */

/* What must not matter, but for who is there and which pack. */
struct circumstances {
    struct world_options world;
    char faults[512]; /* slow loads */
    uint32_t kind, n, ahead;
    bool resize;          /* slots go and come meanwhile */
    uint64_t deadline_ns; /* of those who don't wait */
    const struct reference *who[AT_ONCE];
};

static void random_company(const struct stage *stage, struct circumstances *c, unsigned *seed)
{
    c->n = 1 + below(seed, 3);
    for (uint32_t i = 0; i < c->n; i++)
        c->who[i] = &stage->waiting[below(seed, WAITING)];
    for (uint32_t more = below(seed, 3); more > 0; more--)
        c->who[c->n++] = &stage->hasty[below(seed, HASTY)];
    static const uint64_t deadlines[] = {1, 30000, 300000, UINT64_C(3600000000000)};
    c->deadline_ns = deadlines[below(seed, 4)];
    c->ahead = 1 + below(seed, 16);
    c->kind = below(seed, PACKS);
}

/* From as few as can be attached (one beside the pinned) up to all. */
static uint32_t random_slots(const struct stage *stage, const struct circumstances *c, unsigned *seed)
{
    const struct script *scripts[AT_ONCE];
    for (uint32_t i = 0; i < c->n; i++)
        scripts[i] = &c->who[i]->script;
    uint32_t lenses = stage->packs[0]->lenses, least = script_pinned(scripts, c->n, stage->packs[0]) + 1;
    uint32_t more = below(seed, 4) == 0 ? 0 : below(seed, 2) ? below(seed, 8) : below(seed, lenses);
    return least + more < lenses ? least + more : lenses;
}

static void random_quotas(struct lensd_cache_quotas *quotas, unsigned *seed)
{
    if (below(seed, 3) != 0)
        return;
    for (uint32_t layer = 0; layer < 5; layer++)
        quotas->share[layer] = below(seed, 2) ? (float)below(seed, 101) / 100.0f : 0.0f;
}

/* A few of the first loads take milliseconds, so that others overtake them. */
static void random_slowness(struct circumstances *c, unsigned *seed)
{
    size_t at = 0;
    uint32_t call = 0;
    for (uint32_t i = below(seed, 3) == 0 ? 1 + below(seed, 12) : 0; i > 0; i--) {
        call += 1 + below(seed, 10);
        at += (size_t)snprintf(c->faults + at, sizeof c->faults - at, "slot_write %u slow:%u\n", call,
                               1 + below(seed, 3));
    }
    c->world.fault_script = at > 0 ? c->faults : NULL;
}

static void random_circumstances(const struct stage *stage, struct circumstances *c, unsigned *seed)
{
    static const uint32_t spins[] = {0, 20, 1000}, rows[] = {64, 100, 200};
    memset(c, 0, sizeof *c);
    random_company(stage, c, seed);
    const struct lens_pack *pack = stage->packs[c->kind];
    uint64_t lens_bytes = pack->w1_lens_bytes + pack->w1_sign_bytes + 64;
    uint64_t host[] = {0, lens_bytes * (1 + below(seed, 3)), lens_bytes * (1 + below(seed, 70)), 1u << 20};
    c->world = (struct world_options){
        .pack = stage->packs[c->kind],
        .backend_threads = 1 + below(seed, 3),
        .spin_us = spins[below(seed, 3)],
        .max_sessions = AT_ONCE,
        .pool = {.slots = random_slots(stage, c, seed),
                 .dtype_set = true,
                 .dtype = kinds[c->kind].slots,
                 .compute = kinds[c->kind].compute,
                 .max_batch_rows = rows[below(seed, 3)],
                 .policy = (enum lensd_cache_kind)below(seed, LENSD_CACHE_SEQUENCE + 1),
                 .host_memory = host[below(seed, 4)],
                 .prefetch = below(seed, 2) != 0,
                 .verify_loads = below(seed, 4) == 0,
                 .load_threads = 1 + below(seed, 3)},
    };
    random_quotas(&c->world.pool.quotas, seed);
    random_slowness(c, seed);
    c->resize = below(seed, 3) == 0;
}

static void describe(const struct circumstances *c, char *out, size_t size)
{
    const struct lensd_pool_config *pool = &c->world.pool;
    snprintf(out, size,
             "%s pack, %u slots of %s, %s, prefetch %d, host %llu bytes, %u load threads, %u threads, spin %u us, "
             "batches of %u rows, %u sessions, %u ahead, deadline %llu ns, resize %d, faults \"%s\"",
             lens_dtype_name(kinds[c->kind].dtype), pool->slots, lens_dtype_name(pool->dtype),
             lensd_cache_policy_names[pool->policy], pool->prefetch, (unsigned long long)pool->host_memory,
             pool->load_threads, c->world.backend_threads, c->world.spin_us, pool->max_batch_rows, c->n, c->ahead,
             (unsigned long long)c->deadline_ns, c->resize, c->faults);
}

/* ---- the comparison --------------------------------------------------------------------------------------------- */

/* Rows that wait are the same. One that doesn't is the same when it is complete, and says so when it isn't. */
static void compare(const struct circumstances *c, const struct play *play, const struct reference *reference)
{
    char text[1024];
    for (uint32_t i = 0; i < play->script->n; i++) {
        const struct script_submission *submission = &play->script->submissions[i];
        bool waits = play->script->options.miss == LENS_MISS_WAIT || (submission->flags & LENS_SUBMIT_PREWARM) != 0;
        for (uint32_t row = submission->first; row < submission->first + submission->n; row++) {
            const struct script_answer *got = &play->answers[row], *right = &reference->answers[c->kind][row];
            bool same = got->digest == right->digest && got->missing == 0;
            bool owned_up =
                !waits && got->status == LENS_ROW_PARTIAL && got->missing > 0 && (got->flags & LENS_ROW_DEGRADED) == 0;
            if (same || owned_up)
                continue;
            describe(c, text, sizeof text);
            fail_msg("submission %u row %u: status %u (%u), flags %u (%u), scored %u (%u), missing %u; %s", i, row,
                     got->status, right->status, got->flags, right->flags, got->scored, right->scored, got->missing,
                     text);
        }
    }
}

/* Lenses on their way into slots, and in them without use so far, beside the counters. */
static void check_counters(struct lensd_pool *pool)
{
    struct lensd_pool_counters n;
    uint32_t on_way = 0, held = 0, gone = 0;
    drive_idle(pool);
    lensd_pool_get_counters(pool, &n);
    for (uint32_t lens = 0; lens < pool->pack->lenses; lens++) {
        on_way += pool->on_way[lens] != 0;
        held += pool->slab->slot_of[lens] >= 0;
    }
    assert_int_equal(held, lensd_pool_resident(pool));
    assert_int_equal(n.loads - n.evictions, held + on_way);
    assert_int_equal(n.loads, n.host_hits + n.cold);
    assert_int_equal(n.prefetch_issued, n.prefetch_used + n.prefetch_wasted + pool->ahead);
    assert_true(n.prefetch_late <= n.prefetch_used);
    assert_int_equal(n.load_bytes, n.cold * (pool->pack->w1_lens_bytes + pool->pack->w1_sign_bytes));
    for (uint32_t slot = 0; slot < pool->made; slot++)
        gone += pool->gone[slot];
    assert_int_equal(pool->n_empty + held + on_way + gone, pool->made);
    assert_int_equal(pool->pinned, 0);
}

struct tally {
    uint64_t rows, loads, evictions, host_hits, prefetched, partial, resized;
};

static void count(struct tally *tally, const struct lensd_pool *pool, const struct play *plays, uint32_t n)
{
    struct lensd_pool_counters counters;
    lensd_pool_get_counters(pool, &counters);
    tally->loads += counters.loads;
    tally->evictions += counters.evictions;
    tally->host_hits += counters.host_hits;
    tally->prefetched += counters.prefetch_issued;
    for (uint32_t i = 0; i < n; i++) {
        tally->rows += plays[i].received;
        for (uint32_t row = 0; row < plays[i].script->n_rows; row++)
            tally->partial += plays[i].answers[row].status == LENS_ROW_PARTIAL;
    }
}

/* ---- slots that go and come ------------------------------------------------------------------------------------- */

struct resizer {
    struct engine_world *world;
    pthread_t thread;
    atomic_bool over;
    unsigned seed;
};

/* As the loop thread would, while nobody else calls the engine. */
static void *resize_now_and_then(void *arg)
{
    struct resizer *resizer = arg;
    struct lens_error err;
    bool given;
    while (!atomic_load(&resizer->over)) {
        if (below(&resizer->seed, 2) == 0)
            (void)lensd_engine_give_back(resizer->world->engine, &resizer->world->served, &given, &err);
        else
            (void)lensd_engine_take_again(resizer->world->engine, &resizer->world->served, UINT64_MAX, &err);
        usleep(below(&resizer->seed, 2000));
    }
    return NULL;
}

static void play_while_slots_change(struct engine_world *w, const struct circumstances *c, struct play *plays,
                                    unsigned *seed)
{
    struct resizer resizer = {.world = w, .seed = below(seed, 1000000)};
    if (c->resize)
        assert_int_equal(pthread_create(&resizer.thread, NULL, resize_now_and_then, &resizer), 0);
    play_all(plays, c->n, c->ahead, c->deadline_ns, seed);
    atomic_store(&resizer.over, true);
    if (c->resize)
        pthread_join(resizer.thread, NULL);
}

static void play_under(const struct circumstances *c, struct tally *tally, unsigned *seed)
{
    static struct play plays[AT_ONCE];
    struct engine_world *w = open_world_with(&c->world);
    if (c->resize)
        played_card_begin(w->served.pool, 1 + below(seed, 4), UINT64_MAX);
    for (uint32_t i = 0; i < c->n; i++) {
        play_open(&plays[i], w, &c->who[i]->script, c->who[i]->script.options.miss, i + 1);
        attach_client(w, &plays[i].client);
    }
    play_while_slots_change(w, c, plays, seed);
    for (uint32_t i = 0; i < c->n; i++) {
        compare(c, &plays[i], c->who[i]);
        close_ring_client(w, &plays[i].client);
    }
    assert_int_equal(w->failed, 0);
    stop_world(w, 1000);
    check_counters(w->served.pool);
    count(tally, w->served.pool, plays, c->n);
    tally->resized += c->resize ? played_card.given + played_card.taken : 0;
    close_world(w);
}

static void residency_decides_only_how_long_it_takes(void **state)
{
    struct stage *stage = *state;
    struct tally tally = {0};
    struct circumstances c;
    unsigned seed = new_seed();
    learn_all(stage, &seed);
    for (int i = 0; i < COMBINATIONS; i++) {
        random_circumstances(stage, &c, &seed);
        play_under(&c, &tally, &seed);
    }
    print_message("# %llu rows (%llu partial), %llu loads, %llu from host memory, %llu ahead, %llu evictions, "
                  "%llu times other slots\n",
                  (unsigned long long)tally.rows, (unsigned long long)tally.partial, (unsigned long long)tally.loads,
                  (unsigned long long)tally.host_hits, (unsigned long long)tally.prefetched,
                  (unsigned long long)tally.evictions, (unsigned long long)tally.resized);
    assert_true(tally.evictions > 0 && tally.host_hits > 0 && tally.prefetched > 0 && tally.partial > 0 &&
                tally.resized > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(residency_decides_only_how_long_it_takes),
    };
    return cmocka_run_group_tests(tests, open_stage, close_stage);
}
