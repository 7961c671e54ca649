/* Writing packs: what comes back, where it stands in the file, and that nothing half-written is ever left behind. */
#include "proto/pack_replace.h"
#include "proto/pack_writer.h"
#include "proto/quantize.h"
#include "proto/safetensors.h"
#include "tests/unit/support/pack_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const enum lens_dtype dtypes[] = {LENS_F32, LENS_BF16, LENS_I8, LENS_LOG8};

struct place {
    char folder[64], file[96];
};

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    temp_folder(place->folder);
    snprintf(place->file, sizeof place->file, "%s/a.pack", place->folder);
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

static struct lens_pack *must_open(const char *path)
{
    struct lens_pack *pack = NULL;
    struct lens_error err = {0};
    if (lens_pack_open(path, &pack, &err) != 0)
        fail_msg("%s", err.text);
    return pack;
}

static void must_write(const struct small_pack *small, const char *path)
{
    struct lens_error err = {0};
    if (small_pack_write(small, path, &err) != 0)
        fail_msg("%s", err.text);
}

/* What must be stored for one row of W1. */
static void check_row(const struct lens_pack *pack, uint32_t lens, uint32_t row, const float *w, const char *w1,
                      const char *signs)
{
    const size_t table_row = (size_t)lens * SMALL_H1 + row;
    const size_t at = (size_t)row * SMALL_DIM;
    uint8_t codes[SMALL_DIM];
    uint8_t sign[(SMALL_DIM + 7) / 8];
    float low;
    float high;
    switch (pack->w1_dtype) {
    case LENS_F32:
        assert_memory_equal(w1 + at * 4, w, SMALL_DIM * 4);
        break;
    case LENS_BF16:
        for (uint32_t i = 0; i < SMALL_DIM; i++) {
            uint16_t stored;
            memcpy(&stored, w1 + (at + i) * 2, 2);
            assert_int_equal(stored, lens_bf16_from_f32(w[i]));
        }
        break;
    case LENS_I8:
        lens_int8_encode(w, SMALL_DIM, (int8_t *)codes, &low);
        assert_memory_equal(w1 + at, codes, SMALL_DIM);
        assert_true(pack->w1_scale[table_row] == low);
        break;
    default:
        lens_log8_encode(w, SMALL_DIM, codes, sign, &low, &high);
        assert_memory_equal(w1 + at, codes, SMALL_DIM);
        assert_memory_equal(signs + row * sizeof sign, sign, sizeof sign);
        assert_true(pack->w1_log_min[table_row] == low && pack->w1_log_max[table_row] == high);
    }
}

static void check_lens(const struct lens_pack *pack, uint32_t i, const struct small_lens *lens)
{
    char w1[SMALL_H1 * SMALL_DIM * 4 + 1];
    char signs[SMALL_H1 * 2 + 1];
    struct lens_error err = {0};
    memset(w1, 0x5a, sizeof w1);
    memset(signs, 0x5a, sizeof signs);
    assert_int_equal(lens_pack_read_w1(pack, i, 1, w1, signs, &err), 0);
    assert_int_equal(w1[pack->w1_lens_bytes], 0x5a);
    assert_int_equal(signs[pack->w1_sign_bytes], 0x5a);
    for (uint32_t row = 0; row < SMALL_H1; row++)
        check_row(pack, i, row, lens->w1 + (size_t)row * SMALL_DIM, w1, signs);
    for (uint32_t k = 0; k < SMALL_H2 * SMALL_H1; k++) {
        if (pack->w2_dtype == LENS_F32)
            assert_true(((const float *)pack->w2)[i * SMALL_H2 * SMALL_H1 + k] == lens->w2[k]);
        else
            assert_int_equal(((const uint16_t *)pack->w2)[i * SMALL_H2 * SMALL_H1 + k],
                             lens_bf16_from_f32(lens->w2[k]));
    }
    assert_memory_equal(pack->b1 + (size_t)i * SMALL_H1, lens->b1, sizeof lens->b1);
    assert_memory_equal(pack->b2 + (size_t)i * SMALL_H2, lens->b2, sizeof lens->b2);
    assert_memory_equal(pack->w3 + (size_t)i * SMALL_H2, lens->w3, sizeof lens->w3);
    assert_true(pack->b3[i] == lens->b3);
    assert_true(lens_pack_lens_intact(pack, i, w1, signs));
    w1[3] ^= 1;
    assert_false(lens_pack_lens_intact(pack, i, w1, signs));
}

