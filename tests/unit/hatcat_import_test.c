/* Importing HatCat packs: order, hierarchy, folding, calibration and weights against independent float64 answers, in
 * every directory layout; and refusals that name the file. */
#include "proto/import/hatcat.h"
#include "proto/quantize.h"
#include "tests/unit/support/expected.h"
#include "tests/unit/support/pack_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIXTURES "tests/fixtures/"
#define SMALL    FIXTURES "hatcat-small"

struct place {
    char folder[64], pack[96], copy[96];
};

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    temp_folder(place->folder);
    snprintf(place->pack, sizeof place->pack, "%s/out.pack", place->folder);
    snprintf(place->copy, sizeof place->copy, "%s/copy", place->folder);
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    remove_folder(place->folder);
    free(place);
    return 0;
}

/* ------------------------------------------------------------------------------------------ evaluating a pack's lens
 */

static void decode_row(const struct lens_pack *pack, uint32_t lens, uint32_t row, const char *w1, const char *sign,
                       float *out)
{
    const size_t at = (size_t)row * pack->dim;
    const size_t table = (size_t)lens * pack->h1 + row;
    if (pack->w1_dtype == LENS_LOG8) {
        lens_log8_decode((const uint8_t *)w1 + at, (const uint8_t *)sign + row * (((size_t)pack->dim + 7) / 8),
                         pack->dim, pack->w1_log_min[table], pack->w1_log_max[table], out);
        return;
    }
    for (uint32_t i = 0; i < pack->dim; i++) {
        uint16_t half;
        if (pack->w1_dtype == LENS_F32)
            memcpy(&out[i], w1 + (at + i) * 4, 4);
        if (pack->w1_dtype == LENS_I8)
            out[i] = pack->w1_scale[table] * (float)(int8_t)w1[at + i];
        if (pack->w1_dtype == LENS_BF16) {
            memcpy(&half, w1 + (at + i) * 2, 2);
            out[i] = lens_f32_from_bf16(half);
        }
    }
}

static double w2_at(const struct lens_pack *pack, size_t place)
{
    return pack->w2_dtype == LENS_F32 ? (double)((const float *)pack->w2)[place]
                                      : (double)lens_f32_from_bf16(((const uint16_t *)pack->w2)[place]);
}

static void normalise(const float *x, uint32_t dim, double *out)
{
    double mean = 0;
    double variance = 0;
    for (uint32_t i = 0; i < dim; i++)
        mean += (double)x[i] / dim;
    for (uint32_t i = 0; i < dim; i++)
        variance += ((double)x[i] - mean) * ((double)x[i] - mean) / dim;
    for (uint32_t i = 0; i < dim; i++)
        out[i] = ((double)x[i] - mean) / sqrt(variance + 1e-5);
}

/* w1[h1,dim] already decoded. */
static double logit_of(const struct lens_pack *pack, uint32_t lens, const float *w1, const double *x)
{
    double hidden[128];
    double logit = (double)pack->b3[lens];
    for (uint32_t r = 0; r < pack->h1; r++) {
        double sum = (double)pack->b1[(size_t)lens * pack->h1 + r];
        for (uint32_t i = 0; i < pack->dim; i++)
            sum += (double)w1[(size_t)r * pack->dim + i] * x[i];
        hidden[r] = sum > 0 ? sum : 0;
    }
    for (uint32_t r = 0; r < pack->h2; r++) {
        const size_t row = (size_t)lens * pack->h2 + r;
        double sum = (double)pack->b2[row];
        for (uint32_t i = 0; i < pack->h1; i++)
            sum += w2_at(pack, row * pack->h1 + i) * hidden[i];
        logit += sum > 0 ? sum * (double)pack->w3[row] : 0;
    }
    return logit;
}

