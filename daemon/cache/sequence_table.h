/* Sequences by name, a bounded number: a hash table over a fixed array, with a list by last sight. What is known of a
 * sequence stands in its user's own array, by the same index. Inside daemon/cache only. */
#ifndef LENSD_CACHE_SEQUENCE_TABLE_H
#define LENSD_CACHE_SEQUENCE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#define SEQUENCE_NONE UINT32_MAX

struct sequence_link {
    uint64_t name;
    uint32_t newer, older; /* by last sight */
    uint32_t chain;        /* next of the same hash, or next free */
};

struct sequence_table {
    uint32_t capacity, used, newest, oldest, free, hash_mask;
    uint32_t *head; /* [hash_mask + 1] chains */
    struct sequence_link *link;
};

int sequence_table_init(struct sequence_table *table, uint32_t capacity); /* -ENOMEM with nothing left behind */
void sequence_table_free(struct sequence_table *table);
uint32_t sequence_table_find(const struct sequence_table *table, uint64_t name); /* SEQUENCE_NONE */
/* The sequence, now the newest; an unknown one takes a free place, of which there must be one: *fresh. */
uint32_t sequence_table_see(struct sequence_table *table, uint64_t name, bool *fresh);
void sequence_table_drop(struct sequence_table *table, uint32_t index);

#endif
