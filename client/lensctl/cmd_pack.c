/* lensctl pack import hatcat | pack inspect | pack verify: work on pack files; no daemon is needed. */
#include "client/lensctl/commands.h"
#include "client/lensctl/progress.h"
#include "client/lensctl/safetensors_header.h"
#include "proto/import/hatcat.h"

#include <string.h>

#define NAMED_UNREACHABLE 8u /* keys named in the text summary; JSON has all */

/* ---- import ----------------------------------------------------------------------------------------------------- */

static void print_unreachable(const struct ctl *ctl, const struct lens_hatcat_summary *s)
{
    FILE *file = ctl->out.file;
    if (s->unreachable == 0)
        return;
    fprintf(file, "  not reached from layers 0 and 1, so never scored with those as base: %u\n   ", s->unreachable);
    for (uint32_t i = 0; i < s->unreachable && i < NAMED_UNREACHABLE; i++) {
        char key[256];
        const char *text = s->unreachable_keys[i];
        fprintf(file, "%s%s", i == 0 ? " " : ", ", ctl_printable(text, strlen(text), key, sizeof key));
    }
    if (s->unreachable > NAMED_UNREACHABLE)
        fprintf(file, " and %u more (--json names all)", s->unreachable - NAMED_UNREACHABLE);
    fputc('\n', file);
}

static void print_summary(const struct ctl *ctl, const char *path, const char *dtype,
                          const struct lens_hatcat_summary *s)
{
    char size[32];
    FILE *file = ctl->out.file;
    ctl_print_line(&ctl->out, 0, "%s: %u lenses (%u -> %u -> %u -> 1), layers 0 to %u, stored as %s, %s", path,
                   s->lenses, s->dim, s->h1, s->h2, s->max_layer, dtype,
                   ctl_bytes_text(s->bytes_written, size, sizeof size));
    ctl_print_line(&ctl->out, 2, "source: %u f32, %u f16, %u bf16; %u with a LayerNorm, folded in; %u calibrated",
                   s->source_f32, s->source_f16, s->source_bf16, s->with_layernorm, s->calibrated);
    fprintf(file, "  concepts without a lens file, skipped: %u\n", s->concepts_without_lens);
    fprintf(file, "  lenses the hierarchy doesn't list, made roots: %u\n", s->lenses_not_listed);
    fprintf(file, "  concepts with several parents: %u\n", s->several_parents);
    print_unreachable(ctl, s);
}

static int print_summary_json(const struct ctl *ctl, const char *path, const char *dtype,
                              const struct lens_hatcat_summary *s)
{
    json_t *object = ctl_json_new(), *keys = json_array();
    json_object_set_new(object, "file", ctl_json_text(lens_text_of(path)));
    json_object_set_new(object, "dtype", json_string(dtype));
    ctl_json_set_count(object, "bytes", s->bytes_written);
    ctl_json_set_count(object, "lenses", s->lenses);
    ctl_json_set_count(object, "dim", s->dim);
    ctl_json_set_count(object, "h1", s->h1);
    ctl_json_set_count(object, "h2", s->h2);
    ctl_json_set_count(object, "max_layer", s->max_layer);
    ctl_json_set_count(object, "with_layernorm", s->with_layernorm);
    ctl_json_set_count(object, "calibrated", s->calibrated);
    json_object_set_new(
        object, "source",
        json_pack("{s:i,s:i,s:i}", "f32", (int)s->source_f32, "f16", (int)s->source_f16, "bf16", (int)s->source_bf16));
    ctl_json_set_count(object, "concepts_without_lens", s->concepts_without_lens);
    ctl_json_set_count(object, "lenses_not_listed", s->lenses_not_listed);
    ctl_json_set_count(object, "several_parents", s->several_parents);
    for (uint32_t i = 0; i < s->unreachable; i++)
        json_array_append_new(keys, ctl_json_text(lens_text_of(s->unreachable_keys[i])));
    json_object_set_new(object, "unreachable", keys);
    return ctl_json_print(&ctl->out, object, false);
}

int ctl_run_pack_import(struct ctl *ctl)
{
    const char *path = ctl_value(ctl, "-o")->text;
    const struct ctl_value *dtype = ctl_value(ctl, "--dtype"), *normalize = ctl_value(ctl, "--normalize");
    struct ctl_progress progress;
    struct lens_hatcat_options options = {
        .dtype = LENS_F32,
        .normalize =
            normalize->set && strcmp(normalize->text, "none") == 0 ? LENS_NORMALIZE_NONE : LENS_NORMALIZE_LAYERNORM,
        .progress = ctl_progress_update,
        .progress_arg = &progress,
    };
    struct lens_hatcat_summary summary = {0};
    struct lens_error err = {0};
    if (dtype->set && lens_dtype_parse(dtype->text, &options.dtype) != 0)
        return ctl_fail(CTL_USAGE, "--dtype: lenses are not stored as '%s'", dtype->text);
    ctl_progress_begin(&progress);
    int r = lens_import_hatcat(ctl_argument(ctl, 0), path, &options, &summary, &err);
    ctl_progress_end(&progress);
    if (r != 0)
        return ctl_fail(CTL_FAILED, "%s (nothing was written to %s)", err.text, path);
    const char *name = lens_dtype_name(options.dtype);
    if (ctl->json)
        r = print_summary_json(ctl, path, name, &summary);
    else
        print_summary(ctl, path, name, &summary);
    lens_hatcat_summary_free(&summary);
    return r;
}

