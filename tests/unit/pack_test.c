/* Reading packs: every damaged or hostile file is refused with a sentence, and none can crash the reader. */
#include "proto/pack.h"
#include "proto/pack_tables.h"
#include "proto/safetensors.h"
#include "tests/unit/support/pack_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct place {
    char folder[64], file[96];
    unsigned char *bytes; /* of a sound pack, log8: it has every kind of table */
    size_t length;
};

static int setup_dtype(void **state, enum lens_dtype dtype)
{
    struct place *place = calloc(1, sizeof *place);
    struct small_pack small;
    temp_folder(place->folder);
    snprintf(place->file, sizeof place->file, "%s/a.pack", place->folder);
    small_pack_fill(&small, dtype, 3);
    if (small_pack_write(&small, place->file, NULL) != 0)
        return -1;
    place->bytes = read_file(place->file, &place->length);
    *state = place;
    return 0;
}

static int setup(void **state)
{
    return setup_dtype(state, LENS_LOG8);
}

static int setup_int8(void **state)
{
    return setup_dtype(state, LENS_I8);
}

static int teardown(void **state)
{
    struct place *place = *state;
    remove_folder(place->folder);
    free(place->bytes);
    free(place);
    return 0;
}

/* Opens the file as it is now; fails the test when `sentence` (if any) isn't in the refusal. */
static void expect_refused(const struct place *place, const char *sentence)
{
    struct lens_pack *pack = (struct lens_pack *)1;
    struct lens_error err = {0};
    int rc = lens_pack_open(place->file, &pack, &err);
    if (rc >= 0 || (sentence != NULL && strstr(err.text, sentence) == NULL))
        fail_msg("gave %d \"%s\", expected \"%s\"", rc, err.text, sentence != NULL ? sentence : "a refusal");
    assert_null(pack);
    assert_int_equal(err.code, rc);
    assert_non_null(strstr(err.text, place->file));
}

static struct lens_pack *must_open(const struct place *place)
{
    struct lens_pack *pack = NULL;
    struct lens_error err = {0};
    if (lens_pack_open(place->file, &pack, &err) != 0)
        fail_msg("%s", err.text);
    return pack;
}

static void a_pack_cut_off_at_any_byte_is_refused(void **state)
{
    struct place *place = *state;
    for (size_t length = 0; length < place->length; length++) {
        write_file(place->file, place->bytes, length);
        expect_refused(place, NULL);
    }
    write_file(place->file, place->bytes, place->length);
    lens_pack_close(must_open(place));
}

static void a_pack_with_any_byte_changed_is_refused_or_fails_its_checksum(void **state)
{
    struct place *place = *state;
    unsigned refused = 0;
    unsigned caught = 0;
    for (size_t i = 0; i < place->length; i++) {
        struct lens_pack *pack = NULL;
        struct lens_error err = {0};
        place->bytes[i] ^= 0x11;
        write_file(place->file, place->bytes, place->length);
        place->bytes[i] ^= 0x11;
        int rc = lens_pack_open(place->file, &pack, &err);
        if (rc == 0)
            rc = lens_pack_verify(pack, NULL, NULL, &err);
        if (rc == 0)
            fail_msg("byte %zu may change without being noticed", i);
        refused += pack == NULL;
        caught += pack != NULL;
        assert_true(err.text[0] != '\0');
        lens_pack_close(pack);
    }
    print_message("%u refused at open, %u by checksum\n", refused, caught);
    assert_true(refused > 3000 && caught > 1000);
}

static void random_damage_never_crashes_the_reader(void **state)
{
    struct place *place = *state;
    unsigned seed = (unsigned)time(NULL);
    print_message("seed %u\n", seed);
    unsigned char *bytes = malloc(place->length);
    for (int round = 0; round < 2000; round++) {
        struct lens_pack *pack = NULL;
        struct lens_error err = {0};
        memcpy(bytes, place->bytes, place->length);
        for (int n = rand_r(&seed) % 8; n >= 0; n--) {
            size_t at = (size_t)rand_r(&seed) % (n % 2 ? place->length : 1600);
            bytes[at] = (unsigned char)(n % 3 ? rand_r(&seed) : "0123456789[]{},:\""[rand_r(&seed) % 17]);
        }
        write_file(place->file, bytes, place->length);
        if (lens_pack_open(place->file, &pack, &err) == 0)
            lens_pack_verify(pack, NULL, NULL, &err);
        lens_pack_close(pack);
    }
    free(bytes);
}

