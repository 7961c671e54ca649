/* Right answers of tests/fixtures (and of shared/data), as C: options, hidden states, and what each row must give.
 * Test support: aborts the test program with a sentence when a file isn't as expected. */
#ifndef LENS_TEST_EXPECTED_H
#define LENS_TEST_EXPECTED_H

#include "daemon/content.h"
#include "proto/options.h"
#include "proto/pack.h"

#include <jansson.h>

struct expected {
    json_t *root;
    struct lens_cascade_options options;
    uint32_t rows_per_submission;
    uint32_t n_rows, dim;
    enum lens_dtype dtype; /* of the hidden states */
    void *states;          /* [n_rows, dim] */
    uint32_t *pinned, n_pinned;
    struct lensd_content_maps maps; /* what include, exclude and filter mean in the pack; NULL = all */
};

/* Loads DIR/NAME; the hidden states come from the file its "tokens" names, else DIR/tokens.npy. */
void expected_load(const char *directory, const char *name, const struct lens_pack *pack, struct expected *out);
void expected_free(struct expected *expected);

struct row_answer {
    uint8_t status, flags;
    uint32_t scored, n_expanded, n_detections;
    const uint32_t *expanded;
    const struct lens_detection *detections;
};

/* NULL when the answer is right, else a sentence (static buffer) saying what is wrong: scored count, expanded set,
 * flags and status where the file has them, detections in order (neighbours within 1e-4 may swap), |raw - expected|
 * and |score - expected| at most `tolerance`. */
const char *expected_mismatch(const struct expected *expected, uint32_t row, const struct lens_pack *pack,
                              const struct row_answer *answer, double tolerance);

/* The expected logit of a lens on a row, or NaN when the file has none. */
double expected_logit(const struct expected *expected, uint32_t row, uint32_t lens);

/* Imports a HatCat directory into a temporary pack file and opens it; the file is gone when the pack closes. */
struct lens_pack *import_for_test(const char *directory, enum lens_dtype dtype);

#endif
