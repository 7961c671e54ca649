/* See pack_convert.h. */
#include "proto/pack_convert.h"

#include "proto/pack_io.h"
#include "proto/pack_private.h"
#include "proto/pack_replace.h"
#include "proto/pack_utf8.h"
#include "proto/pack_writer.h"
#include "proto/quantize.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define COPY_BYTES (UINT32_C(1) << 20)

/* One lens on its way. */
struct lens_buffers {
    void *w1, *sign, *w2;   /* as stored in the input */
    float *old_w1, *old_w2; /* decoded */
    float *row;             /* one row as the output has it */
};

struct conversion {
    const struct lens_convert_options *options;
    struct lens_pack *in; /* without w2 */
    uint64_t w2_offset;
    size_t w2_bytes; /* of one lens, as stored in the input */
    struct lens_buffers b;
    struct lens_conversion result;
};

/* --------------------------------------------------------------------------------------------------------- decode */

static void widen(enum lens_dtype dtype, const void *stored, size_t count, float *out)
{
    if (dtype == LENS_F32) {
        memcpy(out, stored, count * sizeof *out);
        return;
    }
    const uint16_t *halves = stored;
    for (size_t i = 0; i < count; i++)
        out[i] = lens_f32_from_bf16(halves[i]);
}

/* Row `row` of a stored W1. */
static void decode_row(const struct pack_stored_lens *stored, uint32_t row, uint32_t dim, float *out)
{
    const size_t at = (size_t)row * dim;
    const char *bytes = (const char *)stored->w1 + at * lens_dtype_bytes(stored->w1_dtype);
    if (stored->w1_dtype == LENS_LOG8) {
        lens_log8_decode((const uint8_t *)bytes, (const uint8_t *)stored->sign + row * ((dim + 7) / 8), dim,
                         stored->w1_log_min[row], stored->w1_log_max[row], out);
    } else if (stored->w1_dtype == LENS_I8) {
        for (uint32_t i = 0; i < dim; i++)
            out[i] = (float)((const int8_t *)bytes)[i] * stored->w1_scale[row];
    } else {
        widen(stored->w1_dtype, bytes, dim, out);
    }
}

static void decode_lens(struct conversion *c, uint32_t lens)
{
    const struct lens_pack *in = c->in;
    const size_t first = (size_t)lens * in->h1;
    const struct pack_stored_lens stored = {
        .w1_dtype = in->w1_dtype,
        .w1 = c->b.w1,
        .sign = c->b.sign,
        .w1_scale = in->w1_scale != NULL ? in->w1_scale + first : NULL,
        .w1_log_min = in->w1_log_min != NULL ? in->w1_log_min + first : NULL,
        .w1_log_max = in->w1_log_max != NULL ? in->w1_log_max + first : NULL,
    };
    for (uint32_t row = 0; row < in->h1; row++)
        decode_row(&stored, row, in->dim, c->b.old_w1 + (size_t)row * in->dim);
    widen(in->w2_dtype, c->b.w2, (size_t)in->h2 * in->h1, c->b.old_w2);
}

/* --------------------------------------------------------------------------------------------------- what it costs */

/* mean_relative holds the sum until the end. */
static void compare_row(struct lens_convert_error *error, const float *old, const float *new, uint32_t count)
{
    double largest_old = 0;
    double largest_difference = 0;
    for (uint32_t i = 0; i < count; i++) {
        double before = fabs((double)old[i]);
        double difference = fabs((double)new[i] - (double)old[i]);
        largest_old = before > largest_old ? before : largest_old;
        largest_difference = difference > largest_difference ? difference : largest_difference;
        if (before == 0)
            continue;
        double relative = difference / before;
        error->nonzero++;
        error->lost += new[i] == 0;
        error->mean_relative += relative;
        error->largest_relative = relative > error->largest_relative ? relative : error->largest_relative;
    }
    error->weights += count;
    if (largest_old > 0 && largest_difference / largest_old > error->largest_of_row)
        error->largest_of_row = largest_difference / largest_old;
}

