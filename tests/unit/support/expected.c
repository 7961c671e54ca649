/* See expected.h. */
#include "tests/unit/support/expected.h"

#include "proto/import/hatcat.h"
#include "proto/wire.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void give_up(const char *what, const char *detail)
{
    fprintf(stderr, "test data: %s: %s\n", what, detail);
    abort();
}

/* Just enough of .npy for our own files: version 1, C order, '<f4', '<f2' or '<u2' (bf16 bits). */
static void load_npy(const char *path, struct expected *out)
{
    FILE *file = fopen(path, "rb");
    unsigned char head[10];
    char header[512] = {0};
    if (file == NULL || fread(head, 1, 10, file) != 10)
        give_up("can't read", path);
    size_t length = head[8] | (size_t)head[9] << 8;
    if (length >= sizeof header || fread(header, 1, length, file) != length)
        give_up("odd header", path);
    const char *shape = strstr(header, "'shape': (");
    if (shape == NULL || sscanf(shape, "'shape': (%u, %u)", &out->n_rows, &out->dim) != 2)
        give_up("odd shape", path);
    out->dtype = strstr(header, "<f4") ? LENS_F32 : strstr(header, "<f2") ? LENS_F16 : LENS_BF16;
    size_t bytes = (size_t)out->n_rows * out->dim * lens_dtype_bytes(out->dtype);
    out->states = malloc(bytes);
    if (fread(out->states, 1, bytes, file) != bytes)
        give_up("short file", path);
    fclose(file);
}

static double number(const json_t *options, const char *key, double fallback)
{
    const json_t *value = json_object_get(options, key);
    return value != NULL ? json_number_value(value) : fallback;
}

static int choice(const json_t *options, const char *key, const char *const names[], int fallback)
{
    const char *text = json_string_value(json_object_get(options, key));
    return text != NULL ? lens_option_parse(names, text) : fallback;
}

static void load_options(const json_t *json, struct expected *out)
{
    struct lens_cascade_options *o = &out->options;
    lens_options_default(o);
    o->expand = (enum lens_expand)choice(json, "mode", lens_expand_names, LENS_EXPAND_THRESHOLD);
    o->report = (enum lens_report)choice(json, "report", lens_report_names, LENS_REPORT_FRONTIER);
    o->rank = (enum lens_rank)choice(json, "rank", lens_rank_names, LENS_RANK_RAW);
    o->uncalibrated = (enum lens_uncalibrated)choice(json, "uncalibrated", lens_uncalibrated_names, 0);
    o->load_threshold = (float)number(json, "load_threshold", 0.3);
    o->unload_threshold = (float)number(json, "unload_threshold", 0.1);
    o->suppress_at = (float)number(json, "suppress_at", 0.5);
    o->suppress_parents = json_is_true(json_object_get(json, "suppress_parents"));
    o->top_k = (uint32_t)number(json, "top_k", 10);
    o->keep_top_k = (int32_t)number(json, "keep_top_k", 30);
    o->max_depth = (uint32_t)number(json, "max_depth", 5);
    o->max_scored = (uint32_t)number(json, "max_scored", 4096);
    out->rows_per_submission = (uint32_t)number(json, "rows_per_submission", 1);
    const json_t *base = json_object_get(json, "base");
    o->base_layers = 0;
    for (size_t i = 0; i < json_array_size(base); i++)
        o->base_layers |= UINT64_C(1) << json_integer_value(json_array_get(base, i));
}

static uint32_t load_patterns(const json_t *options, const char *key, struct lens_text *out)
{
    const json_t *list = json_object_get(options, key);
    uint32_t n = (uint32_t)json_array_size(list);
    if (n > LENS_MAX_PATTERNS)
        give_up("too many patterns", key);
    for (uint32_t i = 0; i < n; i++)
        out[i] = lens_text_of(json_string_value(json_array_get(list, i)));
    return n;
}

