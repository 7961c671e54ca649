/* What rows asked of the cache, on disk: the input of `lensctl cache-sim` (recorded by `lensctl trace record`).
 *
 * Little endian. Header, tables, then records, one for each answered row, in the order the engine finished them:
 *
 *     struct lensd_trace_header
 *     u8  layer[lenses], padded to 4 bytes
 *     i32 child_offsets[lenses + 1], child_ids[edges]
 *     records: struct lensd_trace_row, then u32 words[n]
 *
 * A word is a lens the row scored, in the order asked for: id in bits 0..19, and its logit in bits 20..31 as
 * round((logit + 16) * 128) clamped to 0..4094; 4095 = left out (PARTIAL). The same records, words alike, travel
 * through the trace ring (proto/trace_ring.h). A file may end in the middle of a record (the recorder was killed):
 * readers stop at the last whole one and say so.
 *
 * Threads: one at a time per reader or writer. */
#ifndef LENSD_CACHE_TRACE_H
#define LENSD_CACHE_TRACE_H

#include "proto/lens_error.h"
#include "proto/trace_ring.h"

#define LENSD_TRACE_FILE_MAGIC   0x31465254534e454cull /* "LENSTRF1" */
#define LENSD_TRACE_FILE_VERSION 1u
#define LENSD_TRACE_MAX_LENSES   (1u << 20) /* ids have 20 bits */

struct lensd_trace_header {
    uint64_t magic;
    uint32_t version, lenses, edges, reserved; /* reserved = 0 */
};

struct lensd_trace_writer; /* over a file */
/* Begins a file, replacing what is there. -EINVAL on tables that a reader would refuse, else -errno, with a sentence;
 * the tables are written out at once. */
int lensd_trace_create(const char *path, const struct lens_trace_tables *tables, struct lensd_trace_writer **out,
                       struct lens_error *err);
/* Buffered: an error may come with a later row, or with close. -EINVAL on a row that a reader would refuse. */
int lensd_trace_append(struct lensd_trace_writer *writer, const struct lens_trace_row *row, const uint32_t *words,
                       struct lens_error *err);
int lensd_trace_close(struct lensd_trace_writer *writer, struct lens_error *err); /* frees it in any case */

/* A whole trace in memory. */
struct lensd_trace {
    struct lens_trace_tables tables; /* owned */
    uint64_t rows;
    struct lens_trace_row *row; /* [rows] */
    uint64_t *first;            /* [rows] where its words begin */
    uint32_t *words;
    bool cut; /* the file ended inside a record */
};
/* -EBADMSG with a sentence when it isn't a trace: magic, version, ascending offsets, the bounds of every id and count
 * (a row scores each lens once at most, so n <= lenses), else -errno. Takes memory as the file goes on, never by what a
 * count in it says. `out` is filled on success alone. */
int lensd_trace_read(const char *path, struct lensd_trace *out, struct lens_error *err);
void lensd_trace_free(struct lensd_trace *trace); /* a zeroed one is fine */

#endif
