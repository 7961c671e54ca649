/* See hatcat_lens.h. HatCat's modules are nn.Sequential: Linear, ReLU, Dropout, Linear, ReLU, Dropout, Linear, with a
 * LayerNorm in front or not, inside a member `net` or not. */
#include "proto/import/hatcat_lens.h"

#include "proto/pack_tables.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PREFIX 300

/* The tensors of one lens in an open file. */
struct lens_tensors {
    char prefix[MAX_PREFIX];                   /* "", "net.", "Concept/" or "Concept/net." */
    const struct lens_pt_tensor *gain, *shift; /* NULL without a LayerNorm */
    const struct lens_pt_tensor *w1, *b1, *w2, *b2, *w3, *b3;
};

void hatcat_lens_reader_free(struct hatcat_lens_reader *reader)
{
    lens_pt_close(reader->file);
    free(reader->path);
    free(reader->first_path);
    free(reader->w1);
    free(reader->b1);
    free(reader->w2);
    free(reader->b2);
    free(reader->w3);
    free(reader->gain);
    free(reader->shift);
    memset(reader, 0, sizeof *reader);
}

static int open_file(struct hatcat_lens_reader *reader, const char *path, struct lens_error *err)
{
    if (reader->path != NULL && strcmp(reader->path, path) == 0)
        return 0;
    lens_pt_close(reader->file);
    reader->file = NULL;
    free(reader->path);
    reader->path = strdup(path);
    if (reader->path == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a path");
    int rc = lens_pt_open(path, &reader->file, err);
    if (rc != 0) { /* so that a second try opens it again */
        free(reader->path);
        reader->path = NULL;
    }
    return rc;
}

/* -------------------------------------------------------------------------------------------------- finding them */

static const struct lens_pt_tensor *find(const struct hatcat_lens_reader *reader, const char *prefix, int module,
                                         const char *kind)
{
    char name[MAX_PREFIX + 16];
    snprintf(name, sizeof name, "%s%d.%s", prefix, module, kind);
    return lens_pt_find(reader->file, name);
}

static int need(const struct hatcat_lens_reader *reader, const char *prefix, int module, const char *kind,
                const struct lens_pt_tensor **out, struct lens_error *err)
{
    *out = find(reader, prefix, module, kind);
    if (*out != NULL)
        return 0;
    return lens_error_set(err, -EBADMSG, "%s: tensor %s%d.%s is missing; a lens has weight and bias of 3 linear layers",
                          reader->path, prefix, module, kind);
}

static int take_prefix(const struct hatcat_lens_reader *reader, const char *bank_name, struct lens_tensors *out,
                       struct lens_error *err)
{
    const char *slash = bank_name != NULL ? "/" : "";
    bank_name = bank_name != NULL ? bank_name : "";
    snprintf(out->prefix, sizeof out->prefix, "%s%snet.", bank_name, slash);
    if (find(reader, out->prefix, 0, "weight") != NULL)
        return 0;
    snprintf(out->prefix, sizeof out->prefix, "%s%s", bank_name, slash);
    if (find(reader, out->prefix, 0, "weight") != NULL)
        return 0;
    const char *first = lens_pt_count(reader->file) > 0 ? lens_pt_tensor_at(reader->file, 0)->name : "nothing";
    return lens_error_set(err, -EBADMSG,
                          "%s: neither %s0.weight nor %snet.0.weight is there, but %.60s: it is no HatCat lens",
                          reader->path, out->prefix, out->prefix, first);
}

/* A tensor that we would leave unread means another architecture. */
static int refuse_others(const struct hatcat_lens_reader *reader, const struct lens_tensors *t, const char *bank_name,
                         struct lens_error *err)
{
    const size_t expected = t->gain != NULL ? 8 : 6;
    const size_t length = bank_name != NULL ? strlen(bank_name) : 0;
    size_t found = 0;
    for (size_t i = 0; i < lens_pt_count(reader->file); i++) {
        const char *name = lens_pt_tensor_at(reader->file, i)->name;
        found += bank_name == NULL || (strncmp(name, bank_name, length) == 0 && name[length] == '/' &&
                                       strchr(name + length + 1, '/') == NULL);
    }
    if (found == expected)
        return 0;
    return lens_error_set(err, -EBADMSG, "%s: %s%s%zu tensors where a lens %s LayerNorm has %zu", reader->path,
                          bank_name != NULL ? bank_name : "", bank_name != NULL ? " has " : "it has ", found,
                          t->gain != NULL ? "with a" : "without", expected);
}

static int find_tensors(const struct hatcat_lens_reader *reader, const char *bank_name, struct lens_tensors *t,
                        struct lens_error *err)
{
    memset(t, 0, sizeof *t);
    int rc = take_prefix(reader, bank_name, t, err);
    if (rc != 0)
        return rc;
    const struct lens_pt_tensor *first = find(reader, t->prefix, 0, "weight");
    const int at = first->dims == 1 ? 1 : 0;
    if (at == 1) {
        t->gain = first;
        rc = need(reader, t->prefix, 0, "bias", &t->shift, err);
    }
    const struct {
        int module;
        const char *kind;
        const struct lens_pt_tensor **out;
    } needed[] = {{at, "weight", &t->w1},   {at, "bias", &t->b1},       {at + 3, "weight", &t->w2},
                  {at + 3, "bias", &t->b2}, {at + 6, "weight", &t->w3}, {at + 6, "bias", &t->b3}};
    for (size_t i = 0; rc == 0 && i < sizeof needed / sizeof needed[0]; i++)
        rc = need(reader, t->prefix, needed[i].module, needed[i].kind, needed[i].out, err);
    return rc != 0 ? rc : refuse_others(reader, t, bank_name, err);
}

/* --------------------------------------------------------------------------------------------------------- shapes */

static void shape_text(const struct lens_pt_tensor *tensor, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < tensor->dims && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%" PRIu64, i > 0 ? "," : "", tensor->shape[i]);
}

static int expect_shape(const struct hatcat_lens_reader *reader, const struct lens_pt_tensor *tensor, uint64_t rows,
                        uint64_t columns, struct lens_error *err)
{
    char found[100];
    const bool vector = tensor->dims == 1 && rows == 1 && tensor->shape[0] == columns;
    const bool scalar = tensor->dims == 0 && rows == 1 && columns == 1;
    if (vector || scalar || (tensor->dims == 2 && tensor->shape[0] == rows && tensor->shape[1] == columns))
        return 0;
    shape_text(tensor, found, sizeof found);
    return lens_error_set(err, -EBADMSG,
                          "%s: tensor %s has shape [%s] and should have [%" PRIu64 ",%" PRIu64
                          "]: all lenses of a pack are alike (D=%u, H1=%u, H2=%u by %s)",
                          reader->path, tensor->name, found, rows, columns, reader->dim, reader->h1, reader->h2,
                          reader->first_path);
}

static int allocate(struct hatcat_lens_reader *reader, struct lens_error *err)
{
    const size_t d = reader->dim;
    const size_t h1 = reader->h1;
    const size_t h2 = reader->h2;
    reader->w1 = malloc(h1 * d * sizeof(float));
    reader->b1 = malloc(h1 * sizeof(float));
    reader->w2 = malloc(h2 * h1 * sizeof(float));
    reader->b2 = malloc(h2 * sizeof(float));
    reader->w3 = malloc(h2 * sizeof(float));
    reader->gain = malloc(d * sizeof(float));
    reader->shift = malloc(d * sizeof(float));
    if (reader->w1 == NULL || reader->b1 == NULL || reader->w2 == NULL || reader->b2 == NULL || reader->w3 == NULL ||
        reader->gain == NULL || reader->shift == NULL) {
        lens_error_set(err, -ENOMEM, "no memory for one lens");
        return -ENOMEM;
    }
    return 0;
}

/* The first lens decides. */
static int take_sizes(struct hatcat_lens_reader *reader, const struct lens_tensors *t, struct lens_error *err)
{
    const struct lens_pt_tensor *matrices[] = {t->w1, t->w2};
    for (int i = 0; i < 2; i++) {
        const struct lens_pt_tensor *m = matrices[i];
        if (m->dims != 2 || m->shape[0] - 1 >= PACK_MAX_DIM || m->shape[1] - 1 >= PACK_MAX_DIM)
            return lens_error_set(err, -EBADMSG, "%s: tensor %s should be a matrix with sides of 1 to %u", reader->path,
                                  m->name, PACK_MAX_DIM);
    }
    reader->first_path = strdup(reader->path);
    if (reader->first_path == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a path");
    reader->h1 = (uint32_t)t->w1->shape[0];
    reader->dim = (uint32_t)t->w1->shape[1];
    reader->h2 = (uint32_t)t->w2->shape[0];
    return allocate(reader, err);
}

/* -------------------------------------------------------------------------------------------------------- weights */

static int read_finite(struct hatcat_lens_reader *reader, const struct lens_pt_tensor *tensor, uint64_t rows,
                       uint64_t columns, float *out, struct lens_error *err)
{
    int rc = expect_shape(reader, tensor, rows, columns, err);
    if (rc == 0)
        rc = lens_pt_read_f32(reader->file, tensor, out, err);
    if (rc != 0)
        return rc;
    const size_t bad = pack_first_not_finite(out, (size_t)(rows * columns));
    if (bad == rows * columns)
        return 0;
    return lens_error_set(err, -EDOM,
                          "%s: tensor %s holds %f at [%zu,%zu]; every weight must be finite: train this "
                          "lens again, or remove it",
                          reader->path, tensor->name, (double)out[bad], bad / (size_t)columns, bad % (size_t)columns);
}

/* W1 <- W1*diag(g), b1 <- b1 + W1*b, rounded once. */
static void fold_norm(struct hatcat_lens_reader *reader)
{
    for (uint32_t row = 0; row < reader->h1; row++) {
        float *w = reader->w1 + (size_t)row * reader->dim;
        double bias = (double)reader->b1[row];
        for (uint32_t i = 0; i < reader->dim; i++) {
            bias += (double)w[i] * (double)reader->shift[i];
            w[i] = (float)((double)w[i] * (double)reader->gain[i]);
        }
        reader->b1[row] = (float)bias;
    }
}

static int read_weights(struct hatcat_lens_reader *reader, const struct lens_tensors *t, struct lens_error *err)
{
    const uint32_t d = reader->dim;
    const uint32_t h1 = reader->h1;
    const uint32_t h2 = reader->h2;
    const struct {
        const struct lens_pt_tensor *tensor;
        uint64_t rows, columns;
        float *out;
    } wanted[] = {{t->w1, h1, d, reader->w1},    {t->b1, 1, h1, reader->b1},     {t->w2, h2, h1, reader->w2},
                  {t->b2, 1, h2, reader->b2},    {t->w3, 1, h2, reader->w3},     {t->b3, 1, 1, &reader->b3},
                  {t->gain, 1, d, reader->gain}, {t->shift, 1, d, reader->shift}};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        int rc = wanted[i].tensor == NULL
                     ? 0
                     : read_finite(reader, wanted[i].tensor, wanted[i].rows, wanted[i].columns, wanted[i].out, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int hatcat_lens_read(struct hatcat_lens_reader *reader, const char *path, const char *bank_name,
                     struct lens_weights *out, struct lens_error *err)
{
    struct lens_tensors t;
    int rc = open_file(reader, path, err);
    if (rc == 0)
        rc = find_tensors(reader, bank_name, &t, err);
    if (rc == 0 && t.gain != NULL && !reader->fold)
        rc = lens_error_set(err, -EINVAL,
                            "%s: the lens has its own LayerNorm, which can't be folded when normalize is "
                            "none: import with normalize = layernorm",
                            path);
    if (rc == 0 && reader->first_path == NULL)
        rc = take_sizes(reader, &t, err);
    if (rc == 0)
        rc = read_weights(reader, &t, err);
    if (rc != 0)
        return rc;
    reader->stored = t.w1->dtype;
    reader->had_norm = t.gain != NULL;
    if (reader->had_norm)
        fold_norm(reader);
    *out = (struct lens_weights){
        .w1 = reader->w1, .b1 = reader->b1, .w2 = reader->w2, .b2 = reader->b2, .w3 = reader->w3, .b3 = reader->b3};
    return 0;
}
