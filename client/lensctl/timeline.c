/* Collecting a timeline and choosing what is shown of it; see timeline.h. Must not print. */
#include "client/lensctl/timeline.h"

#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

const char *const timeline_sort_names[] = {"first", "score", "hierarchy", NULL};

/* A node of the tree: found by key, so the key comes first. */
struct node {
    char *key;
    uint32_t concept;
};

static int compare_nodes(const void *a, const void *b)
{
    return strcmp(((const struct node *)a)->key, ((const struct node *)b)->key);
}

void timeline_free(struct timeline *t)
{
    tdestroy(t->by_key, free); /* the keys are the concepts' */
    for (size_t i = 0; i < t->n_tokens; i++)
        free(t->tokens[i].text);
    for (size_t i = 0; i < t->n_concepts; i++) {
        free(t->concepts[i].key);
        json_decref(t->concepts[i].path);
    }
    free(t->tokens);
    free(t->concepts);
    free(t->entries);
    *t = (struct timeline){0};
}

/* Makes room for one more of `size` bytes. */
static bool make_room(void **items, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return true;
    size_t more = *room ? *room * 2 : 64;
    void *grown = reallocarray(*items, more, size);
    if (grown == NULL)
        return false;
    *items = grown;
    *room = more;
    return true;
}

int timeline_add_token(struct timeline *t, const struct timeline_token *token)
{
    if (t->n_tokens == TIMELINE_MAX_TOKENS)
        return -E2BIG;
    if (!make_room((void **)&t->tokens, t->n_tokens, &t->token_room, sizeof *t->tokens))
        return -ENOMEM;
    char *copy = token->text != NULL ? strdup(token->text) : NULL;
    if (token->text != NULL && copy == NULL)
        return -ENOMEM;
    t->tokens[t->n_tokens] = *token;
    t->tokens[t->n_tokens++].text = copy;
    return 0;
}

int64_t timeline_concept(struct timeline *t, const char *key, size_t length)
{
    if (!make_room((void **)&t->concepts, t->n_concepts, &t->concept_room, sizeof *t->concepts))
        return -ENOMEM;
    struct node *node = malloc(sizeof *node);
    char *copy = strndup(key, length);
    if (node == NULL || copy == NULL) {
        free(node);
        free(copy);
        return -ENOMEM;
    }
    *node = (struct node){.key = copy, .concept = (uint32_t)t->n_concepts};
    struct node **found = tsearch(node, &t->by_key, compare_nodes);
    if (found == NULL || *found != node) {
        free(node);
        free(copy);
        return found == NULL ? -ENOMEM : (int64_t)(*found)->concept;
    }
    t->concepts[t->n_concepts++] = (struct timeline_concept){.key = copy, .best = -INFINITY};
    return (int64_t)node->concept;
}

int timeline_add_score(struct timeline *t, uint32_t concept, const struct timeline_cell *cell)
{
    uint32_t token = (uint32_t)(t->n_tokens - 1);
    if (!make_room((void **)&t->entries, t->n_entries, &t->entry_room, sizeof *t->entries))
        return -ENOMEM;
    t->entries[t->n_entries++] = (struct timeline_entry){.token = token, .concept = concept, .cell = *cell};
    struct timeline_concept *c = &t->concepts[concept];
    if (cell->score > c->best) {
        c->best = cell->score;
        c->best_at = token;
    }
    return 0;
}

/* ---- choosing --------------------------------------------------------------------------------------------------- */

/* One line of a view while it is put in order. */
struct line {
    const struct timeline_concept *concept;
    uint32_t index, first;
};

static int by_key(const struct line *x, const struct line *y)
{
    return strcmp(x->concept->key, y->concept->key);
}

static int by_score(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    if (x->concept->best != y->concept->best)
        return x->concept->best > y->concept->best ? -1 : 1;
    return by_key(x, y);
}

static int by_first(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return by_score(a, b);
}

/* The keys from the root on, one by one; concepts whose path isn't known count as roots. NULL after the last. */
static const char *path_key(const struct timeline_concept *concept, size_t i)
{
    if (json_array_size(concept->path) == 0)
        return i == 0 ? concept->key : NULL;
    return json_string_value(json_array_get(concept->path, i));
}

