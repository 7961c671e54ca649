/* Names of compute modes, the model of a pack, and the checks that all make: what every backend and its callers share
 * (backend.h). */
#include "kernels/backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const compute_names[] = {"exact", "bf16", "int8"};
_Static_assert(LENS_COMPUTE_INT8 + 1 == sizeof compute_names / sizeof compute_names[0], "one name per compute mode");

const char *lens_compute_name(enum lens_compute compute)
{
    return (unsigned)compute <= LENS_COMPUTE_INT8 ? compute_names[compute] : "?";
}

int lens_compute_parse(const char *text, enum lens_compute *out)
{
    for (unsigned i = 0; i <= LENS_COMPUTE_INT8; i++) {
        if (strcmp(text, compute_names[i]) == 0) {
            *out = (enum lens_compute)i;
            return 0;
        }
    }
    return -EINVAL;
}

void lens_model_of_pack(const struct lens_pack *pack, struct lens_model *out)
{
    *out = (struct lens_model){
        .lenses = pack->lenses,
        .dim = pack->dim,
        .h1 = pack->h1,
        .h2 = pack->h2,
        .normalize = pack->meta.normalize,
        .b1 = pack->b1,
        .w2 = pack->w2,
        .w2_dtype = pack->w2_dtype,
        .b2 = pack->b2,
        .w3 = pack->w3,
        .b3 = pack->b3,
        .child_offsets = pack->child_offsets,
        .child_ids = pack->child_ids,
        .layer = pack->layer,
        .calibration = pack->calibration,
    };
}

int lens_slab_make_maps(struct lens_slab *slab, struct lens_error *err)
{
    uint32_t lenses = slab->model.lenses, slots = slab->config.slots;
    slab->slot_of = malloc(lenses * sizeof *slab->slot_of);
    slab->lens_in = malloc(slots * sizeof *slab->lens_in);
    slab->source = calloc(lenses, sizeof *slab->source);
    if (slab->slot_of == NULL || slab->lens_in == NULL || slab->source == NULL) {
        lens_slab_free_maps(slab);
        return lens_error_set(err, -ENOMEM, "no memory for the maps of %u lenses in %u slots", lenses, slots);
    }
    memset(slab->slot_of, 0xff, lenses * sizeof *slab->slot_of);
    memset(slab->lens_in, 0xff, slots * sizeof *slab->lens_in);
    return 0;
}

void lens_slab_free_maps(struct lens_slab *slab)
{
    free(slab->slot_of);
    free(slab->lens_in);
    free(slab->source);
    slab->slot_of = slab->lens_in = NULL;
    slab->source = NULL;
}

void lens_row_out_clear(struct lens_row_out *out)
{
    out->status = LENS_ROW_COMPLETE;
    out->reason = LENS_REASON_NONE;
    out->flags = 0;
    out->n_expanded = out->n_detections = 0;
    out->counts = (struct lens_row_counts){0};
    out->wanted = NULL;
    out->n_wanted = out->n_always = out->n_active = 0;
    out->logits = NULL;
}

void lens_row_out_fail(struct lens_row_out *out)
{
    lens_row_out_clear(out);
    out->status = LENS_ROW_PARTIAL;
    out->reason = LENS_REASON_ENGINE_FAILURE;
    out->flags = LENS_ROW_DEGRADED;
}

/* int32 sums of int8 products hold for this many terms (127 * 128 * dim < 2^31: processors shift rows by 128). */
#define MAX_INTEGER_DIM 131072u

int lens_slab_check(const struct lens_model *model, const struct lens_slab_config *config, struct lens_error *err)
{
    if (model->lenses == 0 || model->dim == 0 || model->h1 == 0 || model->h2 == 0)
        return lens_error_set(err, -EINVAL, "a model of %u lenses %u -> %u -> %u: no size may be 0", model->lenses,
                              model->dim, model->h1, model->h2);
    if (model->w2_dtype != LENS_F32 && model->w2_dtype != LENS_BF16)
        return lens_error_set(err, -ENOTSUP, "w2 is %s, expected f32 or bf16", lens_dtype_name(model->w2_dtype));
    if (config->slots == 0 || config->max_batch_rows == 0 || config->loaders == 0)
        return lens_error_set(err, -EINVAL, "a slab of %u slots for %u rows and %u loaders: all must be at least 1",
                              config->slots, config->max_batch_rows, config->loaders);
    if (config->compute == LENS_COMPUTE_INT8 && model->dim > MAX_INTEGER_DIM)
        return lens_error_set(err, -ENOTSUP, "compute int8 holds for at most %u dimensions, the model has %u",
                              MAX_INTEGER_DIM, model->dim);
    return 0;
}

int lens_slot_write_check(const struct lens_slab *slab, const struct lens_slot_write *w, bool slot_is_there,
                          struct lens_error *err)
{
    if (!slot_is_there || w->lens >= slab->model.lenses)
        return lens_error_set(err, -EINVAL, "no slot %u for lens %u: the slab has %u slots, the model %u lenses",
                              w->slot, w->lens, __atomic_load_n(&slab->config.slots, __ATOMIC_RELAXED),
                              slab->model.lenses);
    if (w->stored != LENS_F32 && w->stored != LENS_BF16 && w->stored != LENS_I8 && w->stored != LENS_LOG8)
        return lens_error_set(err, -EINVAL, "lens %u is stored as %s, expected f32, bf16, int8 or log8", w->lens,
                              lens_dtype_name(w->stored));
    bool tables = w->stored == LENS_I8     ? w->scale != NULL
                  : w->stored == LENS_LOG8 ? w->sign != NULL && w->log_min != NULL && w->log_max != NULL
                                           : true;
    if (w->w1 == NULL || !tables)
        return lens_error_set(err, -EINVAL, "lens %u comes without the tables that %s needs", w->lens,
                              lens_dtype_name(w->stored));
    return 0;
}
