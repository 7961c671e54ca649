/* The tables of the systems before lensd (SEEDS "Headline numbers", H5-H9, H16-H18), made again on the same axes: what
 * base layers, a cache, pre-warming and pruning cost or save a token, stage by stage, in microseconds.
 *
 *     bench_seeds [--tables base,prewarm,keep,profiles] [--rows 1000] [--starts 10] [--prompt 32]
 *                 [--pack FILE] [--tree FILE] [--dtype bf16] [--compute exact]
 *                 [--policy sequence] [--prefetch off] [--load-threads 2]
 *
 * Each cell is a lensd of its own on the second processor (one engine thread) and a client that spins on the first, on
 * one stream of rows with planted answers. "Cache off" has slots for the base lenses and the widest family of children,
 * so that nothing survives until the next row. The pack's file is in the page cache. Cells that differ in the cache
 * alone must give the same answers, bit for bit: a difference ends the run.
 *
 * Tables are markdown. Means add up: total = base + loading + children + cache management + other. */
#include "tests/bench/support/bench.h"
#include "tests/bench/support/child.h"
#include "tests/bench/support/planted.h"
#include "tests/bench/support/report.h"

#include "client/liblens/lens.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WARM         200u
#define COLD_ROWS    20u
#define KEEP_ROWS    100u
#define ANSWERS      16u /* groups of cells whose answers must agree */
#define MAX_PROMPT   64u
#define SEED         11u
#define KEEP_DEFAULT (-2)
#define QUOTAS       "2:0.25,3:0.4"

enum stage { BASE, LOAD, CHILDREN, MANAGE, OTHER, TOTAL, STAGES };
static const char *const stage_names[STAGES] = {"base", "loading", "children", "cache_management", "other", "total"};

struct setup {
    const char *pack_path, *compute, *policy, *prefetch, *load_threads;
    uint32_t rows, starts, prompt, dim, lenses, widest;
    const struct bench_tree *tree;
    float *states;    /* [prompt + WARM + longest][dim], one stream */
    uint32_t *leaves; /* of each, BENCH_ACTIVE_LEAVES */
    struct bench_report *report;
    struct {
        bool known;
        uint64_t hash;
    } answers[ANSWERS];
};

/* What one cell is. */
struct cell {
    const char *table, *name, *cache;
    const char *quotas;   /* cache.quotas; NULL = none */
    uint32_t base_layers; /* 0..base_layers-1 */
    uint32_t slots;       /* 0 = all */
    bool preload, prewarm;
    bool from_nothing; /* measured from the first token of a sequence on; another one warmed the cache */
    uint32_t starts, warm, rows;
    int32_t keep_top_k;
    float unload_threshold; /* negative = lensd's default */
    uint32_t same_answers;  /* the group it belongs to */
};

/* What one cell measured, over the rows of all its starts. */
struct result {
    uint32_t n, base_lenses;
    double *client;
    double stage[STAGES], scored, missed, first_scored, last_scored, prompt_ns, first_ns;
    uint64_t planted, found, hash;
};

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static uint32_t longest_of(const struct setup *setup)
{
    uint32_t rows = setup->rows > KEEP_ROWS ? setup->rows : KEEP_ROWS;
    return WARM + rows;
}

static void make_rows(struct setup *setup)
{
    uint32_t n = setup->prompt + longest_of(setup);
    struct bench_rows *planted = bench_rows_open(setup->tree, setup->dim, SEED);
    setup->states = bench_alloc((size_t)n * setup->dim * sizeof(float));
    setup->leaves = bench_alloc((size_t)n * BENCH_ACTIVE_LEAVES * sizeof(uint32_t));
    for (uint32_t t = 0; t < n; t++) {
        bench_rows_next(planted, setup->states + (size_t)t * setup->dim);
        memcpy(setup->leaves + (size_t)t * BENCH_ACTIVE_LEAVES, planted->leaves, sizeof planted->leaves);
    }
    bench_rows_close(planted);
}

