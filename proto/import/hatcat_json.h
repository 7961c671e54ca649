/* The JSON files beside a HatCat pack's lenses: loading, metadata, calibration. Private to proto/import.
 * Threads: one thread per import. */
#ifndef LENS_IMPORT_HATCAT_JSON_H
#define LENS_IMPORT_HATCAT_JSON_H

#include "proto/pack_writer.h"

#include <jansson.h>

/* Loads `directory`/`name`, which must hold an object. A file that isn't there gives 0 and *out = NULL. */
int hatcat_json_load(const char *directory, const char *name, json_t **out, struct lens_error *err);

/* The member of that name if it is an object, else NULL; `object` may be NULL. */
json_t *hatcat_json_object(const json_t *object, const char *name);

/* What pack.json, pack_info.json and version_manifest.json say. */
struct hatcat_info {
    struct lens_pack_meta meta; /* strings owned, never NULL but `created` */
    uint64_t hidden_dim;        /* 0 when not given */
    char *activation_lenses;    /* folder, relative to the pack */
};

int hatcat_info_load(const char *directory, struct hatcat_info *out, struct lens_error *err);
void hatcat_info_free(struct hatcat_info *info);

/* Fills the seven fields of a lens from calibration.json's table (NULL is fine). Returns 1 when there is an entry, 0
 * when there is none (then the row is NaN), -EBADMSG on an entry that isn't numbers. */
int hatcat_calibration_row(const json_t *table, const char *name, uint32_t name_length, unsigned layer, float *row,
                           struct lens_error *err);

/* Is `path` relative, without a ".." in it? Paths inside a pack's JSON may not climb out of the pack. */
bool hatcat_path_stays_inside(const char *path);

#endif
