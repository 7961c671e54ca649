/* The tables of bench_gpu. Each prints its lines beside their floor and adds its figures. One thread but where said. */
#ifndef GPU_BENCH_TABLES_H
#define GPU_BENCH_TABLES_H

#include "tests/gpu/bench/card.h"
#include "tests/gpu/bench/figures.h"
#include "tests/gpu/bench/world.h"

struct bench_run {
    struct card *card;
    struct figures *figures;
    struct world *world;
    double read_rate; /* P1, bytes per second */
    double copy_rate; /* host to card, bytes per second */
    uint32_t rounds;  /* of each cell */
    bool quick;
    uint32_t max_rows, loaders;
    /* the slab at work */
    struct lens_slab *slab;
    enum lens_dtype dtype;
    enum lens_compute compute;
};

void bench_table_read(struct bench_run *run);     /* P1; fills read_rate and copy_rate */
void bench_table_base(struct bench_run *run);     /* P2 */
void bench_table_token(struct bench_run *run);    /* P3 */
void bench_table_cold(struct bench_run *run);     /* P5; loader threads */
void bench_table_sessions(struct bench_run *run); /* P8 */
void bench_table_sweep(struct bench_run *run);    /* P10 */

/* Begins a figure with what all of a slab's have. */
void bench_figure(struct bench_run *run, const char *table);

#endif