static void a_pack_of_each_dtype_reads_back_as_it_was_given(void **state)
{
    const struct place *place = *state;
    for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++) {
        struct small_pack small;
        struct lens_error err = {0};
        small_pack_fill(&small, dtypes[d], 7);
        must_write(&small, place->file);
        struct lens_pack *pack = must_open(place->file);
        assert_int_equal(pack->lenses, SMALL_LENSES);
        assert_int_equal(pack->dim, SMALL_DIM);
        assert_int_equal(pack->h1, SMALL_H1);
        assert_int_equal(pack->h2, SMALL_H2);
        assert_int_equal(pack->w1_dtype, dtypes[d]);
        assert_int_equal(pack->w2_dtype, dtypes[d] == LENS_F32 ? LENS_F32 : LENS_BF16);
        assert_memory_equal(pack->parent, small.parent, sizeof small.parent);
        assert_memory_equal(pack->child_offsets, small.child_offsets, sizeof small.child_offsets);
        assert_memory_equal(pack->child_ids, small.child_ids, 5 * sizeof *small.child_ids);
        assert_memory_equal(pack->layer, small.layer, sizeof small.layer);
        assert_memory_equal(pack->role, small.role, sizeof small.role);
        assert_memory_equal(pack->names, small.names, 7);
        for (uint32_t i = 0; i < SMALL_LENSES; i++) {
            check_lens(pack, i, &small.lens[i]);
            assert_int_equal(lens_pack_calibrated(pack, i), i == 1 || i == 2);
        }
        assert_memory_equal(pack->calibration + LENS_CALIBRATION_FIELDS, small.calibration + LENS_CALIBRATION_FIELDS,
                            2 * LENS_CALIBRATION_FIELDS * sizeof(float));
        assert_string_equal(pack->meta.model_id, "test/model");
        assert_string_equal(pack->meta.source, "random weights");
        assert_string_equal(pack->meta.tap_layer, "");
        assert_int_equal(strlen(pack->meta.created), strlen("2025-01-01T00:00:00Z"));
        assert_int_equal(pack->meta.normalize, LENS_NORMALIZE_LAYERNORM);
        assert_int_equal(lens_pack_verify(pack, NULL, NULL, &err), 0);
        lens_pack_close(pack);
        assert_int_equal(count_names(place->folder), 1);
    }
}

static void w1_comes_first_on_a_page_and_the_rest_by_falling_element_size(void **state)
{
    const struct place *place = *state;
    for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++) {
        struct small_pack small;
        struct st_header header;
        struct lens_error err = {0};
        size_t length;
        small_pack_fill(&small, dtypes[d], 8);
        must_write(&small, place->file);
        free(read_file(place->file, &length));
        int fd = open(place->file, O_RDONLY);
        assert_int_equal(st_header_read(fd, length, 1 << 20, &header, &err), 0);
        close(fd);
        assert_int_equal(header.data_start % 4096, 0);
        assert_string_equal(header.tensors[0].name, "w1");
        for (size_t i = 2; i < header.count; i++)
            assert_true(st_dtype_bytes(header.tensors[i].dtype) <= st_dtype_bytes(header.tensors[i - 1].dtype));
        assert_string_equal(st_header_get(&header, "format"), "lens-pack");
        assert_string_equal(st_header_get(&header, "version"), "1");
        assert_string_equal(st_header_get(&header, "hidden_dim"), "13");
        assert_string_equal(st_header_get(&header, "normalize"), "layernorm:1e-5");
        st_header_free(&header);
    }
}

static void the_same_plan_gives_the_same_bytes(void **state)
{
    const struct place *place = *state;
    struct small_pack small;
    size_t lengths[2];
    unsigned char *bytes[2];
    small_pack_fill(&small, LENS_LOG8, 9);
    small.plan.meta.created = (char *)"2025-01-01T00:00:00Z";
    for (int i = 0; i < 2; i++) {
        must_write(&small, place->file);
        bytes[i] = read_file(place->file, &lengths[i]);
    }
    assert_int_equal(lengths[0], lengths[1]);
    assert_memory_equal(bytes[0], bytes[1], lengths[0]);
    free(bytes[0]);
    free(bytes[1]);
}

static void a_weight_that_is_not_finite_is_refused_with_its_lens_and_place(void **state)
{
    const struct place *place = *state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t d = 0; d < 4 * 3; d++) {
        struct small_pack small;
        struct lens_error err = {0};
        small_pack_fill(&small, dtypes[d % 4], 10);
        small.lens[3].w1[2 * SMALL_DIM + 5] = bad[d / 4];
        assert_int_equal(small_pack_write(&small, place->file, &err), -EDOM);
        assert_non_null(strstr(err.text, "lens C:1: w1[2,5] is "));
        assert_int_equal(count_names(place->folder), 0);
    }
}

