/* The conformance suite: what every backend must do, whatever it is made of (DESIGN 6).
 *
 * Each function is the body of one cmocka test over one target; it ends the test with a message when the backend
 * falls short. Random data comes from `seed`. */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include "tests/unit/support/conformance_rig.h"

/* Logits of all shapes, dtypes, compute modes and row formats lie within the stated bound of the float64 reference;
 * prints the largest errors seen. `large` leaves out nothing; otherwise D = 2560 is done for one shape only. */
void conformance_accuracy(const struct conformance_target *target, uint64_t seed, bool large);

/* Every stored dtype can be written into a slab of every dtype, and means the same. */
void conformance_conversions(const struct conformance_target *target, uint64_t seed);

/* A row's bits are the same alone, in any batch, in any order, split over jobs, with any set of lenses, in any slots
 * and with 1..3 threads. */
void conformance_row_invariance(const struct conformance_target *target, uint64_t seed);

/* Rows with NaN or Inf are flagged and leave their neighbours' bits alone. */
void conformance_invalid_rows(const struct conformance_target *target, uint64_t seed);

/* Writing a lens into a slot replaces the old one, which becomes a miss; failed writes leave the slot empty. */
void conformance_slot_rewrite(const struct conformance_target *target, uint64_t seed);

/* Configurations that make no sense are refused with a sentence. */
void conformance_refusals(const struct conformance_target *target, uint64_t seed);

/* The dtype and compute pairs a slab may have. */
struct conformance_pair {
    enum lens_dtype dtype;
    enum lens_compute compute;
};

#define CONFORMANCE_PAIRS 6
extern const struct conformance_pair conformance_pairs[CONFORMANCE_PAIRS];

#endif