/* The largest |logit - expected| over all lenses and rows. */
static double worst_logit_error(const struct lens_pack *pack, const struct expected *expected)
{
    char *stored = malloc(pack->w1_lens_bytes);
    char *sign = malloc(pack->w1_sign_bytes + 1);
    float *w1 = malloc((size_t)pack->h1 * pack->dim * sizeof *w1);
    double *x = malloc(pack->dim * sizeof *x);
    double worst = 0;
    assert_int_equal(expected->dim, pack->dim);
    for (uint32_t lens = 0; lens < pack->lenses; lens++) {
        assert_int_equal(lens_pack_read_w1(pack, lens, 1, stored, sign, NULL), 0);
        for (uint32_t row = 0; row < pack->h1; row++)
            decode_row(pack, lens, row, stored, sign, w1 + (size_t)row * pack->dim);
        for (uint32_t row = 0; row < expected->n_rows; row++) {
            normalise((const float *)expected->states + (size_t)row * pack->dim, pack->dim, x);
            double error = fabs(logit_of(pack, lens, w1, x) - expected_logit(expected, row, lens));
            assert_false(isnan(error));
            worst = fmax(worst, error);
        }
    }
    free(x);
    free(w1);
    free(sign);
    free(stored);
    return worst;
}

/* -------------------------------------------------------------------------------------------------------- answers */

static void check_keys(const struct lens_pack *pack, const json_t *root)
{
    const json_t *keys = json_object_get(root, "keys");
    const json_t *parents = json_object_get(root, "parents");
    assert_int_equal(json_array_size(keys), pack->lenses);
    for (uint32_t i = 0; i < pack->lenses; i++) {
        char key[256];
        lens_pack_key(pack, i, key, sizeof key);
        assert_string_equal(key, json_string_value(json_array_get(keys, i)));
        const json_t *parent = json_array_get(parents, i);
        if (json_is_string(parent)) {
            lens_pack_key(pack, (uint32_t)pack->parent[i], key, sizeof key);
            assert_string_equal(key, json_string_value(parent));
        } else {
            assert_int_equal(pack->parent[i], json_is_null(parent) ? -1 : json_integer_value(parent));
        }
    }
}

static void check_children_and_calibration(const struct lens_pack *pack, const json_t *root)
{
    const json_t *children = json_object_get(root, "children");
    const json_t *calibration = json_object_get(root, "calibration");
    for (uint32_t i = 0; i < pack->lenses; i++) {
        const json_t *own = json_array_get(children, i);
        assert_int_equal(json_array_size(own), lens_pack_child_count(pack, i));
        for (size_t k = 0; k < json_array_size(own); k++)
            assert_int_equal(pack->child_ids[(size_t)pack->child_offsets[i] + k],
                             json_integer_value(json_array_get(own, k)));
        const json_t *row = json_array_get(calibration, i);
        assert_int_equal(lens_pack_calibrated(pack, i), json_is_array(row));
        for (size_t k = 0; k < json_array_size(row); k++)
            assert_true(pack->calibration[(size_t)i * LENS_CALIBRATION_FIELDS + k] ==
                        (float)json_number_value(json_array_get(row, k)));
    }
}

static void order_hierarchy_and_calibration_are_as_an_independent_reader_finds_them(void **state)
{
    (void)state;
    json_t *root = json_load_file(SMALL "/expected-pack.json", 0, NULL);
    assert_non_null(root);
    struct lens_pack *pack = import_for_test(SMALL, LENS_F32);
    check_keys(pack, root);
    check_children_and_calibration(pack, root);
    lens_pack_close(pack);
    json_decref(root);
}

static void check_logits(const char *directory, enum lens_dtype dtype, double tolerance)
{
    struct expected expected;
    struct lens_pack *pack = import_for_test(directory, dtype);
    struct lens_error err = {0};
    expected_load(directory, "expected-threshold.json", pack, &expected);
    check_keys(pack, expected.root);
    double worst = worst_logit_error(pack, &expected);
    print_message("%s as %s: worst logit error %.2g\n", directory, lens_dtype_name(dtype), worst);
    assert_true(worst <= tolerance);
    assert_int_equal(lens_pack_verify(pack, NULL, NULL, &err), 0);
    expected_free(&expected);
    lens_pack_close(pack);
}

static void logits_of_every_lens_are_right_in_every_dtype(void **state)
{
    (void)state;
    check_logits(SMALL, LENS_F32, 1e-5);
    check_logits(SMALL, LENS_BF16, 0.05);
    check_logits(SMALL, LENS_I8, 0.15);
    check_logits(SMALL, LENS_LOG8, 0.2);
}

