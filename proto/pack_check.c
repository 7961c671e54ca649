/* Is what a pack's tables say possible? Used on packs that were read and on plans that will be written, so that a
 * written pack can always be opened. Only looks; must not change the pack. */
#include "proto/pack_tables.h"

#include "proto/pack_utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FINITE_BLOCK 256

/* ---------------------------------------------------------------------------------------------------------- sizes */

int pack_check_limits(const struct pack_shape *shape, struct lens_error *err)
{
    const struct {
        const char *name;
        uint64_t value, limit;
    } limits[] = {{"lenses", shape->lenses, PACK_MAX_LENSES},
                  {"D", shape->dim, PACK_MAX_DIM},
                  {"H1", shape->h1, PACK_MAX_DIM},
                  {"H2", shape->h2, PACK_MAX_DIM}};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        if (limits[i].value == 0 || limits[i].value > limits[i].limit)
            return lens_error_set(err, -EBADMSG, "%s is %" PRIu64 "; it must be 1 to %" PRIu64, limits[i].name,
                                  limits[i].value, limits[i].limit);
    if (shape->edges > PACK_MAX_EDGES || shape->name_bytes > (uint64_t)PACK_MAX_LENSES * PACK_MAX_NAME)
        return lens_error_set(err, -EBADMSG, "child_ids or names are larger than any hierarchy needs");
    return 0;
}

/* ------------------------------------------------------------------------------------------------------ hierarchy */

static int check_offsets(const int32_t *offsets, uint32_t lenses, uint64_t end, const char *table,
                         struct lens_error *err)
{
    if (offsets[0] != 0)
        return lens_error_set(err, -EBADMSG, "%s starts with %d, not 0", table, offsets[0]);
    for (uint32_t i = 0; i < lenses; i++)
        if (offsets[i + 1] < offsets[i])
            return lens_error_set(err, -EBADMSG, "%s falls from %d to %d at lens %u", table, offsets[i], offsets[i + 1],
                                  i);
    if ((uint64_t)offsets[lenses] != end)
        return lens_error_set(err, -EBADMSG, "%s ends at %d, the table it points into has %llu entries", table,
                              offsets[lenses], (unsigned long long)end);
    return 0;
}

static int check_children(const struct lens_pack *pack, uint32_t lens, struct lens_error *err)
{
    int32_t before = -1;
    for (int32_t i = pack->child_offsets[lens]; i < pack->child_offsets[lens + 1]; i++) {
        int32_t child = pack->child_ids[i];
        if (child < 0 || (uint32_t)child >= pack->lenses)
            return lens_error_set(err, -EBADMSG, "lens %u has child %d, but there are %u lenses", lens, child,
                                  pack->lenses);
        if (child <= before)
            return lens_error_set(err, -EBADMSG, "the children of lens %u are not ascending: %d after %d", lens, child,
                                  before);
        before = child;
    }
    return 0;
}

static bool has_child(const struct lens_pack *pack, int32_t parent, int32_t child)
{
    int32_t low = pack->child_offsets[parent];
    int32_t high = pack->child_offsets[parent + 1];
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (pack->child_ids[middle] < child)
            low = middle + 1;
        else
            high = middle;
    }
    return low < pack->child_offsets[parent + 1] && pack->child_ids[low] == child;
}

static int check_parents(const struct lens_pack *pack, struct lens_error *err)
{
    for (uint32_t i = 0; i < pack->lenses; i++) {
        int32_t parent = pack->parent[i];
        if (parent < -1 || parent >= (int32_t)pack->lenses)
            return lens_error_set(err, -EBADMSG, "lens %u has parent %d, but there are %u lenses", i, parent,
                                  pack->lenses);
        if (parent >= 0 && !has_child(pack, parent, (int32_t)i))
            return lens_error_set(err, -EBADMSG, "lens %u has parent %d, which doesn't list it as a child", i, parent);
    }
    return 0;
}