/* Holds what was written against what was read. */
static void measure(struct conversion *c, const struct pack_stored_lens *written)
{
    const uint32_t dim = c->in->dim;
    const uint32_t h1 = c->in->h1;
    for (uint32_t row = 0; row < h1; row++) {
        decode_row(written, row, dim, c->b.row);
        compare_row(&c->result.w1, c->b.old_w1 + (size_t)row * dim, c->b.row, dim);
    }
    for (uint32_t row = 0; row < c->in->h2; row++) {
        const size_t at = (size_t)row * h1;
        widen(written->w2_dtype, (const char *)written->w2 + at * lens_dtype_bytes(written->w2_dtype), h1, c->b.row);
        compare_row(&c->result.w2, c->b.old_w2 + at, c->b.row, h1);
    }
}

/* ------------------------------------------------------------------------------------------------------ the lenses */

/* Reads a lens, holds it against its checksum, and decodes it. */
static int take_lens(struct conversion *c, uint32_t lens, struct lens_error *err)
{
    const struct lens_pack *in = c->in;
    int rc = lens_pack_read_w1(in, lens, 1, c->b.w1, c->b.sign, err);
    if (rc == 0)
        rc = pack_pread(in->fd, c->b.w2, c->w2_bytes, c->w2_offset + lens * c->w2_bytes, err);
    if (rc == 0)
        rc = pack_verify_lens(in, lens, c->b.w1, c->b.sign, c->b.w2, err);
    if (rc != 0)
        return rc;
    decode_lens(c, lens);
    return 0;
}

static int convert_lens(struct conversion *c, uint32_t lens, struct lens_pack_writer *writer, struct lens_error *err)
{
    const struct lens_pack *in = c->in;
    int rc = take_lens(c, lens, err);
    if (rc != 0)
        return rc;
    const struct lens_weights weights = {
        .w1 = c->b.old_w1,
        .b1 = in->b1 + (size_t)lens * in->h1,
        .w2 = c->b.old_w2,
        .b2 = in->b2 + (size_t)lens * in->h2,
        .w3 = in->w3 + (size_t)lens * in->h2,
        .b3 = in->b3[lens],
    };
    rc = lens_pack_writer_add(writer, &weights, err); /* which refuses what isn't finite */
    if (rc != 0)
        return rc;
    const struct pack_stored_lens written = pack_writer_last(writer);
    measure(c, &written);
    return 0;
}

static int go_on(const struct lens_convert_options *options, const char *what, uint64_t done, uint64_t total,
                 struct lens_error *err)
{
    if (options->progress != NULL)
        options->progress(options->progress_arg, what, done, total);
    if (options->cancelled != NULL && options->cancelled(options->cancelled_arg))
        return lens_error_set(err, -ECANCELED, "interrupted after %" PRIu64 " of %" PRIu64 " %s", done, total, what);
    return 0;
}

static int convert_lenses(struct conversion *c, struct lens_pack_writer *writer, struct lens_error *err)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < c->in->lenses; i++) {
        rc = convert_lens(c, i, writer, err);
        if (rc == 0)
            rc = go_on(c->options, "lenses", i + 1, c->in->lenses, err);
    }
    return rc;
}

/* ------------------------------------------------------------------------------------------------------- metadata */

static bool own_key(const char *key)
{
    static const char *const own[] = {"created", "format",    "hidden_dim", "model_id", "normalize",
                                      "source",  "tap_layer", "tap_point",  "version"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(own[i], key) == 0)
            return true;
    return false;
}

/* Where the new pack comes from; the caller's to free. The folder stays out of it: it means nothing elsewhere. */
static char *source_text(const struct lens_pack *in, enum lens_dtype to)
{
    char *text = NULL;
    const char *slash = strrchr(in->path, '/');
    const char *name = slash != NULL ? slash + 1 : in->path;
    if (!pack_utf8_is_name(name, strlen(name)))
        name = "a pack";
    const struct lens_pack_meta *meta = &in->meta;
    if (asprintf(&text, "%s%s%s from %s (%s, created %s)", meta->source, meta->source[0] != '\0' ? "; " : "",
                 lens_dtype_name(to), name, lens_dtype_name(in->w1_dtype),
                 meta->created[0] != '\0' ? meta->created : "at an unknown time") < 0)
        return NULL;
    return text;
}

static struct lens_pack_plan plan_of(const struct lens_pack *in, enum lens_dtype dtype, char *source)
{
    struct lens_pack_plan plan = {
        .meta = in->meta,
        .lenses = in->lenses,
        .dim = in->dim,
        .h1 = in->h1,
        .h2 = in->h2,
        .w1_dtype = dtype,
        .parent = in->parent,
        .child_offsets = in->child_offsets,
        .child_ids = in->child_ids,
        .layer = in->layer,
        .role = in->role,
        .name_offsets = in->name_offsets,
        .names = in->names,
        .calibration = in->calibration,
    };
    plan.meta.source = source;
    plan.meta.created = NULL;
    return plan;
}

