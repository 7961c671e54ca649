/* One lens pack made of another: the same lenses stored in another number format (DESIGN 3, SEEDS Q).
 *
 * Streaming: memory is the small tables of both packs and one lens. W1 is decoded to f32 and encoded anew; W2 is f32
 * when the new W1 is, else bf16. All other tables are the same bit for bit; checksums are new; metadata is kept, but
 * for `created` and for `source`, which gets "; DTYPE from FILE (DTYPE, created WHEN)" at its end. From int8 or log8 to
 * a wider format the weights are what the codes say: precision that was lost isn't regained.
 *
 * The same format again is a copy, byte for byte, after every checksum was looked at.
 *
 * The input's checksums are verified as it is read, so that damage is never given a new, valid checksum. The output
 * appears by rename when all of it is on disk; whatever goes wrong, nothing is written and an older file of its name
 * stays as it was. The output may not be the input.
 *
 * Threads: any, one call each. Errors: negative errno and a sentence. */
#ifndef LENS_PACK_CONVERT_H
#define LENS_PACK_CONVERT_H

#include "proto/pack.h"

struct lens_convert_options {
    enum lens_dtype dtype; /* F32, BF16, I8 or LOG8 */
    lens_progress_fn progress;
    void *progress_arg;
    bool (*cancelled)(void *arg); /* asked once a lens; true ends the work with -ECANCELED. May be NULL */
    void *cancelled_arg;
};

/* What became of the weights of one tensor, against those of the input as its codes say. "Relative" is |new - old| /
 * |old|, over the weights that were not 0. "Of the row" is |new - old| over the largest |old| of its row. */
struct lens_convert_error {
    enum lens_dtype from, to;
    uint64_t weights; /* all */
    uint64_t nonzero; /* of them, those that were not 0 */
    uint64_t lost;    /* of those, how many are 0 now: their relative error is 1 */
    double largest_relative, mean_relative;
    double largest_of_row;
};

struct lens_conversion {
    uint32_t lenses;
    uint64_t bytes_before, bytes_after; /* of the files */
    bool copied;                        /* the format was the same already */
    bool widened;                       /* to a format that could hold more than the input did */
    struct lens_convert_error w1, w2;
};

/* `out` is filled when 0 is returned. -EINVAL for a dtype no pack has and when both paths are one file; -EBADMSG when
 * the input isn't sound; -EDOM when a weight isn't finite or the new format can't hold it; -ECANCELED; those of
 * open, pread, fallocate, pwrite, fsync and rename. */
int lens_pack_convert(const char *in, const char *out_path, const struct lens_convert_options *options,
                      struct lens_conversion *out, struct lens_error *err);

#endif