static void the_shared_mini_pack_gives_its_logits(void **state)
{
    (void)state;
    char directory[4096];
    const char *shared = getenv("LENSD_SHARED");
    snprintf(directory, sizeof directory, "%s/data/hatcat-mini", shared != NULL ? shared : "../shared");
    if (access(directory, R_OK) != 0) {
        print_message("skipped: no %s; set LENSD_SHARED\n", directory);
        skip();
    }
    check_logits(directory, LENS_F32, 1e-4);
}

/* --------------------------------------------------------------------------------------------------------- layouts */

static int import(const char *directory, const char *out, struct lens_hatcat_summary *summary, struct lens_error *err)
{
    const struct lens_hatcat_options options = {.dtype = LENS_F32, .normalize = LENS_NORMALIZE_LAYERNORM};
    memset(summary, 0x5a, sizeof *summary);
    return lens_import_hatcat(directory, out, &options, summary, err);
}

static void same_lens(const struct lens_pack *a, uint32_t i, const struct lens_pack *b, uint32_t k)
{
    char *w1[2] = {malloc(a->w1_lens_bytes), malloc(b->w1_lens_bytes)};
    assert_int_equal(lens_pack_read_w1(a, i, 1, w1[0], NULL, NULL), 0);
    assert_int_equal(lens_pack_read_w1(b, k, 1, w1[1], NULL, NULL), 0);
    assert_memory_equal(w1[0], w1[1], a->w1_lens_bytes);
    assert_memory_equal((const float *)a->w2 + (size_t)i * a->h2 * a->h1,
                        (const float *)b->w2 + (size_t)k * a->h2 * a->h1, (size_t)a->h2 * a->h1 * sizeof(float));
    assert_memory_equal(a->b1 + (size_t)i * a->h1, b->b1 + (size_t)k * a->h1, a->h1 * sizeof(float));
    assert_memory_equal(a->b2 + (size_t)i * a->h2, b->b2 + (size_t)k * a->h2, a->h2 * sizeof(float));
    assert_memory_equal(a->w3 + (size_t)i * a->h2, b->w3 + (size_t)k * a->h2, a->h2 * sizeof(float));
    assert_true(a->b3[i] == b->b3[k]);
    free(w1[0]);
    free(w1[1]);
}

/* Every lens of `directory` is that of hatcat-small with the same key. */
static void check_layout(const char *directory, const char *const *keys, uint32_t count)
{
    struct lens_pack *small = import_for_test(SMALL, LENS_F32);
    struct lens_pack *pack = import_for_test(directory, LENS_F32);
    assert_int_equal(pack->lenses, count);
    for (uint32_t i = 0; i < count; i++) {
        char key[256];
        uint32_t same;
        lens_pack_key(pack, i, key, sizeof key);
        assert_string_equal(key, keys[i]);
        assert_int_equal(lens_pack_find(small, key, &same), 0);
        same_lens(pack, i, small, same);
    }
    lens_pack_close(pack);
    lens_pack_close(small);
}

static void activation_folders_and_banks_hold_the_same_lenses(void **state)
{
    (void)state;
    static const char *const activation[] = {"Matter:0", "Liquid:1", "Oil:2", "Water:2", "Ice:3", "Steam:3"};
    static const char *const bank[] = {"Number:0",  "Quantity:1", "Shape:1",  "Fraction:2",
                                       "Integer:2", "Angle:2",    "Circle:3", "Prime:3"};
    check_layout(FIXTURES "hatcat-activation", activation, 6);
    check_layout(FIXTURES "hatcat-flat", activation, 6);
    check_layout(FIXTURES "hatcat-bank", bank, 8);
}

static void the_summary_counts_what_was_odd(void **state)
{
    const struct place *place = *state;
    struct lens_hatcat_summary summary;
    struct lens_error err = {0};
    struct stat info;
    assert_int_equal(import(SMALL, place->pack, &summary, &err), 0);
    assert_int_equal(stat(place->pack, &info), 0);
    assert_int_equal(summary.lenses, 70);
    assert_int_equal(summary.dim, 40);
    assert_int_equal(summary.h1, 32);
    assert_int_equal(summary.h2, 16);
    assert_int_equal(summary.max_layer, 4);
    assert_int_equal(summary.with_layernorm, 23);
    assert_int_equal(summary.calibrated, 47);
    assert_int_equal(summary.source_f32 + summary.source_f16 + summary.source_bf16, 70);
    assert_true(summary.source_f32 > 0 && summary.source_f16 > 0 && summary.source_bf16 > 0);
    assert_int_equal(summary.concepts_without_lens, 3);
    assert_int_equal(summary.lenses_not_listed, 1);
    assert_int_equal(summary.several_parents, 2);
    assert_int_equal(summary.unreachable, 1);
    assert_string_equal(summary.unreachable_keys[0], "Stray:2");
    assert_int_equal(summary.bytes_written, info.st_size);
    lens_hatcat_summary_free(&summary);
    lens_hatcat_summary_free(&summary);
}