/* Takes lenses without parents away again and again; what is left stands in a cycle. */
static int check_acyclic(const struct lens_pack *pack, struct lens_error *err)
{
    uint32_t *parents_left = calloc((size_t)pack->lenses + 1, sizeof *parents_left);
    uint32_t *todo = calloc((size_t)pack->lenses + 1, sizeof *todo);
    uint32_t count = 0;
    int rc = 0;

    if (parents_left == NULL || todo == NULL) {
        rc = lens_error_set(err, -ENOMEM, "no memory to check the hierarchy of %u lenses", pack->lenses);
        goto out;
    }
    for (int32_t i = 0; i < pack->child_offsets[pack->lenses]; i++)
        parents_left[pack->child_ids[i]]++;
    for (uint32_t i = 0; i < pack->lenses; i++)
        if (parents_left[i] == 0)
            todo[count++] = i;
    for (uint32_t at = 0; at < count; at++)
        for (int32_t i = pack->child_offsets[todo[at]]; i < pack->child_offsets[todo[at] + 1]; i++)
            if (--parents_left[pack->child_ids[i]] == 0)
                todo[count++] = (uint32_t)pack->child_ids[i];
    for (uint32_t i = 0; count < pack->lenses && rc == 0; i++)
        if (parents_left[i] != 0)
            rc = lens_error_set(err, -EBADMSG, "the hierarchy has a cycle at or above lens %u", i);
out:
    free(todo);
    free(parents_left);
    return rc;
}

int pack_check_tree(const struct lens_pack *pack, uint64_t edges, struct lens_error *err)
{
    int rc = check_offsets(pack->child_offsets, pack->lenses, edges, "child_offsets", err);
    for (uint32_t i = 0; rc == 0 && i < pack->lenses; i++)
        rc = check_children(pack, i, err);
    for (uint32_t i = 0; rc == 0 && i < pack->lenses; i++)
        if (pack->role[i] > LENS_ROLE_CATEGORY)
            rc = lens_error_set(err, -EBADMSG, "lens %u has role %u; roles are 0 to %d", i, pack->role[i],
                                LENS_ROLE_CATEGORY);
    if (rc == 0)
        rc = check_parents(pack, err);
    return rc != 0 ? rc : check_acyclic(pack, err);
}

/* ---------------------------------------------------------------------------------------------------------- names */

int pack_check_names(const struct lens_pack *pack, uint64_t name_bytes, struct lens_error *err)
{
    int rc = check_offsets(pack->name_offsets, pack->lenses, name_bytes, "name_offsets", err);
    for (uint32_t i = 0; rc == 0 && i < pack->lenses; i++) {
        const char *name = pack->names + pack->name_offsets[i];
        uint32_t length = (uint32_t)(pack->name_offsets[i + 1] - pack->name_offsets[i]);
        if (length == 0 || length > PACK_MAX_NAME)
            rc = lens_error_set(err, -EBADMSG, "the name of lens %u has %u bytes; names have 1 to %d", i, length,
                                PACK_MAX_NAME);
        else if (!pack_utf8_is_name(name, length))
            rc = lens_error_set(err, -EBADMSG, "the name of lens %u is not UTF-8, or holds control characters", i);
    }
    return rc;
}

static int compare_keys(const void *a, const void *b, void *arg)
{
    const struct lens_pack *pack = arg;
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    uint32_t x_length;
    uint32_t y_length;
    const char *x_name = lens_pack_name(pack, x, &x_length);
    const char *y_name = lens_pack_name(pack, y, &y_length);
    int order = memcmp(x_name, y_name, x_length < y_length ? x_length : y_length);
    if (order == 0)
        order = (x_length > y_length) - (x_length < y_length);
    return order != 0 ? order : pack->layer[x] - pack->layer[y];
}

