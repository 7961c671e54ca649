/* See trace_ring.h. Of what the other side may write, each side reads one index, by an atomic load, and checks it
 * against its own private one; geometry is read once and kept privately. */
#include "proto/trace_ring.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

enum { PAGE = 4096, LINE = 64, ROW_WORDS = sizeof(struct lens_trace_row) / 4 };

_Static_assert(sizeof(struct lens_trace_row) == 24, "a row's head is six words");
_Static_assert(offsetof(struct lens_trace_shm, head) == 128 && offsetof(struct lens_trace_shm, tail) == 256 &&
                   sizeof(struct lens_trace_shm) == 384,
               "each side's index has cache lines of its own");

/* Where things lie in the memory. */
struct layout {
    uint64_t offsets, ids, ring, total;
};

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

static bool geometry_holds(uint32_t lenses, uint32_t ring_words)
{
    return lenses <= LENS_TRACE_ROW_MAX && ring_words >= 64 && ring_words <= 1u << 30 &&
           (ring_words & (ring_words - 1)) == 0;
}

/* No sum overflows: lenses, edges and words are 32 bits. */
static struct layout layout_of(uint32_t lenses, uint32_t edges, uint32_t ring_words)
{
    struct layout l;
    l.offsets = sizeof(struct lens_trace_shm) + round_up(lenses, 4);
    l.ids = l.offsets + ((uint64_t)lenses + 1) * sizeof(int32_t);
    l.ring = round_up(l.ids + (uint64_t)edges * sizeof(int32_t), LINE);
    l.total = round_up(l.ring + (uint64_t)ring_words * sizeof(uint32_t), PAGE);
    return l;
}

/* ---- the daemon's side ------------------------------------------------------------------------------------------ */

uint64_t lens_trace_bytes(const struct lens_trace_tables *tables, uint32_t ring_words)
{
    if (!geometry_holds(tables->lenses, ring_words))
        return 0;
    return layout_of(tables->lenses, tables->edges, ring_words).total;
}

void lens_trace_producer_init(struct lens_trace_producer *producer, void *memory,
                              const struct lens_trace_tables *tables, uint32_t ring_words)
{
    struct layout l = layout_of(tables->lenses, tables->edges, ring_words);
    unsigned char *base = memory;
    struct lens_trace_shm *shm = memory;
    shm->version = LENS_TRACE_VERSION;
    shm->lenses = tables->lenses;
    shm->edges = tables->edges;
    shm->ring_words = ring_words;
    shm->tables_offset = sizeof *shm;
    shm->ring_offset = l.ring;
    shm->total_bytes = l.total;
    if (tables->lenses > 0)
        memcpy(base + sizeof *shm, tables->layer, tables->lenses);
    memcpy(base + l.offsets, tables->child_offsets, ((size_t)tables->lenses + 1) * sizeof(int32_t));
    if (tables->edges > 0)
        memcpy(base + l.ids, tables->child_ids, (size_t)tables->edges * sizeof(int32_t));
    *producer =
        (struct lens_trace_producer){.shm = shm, .ring = (uint32_t *)(void *)(base + l.ring), .ring_words = ring_words};
    __atomic_store_n(&shm->magic, LENS_TRACE_MAGIC, __ATOMIC_RELEASE);
}

bool lens_trace_begin(struct lens_trace_producer *producer, const struct lens_trace_row *row)
{
    /* A tail ahead of head makes `used` huge, one far behind larger than the ring: both leave no room. */
    uint64_t used = producer->head - __atomic_load_n(&producer->shm->tail, __ATOMIC_ACQUIRE);
    uint64_t needed = (uint64_t)ROW_WORDS + row->n;
    if (used > producer->ring_words || needed > producer->ring_words - used) {
        producer->dropped++;
        __atomic_store_n(&producer->shm->dropped, producer->dropped, __ATOMIC_RELAXED);
        return false;
    }
    uint32_t words[ROW_WORDS];
    memcpy(words, row, sizeof words);
    producer->next = producer->head;
    for (unsigned i = 0; i < ROW_WORDS; i++)
        lens_trace_put(producer, words[i]);
    return true;
}

