/* The safetensors header: what is written reads back, and everything unsound is refused with a sentence that names it.
 */
#include "proto/safetensors.h"
#include "tests/unit/support/pack_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Writes header `json` with `data` bytes behind it and reads it again. */
static int read_header(const char *json, uint64_t length, size_t data, struct st_header *out, struct lens_error *err)
{
    char path[] = "/tmp/lens-test-XXXXXX";
    int fd = mkstemp(path);
    unsigned char prefix[8];
    assert_true(fd >= 0);
    unlink(path);
    for (int i = 0; i < 8; i++)
        prefix[i] = (unsigned char)(length >> (8 * i));
    assert_int_equal(write(fd, prefix, 8), 8);
    assert_int_equal(write(fd, json, strlen(json)), strlen(json));
    assert_int_equal(ftruncate(fd, (off_t)(8 + strlen(json) + data)), 0);
    memset(out, 0x5a, sizeof *out);
    int rc = st_header_read(fd, 8 + strlen(json) + data, 1 << 20, out, err);
    close(fd);
    return rc;
}

static void a_written_header_reads_back(void **state)
{
    (void)state;
    const struct st_tensor tensors[] = {
        {.name = "a", .dtype = ST_F32, .dims = 2, .shape = {2, 3}, .begin = 0, .end = 24},
        {.name = "b", .dtype = ST_I64, .dims = 1, .shape = {1}, .begin = 24, .end = 32},
        {.name = "c", .dtype = ST_BF16, .dims = 3, .shape = {1, 2, 3}, .begin = 32, .end = 44},
        {.name = "none", .dtype = ST_I32, .dims = 1, .shape = {0}, .begin = 44, .end = 44},
    };
    const struct st_entry metadata[] = {{(char *)"k", (char *)"quote \" and \xc3\xa9"}, {(char *)"z", (char *)""}};
    char *bytes;
    size_t length;
    struct st_header header;
    struct lens_error err = {0};
    assert_int_equal(st_header_format(tensors, 4, metadata, 2, 4096, &bytes, &length), 0);
    assert_int_equal(length, 4096);
    bytes = realloc(bytes, length + 1);
    bytes[length] = '\0';
    assert_int_equal(read_header(bytes + 8, 4088, 44, &header, &err), 0);
    free(bytes);
    assert_int_equal(header.data_start, 4096);
    assert_int_equal(header.data_bytes, 44);
    assert_int_equal(header.count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(header.tensors[i].name, tensors[i].name);
        assert_int_equal(header.tensors[i].dtype, tensors[i].dtype);
        assert_int_equal(header.tensors[i].dims, tensors[i].dims);
        assert_memory_equal(header.tensors[i].shape, tensors[i].shape, tensors[i].dims * 8);
        assert_int_equal(header.tensors[i].begin, tensors[i].begin);
        assert_int_equal(header.tensors[i].end, tensors[i].end);
    }
    assert_string_equal(st_header_get(&header, "k"), "quote \" and \xc3\xa9");
    assert_string_equal(st_header_get(&header, "z"), "");
    assert_null(st_header_get(&header, "absent"));
    st_header_free(&header);
}

static void unsound_headers_are_refused_with_a_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        size_t data;
        const char *sentence;
    } cases[] = {
        {"", 0, "not JSON"},
        {"[]", 0, "not a JSON object"},
        {"{\"a\":", 0, "not JSON"},
        {"{\"a\":1}", 0, "dtype is not one of"},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8, "tensor a: dtype is not one of"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4, "duplicate"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "no size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "no size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1],\"data_offsets\":[0,4]}}", 4, "at most 3"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "at most 3"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "data_offsets are not"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "outside"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,-4]}}", 4, "data_offsets are not"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "outside the file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "don't give"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}", 4, "don't give"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "don't give"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "holes or overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}",
         5, "tensor b starts at byte 3"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, "end at byte 4 of 5"},
        {"{\"__metadata__\":[]}", 0, "not an object of strings"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "\"k\" is not a string"},
        {"{\"__metadata__\":{\"k\":\"\\u0000\"}}", 0, "not JSON"},
        {"{\"0123456789012345678901234567890123456789012345678901234567890123\":"
         "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
         4, "name is too long"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct st_header header;
        struct lens_error err = {0};
        int rc = read_header(cases[i].json, strlen(cases[i].json), cases[i].data, &header, &err);
        if (rc != -EBADMSG || strstr(err.text, cases[i].sentence) == NULL)
            fail_msg("%s\ngave %d \"%s\", expected \"%s\"", cases[i].json, rc, err.text, cases[i].sentence);
        assert_null(header.tensors);
        assert_null(header.metadata);
    }
}

static void a_header_longer_than_the_file_or_the_limit_is_refused_before_it_is_read(void **state)
{
    (void)state;
    struct st_header header;
    struct lens_error err = {0};
    assert_int_equal(read_header("{}", 3, 0, &header, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "should have 3 bytes, the file has 10"));
    assert_int_equal(read_header("{}", UINT64_MAX, 0, &header, &err), -EBADMSG);
    assert_int_equal(read_header("{}", 100 << 20, 101 << 20, &header, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "more than the 1048576 allowed"));
}

static void deep_nesting_in_a_header_is_refused(void **state)
{
    (void)state;
    struct st_header header;
    struct lens_error err = {0};
    char *json = malloc(1 << 19);
    memset(json, '[', (1 << 19) - 1);
    memcpy(json, "{\"a\":", 5);
    json[(1 << 19) - 1] = '\0';
    assert_int_equal(read_header(json, (1 << 19) - 1, 0, &header, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "not JSON"));
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_written_header_reads_back),
        cmocka_unit_test(unsound_headers_are_refused_with_a_sentence),
        cmocka_unit_test(a_header_longer_than_the_file_or_the_limit_is_refused_before_it_is_read),
        cmocka_unit_test(deep_nesting_in_a_header_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
