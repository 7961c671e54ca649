/* From a HatCat directory to a lens pack; see hatcat.h. Only the order of things is here: what lies where is
 * hatcat_layout.c's, pack order hatcat_order.c's, one lens hatcat_lens.c's, the file pack_writer.c's. */
#include "proto/import/hatcat.h"

#include "proto/import/hatcat_json.h"
#include "proto/import/hatcat_layout.h"
#include "proto/import/hatcat_lens.h"
#include "proto/import/hatcat_tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct import {
    const struct lens_hatcat_options *options;
    struct lens_hatcat_summary *summary;
    struct hatcat_info info;
    struct hatcat_tree tree;
    struct hatcat_order order;
    struct hatcat_lens_reader reader;
    /* The plan's tables that aren't in `order`. */
    uint8_t *layer;
    int32_t *name_offsets;
    char *names;
    float *calibration;
};

void lens_hatcat_summary_free(struct lens_hatcat_summary *summary)
{
    for (uint32_t i = 0; summary->unreachable_keys != NULL && i < summary->unreachable; i++)
        free(summary->unreachable_keys[i]);
    free(summary->unreachable_keys);
    memset(summary, 0, sizeof *summary);
}

static void import_free(struct import *import)
{
    hatcat_lens_reader_free(&import->reader);
    hatcat_order_free(&import->order);
    hatcat_tree_free(&import->tree);
    hatcat_info_free(&import->info);
    free(import->layer);
    free(import->name_offsets);
    free(import->names);
    free(import->calibration);
}

static const struct hatcat_concept *concept_of(const struct import *import, uint32_t lens)
{
    return &import->tree.concepts[import->order.concepts[lens]];
}

/* --------------------------------------------------------------------------------------------------------- tables */

static int fill_names(struct import *import, struct lens_error *err)
{
    const uint32_t n = import->order.lenses;
    size_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += concept_of(import, i)->name_length;
    import->layer = malloc((size_t)n + 1);
    import->name_offsets = malloc(((size_t)n + 1) * sizeof *import->name_offsets);
    import->names = malloc(bytes + 1);
    if (import->layer == NULL || import->name_offsets == NULL || import->names == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for the names of %u lenses", n);
    bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct hatcat_concept *concept = concept_of(import, i);
        import->layer[i] = concept->layer;
        import->name_offsets[i] = (int32_t)bytes;
        memcpy(import->names + bytes, concept->key, concept->name_length);
        bytes += concept->name_length;
        if (concept->layer > import->summary->max_layer)
            import->summary->max_layer = concept->layer;
    }
    import->name_offsets[n] = (int32_t)bytes;
    return 0;
}

