/* What an open lens pack keeps beside its public tables. Private to proto/pack*.c. */
#ifndef LENS_PACK_PRIVATE_H
#define LENS_PACK_PRIVATE_H

#include "proto/pack_tables.h"

#define PACK_FORMAT    "lens-pack"
#define PACK_VERSION   "1"
#define PACK_LAYERNORM "layernorm:1e-5"
#define PACK_NO_NORM   "none"

struct pack_private {
    struct st_header header;   /* as read */
    struct pack_layout layout; /* tables at their places in the file, in file order */
    uint32_t *by_key;          /* [N] ids ordered by key */
};

/* lens_pack_open, but W2 stays in the file (`pack->w2` is NULL) and nobody looked whether it is finite: for work that
 * goes through a pack lens by lens in little memory. The rest is as there. */
int pack_open_without_w2(const char *path, struct lens_pack **out, struct lens_error *err);

/* Does the last checksum hold? -EBADMSG with a sentence when not. */
int pack_verify_tables(const struct lens_pack *pack, struct lens_error *err);

/* Do the weights of one lens, just read, match their checksum? -EBADMSG with a sentence when not. */
int pack_verify_lens(const struct lens_pack *pack, uint32_t lens, const void *w1, const void *sign, const void *w2,
                     struct lens_error *err);

/* One lens as a pack stores it. */
struct pack_stored_lens {
    enum lens_dtype w1_dtype, w2_dtype;
    const void *w1, *sign, *w2;                      /* sign: LOG8 */
    const float *w1_scale, *w1_log_min, *w1_log_max; /* [h1], as far as the dtype has them */
};

struct lens_pack_writer;
/* The lens that was added last, until the next add or the end. */
struct pack_stored_lens pack_writer_last(const struct lens_pack_writer *writer);

/* Sets sizes and dtypes of `pack` from `shape`. */
void pack_set_shape(struct lens_pack *pack, const struct pack_shape *shape);

#endif
