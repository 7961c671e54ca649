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

/* Sets sizes and dtypes of `pack` from `shape`. */
void pack_set_shape(struct lens_pack *pack, const struct pack_shape *shape);

#endif