static void metadata_comes_from_the_json_files(void **state)
{
    const struct place *place = *state;
    static const char pack_json[] =
        "{\"model_info\":{\"model_id\":\"org/model\",\"tap_layer\":17,\"tap_point\":\"after\","
        "\"hidden_dim\":40},\"version\":\"2\",\"big\":[1,2]}";
    char path[160];
    struct lens_hatcat_summary summary;
    struct lens_pack *pack;
    struct lens_error err = {0};
    copy_folder(SMALL, place->copy);
    snprintf(path, sizeof path, "%s/pack.json", place->copy);
    write_file(path, pack_json, sizeof pack_json - 1);
    assert_int_equal(import(place->copy, place->pack, &summary, &err), 0);
    lens_hatcat_summary_free(&summary);
    assert_int_equal(lens_pack_open(place->pack, &pack, &err), 0);
    assert_string_equal(pack->meta.model_id, "org/model");
    assert_string_equal(pack->meta.tap_layer, "17");
    assert_string_equal(pack->meta.tap_point, "after");
    assert_non_null(strstr(pack->meta.source, "version=2"));
    assert_non_null(strstr(pack->meta.source, "pack_info.json: source_pack=small-tree"));
    lens_pack_close(pack);
}

/* -------------------------------------------------------------------------------------------------------- refusals */

/* Copies hatcat-small, puts `bad` in place of `name`, and expects a sentence with both parts; no file is left. */
static void expect_refused_with(const struct place *place, const char *bad, const char *name, const char *part,
                                const char *other_part)
{
    char target[200];
    struct lens_hatcat_summary summary;
    struct lens_error err = {0};
    copy_folder(SMALL, place->copy);
    snprintf(target, sizeof target, "%s/%s", place->copy, name);
    copy_file(bad, target);
    int rc = import(place->copy, place->pack, &summary, &err);
    if (rc >= 0 || strstr(err.text, part) == NULL || strstr(err.text, other_part) == NULL)
        fail_msg("gave %d \"%s\", expected \"%s\" and \"%s\"", rc, err.text, part, other_part);
    assert_int_equal(summary.lenses, 0);
    assert_null(summary.unreachable_keys);
    assert_int_equal(count_names(place->folder), 1); /* the copy only */
    remove_folder(place->copy);
}

static void a_bad_lens_file_is_named_and_nothing_is_left_behind(void **state)
{
    const struct place *place = *state;
#define BAD FIXTURES "bad/"
    const char *lens = "layer0/Mind.pt";
    if (access(SMALL "/layer0/Mind.pt", R_OK) != 0)
        lens = "layer0/Mind_classifier.pt";
    expect_refused_with(place, BAD "nan-weight.pt", lens, lens, "tensor 0.weight holds nan at [3,5]");
    expect_refused_with(place, BAD "missing-tensor.pt", lens, lens, "6.bias is missing");
    expect_refused_with(place, BAD "int64.pt", lens, lens, "LongStorage");
    expect_refused_with(place, BAD "truncated.pt", lens, lens, "cut off");
    expect_refused_with(place, BAD "legacy.pt", lens, lens, "legacy format");
    expect_refused_with(place, BAD "forbidden-global.pt", lens, lens, "os.system");
    expect_refused_with(place, BAD "empty.pt", lens, lens, "0 bytes");
    /* another D: both files are named */
    expect_refused_with(place, BAD "wrong-d.pt", lens, lens, "D=40, H1=32, H2=16 by ");
    expect_refused_with(place, BAD "wrong-d.pt", lens, "[32,39] and should have [32,40]", "Echo");
}

