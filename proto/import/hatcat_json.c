/* See hatcat_json.h. */
#include "proto/import/hatcat_json.h"

#include "proto/pack_utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_JSON_BYTES   (256l << 20)
#define MAX_SOURCE_BYTES 4096

int hatcat_json_load(const char *directory, const char *name, json_t **out, struct lens_error *err)
{
    char *path;
    struct stat info;
    json_error_t where;
    *out = NULL;
    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return lens_error_set(err, -ENOMEM, "no memory for a path");
    int rc = 0;
    if (stat(path, &info) != 0) {
        if (errno != ENOENT)
            rc = lens_error_set(err, -errno, "%s: can't be read: %s", path, strerror(errno));
    } else if (!S_ISREG(info.st_mode) || info.st_size > MAX_JSON_BYTES) {
        rc = lens_error_set(err, -EBADMSG, "%s: not a regular file of at most %ld bytes", path, MAX_JSON_BYTES);
    } else if ((*out = json_load_file(path, JSON_REJECT_DUPLICATES, &where)) == NULL) {
        rc = lens_error_set(err, -EBADMSG, "%s: line %d is not JSON: %s", path, where.line, where.text);
    } else if (!json_is_object(*out)) {
        rc = lens_error_set(err, -EBADMSG, "%s: should hold a JSON object", path);
        json_decref(*out);
        *out = NULL;
    }
    free(path);
    return rc;
}

json_t *hatcat_json_object(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return json_is_object(value) ? value : NULL;
}