static int create_writer(const struct conversion *c, const char *path, struct lens_pack_writer **writer,
                         struct lens_error *err)
{
    const struct pack_private *private = c->in->private_state;
    const size_t count = private->header.metadata_count;
    char *source = source_text(c->in, c->options->dtype);
    struct lens_pack_entry *extra = calloc(count + 1, sizeof *extra);
    int rc = -ENOMEM;
    if (source == NULL || extra == NULL) {
        lens_error_set(err, rc, "no memory for the metadata");
    } else {
        struct lens_pack_plan plan = plan_of(c->in, c->options->dtype, source);
        plan.extra = extra;
        for (size_t i = 0; i < count; i++) {
            const struct st_entry *entry = &private->header.metadata[i];
            if (!own_key(entry->key))
                extra[plan.extra_count++] = (struct lens_pack_entry){entry->key, entry->value};
        }
        rc = lens_pack_writer_create(path, &plan, writer, err);
    }
    free(extra);
    free(source);
    return rc;
}

/* ---------------------------------------------------------------------------------------------------------- convert */

static int allocate(struct conversion *c, struct lens_error *err)
{
    const struct lens_pack *in = c->in;
    struct lens_buffers *b = &c->b;
    const size_t weights1 = (size_t)in->h1 * in->dim;
    const size_t weights2 = (size_t)in->h2 * in->h1;
    const size_t columns = in->dim > in->h1 ? in->dim : in->h1;
    b->w1 = malloc(in->w1_lens_bytes);
    b->sign = malloc(in->w1_sign_bytes + 1);
    b->w2 = malloc(c->w2_bytes + 1);
    b->old_w1 = malloc(weights1 * sizeof(float));
    b->old_w2 = malloc(weights2 * sizeof(float));
    b->row = malloc(columns * sizeof(float));
    if (b->w1 == NULL || b->sign == NULL || b->w2 == NULL || b->old_w1 == NULL || b->old_w2 == NULL || b->row == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for one lens");
    return 0;
}

static void release(struct lens_buffers *b)
{
    free(b->w1);
    free(b->sign);
    free(b->w2);
    free(b->old_w1);
    free(b->old_w2);
    free(b->row);
}

/* More than the input could say: its weights stay what they were. */
static bool widens(enum lens_dtype from, enum lens_dtype to)
{
    static const int order[LENS_DTYPES] = {[LENS_I8] = 0, [LENS_LOG8] = 0, [LENS_BF16] = 1, [LENS_F32] = 2};
    return order[to] > order[from];
}

static int convert(struct conversion *c, const char *path, struct lens_error *err)
{
    struct lens_pack_writer *writer;
    int rc = create_writer(c, path, &writer, err);
    if (rc != 0)
        return rc;
    rc = convert_lenses(c, writer, err);
    if (rc != 0)
        lens_pack_writer_abort(writer);
    else
        rc = lens_pack_writer_finish(writer, err);
    return rc;
}

/* ------------------------------------------------------------------------------------------------------------ copy */

static int copy_bytes(const struct conversion *c, int fd, struct lens_error *err)
{
    const uint64_t total = c->in->file_bytes;
    void *buffer = malloc(COPY_BYTES);
    if (buffer == NULL)
        return lens_error_set(err, -ENOMEM, "no memory to copy the pack");
    int rc = 0;
    for (uint64_t at = 0; rc == 0 && at < total;) {
        size_t bytes = total - at < COPY_BYTES ? (size_t)(total - at) : COPY_BYTES;
        rc = pack_pread(c->in->fd, buffer, bytes, at, err);
        if (rc == 0)
            rc = pack_pwrite(fd, buffer, bytes, at, err);
        at += bytes;
        if (rc == 0)
            rc = go_on(c->options, "bytes", at, total, err);
    }
    free(buffer);
    return rc;
}

static int check_lenses(struct conversion *c, struct lens_error *err)
{
    const struct lens_pack *in = c->in;
    const size_t weights1 = (size_t)in->h1 * in->dim;
    const size_t weights2 = (size_t)in->h2 * in->h1;
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < in->lenses; i++) {
        rc = take_lens(c, i, err);
        if (rc == 0 && (pack_first_not_finite(c->b.old_w1, weights1) != weights1 ||
                        pack_first_not_finite(c->b.old_w2, weights2) != weights2))
            rc = lens_error_set(err, -EDOM, "lens %u holds a weight that isn't finite; every weight must be", i);
        if (rc == 0)
            rc = go_on(c->options, "lenses checked", i + 1, in->lenses, err);
    }
    return rc;
}

