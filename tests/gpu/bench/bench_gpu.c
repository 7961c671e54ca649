/* The benchmarks of the CUDA backend, at the level of its run(): PERFORMANCE.md's P1, P2, P3, P5, P8 and P10.
 *
 *     bench_gpu [--library build/lens_cuda.so] [--device 0] [--tables read,base,token,cold,sessions,sweep]
 *               [--runs bf16:exact,bf16:bf16,..] [--tree FILE.tsv] [--lenses N] [--dim 2560] [--h1 128] [--h2 64]
 *               [--rounds 200] [--loaders 4] [--max-rows 512] [--out FILE.json] [--note TEXT] [--quick]
 *
 * Every table stands beside its floor: bytes over what a plain kernel reads, or over a bare copy. Times are never
 * judged here. Without a card: "waived", exit 0. --quick is small enough for the emulated card, where it shows that
 * everything runs; those figures mean nothing. */
#include "tests/gpu/bench/tables.h"

#include "tests/bench/support/bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define DEFAULT_RUNS   "bf16:exact,bf16:bf16,f32:exact,int8:exact,int8:int8,fp8:exact"
#define DEFAULT_TABLES "read,base,token,cold,sessions,sweep"

struct settings {
    const char *tables, *runs, *note;
    char out[4096];
};

static bool among(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = list; at != NULL && *at != 0; at = strchr(at, ',') != NULL ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, name, length) == 0 && (at[length] == 0 || at[length] == ','))
            return true;
    return false;
}

void bench_figure(struct bench_run *run, const char *table)
{
    figures_begin(run->figures, table);
    figures_text(run->figures, "dtype", lens_dtype_name(run->dtype));
    figures_text(run->figures, "compute", lens_compute_name(run->compute));
}

/* What nvidia-smi says of clocks, power and driver; nothing where there is none. */
static void put_clocks(struct figures *figures)
{
    char line[512] = "";
    FILE *pipe = popen("nvidia-smi --query-gpu=driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.draw,"
                       "temperature.gpu,ecc.mode.current --format=csv,noheader 2>/dev/null",
                       "r");
    if (pipe != NULL && fgets(line, sizeof line, pipe) != NULL)
        line[strcspn(line, "\n")] = 0;
    if (pipe != NULL)
        pclose(pipe);
    figures_text(figures, "driver_clocks_power", line);
}

static void put_machine(struct bench_run *run, const struct settings *settings)
{
    struct card_facts facts;
    char date[32];
    time_t now = time(NULL);
    struct tm utc;
    card_describe(run->card, &facts);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    printf("%s, %u multiprocessors, %.0f GB, cache %.0f MB, driver %u, runtime %u\n", facts.name, facts.multiprocessors,
           (double)facts.memory_bytes * 1e-9, (double)facts.cache_bytes * 1e-6, facts.driver, facts.runtime);
    figures_begin(run->figures, "machine");
    figures_text(run->figures, "card", facts.name);
    figures_number(run->figures, "multiprocessors", facts.multiprocessors);
    figures_number(run->figures, "capability", facts.major + facts.minor / 10.0);
    figures_number(run->figures, "memory_bytes", (double)facts.memory_bytes);
    figures_number(run->figures, "cache_bytes", (double)facts.cache_bytes);
    figures_number(run->figures, "driver", facts.driver);
    figures_number(run->figures, "runtime", facts.runtime);
    put_clocks(run->figures);
    figures_text(run->figures, "date", date);
    figures_text(run->figures, "note", settings->note);
    figures_text(run->figures, "data", "generated from fixed streams: the same in every run");
    figures_number(run->figures, "rounds", run->rounds);
    figures_number(run->figures, "lenses", run->world->model.lenses);
    figures_number(run->figures, "base", run->world->base);
    figures_number(run->figures, "dim", run->world->shape.dim);
    figures_end(run->figures);
}

static void run_slab(struct bench_run *run, const struct settings *settings)
{
    run->slab = world_slab(run->world, run->dtype, run->compute, run->max_rows, run->loaders);
    if (run->slab == NULL)
        return;
    printf("\n");
    if (among(settings->tables, "base"))
        bench_table_base(run);
    if (among(settings->tables, "token"))
        bench_table_token(run);
    if (among(settings->tables, "sweep"))
        bench_table_sweep(run);
    if (among(settings->tables, "sessions"))
        bench_table_sessions(run);
    if (among(settings->tables, "cold"))
        bench_table_cold(run);
    run->slab->backend->ops->slab_destroy(run->slab);
}

