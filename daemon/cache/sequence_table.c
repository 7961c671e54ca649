#include "daemon/cache/sequence_table.h"

#include <errno.h>
#include <stdlib.h>

int sequence_table_init(struct sequence_table *t, uint32_t capacity)
{
    uint32_t hashes = 1;
    while (hashes < capacity && hashes < 1u << 31)
        hashes *= 2;
    *t = (struct sequence_table){.capacity = capacity, .newest = SEQUENCE_NONE, .oldest = SEQUENCE_NONE};
    t->hash_mask = hashes - 1;
    t->head = malloc(hashes * sizeof *t->head);
    t->link = calloc(capacity, sizeof *t->link);
    if (t->head == NULL || t->link == NULL) {
        sequence_table_free(t);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < hashes; i++)
        t->head[i] = SEQUENCE_NONE;
    for (uint32_t i = 0; i < capacity; i++)
        t->link[i].chain = i + 1 < capacity ? i + 1 : SEQUENCE_NONE;
    return 0;
}

void sequence_table_free(struct sequence_table *t)
{
    free(t->head);
    free(t->link);
    *t = (struct sequence_table){0};
}

static uint32_t *chain_of(const struct sequence_table *t, uint64_t name)
{
    return &t->head[(uint32_t)((name * 0x9e3779b97f4a7c15u) >> 32) & t->hash_mask];
}

static void unlink_age(struct sequence_table *t, uint32_t i)
{
    uint32_t newer = t->link[i].newer, older = t->link[i].older;
    if (newer != SEQUENCE_NONE)
        t->link[newer].older = older;
    else
        t->newest = older;
    if (older != SEQUENCE_NONE)
        t->link[older].newer = newer;
    else
        t->oldest = newer;
}

static void link_newest(struct sequence_table *t, uint32_t i)
{
    t->link[i].newer = SEQUENCE_NONE;
    t->link[i].older = t->newest;
    if (t->newest != SEQUENCE_NONE)
        t->link[t->newest].newer = i;
    else
        t->oldest = i;
    t->newest = i;
}

uint32_t sequence_table_find(const struct sequence_table *t, uint64_t name)
{
    uint32_t i = *chain_of(t, name);
    while (i != SEQUENCE_NONE && t->link[i].name != name)
        i = t->link[i].chain;
    return i;
}

void sequence_table_drop(struct sequence_table *t, uint32_t i)
{
    uint32_t *chain = chain_of(t, t->link[i].name);
    while (*chain != i)
        chain = &t->link[*chain].chain;
    *chain = t->link[i].chain;
    unlink_age(t, i);
    t->link[i].chain = t->free;
    t->free = i;
    t->used--;
}

uint32_t sequence_table_see(struct sequence_table *t, uint64_t name, bool *fresh)
{
    uint32_t i = sequence_table_find(t, name), *chain = chain_of(t, name);
    *fresh = i == SEQUENCE_NONE;
    if (*fresh) {
        i = t->free;
        t->free = t->link[i].chain;
        t->link[i] = (struct sequence_link){.name = name, .chain = *chain};
        *chain = i;
        t->used++;
    } else {
        unlink_age(t, i);
    }
    link_newest(t, i);
    return i;
}
