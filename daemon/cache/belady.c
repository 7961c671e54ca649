/* Belady's optimum: of the lenses that a row doesn't want, those leave that are wanted last. */
#include "daemon/cache/simulate.h"

#include <errno.h>
#include <stdlib.h>

#define OUT UINT32_MAX

/* Held lenses as a heap, the one wanted last on top. */
struct heap {
    uint32_t *lens;  /* [n] */
    uint32_t *place; /* [N] in `lens`, OUT = not held */
    uint64_t *next;  /* [N] the row that wants it next */
    uint32_t n;
};

static void set_place(struct heap *heap, uint32_t i, uint32_t lens)
{
    heap->lens[i] = lens;
    heap->place[lens] = i;
}

static void sift_up(struct heap *heap, uint32_t i)
{
    uint32_t lens = heap->lens[i];
    for (; i > 0 && heap->next[heap->lens[(i - 1) / 2]] < heap->next[lens]; i = (i - 1) / 2)
        set_place(heap, i, heap->lens[(i - 1) / 2]);
    set_place(heap, i, lens);
}

static void sift_down(struct heap *heap, uint32_t i)
{
    uint32_t lens = heap->lens[i];
    for (uint32_t child; (child = 2 * i + 1) < heap->n; i = child) {
        if (child + 1 < heap->n && heap->next[heap->lens[child + 1]] > heap->next[heap->lens[child]])
            child++;
        if (heap->next[heap->lens[child]] <= heap->next[lens])
            break;
        set_place(heap, i, heap->lens[child]);
    }
    set_place(heap, i, lens);
}

static void add(struct heap *heap, uint32_t lens, uint64_t next)
{
    heap->next[lens] = next;
    set_place(heap, heap->n, lens);
    sift_up(heap, heap->n++);
}

static void take(struct heap *heap, uint32_t lens)
{
    uint32_t i = heap->place[lens], last = heap->lens[--heap->n];
    heap->place[lens] = OUT;
    if (last == lens)
        return;
    set_place(heap, i, last);
    sift_up(heap, i);
    sift_down(heap, heap->place[last]);
}

/* The row's held lenses step aside, as many others leave as its misses need places, then all of the row's come in. A
 * row larger than the cache leaves the best `capacity` of all. */
static void play_row(struct heap *heap, const struct lensd_sim_input *input, uint64_t row, uint32_t capacity,
                     struct lensd_sim_figures *out)
{
    uint64_t from = input->begin[row], to = input->begin[row + 1];
    uint64_t wanted = to - from;
    for (uint64_t i = from; i < to; i++) {
        bool held = heap->place[input->lens[i]] != OUT;
        if (held)
            take(heap, input->lens[i]);
        out->hits += held;
        out->misses += !held;
    }
    while (wanted <= capacity && heap->n + wanted > capacity)
        take(heap, heap->lens[0]);
    for (uint64_t i = from; i < to; i++)
        add(heap, input->lens[i], input->next[i]);
    while (heap->n > capacity)
        take(heap, heap->lens[0]);
    out->rows++;
    out->requests += wanted;
}

int lensd_sim_belady(const struct lensd_sim_input *input, uint32_t capacity, struct lensd_sim_figures *out,
                     struct lens_error *err)
{
    uint32_t lenses = input->trace->tables.lenses;
    if (capacity == 0)
        return lens_error_set(err, -EINVAL, "a cache to simulate holds at least one lens, found 0");
    struct heap heap = {.lens = calloc(lenses, sizeof *heap.lens),
                        .place = calloc(lenses, sizeof *heap.place),
                        .next = calloc(lenses, sizeof *heap.next)};
    bool there = heap.lens != NULL && heap.place != NULL && heap.next != NULL;
    if (there) {
        *out = (struct lensd_sim_figures){0};
        for (uint32_t lens = 0; lens < lenses; lens++)
            heap.place[lens] = OUT;
        for (uint64_t row = 0; row < input->trace->rows; row++)
            play_row(&heap, input, row, capacity, out);
    }
    free(heap.lens);
    free(heap.place);
    free(heap.next);
    return there ? 0 : lens_error_set(err, -ENOMEM, "no memory to simulate %u lenses", lenses);
}
