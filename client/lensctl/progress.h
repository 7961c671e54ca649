/* A progress bar on stderr for work that takes over a second, when stderr is a terminal. */
#ifndef LENSCTL_PROGRESS_H
#define LENSCTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct ctl_progress {
    bool terminal, shown;
    uint64_t began_ns, drawn_ns;
};

void ctl_progress_begin(struct ctl_progress *progress);

/* A lens_progress_fn; `arg` is a struct ctl_progress. */
void ctl_progress_update(void *arg, const char *what, uint64_t done, uint64_t total);

/* For work whose end nobody knows: how much is done, in the words of `format`, instead of a bar. */
void ctl_progress_note(struct ctl_progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Wipes the bar away. */
void ctl_progress_end(struct ctl_progress *progress);

#endif
