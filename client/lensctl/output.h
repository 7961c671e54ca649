/* How lensctl prints: colour and aligned tables on a terminal, tab-separated text elsewhere, JSON when asked.
 *
 * Text that comes from elsewhere (labels, names, tokens) passes through here, so that no control character reaches a
 * terminal. Colour follows NO_COLOR (https://no-color.org) and TERM=dumb. */
#ifndef LENSCTL_OUTPUT_H
#define LENSCTL_OUTPUT_H

#include "proto/codec.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

struct ctl_output {
    FILE *file;
    bool terminal; /* tables are aligned */
    bool colour;
};

enum ctl_style { CTL_PLAIN, CTL_BOLD, CTL_DIM, CTL_RED, CTL_GREEN, CTL_YELLOW, CTL_CYAN };

void ctl_output_init(struct ctl_output *out, FILE *file);

/* The escape sequence that begins a style (CTL_PLAIN ends it), or "" without colour. */
const char *ctl_style(const struct ctl_output *out, enum ctl_style style);

/* Prints "lensctl: " and the sentence to stderr, and returns `code`. */
int ctl_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- text ------------------------------------------------------------------------------------------------------- */

/* Copies UTF-8 to `out`, cut to `size`, with control characters written as \n, \t or \xNN, and those that turn the
 * direction of text or break lines as \u20NN. Returns out. */
char *ctl_printable(const char *data, size_t length, char *out, size_t size);

/* Columns that text may take; 0 = no end, for whoever greps. */
unsigned ctl_width(const struct ctl_output *out);
/* Prints printable `text` from column `indent` on, on a terminal broken between words, further lines set in as far.
 * Returns the column it ends in. */
unsigned ctl_print_wrapped(const struct ctl_output *out, const char *text, unsigned indent);
/* Prints a line of printable text, set in by `indent`; on a terminal broken between words, further lines set in by two
 * more. */
void ctl_print_line(const struct ctl_output *out, unsigned indent, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Prints text of several lines and a newline. On a terminal its lines are joined and broken anew, but for those that
 * begin with a space. */
void ctl_print_paragraphs(const struct ctl_output *out, const char *text);

/* Columns that printable UTF-8 takes on a terminal. */
size_t ctl_columns(const char *text);
/* The same of the first character, 0 to 2; *length takes its bytes. */
unsigned ctl_character(const char *at, size_t *length);

/* "1.5 GiB", "2 h 5 min", "12.3 us": into out[size], returned. */
char *ctl_bytes_text(uint64_t bytes, char *out, size_t size);
char *ctl_duration_text(uint64_t ns, char *out, size_t size);
char *ctl_latency_text(uint64_t ns, char *out, size_t size);
/* "97.2%", or "-" when the whole is 0. */
char *ctl_percent_text(uint64_t part, uint64_t whole, char *out, size_t size);

/* ---- tables ----------------------------------------------------------------------------------------------------- */

struct ctl_column {
    const char *title; /* all NULL = a table without a head */
    bool right;        /* align to the right */
};

/* Cells are added row by row, left to right; they are copied. */
struct ctl_table {
    const struct ctl_column *columns;
    unsigned n_columns;
    char **cells;
    size_t n_cells, capacity;
    bool no_memory;
};

void ctl_table_init(struct ctl_table *table, const struct ctl_column *columns, unsigned n_columns);
void ctl_table_text(struct ctl_table *table, struct lens_text text);
void ctl_table_add(struct ctl_table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

void ctl_table_free(struct ctl_table *table);

/* Whether its rows take one line each there; always so but on a terminal that is too narrow. */
bool ctl_table_fits(const struct ctl_table *table, const struct ctl_output *out);

/* Prints and frees the table. On a terminal that is too narrow for a row, the columns that don't fit follow in further
 * lines, and the text of the last is broken between words. 0 or -ENOMEM when a row is missing for want of
 * memory. */
int ctl_table_print(struct ctl_table *table, const struct ctl_output *out);

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

/* An object that begins with "schema_version": 1. */
json_t *ctl_json_new(void);

/* Text, or null when it isn't UTF-8. */
json_t *ctl_json_text(struct lens_text text);
/* A number, or null when it isn't finite. */
json_t *ctl_json_number(double value);

/* CLOCK_REALTIME nanoseconds as "2026-11-30T22:23:13.123456Z". */
json_t *ctl_json_time(uint64_t ns);

void ctl_json_set_text(json_t *object, const char *key, struct lens_text text);
void ctl_json_set_count(json_t *object, const char *key, uint64_t value);

/* Prints `object` and a newline, on one line when `compact`, and drops the reference. An enum ctl_exit. */
int ctl_json_print(const struct ctl_output *out, json_t *object, bool compact);

#endif
