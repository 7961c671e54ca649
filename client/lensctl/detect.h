/* What the files of lensctl detect share: cmd_detect.c runs it, detect_options.c reads its flags, detect_print.c
 * prints its rows. */
#ifndef LENSCTL_DETECT_H
#define LENSCTL_DETECT_H

#include "client/lensctl/concept_tree.h"
#include "client/lensctl/hidden_states.h"

struct detect {
    const struct ctl *ctl;
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

/* Session parameters from the flags; they point into `d`, whose tree must be there. An enum ctl_exit, failures said. */
int detect_options(struct detect *d, struct lens_session_params *params);

/* Prints one row of the file. An enum ctl_exit. */
int detect_print(const struct detect *d, uint64_t row, const struct lens_answer *answer);

#endif
