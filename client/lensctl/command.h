/* What a lensctl command is: one row of the command table (commands.c), and what a handler gets when it runs.
 *
 * Parsing, --help and `lensctl help` come from the table alone (arguments.c, help.c): adding a command is a row and a
 * handler. Handlers print their results to stdout and failures through ctl_fail, and return the exit code. */
#ifndef LENSCTL_COMMAND_H
#define LENSCTL_COMMAND_H

#include "client/lensctl/output.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CTL_MAX_FLAGS     32
#define CTL_MAX_ARGUMENTS 3

/* Exit codes, documented in `lensctl --help`. */
enum ctl_exit { CTL_OK = 0, CTL_FAILED = 1, CTL_USAGE = 2, CTL_NO_DAEMON = 3 };

enum ctl_flag_kind { CTL_SWITCH, CTL_TEXT, CTL_INTEGER, CTL_REAL, CTL_CHOICE };

/* What a value names, so that a shell can propose it (complete.c). */
enum ctl_words {
    CTL_WORDS_NONE,
    CTL_WORDS_FILE,
    CTL_WORDS_DIRECTORY,
    CTL_WORDS_COMMAND,
    CTL_WORDS_PACK, /* this and the next ones are asked of the daemon */
    CTL_WORDS_SESSION,
    CTL_WORDS_CONCEPT,
    CTL_WORDS_SETTING,
    CTL_WORDS_FILE_OR_SESSION,
    CTL_WORDS_CONCEPTS /* with commas between */
};

struct ctl_flag {
    const char *name;  /* "--top-k" or "-o"; NULL ends a list, which goes on at `more` unless that is NULL, too */
    const char *value; /* what help calls the value; NULL for a switch */
    enum ctl_flag_kind kind;
    double min, max;            /* of CTL_INTEGER and CTL_REAL, both allowed */
    const char *const *choices; /* of CTL_CHOICE, NULL-terminated */
    const char *help;
    bool required;
    const char *fallback; /* what holds when the flag is left out, as help says it; NULL = nothing worth saying */
    enum ctl_words words;
    const struct ctl_flag *more; /* of the end of a list: flags that several commands have */
};

struct ctl_argument {
    const char *name; /* "FILE"; NULL ends a list */
    bool optional;
    bool many;                  /* takes all that follow, at most CTL_MAX_ARGUMENTS */
    const char *const *choices; /* NULL-terminated; NULL = anything */
    enum ctl_words words;
};

struct ctl;

struct ctl_command {
    const char *name; /* one to three words: "pack import hatcat" */
    struct ctl_argument arguments[CTL_MAX_ARGUMENTS + 1];
    const char *summary;          /* one line */
    const char *details;          /* more, for `lensctl help NAME`; may be NULL */
    const char *json;             /* what --json prints; NULL = the command knows no JSON */
    const struct ctl_flag *flags; /* NULL = none */
    int (*run)(struct ctl *ctl);  /* returns an enum ctl_exit */
};

/* A flag as it was given. `number` holds CTL_INTEGER and the index of a CTL_CHOICE. */
struct ctl_value {
    bool set;
    const char *text;
    int64_t number;
    double real;
};

/* One run of lensctl. Texts point into argv. */
struct ctl {
    struct ctl_output out;
    const char *socket_path; /* NULL = where liblens looks by itself */
    bool json, help, version;
    const struct ctl_command *command; /* NULL until the words name one */
    char words[64];                    /* the words so far that name a command, or begin one */
    const char *arguments[CTL_MAX_ARGUMENTS];
    unsigned n_arguments;
    struct ctl_value values[CTL_MAX_FLAGS]; /* in the order of command->flags */
};

/* commands.c: the table and the flags every command takes. */
const struct ctl_command *ctl_commands(size_t *count);
const struct ctl_flag *ctl_global_flags(void);
/* Of a list (NULL = none): the first flag, and the one after `flag`; NULL at the end. */
const struct ctl_flag *ctl_flag_first(const struct ctl_flag *flags);
const struct ctl_flag *ctl_flag_next(const struct ctl_flag *flag);
/* The flag that `text` names ("--name" or "--name=value"), or NULL; *place (or NULL) takes its place in the list. */
const struct ctl_flag *ctl_flag_find(const struct ctl_flag *flags, const char *text, unsigned *place);

/* The index of one of the command's arguments in its choices; -1 when it was left out. */
int ctl_argument_choice(const struct ctl *ctl, unsigned n);

/* arguments.c: fills `ctl` from argv. CTL_OK, or CTL_USAGE after saying what was wrong. */
int ctl_parse(struct ctl *ctl, int argc, char **argv);

/* The command whose first words are nearest to `words` (all of it, not only as many words), or NULL. */
const char *ctl_nearest_command(const char *words);

/* The value of one of the command's flags; never NULL. */
const struct ctl_value *ctl_value(const struct ctl *ctl, const char *flag);

/* The n-th argument, or NULL when it was left out. */
const char *ctl_argument(const struct ctl *ctl, unsigned n);

/* help.c: everything, one command, or the commands whose names begin with `words`. All to `file`. */
void ctl_help_all(FILE *file);
void ctl_help_command(FILE *file, const struct ctl_command *command);
void ctl_help_prefix(FILE *file, const char *words);

/* "--dtype f32|bf16", "-o FILE", "--json" into out[size]. */
void ctl_flag_text(const struct ctl_flag *flag, char *out, size_t size);
/* "(default: 1; 1 to 64)", "(required)" or "": what a flag's help ends with. */
void ctl_flag_bounds(const struct ctl_flag *flag, char *out, size_t size);
/* "detect FILE", with required flags. */
void ctl_usage_text(const struct ctl_command *command, char *out, size_t size);

#endif
