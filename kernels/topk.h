/* The best k of a stream of (key, id), best = larger key, then smaller id: a bounded heap in the caller's memory.
 * Pure, allocates nothing. Keys must not be NaN. */
#ifndef LENS_TOPK_H
#define LENS_TOPK_H

#include <stdbool.h>
#include <stdint.h>

struct lens_topk_entry {
    double key;
    uint32_t id;
};

struct lens_topk {
    struct lens_topk_entry *entries; /* capacity of them; the worst one kept is at 0 */
    uint32_t capacity, n;
};

static inline bool lens_topk_before(struct lens_topk_entry a, struct lens_topk_entry b)
{
    return a.key > b.key || (a.key == b.key && a.id < b.id);
}

static inline void lens_topk_sink(struct lens_topk_entry *entries, uint32_t n, uint32_t at)
{
    struct lens_topk_entry moving = entries[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= n)
            break;
        if (child + 1 < n && lens_topk_before(entries[child], entries[child + 1]))
            child++;
        if (!lens_topk_before(moving, entries[child]))
            break;
        entries[at] = entries[child];
        at = child;
    }
    entries[at] = moving;
}

static inline void lens_topk_push(struct lens_topk *top, double key, uint32_t id)
{
    struct lens_topk_entry entry = {key, id};
    if (top->n < top->capacity) {
        uint32_t at = top->n++;
        while (at > 0 && lens_topk_before(top->entries[(at - 1) / 2], entry)) {
            top->entries[at] = top->entries[(at - 1) / 2];
            at = (at - 1) / 2;
        }
        top->entries[at] = entry;
        return;
    }
    if (top->capacity == 0 || !lens_topk_before(entry, top->entries[0]))
        return;
    top->entries[0] = entry;
    lens_topk_sink(top->entries, top->n, 0);
}

/* Turns the heap into a list, best first; no push after it. */
static inline void lens_topk_sort(struct lens_topk *top)
{
    for (uint32_t left = top->n; left > 1; left--) {
        struct lens_topk_entry worst = top->entries[0];
        top->entries[0] = top->entries[left - 1];
        top->entries[left - 1] = worst;
        lens_topk_sink(top->entries, left - 1, 0);
    }
}

#endif