int pack_key_index(const struct lens_pack *pack, uint32_t **out, struct lens_error *err)
{
    uint32_t *ids = malloc(pack->lenses * sizeof *ids);
    if (ids == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for an index of %u names", pack->lenses);
    for (uint32_t i = 0; i < pack->lenses; i++)
        ids[i] = i;
    qsort_r(ids, pack->lenses, sizeof *ids, compare_keys, (void *)pack);
    for (uint32_t i = 1; i < pack->lenses; i++) {
        if (compare_keys(&ids[i - 1], &ids[i], (void *)pack) == 0) {
            char key[PACK_MAX_NAME + 5];
            lens_pack_key(pack, ids[i], key, sizeof key);
            int rc = lens_error_set(err, -EEXIST, "two lenses have the key %s: %u and %u", key, ids[i - 1], ids[i]);
            free(ids);
            return rc;
        }
    }
    *out = ids;
    return 0;
}

/* -------------------------------------------------------------------------------------------------------- numbers */

/* An exponent of all ones, and only that, carries into the top bit. A fixed number of rounds without a way out is what
 * compilers turn into vector code. */
static bool block_is_finite(const float *values)
{
    uint32_t carries = 0;
    for (int i = 0; i < FINITE_BLOCK; i++)
        carries |= (lens_f32_bits(values[i]) & 0x7f800000u) + 0x00800000u;
    return carries >> 31 == 0;
}

size_t pack_first_not_finite(const float *values, size_t count)
{
    size_t i = 0;
    while (count - i >= FINITE_BLOCK && block_is_finite(values + i))
        i += FINITE_BLOCK;
    while (i < count && (lens_f32_bits(values[i]) & 0x7f800000u) != 0x7f800000u)
        i++;
    return i;
}

size_t pack_first_not_finite_bf16(const uint16_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((values[i] & 0x7f80u) == 0x7f80u)
            return i;
    return count;
}

static int check_finite(const char *table, const float *values, size_t lenses, size_t each, struct lens_error *err)
{
    size_t bad = values != NULL ? pack_first_not_finite(values, lenses * each) : lenses * each;
    if (bad == lenses * each)
        return 0;
    return lens_error_set(err, -EBADMSG, "%s of lens %zu holds %f at place %zu", table, bad / each, (double)values[bad],
                          bad % each);
}

static int check_w2(const struct lens_pack *pack, struct lens_error *err)
{
    size_t each = (size_t)pack->h2 * pack->h1;
    if (pack->w2 == NULL)
        return 0; /* left in the file */
    if (pack->w2_dtype == LENS_F32)
        return check_finite("w2", pack->w2, pack->lenses, each, err);
    size_t bad = pack_first_not_finite_bf16(pack->w2, pack->lenses * each);
    if (bad == pack->lenses * each)
        return 0;
    return lens_error_set(err, -EBADMSG, "w2 of lens %zu holds a number that isn't finite at place %zu", bad / each,
                          bad % each);
}

static int check_scales(const struct lens_pack *pack, struct lens_error *err)
{
    const size_t rows = (size_t)pack->lenses * pack->h1;
    for (size_t i = 0; pack->w1_scale != NULL && i < rows; i++)
        if (pack->w1_scale[i] < 0)
            return lens_error_set(err, -EBADMSG, "w1_scale of lens %zu is negative", i / pack->h1);
    for (size_t i = 0; pack->w1_log_min != NULL && i < rows; i++)
        if (pack->w1_log_min[i] > pack->w1_log_max[i])
            return lens_error_set(err, -EBADMSG, "w1_log_min of lens %zu is above its w1_log_max", i / pack->h1);
    return 0;
}

/* A row is seven finite numbers, or seven NaN. */
int pack_check_calibration(const struct lens_pack *pack, struct lens_error *err)
{
    for (uint32_t i = 0; i < pack->lenses; i++) {
        const float *row = pack->calibration + (size_t)i * LENS_CALIBRATION_FIELDS;
        int finite = 0;
        int nan = 0;
        for (int k = 0; k < LENS_CALIBRATION_FIELDS; k++) {
            finite += isfinite(row[k]) != 0;
            nan += isnan(row[k]) != 0;
        }
        if (finite != LENS_CALIBRATION_FIELDS && nan != LENS_CALIBRATION_FIELDS)
            return lens_error_set(err, -EBADMSG, "the calibration of lens %u is neither numbers nor all NaN", i);
    }
    return 0;
}

int pack_check_numbers(const struct lens_pack *pack, struct lens_error *err)
{
    const struct {
        const char *name;
        const float *values;
        size_t each;
    } tables[] = {{"w1_scale", pack->w1_scale, pack->h1},
                  {"w1_log_min", pack->w1_log_min, pack->h1},
                  {"w1_log_max", pack->w1_log_max, pack->h1},
                  {"b1", pack->b1, pack->h1},
                  {"b2", pack->b2, pack->h2},
                  {"w3", pack->w3, pack->h2},
                  {"b3", pack->b3, 1}};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        int rc = check_finite(tables[i].name, tables[i].values, pack->lenses, tables[i].each, err);
        if (rc != 0)
            return rc;
    }
    int rc = check_scales(pack, err);
    if (rc == 0)
        rc = pack_check_calibration(pack, err);
    return rc != 0 ? rc : check_w2(pack, err);
}
