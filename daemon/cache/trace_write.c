/* Writes trace files; trace.h has the format. */
#include "daemon/cache/trace_tables.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lensd_trace_writer {
    FILE *file;
    uint32_t lenses;
    char path[];
};

static int write_failed(const struct lensd_trace_writer *writer, struct lens_error *err)
{
    int code = errno != 0 ? -errno : -EIO;
    return lens_error_set(err, code, "%s: the trace could not be written (%s); is the disk full?", writer->path,
                          strerror(-code));
}

static bool put(FILE *file, const void *data, size_t bytes)
{
    return bytes == 0 || fwrite(data, bytes, 1, file) == 1;
}

static bool put_tables(FILE *file, const struct lens_trace_tables *tables)
{
    static const uint8_t zeros[4];
    struct lensd_trace_header header = {.magic = LENSD_TRACE_FILE_MAGIC,
                                        .version = LENSD_TRACE_FILE_VERSION,
                                        .lenses = tables->lenses,
                                        .edges = tables->edges};
    return put(file, &header, sizeof header) && put(file, tables->layer, tables->lenses) &&
           put(file, zeros, trace_padding(tables->lenses)) &&
           put(file, tables->child_offsets, ((size_t)tables->lenses + 1) * sizeof *tables->child_offsets) &&
           put(file, tables->child_ids, (size_t)tables->edges * sizeof *tables->child_ids);
}

int lensd_trace_create(const char *path, const struct lens_trace_tables *tables, struct lensd_trace_writer **out,
                       struct lens_error *err)
{
    const char *wrong = trace_tables_wrong(tables);
    if (wrong != NULL)
        return lens_error_set(err, -EINVAL, "%s: a trace needs sound tables: %s", path, wrong);
    size_t path_bytes = strlen(path) + 1;
    struct lensd_trace_writer *writer = malloc(sizeof *writer + path_bytes);
    if (writer == NULL)
        return lens_error_set(err, -ENOMEM, "%s: no memory to write a trace", path);
    memcpy(writer->path, path, path_bytes);
    writer->lenses = tables->lenses;
    errno = 0;
    writer->file = fopen(path, "wbe");
    if (writer->file == NULL || !put_tables(writer->file, tables) || fflush(writer->file) != 0) {
        int r = write_failed(writer, err);
        if (writer->file != NULL)
            fclose(writer->file);
        free(writer);
        return r;
    }
    *out = writer;
    return 0;
}

int lensd_trace_append(struct lensd_trace_writer *writer, const struct lens_trace_row *row, const uint32_t *words,
                       struct lens_error *err)
{
    const char *wrong = trace_row_wrong(writer->lenses, row, words);
    if (wrong != NULL)
        return lens_error_set(err, -EINVAL, "%s: the row doesn't fit the trace: %s", writer->path, wrong);
    errno = 0;
    if (!put(writer->file, row, sizeof *row) || !put(writer->file, words, (size_t)row->n * sizeof *words))
        return write_failed(writer, err);
    return 0;
}

int lensd_trace_close(struct lensd_trace_writer *writer, struct lens_error *err)
{
    int r = 0;
    errno = 0;
    bool failed = ferror(writer->file) != 0;
    if (fclose(writer->file) != 0 || failed)
        r = write_failed(writer, err);
    free(writer);
    return r;
}
