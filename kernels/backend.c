/* Names of compute modes, and the model of a pack: what every backend and its callers share (backend.h). */
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