/* ------------------------------------------------------------------------------------------------- hostile headers */

static size_t header_length(const struct place *place)
{
    uint64_t length;
    memcpy(&length, place->bytes, 8);
    return (size_t)length;
}

/* Writes the pack with another header. */
static void write_header(const struct place *place, const json_t *root)
{
    char *text = json_dumps(root, JSON_COMPACT);
    size_t data = 8 + header_length(place);
    size_t text_length = strlen(text);
    uint64_t length = text_length;
    unsigned char *bytes = malloc(8 + text_length + place->length - data);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, text, text_length);
    memcpy(bytes + 8 + text_length, place->bytes + data, place->length - data);
    write_file(place->file, bytes, 8 + text_length + place->length - data);
    free(bytes);
    free(text);
}

static json_t *parse_header(const struct place *place)
{
    json_t *root = json_loadb((const char *)place->bytes + 8, header_length(place), 0, NULL);
    assert_non_null(root);
    return root;
}

static void a_header_without_padding_opens_just_as_well(void **state)
{
    struct place *place = *state;
    struct lens_error err = {0};
    json_t *root = parse_header(place);
    write_header(place, root);
    json_decref(root);
    struct lens_pack *pack = must_open(place);
    assert_true(pack->w1_offset % 4096 != 0);
    assert_int_equal(lens_pack_verify(pack, NULL, NULL, &err), 0);
    lens_pack_close(pack);
}

static void each_table_must_be_there(void **state)
{
    struct place *place = *state;
    json_t *root = parse_header(place);
    const char *name;
    json_t *value;
    unsigned tables = 0;
    json_object_foreach(root, name, value)
    {
        json_t *copy = json_copy(root);
        json_object_del(copy, name);
        write_header(place, copy);
        json_decref(copy);
        expect_refused(place, NULL); /* a hole, or a missing table, or missing metadata */
        tables++;
    }
    assert_int_equal(tables, 1 + 18);
    json_decref(root);
}

static void each_table_must_have_its_own_dtype_and_shape(void **state)
{
    struct place *place = *state;
    json_t *root = parse_header(place);
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value)
    {
        json_t *copy = json_deep_copy(root);
        json_t *shape = json_object_get(json_object_get(copy, name), "shape");
        if (strcmp(name, "__metadata__") != 0) {
            json_array_append_new(shape, json_integer(1)); /* as many bytes, another shape */
            write_header(place, copy);
            expect_refused(place, name);
        }
        json_decref(copy);
    }
    json_t *copy = json_deep_copy(root);
    json_object_set_new(json_object_get(copy, "parent"), "dtype", json_string("F32"));
    write_header(place, copy);
    expect_refused(place, "tensor parent is F32 and should be I32");
    json_decref(copy);
    json_decref(root);
}

static void set_metadata(const struct place *place, const char *key, const char *value, const char *sentence)
{
    json_t *root = parse_header(place);
    json_t *metadata = json_object_get(root, "__metadata__");
    if (value != NULL)
        json_object_set_new(metadata, key, json_string(value));
    else
        json_object_del(metadata, key);
    write_header(place, root);
    json_decref(root);
    expect_refused(place, sentence);
}

static void metadata_must_say_what_this_version_reads(void **state)
{
    struct place *place = *state;
    set_metadata(place, "format", "other", "\"format\" should be \"lens-pack\" and is \"other\"");
    set_metadata(place, "format", NULL, "is absent");
    set_metadata(place, "version", "2", "\"version\" should be \"1\" and is \"2\"");
    set_metadata(place, "hidden_dim", "14", "\"hidden_dim\" should be \"13\"");
    set_metadata(place, "normalize", "layernorm:1e-6", "\"normalize\" is \"layernorm:1e-6\"");
    set_metadata(place, "model_id", "a\033[2Jb", "control characters");
}

