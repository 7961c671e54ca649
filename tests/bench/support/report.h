/* A benchmark's result as JSON: the machine, the settings, one object per figure (DESIGN: every figure beside its
 * floor and its ratio). Written to NAME.json beside the program. */
#ifndef LENS_BENCH_REPORT_H
#define LENS_BENCH_REPORT_H

#include <jansson.h>

struct bench_report {
    const char *name;
    json_t *root, *settings, *figures;
};

struct bench_report bench_report_begin(const char *name);

/* Adds an empty object to "figures" and returns it (owned by the report). */
json_t *bench_report_figure(struct bench_report *report);

/* Short forms of json_object_set_new. Numbers are kept to six significant digits: the rest is noise. */
void bench_put(json_t *object, const char *key, double value);
void bench_put_text(json_t *object, const char *key, const char *value);

/* Writes the file, prints where, frees the report. */
void bench_report_end(struct bench_report *report);

#endif
