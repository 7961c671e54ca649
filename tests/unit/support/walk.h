/* Walks the hidden states of an expected file through a pool as one or several sequences, the way the engine does,
 * and keeps every answer. Test support. */
#ifndef LENS_TEST_WALK_H
#define LENS_TEST_WALK_H

#include "daemon/pool.h"
#include "tests/unit/support/expected.h"

struct walk_row {
    struct lens_row_out out; /* logits is not kept */
    struct lens_detection detections[LENS_MAX_TOP_K];
    uint32_t expanded[256];
};

struct walk {
    struct walk_row *rows; /* [sequences, n_rows] */
    uint32_t sequences, n_rows;
    uint32_t loaded; /* lenses loaded on the way */
};

/* `sequences` copies of the walk run interleaved: copy s is s submissions behind copy 0, so that batches mix
 * different rows. Aborts on an error of the pool. Outputs are poisoned before. */
void walk_run(struct lensd_pool *pool, const struct lens_pack *pack, const struct expected *expected,
              uint32_t sequences, struct walk *out);
void walk_free(struct walk *walk);

/* True when two rows are the same bit for bit (status, flags, scored, expanded, detections). */
bool walk_rows_equal(const struct walk_row *a, const struct walk_row *b);

/* The answer of a row in the form expected.h compares. */
struct row_answer walk_answer(const struct walk *walk, uint32_t sequence, uint32_t row);

#endif
