/* The lens pack: one safetensors file with all lenses of one model and tap (DESIGN 3).
 *
 * `lens_pack_open` reads the header and every table except the big per-lens weights into private memory; W1 stays in
 * the file and is read with pread on demand, never mapped. A pack is immutable after open.
 *
 * Checksums are XXH3-64. A lens's covers its stored bytes of w1, w1_sign, w1_scale (or w1_log_min, then w1_log_max)
 * and w2, in this order, as far as the dtype has them. The last entry covers b1, b2, w3, b3, calibration, parent,
 * child_offsets, child_ids, name_offsets, layer, role and names in the order they have in the file, then every
 * metadata string as "key=value\n", keys ascending as bytes.
 *
 * Limits: 2^20 lenses, D, H1 and H2 up to 65536, names up to 255 bytes, a header up to 1 MiB. Names and metadata are
 * UTF-8 without control characters, and no two lenses share a key.
 *
 * Threads: open and close from one thread; everything else takes a const pack and is safe from any thread.
 * Errors: negative errno, and a sentence in `err`. */
#ifndef LENS_PACK_H
#define LENS_PACK_H

#include "proto/dtype.h"
#include "proto/lens_error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LENS_CALIBRATION_FIELDS 7
enum lens_calibration_field {
    LENS_CAL_SELF_MEAN,
    LENS_CAL_CROSS_MEAN,
    LENS_CAL_SELF_STD,
    LENS_CAL_CROSS_STD,
    LENS_CAL_CROSS_FIRE,
    LENS_CAL_GEN_FIRE,
    LENS_CAL_NOISE_FIRE
};

enum lens_role { LENS_ROLE_CONCEPT, LENS_ROLE_SIMPLEX, LENS_ROLE_BEHAVIOURAL, LENS_ROLE_CATEGORY };
enum lens_normalize { LENS_NORMALIZE_NONE, LENS_NORMALIZE_LAYERNORM }; /* layernorm: eps 1e-5, no affine */

/* Metadata strings as in the file; "" when absent. Owned by the pack. */
struct lens_pack_meta {
    char *model_id, *tap_layer, *tap_point, *source, *created;
    enum lens_normalize normalize;
};

/* All tables of a pack in pack order; N = lenses. Owned by the pack, read only, valid until close. */
struct lens_pack {
    struct lens_pack_meta meta;
    uint32_t lenses, dim, h1, h2;
    enum lens_dtype w1_dtype;       /* F32, BF16, I8 or LOG8 */
    enum lens_dtype w2_dtype;       /* F32 or BF16 */
    float *b1;                      /* [N,h1] */
    void *w2;                       /* [N,h2,h1] of w2_dtype */
    float *b2;                      /* [N,h2] */
    float *w3;                      /* [N,h2] */
    float *b3;                      /* [N] */
    float *w1_scale;                /* I8: [N,h1]; else NULL */
    float *w1_log_min, *w1_log_max; /* LOG8: [N,h1]; else NULL */
    int32_t *parent;                /* [N], -1 = root */
    int32_t *child_offsets;         /* [N+1] */
    int32_t *child_ids;             /* [E] ascending within a parent */
    uint8_t *layer, *role;          /* [N] */
    int32_t *name_offsets;          /* [N+1] */
    char *names;                    /* UTF-8, not terminated; see lens_pack_name */
    float *calibration;             /* [N,7]; a NaN row = uncalibrated */
    int64_t *checksum;              /* [N+1] XXH3-64 bits */
    uint64_t w1_offset;             /* of lens 0 in the file */
    uint64_t w1_sign_offset;        /* LOG8 only */
    uint64_t w1_lens_bytes;         /* stored W1 bytes of one lens */
    uint64_t w1_sign_bytes;         /* LOG8: packed signs of one lens = h1*ceil(dim/8) */
    uint64_t file_bytes;
    char *path; /* as given to open */
    int fd;     /* O_RDONLY|O_CLOEXEC */
    void *private_state;
};

/* Opens and checks structure: format and version, every table's dtype and shape, offsets that tile the file,
 * hierarchy within range and without cycles, ids ascending, names valid UTF-8, finite small tables. Checksums are
 * lens_pack_verify's. On error *out is NULL and nothing is left open. */
int lens_pack_open(const char *path, struct lens_pack **out, struct lens_error *err);
void lens_pack_close(struct lens_pack *pack); /* NULL is fine */

/* Reads the stored W1 of lenses [first, first+count) with one pread each range: `w1` gets count*w1_lens_bytes,
 * `sign` (LOG8, else NULL) count*w1_sign_bytes. -EIO when the file is shorter than it was at open. */
int lens_pack_read_w1(const struct lens_pack *pack, uint32_t first, uint32_t count, void *w1, void *sign,
                      struct lens_error *err);

/* Called now and then during long work with what is done and the whole, in `unit`s; may be NULL. */
typedef void (*lens_progress_fn)(void *arg, const char *what, uint64_t done, uint64_t total);

/* Recomputes every checksum, and looks for weights that are not finite, streaming. Names the first lens (or "tables")
 * that differs. -EBADMSG then. */
int lens_pack_verify(const struct lens_pack *pack, lens_progress_fn progress, void *arg, struct lens_error *err);

/* The same without waiting for a disk: -EAGAIN, and nothing to be relied on in the buffers, when the kernel's page
 * cache doesn't hold all of it, or can't tell. */
int lens_pack_read_w1_cached(const struct lens_pack *pack, uint32_t first, uint32_t count, void *w1, void *sign);

/* Recomputes one lens's checksum from bytes in memory; true when it holds. */
bool lens_pack_lens_intact(const struct lens_pack *pack, uint32_t lens, const void *w1, const void *sign);

/* Name without layer, not terminated; *length bytes. */
const char *lens_pack_name(const struct lens_pack *pack, uint32_t lens, uint32_t *length);

/* Writes "Name:layer" with a terminator, cut to `size`; returns its full length like snprintf. */
int lens_pack_key(const struct lens_pack *pack, uint32_t lens, char *out, size_t size);

/* Finds "Name:layer", or "Name" when only one layer has it. -ENOENT none, -ENOTUNIQ several. */
int lens_pack_find(const struct lens_pack *pack, const char *key, uint32_t *lens);

static inline uint32_t lens_pack_child_count(const struct lens_pack *pack, uint32_t lens)
{
    return (uint32_t)(pack->child_offsets[lens + 1] - pack->child_offsets[lens]);
}

static inline bool lens_pack_calibrated(const struct lens_pack *pack, uint32_t lens)
{
    const float *row = pack->calibration + (size_t)lens * LENS_CALIBRATION_FIELDS;
    return row[0] == row[0];
}

#endif