static void write_text(const struct place *place, const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", place->copy, name);
    write_file(path, text, strlen(text));
}

static void expect_refused_json(const struct place *place, const char *name, const char *text, const char *sentence)
{
    struct lens_hatcat_summary summary;
    struct lens_error err = {0};
    copy_folder(SMALL, place->copy);
    write_text(place, name, text);
    int rc = import(place->copy, place->pack, &summary, &err);
    if (rc >= 0 || strstr(err.text, sentence) == NULL || strstr(err.text, name) == NULL)
        fail_msg("%s gave %d \"%s\", expected \"%s\"", text, rc, err.text, sentence);
    remove_folder(place->copy);
}

static void bad_json_is_named_with_its_line_or_key(void **state)
{
    const struct place *place = *state;
    expect_refused_json(place, "hierarchy.json", "{", "line 1 is not JSON");
    expect_refused_json(place, "hierarchy.json", "[]", "should hold a JSON object");
    expect_refused_json(place, "hierarchy.json", "{\"child_to_parent\":{\"A\":\"B:0\"}}",
                        "\"A\" should read \"Name:layer\"");
    expect_refused_json(place, "hierarchy.json", "{\"child_to_parent\":{\"A:256\":\"B:0\"}}", "layer of 0 to 255");
    expect_refused_json(place, "hierarchy.json", "{\"child_to_parent\":{\"A:-1\":\"B:0\"}}", "layer of 0 to 255");
    expect_refused_json(place, "hierarchy.json", "{\"child_to_parent\":{\"A:1\":5}}", "is no text");
    expect_refused_json(place, "hierarchy.json", "{\"child_to_parent\":{\":1\":\"B:0\"}}", "is empty");
    expect_refused_json(place, "hierarchy.json", "{\"child_to_parent\":{\"A\\u0007:1\":\"B:0\"}}",
                        "control characters");
    expect_refused_json(place, "hierarchy.json", "{\"parent_to_children\":{\"A:1\":\"B:2\"}}", "is no list");
    expect_refused_json(place, "hierarchy.json", "{\"child_to_parent\":{\"A:1\":\"B:0\",\"A:1\":\"C:0\"}}",
                        "duplicate");
    expect_refused_json(place, "calibration.json", "{\"calibration\":{\"Mind_L0\":{\"self_mean\":\"x\"}}}",
                        "self_mean of Mind_L0 is no finite number");
    expect_refused_json(place, "calibration.json", "{\"calibration\":{\"Mind_L0\":3}}", "Mind_L0 is no object");
    expect_refused_json(place, "pack.json", "{\"lens_paths\":{\"activation_lenses\":\"../other\"}}", "inside the pack");
    expect_refused_json(place, "pack.json", "{\"lens_paths\":{\"activation_lenses\":\"/etc\"}}", "inside the pack");
    expect_refused_json(place, "bank_index.json", "{\"Mind:0\":{\"bank_path\":\"banks/../../x.pt\"}}",
                        "inside the pack");
    expect_refused_json(place, "bank_index.json", "{\"Mind:0\":{}}", "inside the pack");
}

static void a_hidden_dim_that_the_lenses_do_not_have_is_refused(void **state)
{
    const struct place *place = *state;
    struct lens_hatcat_summary summary;
    struct lens_error err = {0};
    copy_folder(SMALL, place->copy);
    write_text(place, "pack.json", "{\"model_info\":{\"hidden_dim\":41}}");
    assert_int_equal(import(place->copy, place->pack, &summary, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "says hidden_dim 41, but "));
    assert_non_null(strstr(err.text, "has D=40"));
}

static void a_cycle_is_refused_with_its_concepts(void **state)
{
    const struct place *place = *state;
    struct lens_hatcat_summary summary;
    struct lens_error err = {0};
    assert_int_equal(import(FIXTURES "bad/cycle", place->pack, &summary, &err), -ELOOP);
    assert_non_null(strstr(err.text, "Hen:1 <- Egg:2"));
    assert_non_null(strstr(err.text, "hierarchy.json"));
    /* also among concepts that have no lens themselves */
    copy_folder(SMALL, place->copy);
    write_text(place, "hierarchy.json", "{\"child_to_parent\":{\"Mind:0\":\"X:0\",\"X:0\":\"Y:0\",\"Y:0\":\"X:0\"}}");
    assert_int_equal(import(place->copy, place->pack, &summary, &err), -ELOOP);
    assert_non_null(strstr(err.text, ":0 is its own ancestor"));
}