static void a_tensor_that_does_not_belong_is_refused(void **state)
{
    struct place *place = *state;
    json_t *root = parse_header(place);
    json_t *names = json_object_get(root, "names");
    json_int_t end = json_integer_value(json_array_get(json_object_get(names, "data_offsets"), 1));
    json_object_set_new(root, "extra",
                        json_pack("{s:s,s:[i],s:[I,I]}", "dtype", "U8", "shape", 0, "data_offsets", end, end));
    write_header(place, root);
    json_decref(root);
    expect_refused(place, "tensor extra does not belong");
}

static void a_sparse_file_of_absurd_sizes_is_refused_without_allocating_them(void **state)
{
    struct place *place = *state;
    const char *json =
        "{\"__metadata__\":{\"format\":\"lens-pack\",\"version\":\"1\",\"hidden_dim\":\"1\",\"normalize\":"
        "\"none\"},\"w1\":{\"dtype\":\"U8\",\"shape\":[1099511627776,1,1],\"data_offsets\":[0,1099511627776]},"
        "\"w2\":{\"dtype\":\"F32\",\"shape\":[0,1,1],\"data_offsets\":[1099511627776,1099511627776]},"
        "\"child_ids\":{\"dtype\":\"I32\",\"shape\":[0],\"data_offsets\":[1099511627776,1099511627776]},"
        "\"names\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1099511627776,1099511627776]}}";
    uint64_t length = strlen(json);
    int fd = open(place->file, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, &length, 8), 8);
    assert_int_equal(write(fd, json, length), length);
    int sparse = ftruncate(fd, (off_t)(8 + length + (UINT64_C(1) << 40)));
    close(fd);
    if (sparse != 0)
        skip(); /* this file system has no files of 1 TiB */
    expect_refused(place, "lenses is 1099511627776");
}

/* -------------------------------------------------------------------------------------------------- hostile tables */

static unsigned char *table(const struct place *place, const char *name)
{
    struct st_header header;
    size_t at = 0;
    struct lens_error err = {0};
    char path[160];
    snprintf(path, sizeof path, "%s/sound", place->folder);
    write_file(path, place->bytes, place->length);
    int fd = open(path, O_RDONLY);
    assert_int_equal(st_header_read(fd, place->length, 1 << 20, &header, &err), 0);
    close(fd);
    for (size_t i = 0; i < header.count; i++)
        if (strcmp(header.tensors[i].name, name) == 0)
            at = (size_t)(header.data_start + header.tensors[i].begin);
    st_header_free(&header);
    assert_true(at != 0);
    return place->bytes + at;
}

static void expect_bad_bytes(struct place *place, const char *name, size_t offset, size_t size, const void *value,
                             const char *sentence)
{
    unsigned char *at = table(place, name) + offset;
    unsigned char old[8];
    memcpy(old, at, size);
    memcpy(at, value, size);
    write_file(place->file, place->bytes, place->length);
    memcpy(at, old, size);
    expect_refused(place, sentence);
}

static void expect_bad_entry(struct place *place, const char *name, size_t entry, size_t size, const void *value,
                             const char *sentence)
{
    expect_bad_bytes(place, name, entry * size, size, value, sentence);
}

static void expect_bad_int(struct place *place, const char *name, size_t entry, int32_t value, const char *sentence)
{
    expect_bad_entry(place, name, entry, sizeof value, &value, sentence);
}

static void a_hierarchy_that_can_not_be_is_refused(void **state)
{
    struct place *place = *state;
    expect_bad_int(place, "parent", 0, 6, "lens 0 has parent 6");
    expect_bad_int(place, "parent", 0, -2, "lens 0 has parent -2");
    expect_bad_int(place, "parent", 4, 1, "doesn't list it as a child");
    expect_bad_int(place, "parent", 1, 1, "doesn't list it as a child");
    expect_bad_int(place, "child_offsets", 0, 1, "starts with 1");
    expect_bad_int(place, "child_offsets", 2, 2, "falls from 3 to 2");
    expect_bad_int(place, "child_offsets", 6, 4, "falls from 5 to 4");
    expect_bad_int(place, "child_offsets", 6, 6, "ends at 6");
    expect_bad_int(place, "child_offsets", 6, INT32_MAX, "ends at 2147483647");
    expect_bad_int(place, "child_ids", 0, -1, "has child -1");
    expect_bad_int(place, "child_ids", 4, 6, "has child 6");
    expect_bad_int(place, "child_ids", 0, 3, "not ascending");
    expect_bad_int(place, "child_ids", 2, 0, "not ascending");
}