static uint32_t widest_family(const struct bench_tree *tree)
{
    int32_t widest = 0;
    for (uint32_t i = 0; i < tree->n; i++) {
        int32_t children = tree->child_offsets[i + 1] - tree->child_offsets[i];
        widest = children > widest ? children : widest;
    }
    return (uint32_t)widest;
}

static uint32_t base_lenses(const struct setup *setup, uint32_t layers)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < setup->tree->n; i++)
        n += setup->tree->layer[i] < layers;
    return n;
}

/* ---- one submission --------------------------------------------------------------------------------------------- */

static void submit(struct lens_session *session, const struct setup *setup, uint32_t from, uint32_t n, uint32_t flags,
                   uint64_t sequence)
{
    struct lens_slot slot;
    if (lens_session_acquire(session, n, LENS_TYPE_F32, 0, &slot) < 0)
        bench_die("the ring has no room for %u rows", n);
    memcpy(slot.rows, setup->states + (size_t)from * setup->dim, (size_t)n * setup->dim * sizeof(float));
    slot.sequence = sequence;
    slot.first_position = from;
    slot.flags = flags;
    if (lens_session_submit(session, &slot) < 0)
        bench_die("a row can't be submitted");
}

static void wait_answer(struct lens_session *session, struct lens_answer *answer)
{
    int got;
    while ((got = lens_session_poll(session, answer)) == -EAGAIN)
        ;
    if (got < 0)
        bench_die("no answer: %s", strerror(-got));
    if (answer->status != 0 || answer->flags != 0)
        bench_die("a row came back with status %u, flags %u", answer->status, answer->flags);
}

