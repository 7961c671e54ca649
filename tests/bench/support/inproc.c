/* The engine in-process; see inproc.h. */
#include "tests/bench/support/inproc.h"

#include "tests/bench/support/bench.h"
#include "tests/bench/support/planted.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BATCH_ROWS 64u

static void on_broken(void *arg)
{
    (void)arg;
    bench_die("the engine says that our own ring is forged");
}

static void open_session(struct bench_inproc *p)
{
    struct lens_error err = {0};
    struct lensd_session_request request = {
        .id = 1,
        .label = "bench",
        .layout = {.max_rows = 1, .submit_slots = 16, .result_slots = 16, .expanded_capacity = 64},
        .max_sequences = 4,
        .events = p->events,
        .memory_limit = 64u << 20};
    lens_options_default(&request.options);
    if (lensd_session_create(&request, p->served, &p->session, &err) < 0)
        bench_die("%s", err.text);
    const struct lens_ring_layout *layout = &p->session->ring.layout;
    p->payload_ends = bench_alloc(layout->submit_slots * sizeof *p->payload_ends);
    if (lens_ring_client_init(&p->ring, layout, p->session->ring.base, layout->total_bytes, p->payload_ends) < 0)
        bench_die("the session's memory isn't what its layout says");
    if (lensd_engine_attach(p->engine, p->session, &err) < 0)
        bench_die("%s", err.text);
}

void bench_inproc_open(struct bench_inproc *p, struct lens_backend *backend, const char *pack, uint32_t spin_us,
                       uint32_t events)
{
    struct lens_error err = {0};
    struct lensd_pool_config pool = {.max_batch_rows = BATCH_ROWS, .preload = true};
    struct lensd_engine_config config = {.spin_us = spin_us, .max_sessions = 4, .on_broken = on_broken};
    memset(p, 0, sizeof *p);
    p->backend = backend;
    if (lensd_served_pack_open(pack, "bench", backend, &pool, 1, false, NULL, NULL, &p->served, &err) < 0)
        bench_die("%s", err.text);
    if (events > 0 && lensd_events_create(events, &p->events) < 0)
        bench_die("no memory to remember %u rows", events);
    bench_pin(1); /* the engine's thread inherits this */
    if (lensd_engine_start(&config, &p->engine, &err) < 0)
        bench_die("%s", err.text);
    bench_pin(0);
    open_session(p);
}

void bench_inproc_close(struct bench_inproc *p)
{
    lensd_engine_detach(p->engine, p->session);
    lensd_engine_stop(p->engine, 1000);
    lensd_session_destroy(p->session);
    lensd_events_destroy(p->events);
    lensd_served_pack_close(p->served);
    p->backend->ops->close(p->backend);
    free(p->payload_ends);
}

static void sleep_for_result(struct bench_inproc *p, struct lens_result *result)
{
    uint32_t value;
    uint32_t *word = lens_ring_client_set_sleeping(&p->ring, LENS_CLIENT_ON_FUTEX, &value);
    while (!lens_ring_client_peek(&p->ring, result)) {
        syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
        if (lens_ring_client_peek(&p->ring, result))
            break;
        word = lens_ring_client_set_sleeping(&p->ring, LENS_CLIENT_ON_FUTEX, &value);
    }
    lens_ring_client_set_sleeping(&p->ring, LENS_CLIENT_AWAKE, &value);
}

struct lens_result_header bench_inproc_round_trip(struct bench_inproc *p, const float *row)
{
    struct lens_submit_descriptor descriptor;
    struct lens_result result;
    void *place;
    if (lens_ring_client_acquire(&p->ring, 1, LENS_F32, false, &descriptor, &place, NULL) < 0)
        bench_die("the ring is full with nothing in it");
    memcpy(place, row, p->ring.layout.dim * sizeof *row);
    descriptor.sequence = 1;
    descriptor.serial = p->serial++;
    descriptor.submitted_ns = bench_now_ns();
    if (lens_ring_client_submit(&p->ring, &descriptor)) {
        const uint64_t one = 1;
        if (write(p->session->doorbell, &one, sizeof one) != sizeof one)
            bench_die("the doorbell can't be rung: %s", strerror(errno));
    }
    if (p->sleeps) {
        sleep_for_result(p, &result);
    } else {
        while (!lens_ring_client_peek(&p->ring, &result))
            ;
    }
    struct lens_result_header header = *result.header;
    lens_ring_client_release(&p->ring);
    return header;
}

/* Five roots with seven children each, every one of them with seven again: 5 + 35 + 245. */
static void write_tree(FILE *file)
{
    for (int a = 0; a < 5; a++) {
        fprintf(file, "C%d:0\t\n", a);
        for (int b = 0; b < 7; b++) {
            fprintf(file, "C%d%d:1\tC%d:0\n", a, b, a);
            for (int c = 0; c < 7; c++)
                fprintf(file, "C%d%d%d:2\tC%d%d:1\n", a, b, c, a, b);
        }
    }
}

struct bench_tree *bench_small_pack(const char *path, uint32_t dim, uint32_t h1, uint32_t h2)
{
    char list[PATH_MAX];
    struct lens_error err = {0};
    struct lens_pack_writer *writer;
    snprintf(list, sizeof list, "%s.tsv", path);
    FILE *file = fopen(list, "w");
    if (!file)
        bench_die("%s can't be written: %s", list, strerror(errno));
    write_tree(file);
    fclose(file);
    struct bench_tree *tree = bench_tree_open(list);
    unlink(list);
    struct bench_lens *lens = bench_lens_open((struct bench_shape){dim, h1, h2});
    struct lens_pack_plan plan = bench_planted_plan(tree, lens->shape, LENS_F32);
    if (lens_pack_writer_create(path, &plan, &writer, &err) < 0)
        bench_die("%s", err.text);
    for (uint32_t i = 0; i < tree->n; i++) {
        bench_lens_make(lens, tree->streams[i]);
        struct lens_weights weights = bench_lens_view(lens);
        if (lens_pack_writer_add(writer, &weights, &err) < 0)
            bench_die("%s", err.text);
    }
    if (lens_pack_writer_finish(writer, &err) < 0)
        bench_die("%s", err.text);
    bench_lens_close(lens);
    return tree;
}