static void a_cycle_is_refused(void **state)
{
    struct place *place = *state;
    /* A -> B -> D becomes A -> B -> A, and D a root. */
    int32_t root = -1;
    memcpy(table(place, "parent") + 16, &root, 4);
    expect_bad_int(place, "child_ids", 3, 0, "cycle");
}

static void names_that_can_not_be_are_refused(void **state)
{
    struct place *place = *state;
    expect_bad_int(place, "name_offsets", 1, 0, "name of lens 0 has 0 bytes");
    expect_bad_int(place, "name_offsets", 3, -5, "falls from 2 to -5");
    expect_bad_entry(place, "names", 0, 1, "\n", "control characters");
    expect_bad_entry(place, "names", 0, 1, "\x7f", "control characters");
    expect_bad_entry(place, "names", 6, 1, "A", "not UTF-8");
    expect_bad_entry(place, "names", 4, 1, "\xe2", "not UTF-8");
    expect_bad_bytes(place, "names", 5, 2, "\xc0\x80", "not UTF-8");
    expect_bad_bytes(place, "names", 5, 2, "\xc2\x9b", "control characters"); /* CSI, as one character */
    expect_bad_entry(place, "names", 1, 1, "A", "two lenses have the key A:0");
}

static void numbers_that_can_not_be_are_refused(void **state)
{
    struct place *place = *state;
    const float nan_value = NAN;
    const float one = 1;
    const float huge = 1e30f;
    static const char *const tables[] = {"b1", "b2", "w3", "b3", "w1_log_min", "w1_log_max"};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        expect_bad_entry(place, tables[i], 2, 4, &nan_value, tables[i]);
    expect_bad_entry(place, "w2", 3, 2, "\x80\x7f", "w2 of lens 0");
    expect_bad_entry(place, "w1_log_min", 1, 4, &huge, "above its w1_log_max");
    expect_bad_entry(place, "calibration", 0, 4, &one, "calibration of lens 0");
    expect_bad_entry(place, "calibration", 10, 4, &nan_value, "calibration of lens 1");
    expect_bad_entry(place, "role", 2, 1, "\x04", "role 4");
}

static void a_number_that_is_not_finite_is_found_wherever_it_stands(void **state)
{
    (void)state;
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    float values[700];
    for (size_t i = 0; i < 700; i++)
        values[i] = i % 2 ? -FLT_MAX : 0x1p-149f;
    assert_int_equal(pack_first_not_finite(values, 700), 700);
    assert_int_equal(pack_first_not_finite(values, 0), 0);
    for (size_t at = 0; at < 700; at++) {
        const float old = values[at];
        values[at] = bad[at % 4];
        values[699] = NAN;
        assert_int_equal(pack_first_not_finite(values, 700), at);
        assert_int_equal(pack_first_not_finite(values, at), at); /* it is outside */
        values[699] = 1;
        values[at] = old;
    }
}

static void a_negative_scale_is_refused(void **state)
{
    struct place *place = *state;
    const float minus = -1;
    expect_bad_entry(place, "w1_scale", 35, 4, &minus, "w1_scale of lens 5 is negative");
}

/* ----------------------------------------------------------------------------------------------------- reading it */

static void what_is_no_regular_file_is_refused(void **state)
{
    struct place *place = *state;
    unlink(place->file);
    expect_refused(place, "No such file");
    assert_int_equal(mkfifo(place->file, 0600), 0);
    expect_refused(place, "not a regular file"); /* and at once: nobody writes to it */
    unlink(place->file);
    assert_int_equal(mkdir(place->file, 0700), 0);
    expect_refused(place, "not a regular file");
}

