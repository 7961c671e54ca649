/* Importing a HatCat lens pack directory (SEEDS.md, "HatCat packs on disk") into one lens-pack file.
 *
 * Reads .pt files without executing pickle, streams one lens at a time (memory is bounded by the hierarchy's tables,
 * the largest file's header and one lens), folds a per-lens LayerNorm, orders by DESIGN 3 and writes atomically.
 * Threads: one thread per import. */
#ifndef LENS_IMPORT_HATCAT_H
#define LENS_IMPORT_HATCAT_H

#include "proto/pack_writer.h"

struct lens_hatcat_options {
    enum lens_dtype dtype;         /* of the stored W1 */
    enum lens_normalize normalize; /* HatCat: LAYERNORM (the default of lensctl) */
    lens_progress_fn progress;     /* may be NULL */
    void *progress_arg;
};

/* What the importer found; the caller prints it. */
struct lens_hatcat_summary {
    uint32_t lenses, dim, h1, h2, max_layer;
    uint32_t with_layernorm, calibrated;
    uint32_t source_f32, source_f16, source_bf16; /* lenses by stored dtype of their first layer */
    uint32_t concepts_without_lens;               /* listed by the hierarchy, no file: skipped */
    uint32_t lenses_not_listed;                   /* file, but not in the hierarchy: roots */
    uint32_t several_parents;
    uint32_t unreachable;    /* lenses that can't be reached from layers 0 and 1 */
    char **unreachable_keys; /* `unreachable` strings, owned; see lens_hatcat_summary_free */
    uint64_t bytes_written;
};

int lens_import_hatcat(const char *directory, const char *out_path, const struct lens_hatcat_options *options,
                       struct lens_hatcat_summary *summary, struct lens_error *err);
void lens_hatcat_summary_free(struct lens_hatcat_summary *summary);

#endif
