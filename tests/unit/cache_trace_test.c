/* Trace files: what is written is read back, a file cut anywhere is refused or read up to its last whole row, and
 * nothing a hostile file says is believed. */
#include "daemon/cache/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LENSES = 7, EDGES = 6, ROWS = 5, MAX_BYTES = 4096 };

static const uint8_t layer[LENSES] = {0, 0, 1, 1, 1, 2, 2};
static const int32_t offsets[LENSES + 1] = {0, 2, 3, 5, 5, 6, 6, 6}, children[EDGES] = {2, 3, 4, 5, 6, 6};
static const struct lens_trace_tables tables = {LENSES, EDGES, layer, offsets, children};

static char path[64] = "/tmp/lensd-trace-test-XXXXXX";

static int make_path(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int drop_path(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_rows(struct lens_trace_row *rows, uint32_t words[ROWS][LENSES], unsigned seed)
{
    struct lensd_trace_writer *writer = NULL;
    struct lens_error err = {0};
    assert_int_equal(lensd_trace_create(path, &tables, &writer, &err), 0);
    for (uint32_t r = 0; r < ROWS; r++) {
        rows[r] =
            (struct lens_trace_row){r == 1 ? 0 : 1 + r, r / 2, UINT64_MAX - r, 3, r == ROWS - 1 ? LENS_TRACE_LAST : 0};
        for (uint32_t i = 0; i < rows[r].n; i++)
            words[r][i] = lens_trace_word((i * 3 + r) % LENSES, (float)(rand_r(&seed) % 2000) / 100 - 10);
        assert_int_equal(lensd_trace_append(writer, &rows[r], words[r], &err), 0);
    }
    assert_int_equal(lensd_trace_close(writer, &err), 0);
}

static size_t slurp(unsigned char *out)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(out, 1, MAX_BYTES, file);
    fclose(file);
    assert_true(n < MAX_BYTES);
    return n;
}

static void spill(const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    fclose(file);
}

static size_t write_sample(unsigned char *out)
{
    struct lens_trace_row rows[ROWS];
    uint32_t words[ROWS][LENSES];
    write_rows(rows, words, 1);
    return slurp(out);
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    struct lens_trace_row rows[ROWS];
    uint32_t words[ROWS][LENSES];
    struct lensd_trace trace;
    struct lens_error err = {0};
    unsigned seed = (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    memset(&trace, 0xee, sizeof trace);
    write_rows(rows, words, seed);
    assert_int_equal(lensd_trace_read(path, &trace, &err), 0);
    assert_false(trace.cut);
    assert_int_equal(trace.rows, ROWS);
    assert_int_equal(trace.tables.lenses, LENSES);
    assert_int_equal(trace.tables.edges, EDGES);
    assert_memory_equal(trace.tables.layer, layer, sizeof layer);
    assert_memory_equal(trace.tables.child_offsets, offsets, sizeof offsets);
    assert_memory_equal(trace.tables.child_ids, children, sizeof children);
    for (uint32_t r = 0; r < ROWS; r++) {
        assert_memory_equal(&trace.row[r], &rows[r], sizeof rows[r]);
        for (uint32_t i = 0; i < rows[r].n; i++)
            assert_int_equal(trace.words[trace.first[r] + i], words[r][i]);
    }
    lensd_trace_free(&trace);
}

static void words_keep_lens_and_logit(void **state)
{
    (void)state;
    for (int i = -2000; i < 2000; i++) {
        float logit = (float)i / 128 + 0.003f;
        uint32_t word = lens_trace_word((uint32_t)(i + 2000), logit);
        assert_int_equal(lens_trace_lens(word), i + 2000);
        assert_float_equal(lens_trace_logit(word), logit, 0.5 / 128 + 1e-4);
    }
    assert_true(isnan(lens_trace_logit(lens_trace_word(0xfffff, NAN))));
    assert_int_equal(lens_trace_lens(lens_trace_word(0xfffff, NAN)), 0xfffff);
    assert_float_equal(lens_trace_logit(lens_trace_word(1, 1e30f)), 4094 / 128.0 - 16, 1e-6);
    assert_float_equal(lens_trace_logit(lens_trace_word(1, -1e30f)), -16, 1e-6);
}

static void a_file_cut_anywhere_is_refused_or_read_to_its_last_whole_row(void **state)
{
    (void)state;
    static unsigned char whole[MAX_BYTES];
    size_t bytes = write_sample(whole);
    size_t tables_end = sizeof(struct lensd_trace_header) + 8 + sizeof offsets + sizeof children;
    for (size_t cut = 0; cut <= bytes; cut++) {
        struct lensd_trace trace = {0};
        struct lens_error err = {0};
        spill(whole, cut);
        int r = lensd_trace_read(path, &trace, &err);
        if (cut < tables_end) {
            assert_int_equal(r, -EBADMSG);
            assert_true(strlen(err.text) > 20);
            continue;
        }
        size_t end = tables_end;
        uint64_t rows = 0;
        for (uint32_t i = 0; i < ROWS; i++) {
            size_t next = end + sizeof(struct lens_trace_row) + 4 * (i == 1 ? 0 : 1 + i);
            if (next > cut)
                break;
            end = next;
            rows++;
        }
        assert_int_equal(r, 0);
        assert_int_equal(trace.rows, rows);
        assert_int_equal(trace.cut, cut != end);
        lensd_trace_free(&trace);
    }
}

/* Puts `value` at `offset` of a good file, which must then be refused. */
static void refused_with(size_t offset, uint32_t value)
{
    static unsigned char bytes[MAX_BYTES];
    struct lensd_trace trace = {0};
    struct lens_error err = {0};
    size_t n = write_sample(bytes);
    memcpy(bytes + offset, &value, sizeof value);
    spill(bytes, n);
    if (lensd_trace_read(path, &trace, &err) != -EBADMSG)
        fail_msg("%u at byte %zu was taken", value, offset);
    assert_true(strlen(err.text) > 20);
    assert_int_equal(trace.rows, 0);
}

static void hostile_files_are_refused(void **state)
{
    (void)state;
    const size_t header = sizeof(struct lensd_trace_header), at_offsets = header + 8;
    const size_t at_children = at_offsets + sizeof offsets, at_rows = at_children + sizeof children;
    const size_t words = at_rows + sizeof(struct lens_trace_row);
    refused_with(0, 0x12345678);                                               /* magic */
    refused_with(offsetof(struct lensd_trace_header, version), 2);             /* version */
    refused_with(offsetof(struct lensd_trace_header, lenses), 0);              /* no lens */
    refused_with(offsetof(struct lensd_trace_header, lenses), (1u << 20) + 1); /* too many */
    refused_with(offsetof(struct lensd_trace_header, lenses), 1u << 20);       /* more than the file has */
    refused_with(offsetof(struct lensd_trace_header, edges), 0xffffffff);      /* too many */
    refused_with(offsetof(struct lensd_trace_header, edges), 0x7fffffff);      /* more than the file has */
    refused_with(at_offsets, 1);                                               /* doesn't begin at 0 */
    refused_with(at_offsets + 8, 0xffffffff);                                  /* negative */
    refused_with(at_offsets + 8, 1);                                           /* descending */
    refused_with(at_offsets + 4 * LENSES, 7);                                  /* doesn't end at the edges */
    refused_with(at_children, LENSES);                                         /* no lens */
    refused_with(at_children, 0x80000000);                                     /* negative */
    refused_with(at_rows + offsetof(struct lens_trace_row, n), LENSES + 1);    /* more than all lenses */
    refused_with(at_rows + offsetof(struct lens_trace_row, n), 0xffffffff);    /* huge */
    refused_with(at_rows + offsetof(struct lens_trace_row, n_active), 2);      /* more than n */
    refused_with(words, LENSES);                                               /* no lens */
    refused_with(words, 0xfffff);                                              /* no lens */
}

static void random_damage_never_gives_ids_out_of_bounds(void **state)
{
    (void)state;
    static unsigned char whole[MAX_BYTES], bad[MAX_BYTES];
    size_t bytes = write_sample(whole);
    unsigned seed = (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    for (int round = 0; round < 3000; round++) {
        struct lensd_trace trace = {0};
        struct lens_error err = {0};
        memcpy(bad, whole, bytes);
        for (int hits = 1 + rand_r(&seed) % 3; hits > 0; hits--)
            bad[(size_t)rand_r(&seed) % bytes] = (unsigned char)rand_r(&seed);
        spill(bad, bytes);
        if (lensd_trace_read(path, &trace, &err) < 0)
            continue;
        for (uint64_t r = 0; r < trace.rows; r++) {
            assert_true(trace.row[r].n_active <= trace.row[r].n);
            for (uint32_t i = 0; i < trace.row[r].n; i++)
                assert_true(lens_trace_lens(trace.words[trace.first[r] + i]) < trace.tables.lenses);
        }
        lensd_trace_free(&trace);
    }
}

static void writing_what_a_reader_would_refuse_is_refused(void **state)
{
    (void)state;
    struct lensd_trace_writer *writer = NULL;
    struct lens_error err = {0};
    struct lens_trace_tables none = tables;
    none.lenses = 0;
    assert_int_equal(lensd_trace_create(path, &none, &writer, &err), -EINVAL);
    assert_int_equal(lensd_trace_create("/nonexistent/trace", &tables, &writer, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/trace"));
    assert_int_equal(lensd_trace_create(path, &tables, &writer, &err), 0);
    const uint32_t word = lens_trace_word(LENSES, 0);
    assert_int_equal(lensd_trace_append(writer, &(struct lens_trace_row){.n = 1}, &word, &err), -EINVAL);
    assert_int_equal(lensd_trace_append(writer, &(struct lens_trace_row){.n_active = 1}, &word, &err), -EINVAL);
    assert_int_equal(lensd_trace_close(writer, &err), 0);
}

static void a_full_disk_is_said(void **state)
{
    (void)state;
    struct lensd_trace_writer *writer = NULL;
    struct lens_error err = {0};
    if (access("/dev/full", W_OK) != 0)
        skip();
    assert_int_equal(lensd_trace_create("/dev/full", &tables, &writer, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "/dev/full"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(words_keep_lens_and_logit),
        cmocka_unit_test(a_file_cut_anywhere_is_refused_or_read_to_its_last_whole_row),
        cmocka_unit_test(hostile_files_are_refused),
        cmocka_unit_test(random_damage_never_gives_ids_out_of_bounds),
        cmocka_unit_test(writing_what_a_reader_would_refuse_is_refused),
        cmocka_unit_test(a_full_disk_is_said),
    };
    return cmocka_run_group_tests(tests, make_path, drop_path);
}