static void run_slabs(struct bench_run *run, const struct settings *settings)
{
    char runs[256], *rest = runs;
    snprintf(runs, sizeof runs, "%s", settings->runs);
    for (char *one; (one = strsep(&rest, ",")) != NULL;) {
        char *compute = strchr(one, ':');
        if (compute != NULL)
            *compute++ = 0;
        if (compute == NULL || lens_dtype_parse(one, &run->dtype) != 0 ||
            lens_compute_parse(compute, &run->compute) != 0)
            bench_die("--runs expects dtype:compute,.., found \"%s\"", one);
        run_slab(run, settings);
    }
}

static struct lens_backend *open_backend(int argc, char **argv)
{
    struct lens_cuda_options options = {.library = bench_option(argc, argv, "--library", NULL),
                                        .device = (uint32_t)bench_option_u64(argc, argv, "--device", 0)};
    struct lens_backend *backend = NULL;
    struct lens_error err = {0};
    if (lens_cuda_load(&options, &backend, &err) != 0)
        bench_die("%s", err.text);
    return backend;
}

static struct world *open_world(struct lens_backend *backend, int argc, char **argv, bool quick)
{
    struct bench_shape shape = {(uint32_t)bench_option_u64(argc, argv, "--dim", quick ? 512 : 2560),
                                (uint32_t)bench_option_u64(argc, argv, "--h1", quick ? 16 : 128),
                                (uint32_t)bench_option_u64(argc, argv, "--h2", quick ? 8 : 64)};
    uint64_t began = bench_now_ns();
    struct world *world =
        world_open(backend, bench_tree_path(argc, argv),
                   (uint32_t)bench_option_u64(argc, argv, "--lenses", quick ? 320 : 0), shape, quick ? 64 : 4096, 64);
    printf("%u lenses of %u -> %u -> %u and %u rows made in %.1f s\n", world->model.lenses, shape.dim, shape.h1,
           shape.h2, world->rows, (double)(bench_now_ns() - began) * 1e-9);
    return world;
}

static struct bench_run open_run(int argc, char **argv, struct card *card, const struct settings *settings)
{
    bool quick = bench_has_flag(argc, argv, "--quick") != 0;
    struct lens_backend *backend = open_backend(argc, argv);
    struct bench_run run = {.card = card,
                            .figures = figures_open(settings->out),
                            .world = open_world(backend, argc, argv, quick),
                            .rounds = (uint32_t)bench_option_u64(argc, argv, "--rounds", quick ? 3 : 200),
                            .quick = quick,
                            .max_rows = (uint32_t)bench_option_u64(argc, argv, "--max-rows", quick ? 8 : 512),
                            .loaders = (uint32_t)bench_option_u64(argc, argv, "--loaders", quick ? 2 : 4)};
    if (run.rounds < 2 || run.max_rows < 1 || run.loaders < 1 || run.loaders > 8)
        bench_die("--rounds expects at least 2, --max-rows at least 1, --loaders 1 to 8");
    return run;
}

int main(int argc, char **argv)
{
    static const char *const known[] = {
        "--library=", "--device=", "--tables=",  "--runs=", "--tree=", "--lenses=",   "--dim=",  "--h1=",
        "--h2=",      "--rounds=", "--loaders=", "--out=",  "--note=", "--max-rows=", "--quick", NULL};
    char why[512];
    bench_check_options(argc, argv, known);
    bool quick = bench_has_flag(argc, argv, "--quick") != 0;
    struct settings settings = {.tables = bench_option(argc, argv, "--tables", DEFAULT_TABLES),
                                .runs = bench_option(argc, argv, "--runs", DEFAULT_RUNS),
                                .note = bench_option(argc, argv, "--note", "")};
    bench_path_beside("gpu.json", settings.out, sizeof settings.out);
    const char *out = bench_option(argc, argv, "--out", NULL);
    if (out != NULL)
        snprintf(settings.out, sizeof settings.out, "%s", out);
    struct card *card = card_open((uint32_t)bench_option_u64(argc, argv, "--device", 0), quick ? 4u << 20 : 4ull << 30,
                                  why, sizeof why);
    if (card == NULL) {
        printf("waived: no CUDA device: %s\n", why);
        return 0;
    }
#ifdef LENS_CUDA_EMULATED
    printf("emulated: the figures mean nothing\n");
#endif
    struct bench_run run = open_run(argc, argv, card, &settings);
    put_machine(&run, &settings);
    bench_table_read(&run);
    run_slabs(&run, &settings);
    figures_close(run.figures);
    struct lens_backend *backend = run.world->backend;
    world_close(run.world);
    backend->ops->close(backend);
    card_close(card);
    return 0;
}
