/* Reads trace files, which may come from anyone: nothing is believed before it was compared with what is there. */
#include "daemon/cache/trace_tables.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *trace_tables_wrong(const struct lens_trace_tables *tables)
{
    if (tables->lenses == 0 || tables->lenses > LENSD_TRACE_MAX_LENSES)
        return "it should have 1 to 1048576 lenses";
    if (tables->edges > INT32_MAX)
        return "it has too many edges";
    if (tables->child_offsets[0] != 0 || tables->child_offsets[tables->lenses] != (int32_t)tables->edges)
        return "child offsets should go from 0 to the number of edges";
    for (uint32_t i = 0; i < tables->lenses; i++) {
        if (tables->child_offsets[i] > tables->child_offsets[i + 1])
            return "child offsets should ascend";
    }
    for (uint32_t i = 0; i < tables->edges; i++) {
        if (tables->child_ids[i] < 0 || (uint32_t)tables->child_ids[i] >= tables->lenses)
            return "a child is no lens of it";
    }
    return NULL;
}

const char *trace_row_wrong(uint32_t lenses, const struct lens_trace_row *row, const uint32_t *words)
{
    if (row->n > lenses)
        return "a row scores more lenses than there are";
    if (row->n_active > row->n)
        return "a row's active set is larger than the row";
    for (uint32_t i = 0; i < row->n; i++) {
        if (lens_trace_lens(words[i]) >= lenses)
            return "a row scores a lens that isn't there";
    }
    return NULL;
}

struct reader {
    FILE *file;
    const char *path;
    struct lensd_trace *out;
    uint64_t row_capacity, words, word_capacity;
    struct lens_error *err;
};

static int bad_trace(const struct reader *reader, const char *wrong)
{
    return lens_error_set(reader->err, -EBADMSG, "%s: not a trace of lensd: %s; record one with `lensctl trace record`",
                          reader->path, wrong);
}

static int no_memory(const struct reader *reader)
{
    return lens_error_set(reader->err, -ENOMEM, "%s: no memory for a trace of this size", reader->path);
}

/* Makes room for `n` elements of `size` bytes, at least doubling. */
static int make_room(const struct reader *reader, void *array, uint64_t *capacity, uint64_t n, size_t size)
{
    void *old, *grown;
    if (n <= *capacity)
        return 0;
    uint64_t wanted = n > *capacity * 2 ? n : *capacity * 2;
    memcpy(&old, array, sizeof old);
    grown = reallocarray(old, wanted, size);
    if (grown == NULL)
        return no_memory(reader);
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return 0;
}

/* Reads up to `bytes`; -errno on a failure of the disk, else how many there were. */
static int64_t take(const struct reader *reader, void *out, size_t bytes)
{
    errno = 0;
    size_t n = fread(out, 1, bytes, reader->file);
    if (n < bytes && ferror(reader->file)) {
        int code = errno != 0 ? -errno : -EIO;
        return lens_error_set(reader->err, code, "%s: could not be read (%s)", reader->path, strerror(-code));
    }
    return (int64_t)n;
}

/* All of it, or -EBADMSG. Memory is taken in steps, so that a count alone takes none. */
static int take_array(const struct reader *reader, void *array, uint64_t bytes)
{
    unsigned char *data = NULL;
    uint64_t have = 0, capacity = 0;
    int r = 0;
    while (r == 0 && have < bytes) {
        uint64_t step = bytes - have < (1u << 20) ? bytes - have : 1u << 20;
        r = make_room(reader, &data, &capacity, have + step, 1);
        int64_t n = r < 0 ? r : take(reader, data + have, step);
        r = n < 0 ? (int)n : (uint64_t)n < step ? bad_trace(reader, "it ends inside its tables") : 0;
        have += step;
    }
    memcpy(array, &data, sizeof data);
    return r;
}

