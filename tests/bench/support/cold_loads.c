/* Lenses into slots beside bare reads and copies; see cold_loads.h. */
#include "tests/bench/support/cold_loads.h"

#include "tests/bench/support/bench.h"
#include "tests/bench/support/random.h"

#include "daemon/loader.h"
#include "daemon/pool.h"
#include "kernels/backend.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOT_BYTES (768ull << 20) /* slots are written in turn: more than a last-level cache holds */
#define WAYS       4u

struct family {
    uint32_t first, n;
};

struct rig {
    const struct lens_pack *pack;
    struct lens_backend *backend;
    struct lens_slab *slab;
    struct lensd_loader *loader;
    uint32_t slots, next_slot, run;
    unsigned char *staging; /* one run, as the loader has it */
    unsigned char *host;    /* every family's stored bytes, one after the other */
    size_t host_bytes, lens_bytes;
    struct family *families;
    uint32_t n_families;
};

/* ---- preparation ------------------------------------------------------------------------------------------------ */

static void open_slab(struct rig *rig)
{
    struct lens_error err = {0};
    struct lens_cpu_options options = {.threads = 1, .variant = "auto"};
    struct lens_slab_config config = {.dtype = rig->pack->w1_dtype, .max_batch_rows = 1, .loaders = 2};
    struct lens_model model;
    if (config.dtype == LENS_LOG8)
        config.dtype = LENS_F32;
    rig->slots = (uint32_t)(SLOT_BYTES / rig->pack->w1_lens_bytes) + 1;
    if (rig->slots > rig->pack->lenses)
        rig->slots = rig->pack->lenses;
    config.slots = rig->slots;
    lens_model_of_pack(rig->pack, &model);
    if (lens_cpu_open(&options, &rig->backend, &err) < 0 ||
        rig->backend->ops->slab_create(rig->backend, &model, &config, &rig->slab, &err) < 0)
        bench_die("%s", err.text);
    struct lensd_loader_config loader = {
        .threads = 1, .capacity = rig->pack->lenses, .pack = rig->pack, .slab = rig->slab};
    if (lensd_loader_create(&loader, &rig->loader, &err) < 0)
        bench_die("%s", err.text);
}

/* Random parents with at least four children that are neighbours in the file. */
static void choose_families(struct rig *rig, uint32_t wanted)
{
    const struct lens_pack *pack = rig->pack;
    uint32_t *parents = bench_alloc(pack->lenses * sizeof *parents), n = 0;
    for (uint32_t i = 0; i < pack->lenses; i++) {
        uint32_t children = lens_pack_child_count(pack, i);
        const int32_t *ids = pack->child_ids + pack->child_offsets[i];
        if (children >= 4 && ids[children - 1] - ids[0] == (int32_t)children - 1)
            parents[n++] = i;
    }
    rig->families = bench_alloc(wanted * sizeof *rig->families);
    for (uint64_t draw = 0; rig->n_families < wanted && n > 0; draw++) {
        uint32_t at = bench_random_below(bench_stream_of("families", 8), draw, n);
        rig->families[rig->n_families++] = (struct family){(uint32_t)pack->child_ids[pack->child_offsets[parents[at]]],
                                                           lens_pack_child_count(pack, parents[at])};
        parents[at] = parents[--n];
    }
    free(parents);
    if (rig->n_families < WAYS)
        bench_die("the pack has only %u families of at least four lenses", rig->n_families);
}

static void fill_host(struct rig *rig)
{
    struct lens_error err = {0};
    size_t total = 0;
    for (uint32_t f = 0; f < rig->n_families; f++)
        total += rig->families[f].n;
    rig->lens_bytes = rig->pack->w1_lens_bytes + rig->pack->w1_sign_bytes;
    rig->host_bytes = total * rig->lens_bytes;
    rig->host = bench_alloc_huge(rig->host_bytes);
    unsigned char *to = rig->host;
    for (uint32_t f = 0; f < rig->n_families; f++) {
        for (uint32_t i = 0; i < rig->families[f].n; i++, to += rig->lens_bytes) {
            void *sign = rig->pack->w1_sign_bytes ? to + rig->pack->w1_lens_bytes : NULL;
            if (lens_pack_read_w1(rig->pack, rig->families[f].first + i, 1, to, sign, &err) < 0)
                bench_die("%s", err.text);
        }
    }
}

