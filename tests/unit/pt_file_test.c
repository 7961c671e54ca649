/* The .pt reader: what PyTorch writes is read exactly; anything else is refused by name, executed never, and cannot
 * crash it. Its files are put together byte by byte (pt_build.h). */
#include "proto/import/pt_file.h"
#include "tests/unit/support/pack_files.h"
#include "tests/unit/support/pt_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BAD  "tests/fixtures/bad/"
#define GOOD "tests/fixtures/hatcat-small/layer0/Matter.pt"

static const struct pt_entry no_entry = {0};

/* Writes a .pt of this pickle and of storage "0", and opens it. */
static int open_pickle(const struct pt_bytes *pickle, const void *storage, size_t storage_bytes,
                       struct lens_pt_file **out, struct lens_error *err)
{
    static struct pt_bytes zip;
    char path[] = "/tmp/lens-test-XXXXXX";
    struct pt_entry entries[] = {no_entry, no_entry};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    entries[0].name = "a/data.pkl";
    entries[0].data = pickle->data;
    entries[0].length = pickle->length;
    entries[1].name = "a/data/0";
    entries[1].data = storage;
    entries[1].length = storage_bytes;
    pt_zip_of(&zip, entries, 2);
    assert_int_equal(write(fd, zip.data, zip.length), zip.length);
    close(fd);
    int rc = lens_pt_open(path, out, err);
    unlink(path);
    return rc;
}

static void expect_refused_pickle(const struct pt_bytes *pickle, const char *sentence)
{
    struct lens_pt_file *file = (struct lens_pt_file *)1;
    struct lens_error err = {0};
    int rc = open_pickle(pickle, "0123456789abcdef", 16, &file, &err);
    if (rc != -EBADMSG || strstr(err.text, sentence) == NULL)
        fail_msg("gave %d \"%s\", expected \"%s\"", rc, err.text, sentence);
    assert_null(file);
}

/* A state dict {"w": tensor} that is opened and read. */
static void expect_values(const char *type, int32_t elements, const void *storage, size_t storage_bytes, int32_t offset,
                          int dims, const int32_t *shape, const int32_t *stride, const float *expected, size_t count)
{
    static struct pt_bytes pickle;
    float out[32];
    struct lens_pt_file *file;
    struct lens_error err = {0};
    pickle.length = 0;
    pt_put_text(&pickle, "\x80\x02}");
    pt_put_unicode(&pickle, "w");
    pt_put_tensor(&pickle, type, elements, offset, dims, shape, stride);
    pt_put_text(&pickle, "s.");
    if (open_pickle(&pickle, storage, storage_bytes, &file, &err) != 0)
        fail_msg("%s", err.text);
    const struct lens_pt_tensor *tensor = lens_pt_find(file, "w");
    assert_non_null(tensor);
    assert_int_equal(lens_pt_count(file), 1);
    assert_ptr_equal(lens_pt_tensor_at(file, 0), tensor);
    for (int i = 0; i < 32; i++)
        out[i] = 777;
    assert_int_equal(lens_pt_read_f32(file, tensor, out, &err), 0);
    for (size_t i = 0; i < count; i++)
        assert_true(out[i] == expected[i]);
    assert_true(out[count] == 777);
    lens_pt_close(file);
}

/* ---------------------------------------------------------------------------------------------------------- reading */