/* ---- inspect ---------------------------------------------------------------------------------------------------- */

struct layer_counts {
    uint32_t lenses[256], with_children[256], calibrated[256];
};

static void count_layers(const struct lens_pack *pack, struct layer_counts *counts)
{
    memset(counts, 0, sizeof *counts);
    for (uint32_t i = 0; i < pack->lenses; i++) {
        counts->lenses[pack->layer[i]]++;
        counts->with_children[pack->layer[i]] += lens_pack_child_count(pack, i) > 0;
        counts->calibrated[pack->layer[i]] += lens_pack_calibrated(pack, i);
    }
}

static void format_shape(const struct safetensors_tensor *tensor, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (uint32_t i = 0; i < tensor->n_dims && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%llu", i == 0 ? "" : ",",
                                 (unsigned long long)tensor->shape[i]);
    if (used < size)
        snprintf(out + used, size - used, "]");
}

static json_t *tensors_json(const struct safetensors_header *header)
{
    json_t *list = json_array();
    for (size_t i = 0; i < header->count; i++) {
        const struct safetensors_tensor *tensor = &header->tensors[i];
        json_t *shape = json_array();
        for (uint32_t d = 0; d < tensor->n_dims; d++)
            json_array_append_new(shape, json_integer((json_int_t)tensor->shape[d]));
        json_array_append_new(list, json_pack("{s:s,s:s,s:o,s:I}", "name", tensor->name, "dtype", tensor->dtype,
                                              "shape", shape, "bytes", (json_int_t)tensor->bytes));
    }
    return list;
}

static json_t *layers_json(const struct layer_counts *counts)
{
    json_t *list = json_array();
    for (int layer = 0; layer < 256; layer++) {
        if (counts->lenses[layer] != 0)
            json_array_append_new(list,
                                  json_pack("{s:i,s:i,s:i,s:i}", "layer", layer, "lenses", (int)counts->lenses[layer],
                                            "with_children", (int)counts->with_children[layer], "calibrated",
                                            (int)counts->calibrated[layer]));
    }
    return list;
}

static int inspect_json(const struct ctl *ctl, const struct lens_pack *pack, const struct safetensors_header *header,
                        const struct layer_counts *counts)
{
    json_t *object = ctl_json_new();
    json_object_set_new(object, "file", ctl_json_text(lens_text_of(pack->path)));
    ctl_json_set_count(object, "bytes", pack->file_bytes);
    ctl_json_set_count(object, "lenses", pack->lenses);
    ctl_json_set_count(object, "dim", pack->dim);
    ctl_json_set_count(object, "h1", pack->h1);
    ctl_json_set_count(object, "h2", pack->h2);
    json_object_set_new(object, "dtype", json_string(lens_dtype_name(pack->w1_dtype)));
    json_object_set(object, "metadata", header->metadata);
    json_object_set_new(object, "tensors", tensors_json(header));
    json_object_set_new(object, "layers", layers_json(counts));
    return ctl_json_print(&ctl->out, object, false);
}

static int print_metadata(const struct ctl *ctl, const struct lens_pack *pack, json_t *metadata)
{
    static const struct ctl_column columns[] = {{NULL, false}, {NULL, false}};
    struct ctl_table table;
    char size[32];
    const char *key;
    json_t *value;
    ctl_table_init(&table, columns, 2);
    ctl_table_add(&table, "lenses");
    ctl_table_add(&table, "%u (%u -> %u -> %u -> 1)", pack->lenses, pack->dim, pack->h1, pack->h2);
    ctl_table_add(&table, "weights");
    ctl_table_add(&table, "%s", lens_dtype_name(pack->w1_dtype));
    ctl_table_add(&table, "file");
    ctl_table_add(&table, "%s", ctl_bytes_text(pack->file_bytes, size, sizeof size));
    json_object_foreach(metadata, key, value)
    {
        ctl_table_text(&table, lens_text_of(key));
        ctl_table_text(&table, lens_text_of(json_string_value(value)));
    }
    return ctl_table_print(&table, &ctl->out);
}