/* ---- the four ways ---------------------------------------------------------------------------------------------- */

static uint32_t piece(const struct rig *rig, const struct family *family, uint32_t at)
{
    return bench_min(rig->run, family->n - at);
}

static void read_bare(const struct rig *rig, const struct family *family)
{
    const struct lens_pack *pack = rig->pack;
    for (uint32_t at = 0, n; at < family->n; at += n) {
        n = piece(rig, family, at);
        size_t bytes = n * pack->w1_lens_bytes;
        off_t from = (off_t)(pack->w1_offset + (uint64_t)(family->first + at) * pack->w1_lens_bytes);
        if (pread(pack->fd, rig->staging, bytes, from) != (ssize_t)bytes)
            bench_die("the pack can't be read: %s", strerror(errno));
    }
}

static void copy_bare(const struct rig *rig, const struct family *family, const unsigned char *stored)
{
    for (uint32_t at = 0, n; at < family->n; at += n) {
        n = piece(rig, family, at);
        memcpy(rig->staging, stored + at * rig->lens_bytes, n * rig->lens_bytes);
    }
}

/* Through the loader on this thread: from the file, or from host memory when `stored` isn't NULL. */
static void load(struct rig *rig, const struct family *family, unsigned char *stored)
{
    struct lensd_load loads[LENSD_LOAD_RUN];
    for (uint32_t at = 0, n; at < family->n; at += n) {
        n = piece(rig, family, at);
        for (uint32_t i = 0; i < n; i++)
            loads[i] = (struct lensd_load){.lens = family->first + at + i,
                                           .slot = rig->next_slot++ % rig->slots,
                                           .host = stored ? stored + (at + i) * rig->lens_bytes : NULL,
                                           .kind = LENSD_LOAD_DEMAND};
        lensd_loader_submit(rig->loader, loads, n, false);
        if (!lensd_loader_work(rig->loader))
            bench_die("the loader has nothing to do after a submission");
        uint32_t taken = lensd_loader_take(rig->loader, loads, LENSD_LOAD_RUN);
        for (uint32_t i = 0; i < taken; i++) {
            if (loads[i].status != 0)
                bench_die("lens %u could not be loaded: %s", loads[i].lens, strerror(-loads[i].status));
        }
        if (taken != n)
            bench_die("%u of %u lenses were loaded", taken, n);
    }
}

/* Nanoseconds a lens. */
static double one_way(struct rig *rig, uint32_t way, uint32_t f, size_t *offsets)
{
    const struct family *family = &rig->families[f];
    unsigned char *stored = rig->host + offsets[f];
    uint64_t begin = bench_now_ns();
    if (way == 0)
        read_bare(rig, family);
    else if (way == 1)
        load(rig, family, NULL);
    else if (way == 2)
        copy_bare(rig, family, stored);
    else
        load(rig, family, stored);
    return (double)(bench_now_ns() - begin) / family->n;
}

void bench_cold_measure_families(const struct lens_pack *pack, uint32_t families, struct bench_cold_families *out)
{
    struct rig rig = {.pack = pack, .run = lensd_loader_run_length(pack)};
    double *ns[WAYS], medians[WAYS];
    choose_families(&rig, families);
    open_slab(&rig);
    fill_host(&rig);
    rig.staging = bench_alloc_huge(rig.run * rig.lens_bytes);
    size_t *offsets = bench_alloc((rig.n_families + 1) * sizeof *offsets);
    for (uint32_t f = 0; f < rig.n_families; f++)
        offsets[f + 1] = offsets[f] + rig.families[f].n * rig.lens_bytes;
    for (uint32_t way = 0; way < WAYS; way++)
        ns[way] = bench_alloc(rig.n_families * sizeof(double));
    for (uint32_t round = 0; round < 2; round++) { /* the first touches the slots and the file */
        for (uint32_t f = 0; f < rig.n_families; f++) {
            for (uint32_t way = 0; way < WAYS; way++)
                ns[way][f] = one_way(&rig, way, (f + way * (rig.n_families / WAYS)) % rig.n_families, offsets);
        }
    }
    for (uint32_t way = 0; way < WAYS; way++) {
        medians[way] = bench_quantile(ns[way], rig.n_families, 0.5);
        free(ns[way]);
    }
    *out = (struct bench_cold_families){
        rig.n_families, (uint32_t)(rig.host_bytes / rig.lens_bytes), medians[0], medians[1], medians[2], medians[3]};
    free(offsets);
    free(rig.families);
    bench_free_huge(rig.host, rig.host_bytes);
    bench_free_huge(rig.staging, rig.run * rig.lens_bytes);
    lensd_loader_destroy(rig.loader);
    rig.backend->ops->slab_destroy(rig.slab);
    rig.backend->ops->close(rig.backend);
}