static void plain_offset_and_strided_tensors_read_as_torch_reads_them(void **state)
{
    (void)state;
    float storage[12];
    for (int i = 0; i < 12; i++)
        storage[i] = (float)i;
    expect_values("FloatStorage", 12, storage, 48, 0, 2, (int32_t[]){3, 4}, (int32_t[]){4, 1}, storage, 12);
    expect_values("FloatStorage", 12, storage, 48, 5, 1, (int32_t[]){4}, (int32_t[]){1}, storage + 5, 4);
    expect_values("FloatStorage", 12, storage, 48, 0, 2, (int32_t[]){4, 3}, (int32_t[]){1, 4},
                  (float[]){0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}, 12);
    expect_values("FloatStorage", 12, storage, 48, 1, 2, (int32_t[]){2, 3}, (int32_t[]){6, 2},
                  (float[]){1, 3, 5, 7, 9, 11}, 6);
    expect_values("FloatStorage", 12, storage, 48, 2, 3, (int32_t[]){2, 1, 2}, (int32_t[]){5, 99, 1},
                  (float[]){2, 3, 7, 8}, 4);
    expect_values("FloatStorage", 12, storage, 48, 7, 0, NULL, NULL, (float[]){7}, 1);
    expect_values("FloatStorage", 12, storage, 48, 0, 2, (int32_t[]){0, 5}, (int32_t[]){5, 1}, NULL, 0);
}

static void half_precision_is_read_exactly(void **state)
{
    (void)state;
    const uint16_t bf16[] = {0x3f80, 0xc000, 0x0001, 0x7f7f};
    const float as_bf16[] = {1, -2, lens_f32_from_bits(0x00010000), lens_f32_from_bits(0x7f7f0000)};
    const uint16_t f16[] = {0x3c00, 0xc000, 0x0001, 0x7bff};
    const float as_f16[] = {1, -2, 0x1p-24f, 65504};
    const float swapped[] = {1, lens_f32_from_bits(0x00010000), -2, lens_f32_from_bits(0x7f7f0000)};
    expect_values("BFloat16Storage", 4, bf16, 8, 0, 2, (int32_t[]){2, 2}, (int32_t[]){2, 1}, as_bf16, 4);
    expect_values("HalfStorage", 4, f16, 8, 0, 2, (int32_t[]){2, 2}, (int32_t[]){2, 1}, as_f16, 4);
    expect_values("BFloat16Storage", 4, bf16, 8, 0, 2, (int32_t[]){2, 2}, (int32_t[]){1, 2}, swapped, 4);
    expect_values("HalfStorage", 4, f16, 8, 3, 1, (int32_t[]){1}, (int32_t[]){1}, as_f16 + 3, 1);
}