static void every_tensor_is_looked_at_for_numbers_that_are_not_finite(void **state)
{
    const struct place *place = *state;
    static const char *const names[] = {"w1[5,12]", "b1[0,5]", "w2[2,5]", "b2[0,2]", "w3[0,2]", "b3[0,0]"};
    for (int i = 0; i < 6; i++) {
        struct small_pack small;
        struct lens_error err = {0};
        small_pack_fill(&small, LENS_F32, 11);
        struct small_lens *lens = &small.lens[0];
        float *last[] = {&lens->w1[SMALL_H1 * SMALL_DIM - 1],
                         &lens->b1[SMALL_H1 - 1],
                         &lens->w2[SMALL_H2 * SMALL_H1 - 1],
                         &lens->b2[SMALL_H2 - 1],
                         &lens->w3[SMALL_H2 - 1],
                         &lens->b3};
        *last[i] = NAN;
        assert_int_equal(small_pack_write(&small, place->file, &err), -EDOM);
        assert_non_null(strstr(err.text, names[i]));
    }
}

static void a_weight_that_bf16_can_not_hold_is_refused(void **state)
{
    const struct place *place = *state;
    struct small_pack small;
    struct lens_error err = {0};
    small_pack_fill(&small, LENS_BF16, 12);
    small.lens[0].w1[1] = FLT_MAX;
    assert_int_equal(small_pack_write(&small, place->file, &err), -EDOM);
    assert_non_null(strstr(err.text, "w1[0,1] = 3.40282e+38 is too large for bf16"));
    small_pack_fill(&small, LENS_I8, 12);
    small.lens[4].w2[7] = -FLT_MAX;
    assert_int_equal(small_pack_write(&small, place->file, &err), -EDOM);
    assert_non_null(strstr(err.text, "lens D:2: w2[1,1]"));
}

static void an_older_pack_stays_as_it_was_when_writing_fails(void **state)
{
    const struct place *place = *state;
    struct small_pack small;
    struct lens_error err = {0};
    size_t before_length;
    size_t after_length;
    small_pack_fill(&small, LENS_F32, 13);
    must_write(&small, place->file);
    unsigned char *before = read_file(place->file, &before_length);
    small.lens[5].b3 = NAN;
    assert_int_equal(small_pack_write(&small, place->file, &err), -EDOM);
    unsigned char *after = read_file(place->file, &after_length);
    assert_int_equal(before_length, after_length);
    assert_memory_equal(before, after, before_length);
    assert_int_equal(count_names(place->folder), 1);
    free(before);
    free(after);
}

static void finish_wants_every_lens_once(void **state)
{
    const struct place *place = *state;
    struct small_pack small;
    struct lens_pack_writer *writer;
    struct lens_error err = {0};
    small_pack_fill(&small, LENS_F32, 14);
    assert_int_equal(lens_pack_writer_create(place->file, &small.plan, &writer, &err), 0);
    struct lens_weights weights = small_weights(&small.lens[0]);
    for (uint32_t i = 0; i < SMALL_LENSES - 1; i++)
        assert_int_equal(lens_pack_writer_add(writer, &weights, &err), 0);
    assert_int_equal(count_names(place->folder), 1); /* the temporary */
    assert_int_equal(access(place->file, F_OK), -1);
    assert_int_equal(lens_pack_writer_finish(writer, &err), -EINVAL);
    assert_non_null(strstr(err.text, "only 5 of 6 lenses"));
    assert_int_equal(count_names(place->folder), 0);
    assert_int_equal(lens_pack_writer_create(place->file, &small.plan, &writer, &err), 0);
    for (uint32_t i = 0; i < SMALL_LENSES; i++)
        assert_int_equal(lens_pack_writer_add(writer, &weights, &err), 0);
    assert_int_equal(lens_pack_writer_add(writer, &weights, &err), -ERANGE);
    lens_pack_writer_abort(writer);
    assert_int_equal(count_names(place->folder), 0);
    lens_pack_writer_abort(NULL);
}

static void expect_refused(const struct small_pack *small, const char *path, const char *sentence)
{
    struct lens_pack_writer *writer = (struct lens_pack_writer *)1;
    struct lens_error err = {0};
    int rc = lens_pack_writer_create(path, &small->plan, &writer, &err);
    if (rc >= 0 || strstr(err.text, sentence) == NULL)
        fail_msg("gave %d \"%s\", expected \"%s\"", rc, err.text, sentence);
    assert_null(writer);
    assert_int_equal(err.code, rc);
}

static struct small_pack *fresh(struct small_pack *small)
{
    small_pack_fill(small, LENS_F32, 15);
    return small;
}