static void ranges_of_w1_read_as_lens_by_lens(void **state)
{
    struct place *place = *state;
    struct lens_pack *pack = must_open(place);
    struct lens_error err = {0};
    const size_t w1 = pack->w1_lens_bytes;
    const size_t sign = pack->w1_sign_bytes;
    char all[2][SMALL_LENSES * SMALL_DIM * SMALL_H1];
    char signs[2][SMALL_LENSES * 2 * SMALL_H1];
    memset(all, 1, sizeof all);
    memset(signs, 2, sizeof signs);
    assert_int_equal(w1, SMALL_DIM * SMALL_H1);
    assert_int_equal(sign, 2 * SMALL_H1);
    assert_int_equal(lens_pack_read_w1(pack, 0, SMALL_LENSES, all[0], signs[0], &err), 0);
    for (uint32_t i = 0; i < SMALL_LENSES; i++)
        assert_int_equal(lens_pack_read_w1(pack, i, 1, all[1] + i * w1, signs[1] + i * sign, &err), 0);
    assert_memory_equal(all[0], all[1], SMALL_LENSES * w1);
    assert_memory_equal(signs[0], signs[1], SMALL_LENSES * sign);
    assert_int_equal(lens_pack_read_w1(pack, 6, 0, NULL, NULL, &err), 0);
    assert_int_equal(lens_pack_read_w1(pack, 6, 1, all[0], signs[0], &err), -ERANGE);
    assert_int_equal(lens_pack_read_w1(pack, 3, UINT32_MAX, all[0], signs[0], &err), -ERANGE);
    lens_pack_close(pack);
}

static void a_file_that_shrinks_after_open_costs_an_error_not_a_signal(void **state)
{
    struct place *place = *state;
    struct lens_pack *pack = must_open(place);
    struct lens_error err = {0};
    char w1[SMALL_DIM * SMALL_H1];
    char sign[2 * SMALL_H1];
    assert_int_equal(truncate(place->file, 4096 + 10), 0);
    assert_int_equal(lens_pack_read_w1(pack, 0, 1, w1, sign, &err), -EIO);
    assert_non_null(strstr(err.text, "the file ends at byte 4106"));
    assert_int_equal(lens_pack_verify(pack, NULL, NULL, &err), -EIO);
    lens_pack_close(pack);
}

static void verify_names_the_lens_that_was_damaged(void **state)
{
    struct place *place = *state;
    struct lens_error err = {0};
    place->bytes[4096 + 4 * SMALL_DIM * SMALL_H1] ^= 1;
    write_file(place->file, place->bytes, place->length);
    struct lens_pack *pack = must_open(place);
    assert_int_equal(lens_pack_verify(pack, NULL, NULL, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "lens 4 (D:2)"));
    lens_pack_close(pack);
}

static void count_progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
    assert_string_equal(what, "lenses");
    assert_int_equal(++*(uint64_t *)arg, done);
    assert_int_equal(total, SMALL_LENSES);
}

static void verify_tells_how_far_it_is(void **state)
{
    struct place *place = *state;
    struct lens_error err = {0};
    uint64_t calls = 0;
    struct lens_pack *pack = must_open(place);
    assert_int_equal(lens_pack_verify(pack, count_progress, &calls, &err), 0);
    assert_int_equal(calls, SMALL_LENSES);
    lens_pack_close(pack);
}

