/* The grouped product for any vector width: included once by each instruction set's file, which first defines
 *     vec                                  one vector register of LANES 32-bit lanes
 *     LANES, PANEL_VECTORS, ROW_TILE       lanes; vectors of one panel; rows of one tile
 *     vec_zero, vec_load, vec_store        plain moves (any lane type)
 *     step(kind, nv, nr, w, x, u, acc)     one unit step of a tile: multiplies nv weight vectors at `w` with the
 *                                          unit `u` of nr rows and adds to acc[nr][nv]
 *     unit_bytes(kind)                     bytes of one unit of x
 *
 * A product walks each panel in blocks of steps small enough for the first-level cache, and each block in tiles of
 * rows whose sums stay in registers. Between blocks the sums rest in `acc`; storing and loading them changes no bit,
 * so neither block nor tile shape shows in a result. While a block is computed the next one is prefetched, spread
 * over the steps of all row tiles: the hardware prefetcher sees no traffic while tiles work from the cache, and
 * starts anew on each page.
 *
 * Everything with a `kind`, nv or nr is forced inline and called with constants, so that loops over registers
 * unroll. */
#ifndef LENS_CPU_TILES_H
#define LENS_CPU_TILES_H

#include "kernels/cpu/kernel.h"

#define INLINE static inline __attribute__((always_inline))

struct tile {
    const char *weights; /* of the block's first step */
    const char *x[ROW_TILE];
    float *acc[ROW_TILE];
    const char *ahead;    /* prefetched while this tile runs */
    uint32_t ahead_lines; /* a step */
    uint32_t steps;
    bool first; /* sums start from zero */
};

INLINE void tile_run(enum kind kind, uint32_t nv, uint32_t nr, const struct tile *t)
{
    vec acc[ROW_TILE][PANEL_VECTORS];
    for (uint32_t r = 0; r < nr; r++)
        for (uint32_t v = 0; v < nv; v++)
            acc[r][v] = t->first ? vec_zero() : vec_load(t->acc[r] + v * LANES);
    const char *w = t->weights, *ahead = t->ahead;
    for (uint32_t u = 0; u < t->steps; u++) {
        for (uint32_t i = 0; i < t->ahead_lines; i++)
            __builtin_prefetch(ahead + i * 64, 0, 2);
        ahead += (size_t)t->ahead_lines * 64;
        step(kind, nv, nr, w, t->x, u, acc);
        w += (size_t)nv * sizeof(vec);
    }
    for (uint32_t r = 0; r < nr; r++)
        for (uint32_t v = 0; v < nv; v++)
            vec_store(t->acc[r] + v * LANES, acc[r][v]);
}

/* Calls tile_run with its shape as constants. */
INLINE void tile_of_rows(enum kind kind, uint32_t nv, const struct tile *t, uint32_t nr)
{
    if (nr == 3)
        tile_run(kind, nv, 3, t);
    else if (nr == 2)
        tile_run(kind, nv, 2, t);
    else
        tile_run(kind, nv, 1, t);
}

INLINE void tile_of_shape(enum kind kind, const struct tile *t, uint32_t nv, uint32_t nr)
{
    switch (nv) {
    case 1:
        tile_of_rows(kind, 1, t, nr);
        break;
    case 2:
        tile_of_rows(kind, 2, t, nr);
        break;
    case 3:
        tile_of_rows(kind, 3, t, nr);
        break;
    case 4:
        tile_of_rows(kind, 4, t, nr);
        break;
#if PANEL_VECTORS > 4
    case 5:
        tile_of_rows(kind, 5, t, nr);
        break;
    case 6:
        tile_of_rows(kind, 6, t, nr);
        break;
    case 7:
        tile_of_rows(kind, 7, t, nr);
        break;
    default:
        tile_of_rows(kind, 8, t, nr);
        break;
#endif
    }
}

/* One block of a panel for all rows. */
struct block {
    const char *weights;
    uint32_t vectors;     /* of the panel */
    uint32_t unit, steps; /* first unit and how many */
    uint32_t output;      /* first output of the panel */
    size_t x_offset;      /* bytes from a row's start to the block's first unit */
    const char *next;     /* to prefetch meanwhile */
    size_t next_bytes;
};

/* Rows are cut into tiles as even as can be: 8 = 3 + 3 + 2, 4 = 2 + 2. */
INLINE uint32_t rows_of_tile(uint32_t left, uint32_t tiles_left)
{
    return (left + tiles_left - 1) / tiles_left;
}

INLINE void block_run(enum kind kind, const struct cpu_product *p, const struct block *b)
{
    uint32_t tiles = (p->n + ROW_TILE - 1) / ROW_TILE, row = 0;
    size_t all_steps = (size_t)tiles * b->steps;
    struct tile t = {.weights = b->weights, .ahead = b->next, .steps = b->steps, .first = b->unit == 0};
    t.ahead_lines = (uint32_t)((b->next_bytes / 64 + all_steps - 1) / all_steps);
    for (uint32_t i = 0; i < tiles; i++) {
        uint32_t nr = rows_of_tile(p->n - row, tiles - i);
        for (uint32_t r = 0; r < nr; r++) {
            t.x[r] = (const char *)p->x[row + r] + b->x_offset;
            t.acc[r] = (float *)p->acc + (size_t)(row + r) * p->padded + b->output;
        }
        if (t.ahead >= b->next + b->next_bytes)
            t.ahead_lines = 0;
        tile_of_shape(kind, &t, b->vectors, nr);
        t.ahead += (size_t)t.ahead_lines * b->steps * 64;
        row += nr;
    }
}

/* A whole product. `block_steps` is how many units make one block. */
INLINE void product_run(enum kind kind, const struct cpu_product *p, uint32_t block_steps)
{
    uint32_t panel = PANEL_VECTORS * LANES;
    const char *weights = p->weights;
    for (uint32_t output = 0; output < p->padded; output += panel) {
        uint32_t width = p->padded - output < panel ? p->padded - output : panel;
        for (uint32_t unit = 0; unit < p->units; unit += block_steps) {
            uint32_t steps = p->units - unit < block_steps ? p->units - unit : block_steps;
            size_t bytes = (size_t)width * 4 * steps;
            struct block b = {.weights = weights,
                              .vectors = width / LANES,
                              .unit = unit,
                              .steps = steps,
                              .output = output,
                              .x_offset = unit * unit_bytes(kind),
                              .next = weights + bytes,
                              .next_bytes = bytes};
            block_run(kind, p, &b);
            weights += bytes;
        }
    }
}

#endif