static void mix(uint64_t *hash, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *hash = (*hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3ull;
}

static void keep(struct result *result, const struct lens_answer *answer, const uint32_t *leaves, double ns)
{
    const double stage[OTHER] = {(double)answer->ns.base, (double)answer->ns.load, (double)answer->ns.expand,
                                 (double)answer->ns.select};
    double other = (double)answer->ns.total;
    for (int i = 0; i < OTHER; i++) {
        result->stage[i] += stage[i];
        other -= stage[i];
    }
    result->stage[OTHER] += other;
    result->stage[TOTAL] += (double)answer->ns.total;
    result->scored += answer->counts.scored;
    result->missed += answer->counts.scored - answer->counts.slot_hits;
    result->client[result->n++] = ns;
    for (int leaf = 0; leaf < BENCH_ACTIVE_LEAVES; leaf++) {
        result->planted++;
        for (uint32_t h = 0; h < answer->n_hits; h++)
            result->found += answer->hits[h].id == leaves[leaf];
    }
    mix(&result->hash, answer->hits, answer->n_hits * sizeof *answer->hits);
}

/* ---- one start of a cell ---------------------------------------------------------------------------------------- */

static void run_rows(struct lens_session *session, const struct setup *setup, const struct cell *cell,
                     struct result *result)
{
    struct lens_answer answer;
    uint32_t at = setup->prompt;
    uint64_t began = bench_now_ns();
    if (cell->prewarm) {
        submit(session, setup, 0, setup->prompt, LENS_SLOT_PREWARM, 1);
        for (uint32_t t = 0; t < setup->prompt; t++) {
            wait_answer(session, &answer);
            lens_session_release(session);
        }
        result->prompt_ns += (double)(bench_now_ns() - began);
    }
    for (uint32_t t = 0; t < cell->warm + cell->rows; t++) {
        uint64_t sequence = t < cell->warm && cell->from_nothing ? 2 : 1;
        began = bench_now_ns();
        /* what warms for another sequence needn't retain anything: unbounded, that would take minutes */
        submit(session, setup, at + t, 1, sequence == 2 ? LENS_SLOT_RESET : 0, sequence);
        wait_answer(session, &answer);
        double ns = (double)(bench_now_ns() - began);
        if (t >= cell->warm)
            keep(result, &answer, setup->leaves + (size_t)(at + t) * BENCH_ACTIVE_LEAVES, ns);
        if (t == cell->warm) {
            result->first_ns += ns;
            result->first_scored += answer.counts.scored;
        }
        if (t == cell->warm + cell->rows - 1)
            result->last_scored += answer.counts.scored;
        lens_session_release(session);
    }
}

/* A busy machine may keep lensd's control thread waiting for longer than liblens has patience. */
static void try_again(int tries, const struct lens_client_error *err)
{
    if (tries == 10 || err->code != -ETIMEDOUT)
        bench_die("%s", err->text);
    usleep(1000000);
}

static void run_session(const struct bench_daemon *daemon, const struct setup *setup, const struct cell *cell,
                        struct result *result)
{
    static const uint8_t layers[] = {0, 1, 2};
    struct lens_session_params params;
    struct lens_client_error err = {0};
    struct lens_client *client;
    struct lens_session *session;
    lens_session_params_default(&params);
    params.max_rows = setup->prompt;
    params.base_layers = layers;
    params.n_base_layers = cell->base_layers;
    params.keep_top_k = cell->keep_top_k;
    params.unload_threshold = cell->unload_threshold;
    for (int tries = 0; lens_client_open(daemon->socket, &client, &err) < 0; tries++)
        try_again(tries, &err);
    for (int tries = 0; lens_session_open(client, &params, &session, &err) < 0; tries++)
        try_again(tries, &err);
    run_rows(session, setup, cell, result);
    lens_client_close(client);
}

static void run_start(const struct setup *setup, const struct cell *cell, struct result *result)
{
    struct bench_daemon daemon;
    char slots[16], base[16] = "0";
    snprintf(slots, sizeof slots, "%u", cell->slots);
    for (uint32_t layer = 1; layer < cell->base_layers; layer++)
        snprintf(base + strlen(base), sizeof base - strlen(base), ",%u", layer);
    const char *const flags[] = {"--pool-compute",
                                 setup->compute,
                                 "--pool-slots",
                                 slots,
                                 "--pool-preload",
                                 cell->preload ? "on" : "off",
                                 "--cache-policy",
                                 setup->policy,
                                 "--cache-quotas",
                                 cell->quotas ? cell->quotas : "",
                                 "--cache-prefetch",
                                 setup->prefetch,
                                 "--cache-load-threads",
                                 setup->load_threads,
                                 "--cascade-base-layers",
                                 base,
                                 "--packs-verify",
                                 "off",
                                 "--engine-threads",
                                 "1",
                                 "--engine-spin-us",
                                 "1000000",
                                 NULL};
    bench_daemon_start(&daemon, setup->pack_path, flags);
    run_session(&daemon, setup, cell, result);
    bench_daemon_stop(&daemon);
}

/* ---- figures ---------------------------------------------------------------------------------------------------- */

static void check_answers(struct setup *setup, const struct cell *cell, const struct result *result)
{
    if (!setup->answers[cell->same_answers].known) {
        setup->answers[cell->same_answers].known = true;
        setup->answers[cell->same_answers].hash = result->hash;
    }
    if (setup->answers[cell->same_answers].hash != result->hash)
        bench_die("%s, cache %s: other answers than with another cache", cell->name, cell->cache);
}

/* In steady state the base lenses are resident: the rate is that of the others. After a cold start it counts all. */
static double hit_rate(const struct cell *cell, const struct result *result)
{
    double wanted = result->scored - (cell->preload ? (double)result->base_lenses * result->n : 0);
    return wanted > 0 ? 1 - result->missed / wanted : 1;
}

static void put_figure(const struct setup *setup, const struct cell *cell, const struct result *result,
                       struct bench_summary client)
{
    json_t *figure = bench_report_figure(setup->report), *stages = json_object();
    bench_put_text(figure, "table", cell->table);
    bench_put_text(figure, "cell", cell->name);
    bench_put_text(figure, "cache", cell->cache);
    bench_put(figure, "base_lenses", result->base_lenses);
    bench_put(figure, "slots", cell->slots ? cell->slots : setup->lenses);
    bench_put(figure, "starts", cell->starts);
    bench_put(figure, "rows", result->n);
    bench_put(figure, "client_p50_ns", client.p50);
    bench_put(figure, "client_p95_ns", client.p95);
    bench_put(figure, "client_max_ns", client.max);
    bench_put(figure, "client_mean_ns", client.mean);
    bench_put(figure, "first_row_ns", result->first_ns / cell->starts);
    bench_put(figure, "prompt_ns", result->prompt_ns / cell->starts);
    for (int i = 0; i < STAGES; i++)
        bench_put(stages, stage_names[i], result->stage[i] / result->n);
    json_object_set_new(figure, "stages_mean_ns", stages);
    bench_put(figure, "lenses_scored", result->scored / result->n);
    bench_put(figure, "lenses_scored_first_row", result->first_scored / cell->starts);
    bench_put(figure, "lenses_scored_last_row", result->last_scored / cell->starts);
    bench_put(figure, "lenses_missed", result->missed / result->n);
    bench_put(figure, "hit_rate", hit_rate(cell, result));
    bench_put(figure, "planted_recall", (double)result->found / (double)result->planted);
}

static void print_row(const struct cell *cell, const struct result *result, struct bench_summary client)
{
    printf("| %s | %s |", cell->name, cell->cache);
    for (int i = 0; i < STAGES; i++)
        printf(" %.0f |", result->stage[i] / result->n * 1e-3);
    printf(" %.0f / %.0f / %.0f |", client.p50 * 1e-3, client.p95 * 1e-3, client.max * 1e-3);
    if (strcmp(cell->table, "prewarm") == 0)
        printf(" %.0f | %.0f |", result->first_ns / cell->starts * 1e-3, result->prompt_ns / cell->starts * 1e-3);
    if (strcmp(cell->table, "keep") == 0)
        printf(" %.0f, %.0f |", result->first_scored / cell->starts, result->last_scored / cell->starts);
    printf(" %.0f | %.1f | %.1f%% | %.1f%% |\n", result->scored / result->n, result->missed / result->n,
           100 * hit_rate(cell, result), 100.0 * (double)result->found / (double)result->planted);
    fflush(stdout);
}

static void run_cell(struct setup *setup, const struct cell *cell)
{
    struct result result = {.base_lenses = base_lenses(setup, cell->base_layers), .hash = 0xcbf29ce484222325ull};
    result.client = bench_alloc((size_t)cell->starts * cell->rows * sizeof *result.client);
    for (uint32_t start = 0; start < cell->starts; start++)
        run_start(setup, cell, &result);
    check_answers(setup, cell, &result);
    struct bench_summary client = bench_summarize(result.client, result.n);
    put_figure(setup, cell, &result, client);
    print_row(cell, &result, client);
    free(result.client);
}

/* ---- the tables ------------------------------------------------------------------------------------------------- */

static void print_head(const char *title, const char *first, const char *more)
{
    printf(
        "\n%s\n\n| %s | cache | base | loading | children | cache management | other | total | client p50 / p95 / max "
        "|%s lenses scored | missed | hit rate | recall |\n",
        title, first, more);
    printf("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for (const char *p = more; *p; p++) {
        if (*p == '|')
            printf("---:|");
    }
    printf("---:|---:|---:|---:|\n");
}

static uint32_t slots_of(const struct setup *setup, int cache, uint32_t layers)
{
    const uint32_t slots[] = {base_lenses(setup, layers) + setup->widest, setup->lenses / 10, 0};
    return slots[cache];
}

static const char *const cache_names[] = {"off", "10%", "all"};

static void base_table(struct setup *setup)
{
    static const char *const names[] = {"0", "0-1", "0-2"};
    print_head("Base layers and cache, steady state, microseconds a token (means; the client's are quantiles). Hit "
               "rate and misses: lenses beyond the base.",
               "base layers", "");
    for (uint32_t layers = 1; layers <= 3; layers++) {
        for (int cache = 0; cache < 3; cache++) {
            struct cell cell = {.table = "base",
                                .name = names[layers - 1],
                                .cache = cache_names[cache],
                                .base_layers = layers,
                                .slots = slots_of(setup, cache, layers),
                                .preload = true,
                                .starts = 1,
                                .warm = WARM,
                                .rows = setup->rows,
                                .keep_top_k = KEEP_DEFAULT,
                                .unload_threshold = -1,
                                .same_answers = layers};
            run_cell(setup, &cell);
        }
    }
}

static void prewarm_table(struct setup *setup)
{
    char title[256];
    snprintf(title, sizeof title,
             "Pre-warming with %u prompt rows: the first %u tokens after a cold start (no lens in a slot), base layers "
             "0-1, %u starts. Hit rate and misses: all lenses.",
             setup->prompt, COLD_ROWS, setup->starts);
    print_head(title, "pre-warming", " first token | prompt |");
    for (int cache = 0; cache < 2; cache++) {
        for (int prewarm = 0; prewarm < 2; prewarm++) {
            struct cell cell = {.table = "prewarm",
                                .name = prewarm ? "on" : "off",
                                .cache = cache_names[cache],
                                .base_layers = 2,
                                .slots = slots_of(setup, cache, 2),
                                .prewarm = prewarm,
                                .starts = setup->starts,
                                .rows = COLD_ROWS,
                                .keep_top_k = KEEP_DEFAULT,
                                .unload_threshold = -1,
                                .same_answers = 4 + (uint32_t)prewarm};
            run_cell(setup, &cell);
        }
    }
}

static void keep_table(struct setup *setup)
{
    static const struct {
        const char *name;
        int32_t keep;
        float unload;
    } rules[] = {{"30", 30, 0}, {"50", 50, 0}, {"unbounded", -1, 0}, {"30, those above 0.1 (lensd's default)", 30, -1}};
    print_head("keep_top_k: the first 100 tokens of a sequence, base layers 0-1; like the field's pruning it keeps by "
               "rank, whatever the score (unload_threshold = 0). Hit rate and misses: lenses beyond the base.",
               "keep_top_k", " scored at token 1, 100 |");
    for (uint32_t rule = 0; rule < sizeof rules / sizeof rules[0]; rule++) {
        for (int cache = 1; cache < 3; cache++) {
            struct cell cell = {.table = "keep",
                                .name = rules[rule].name,
                                .cache = cache_names[cache],
                                .base_layers = 2,
                                .slots = slots_of(setup, cache, 2),
                                .preload = true,
                                .starts = 1,
                                .warm = WARM,
                                .rows = KEEP_ROWS,
                                .from_nothing = true,
                                .keep_top_k = rules[rule].keep,
                                .unload_threshold = rules[rule].unload,
                                .same_answers = 6 + rule};
            run_cell(setup, &cell);
        }
    }
}

/* SEEDS H17: real-time is base layer 0 and keep 30; offline base layers 0-1, keep 100 and at most 1000 lenses. Quotas
 * (H16) bound what layers may hold of the same slots. */
static void profile_table(struct setup *setup)
{
    static const struct {
        const char *name, *quotas;
        uint32_t layers, group;
        int32_t keep;
    } profiles[] = {{"real-time", "", 1, 10, 30}, {"offline", "", 2, 11, 100}, {"offline", QUOTAS, 2, 11, 100}};
    print_head("Profiles of the field with 1,000 slots, steady state. Hit rate and misses: lenses beyond the base. "
               "Quotas: " QUOTAS ".",
               "profile", "");
    for (uint32_t i = 0; i < sizeof profiles / sizeof profiles[0]; i++) {
        struct cell cell = {.table = "profiles",
                            .name = profiles[i].name,
                            .cache = *profiles[i].quotas ? "1000, quotas" : "1000",
                            .quotas = profiles[i].quotas,
                            .base_layers = profiles[i].layers,
                            .slots = 1000,
                            .preload = true,
                            .starts = 1,
                            .warm = WARM,
                            .rows = setup->rows,
                            .keep_top_k = profiles[i].keep,
                            .unload_threshold = -1,
                            .same_answers = profiles[i].group};
        run_cell(setup, &cell);
    }
}

/* ---- options ---------------------------------------------------------------------------------------------------- */

static void read_options(struct setup *setup, int argc, char **argv)
{
    setup->rows = (uint32_t)bench_option_u64(argc, argv, "--rows", 1000);
    setup->starts = (uint32_t)bench_option_u64(argc, argv, "--starts", 10);
    setup->prompt = (uint32_t)bench_option_u64(argc, argv, "--prompt", 32);
    setup->compute = bench_option(argc, argv, "--compute", "exact");
    setup->policy = bench_option(argc, argv, "--policy", "sequence");
    setup->prefetch = bench_option(argc, argv, "--prefetch", "off");
    setup->load_threads = bench_option(argc, argv, "--load-threads", "2");
    if (setup->rows < 1 || setup->starts < 1 || setup->prompt < 1 || setup->prompt > MAX_PROMPT)
        bench_die("--rows and --starts must be at least 1, --prompt between 1 and %u", MAX_PROMPT);
    bench_put(setup->report->settings, "rows", setup->rows);
    bench_put(setup->report->settings, "starts", setup->starts);
    bench_put(setup->report->settings, "prompt_rows", setup->prompt);
    bench_put_text(setup->report->settings, "compute", setup->compute);
    bench_put_text(setup->report->settings, "policy", setup->policy);
    bench_put_text(setup->report->settings, "prefetch", setup->prefetch);
    bench_put_text(setup->report->settings, "load_threads", setup->load_threads);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {
        "--tables=", "--rows=",    "--starts=", "--prompt=",   "--pack=",         "--tree=",
        "--dtype=",  "--compute=", "--policy=", "--prefetch=", "--load-threads=", NULL};
    bench_check_options(argc, argv, known);
    struct bench_report report = bench_report_begin("seeds");
    struct setup setup = {.report = &report};
    struct lens_error err = {0};
    struct lens_pack *pack;
    char path[4096];
    const char *given = bench_option(argc, argv, "--pack", NULL);
    const char *tables = bench_option(argc, argv, "--tables", "base,prewarm,keep,profiles");
    read_options(&setup, argc, argv);
    snprintf(path, sizeof path, "%s", given ? given : "");
    if (!given)
        bench_real_tree(bench_option(argc, argv, "--dtype", "bf16"), bench_tree_path(argc, argv), path, sizeof path);
    if (lens_pack_open(path, &pack, &err) < 0)
        bench_die("%s", err.text);
    struct bench_tree *tree = bench_tree_of_pack(pack);
    setup.pack_path = path;
    setup.tree = tree;
    setup.dim = pack->dim;
    setup.lenses = pack->lenses;
    setup.widest = widest_family(tree);
    bench_put_text(report.settings, "dtype", lens_dtype_name(pack->w1_dtype));
    bench_pin(0);
    make_rows(&setup);
    if (strstr(tables, "base"))
        base_table(&setup);
    if (strstr(tables, "prewarm"))
        prewarm_table(&setup);
    if (strstr(tables, "keep"))
        keep_table(&setup);
    if (strstr(tables, "profiles"))
        profile_table(&setup);
    printf("\n");
    free(setup.states);
    free(setup.leaves);
    bench_tree_close(tree);
    lens_pack_close(pack);
    bench_report_end(&report);
    return 0;
}
