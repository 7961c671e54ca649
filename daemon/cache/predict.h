/* Foresight: which lenses a sequence will want next (SEEDS H15).
 *
 * Two sources. Co-occurrence: decayed counts C[a->b], a among the best that fired in a row, b newly wanted by one of
 * the next `window` rows of the same sequence (not always there, and not wanted by the row before); C[a->b] over the
 * windows that followed a estimates how likely they begin to want b. Near parents: lenses just below the load
 * threshold, whose children would be scored if they rise; how often such ones rise, by their distance, is counted too.
 * Suggestions are ordered by their estimated probability. What is suggested changes when lenses are loaded, never what
 * a row answers.
 *
 * All memory is taken at creation. Bounds: LENSD_PREDICTOR_SUCCESSORS counts a lens (a new one takes a free
 * place, else that of one that decayed below 1), LENSD_PREDICTOR_NEAR near parents a row (the nearest),
 * config.sequences sequences (the longest unseen is forgotten). The calls allocate nothing. Threads: one at a time. */
#ifndef LENSD_CACHE_PREDICT_H
#define LENSD_CACHE_PREDICT_H

#include "proto/lens_error.h"

#include <stdbool.h>
#include <stdint.h>

#define LENSD_PREDICTOR_SUCCESSORS 64u
#define LENSD_PREDICTOR_NEAR       16u
#define LENSD_PREDICTOR_MAX_WINDOW 16u
#define LENSD_PREDICTOR_MAX_BEST   64u

struct lensd_predictor_config {
    uint32_t lenses;
    const int32_t *child_offsets, *child_ids; /* [N+1], [E]; lent; no child_ids without edges */
    uint32_t window;                          /* rows after t that count, 1..LENSD_PREDICTOR_MAX_WINDOW; 4 */
    uint32_t best;      /* lenses of a row that count as its best, 1..LENSD_PREDICTOR_MAX_BEST; 10 */
    float decay;        /* of all counts each time a is seen; 0.98 */
    float margin;       /* logits below the load threshold that a near parent may be; 1.0 */
    float least;        /* suggest nothing less probable; 0.5 */
    uint32_t sequences; /* remembered at once; 1024 */
};
void lensd_predictor_default(struct lensd_predictor_config *out); /* the figures above; the rest 0 and NULL */

/* One finished row. */
struct lensd_predictor_row {
    uint64_t sequence;      /* unique over all sessions */
    const uint32_t *scored; /* ids in the order asked for: base, pins, retained, then children */
    uint32_t n;
    uint32_t n_always;   /* the first so many are always there (base, pins): neither learnt nor suggested */
    const float *logits; /* [N]; NaN where a lens was left out */
    float threshold;     /* logit of the session's load_threshold */
};

struct lensd_predictor;
/* -EINVAL with a sentence on bounds that aren't kept, -ENOMEM. */
int lensd_predictor_create(const struct lensd_predictor_config *config, struct lensd_predictor **out,
                           struct lens_error *err);
void lensd_predictor_destroy(struct lensd_predictor *predictor); /* NULL is fine */

/* Learns from the row, then writes up to `capacity` suggestions for the sequence's next rows, most probable first,
 * without duplicates and without lenses that this row scored (others that are held are among them: the caller knows
 * those). Returns how many. O(row + best * window * LENSD_PREDICTOR_SUCCESSORS). */
uint32_t lensd_predictor_row(struct lensd_predictor *predictor, const struct lensd_predictor_row *row, uint32_t *out,
                             uint32_t capacity);
void lensd_predictor_forget(struct lensd_predictor *predictor, uint64_t sequence); /* an ended sequence */

#endif
