/* Writing a lens pack, streaming: memory is the small tables plus one lens (DESIGN 3).
 *
 * create -> set tables -> lens 0..N-1 in order -> finish. The file appears under its name only in finish, by rename
 * of a temporary neighbour after fsync; abort (or a failed finish) removes the temporary and leaves an older file of
 * that name as it was. Threads: one thread per writer. */
#ifndef LENS_PACK_WRITER_H
#define LENS_PACK_WRITER_H

#include "proto/pack.h"

struct lens_pack_writer;

struct lens_pack_entry {
    const char *key, *value;
};

/* What is known before the weights; all pointers are lent for the call and copied. */
struct lens_pack_plan {
    struct lens_pack_meta meta; /* strings may be NULL = "" ; created NULL = now, RFC 3339 */
    uint32_t lenses, dim, h1, h2;
    enum lens_dtype w1_dtype;                 /* F32, BF16, I8 or LOG8: what is stored */
    const int32_t *parent;                    /* [N] */
    const int32_t *child_offsets, *child_ids; /* [N+1], [E] */
    const uint8_t *layer, *role;              /* [N]; role may be NULL = all concepts */
    const int32_t *name_offsets;              /* [N+1] */
    const char *names;
    const float *calibration;            /* [N,7], or NULL = all uncalibrated */
    const struct lens_pack_entry *extra; /* further metadata, UTF-8; no key twice; may be NULL when there is none */
    size_t extra_count;
};

/* One lens in f32, row-major, as the classifier computes it (LayerNorm already folded in). */
struct lens_weights {
    const float *w1; /* [h1,dim] */
    const float *b1; /* [h1] */
    const float *w2; /* [h2,h1] */
    const float *b2; /* [h2] */
    const float *w3; /* [h2] */
    float b3;
};

/* W2 is stored as F32 when w1_dtype is F32, else as BF16. */
int lens_pack_writer_create(const char *path, const struct lens_pack_plan *plan, struct lens_pack_writer **out,
                            struct lens_error *err);

/* Encodes and writes the next lens in pack order. -EDOM on a weight that isn't finite (the sentence says which). */
int lens_pack_writer_add(struct lens_pack_writer *writer, const struct lens_weights *weights, struct lens_error *err);

/* Writes tables and checksums, fsyncs, renames. Frees the writer in every case. */
int lens_pack_writer_finish(struct lens_pack_writer *writer, struct lens_error *err);
void lens_pack_writer_abort(struct lens_pack_writer *writer); /* NULL is fine */

#endif