/* ---- bulk ------------------------------------------------------------------------------------------------------- */

struct share {
    pthread_t thread;
    unsigned char *to;
    const unsigned char *from;
    size_t bytes;
};

static void *copy_share(void *arg)
{
    const struct share *share = arg;
    memcpy(share->to, share->from, share->bytes);
    return NULL;
}

static double copy_with(unsigned char *to, const unsigned char *from, size_t bytes, uint32_t threads)
{
    struct share *shares = bench_alloc(threads * sizeof *shares);
    uint64_t begin = bench_now_ns();
    for (uint32_t i = 0; i < threads; i++) {
        size_t first = bytes / threads * i, end = i + 1 == threads ? bytes : bytes / threads * (i + 1);
        shares[i] = (struct share){.to = to + first, .from = from + first, .bytes = end - first};
        if (pthread_create(&shares[i].thread, NULL, copy_share, &shares[i]) != 0)
            bench_die("no thread to copy with");
    }
    for (uint32_t i = 0; i < threads; i++)
        pthread_join(shares[i].thread, NULL);
    free(shares);
    return (double)bytes / ((double)(bench_now_ns() - begin) * 1e-9);
}

/* Median of five copies of `bytes`, both sides touched before. */
static double copy_speed(uint64_t bytes, uint32_t threads)
{
    double rates[5];
    unsigned char *from = bench_alloc_huge(bytes), *to = bench_alloc_huge(bytes);
    memset(from, 1, bytes);
    memset(to, 2, bytes);
    for (uint32_t i = 0; i < 5; i++)
        rates[i] = copy_with(to, from, bytes, threads);
    bench_free_huge(from, bytes);
    bench_free_huge(to, bytes);
    return bench_quantile(rates, 5, 0.5);
}

static double fill_speed(struct lens_backend *backend, const struct lens_pack *pack, uint32_t slots, uint32_t threads)
{
    struct lens_error err = {0};
    struct lensd_pool *pool;
    struct lensd_pool_config config = {.slots = slots, .max_batch_rows = 1, .load_threads = threads};
    if (lensd_pool_create(backend, pack, &config, &pool, &err) < 0)
        bench_die("%s", err.text);
    uint64_t begin = bench_now_ns();
    if (lensd_pool_preload(pool, NULL, NULL, &err) < 0)
        bench_die("%s", err.text);
    double seconds = (double)(bench_now_ns() - begin) * 1e-9;
    if (lensd_pool_resident(pool) != slots)
        bench_die("%u of %u slots hold a lens after the preload", lensd_pool_resident(pool), slots);
    lensd_pool_destroy(pool);
    return (double)slots * (double)(pack->w1_lens_bytes + pack->w1_sign_bytes) / seconds;
}

void bench_cold_measure_bulk(const struct lens_pack *pack, uint32_t threads, uint64_t bytes,
                             struct bench_cold_bulk *out)
{
    struct lens_error err = {0};
    struct lens_cpu_options options = {.threads = 1, .variant = "auto"};
    struct lens_backend *backend;
    double rates[3];
    uint64_t lens_bytes = pack->w1_lens_bytes + pack->w1_sign_bytes;
    uint32_t slots = bytes / lens_bytes < pack->lenses ? (uint32_t)(bytes / lens_bytes) : pack->lenses;
    slots = slots ? slots : 1;
    if (lens_cpu_open(&options, &backend, &err) < 0)
        bench_die("%s", err.text);
    fill_speed(backend, pack, slots, threads); /* brings the file's pages in */
    for (uint32_t i = 0; i < 3; i++)
        rates[i] = fill_speed(backend, pack, slots, threads);
    *out = (struct bench_cold_bulk){slots, threads, bench_quantile(rates, 3, 0.5), 0};
    backend->ops->close(backend);
    out->copy_rate = copy_speed(slots * lens_bytes, threads);
}
