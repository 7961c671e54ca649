/* See tracing.h. */
#include "daemon/tracing.h"

#include "daemon/sealed_memory.h"
#include "daemon/sys.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

int lensd_tracing_create(const struct lens_pack *pack, struct lensd_tracing **out, struct lens_error *err)
{
    const struct lens_trace_tables tables = {
        .lenses = pack->lenses,
        .edges = (uint32_t)pack->child_offsets[pack->lenses],
        .layer = pack->layer,
        .child_offsets = pack->child_offsets,
        .child_ids = pack->child_ids,
    };
    *out = NULL;
    uint64_t bytes = lens_trace_bytes(&tables, LENSD_TRACE_RING_WORDS);
    if (bytes == 0)
        return lens_error_set(err, -ENOTSUP, "a trace can name %u lenses, the pack has %u", LENS_TRACE_ROW_MAX,
                              pack->lenses);
    struct lensd_tracing *tracing = lensd_calloc(1, sizeof *tracing);
    if (tracing == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a trace");
    int r = lensd_sealed_memory("lensd-trace", "a trace's memory", bytes, &tracing->memfd, &tracing->base, err);
    if (r != 0) {
        lensd_free(tracing);
        return r;
    }
    tracing->bytes = bytes;
    lens_trace_producer_init(&tracing->producer, tracing->base, &tables, LENSD_TRACE_RING_WORDS);
    *out = tracing;
    return 0;
}

void lensd_tracing_destroy(struct lensd_tracing *tracing)
{
    if (tracing == NULL)
        return;
    munmap(tracing->base, tracing->bytes);
    close(tracing->memfd);
    lensd_free(tracing);
}

void lensd_tracing_row(struct lensd_tracing *tracing, const struct lens_trace_row *row, const uint32_t *scored,
                       const float *logits)
{
    if (!lens_trace_begin(&tracing->producer, row))
        return;
    for (uint32_t i = 0; i < row->n; i++)
        lens_trace_put(&tracing->producer, lens_trace_word(scored[i], logits[scored[i]]));
    lens_trace_publish(&tracing->producer);
    tracing->rows++;
}

uint64_t lensd_tracing_rows(const struct lensd_tracing *tracing)
{
    return tracing->rows;
}

uint64_t lensd_tracing_dropped(const struct lensd_tracing *tracing)
{
    return tracing->producer.dropped;
}
