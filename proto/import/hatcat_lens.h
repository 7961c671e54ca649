/* One HatCat lens as f32 weights, a LayerNorm of its own folded in. Private to proto/import. */
#ifndef LENS_IMPORT_HATCAT_LENS_H
#define LENS_IMPORT_HATCAT_LENS_H

#include "proto/import/pt_file.h"
#include "proto/pack_writer.h"

/* Reads lens after lens; keeps the last bank open, since a family's lenses follow each other. */
struct hatcat_lens_reader {
    struct lens_pt_file *file;
    char *path;       /* of `file` */
    char *first_path; /* of the lens that decided dim, h1 and h2 */
    bool fold;        /* LayerNorms may be folded in: the pack says layernorm */
    uint32_t dim, h1, h2;
    float *w1, *b1, *w2, *b2, *w3, *gain, *shift;
    float b3;
    enum lens_dtype stored; /* of the last lens's first layer */
    bool had_norm;          /* the last lens */
};

/* Reads the lens of `path` (of concept `bank_name` when it is a bank, else NULL). *out lends the reader's buffers until
 * the next call. The first lens decides the sizes of all. */
int hatcat_lens_read(struct hatcat_lens_reader *reader, const char *path, const char *bank_name,
                     struct lens_weights *out, struct lens_error *err);
void hatcat_lens_reader_free(struct hatcat_lens_reader *reader);

#endif