static void load_content(const json_t *options, const struct lens_pack *pack, struct lensd_content_maps *out)
{
    static const char *const keys[] = {"include", "exclude", "filter"};
    struct lens_text patterns[LENSD_CONTENT_LISTS][LENS_MAX_PATTERNS];
    struct lensd_content_source source = {0};
    struct lensd_content *content;
    struct lens_error err = {0};
    for (unsigned list = 0; list < LENSD_CONTENT_LISTS; list++) {
        source.n_asked[list] = load_patterns(options, keys[list], patterns[list]);
        source.asked[list] = patterns[list];
    }
    if (lensd_content_create(&source, &content, &err) != 0 ||
        lensd_content_resolve(content, pack, out, NULL, &err) != 0)
        give_up("patterns", err.text);
    lensd_content_free(content);
}

void expected_load(const char *directory, const char *name, const struct lens_pack *pack, struct expected *out)
{
    char path[4096];
    memset(out, 0, sizeof *out);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    out->root = json_load_file(path, 0, NULL);
    if (out->root == NULL)
        give_up("can't read", path);
    const json_t *options = json_object_get(out->root, "options");
    load_options(options, out);
    load_content(options, pack, &out->maps);
    const json_t *pinned = json_object_get(options, "pinned");
    out->n_pinned = (uint32_t)json_array_size(pinned);
    out->pinned = calloc(out->n_pinned + 1, sizeof *out->pinned);
    for (uint32_t i = 0; i < out->n_pinned; i++) {
        const char *key = json_string_value(json_array_get(pinned, i));
        if (lens_pack_find(pack, key, &out->pinned[i]) != 0)
            give_up("no such concept in the pack", key);
    }
    const char *tokens = json_string_value(json_object_get(out->root, "tokens"));
    snprintf(path, sizeof path, "%s/%s", directory, tokens != NULL ? tokens : "tokens.npy");
    load_npy(path, out);
    if (json_array_size(json_object_get(out->root, "rows")) != out->n_rows)
        give_up("answers and hidden states differ in number", path);
}

void expected_free(struct expected *expected)
{
    json_decref(expected->root);
    free(expected->states);
    free(expected->pinned);
    lensd_content_maps_free(&expected->maps);
}

static char sentence[512];

static const char *check_flags(const json_t *row, const struct row_answer *answer)
{
    static const char *const statuses[] = {"COMPLETE", "PARTIAL", "INVALID_INPUT"};
    const char *status = json_string_value(json_object_get(row, "status"));
    if (status != NULL && strcmp(status, statuses[answer->status]) != 0) {
        snprintf(sentence, sizeof sentence, "status %s, expected %s", statuses[answer->status], status);
        return sentence;
    }
    const json_t *flags = json_object_get(row, "flags");
    if (flags != NULL && (json_array_size(flags) != 0) != ((answer->flags & LENS_ROW_CAPPED) != 0))
        return "the CAPPED flag is not as expected";
    return NULL;
}

static const char *check_expanded(const json_t *row, const struct lens_pack *pack, const struct row_answer *answer)
{
    const json_t *expanded = json_object_get(row, "expanded");
    if (json_array_size(expanded) != answer->n_expanded) {
        snprintf(sentence, sizeof sentence, "%u expanded, expected %zu", answer->n_expanded, json_array_size(expanded));
        return sentence;
    }
    for (uint32_t i = 0; i < answer->n_expanded; i++) {
        char key[256];
        bool found = false;
        lens_pack_key(pack, answer->expanded[i], key, sizeof key);
        for (size_t k = 0; k < json_array_size(expanded); k++)
            found = found || strcmp(key, json_string_value(json_array_get(expanded, k))) == 0;
        if (!found) {
            snprintf(sentence, sizeof sentence, "%s was expanded and should not be", key);
            return sentence;
        }
    }
    return NULL;
}

