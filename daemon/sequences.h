/* The sequences of one session: from the client's 64-bit name to the retained set R (DESIGN 4.6).
 *
 * All memory is taken at creation; lookups and updates allocate nothing. Threads: the engine's. */
#ifndef LENSD_SEQUENCES_H
#define LENSD_SEQUENCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lensd_sequence {
    uint64_t name;
    uint32_t *retained; /* lens ids; retained_capacity of the table */
    uint32_t *next;     /* the other half of the double buffer: a job writes here while it reads retained */
    uint32_t n_retained;
    uint32_t next_free; /* item + 1 of the next unused one, 0 = none; meaningful while unused */
    bool used;
    bool busy;   /* a submission of it is in the running batch */
    bool judged; /* rules have judged a row of it: the states at its place are its own */
    bool stale;  /* its retained set was dropped by a pack swap and no row has said so yet */
};

struct lensd_sequences {
    struct lensd_sequence *items;
    uint32_t *index; /* open addressing: item + 1, 0 = empty */
    uint32_t *storage;
    uint32_t capacity, index_size, retained_capacity;
    uint64_t key[2];       /* a secret that spreads names over the index */
    _Atomic uint32_t used; /* written by the engine's thread alone; any thread may read it */
    uint32_t first_free;   /* item + 1 */
};

/* u32s of storage that `capacity` sequences with two sets of `retained_capacity` ids need. */
size_t lensd_sequences_storage(uint32_t capacity, uint32_t retained_capacity);

/* `storage` (lensd_sequences_storage of them, from lensd_calloc) belongs to the table from now on. -ENOMEM (storage
 * stays the caller's), else 0. */
int lensd_sequences_init(struct lensd_sequences *table, uint32_t capacity, uint32_t *storage,
                         uint32_t retained_capacity);
void lensd_sequences_free(struct lensd_sequences *table);

/* Finds, or makes with an empty R. NULL when the table is full. */
struct lensd_sequence *lensd_sequences_get(struct lensd_sequences *table, uint64_t name);
/* Finds only; NULL when it isn't there. */
struct lensd_sequence *lensd_sequences_find(struct lensd_sequences *table, uint64_t name);
void lensd_sequences_end(struct lensd_sequences *table, uint64_t name);

/* One number for a sequence that no other of its table shares, nor, but by chance, any of another table: each has a
 * secret that clients don't know. */
uint64_t lensd_sequences_key(const struct lensd_sequences *table, uint64_t name);

/* Forgets every R, because ids mean something else now, and marks every sequence stale. Takes `storage` for sets of
 * the new capacity and returns the old one, for the caller to free (on another thread). Allocates nothing. */
uint32_t *lensd_sequences_rebase(struct lensd_sequences *table, uint32_t *storage, uint32_t retained_capacity);

#endif
