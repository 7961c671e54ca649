/* Asking a running lensd through lensctl, as a person would: its answer is JSON. Dies with a sentence when lensctl
 * fails. Costs a process a question: not for the measured loop. */
#ifndef LENS_BENCH_ASK_H
#define LENS_BENCH_ASK_H

#include <jansson.h>

/* "../lensctl" beside this program with --json, --socket and up to two further words (NULL when absent). The answer is
 * the caller's. */
json_t *bench_ask(const char *socket, const char *command, const char *argument);

/* A whole number of an answer; dies when it isn't there. */
double bench_asked(const json_t *answer, const char *key);

#endif
