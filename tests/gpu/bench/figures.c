/* See figures.h. */
#include "tests/gpu/bench/figures.h"

#include "tests/bench/support/bench.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct figures {
    FILE *file;
    char path[4096];
    unsigned n;
};

struct figures *figures_open(const char *path)
{
    struct figures *f = bench_alloc(sizeof *f);
    snprintf(f->path, sizeof f->path, "%s", path);
    f->file = fopen(path, "w");
    if (f->file == NULL)
        bench_die("%s can't be written: %s", path, strerror(errno));
    fputs("[", f->file);
    return f;
}

void figures_close(struct figures *f)
{
    fputs("\n]\n", f->file);
    fclose(f->file);
    printf("written: %s\n", f->path);
    free(f);
}

void figures_begin(struct figures *f, const char *table)
{
    fprintf(f->file, "%s\n{\"table\": \"%s\"", f->n++ > 0 ? "," : "", table);
}

void figures_number(struct figures *f, const char *key, double value)
{
    if (!isfinite(value))
        fprintf(f->file, ", \"%s\": null", key);
    else if (value == floor(value) && fabs(value) < 1e15)
        fprintf(f->file, ", \"%s\": %.0f", key, value);
    else
        fprintf(f->file, ", \"%s\": %.6g", key, value);
}

/* Quotes and control characters don't come up in what is written here; they become spaces. */
void figures_text(struct figures *f, const char *key, const char *value)
{
    fprintf(f->file, ", \"%s\": \"", key);
    for (; *value != 0; value++)
        fputc((unsigned char)*value < 32 || *value == '"' || *value == '\\' ? ' ' : *value, f->file);
    fputs("\"", f->file);
}

void figures_end(struct figures *f)
{
    fputs("}", f->file);
    fflush(f->file);
}