void lens_trace_put(struct lens_trace_producer *producer, uint32_t word)
{
    producer->ring[producer->next++ & (producer->ring_words - 1)] = word;
}

void lens_trace_publish(struct lens_trace_producer *producer)
{
    producer->head = producer->next;
    __atomic_store_n(&producer->shm->head, producer->head, __ATOMIC_RELEASE);
}

/* ---- the recorder's side ---------------------------------------------------------------------------------------- */

static bool tables_hold(const struct lens_trace_tables *t)
{
    if (t->child_offsets[0] != 0 || t->child_offsets[t->lenses] != (int64_t)t->edges)
        return false;
    for (uint32_t i = 0; i < t->lenses; i++) {
        if (t->child_offsets[i + 1] < t->child_offsets[i])
            return false;
    }
    for (uint32_t i = 0; i < t->edges; i++) {
        if (t->child_ids[i] < 0 || (uint32_t)t->child_ids[i] >= t->lenses)
            return false;
    }
    return true;
}

int lens_trace_consumer_init(struct lens_trace_consumer *consumer, void *memory, uint64_t bytes)
{
    const unsigned char *base = memory;
    struct lens_trace_shm shm;
    if (bytes < sizeof shm)
        return -EPROTO;
    memcpy(&shm, memory, offsetof(struct lens_trace_shm, head));
    if (shm.magic != LENS_TRACE_MAGIC || shm.version != LENS_TRACE_VERSION ||
        !geometry_holds(shm.lenses, shm.ring_words))
        return -EPROTO;
    struct layout l = layout_of(shm.lenses, shm.edges, shm.ring_words);
    if (shm.tables_offset != sizeof shm || shm.ring_offset != l.ring || shm.total_bytes != l.total || l.total > bytes)
        return -EPROTO;
    struct lens_trace_tables tables = {
        .lenses = shm.lenses,
        .edges = shm.edges,
        .layer = base + sizeof shm,
        .child_offsets = (const int32_t *)(const void *)(base + l.offsets),
        .child_ids = (const int32_t *)(const void *)(base + l.ids),
    };
    if (!tables_hold(&tables))
        return -EPROTO;
    *consumer = (struct lens_trace_consumer){
        .shm = memory,
        .ring = (const uint32_t *)(const void *)(base + l.ring),
        .ring_words = shm.ring_words,
        .tables = tables,
    };
    return 0;
}

static uint32_t word_at(const struct lens_trace_consumer *consumer, uint64_t at)
{
    return consumer->ring[at & (consumer->ring_words - 1)];
}

int lens_trace_take(struct lens_trace_consumer *consumer, struct lens_trace_row *row, uint32_t *words,
                    uint32_t capacity)
{
    uint64_t there = __atomic_load_n(&consumer->shm->head, __ATOMIC_ACQUIRE) - consumer->tail;
    uint32_t head[ROW_WORDS];
    struct lens_trace_row taken;
    if (there == 0)
        return 0;
    if (there > consumer->ring_words || there < ROW_WORDS)
        return -EPROTO;
    for (unsigned i = 0; i < ROW_WORDS; i++)
        head[i] = word_at(consumer, consumer->tail + i);
    memcpy(&taken, head, sizeof taken);
    if (taken.n > LENS_TRACE_ROW_MAX || taken.n > there - ROW_WORDS || taken.n_active > taken.n)
        return -EPROTO;
    if (taken.n > capacity)
        return -EMSGSIZE;
    for (uint32_t i = 0; i < taken.n; i++) {
        words[i] = word_at(consumer, consumer->tail + ROW_WORDS + i);
        if (lens_trace_lens(words[i]) >= consumer->tables.lenses)
            return -EPROTO;
    }
    *row = taken;
    consumer->tail += (uint64_t)ROW_WORDS + taken.n;
    __atomic_store_n(&consumer->shm->tail, consumer->tail, __ATOMIC_RELEASE);
    return 1;
}

uint64_t lens_trace_dropped(const struct lens_trace_consumer *consumer)
{
    return __atomic_load_n(&consumer->shm->dropped, __ATOMIC_RELAXED);
}
