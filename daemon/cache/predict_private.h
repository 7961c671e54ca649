/* Inside the predictor: what it remembers of each sequence (predict_sequences.c), and its counts (predict.c). */
#ifndef LENSD_CACHE_PREDICT_PRIVATE_H
#define LENSD_CACHE_PREDICT_PRIVATE_H

#include "daemon/cache/predict.h"

#include <stddef.h>

#define PREDICT_NONE UINT32_MAX

struct predict_near {
    uint32_t lens, bucket; /* bucket of its distance below the threshold */
};

struct predict_sequence {
    uint64_t name;
    uint32_t newer, older; /* by last row */
    uint32_t chain;        /* next of the same hash, or next free */
    uint32_t rows;         /* rows in the window so far */
    uint32_t at;           /* where the next row's best go in the window */
    uint32_t n_near;
    struct predict_near near[LENSD_PREDICTOR_NEAR];
};

struct predict_sequences {
    uint32_t capacity, newest, oldest, free;
    uint32_t window, best;
    uint32_t *head; /* [hash_mask + 1] chains */
    uint32_t hash_mask;
    struct predict_sequence *sequence; /* [capacity] */
    uint32_t *best_of;                 /* [capacity][window][best] lenses, PREDICT_NONE behind the last */
};

int predict_sequences_init(struct predict_sequences *s, uint32_t capacity, uint32_t window, uint32_t best);
void predict_sequences_free(struct predict_sequences *s);
/* The sequence, as the newest; an unknown one is begun, in the place of the longest unseen if need be. */
uint32_t predict_sequences_get(struct predict_sequences *s, uint64_t name);
void predict_sequences_forget(struct predict_sequences *s, uint64_t name); /* unknown: nothing happens */

/* The best of a row in the window of sequence `i`. */
static inline uint32_t *predict_best(const struct predict_sequences *s, uint32_t i, uint32_t row)
{
    return s->best_of + ((size_t)i * s->window + row) * s->best;
}

#endif
