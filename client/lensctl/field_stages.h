/* The stage table of the system that lensd replaces (SEEDS.md row H18), out of lensd's own stages, so that both can be
 * read side by side:
 *
 *   initial detection   base: the active set is scored
 *   child loading       load: waiting for lenses that weren't in a slot, choosing whom they replace included
 *   child detection     expand: children of what fires are scored, level by level
 *   cache management    select: the report, and which lenses the sequence retains
 *   (rest)              queue, copy_in, copy_out: what lies between two processes; the field's table knows none of it
 *   total               total
 *
 * Each of the field's stages is one of ours, so its percentiles hold as well. */
#ifndef LENSCTL_FIELD_STAGES_H
#define LENSCTL_FIELD_STAGES_H

#include "client/lensctl/output.h"

/* {"initial_detection": {"stages": ["base"], "p50": .., "p99": .., "mean": .., "share": 0..1}, ..}; nanoseconds. "rest"
 * has no percentiles: they don't add up. */
json_t *field_stages_json(const struct lens_statistics *s);

/* Prints it in microseconds. 0 or -ENOMEM. */
int field_stages_print(const struct lens_statistics *s, const struct ctl_output *out);

#endif
