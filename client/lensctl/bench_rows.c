/* Rows for lensctl bench; see bench.h. */
#include "client/lensctl/bench.h"
#include "client/lensctl/hidden_states.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RANDOM_ROWS 256u
#define MOST_BYTES  ((uint64_t)256 << 20) /* of a file, kept in memory */

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = *state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Uniform in (0, 1]. */
static double uniform(uint64_t *state)
{
    return ((double)(next_random(state) >> 11) + 1.0) * 0x1p-53;
}

static int fill_random(uint32_t dim, struct bench_rows *out)
{
    uint64_t state = 1;
    *out = (struct bench_rows){.type = LENS_TYPE_F32, .dim = dim, .count = RANDOM_ROWS};
    size_t n = (size_t)RANDOM_ROWS * dim;
    float *values = malloc(n * sizeof *values);
    if (values == NULL)
        return ctl_fail(CTL_FAILED, "out of memory");
    for (size_t i = 0; i < n; i++)
        values[i] = (float)(sqrt(-2.0 * log(uniform(&state))) * cos(6.283185307179586 * uniform(&state)));
    out->data = (uint8_t *)values;
    return CTL_OK;
}

static size_t row_bytes(const struct bench_rows *rows)
{
    return (size_t)rows->dim * (rows->type == LENS_TYPE_F32 ? 4 : 2);
}

static int read_file(const char *path, const struct hidden_states *states, struct bench_rows *out)
{
    struct lens_error err = {0};
    *out = (struct bench_rows){.type = (enum lens_type)states->dtype, .dim = states->dim};
    uint64_t most = MOST_BYTES / row_bytes(out);
    out->count = (uint32_t)(states->rows < most ? states->rows : most);
    if (out->count < states->rows)
        fprintf(stderr, "lensctl: %s: its first %u rows are sent, again and again\n", path, out->count);
    out->data = malloc(out->count * row_bytes(out));
    if (out->data == NULL)
        return ctl_fail(CTL_FAILED, "out of memory");
    return hidden_states_read(states, 0, out->count, out->data, &err) == 0 ? CTL_OK
                                                                           : ctl_fail(CTL_FAILED, "%s", err.text);
}

int bench_rows_open(const char *path, uint32_t dim, struct bench_rows *out)
{
    struct hidden_states states;
    struct lens_error err = {0};
    if (path == NULL)
        return fill_random(dim, out);
    *out = (struct bench_rows){0};
    if (hidden_states_open(path, &states, &err) != 0)
        return ctl_fail(CTL_FAILED, "%s", err.text);
    int r = states.dim == dim
                ? read_file(path, &states, out)
                : ctl_fail(CTL_FAILED,
                           "%s holds hidden states of %u values, but the pack takes %u: is another --pack "
                           "meant?",
                           path, states.dim, dim);
    hidden_states_close(&states);
    if (r != CTL_OK)
        bench_rows_close(out);
    return r;
}

void bench_rows_close(struct bench_rows *rows)
{
    free(rows->data);
    rows->data = NULL;
}

void bench_rows_take(struct bench_rows *rows, uint32_t n, void *to)
{
    size_t bytes = row_bytes(rows);
    for (uint32_t i = 0; i < n; i++, rows->next++)
        memcpy((uint8_t *)to + i * bytes, rows->data + rows->next % rows->count * bytes, bytes);
}