/* A parent stands before its children, siblings by key. */
static int by_hierarchy(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    for (size_t i = 0;; i++) {
        const char *left = path_key(x->concept, i), *right = path_key(y->concept, i);
        if (left == NULL || right == NULL)
            return (left != NULL) - (right != NULL);
        int order = strcmp(left, right);
        if (order != 0)
            return order;
    }
}

/* The lines that pass, the strongest first, cut to as many as are wanted. */
static struct line *choose(const struct timeline *t, const struct timeline_choice *choice, struct timeline_view *view)
{
    struct line *lines = calloc(t->n_concepts + 1, sizeof *lines);
    for (size_t i = 0; lines != NULL && i < t->n_concepts; i++) {
        const struct timeline_concept *c = &t->concepts[i];
        if (c->best < choice->min || (choice->glob != NULL && fnmatch(choice->glob, c->key, 0) != 0))
            continue;
        lines[view->matching++] = (struct line){.concept = c, .index = (uint32_t)i, .first = UINT32_MAX};
    }
    if (lines != NULL)
        qsort(lines, view->matching, sizeof *lines, by_score);
    view->n = view->matching < choice->concepts ? view->matching : choice->concepts;
    return lines;
}

/* Entries come by token, so the first that is enough is the first appearance. */
static void find_first(const struct timeline *t, float min, struct line *lines, size_t n, uint32_t *line_of)
{
    for (size_t i = 0; i < n; i++)
        line_of[lines[i].index] = (uint32_t)i;
    for (size_t i = 0; i < t->n_entries; i++) {
        const struct timeline_entry *e = &t->entries[i];
        uint32_t line = line_of[e->concept];
        if (line != UINT32_MAX && e->cell.score >= min && e->token < lines[line].first)
            lines[line].first = e->token;
    }
}

static void fill_cells(const struct timeline *t, struct timeline_view *view, const uint32_t *line_of)
{
    for (size_t i = 0; i < view->n * t->n_tokens; i++)
        view->cells[i] = (struct timeline_cell){NAN, NAN, NAN};
    for (size_t i = 0; i < t->n_entries; i++) {
        const struct timeline_entry *e = &t->entries[i];
        if (line_of[e->concept] != UINT32_MAX)
            view->cells[line_of[e->concept] * t->n_tokens + e->token] = e->cell;
    }
}

static void arrange(struct timeline_view *view, struct line *lines, const struct timeline_choice *choice,
                    uint32_t *line_of)
{
    static int (*const orders[])(const void *, const void *) = {by_first, by_score, by_hierarchy};
    const struct timeline *t = view->timeline;
    memset(line_of, 0xff, t->n_concepts * sizeof *line_of);
    find_first(t, choice->min, lines, view->n, line_of);
    qsort(lines, view->n, sizeof *lines, orders[choice->sort]);
    for (size_t i = 0; i < view->n; i++) {
        view->concepts[i] = lines[i].index;
        view->first[i] = lines[i].first;
        line_of[lines[i].index] = (uint32_t)i;
    }
    fill_cells(t, view, line_of);
}

int timeline_select(const struct timeline *t, const struct timeline_choice *choice, struct timeline_view *out)
{
    *out = (struct timeline_view){.timeline = t};
    struct line *lines = choose(t, choice, out);
    uint32_t *line_of = calloc(t->n_concepts + 1, sizeof *line_of);
    out->concepts = calloc(out->n + 1, sizeof *out->concepts);
    out->first = calloc(out->n + 1, sizeof *out->first);
    out->cells = calloc(out->n * t->n_tokens + 1, sizeof *out->cells);
    bool there = lines != NULL && line_of != NULL && out->concepts != NULL && out->first != NULL && out->cells != NULL;
    if (there)
        arrange(out, lines, choice, line_of);
    free(lines);
    free(line_of);
    if (!there)
        timeline_view_free(out);
    return there ? 0 : -ENOMEM;
}

void timeline_view_free(struct timeline_view *view)
{
    free(view->concepts);
    free(view->first);
    free(view->cells);
    *view = (struct timeline_view){0};
}
