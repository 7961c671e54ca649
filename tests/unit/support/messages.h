/* Every message of codec.h as a list of its fields: to fill, compare or change messages without naming fields. */
#ifndef LENS_TEST_MESSAGES_H
#define LENS_TEST_MESSAGES_H

#include "proto/codec.h"

enum kind { TEXT, PATTERN, U8, BOOL, ONE, TWO, THREE, CODE, U32, I32, U64, UNIT, TOP_K, KEEP, DEPTH };

struct field {
    size_t offset;
    enum kind kind;
    uint32_t count; /* of an array */
};

/* A message: its own fields, then `rows` structs of `row` fields. */
struct shape {
    enum lens_msg_type type;
    const struct field *fields;
    size_t n_fields;
    const struct field *row;
    size_t n_row, row_size, rows_offset, count_offset;
};

extern const struct shape shapes[];
extern const size_t n_shapes;

/* Whether values of that kind are a struct lens_text. */
bool is_text(enum kind kind);

/* Bytes of one value of the field. */
size_t width_of(const struct shape *shape, const struct field *f);

/* Puts the n-th value of the field's kind at `at`; texts stay valid until 8192 more were made. */
void fill_value(unsigned char *at, const struct shape *shape, const struct field *f, uint32_t n);

/* Calls `visit` for each value of the message, numbered from 1 through its rows; returns the number after the last. */
typedef void visitor(unsigned char *at, const struct shape *shape, const struct field *f, uint32_t n, void *context);
uint32_t visit_message(struct lens_msg *msg, const struct shape *shape, uint32_t rows, visitor *visit, void *context);

/* Fills a poisoned message with distinct values, `rows` rows where it is a page; other salts make other values. */
void fill_message(struct lens_msg *msg, const struct shape *shape, uint32_t rows, uint32_t salt);

/* lens_msg_decode from memory of exactly that length, so that a sanitizer sees any look beyond it; *out is poisoned
 * before, and its texts are valid until the next call. */
int message_decode_exact(const unsigned char *bytes, size_t length, size_t limit, struct lens_msg *out,
                         struct lens_error *err);

#endif
