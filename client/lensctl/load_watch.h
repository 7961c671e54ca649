/* A progress bar for what another connection waits for: a thread with a connection of its own asks the daemon's status
 * and draws how far it has come. Without a terminal on stderr nothing happens. */
#ifndef LENSCTL_LOAD_WATCH_H
#define LENSCTL_LOAD_WATCH_H

#include "client/lensctl/command.h"

struct ctl_load_watch;

/* NULL when there is nothing to show it on, or no memory: the work goes on without a bar. */
struct ctl_load_watch *ctl_load_watch_begin(const struct ctl *ctl);
/* Wipes the bar away and frees the watch; NULL is fine. */
void ctl_load_watch_end(struct ctl_load_watch *watch);

/* The numbers in "real-tree: 3120 of 7947 lenses loaded". False when there are none. */
bool ctl_load_numbers(struct lens_text loading, uint64_t *done, uint64_t *total);

#endif