static int print_tensors(const struct ctl *ctl, const struct safetensors_header *header)
{
    static const struct ctl_column columns[] = {{"tensor", false}, {"dtype", false}, {"shape", false}, {"bytes", true}};
    struct ctl_table table;
    ctl_table_init(&table, columns, 4);
    for (size_t i = 0; i < header->count; i++) {
        char shape[128];
        const struct safetensors_tensor *tensor = &header->tensors[i];
        format_shape(tensor, shape, sizeof shape);
        ctl_table_text(&table, lens_text_of(tensor->name));
        ctl_table_text(&table, lens_text_of(tensor->dtype));
        ctl_table_add(&table, "%s", shape);
        ctl_table_add(&table, "%llu", (unsigned long long)tensor->bytes);
    }
    return ctl_table_print(&table, &ctl->out);
}

static int print_layers(const struct ctl *ctl, const struct layer_counts *counts)
{
    static const struct ctl_column columns[] = {
        {"layer", true}, {"lenses", true}, {"with children", true}, {"calibrated", true}, {"", false}};
    static const char bar[] = "####################################";
    struct ctl_table table;
    uint32_t most = 1;
    for (int layer = 0; layer < 256; layer++)
        most = counts->lenses[layer] > most ? counts->lenses[layer] : most;
    ctl_table_init(&table, columns, ctl->out.terminal ? 5 : 4);
    for (int layer = 0; layer < 256; layer++) {
        if (counts->lenses[layer] == 0)
            continue;
        ctl_table_add(&table, "%d", layer);
        ctl_table_add(&table, "%u", counts->lenses[layer]);
        ctl_table_add(&table, "%u", counts->with_children[layer]);
        ctl_table_add(&table, "%u", counts->calibrated[layer]);
        if (ctl->out.terminal)
            ctl_table_add(&table, "%.*s", (int)((sizeof bar - 1) * (uint64_t)counts->lenses[layer] / most), bar);
    }
    return ctl_table_print(&table, &ctl->out);
}

static int inspect_text(const struct ctl *ctl, const struct lens_pack *pack, const struct safetensors_header *header,
                        const struct layer_counts *counts)
{
    int r = print_metadata(ctl, pack, header->metadata);
    fputc('\n', ctl->out.file);
    if (r == 0)
        r = print_tensors(ctl, header);
    fputc('\n', ctl->out.file);
    if (r == 0)
        r = print_layers(ctl, counts);
    return r == 0 ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
}

int ctl_run_pack_inspect(struct ctl *ctl)
{
    struct lens_pack *pack;
    struct lens_error err = {0};
    struct safetensors_header header;
    struct layer_counts counts;
    if (lens_pack_open(ctl_argument(ctl, 0), &pack, &err) != 0)
        return ctl_fail(CTL_FAILED, "%s", err.text);
    int r = CTL_FAILED;
    if (safetensors_header_read(pack->fd, pack->file_bytes, &header, &err) != 0) {
        ctl_fail(CTL_FAILED, "%s: %s", pack->path, err.text);
    } else {
        count_layers(pack, &counts);
        r = ctl->json ? inspect_json(ctl, pack, &header, &counts) : inspect_text(ctl, pack, &header, &counts);
        safetensors_header_free(&header);
    }
    lens_pack_close(pack);
    return r;
}

/* ---- verify ----------------------------------------------------------------------------------------------------- */

static int print_verified(const struct ctl *ctl, const struct lens_pack *pack)
{
    char size[32];
    if (ctl->json) {
        json_t *object = ctl_json_new();
        json_object_set_new(object, "file", ctl_json_text(lens_text_of(pack->path)));
        json_object_set_new(object, "ok", json_true());
        ctl_json_set_count(object, "lenses", pack->lenses);
        ctl_json_set_count(object, "checksums", (uint64_t)pack->lenses + 1);
        ctl_json_set_count(object, "bytes", pack->file_bytes);
        return ctl_json_print(&ctl->out, object, false);
    }
    fprintf(ctl->out.file, "%s: ok: %u lenses, %u checksums, %s\n", pack->path, pack->lenses, pack->lenses + 1,
            ctl_bytes_text(pack->file_bytes, size, sizeof size));
    return CTL_OK;
}

int ctl_run_pack_verify(struct ctl *ctl)
{
    struct lens_pack *pack;
    struct lens_error err = {0};
    struct ctl_progress progress;
    if (lens_pack_open(ctl_argument(ctl, 0), &pack, &err) != 0)
        return ctl_fail(CTL_FAILED, "%s", err.text);
    ctl_progress_begin(&progress);
    int r = lens_pack_verify(pack, ctl_progress_update, &progress, &err);
    ctl_progress_end(&progress);
    r = r == 0 ? print_verified(ctl, pack) : ctl_fail(CTL_FAILED, "%s", err.text);
    lens_pack_close(pack);
    return r;
}
