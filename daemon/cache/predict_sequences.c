/* The sequences that the predictor remembers: a hash table over a fixed array, with a list by last row. */
#include "daemon/cache/predict_private.h"

#include <errno.h>
#include <stdlib.h>

int predict_sequences_init(struct predict_sequences *s, uint32_t capacity, uint32_t window, uint32_t best)
{
    uint32_t hashes = 1;
    while (hashes < capacity)
        hashes *= 2;
    *s = (struct predict_sequences){
        .capacity = capacity, .newest = PREDICT_NONE, .oldest = PREDICT_NONE, .window = window, .best = best};
    s->hash_mask = hashes - 1;
    s->head = malloc(hashes * sizeof *s->head);
    s->sequence = calloc(capacity, sizeof *s->sequence);
    s->best_of = calloc((size_t)capacity * window, best * sizeof *s->best_of);
    if (s->head == NULL || s->sequence == NULL || s->best_of == NULL) {
        predict_sequences_free(s);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < hashes; i++)
        s->head[i] = PREDICT_NONE;
    for (uint32_t i = 0; i < capacity; i++)
        s->sequence[i].chain = i + 1 < capacity ? i + 1 : PREDICT_NONE;
    return 0;
}

void predict_sequences_free(struct predict_sequences *s)
{
    free(s->head);
    free(s->sequence);
    free(s->best_of);
    *s = (struct predict_sequences){0};
}

static uint32_t *chain_of(const struct predict_sequences *s, uint64_t name)
{
    return &s->head[(uint32_t)((name * 0x9e3779b97f4a7c15u) >> 32) & s->hash_mask];
}

static void unlink_age(struct predict_sequences *s, uint32_t i)
{
    uint32_t newer = s->sequence[i].newer, older = s->sequence[i].older;
    if (newer != PREDICT_NONE)
        s->sequence[newer].older = older;
    else
        s->newest = older;
    if (older != PREDICT_NONE)
        s->sequence[older].newer = newer;
    else
        s->oldest = newer;
}

static void link_newest(struct predict_sequences *s, uint32_t i)
{
    s->sequence[i].newer = PREDICT_NONE;
    s->sequence[i].older = s->newest;
    if (s->newest != PREDICT_NONE)
        s->sequence[s->newest].newer = i;
    else
        s->oldest = i;
    s->newest = i;
}

static uint32_t find(const struct predict_sequences *s, uint64_t name)
{
    uint32_t i = *chain_of(s, name);
    while (i != PREDICT_NONE && s->sequence[i].name != name)
        i = s->sequence[i].chain;
    return i;
}

static void drop(struct predict_sequences *s, uint32_t i)
{
    uint32_t *link = chain_of(s, s->sequence[i].name);
    while (*link != i)
        link = &s->sequence[*link].chain;
    *link = s->sequence[i].chain;
    unlink_age(s, i);
    s->sequence[i].chain = s->free;
    s->free = i;
}

uint32_t predict_sequences_get(struct predict_sequences *s, uint64_t name)
{
    uint32_t i = find(s, name), *chain = chain_of(s, name);
    if (i != PREDICT_NONE) {
        unlink_age(s, i);
    } else {
        if (s->free == PREDICT_NONE)
            drop(s, s->oldest);
        i = s->free;
        s->free = s->sequence[i].chain;
        s->sequence[i] = (struct predict_sequence){.name = name, .chain = *chain};
        *chain = i;
    }
    link_newest(s, i);
    return i;
}

void predict_sequences_forget(struct predict_sequences *s, uint64_t name)
{
    uint32_t i = find(s, name);
    if (i != PREDICT_NONE)
        drop(s, i);
}