/* The place of concept `id` among the expected detections, or -1. */
static long place_of(const json_t *detections, uint32_t id, const struct lens_pack *pack)
{
    char key[256];
    lens_pack_key(pack, id, key, sizeof key);
    for (size_t i = 0; i < json_array_size(detections); i++) {
        const json_t *detection = json_array_get(detections, i);
        const json_t *name = json_object_get(detection, "concept");
        if (name != NULL && strcmp(json_string_value(name), key) == 0)
            return (long)i;
    }
    return -1;
}

static double score_at(const json_t *detections, size_t i)
{
    return json_number_value(json_object_get(json_array_get(detections, i), "score"));
}

static const char *check_detection(const json_t *detections, uint32_t i, const struct lens_pack *pack,
                                   const struct lens_detection *found, double tolerance)
{
    char key[256];
    lens_pack_key(pack, found->id, key, sizeof key);
    size_t n = json_array_size(detections);
    long place = place_of(detections, found->id, pack);
    if (place < 0) {
        /* at the very edge of the list a neighbour may have swapped in */
        if (fabs((double)found->score - score_at(detections, n - 1)) <= 1e-4)
            return NULL;
        snprintf(sentence, sizeof sentence, "%s at place %u is not among the expected", key, i);
        return sentence;
    }
    const json_t *expected = json_array_get(detections, (size_t)place);
    double raw = json_number_value(json_object_get(expected, "raw"));
    double score = json_number_value(json_object_get(expected, "score"));
    if (!(fabs((double)found->raw - raw) <= tolerance) || !(fabs((double)found->score - score) <= tolerance)) {
        snprintf(sentence, sizeof sentence, "%s: raw %.9g score %.9g, expected %.9g and %.9g", key, (double)found->raw,
                 (double)found->score, raw, score);
        return sentence;
    }
    if ((size_t)place != i && fabs(score - score_at(detections, i)) > 1e-4) {
        snprintf(sentence, sizeof sentence, "%s is at place %u, expected %ld", key, i, place);
        return sentence;
    }
    return NULL;
}

const char *expected_mismatch(const struct expected *expected, uint32_t row, const struct lens_pack *pack,
                              const struct row_answer *answer, double tolerance)
{
    const json_t *right = json_array_get(json_object_get(expected->root, "rows"), row);
    const char *wrong = check_flags(right, answer);
    if (wrong != NULL || answer->status == LENS_ROW_INVALID_INPUT)
        return wrong;
    if (json_integer_value(json_object_get(right, "scored")) != (json_int_t)answer->scored) {
        snprintf(sentence, sizeof sentence, "%u scored, expected %lld", answer->scored,
                 (long long)json_integer_value(json_object_get(right, "scored")));
        return sentence;
    }
    wrong = check_expanded(right, pack, answer);
    const json_t *detections = json_object_get(right, "detections");
    if (wrong == NULL && json_array_size(detections) != answer->n_detections)
        wrong = "another number of detections than expected";
    for (uint32_t i = 0; wrong == NULL && i < answer->n_detections; i++)
        wrong = check_detection(detections, i, pack, &answer->detections[i], tolerance);
    return wrong;
}

double expected_logit(const struct expected *expected, uint32_t row, uint32_t lens)
{
    const json_t *logits = json_object_get(expected->root, "logits");
    if (logits == NULL)
        return NAN;
    return json_number_value(json_array_get(json_array_get(logits, row), lens));
}

struct lens_pack *import_for_test(const char *directory, enum lens_dtype dtype)
{
    char path[] = "/tmp/lens-test-XXXXXX";
    int fd = mkstemp(path);
    struct lens_error err = {0};
    struct lens_hatcat_options options = {.dtype = dtype, .normalize = LENS_NORMALIZE_LAYERNORM};
    struct lens_hatcat_summary summary;
    struct lens_pack *pack = NULL;
    if (fd < 0 || lens_import_hatcat(directory, path, &options, &summary, &err) != 0)
        give_up(directory, err.text);
    lens_hatcat_summary_free(&summary);
    if (lens_pack_open(path, &pack, &err) != 0)
        give_up(path, err.text);
    close(fd);
    unlink(path); /* the pack keeps its descriptor */
    return pack;
}