static void a_layernorm_is_refused_when_nothing_normalises(void **state)
{
    const struct place *place = *state;
    const struct lens_hatcat_options options = {.dtype = LENS_F32, .normalize = LENS_NORMALIZE_NONE};
    struct lens_hatcat_summary summary;
    struct lens_error err = {0};
    assert_int_equal(lens_import_hatcat(SMALL, place->pack, &options, &summary, &err), -EINVAL);
    assert_non_null(strstr(err.text, "has its own LayerNorm"));
    assert_int_equal(count_names(place->folder), 0);
}

static void a_directory_without_lenses_says_what_was_expected(void **state)
{
    const struct place *place = *state;
    struct lens_hatcat_summary summary;
    struct lens_error err = {0};
    assert_int_equal(import(place->folder, place->pack, &summary, &err), -ENODATA);
    assert_non_null(strstr(err.text, "expected layer{N}/{Concept}.pt"));
    assert_int_equal(import("tests/fixtures/none", place->pack, &summary, &err), -ENOENT);
    assert_non_null(strstr(err.text, "tests/fixtures/none"));
}

static void a_plain_name_wins_over_classifier_and_layers_over_individual(void **state)
{
    const struct place *place = *state;
    char path[200];
    struct lens_hatcat_summary summary;
    struct lens_error err = {0};
    copy_folder(SMALL, place->copy);
    const bool plain = access(SMALL "/layer0/Mind.pt", R_OK) == 0;
    if (plain) { /* then the other name, broken, must not be looked at */
        write_text(place, "layer0/Mind_classifier.pt", "broken");
    } else {
        snprintf(path, sizeof path, "%s/layer0/Mind.pt", place->copy);
        copy_file(SMALL "/layer0/Mind_classifier.pt", path);
        write_text(place, "layer0/Mind_classifier.pt", "broken");
    }
    snprintf(path, sizeof path, "%s/individual", place->copy);
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(path, sizeof path, "%s/individual/layer0", place->copy);
    assert_int_equal(mkdir(path, 0777), 0);
    write_text(place, "individual/layer0/Mind.pt", "broken");
    if (import(place->copy, place->pack, &summary, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(summary.lenses, 70);
    lens_hatcat_summary_free(&summary);
}

static void count_progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
    assert_string_equal(what, "lenses");
    assert_int_equal(++*(uint64_t *)arg, done);
    assert_int_equal(total, 70);
}

static void progress_counts_lenses(void **state)
{
    const struct place *place = *state;
    uint64_t calls = 0;
    const struct lens_hatcat_options options = {LENS_BF16, LENS_NORMALIZE_LAYERNORM, count_progress, &calls};
    struct lens_hatcat_summary summary;
    struct lens_error err = {0};
    assert_int_equal(lens_import_hatcat(SMALL, place->pack, &options, &summary, &err), 0);
    assert_int_equal(calls, 70);
    lens_hatcat_summary_free(&summary);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_hierarchy_and_calibration_are_as_an_independent_reader_finds_them),
        cmocka_unit_test(logits_of_every_lens_are_right_in_every_dtype),
        cmocka_unit_test(the_shared_mini_pack_gives_its_logits),
        cmocka_unit_test(activation_folders_and_banks_hold_the_same_lenses),
        cmocka_unit_test_setup_teardown(the_summary_counts_what_was_odd, setup, teardown),
        cmocka_unit_test_setup_teardown(metadata_comes_from_the_json_files, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_lens_file_is_named_and_nothing_is_left_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_json_is_named_with_its_line_or_key, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hidden_dim_that_the_lenses_do_not_have_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cycle_is_refused_with_its_concepts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_layernorm_is_refused_when_nothing_normalises, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_without_lenses_says_what_was_expected, setup, teardown),
        cmocka_unit_test_setup_teardown(a_plain_name_wins_over_classifier_and_layers_over_individual, setup, teardown),
        cmocka_unit_test_setup_teardown(progress_counts_lenses, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