static void impossible_plans_are_refused_before_anything_is_written(void **state)
{
    const struct place *place = *state;
    struct small_pack small;
    fresh(&small)->plan.lenses = 0;
    expect_refused(&small, place->file, "1 to 1048576 lenses");
    fresh(&small)->plan.dim = 0;
    expect_refused(&small, place->file, "D is 0");
    fresh(&small)->plan.h2 = 70000;
    expect_refused(&small, place->file, "H2 is 70000");
    fresh(&small)->plan.w1_dtype = LENS_F16;
    expect_refused(&small, place->file, "no pack stores w1 as f16");
    fresh(&small)->child_ids[4] = 6;
    expect_refused(&small, place->file, "has child 6");
    fresh(&small)->child_ids[0] = 3;
    expect_refused(&small, place->file, "not ascending");
    fresh(&small)->child_ids[3] = 0;
    expect_refused(&small, place->file, "has parent 2, which doesn't list it");
    fresh(&small)->child_ids[3] = 0;
    small.parent[4] = -1;
    expect_refused(&small, place->file, "cycle");
    fresh(&small)->parent[0] = 6;
    expect_refused(&small, place->file, "has parent 6");
    fresh(&small)->child_offsets[3] = 2;
    expect_refused(&small, place->file, "child_offsets falls");
    fresh(&small)->child_offsets[6] = -1;
    expect_refused(&small, place->file, "below 0");
    fresh(&small)->role[5] = 4;
    expect_refused(&small, place->file, "role 4");
    fresh(&small)->names[1] = '\n';
    expect_refused(&small, place->file, "control characters");
    fresh(&small)->names[5] = 'x';
    expect_refused(&small, place->file, "not UTF-8");
    fresh(&small)->name_offsets[1] = 0;
    expect_refused(&small, place->file, "has 0 bytes");
    fresh(&small)->names[1] = 'A';
    expect_refused(&small, place->file, "two lenses have the key A:0");
    fresh(&small)->calibration[3] = 1;
    expect_refused(&small, place->file, "calibration of lens 0");
    fresh(&small)->calibration[8] = INFINITY;
    expect_refused(&small, place->file, "calibration of lens 1");
    fresh(&small)->plan.meta.source = (char *)"\xff";
    expect_refused(&small, place->file, "metadata string");
    assert_int_equal(count_names(place->folder), 0);
}

static void a_disk_without_room_says_so_and_keeps_nothing(void **state)
{
    const struct place *place = *state;
    struct rlimit old;
    struct small_pack small;
    struct lens_error err = {0};
    small_pack_fill(&small, LENS_F32, 16);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct rlimit low = {.rlim_cur = 2000, .rlim_max = old.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    int rc = small_pack_write(&small, place->file, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(rc, -EFBIG);
    assert_non_null(strstr(err.text, "File too large"));
    assert_int_equal(count_names(place->folder), 0);
}

static void only_a_file_is_replaced(void **state)
{
    (void)state;
    char folder[] = "/tmp/lensd-replace-XXXXXX", path[64];
    struct pack_replacement replacement;
    struct lens_error err = {0};
    struct stat st;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(pack_replacement_begin(&replacement, path, 1, &err), -EEXIST);
    assert_non_null(strstr(err.text, "is a pipe"));
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    assert_int_equal(pack_replacement_begin(&replacement, folder, 1, &err), -EISDIR);
    assert_int_equal(pack_replacement_begin(&replacement, "/dev/null", 1, &err), -EEXIST);
    assert_non_null(strstr(err.text, "is a device"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void a_folder_that_is_not_there_is_named(void **state)
{
    const struct place *place = *state;
    struct small_pack small;
    char path[160];
    struct lens_error err = {0};
    small_pack_fill(&small, LENS_F32, 17);
    snprintf(path, sizeof path, "%s/none/a.pack", place->folder);
    assert_int_equal(small_pack_write(&small, path, &err), -ENOENT);
    assert_non_null(strstr(err.text, path));
    /* and a target that can't be replaced */
    snprintf(path, sizeof path, "%s/folder", place->folder);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(small_pack_write(&small, path, &err), -EISDIR);
    assert_int_equal(count_names(place->folder), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pack_of_each_dtype_reads_back_as_it_was_given, setup, teardown),
        cmocka_unit_test_setup_teardown(w1_comes_first_on_a_page_and_the_rest_by_falling_element_size, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_plan_gives_the_same_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_weight_that_is_not_finite_is_refused_with_its_lens_and_place, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_tensor_is_looked_at_for_numbers_that_are_not_finite, setup, teardown),
        cmocka_unit_test_setup_teardown(a_weight_that_bf16_can_not_hold_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(an_older_pack_stays_as_it_was_when_writing_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(finish_wants_every_lens_once, setup, teardown),
        cmocka_unit_test_setup_teardown(impossible_plans_are_refused_before_anything_is_written, setup, teardown),
        cmocka_unit_test_setup_teardown(a_disk_without_room_says_so_and_keeps_nothing, setup, teardown),
        cmocka_unit_test(only_a_file_is_replaced),
        cmocka_unit_test_setup_teardown(a_folder_that_is_not_there_is_named, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
