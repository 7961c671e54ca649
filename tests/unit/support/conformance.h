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

/* The pairs of the processor and of cards. */
#define CONFORMANCE_MAX_PAIRS 6
extern const struct conformance_pair conformance_cpu_pairs[CONFORMANCE_MAX_PAIRS];
extern const struct conformance_pair conformance_cuda_pairs[CONFORMANCE_MAX_PAIRS];

static inline uint32_t conformance_n_pairs(const struct conformance_target *target)
{
    return target->pairs != NULL ? target->n_pairs : CONFORMANCE_MAX_PAIRS;
}

static inline const struct conformance_pair *conformance_pair(const struct conformance_target *target, uint32_t i)
{
    return target->pairs != NULL ? &target->pairs[i] : &conformance_cpu_pairs[i];
}

/* What a pack stores for slabs of `dtype`: the same, where packs have it. */
static inline enum lens_dtype conformance_stored(enum lens_dtype dtype)
{
    return dtype == LENS_FP8 ? LENS_BF16 : dtype;
}

#endif