static int fill_calibration(struct import *import, const char *directory, struct lens_error *err)
{
    const uint32_t n = import->order.lenses;
    json_t *root = NULL;
    import->calibration = malloc((size_t)n * LENS_CALIBRATION_FIELDS * sizeof *import->calibration);
    if (import->calibration == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for the calibration of %u lenses", n);
    int rc = hatcat_json_load(directory, "calibration.json", &root, err);
    const json_t *table = hatcat_json_object(root, "calibration");
    for (uint32_t i = 0; rc >= 0 && i < n; i++) {
        const struct hatcat_concept *concept = concept_of(import, i);
        rc = hatcat_calibration_row(table, concept->key, concept->name_length, concept->layer,
                                    import->calibration + (size_t)i * LENS_CALIBRATION_FIELDS, err);
        import->summary->calibrated += rc == 1;
    }
    json_decref(root);
    return rc < 0 ? rc : 0;
}

static int fill_summary(struct import *import, struct lens_error *err)
{
    struct lens_hatcat_summary *summary = import->summary;
    const struct hatcat_order *order = &import->order;
    summary->lenses = order->lenses;
    summary->concepts_without_lens = order->without_lens;
    summary->lenses_not_listed = order->not_listed;
    summary->several_parents = order->several_parents;
    summary->unreachable_keys = calloc((size_t)order->unreachable + 1, sizeof *summary->unreachable_keys);
    if (summary->unreachable_keys == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a list of %u lenses", order->unreachable);
    summary->unreachable = order->unreachable;
    for (uint32_t i = 0; i < order->unreachable; i++) {
        summary->unreachable_keys[i] = strdup(concept_of(import, order->unreachable_lenses[i])->key);
        if (summary->unreachable_keys[i] == NULL)
            return lens_error_set(err, -ENOMEM, "no memory for a list of %u lenses", order->unreachable);
    }
    return 0;
}

/* Everything but the weights. */
static int survey(struct import *import, const char *directory, struct lens_error *err)
{
    int rc = hatcat_info_load(directory, &import->info, err);
    if (rc == 0)
        rc = hatcat_tree_load(directory, &import->tree, err);
    if (rc == 0)
        rc = hatcat_layout_find(directory, import->info.activation_lenses, &import->tree, err);
    if (rc != 0)
        return rc;
    rc = hatcat_order_make(&import->tree, &import->order, err);
    if (rc == -ENODATA)
        return lens_error_set(err, rc,
                              "%s: no lenses: expected layer{N}/{Concept}.pt, %s/{Concept}.pt, or bank_index.json with "
                              "banks/ and individual/",
                              directory, import->info.activation_lenses);
    if (rc != 0) {
        lens_error_prefix(err, "%s/hierarchy.json", directory);
        return rc;
    }
    rc = fill_names(import, err);
    if (rc == 0)
        rc = fill_calibration(import, directory, err);
    return rc != 0 ? rc : fill_summary(import, err);
}

/* -------------------------------------------------------------------------------------------------------- weights */

static int read_lens(struct import *import, uint32_t lens, struct lens_weights *weights, struct lens_error *err)
{
    char name[256];
    const struct hatcat_concept *concept = concept_of(import, lens);
    memcpy(name, concept->key, concept->name_length);
    name[concept->name_length] = '\0';
    return hatcat_lens_read(&import->reader, concept->path, concept->banked ? name : NULL, weights, err);
}

static int check_hidden_dim(const struct import *import, const char *directory, struct lens_error *err)
{
    if (import->info.hidden_dim == 0 || import->info.hidden_dim == import->reader.dim)
        return 0;
    return lens_error_set(err, -EBADMSG, "%s: the pack's JSON says hidden_dim %" PRIu64 ", but %s has D=%u", directory,
                          import->info.hidden_dim, import->reader.first_path, import->reader.dim);
}

static int create(struct import *import, const char *out_path, struct lens_pack_writer **writer, struct lens_error *err)
{
    struct lens_pack_plan plan = {
        .meta = import->info.meta,
        .lenses = import->order.lenses,
        .dim = import->reader.dim,
        .h1 = import->reader.h1,
        .h2 = import->reader.h2,
        .w1_dtype = import->options->dtype,
        .parent = import->order.parent,
        .child_offsets = import->order.child_offsets,
        .child_ids = import->order.child_ids,
        .layer = import->layer,
        .name_offsets = import->name_offsets,
        .names = import->names,
        .calibration = import->calibration,
    };
    plan.meta.normalize = import->options->normalize;
    import->summary->dim = plan.dim;
    import->summary->h1 = plan.h1;
    import->summary->h2 = plan.h2;
    return lens_pack_writer_create(out_path, &plan, writer, err);
}

static void count_lens(struct import *import)
{
    struct lens_hatcat_summary *summary = import->summary;
    summary->with_layernorm += import->reader.had_norm;
    summary->source_f32 += import->reader.stored == LENS_F32;
    summary->source_f16 += import->reader.stored == LENS_F16;
    summary->source_bf16 += import->reader.stored == LENS_BF16;
}

/* `weights` is lens 0, already read: it decided the sizes. */
static int add_lenses(struct import *import, struct lens_pack_writer *writer, struct lens_weights *weights,
                      struct lens_error *err)
{
    const uint32_t n = import->order.lenses;
    for (uint32_t i = 0; i < n; i++) {
        int rc = i == 0 ? 0 : read_lens(import, i, weights, err);
        if (rc != 0)
            return rc;
        rc = lens_pack_writer_add(writer, weights, err);
        if (rc != 0) {
            lens_error_prefix(err, "%s", concept_of(import, i)->path);
            return rc;
        }
        count_lens(import);
        if (import->options->progress != NULL)
            import->options->progress(import->options->progress_arg, "lenses", (uint64_t)i + 1, n);
    }
    return 0;
}

static int run(struct import *import, const char *directory, const char *out_path, struct lens_error *err)
{
    struct lens_pack_writer *writer;
    struct lens_weights weights;
    struct stat written;
    int rc = survey(import, directory, err);
    if (rc == 0)
        rc = read_lens(import, 0, &weights, err);
    if (rc == 0)
        rc = check_hidden_dim(import, directory, err);
    if (rc == 0)
        rc = create(import, out_path, &writer, err);
    if (rc != 0)
        return rc;
    rc = add_lenses(import, writer, &weights, err);
    if (rc != 0) {
        lens_pack_writer_abort(writer);
        return rc;
    }
    rc = lens_pack_writer_finish(writer, err);
    if (rc == 0 && stat(out_path, &written) == 0)
        import->summary->bytes_written = (uint64_t)written.st_size;
    return rc;
}

int lens_import_hatcat(const char *directory, const char *out_path, const struct lens_hatcat_options *options,
                       struct lens_hatcat_summary *summary, struct lens_error *err)
{
    struct import import = {.options = options, .summary = summary};
    memset(summary, 0, sizeof *summary);
    import.reader.fold = options->normalize == LENS_NORMALIZE_LAYERNORM;
    int rc = run(&import, directory, out_path, err);
    import_free(&import);
    if (rc != 0)
        lens_hatcat_summary_free(summary);
    return rc;
}
