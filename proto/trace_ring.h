/* The trace ring: what rows asked of the cache, from the engine to one recorder (`lensctl trace record`), in shared
 * memory that the daemon creates and the recorder maps.
 *
 * One producer (the engine thread), one consumer. Lossy: when the recorder is slow, rows are left out and counted; the
 * engine never waits and never reads anything back from the memory but the consumer's tail, which it treats as a hint
 * (a forged tail costs the recorder its own rows, nobody else anything).
 *
 * Memory: struct lens_trace_shm, then the tables (u8 layer[lenses] padded to 4, i32 child_offsets[lenses+1], i32
 * child_ids[edges]), then from ring_offset (multiple of 64) ring_words u32s (a power of two). Head and tail count words
 * ever passed. A record is struct lens_trace_row (6 words) and its n words, without wrapping holes: it may wrap
 * anywhere.
 *
 * Threads: one for the producer, one for the consumer; both may run at the same time. */
#ifndef LENS_TRACE_RING_H
#define LENS_TRACE_RING_H

#include <stdbool.h>
#include <stdint.h>

#define LENS_TRACE_MAGIC    0x31435254534e454cull /* "LENSTRC1" */
#define LENS_TRACE_VERSION  1u
#define LENS_TRACE_LEFT_OUT 4095u      /* logit code of a lens that was given up */
#define LENS_TRACE_ROW_MAX  (1u << 20) /* words of a row at most; an id has 20 bits, so packs have no more lenses */

struct lens_trace_shm {
    uint64_t magic;
    uint32_t version, lenses, edges, ring_words;
    uint64_t tables_offset, ring_offset, total_bytes;
    uint8_t reserved0[80];
    uint64_t head;    /* daemon */
    uint64_t dropped; /* daemon: rows left out */
    uint8_t reserved1[112];
    uint64_t tail; /* recorder */
    uint8_t reserved2[120];
};

/* One answered row. */
struct lens_trace_row {
    uint32_t n;           /* words that follow */
    uint32_t n_active;    /* the first so many were the active set */
    uint64_t sequence;    /* unique over all sessions of the daemon's life */
    uint32_t base_layers; /* bits of layers 0..31 that were base for the row's session */
    uint32_t flags;       /* enum lens_trace_flags */
};
enum lens_trace_flags { LENS_TRACE_PREWARM = 1u << 0, LENS_TRACE_LAST = 1u << 1 };

/* The hierarchy the ids mean. */
struct lens_trace_tables {
    uint32_t lenses, edges;
    const uint8_t *layer;         /* [lenses] */
    const int32_t *child_offsets; /* [lenses + 1] */
    const int32_t *child_ids;     /* [edges] */
};

static inline uint32_t lens_trace_word(uint32_t lens, float logit)
{
    float scaled = (logit + 16.0f) * 128.0f + 0.5f;
    uint32_t code = !(logit == logit)   ? LENS_TRACE_LEFT_OUT
                    : scaled <= 0.0f    ? 0
                    : scaled >= 4094.0f ? 4094
                                        : (uint32_t)scaled;
    return lens | code << 20;
}
static inline uint32_t lens_trace_lens(uint32_t word)
{
    return word & 0xfffffu;
}
/* NaN when it was left out. */
static inline float lens_trace_logit(uint32_t word)
{
    uint32_t code = word >> 20;
    return code == LENS_TRACE_LEFT_OUT ? __builtin_nanf("") : (float)code / 128.0f - 16.0f;
}

/* ---- the daemon's side ------------------------------------------------------------------------------------------ */

struct lens_trace_producer {
    struct lens_trace_shm *shm;
    uint32_t *ring;
    uint64_t head, next, dropped; /* private: never read back; next: of the row that is being put */
    uint32_t ring_words;
};

/* Bytes of the memory, whole pages. 0 when ring_words is no power of two of 64 to 2^30, or there are more than
 * LENS_TRACE_ROW_MAX lenses. */
uint64_t lens_trace_bytes(const struct lens_trace_tables *tables, uint32_t ring_words);
/* Lays `memory` (lens_trace_bytes, zeroed, 8-byte aligned) out and fills in the tables. */
void lens_trace_producer_init(struct lens_trace_producer *producer, void *memory,
                              const struct lens_trace_tables *tables, uint32_t ring_words);
/* Room for a row of n words? When not, the row is left out and counted, and nothing may be put. Else exactly row->n
 * words follow, put one by one and published together. A tail that can't be true leaves rows out for as long as it
 * stays so. */
bool lens_trace_begin(struct lens_trace_producer *producer, const struct lens_trace_row *row);
void lens_trace_put(struct lens_trace_producer *producer, uint32_t word);
void lens_trace_publish(struct lens_trace_producer *producer);

/* ---- the recorder's side ---------------------------------------------------------------------------------------- */

struct lens_trace_consumer {
    struct lens_trace_shm *shm;
    const uint32_t *ring;
    uint64_t tail; /* private: never read back */
    uint32_t ring_words;
    struct lens_trace_tables tables; /* views into the memory */
};

/* Checks the layout of `memory` (8-byte aligned) against `bytes`, and the tables: offsets ascending, ids below lenses.
 * -EPROTO with nothing done when it doesn't hold together. */
int lens_trace_consumer_init(struct lens_trace_consumer *consumer, void *memory, uint64_t bytes);
/* 1: `row` and its words were copied out, checked (n, n_active, ids) and consumed; 0: nothing there; -EPROTO: the ring
 * holds what no daemon writes; -EMSGSIZE: the row has more words than `capacity` (LENS_TRACE_ROW_MAX fits all). After
 * an error nothing is consumed. */
int lens_trace_take(struct lens_trace_consumer *consumer, struct lens_trace_row *row, uint32_t *words,
                    uint32_t capacity);
/* Rows left out so far. */
uint64_t lens_trace_dropped(const struct lens_trace_consumer *consumer);

#endif
