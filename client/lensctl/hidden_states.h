/* Files of hidden states: .npy (format 1, 2 and 3; little-endian f4 or f2; C order) and .safetensors (the tensor
 * "hidden_states" or the only one of two dimensions; F32, F16 or BF16; metadata "tokens" = JSON list with one text per
 * row). Shapes [rows, dim], or [dim] for one row. The kind is told by the file's first bytes, not by its name.
 *
 * Such files come from anywhere: every number is checked against the file's size, rows are read with pread (a file
 * that shrinks meanwhile is an error, not a signal), and nothing is executed or unpickled.
 *
 * Threads: one thread per open file. Errors: negative errno, and a sentence. */
#ifndef LENSCTL_HIDDEN_STATES_H
#define LENSCTL_HIDDEN_STATES_H

#include "proto/dtype.h"
#include "proto/lens_error.h"

#include <jansson.h>
#include <stdint.h>

struct hidden_states {
    int fd;
    enum lens_dtype dtype; /* F32, F16 or BF16 */
    uint64_t rows;         /* at least 1 */
    uint32_t dim;          /* at least 1 */
    uint64_t offset;       /* of row 0 in the file */
    json_t *tokens;        /* `rows` strings, or NULL */
};

/* On error nothing is left open and the sentence names the file. -EBADMSG: not such a file or a broken one;
 * -ENOTSUP: a dtype or layout that isn't read. */
int hidden_states_open(const char *path, struct hidden_states *out, struct lens_error *err);
void hidden_states_close(struct hidden_states *states);

/* Reads rows [first, first + count), which must be in range, to `to`: count * dim elements as they are in the file. */
int hidden_states_read(const struct hidden_states *states, uint64_t first, uint32_t count, void *to,
                       struct lens_error *err);

/* The text of a row's token, or NULL when the file doesn't say. Owned by `states`. */
const char *hidden_states_token(const struct hidden_states *states, uint64_t row);

#endif