bool hatcat_path_stays_inside(const char *path)
{
    if (path[0] == '/' || path[0] == '\0')
        return false;
    for (const char *part = path; part != NULL; part = strchr(part, '/')) {
        part += part != path;
        if (part[0] == '.' && part[1] == '.' && (part[2] == '/' || part[2] == '\0'))
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------------- metadata */

/* *out becomes a string, or a whole number as text; NULL when the value is neither. */
static int scalar_text(const json_t *value, char **out)
{
    char number[32];
    const char *text = json_string_value(value);
    *out = NULL;
    if (json_is_integer(value)) {
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
        text = number;
    }
    if (text == NULL || !pack_utf8_is_name(text, strlen(text)))
        return 0;
    *out = strdup(text);
    return *out != NULL ? 0 : -ENOMEM;
}

/* Sets *out from model_info.{name} or the top level, unless an earlier file did. */
static int take_text(const json_t *root, const char *name, char **out)
{
    int rc = 0;
    if (*out == NULL)
        rc = scalar_text(json_object_get(hatcat_json_object(root, "model_info"), name), out);
    if (rc == 0 && *out == NULL)
        rc = scalar_text(json_object_get(root, name), out);
    return rc;
}

static int take_meta(const json_t *root, struct hatcat_info *out)
{
    char *hidden_dim = NULL;
    int rc = take_text(root, "model_id", &out->meta.model_id);
    if (rc == 0)
        rc = take_text(root, "model", &out->meta.model_id);
    if (rc == 0)
        rc = take_text(root, "tap_layer", &out->meta.tap_layer);
    if (rc == 0)
        rc = take_text(root, "tap_point", &out->meta.tap_point);
    if (rc == 0)
        rc = take_text(root, "hidden_dim", &hidden_dim);
    if (hidden_dim != NULL && out->hidden_dim == 0)
        out->hidden_dim = strtoull(hidden_dim, NULL, 10);
    free(hidden_dim);
    return rc;
}

static int append_scalar(char *source, const char *group, const char *name, const json_t *value)
{
    char *text;
    size_t used = strlen(source);
    int rc = scalar_text(value, &text);
    if (text != NULL && pack_utf8_is_name(name, strlen(name)) &&
        used + strlen(group) + strlen(name) + strlen(text) + 4 < MAX_SOURCE_BYTES)
        snprintf(source + used, MAX_SOURCE_BYTES - used, " %s%s%s=%s", group, group[0] != '\0' ? "." : "", name, text);
    free(text);
    return rc;
}

/* Keeps what the file says about itself: its scalars, one level deep, as far as they fit. */
static int append_source(char *source, const char *file, json_t *root)
{
    const char *name;
    const char *inner_name;
    json_t *value;
    json_t *inner;
    int rc = 0;
    size_t used = strlen(source);
    snprintf(source + used, MAX_SOURCE_BYTES - used, "; %s:", file);
    json_object_foreach(root, name, value)
    {
        rc = rc != 0 ? rc : append_scalar(source, "", name, value);
        if (json_is_object(value) && pack_utf8_is_name(name, strlen(name)))
            json_object_foreach(value, inner_name, inner) rc =
                rc != 0 ? rc : append_scalar(source, name, inner_name, inner);
    }
    return rc;
}

static int take_lens_path(const json_t *root, struct hatcat_info *out, struct lens_error *err)
{
    const json_t *value = json_object_get(hatcat_json_object(root, "lens_paths"), "activation_lenses");
    if (!json_is_string(value))
        return 0;
    if (!hatcat_path_stays_inside(json_string_value(value)))
        return lens_error_set(
            err, -EBADMSG, "pack.json: lens_paths.activation_lenses is \"%.100s\"; it must be a path inside the pack",
            json_string_value(value));
    free(out->activation_lenses);
    out->activation_lenses = strdup(json_string_value(value));
    return out->activation_lenses != NULL ? 0 : lens_error_set(err, -ENOMEM, "no memory for a path");
}

static int take_file(const char *directory, const char *name, struct hatcat_info *out, char *source,
                     struct lens_error *err)
{
    json_t *root;
    int rc = hatcat_json_load(directory, name, &root, err);
    if (rc != 0 || root == NULL)
        return rc;
    if (take_meta(root, out) != 0 || append_source(source, name, root) != 0)
        rc = lens_error_set(err, -ENOMEM, "no memory for the metadata");
    else
        rc = take_lens_path(root, out, err);
    json_decref(root);
    return rc;
}

static int fill_empty(char **text)
{
    if (*text == NULL)
        *text = strdup("");
    return *text != NULL ? 0 : -ENOMEM;
}

int hatcat_info_load(const char *directory, struct hatcat_info *out, struct lens_error *err)
{
    static const char *const files[] = {"pack.json", "pack_info.json", "version_manifest.json"};
    char source[MAX_SOURCE_BYTES] = "hatcat";
    memset(out, 0, sizeof *out);
    out->activation_lenses = strdup("activation_lenses");
    int rc = out->activation_lenses != NULL ? 0 : lens_error_set(err, -ENOMEM, "no memory for a path");
    for (size_t i = 0; rc == 0 && i < sizeof files / sizeof files[0]; i++)
        rc = take_file(directory, files[i], out, source, err);
    out->meta.source = strdup(source);
    if (rc == 0 && (fill_empty(&out->meta.model_id) != 0 || fill_empty(&out->meta.tap_layer) != 0 ||
                    fill_empty(&out->meta.tap_point) != 0 || out->meta.source == NULL))
        rc = lens_error_set(err, -ENOMEM, "no memory for the metadata");
    if (rc != 0)
        hatcat_info_free(out);
    return rc;
}

void hatcat_info_free(struct hatcat_info *info)
{
    free(info->meta.model_id);
    free(info->meta.tap_layer);
    free(info->meta.tap_point);
    free(info->meta.source);
    free(info->activation_lenses);
    memset(info, 0, sizeof *info);
}

/* ---------------------------------------------------------------------------------------------------- calibration */

static const struct {
    const char *name;
    float missing; /* SEEDS H11 */
} calibration_fields[LENS_CALIBRATION_FIELDS] = {
    [LENS_CAL_SELF_MEAN] = {"self_mean", 0.9f},     [LENS_CAL_CROSS_MEAN] = {"cross_mean", 0},
    [LENS_CAL_SELF_STD] = {"self_std", 0},          [LENS_CAL_CROSS_STD] = {"cross_std", 0},
    [LENS_CAL_CROSS_FIRE] = {"cross_fire_rate", 0}, [LENS_CAL_GEN_FIRE] = {"gen_fire_rate", 0},
    [LENS_CAL_NOISE_FIRE] = {"noise_fire_rate", 0},
};

int hatcat_calibration_row(const json_t *table, const char *name, uint32_t name_length, unsigned layer, float *row,
                           struct lens_error *err)
{
    char key[300];
    snprintf(key, sizeof key, "%.*s_L%u", (int)name_length, name, layer);
    const json_t *entry = json_object_get(table, key);
    for (int i = 0; i < LENS_CALIBRATION_FIELDS; i++)
        row[i] = entry == NULL ? lens_f32_from_bits(0x7fc00000u) : calibration_fields[i].missing;
    if (entry == NULL)
        return 0;
    for (int i = 0; i < LENS_CALIBRATION_FIELDS; i++) {
        const json_t *value = json_object_get(entry, calibration_fields[i].name);
        if (value == NULL || json_is_null(value))
            continue;
        row[i] = (float)json_number_value(value);
        if (!json_is_number(value) || !isfinite(row[i]))
            return lens_error_set(err, -EBADMSG, "calibration.json: %s of %s is no finite number",
                                  calibration_fields[i].name, key);
    }
    return json_is_object(entry) ? 1 : lens_error_set(err, -EBADMSG, "calibration.json: %s is no object", key);
}