/* Checked first, then copied whatever its metadata or the order of its tables. */
static int copy(struct conversion *c, const char *path, struct lens_error *err)
{
    struct pack_replacement file;
    int rc = check_lenses(c, err);
    if (rc == 0)
        rc = pack_replacement_begin(&file, path, c->in->file_bytes, err);
    if (rc != 0)
        return rc;
    rc = copy_bytes(c, file.fd, err);
    if (rc == 0)
        return pack_replacement_commit(&file, err);
    pack_replacement_drop(&file);
    return rc;
}

/* ------------------------------------------------------------------------------------------------------------- all */

/* Replacing the input would throw away what no later conversion can bring back. */
static int refuse_same_file(const struct lens_pack *in, const char *path, struct lens_error *err)
{
    struct stat source;
    struct stat target;
    if (fstat(in->fd, &source) != 0 || stat(path, &target) != 0)
        return 0; /* nothing there yet; what else is wrong with it, writing will say */
    if (source.st_dev != target.st_dev || source.st_ino != target.st_ino)
        return 0;
    return lens_error_set(err, -EINVAL,
                          "%s and %s are the same file, whose weights would be lost: give the new pack a name of its "
                          "own",
                          in->path, path);
}

static int check_request(const struct conversion *c, const char *path, struct lens_error *err)
{
    const enum lens_dtype to = c->options->dtype;
    if (to != LENS_F32 && to != LENS_BF16 && to != LENS_I8 && to != LENS_LOG8)
        return lens_error_set(err, -EINVAL, "no pack stores its weights as %s: f32, bf16, int8 and log8 are there",
                              lens_dtype_name(to));
    int rc = refuse_same_file(c->in, path, err);
    return rc != 0 ? rc : pack_verify_tables(c->in, err);
}

static void begin(struct conversion *c)
{
    const struct lens_pack *in = c->in;
    const struct pack_private *private = in->private_state;
    const enum lens_dtype to = c->options->dtype;
    c->w2_offset = private->header.data_start + pack_layout_find(&private->layout, "w2")->tensor.begin;
    c->w2_bytes = (size_t)in->h2 * in->h1 * lens_dtype_bytes(in->w2_dtype);
    c->result = (struct lens_conversion){
        .lenses = in->lenses,
        .bytes_before = in->file_bytes,
        .copied = to == in->w1_dtype,
        .widened = widens(in->w1_dtype, to),
        .w1 = {.from = in->w1_dtype, .to = to},
        .w2 = {.from = in->w2_dtype,
               .to = to == in->w1_dtype ? in->w2_dtype
                     : to == LENS_F32   ? LENS_F32
                                        : LENS_BF16},
    };
}

static int end(struct conversion *c, const char *path, struct lens_error *err)
{
    struct stat info;
    struct lens_convert_error *errors[] = {&c->result.w1, &c->result.w2};
    for (int i = 0; i < 2; i++)
        if (errors[i]->nonzero > 0)
            errors[i]->mean_relative /= (double)errors[i]->nonzero;
    if (stat(path, &info) != 0)
        return lens_error_set(err, -errno, "%s was written and isn't there any more: %s", path, strerror(errno));
    c->result.bytes_after = (uint64_t)info.st_size;
    return 0;
}

int lens_pack_convert(const char *in, const char *out_path, const struct lens_convert_options *options,
                      struct lens_conversion *out, struct lens_error *err)
{
    struct conversion c = {.options = options};
    int rc = pack_open_without_w2(in, &c.in, err);
    if (rc != 0)
        return rc;
    rc = check_request(&c, out_path, err);
    if (rc == 0) {
        begin(&c);
        rc = allocate(&c, err);
    }
    if (rc == 0)
        rc = c.result.copied ? copy(&c, out_path, err) : convert(&c, out_path, err);
    if (rc == 0)
        rc = end(&c, out_path, err);
    if (rc == 0)
        *out = c.result;
    release(&c.b);
    lens_pack_close(c.in);
    return rc;
}