static int read_tables(struct reader *reader)
{
    struct lensd_trace_header header;
    struct lens_trace_tables *tables = &reader->out->tables;
    int64_t n = take(reader, &header, sizeof header);
    if (n < 0)
        return (int)n;
    if (n < (int64_t)sizeof header || header.magic != LENSD_TRACE_FILE_MAGIC)
        return bad_trace(reader, "it doesn't begin like one");
    if (header.version != LENSD_TRACE_FILE_VERSION)
        return lens_error_set(reader->err, -EBADMSG, "%s: a trace of version %u was expected, found version %u",
                              reader->path, LENSD_TRACE_FILE_VERSION, header.version);
    if (header.lenses == 0 || header.lenses > LENSD_TRACE_MAX_LENSES || header.edges > INT32_MAX)
        return bad_trace(reader, "it should have 1 to 1048576 lenses and at most 2147483647 edges");
    tables->lenses = header.lenses;
    tables->edges = header.edges;
    int r = take_array(reader, &tables->layer, (uint64_t)header.lenses + trace_padding(header.lenses));
    if (r == 0)
        r = take_array(reader, &tables->child_offsets, ((uint64_t)header.lenses + 1) * sizeof(int32_t));
    if (r == 0 && header.edges > 0)
        r = take_array(reader, &tables->child_ids, (uint64_t)header.edges * sizeof(int32_t));
    const char *wrong = r == 0 ? trace_tables_wrong(tables) : NULL;
    return wrong != NULL ? bad_trace(reader, wrong) : r;
}

/* 1: a row was read; 0: the file ended (`cut` says how). */
static int read_row(struct reader *reader)
{
    struct lensd_trace *trace = reader->out;
    struct lens_trace_row row;
    int64_t n = take(reader, &row, sizeof row);
    if (n < (int64_t)sizeof row) {
        trace->cut = n > 0;
        return n < 0 ? (int)n : 0;
    }
    if (row.n > trace->tables.lenses)
        return bad_trace(reader, "a row scores more lenses than there are");
    int r = make_room(reader, &trace->words, &reader->word_capacity, reader->words + row.n, sizeof *trace->words);
    if (r < 0)
        return r;
    n = take(reader, trace->words + reader->words, (size_t)row.n * sizeof *trace->words);
    if (n < (int64_t)(row.n * sizeof *trace->words)) {
        trace->cut = true;
        return n < 0 ? (int)n : 0;
    }
    const char *wrong = trace_row_wrong(trace->tables.lenses, &row, trace->words + reader->words);
    if (wrong != NULL)
        return bad_trace(reader, wrong);
    uint64_t capacity = reader->row_capacity;
    r = make_room(reader, &trace->row, &capacity, trace->rows + 1, sizeof *trace->row);
    if (r == 0)
        r = make_room(reader, &trace->first, &reader->row_capacity, trace->rows + 1, sizeof *trace->first);
    if (r < 0)
        return r;
    trace->row[trace->rows] = row;
    trace->first[trace->rows++] = reader->words;
    reader->words += row.n;
    return 1;
}

int lensd_trace_read(const char *path, struct lensd_trace *out, struct lens_error *err)
{
    struct lensd_trace trace = {0};
    struct reader reader = {.path = path, .out = &trace, .err = err};
    errno = 0;
    reader.file = fopen(path, "rbe");
    if (reader.file == NULL) {
        int code = errno != 0 ? -errno : -EIO;
        return lens_error_set(err, code, "%s: the trace could not be opened (%s)", path, strerror(-code));
    }
    int r = read_tables(&reader);
    if (r == 0) {
        do
            r = read_row(&reader);
        while (r == 1);
    }
    fclose(reader.file);
    if (r < 0) {
        lensd_trace_free(&trace);
        return r;
    }
    *out = trace;
    return 0;
}

void lensd_trace_free(struct lensd_trace *trace)
{
    free((void *)trace->tables.layer);
    free((void *)trace->tables.child_offsets);
    free((void *)trace->tables.child_ids);
    free(trace->row);
    free(trace->first);
    free(trace->words);
    *trace = (struct lensd_trace){0};
}
