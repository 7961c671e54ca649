/* Files of hidden states: what is read, and that broken or hostile ones are refused with a sentence, never read past
 * their end. lensctl is a program without a library, so the code under test is compiled in here. */
#include "client/lensctl/hidden_states.c"      /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/read_exactly.c"       /* NOLINT(bugprone-suspicious-include) */
#include "client/lensctl/safetensors_header.c" /* NOLINT(bugprone-suspicious-include) */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>

struct file {
    char path[64];
    struct hidden_states states;
    struct lens_error err;
};

static int make_file(void **state)
{
    struct file *file = calloc(1, sizeof *file);
    assert_non_null(file);
    snprintf(file->path, sizeof file->path, "/tmp/hidden-states-XXXXXX");
    int fd = mkstemp(file->path);
    assert_true(fd >= 0);
    close(fd);
    *state = file;
    return 0;
}

static int remove_file(void **state)
{
    struct file *file = *state;
    unlink(file->path);
    free(file);
    return 0;
}

static void put(const struct file *file, const void *bytes, size_t length, const char *mode)
{
    FILE *out = fopen(file->path, mode);
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, length, out), length);
    assert_int_equal(fclose(out), 0);
}

/* A .npy of format `version` with `header` as its text and `data` behind it. */
static void put_npy(const struct file *file, unsigned char version, const char *header, const void *data, size_t length)
{
    unsigned char head[12] = {0x93, 'N', 'U', 'M', 'P', 'Y', version, 0};
    size_t n = strlen(header);
    head[8] = (unsigned char)(n & 255);
    head[9] = (unsigned char)(n >> 8);
    put(file, head, version == 1 ? 10 : 12, "wb");
    put(file, header, n, "ab");
    put(file, data, length, "ab");
}

static void put_safetensors(const struct file *file, const char *header, const void *data, size_t length)
{
    unsigned char head[8] = {0};
    size_t n = strlen(header);
    head[0] = (unsigned char)(n & 255);
    head[1] = (unsigned char)(n >> 8);
    put(file, head, sizeof head, "wb");
    put(file, header, n, "ab");
    put(file, data, length, "ab");
}

static void assert_opens(struct file *file, enum lens_dtype dtype, uint64_t rows, uint32_t dim)
{
    if (hidden_states_open(file->path, &file->states, &file->err) != 0)
        fail_msg("%s", file->err.text);
    assert_int_equal(file->states.dtype, dtype);
    assert_int_equal(file->states.rows, rows);
    assert_int_equal(file->states.dim, dim);
}

/* Refused with `code`, nothing left open, and a sentence that names the file and holds `part`. */
static void assert_refused(struct file *file, int code, const char *part)
{
    memset(&file->err, 0, sizeof file->err);
    int r = hidden_states_open(file->path, &file->states, &file->err);
    if (r == 0)
        hidden_states_close(&file->states);
    assert_int_equal(r, code);
    assert_int_equal(file->states.fd, -1);
    assert_null(file->states.tokens);
    assert_non_null(strstr(file->err.text, file->path));
    if (strstr(file->err.text, part) == NULL)
        fail_msg("expected '%s' in: %s", part, file->err.text);
}

static const float six[6] = {0.5f, -1.0f, 2.0f, 3.0f, -4.0f, 0.25f};

/* ---- .npy ------------------------------------------------------------------------------------------------------- */

