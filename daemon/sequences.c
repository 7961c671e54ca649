/* See sequences.h. Open addressing with linear probing and backward-shift deletion, so that nothing ever decays. */
#include "daemon/sequences.h"

#include "daemon/sys.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

__extension__ typedef unsigned __int128 wide; /* ISO C has none */

/* Names are the client's choice and every look-up is the engine's time: without a secret, names that all collide
 * would make each one a walk over the whole table. */
static void choose_key(struct lensd_sequences *table)
{
    if (getrandom(table->key, sizeof table->key, GRND_NONBLOCK) != (ssize_t)sizeof table->key) {
        table->key[0] = lensd_now_ns();
        table->key[1] = (uintptr_t)table->items;
    }
    table->key[1] |= 1;
}

static uint32_t home_of(const struct lensd_sequences *table, uint64_t name)
{
    wide product = (wide)(name ^ table->key[0]) * table->key[1];
    uint64_t mixed = (uint64_t)(product >> 64) ^ (uint64_t)product;
    mixed = (mixed ^ mixed >> 31) * UINT64_C(0xbf58476d1ce4e5b9); /* one product alone leaves runs of names together */
    return (uint32_t)(mixed >> 32) & (table->index_size - 1);
}

size_t lensd_sequences_storage(uint32_t capacity, uint32_t retained_capacity)
{
    return 2 * (size_t)retained_capacity * capacity + 1;
}

static void lay_out(struct lensd_sequences *table, uint32_t *storage, uint32_t retained_capacity)
{
    table->storage = storage;
    table->retained_capacity = retained_capacity;
    for (uint32_t i = 0; i < table->capacity; i++) {
        table->items[i].retained = storage + 2 * (size_t)retained_capacity * i;
        table->items[i].next = table->items[i].retained + retained_capacity;
        table->items[i].n_retained = 0;
    }
}

int lensd_sequences_init(struct lensd_sequences *table, uint32_t capacity, uint32_t *storage,
                         uint32_t retained_capacity)
{
    memset(table, 0, sizeof *table);
    table->capacity = capacity;
    table->index_size = 4;
    while (table->index_size < capacity * 2)
        table->index_size *= 2;
    table->items = lensd_calloc(capacity, sizeof *table->items);
    table->index = lensd_calloc(table->index_size, sizeof *table->index);
    if (table->items == NULL || table->index == NULL) {
        lensd_sequences_free(table);
        return -ENOMEM;
    }
    choose_key(table);
    for (uint32_t i = 0; i < capacity; i++)
        table->items[i].next_free = i + 1 < capacity ? i + 2 : 0;
    table->first_free = capacity > 0 ? 1 : 0;
    lay_out(table, storage, retained_capacity);
    return 0;
}

void lensd_sequences_free(struct lensd_sequences *table)
{
    lensd_free(table->items);
    lensd_free(table->index);
    lensd_free(table->storage);
    memset(table, 0, sizeof *table);
}

/* The place of `name` in the index, or the empty place where it would go. */
static uint32_t place_of(const struct lensd_sequences *table, uint64_t name)
{
    uint32_t at = home_of(table, name);
    while (table->index[at] != 0 && table->items[table->index[at] - 1].name != name)
        at = (at + 1) & (table->index_size - 1);
    return at;
}

struct lensd_sequence *lensd_sequences_find(struct lensd_sequences *table, uint64_t name)
{
    uint32_t item = table->index[place_of(table, name)];
    return item == 0 ? NULL : &table->items[item - 1];
}

struct lensd_sequence *lensd_sequences_get(struct lensd_sequences *table, uint64_t name)
{
    uint32_t at = place_of(table, name);
    if (table->index[at] != 0)
        return &table->items[table->index[at] - 1];
    if (table->used == table->capacity)
        return NULL;
    uint32_t i = table->first_free - 1;
    struct lensd_sequence *sequence = &table->items[i];
    table->first_free = sequence->next_free;
    sequence->name = name;
    sequence->n_retained = 0;
    sequence->used = true;
    sequence->busy = false;
    sequence->judged = false;
    sequence->stale = false;
    table->index[at] = i + 1;
    table->used++;
    return sequence;
}

void lensd_sequences_end(struct lensd_sequences *table, uint64_t name)
{
    uint32_t mask = table->index_size - 1;
    uint32_t hole = place_of(table, name);
    if (table->index[hole] == 0)
        return;
    struct lensd_sequence *ended = &table->items[table->index[hole] - 1];
    ended->used = false;
    ended->next_free = table->first_free;
    table->first_free = table->index[hole];
    table->used--;
    table->index[hole] = 0;
    for (uint32_t at = (hole + 1) & mask; table->index[at] != 0; at = (at + 1) & mask) {
        uint32_t home = home_of(table, table->items[table->index[at] - 1].name);
        if (((at - home) & mask) < ((at - hole) & mask))
            continue; /* it sits between its home and the hole's other side: may stay */
        table->index[hole] = table->index[at];
        table->index[at] = 0;
        hole = at;
    }
}

uint32_t *lensd_sequences_rebase(struct lensd_sequences *table, uint32_t *storage, uint32_t retained_capacity)
{
    uint32_t *old = table->storage;
    lay_out(table, storage, retained_capacity);
    for (uint32_t i = 0; i < table->capacity; i++)
        table->items[i].stale = table->items[i].used;
    return old;
}

uint64_t lensd_sequences_key(const struct lensd_sequences *table, uint64_t name)
{
    uint64_t mixed = (name ^ table->key[0]) * table->key[1]; /* key[1] is odd: nothing is lost */
    mixed = (mixed ^ mixed >> 31) * UINT64_C(0xbf58476d1ce4e5b9);
    return mixed ^ mixed >> 29;
}
