/* Writing Prometheus's text format, version 0.0.4: families with HELP and TYPE, samples with labels.
 *
 * Label values may be any bytes (a pack is named after a file): they are escaped, and what isn't UTF-8 or can't be
 * printed is written as \xHH, so that a scrape is never refused for them. Threads: the caller's. */
#ifndef LENSD_EXPOSITION_H
#define LENSD_EXPOSITION_H

#include <stdint.h>
#include <stdio.h>

#define LENSD_EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct lensd_label {
    const char *name, *value;
};

/* The two lines before a family's samples; `type` is "counter", "gauge" or "histogram". */
void lensd_exposition_family(FILE *out, const char *name, const char *type, const char *help);

/* One sample with n labels. */
void lensd_exposition_count(FILE *out, const char *name, const struct lensd_label *labels, uint32_t n, uint64_t value);
void lensd_exposition_value(FILE *out, const char *name, const struct lensd_label *labels, uint32_t n, double value);

/* The samples of one histogram: for each of n bounds how many values were at most that, and in counts[n] how many there
 * were. `label` is one label besides, NULL = none. */
void lensd_exposition_histogram(FILE *out, const char *name, const struct lensd_label *label, const double *bounds,
                                const uint64_t *counts, uint32_t n, double sum);

#endif