static void reads_f32_of_every_npy_format(void **state)
{
    struct file *file = *state;
    for (unsigned char version = 1; version <= 3; version++) {
        float row[3];
        put_npy(file, version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", six, sizeof six);
        assert_opens(file, LENS_F32, 2, 3);
        assert_int_equal(hidden_states_read(&file->states, 1, 1, row, &file->err), 0);
        assert_memory_equal(row, six + 3, sizeof row);
        assert_null(hidden_states_token(&file->states, 0));
        hidden_states_close(&file->states);
    }
}

static void reads_f16_and_one_row_without_a_second_dimension(void **state)
{
    struct file *file = *state;
    uint16_t halves[4] = {0x3c00, 0xc000, 0x0001, 0x7c00}, row[4];
    put_npy(file, 1, "{\"shape\": (4,), \"fortran_order\": False, \"descr\": \"<f2\"}", halves, sizeof halves);
    assert_opens(file, LENS_F16, 1, 4);
    assert_int_equal(hidden_states_read(&file->states, 0, 1, row, &file->err), 0);
    assert_memory_equal(row, halves, sizeof row);
    hidden_states_close(&file->states);
}

static void one_row_in_fortran_order_is_the_same_as_in_c_order(void **state)
{
    struct file *file = *state;
    put_npy(file, 1, "{'descr': '<f4', 'fortran_order': True, 'shape': (6L,), }", six, sizeof six);
    assert_opens(file, LENS_F32, 1, 6);
    hidden_states_close(&file->states);
}

static void refuses_fortran_order(void **state)
{
    struct file *file = *state;
    put_npy(file, 1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", six, sizeof six);
    assert_refused(file, -ENOTSUP, "ascontiguousarray");
}

static void refuses_other_dtypes_and_says_how_to_convert(void **state)
{
    static const struct {
        const char *descr, *part;
    } cases[] = {{"'|O'", "unpickled"},           {"'>f4'", "little-endian"}, {"'<f8'", "'<f8'"},
                 {"'<u2'", ".safetensors"},       {"'|V2'", "'|V2'"},         {"''", "found ''"},
                 {"[('a', '<f4')]", "structured"}};
    struct file *file = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char header[128];
        snprintf(header, sizeof header, "{'descr': %s, 'fortran_order': False, 'shape': (2, 3), }", cases[i].descr);
        put_npy(file, 1, header, six, sizeof six);
        assert_refused(file, -ENOTSUP, cases[i].part);
    }
}

static void refuses_shapes_that_are_no_rows(void **state)
{
    static const struct {
        const char *shape, *part;
    } cases[] = {{"()", "0 dimensions"},
                 {"(1, 2, 3)", "3 dimensions"},
                 {"(0, 3)", "no hidden states"},
                 {"(2, 0)", "no hidden states"},
                 {"(1, 1048577)", "at most 1048576"},
                 {"(3, 3)", "truncated"},
                 {"(4611686018427387904, 4)", "truncated"},
                 {"(18446744073709551615, 1048576)", "truncated"},
                 {"(18446744073709551616, 1)", "broken"},
                 {"(-1, 3)", "broken"},
                 {"(2, 3", "broken"},
                 {"(2.0, 3)", "broken"},
                 {"(1,1,1,1,1,1,1,1,1)", "broken"}};
    struct file *file = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char header[128];
        snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }", cases[i].shape);
        put_npy(file, 1, header, six, sizeof six);
        assert_refused(file, -EBADMSG, cases[i].part);
    }
}

static void refuses_headers_that_numpy_does_not_write(void **state)
{
    static const char *const cases[] = {
        "",
        "{",
        "{}",
        "{'descr': '<f4'}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'more': 1}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)",
        "{'descr': '<f4, 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '\\x3cf4', 'fortran_order': False, 'shape': (2, 3)}",
        "{'descr': '<f4aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'fortran_order': False, 'shape': (2, 3)}",
        "__import__('os')",
    };
    struct file *file = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_npy(file, 1, cases[i], six, sizeof six);
        assert_refused(file, -EBADMSG, "broken");
    }
}

static void refuses_a_header_longer_than_the_file(void **state)
{
    static const unsigned char v1[12] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, 0xff, 0xff, '{', '}'};
    static const unsigned char v2[12] = {0x93, 'N', 'U', 'M', 'P', 'Y', 2, 0, 0xff, 0xff, 0xff, 0xff};
    static const unsigned char v9[12] = {0x93, 'N', 'U', 'M', 'P', 'Y', 9, 0};
    struct file *file = *state;
    put(file, v1, sizeof v1, "wb");
    assert_refused(file, -EBADMSG, "65535 bytes long");
    put(file, v2, sizeof v2, "wb");
    assert_refused(file, -EBADMSG, "4294967295 bytes long");
    put(file, v9, sizeof v9, "wb");
    assert_refused(file, -ENOTSUP, "found 9.0");
    put(file, v1, 9, "wb");
    assert_refused(file, -EBADMSG, "truncated");
}

static void a_header_with_a_nul_byte_is_broken(void **state)
{
    struct file *file = *state;
    static const char bytes[] = "\x93NUMPY\x01\x00\x3c\x00"
                                "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\0";
    put(file, bytes, 10 + 60, "wb");
    put(file, six, sizeof six, "ab");
    assert_refused(file, -EBADMSG, "broken");
}

/* ---- .safetensors ----------------------------------------------------------------------------------------------- */

static void reads_every_safetensors_dtype(void **state)
{
    static const struct {
        const char *name;
        enum lens_dtype dtype;
        unsigned bytes;
    } cases[] = {{"F32", LENS_F32, 24}, {"F16", LENS_F16, 12}, {"BF16", LENS_BF16, 12}};
    struct file *file = *state;
    for (size_t i = 0; i < 3; i++) {
        char header[128];
        unsigned char row[12];
        snprintf(header, sizeof header,
                 "{\"hidden_states\":{\"dtype\":\"%s\",\"shape\":[2,3],\"data_offsets\":[0,%u]}}", cases[i].name,
                 cases[i].bytes);
        put_safetensors(file, header, six, cases[i].bytes);
        assert_opens(file, cases[i].dtype, 2, 3);
        assert_int_equal(hidden_states_read(&file->states, 1, 1, row, &file->err), 0);
        assert_memory_equal(row, (const char *)six + cases[i].bytes / 2, cases[i].bytes / 2);
        hidden_states_close(&file->states);
    }
}

