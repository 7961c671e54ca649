/* A file of hidden states through the daemon, for lensctl detect (which prints the rows) and lensctl timeline (which
 * keeps them): detect_run.c runs it, detect_options.c reads the flags, and each command takes the rows. */
#ifndef LENSCTL_DETECT_H
#define LENSCTL_DETECT_H

#include "client/lensctl/concept_tree.h"
#include "client/lensctl/hidden_states.h"

struct detect;

/* Takes one row of the file; `answer` is valid for the call. An enum ctl_exit: anything but CTL_OK ends the run. */
typedef int (*detect_row_fn)(struct detect *d, uint64_t row, const struct lens_answer *answer);

struct detect {
    const struct ctl *ctl;
    detect_row_fn on_row;
    void *arg; /* of on_row */
    bool everything;
    char label[64];
    struct hidden_states states;
    struct concept_tree tree; /* of the pack */
    struct lens_client *client;
    struct lens_session *session;
    uint32_t rows;        /* of one submission */
    uint64_t deadline_ns; /* after submission; 0 = none */
    float min_score;      /* detections below are not printed */
    uint8_t base_layers[64];
    uint32_t pinned[LENS_MAX_PINNED];
    char *patterns; /* of --include, --exclude, --filter; owned */
    const char *include[LENS_MAX_PATTERNS], *exclude[LENS_MAX_PATTERNS], *filter[LENS_MAX_PATTERNS];
};

/* Sends all rows of the file that is the command's first argument, with the command's flags (those it doesn't have
 * count as not given). With `everything` all that is scored is reported, as far as a row takes it, unless the flags
 * say otherwise. An enum ctl_exit, failures said. */
int detect_run(const struct ctl *ctl, bool everything, detect_row_fn on_row, void *arg);

/* Session parameters from the flags; they point into `d`, whose tree must be there. An enum ctl_exit, failures said. */
int detect_options(struct detect *d, struct lens_session_params *params);

#endif
