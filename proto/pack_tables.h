/* Which tensors a lens pack has, in what order, and where each stands in `struct lens_pack` (DESIGN 3).
 * The one place that knows: reader, writer, checks and checksums all walk this list. Private to proto/. */
#ifndef LENS_PACK_TABLES_H
#define LENS_PACK_TABLES_H

#include "proto/pack.h"
#include "proto/safetensors.h"

#define PACK_MAX_TABLES   20
#define PACK_MAX_LENSES   (1u << 20)
#define PACK_MAX_DIM      (1u << 16) /* of dim, h1 and h2 */
#define PACK_MAX_EDGES    (1u << 24)
#define PACK_MAX_NAME     255        /* bytes of one name */
#define PACK_MAX_HEADER   (1u << 20) /* a sound header has about 3 KB */
#define PACK_DATA_ALIGN   4096
#define PACK_NOT_RESIDENT SIZE_MAX

enum pack_checksum_of { PACK_SUM_LENS, PACK_SUM_TABLES, PACK_SUM_NONE };

struct pack_table {
    struct st_tensor tensor;
    size_t field;               /* offsetof the array's pointer in struct lens_pack, or PACK_NOT_RESIDENT */
    enum pack_checksum_of sums; /* which checksum covers it */
};

/* What decides the shape of every table. */
struct pack_shape {
    uint64_t lenses, dim, h1, h2, edges, name_bytes;
    enum lens_dtype w1_dtype, w2_dtype;
};

struct pack_layout {
    struct pack_table tables[PACK_MAX_TABLES]; /* in file order */
    uint32_t count;
    uint64_t data_bytes;
};

/* -EOVERFLOW when sizes don't fit, -EINVAL on a dtype no pack has. */
int pack_layout_make(const struct pack_shape *shape, struct pack_layout *out);

const struct pack_table *pack_layout_find(const struct pack_layout *layout, const char *name); /* NULL if absent */

/* The array of a resident table in `pack`; NULL before it is allocated or when not resident. */
void *pack_table_data(const struct lens_pack *pack, const struct pack_table *table);

/* Allocates every resident table (zeroed) and sets its pointer. -ENOMEM leaves what was allocated for the free. */
int pack_tables_alloc(struct lens_pack *pack, const struct pack_layout *layout);
void pack_tables_free(struct lens_pack *pack);
void pack_meta_free(struct lens_pack_meta *meta);

/* Are the sizes ones that this version reads? -EBADMSG with a sentence. */
int pack_check_limits(const struct pack_shape *shape, struct lens_error *err);

/* Structure of the hierarchy (child_ids has `edges` entries), the names (`name_bytes`) and the numbers of the resident
 * tables. -EBADMSG with a sentence that says which lens. */
int pack_check_tree(const struct lens_pack *pack, uint64_t edges, struct lens_error *err);
int pack_check_names(const struct lens_pack *pack, uint64_t name_bytes, struct lens_error *err);
int pack_check_numbers(const struct lens_pack *pack, struct lens_error *err);
int pack_check_calibration(const struct lens_pack *pack, struct lens_error *err); /* part of the numbers */

/* Place of the first NaN or infinity; `count` when there is none. */
size_t pack_first_not_finite(const float *values, size_t count);
size_t pack_first_not_finite_bf16(const uint16_t *values, size_t count);

/* Ids ordered by key (name, then layer); the caller's to free. -EEXIST with a sentence when two lenses share a key. */
int pack_key_index(const struct lens_pack *pack, uint32_t **out, struct lens_error *err);

/* Checksum of one lens over its stored bytes; w2 is this lens's. Needs the resident scale or range tables. */
uint64_t pack_lens_checksum(const struct lens_pack *pack, uint32_t lens, const void *w1, const void *sign,
                            const void *w2);
/* Checksum of all other tables in the layout's order, then "key=value\n" of the metadata in order of the keys. */
uint64_t pack_tables_checksum(const struct lens_pack *pack, const struct pack_layout *layout,
                              const struct st_entry *metadata, size_t metadata_count);

#endif