static void a_bank_names_its_tensors_by_concept(void **state)
{
    (void)state;
    static struct pt_bytes pickle;
    struct lens_pt_file *file;
    struct lens_error err = {0};
    const float storage[4] = {1, 2, 3, 4};
    float out[3] = {7, 7, 7};
    pickle.length = 0;
    pt_put_text(&pickle, "\x80\x02}q\x01(");
    for (int i = 0; i < 2; i++) {
        pt_put_unicode(&pickle, i == 0 ? "First" : "Second");
        pt_put_text(&pickle, "}(");
        pt_put_unicode(&pickle, "0.weight");
        pt_put_tensor(&pickle, "FloatStorage", 4, 2 * i, 1, (int32_t[]){2}, (int32_t[]){1});
        pt_put_unicode(&pickle, "epoch"); /* not a tensor: passed over */
        pt_put_number(&pickle, 3);
        pt_put_text(&pickle, "u");
    }
    pt_put_text(&pickle, "u.");
    if (open_pickle(&pickle, storage, 16, &file, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(lens_pt_count(file), 2);
    assert_non_null(lens_pt_find(file, "First/0.weight"));
    assert_null(lens_pt_find(file, "0.weight"));
    assert_int_equal(lens_pt_read_f32(file, lens_pt_find(file, "Second/0.weight"), out, &err), 0);
    assert_true(out[0] == 3 && out[1] == 4 && out[2] == 7);
    lens_pt_close(file);
}

static void files_of_both_pytorch_formats_have_their_six_or_eight_tensors(void **state)
{
    (void)state;
    char folder[64];
    unsigned files = 0;
    for (int layer = 0; layer < 5; layer++) {
        snprintf(folder, sizeof folder, "tests/fixtures/hatcat-small/layer%d", layer);
        DIR *names = opendir(folder);
        assert_non_null(names);
        for (const struct dirent *entry; (entry = readdir(names)) != NULL;) {
            char path[400];
            struct lens_pt_file *file;
            struct lens_error err = {0};
            if (entry->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            if (lens_pt_open(path, &file, &err) != 0)
                fail_msg("%s", err.text);
            assert_true(lens_pt_count(file) == 6 || lens_pt_count(file) == 8);
            files++;
            lens_pt_close(file);
        }
        closedir(names);
    }
    assert_int_equal(files, 70);
}

/* --------------------------------------------------------------------------------------------------------- refusing */

static void expect_refused_file(const char *path, const char *sentence)
{
    struct lens_pt_file *file = (struct lens_pt_file *)1;
    struct lens_error err = {0};
    int rc = lens_pt_open(path, &file, &err);
    if (rc >= 0 || strstr(err.text, sentence) == NULL || strstr(err.text, path) == NULL)
        fail_msg("%s gave %d \"%s\", expected \"%s\"", path, rc, err.text, sentence);
    assert_null(file);
}

static void bad_files_are_refused_with_what_was_found(void **state)
{
    (void)state;
    expect_refused_file(BAD "empty.pt", "it is empty (0 bytes)");
    expect_refused_file(BAD "not-a-zip.pt", "starts 54 68 69 73, not 50 4b 03 04");
    expect_refused_file(BAD "legacy.pt", "legacy format from before 1.6 (starts 80 02 8a 0a)");
    expect_refused_file(BAD "deflated.pt", "is compressed");
    expect_refused_file(BAD "big-endian.pt", "big-endian");
    expect_refused_file(BAD "protocol4.pt", "protocol 4");
    expect_refused_file(BAD "outside-storage.pt", "reaches outside its storage");
    expect_refused_file(BAD "huge-shape.pt", "reaches outside its storage");
    expect_refused_file(BAD "short-storage.pt", "bytes, but its pickle says");
    expect_refused_file("tests/fixtures/bad", "not a regular file");
    expect_refused_file("tests/fixtures/bad/none.pt", "No such file");
}

static void a_forbidden_global_is_named_and_never_run(void **state)
{
    (void)state;
    unlink("executed-by-pickle");
    expect_refused_file(BAD "forbidden-global.pt", "names os.system");
    assert_int_equal(access("executed-by-pickle", F_OK), -1);
}

static void a_truncated_pt_is_refused_with_its_size(void **state)
{
    (void)state;
    struct stat info;
    char sentence[64];
    assert_int_equal(stat(BAD "truncated.pt", &info), 0);
    snprintf(sentence, sizeof sentence, "the file has %lld bytes", (long long)info.st_size);
    expect_refused_file(BAD "truncated.pt", sentence);
}

static void a_tensor_of_integers_is_refused_when_it_is_read(void **state)
{
    (void)state;
    struct lens_pt_file *file;
    struct lens_error err = {0};
    float out[4096];
    assert_int_equal(lens_pt_open(BAD "int64.pt", &file, &err), 0);
    const struct lens_pt_tensor *tensor = lens_pt_find(file, "0.bias");
    assert_true(tensor->unsupported_dtype);
    assert_string_equal(tensor->dtype_name, "LongStorage");
    assert_int_equal(lens_pt_read_f32(file, tensor, out, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "0.bias is stored as LongStorage"));
    lens_pt_close(file);
}

static void expect_refused_text(const char *pickle, size_t length, const char *sentence)
{
    static struct pt_bytes bytes;
    bytes.length = 0;
    pt_put(&bytes, pickle, length);
    expect_refused_pickle(&bytes, sentence);
}

#define PICKLE(text) text, sizeof(text) - 1

static void opcodes_that_no_state_dict_needs_are_refused_by_name(void **state)
{
    (void)state;
    expect_refused_text(PICKLE("\x80\x02\x93."), "opcode STACK_GLOBAL (0x93)");
    expect_refused_text(PICKLE("\x80\x02ios\nsystem\n."), "opcode INST (0x69)");
    expect_refused_text(PICKLE("\x80\x02(os."), "opcode OBJ (0x6f)");
    expect_refused_text(PICKLE("\x80\x02\x81."), "opcode NEWOBJ (0x81)");
    expect_refused_text(PICKLE("\x80\x02\x82\x01."), "opcode EXT1");
    expect_refused_text(PICKLE("\x80\x02\x8c\x01w."), "opcode SHORT_BINUNICODE");
    expect_refused_text(PICKLE("\x80\x02Pid\n."), "opcode PERSID");
    expect_refused_text(PICKLE("\x80\x02N2."), "opcode DUP");
    expect_refused_text(PICKLE("\x80\x02\xff."), "opcode that doesn't exist (0xff)");
    expect_refused_text(PICKLE("\x80\x05}."), "protocol 5");
}

static void globals_that_no_state_dict_needs_are_refused_by_name(void **state)
{
    (void)state;
    expect_refused_text(PICKLE("\x80\x02"
                               "cbuiltins\neval\n."),
                        "names builtins.eval");
    expect_refused_text(PICKLE("\x80\x02"
                               "ctorch\nload\n."),
                        "names torch.load");
    expect_refused_text(PICKLE("\x80\x02"
                               "ctorch._utils\n_rebuild_tensor_v3\n."),
                        "torch._utils._rebuild_tensor_v3");
    expect_refused_text(PICKLE("\x80\x02"
                               "ctorch\nFloatStorageX\n."),
                        "names torch.FloatStorageX");
    expect_refused_text(PICKLE("\x80\x02"
                               "ca\033[2J\nb\n."),
                        "names a?[2J.b");
    expect_refused_text(PICKLE("\x80\x02"
                               "ctorch"),
                        "middle of a global's name");
}

static void pickles_that_break_their_own_rules_are_refused(void **state)
{
    (void)state;
    expect_refused_text(PICKLE(""), "ends in the middle");
    expect_refused_text(PICKLE("\x80"), "ends in the middle");
    expect_refused_text(PICKLE("\x80\x02}"), "ends in the middle");
    expect_refused_text(PICKLE("\x80\x02."), "takes more from the stack");
    expect_refused_text(PICKLE("\x80\x02K\x01."), "holds no state dict");
    expect_refused_text(PICKLE("\x80\x02t."), "a mark that isn't on the stack");
    expect_refused_text(PICKLE("\x80\x02(."), "takes a mark where a value should be");
    expect_refused_text(PICKLE("\x80\x02h\x05."), "never remembered");
    expect_refused_text(PICKLE("\x80\x02}r\xff\xff\xff\xff."), "number that is too large");
    expect_refused_text(PICKLE("\x80\x02}j\xff\xff\xff\xff."), "never remembered");
    expect_refused_text(PICKLE("\x80\x02X\xff\xff\xff\xff"
                               "abc."),
                        "ends in the middle");
    expect_refused_text(PICKLE("\x80\x02\x8a\x09"
                               "123456789."),
                        "more than 64 bits");
    expect_refused_text(PICKLE("\x80\x02}(K\x01u."), "half a pair");
    expect_refused_text(PICKLE("\x80\x02](K\x01u."), "no dict or list");
    expect_refused_text(PICKLE("\x80\x02}K\x01"
                               "a."),
                        "no dict or list");
    expect_refused_text(PICKLE("\x80\x02K\x01}b."), "BUILD");
    expect_refused_text(PICKLE("\x80\x02K\x01)R."), "calls something that is no function");
    expect_refused_text(PICKLE("\x80\x02"
                               "ccollections\nOrderedDict\nK\x01\x85R."),
                        "OrderedDict from arguments");
    expect_refused_text(PICKLE("\x80\x02"
                               "ctorch\nFloatStorage\n)R."),
                        "calls a storage type");
    expect_refused_text(PICKLE("\x80\x02"
                               "ctorch._utils\n_rebuild_tensor_v2\n)R."),
                        "rebuilds a tensor from something");
    expect_refused_text(PICKLE("\x80\x02"
                               "ctorch._utils\n_rebuild_parameter\nN\x85R."),
                        "that is no tensor");
    expect_refused_text(PICKLE("\x80\x02)Q."), "persistent reference");
    expect_refused_text(PICKLE("\x80\x02}K\x01Ns."), "no text");
    expect_refused_text(PICKLE("\x80\x02}q\x01X\x01\0\0\0ah\x01s."), "nested deeper"); /* holds itself */
}

static void endless_pickles_are_stopped(void **state)
{
    (void)state;
    static struct pt_bytes pickle;
    pickle.length = 0; /* 60,000 marks: a stack of that depth is fine, and no recursion */
    pt_put_text(&pickle, "\x80\x02");
    for (int i = 0; i < 60000; i++)
        pt_put_text(&pickle, i % 2 ? "(" : "]");
    pt_put_text(&pickle, ".");
    expect_refused_pickle(&pickle, "mark");
    pickle.length = 0; /* 7,000 references to one dict of 10,000 entries: 7*10^7 entries in 50 KB */
    pt_put(&pickle, PICKLE("\x80\x02X\x01\0\0\0kq\x02}q\x01("));
    for (int i = 0; i < 10000; i++)
        pt_put_text(&pickle, "h\x02N");
    pt_put_text(&pickle, "u}(");
    for (int i = 0; i < 7000; i++)
        pt_put_text(&pickle, "h\x02h\x01");
    pt_put_text(&pickle, "u.");
    clock_t start = clock();
    expect_refused_pickle(&pickle, "dicts are too large");
    assert_true(clock() - start < 2 * CLOCKS_PER_SEC);
}

static void two_tensors_of_one_name_are_refused(void **state)
{
    (void)state;
    static struct pt_bytes pickle;
    pickle.length = 0;
    pt_put_text(&pickle, "\x80\x02}(");
    for (int i = 0; i < 2; i++) {
        pt_put_unicode(&pickle, "w");
        pt_put_tensor(&pickle, "FloatStorage", 4, 0, 1, (int32_t[]){4}, (int32_t[]){1});
    }
    pt_put_text(&pickle, "u.");
    expect_refused_pickle(&pickle, "two tensors named w");
}

static void expect_refused_tensor(int32_t elements, int32_t offset, int dims, const int32_t *shape,
                                  const int32_t *stride, const char *sentence)
{
    static struct pt_bytes pickle;
    pickle.length = 0;
    pt_put_text(&pickle, "\x80\x02}");
    pt_put_unicode(&pickle, "w");
    pt_put_tensor(&pickle, "FloatStorage", elements, offset, dims, shape, stride);
    pt_put_text(&pickle, "s.");
    expect_refused_pickle(&pickle, sentence);
}

static void tensors_that_reach_outside_their_storage_are_refused(void **state)
{
    (void)state;
    expect_refused_tensor(4, 1, 1, (int32_t[]){4}, (int32_t[]){1}, "reaches outside");
    expect_refused_tensor(4, 4, 0, NULL, NULL, "reaches outside");
    expect_refused_tensor(4, 0, 1, (int32_t[]){2}, (int32_t[]){4}, "reaches outside");
    expect_refused_tensor(4, 0, 1, (int32_t[]){5}, (int32_t[]){0}, "reaches outside"); /* expanded */
    expect_refused_tensor(4, 0, 4, (int32_t[]){INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX}, (int32_t[]){0, 0, 0, 0},
                          "reaches outside");
    expect_refused_tensor(4, 0, 2, (int32_t[]){INT32_MAX, INT32_MAX}, (int32_t[]){INT32_MAX, INT32_MAX},
                          "reaches outside");
    expect_refused_tensor(4, -1, 1, (int32_t[]){1}, (int32_t[]){1}, "rebuilds a tensor");
    expect_refused_tensor(4, 0, 1, (int32_t[]){-1}, (int32_t[]){1}, "rebuilds a tensor");
    expect_refused_tensor(4, 0, 1, (int32_t[]){1}, (int32_t[]){-1}, "rebuilds a tensor");
    expect_refused_tensor(5, 0, 1, (int32_t[]){4}, (int32_t[]){1}, "16 bytes, but its pickle says 5 elements");
    expect_refused_tensor(3, 0, 1, (int32_t[]){3}, (int32_t[]){1}, "16 bytes, but its pickle says 3 elements");
    expect_refused_tensor(-1, 0, 1, (int32_t[]){1}, (int32_t[]){1}, "persistent reference");
}

/* --------------------------------------------------------------------------------------------------------- zip lies */

static void expect_refused_zip(const struct pt_entry *entries, size_t count, const char *sentence)
{
    static struct pt_bytes zip;
    char path[] = "/tmp/lens-test-XXXXXX";
    close(mkstemp(path));
    pt_zip_of(&zip, entries, count);
    write_file(path, zip.data, zip.length);
    expect_refused_file(path, sentence);
    unlink(path);
}

static void zips_that_lie_are_refused(void **state)
{
    (void)state;
    static unsigned char filler[4000];
    const struct pt_entry pickle = {.name = "a/data.pkl", .data = "\x80\x02}.", .length = 4};
    const struct pt_entry data = {.name = "a/data/0", .data = filler, .length = sizeof filler};
    struct pt_entry e[4] = {pickle, data, data, data};
    e[1].claimed = 1 << 30;
    expect_refused_zip(e, 2, "");
    e[1] = data;
    e[2].name = "a/data/1"; /* both show the same 4,000 bytes: an overlap */
    e[2].same_as = 2;
    e[3].name = "a/data/2";
    e[3].same_as = 2;
    expect_refused_zip(e, 4, "claim more bytes than the whole file has");
    e[1] = data;
    e[1].flags = 1;
    expect_refused_zip(e, 2, "encrypted");
    e[1] = data;
    e[1].method = 8;
    expect_refused_zip(e, 2, "is compressed");
    e[1] = pickle;
    e[1].name = "b/data.pkl";
    expect_refused_zip(e, 2, "more than one data.pkl");
    e[0].name = "data.pkl";
    expect_refused_zip(e, 1, "none that torch.save wrote");
    e[0] = pickle;
    e[0].bad_crc = true;
    expect_refused_zip(e, 1, "CRC");
}

static void a_tensor_with_a_wrong_crc_is_refused_when_it_is_read(void **state)
{
    (void)state;
    size_t length;
    float out[64 * 64];
    struct lens_pt_file *file;
    struct lens_error err = {0};
    char path[] = "/tmp/lens-test-XXXXXX";
    unsigned char *bytes = read_file(GOOD, &length);
    close(mkstemp(path));
    bytes[length / 2] ^= 4; /* inside w1: 0.weight or, with a LayerNorm, 1.weight */
    write_file(path, bytes, length);
    free(bytes);
    int rc = lens_pt_open(path, &file, &err);
    assert_int_equal(rc, 0);
    for (size_t i = 0; rc == 0 && i < lens_pt_count(file); i++)
        rc = lens_pt_read_f32(file, lens_pt_tensor_at(file, i), out, &err);
    lens_pt_close(file);
    unlink(path);
    assert_int_equal(rc, -EBADMSG);
    assert_non_null(strstr(err.text, "CRC"));
}

/* ------------------------------------------------------------------------------------------------------------ damage
 */

static void read_all_of(const char *path)
{
    struct lens_pt_file *file;
    struct lens_error err = {0};
    if (lens_pt_open(path, &file, &err) != 0) {
        assert_true(err.text[0] != '\0');
        return;
    }
    for (size_t i = 0; i < lens_pt_count(file); i++) {
        const struct lens_pt_tensor *tensor = lens_pt_tensor_at(file, i);
        size_t count = 1;
        for (uint32_t d = 0; d < tensor->dims; d++)
            count *= tensor->shape[d];
        float *out = malloc(count * sizeof *out + 1);
        lens_pt_read_f32(file, tensor, out, &err);
        free(out);
    }
    lens_pt_close(file);
}

static void random_damage_never_crashes_the_reader(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL);
    size_t length;
    char path[] = "/tmp/lens-test-XXXXXX";
    unsigned char *good = read_file(GOOD, &length);
    unsigned char *bytes = malloc(length);
    print_message("seed %u\n", seed);
    close(mkstemp(path));
    for (int round = 0; round < 4000; round++) {
        memcpy(bytes, good, length);
        for (int n = rand_r(&seed) % 6; n >= 0; n--) {
            size_t at = (size_t)rand_r(&seed) % (n % 2 ? length : 1200); /* mostly the pickle, which comes first */
            at = n % 3 == 2 ? length - 1 - at % 1200 : at;               /* and the zip's directory at the end */
            bytes[at] = (unsigned char)rand_r(&seed);
        }
        write_file(path, bytes, round % 4 == 0 ? (size_t)rand_r(&seed) % length : length);
        read_all_of(path);
    }
    unlink(path);
    free(bytes);
    free(good);
}

static void every_damaged_byte_of_a_pickle_is_survived(void **state)
{
    (void)state;
    static struct pt_bytes pickle;
    static struct pt_bytes changed;
    const float storage[4] = {1, 2, 3, 4};
    pickle.length = 0;
    pt_put_text(&pickle, "\x80\x02}(");
    pt_put_unicode(&pickle, "w");
    pt_put_tensor(&pickle, "FloatStorage", 4, 0, 1, (int32_t[]){4}, (int32_t[]){1});
    pt_put_text(&pickle, "u.");
    unsigned refused = 0;
    for (size_t i = 0; i < pickle.length; i++) {
        for (unsigned value = 0; value < 256; value += 5) {
            struct lens_pt_file *file = NULL;
            struct lens_error err = {0};
            float out[4];
            changed = pickle;
            changed.data[i] = (unsigned char)value;
            refused += open_pickle(&changed, storage, 16, &file, &err) != 0;
            if (file != NULL && lens_pt_find(file, "w") != NULL && lens_pt_find(file, "w")->shape[0] <= 4)
                lens_pt_read_f32(file, lens_pt_find(file, "w"), out, &err);
            lens_pt_close(file);
        }
    }
    print_message("%u of %zu refused\n", refused, pickle.length * 52);
    assert_true(refused > pickle.length * 26);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_offset_and_strided_tensors_read_as_torch_reads_them),
        cmocka_unit_test(half_precision_is_read_exactly),
        cmocka_unit_test(a_bank_names_its_tensors_by_concept),
        cmocka_unit_test(files_of_both_pytorch_formats_have_their_six_or_eight_tensors),
        cmocka_unit_test(bad_files_are_refused_with_what_was_found),
        cmocka_unit_test(a_forbidden_global_is_named_and_never_run),
        cmocka_unit_test(a_truncated_pt_is_refused_with_its_size),
        cmocka_unit_test(a_tensor_of_integers_is_refused_when_it_is_read),
        cmocka_unit_test(opcodes_that_no_state_dict_needs_are_refused_by_name),
        cmocka_unit_test(globals_that_no_state_dict_needs_are_refused_by_name),
        cmocka_unit_test(pickles_that_break_their_own_rules_are_refused),
        cmocka_unit_test(endless_pickles_are_stopped),
        cmocka_unit_test(two_tensors_of_one_name_are_refused),
        cmocka_unit_test(tensors_that_reach_outside_their_storage_are_refused),
        cmocka_unit_test(zips_that_lie_are_refused),
        cmocka_unit_test(a_tensor_with_a_wrong_crc_is_refused_when_it_is_read),
        cmocka_unit_test(random_damage_never_crashes_the_reader),
        cmocka_unit_test(every_damaged_byte_of_a_pickle_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
