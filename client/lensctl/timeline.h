/* A timeline: what each concept scored on each token of one sequence; collected row by row, then looked at as a matrix
 * of the strongest concepts, in the terminal, as JSON, or as a page of HTML.
 *
 * A concept that a row doesn't report has no score there: not 0, but unknown (not scored, or not among the row's best).
 * Concepts are told apart by their key, so that a pack swapped under a sequence goes on in the same lines.
 *
 * Threads: one thread per timeline. Errors: negative errno. */
#ifndef LENSCTL_TIMELINE_H
#define LENSCTL_TIMELINE_H

#include "client/lensctl/output.h"
#include "proto/lens_error.h"

#define TIMELINE_MAX_TOKENS   65536u
#define TIMELINE_MAX_CONCEPTS 4096u /* shown at once */

struct timeline_token {
    uint64_t row;          /* of the file, or the position in the sequence */
    char *text;            /* NULL = not known */
    int32_t token_id;      /* -1 = none was given */
    uint8_t status, flags; /* enum lens_row_status, lens_row_flags */
};

struct timeline_concept {
    char *key;
    json_t *path; /* keys from the root to the concept itself, or NULL */
    float best;   /* its highest score, on token best_at; ties go to the earlier token */
    uint32_t best_at;
};

struct timeline_cell {
    float score, raw, logit; /* score NaN = none */
};

struct timeline_entry {
    uint32_t token, concept;
    struct timeline_cell cell;
};

struct timeline {
    struct timeline_token *tokens;
    struct timeline_concept *concepts;
    struct timeline_entry *entries; /* by token */
    size_t n_tokens, n_concepts, n_entries, token_room, concept_room, entry_room;
    void *by_key; /* a tree of <search.h> */
};

void timeline_free(struct timeline *timeline);

/* The next token; its text is copied. -ENOMEM; -E2BIG after TIMELINE_MAX_TOKENS. */
int timeline_add_token(struct timeline *timeline, const struct timeline_token *token);

/* The index of a concept, made when there is none of that key (with path NULL, for the caller to set). Or -ENOMEM. */
int64_t timeline_concept(struct timeline *timeline, const char *key, size_t length);

/* A score of the newest token; a concept has one a token. -ENOMEM. */
int timeline_add_score(struct timeline *timeline, uint32_t concept, const struct timeline_cell *cell);

enum timeline_sort { TIMELINE_BY_FIRST, TIMELINE_BY_SCORE, TIMELINE_BY_HIERARCHY };
extern const char *const timeline_sort_names[]; /* NULL-terminated */

struct timeline_choice {
    unsigned concepts; /* at most so many: those with the best scores */
    const char *glob;  /* of keys, as fnmatch; NULL = all */
    float min;         /* concepts that never score so much are left out; also what counts as appearing */
    enum timeline_sort sort;
};

/* What is shown of a timeline, which must outlive it. */
struct timeline_view {
    const struct timeline *timeline;
    size_t n;                    /* concepts */
    uint32_t *concepts;          /* [n] indices, in the order of the choice */
    uint32_t *first;             /* [n] the first token where it appears */
    struct timeline_cell *cells; /* [n][tokens] */
    size_t matching;             /* concepts that pass glob and min */
};

/* -ENOMEM. */
int timeline_select(const struct timeline *timeline, const struct timeline_choice *choice, struct timeline_view *out);
void timeline_view_free(struct timeline_view *view);

static inline const struct timeline_cell *timeline_cell(const struct timeline_view *view, size_t concept, size_t token)
{
    return &view->cells[concept * view->timeline->n_tokens + token];
}

/* Where a timeline comes from; "" = not known. */
struct timeline_source {
    const char *name, *pack;
};

/* timeline_terminal.c: a heat map on a terminal `width` columns wide, a tab-separated matrix elsewhere. `narrow`: one
 * column a token. */
void timeline_print(const struct timeline_view *view, const struct ctl_output *out, unsigned width, bool narrow);

/* timeline_json.c: the matrix with its tokens and concepts (client/README.md describes it); NULL without memory. */
json_t *timeline_json(const struct timeline_view *view, const struct timeline_source *source);

/* timeline_html.c: a page of HTML that needs nothing else, written beside `path` and renamed when it is whole; takes
 * over `json`. */
int timeline_write_html(json_t *json, const char *path, uint64_t *bytes, struct lens_error *err);

#endif