static void takes_the_only_tensor_of_two_dimensions(void **state)
{
    struct file *file = *state;
    put_safetensors(file,
                    "{\"ids\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
                    "\"x\":{\"dtype\":\"F32\",\"shape\":[1,4],\"data_offsets\":[8,24]}}",
                    six, sizeof six);
    assert_opens(file, LENS_F32, 1, 4);
    float row[4];
    assert_int_equal(hidden_states_read(&file->states, 0, 1, row, &file->err), 0);
    assert_memory_equal(row, six + 2, sizeof row);
    hidden_states_close(&file->states);
}

static void gives_the_tokens_of_the_metadata(void **state)
{
    struct file *file = *state;
    put_safetensors(file,
                    "{\"__metadata__\":{\"tokens\":\"[\\\"a dog\\\",\\\"\\\\n\\\"]\"},"
                    "\"hidden_states\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}",
                    six, sizeof six);
    assert_opens(file, LENS_F32, 2, 3);
    assert_string_equal(hidden_states_token(&file->states, 0), "a dog");
    assert_string_equal(hidden_states_token(&file->states, 1), "\n");
    assert_null(hidden_states_token(&file->states, 2));
    hidden_states_close(&file->states);
}

static void refuses_broken_safetensors(void **state)
{
#define TENSOR(dtype, shape, offsets)                                                                                  \
    "{\"hidden_states\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
    static const struct {
        const char *header, *part;
        int code;
    } cases[] = {
        {"[]", "JSON object", -EBADMSG},
        {"{\"a\":", "JSON object", -EBADMSG},
        {"{}", "found 0 of two dimensions", -EBADMSG},
        {"{\"a\":{},\"a\":{}}", "JSON object", -EBADMSG},
        {"{\"a\":3}", "no dtype", -EBADMSG},
        {TENSOR("F64", "[1,3]", "[0,24]"), "found F64", -ENOTSUP},
        {TENSOR("F32", "[2,4]", "[0,24]"), "don't make", -EBADMSG},
        {TENSOR("F32", "[3,3]", "[0,36]"), "truncated", -EBADMSG},
        {TENSOR("F32", "[2,-3]", "[0,24]"), "whole numbers", -EBADMSG},
        {TENSOR("F32", "[2,3.0]", "[0,24]"), "whole numbers", -EBADMSG},
        {TENSOR("F32", "[4611686018427387904,4]", "[0,0]"), "too large", -EBADMSG},
        {TENSOR("F32", "[4611686018427387904,1]", "[0,0]"), "don't make", -EBADMSG},
        {TENSOR("F32", "[2,3]", "[24,0]"), "data_offsets", -EBADMSG},
        {TENSOR("F32", "[2,3]", "[0]"), "data_offsets", -EBADMSG},
        {TENSOR("F32", "[2,3]", "null"), "data_offsets", -EBADMSG},
        {TENSOR("F32", "[1,2,3]", "[0,24]"), "3 dimensions", -EBADMSG},
        {TENSOR("F32", "[1,1,1,1,1,1,1,2,3]", "[0,24]"), "at most 8", -EBADMSG},
        {TENSOR("F32", "[0,3]", "[0,0]"), "no hidden states", -EBADMSG},
        {"{\"__metadata__\":{\"a\":1}}", "not a string", -EBADMSG},
        {"{\"__metadata__\":[]}", "object of strings", -EBADMSG},
    };
#undef TENSOR
    struct file *file = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_safetensors(file, cases[i].header, six, sizeof six);
        assert_refused(file, cases[i].code, cases[i].part);
    }
}

static void refuses_tokens_that_do_not_fit_the_rows(void **state)
{
    static const char *const lists[] = {"[\\\"one\\\"]", "[1,2]", "no json", "{}"};
    struct file *file = *state;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        char header[256];
        snprintf(header, sizeof header,
                 "{\"__metadata__\":{\"tokens\":\"%s\"},\"x\":{\"dtype\":\"F32\",\"shape\":[2,3],"
                 "\"data_offsets\":[0,24]}}",
                 lists[i]);
        put_safetensors(file, header, six, sizeof six);
        assert_refused(file, -EBADMSG, "JSON list of 2 texts");
    }
}

