/* Inside the trace files: what makes tables and rows acceptable, the same for writing and reading. */
#ifndef LENSD_CACHE_TRACE_TABLES_H
#define LENSD_CACHE_TRACE_TABLES_H

#include "daemon/cache/trace.h"

_Static_assert(sizeof(struct lensd_trace_header) == 24, "as the file has it");
_Static_assert(sizeof(struct lens_trace_row) == 24, "as the file has it");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "trace files are little endian");

/* What is wrong with them, or NULL. */
const char *trace_tables_wrong(const struct lens_trace_tables *tables);
const char *trace_row_wrong(uint32_t lenses, const struct lens_trace_row *row, const uint32_t *words);

static inline uint32_t trace_padding(uint32_t lenses) /* bytes after the layers */
{
    return (4 - lenses % 4) % 4;
}

#endif
