/* A benchmark's figures as JSON, without a library: one object a line, the first of them about the machine. One thread.
 */
#ifndef GPU_BENCH_FIGURES_H
#define GPU_BENCH_FIGURES_H

struct figures;

struct figures *figures_open(const char *path); /* dies when it can't be written */
void figures_close(struct figures *figures);    /* prints where they are */

void figures_begin(struct figures *figures, const char *table);
void figures_number(struct figures *figures, const char *key, double value); /* six digits; NaN becomes null */
void figures_text(struct figures *figures, const char *key, const char *value);
void figures_end(struct figures *figures);

#endif
