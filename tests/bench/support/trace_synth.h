/* Traces as the engine would record them, made without weights: the threshold cascade of DESIGN 4 over a concept tree,
 * with logits drawn instead of computed.
 *
 * Every sequence has two active leaves a row; each stays with probability 0.7, else moves to a sibling or anywhere
 * (PERFORMANCE.md). A concept on a root path of theirs has a logit of 4.5 +- 1.5 (drawn again until it fires, as
 * planted rows are); others have -9 + 1.5 * max(0, N(0,1)), which never fires. `noise` adds what real lenses do beside
 * that: with it another concept has -7 +- 2 * noise, and a sibling of an active one -3 +- 2 * noise, so that some fire
 * and some stand near the threshold. */
#ifndef LENS_BENCH_TRACE_SYNTH_H
#define LENS_BENCH_TRACE_SYNTH_H

#include "daemon/cache/trace.h"
#include "tests/bench/support/tree.h"

struct bench_trace_plan {
    uint32_t sequences; /* alive at once */
    bool by_chance;     /* each row belongs to one of them by chance; false: they take turns, as in a server's batch */
    uint64_t rows;      /* of all of them together */
    uint32_t length;    /* rows of a sequence on average, then another takes its place; 0 = they never end */
    uint32_t base_layers; /* bits; 3 = layers 0 and 1 */
    uint32_t keep;        /* keep_top_k; 30 */
    double noise;         /* 0 = as planted */
    uint64_t seed;
};

/* Dies with a sentence when memory runs out. Free with lensd_trace_free. */
void bench_trace_make(const struct bench_tree *tree, const struct bench_trace_plan *plan, struct lensd_trace *out);

#endif
