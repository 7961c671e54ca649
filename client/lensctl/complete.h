/* What a shell may propose for a word that is being typed: from the command table, and from the running daemon.
 *
 * The shells' scripts (completion.c) call `lensctl __complete WORD..`, the last word being the one at the cursor. Each
 * line of the answer is a proposal, a tab and what it is; a line ":file" or ":directory" asks the shell for its own
 * proposals of files, ":nospace" that no space follows. Nothing is ever written to stderr: a shell is in the middle of
 * a line. */
#ifndef LENSCTL_COMPLETE_H
#define LENSCTL_COMPLETE_H

#include "client/lensctl/command.h"

/* The hidden command: words[n_words], the last of them incomplete. Always CTL_OK. */
int ctl_complete(struct ctl_output *out, unsigned n_words, char **words);

/* ---- between complete.c and complete_daemon.c -------------------------------------------------------------------- */

struct ctl_completion {
    FILE *file;
    const char *socket_path, *pack; /* as given on the line so far, or NULL */
    const char *before;             /* goes before each proposal: "--flag=", or the values before a comma; may be "" */
    size_t before_length;
    const char *typed; /* what proposals must begin with */
};

/* Prints the proposal when it begins with what was typed. */
void ctl_propose(const struct ctl_completion *c, const char *word, const char *what);

/* complete_daemon.c: names of loaded packs, numbers of sessions, names of settings, "Name:layer" of
 * concepts. Nothing without a daemon, or
 * with one that doesn't answer within a second. */
void ctl_propose_from_daemon(const struct ctl_completion *c, enum ctl_words words);

#endif