static void refuses_a_safetensors_header_longer_than_the_file(void **state)
{
    static const unsigned char huge[10] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'};
    static const unsigned char empty[8] = {0};
    struct file *file = *state;
    put(file, huge, sizeof huge, "wb");
    assert_refused(file, -EBADMSG, "18446744073709551615");
    put(file, empty, sizeof empty, "wb");
    assert_refused(file, -EBADMSG, "the length 0");
    put(file, huge, 7, "wb");
    assert_refused(file, -EBADMSG, "only 7 bytes");
    put(file, huge, 0, "wb");
    assert_refused(file, -EBADMSG, "only 0 bytes");
}

/* ---- both ------------------------------------------------------------------------------------------------------- */

static void refuses_what_is_not_a_file(void **state)
{
    struct file *file = *state;
    struct hidden_states states;
    assert_int_equal(hidden_states_open("/tmp", &states, &file->err), -EINVAL);
    assert_int_equal(hidden_states_open("/tmp/no such file", &states, &file->err), -ENOENT);
    assert_non_null(strstr(file->err.text, "/tmp/no such file"));
}

static void a_file_that_shrinks_is_an_error_and_not_a_signal(void **state)
{
    struct file *file = *state;
    float row[3];
    put_npy(file, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", six, sizeof six);
    assert_opens(file, LENS_F32, 2, 3);
    assert_int_equal(truncate(file->path, 80), 0);
    assert_int_equal(hidden_states_read(&file->states, 1, 1, row, &file->err), -EIO);
    assert_non_null(strstr(file->err.text, "shorter"));
    assert_int_equal(hidden_states_read(&file->states, 1, 2, row, &file->err), -EINVAL);
    hidden_states_close(&file->states);
}

/* Every prefix of good files, and every byte of their headers changed: refused or read, never more. */
static void survives_every_cut_and_every_changed_byte(void **state)
{
    static const char npy[] = "\x93NUMPY\x01\x00\x3a\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3)}\n";
    char safetensors[256] = {0};
    static const char header[] = "{\"hidden_states\":{\"dtype\":\"F32\",\"shape\":[1,3],\"data_offsets\":[0,12]}}";
    struct file *file = *state;
    safetensors[0] = (char)strlen(header);
    memcpy(safetensors + 8, header, sizeof header);
    const char *files[] = {npy, safetensors};
    const size_t lengths[] = {sizeof npy - 1 + 12, 8 + strlen(header) + 12};
    for (unsigned f = 0; f < 2; f++) {
        for (size_t i = 0; i < 2 * lengths[f]; i++) {
            char bytes[256] = {0};
            float rows[64];
            memcpy(bytes, files[f], lengths[f] - 12);
            if (i >= lengths[f])
                bytes[i - lengths[f]] = (char)(unsigned char)((unsigned char)bytes[i - lengths[f]] ^ (1 + i * 7 % 255));
            put(file, bytes, i < lengths[f] ? i : lengths[f], "wb");
            if (hidden_states_open(file->path, &file->states, &file->err) != 0)
                continue;
            assert_true(i >= lengths[f]); /* no cut file is read */
            assert_true(file->states.rows * file->states.dim <= 64);
            assert_int_equal(hidden_states_read(&file->states, 0, (uint32_t)file->states.rows, rows, &file->err), 0);
            hidden_states_close(&file->states);
        }
    }
}

int main(void)
{
#define WITH_FILE(f) cmocka_unit_test_setup_teardown(f, make_file, remove_file)
    const struct CMUnitTest tests[] = {
        WITH_FILE(reads_f32_of_every_npy_format),
        WITH_FILE(reads_f16_and_one_row_without_a_second_dimension),
        WITH_FILE(one_row_in_fortran_order_is_the_same_as_in_c_order),
        WITH_FILE(refuses_fortran_order),
        WITH_FILE(refuses_other_dtypes_and_says_how_to_convert),
        WITH_FILE(refuses_shapes_that_are_no_rows),
        WITH_FILE(refuses_headers_that_numpy_does_not_write),
        WITH_FILE(refuses_a_header_longer_than_the_file),
        WITH_FILE(a_header_with_a_nul_byte_is_broken),
        WITH_FILE(reads_every_safetensors_dtype),
        WITH_FILE(takes_the_only_tensor_of_two_dimensions),
        WITH_FILE(gives_the_tokens_of_the_metadata),
        WITH_FILE(refuses_broken_safetensors),
        WITH_FILE(refuses_tokens_that_do_not_fit_the_rows),
        WITH_FILE(refuses_a_safetensors_header_longer_than_the_file),
        WITH_FILE(refuses_what_is_not_a_file),
        WITH_FILE(a_file_that_shrinks_is_an_error_and_not_a_signal),
        WITH_FILE(survives_every_cut_and_every_changed_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