static void keys_are_found_with_and_without_layer(void **state)
{
    struct place *place = *state;
    struct small_pack small;
    char key[16];
    uint32_t length;
    small_pack_fill(&small, LENS_F32, 5);
    memcpy(small.names, "AFBBDB", 6); /* B:1, then F:0 .. B:2 */
    small.names[2] = 'B';
    small.names[3] = 'C';
    small.names[5] = 'B';
    small.name_offsets[6] = 6;
    assert_int_equal(small_pack_write(&small, place->file, NULL), 0);
    struct lens_pack *pack = must_open(place);
    static const struct {
        const char *key;
        int rc;
        uint32_t lens;
    } cases[] = {{"A", 0, 0},        {"A:0", 0, 0},       {"A:1", -ENOENT, 9}, {"B:1", 0, 2},
                 {"B:2", 0, 5},      {"B", -ENOTUNIQ, 9}, {"D:2", 0, 4},       {"", -ENOENT, 9},
                 {":0", -ENOENT, 9}, {"A:", -ENOENT, 9},  {"A:00", 0, 0},      {"A:256", -ENOENT, 9},
                 {"ZZ", -ENOENT, 9}, {"A:x", -ENOENT, 9}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t lens = 9;
        if (lens_pack_find(pack, cases[i].key, &lens) != cases[i].rc || lens != cases[i].lens)
            fail_msg("%s gave %u", cases[i].key, lens);
    }
    assert_int_equal(lens_pack_key(pack, 5, key, sizeof key), 3);
    assert_string_equal(key, "B:2");
    assert_int_equal(lens_pack_key(pack, 5, key, 2), 3);
    assert_string_equal(key, "B");
    assert_memory_equal(lens_pack_name(pack, 4, &length), "D", 1);
    assert_int_equal(length, 1);
    assert_int_equal(lens_pack_child_count(pack, 0), 3);
    lens_pack_close(pack);
}

static int setup_f32(void **state)
{
    return setup_dtype(state, LENS_F32);
}

static int setup_bf16(void **state)
{
    return setup_dtype(state, LENS_BF16);
}

static void weights_that_are_not_finite_fail_verification_though_their_checksum_holds(void **state)
{
    struct place *place = *state;
    struct lens_pack *pack = NULL;
    struct lens_error err = {0};
    static unsigned char w1[SMALL_H1 * SMALL_DIM * 4];
    static const uint16_t nan_bits[2] = {0x7fc0, 0x7fc0}; /* a NaN in either dtype */
    assert_int_equal(lens_pack_open(place->file, &pack, &err), 0);
    int fd = open(place->file, O_WRONLY);
    assert_int_equal(pwrite(fd, nan_bits, sizeof nan_bits, (off_t)(pack->w1_offset + 2 * pack->w1_lens_bytes + 20)), 4);
    close(fd);
    assert_int_equal(lens_pack_read_w1(pack, 2, 1, w1, NULL, &err), 0);
    const char *w2 = (const char *)pack->w2 + 2 * (size_t)SMALL_H2 * SMALL_H1 * lens_dtype_bytes(pack->w2_dtype);
    pack->checksum[2] = (int64_t)pack_lens_checksum(pack, 2, w1, NULL, w2);
    assert_int_equal(lens_pack_verify(pack, NULL, NULL, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "NaN"));
    lens_pack_close(pack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pack_cut_off_at_any_byte_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pack_with_any_byte_changed_is_refused_or_fails_its_checksum, setup, teardown),
        cmocka_unit_test_setup_teardown(random_damage_never_crashes_the_reader, setup, teardown),
        cmocka_unit_test_setup_teardown(a_header_without_padding_opens_just_as_well, setup, teardown),
        cmocka_unit_test_setup_teardown(each_table_must_be_there, setup, teardown),
        cmocka_unit_test_setup_teardown(weights_that_are_not_finite_fail_verification_though_their_checksum_holds,
                                        setup_f32, teardown),
        cmocka_unit_test_setup_teardown(weights_that_are_not_finite_fail_verification_though_their_checksum_holds,
                                        setup_bf16, teardown),
        cmocka_unit_test_setup_teardown(each_table_must_have_its_own_dtype_and_shape, setup, teardown),
        cmocka_unit_test_setup_teardown(metadata_must_say_what_this_version_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tensor_that_does_not_belong_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sparse_file_of_absurd_sizes_is_refused_without_allocating_them, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_hierarchy_that_can_not_be_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cycle_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(names_that_can_not_be_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_that_can_not_be_are_refused, setup, teardown),
        cmocka_unit_test(a_number_that_is_not_finite_is_found_wherever_it_stands),
        cmocka_unit_test_setup_teardown(a_negative_scale_is_refused, setup_int8, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_regular_file_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(ranges_of_w1_read_as_lens_by_lens, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_shrinks_after_open_costs_an_error_not_a_signal, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_names_the_lens_that_was_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_tells_how_far_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_are_found_with_and_without_layer, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
