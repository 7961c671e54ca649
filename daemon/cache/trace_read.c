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

/* `array` with room for `n` elements of `size` bytes, at least doubled; NULL when memory runs out (then it stays). */
static void *with_room(void *array, uint64_t *capacity, uint64_t n, size_t size)
{
    if (n <= *capacity)
        return array;
    uint64_t wanted = n > *capacity * 2 ? n : *capacity * 2;
    void *grown = reallocarray(array, wanted, size);
    if (grown != NULL)
        *capacity = wanted;
    return grown;
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

/* `bytes` of the file in memory of their own, or NULL after saying why. Memory is taken in steps, so that a count alone
 * takes none. */
static void *take_array(const struct reader *reader, uint64_t bytes)
{
    unsigned char *data = NULL;
    uint64_t have = 0, capacity = 0;
    do {
        uint64_t step = bytes - have < (1u << 20) ? bytes - have : 1u << 20;
        unsigned char *grown = with_room(data, &capacity, have + step + 1, 1);
        int64_t n = grown != NULL ? take(reader, grown + have, step) : no_memory(reader);
        data = grown != NULL ? grown : data;
        if (n < 0 || (uint64_t)n < step) {
            if (n >= 0)
                bad_trace(reader, "it ends inside its tables");
            free(data);
            return NULL;
        }
        have += step;
    } while (have < bytes);
    return data;
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
    tables->layer = take_array(reader, (uint64_t)header.lenses + trace_padding(header.lenses));
    if (tables->layer == NULL)
        return reader->err->code;
    tables->child_offsets = take_array(reader, ((uint64_t)header.lenses + 1) * sizeof(int32_t));
    if (tables->child_offsets == NULL)
        return reader->err->code;
    tables->child_ids = take_array(reader, (uint64_t)header.edges * sizeof(int32_t));
    if (tables->child_ids == NULL)
        return reader->err->code;
    const char *wrong = trace_tables_wrong(tables);
    return wrong != NULL ? bad_trace(reader, wrong) : 0;
}

/* Room for one row more, of n words. */
static bool make_room(struct reader *reader, uint32_t n)
{
    struct lensd_trace *trace = reader->out;
    uint64_t rows = reader->row_capacity;
    uint32_t *words = with_room(trace->words, &reader->word_capacity, reader->words + n + 1, sizeof *words);
    trace->words = words != NULL ? words : trace->words;
    struct lens_trace_row *row = with_room(trace->row, &rows, trace->rows + 1, sizeof *row);
    trace->row = row != NULL ? row : trace->row;
    uint64_t *first = with_room(trace->first, &reader->row_capacity, trace->rows + 1, sizeof *first);
    trace->first = first != NULL ? first : trace->first;
    return words != NULL && row != NULL && first != NULL;
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
    if (!make_room(reader, row.n))
        return no_memory(reader);
    n = take(reader, trace->words + reader->words, (size_t)row.n * sizeof *trace->words);
    if (n < (int64_t)(row.n * sizeof *trace->words)) {
        trace->cut = true;
        return n < 0 ? (int)n : 0;
    }
    const char *wrong = trace_row_wrong(trace->tables.lenses, &row, trace->words + reader->words);
    if (wrong != NULL)
        return bad_trace(reader, wrong);
    trace->row[trace->rows] = row;
    trace->first[trace->rows++] = reader->words;
    reader->words += row.n;
    return 1;
}

int lensd_trace_read(const char *path, struct lensd_trace *out, struct lens_error *err)
{
    struct lensd_trace trace = {0};
    struct lens_error own = {0};
    struct reader reader = {.path = path, .out = &trace, .err = err != NULL ? err : &own};
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
