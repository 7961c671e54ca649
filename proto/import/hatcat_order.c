/* The hierarchy over the concepts that have a lens, in pack order (DESIGN 3); see hatcat_tree.h.
 * Concepts without a lens are bridged over; a cycle is an error; order is breadth first with siblings sorted by key. */
#include "proto/import/hatcat_tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_LENS UINT32_MAX

/* Working memory of one hatcat_order_make. Concept-sized arrays; "lens" below means concept with a lens. */
struct ordering {
    const struct hatcat_tree *tree;
    struct hatcat_order *out;
    uint32_t *sorted;          /* [N] concepts with a lens, by key */
    int32_t *primary;          /* [concepts] nearest ancestor with a lens, -1 */
    uint32_t *id;              /* [concepts] lens id, NO_LENS */
    struct hatcat_edge *edges; /* between concepts with a lens, later between ids */
    uint32_t edge_count;
    struct lens_error *err;
};

void hatcat_order_free(struct hatcat_order *order)
{
    free(order->concepts);
    free(order->parent);
    free(order->child_offsets);
    free(order->child_ids);
    free(order->unreachable_lenses);
    memset(order, 0, sizeof *order);
}

static int compare_by_key(const void *a, const void *b, void *arg)
{
    const struct hatcat_tree *tree = arg;
    return strcmp(tree->concepts[*(const uint32_t *)a].key, tree->concepts[*(const uint32_t *)b].key);
}

static void sort_lenses(struct ordering *o)
{
    const struct hatcat_tree *tree = o->tree;
    uint32_t n = 0;
    for (uint32_t i = 0; i < tree->count; i++) {
        if (tree->concepts[i].path != NULL)
            o->sorted[n++] = i;
        o->out->without_lens += tree->concepts[i].path == NULL;
        o->out->not_listed += tree->concepts[i].path != NULL && !tree->concepts[i].listed;
    }
    o->out->lenses = n;
    qsort_r(o->sorted, n, sizeof *o->sorted, compare_by_key, (void *)tree);
}

/* The concept itself or its nearest ancestor that has a lens; -1 in *out when there is none. */
static int nearest_with_lens(const struct ordering *o, int32_t concept, int32_t *out)
{
    const struct hatcat_concept *concepts = o->tree->concepts;
    uint32_t steps = 0;
    while (concept >= 0 && concepts[concept].path == NULL) {
        if (steps++ > o->tree->count)
            return lens_error_set(o->err, -ELOOP,
                                  "the hierarchy has a cycle: %.100s is its own ancestor by "
                                  "child_to_parent; remove one of the links",
                                  concepts[concept].key);
        concept = concepts[concept].parent;
    }
    *out = concept;
    return 0;
}

static int bridge(struct ordering *o)
{
    const struct hatcat_tree *tree = o->tree;
    for (uint32_t i = 0; i < tree->count; i++) {
        int rc = nearest_with_lens(o, tree->concepts[i].parent, &o->primary[i]);
        if (rc != 0)
            return rc;
    }
    for (uint32_t i = 0; i < tree->edge_count; i++) {
        int32_t parent = -1;
        if (tree->concepts[tree->edges[i].child].path == NULL)
            continue;
        int rc = nearest_with_lens(o, (int32_t)tree->edges[i].parent, &parent);
        if (rc != 0)
            return rc;
        if (parent >= 0)
            o->edges[o->edge_count++] = (struct hatcat_edge){(uint32_t)parent, tree->edges[i].child};
    }
    return 0;
}

static int compare_edges(const void *a, const void *b)
{
    const struct hatcat_edge *x = a;
    const struct hatcat_edge *y = b;
    if (x->parent != y->parent)
        return x->parent < y->parent ? -1 : 1;
    return x->child < y->child ? -1 : x->child > y->child;
}

static void sort_edges(struct ordering *o)
{
    uint32_t kept = 0;
    qsort(o->edges, o->edge_count, sizeof *o->edges, compare_edges);
    for (uint32_t i = 0; i < o->edge_count; i++)
        if (kept == 0 || compare_edges(&o->edges[kept - 1], &o->edges[i]) != 0)
            o->edges[kept++] = o->edges[i];
    o->edge_count = kept;
}

/* --------------------------------------------------------------------------------------------------------- cycles */

/* `start` stands in or below a cycle, and so does any_parent[] of each such concept: walking up ends in the cycle. */
static int name_cycle(const struct ordering *o, const uint32_t *any_parent, uint32_t start)
{
    char path[300];
    size_t used = 0;
    uint32_t at = start;
    for (uint32_t i = 0; i < o->tree->count; i++)
        at = any_parent[at]; /* surely inside the cycle now */
    const uint32_t first = at;
    do {
        int n = snprintf(path + used, sizeof path - used, "%.80s <- ", o->tree->concepts[at].key);
        if (n < 0 || (size_t)n >= sizeof path - used)
            break;
        used += (size_t)n;
        at = any_parent[at];
    } while (at != first);
    path[used] = '\0';
    return lens_error_set(o->err, -ELOOP,
                          "the hierarchy has a cycle (child <- parent): %s%.80s; remove one of the links", path,
                          o->tree->concepts[first].key);
}

/* Takes lenses without parents away again and again; whatever is left stands in or below a cycle. */
static int refuse_cycles(struct ordering *o)
{
    const uint32_t count = o->tree->count;
    uint32_t *left = calloc(count, sizeof *left); /* parents not yet taken away */
    uint32_t *first_edge = calloc(count + 1, sizeof *first_edge);
    uint32_t *todo = calloc(count, sizeof *todo);
    uint32_t n = 0;
    int rc = 0;
    if (left == NULL || first_edge == NULL || todo == NULL) {
        rc = lens_error_set(o->err, -ENOMEM, "no memory to check the hierarchy");
        goto out;
    }
    for (uint32_t i = 0; i < o->edge_count; i++) {
        left[o->edges[i].child]++;
        first_edge[o->edges[i].parent + 1]++;
    }
    for (uint32_t i = 0; i < count; i++)
        first_edge[i + 1] += first_edge[i];
    for (uint32_t i = 0; i < count; i++)
        if (left[i] == 0)
            todo[n++] = i;
    for (uint32_t at = 0; at < n; at++)
        for (uint32_t e = first_edge[todo[at]]; e < first_edge[todo[at] + 1]; e++)
            if (--left[o->edges[e].child] == 0)
                todo[n++] = o->edges[e].child;
    if (n < count) {
        uint32_t start = 0;
        for (uint32_t i = 0; i < o->edge_count; i++) /* todo becomes: one parent that is left, of each that is left */
            if (left[o->edges[i].parent] != 0)
                todo[o->edges[i].child] = o->edges[i].parent;
        while (left[start] == 0)
            start++;
        rc = name_cycle(o, todo, start);
    }
out:
    free(todo);
    free(first_edge);
    free(left);
    return rc;
}

/* ---------------------------------------------------------------------------------------------------------- order */

/* Breadth first over primary parents; siblings come in the order of `sorted`. */
static int number_lenses(struct ordering *o)
{
    const uint32_t n = o->out->lenses;
    const uint32_t count = o->tree->count;
    uint32_t *first = malloc(count * sizeof *first); /* first child of a concept, then its next sibling */
    uint32_t *next = malloc(count * sizeof *next);
    uint32_t placed = 0;
    if (first == NULL || next == NULL) {
        free(first);
        free(next);
        return lens_error_set(o->err, -ENOMEM, "no memory to order %u lenses", n);
    }
    memset(first, 0xff, count * sizeof *first);
    for (uint32_t i = n; i > 0; i--) { /* backwards, so that each list is ascending */
        uint32_t concept = o->sorted[i - 1];
        int32_t parent = o->primary[concept];
        next[concept] = NO_LENS;
        if (parent < 0)
            continue;
        next[concept] = first[parent];
        first[parent] = concept;
    }
    for (uint32_t i = 0; i < n; i++)
        if (o->primary[o->sorted[i]] < 0)
            o->out->concepts[placed++] = o->sorted[i];
    for (uint32_t at = 0; at < placed; at++) {
        o->id[o->out->concepts[at]] = at;
        for (uint32_t c = first[o->out->concepts[at]]; c != NO_LENS; c = next[c])
            o->out->concepts[placed++] = c;
    }
    free(next);
    free(first);
    return placed == n ? 0 : lens_error_set(o->err, -ELOOP, "the hierarchy has a cycle by child_to_parent");
}

static void fill_tables(struct ordering *o)
{
    struct hatcat_order *out = o->out;
    for (uint32_t i = 0; i < out->lenses; i++) {
        int32_t parent = o->primary[out->concepts[i]];
        out->parent[i] = parent >= 0 ? (int32_t)o->id[parent] : -1;
    }
    for (uint32_t i = 0; i < o->edge_count; i++)
        o->edges[i] = (struct hatcat_edge){o->id[o->edges[i].parent], o->id[o->edges[i].child]};
    sort_edges(o);
    for (uint32_t i = 0; i < o->edge_count; i++) {
        out->child_ids[i] = (int32_t)o->edges[i].child;
        out->child_offsets[o->edges[i].parent + 1]++;
    }
    for (uint32_t i = 0; i < out->lenses; i++)
        out->child_offsets[i + 1] += out->child_offsets[i];
}

/* Lenses that no cascade from layers 0 and 1 can score, and those with several parents. */
static int count_odd_ones(struct ordering *o)
{
    struct hatcat_order *out = o->out;
    uint32_t *parents = calloc(out->lenses, sizeof *parents);
    uint32_t *todo = calloc(out->lenses, sizeof *todo);
    bool *seen = calloc(out->lenses, sizeof *seen);
    uint32_t n = 0;
    int rc = 0;
    if (parents == NULL || todo == NULL || seen == NULL) {
        rc = lens_error_set(o->err, -ENOMEM, "no memory to walk the hierarchy");
        goto out;
    }
    for (uint32_t i = 0; i < out->lenses; i++)
        if ((seen[i] = o->tree->concepts[out->concepts[i]].layer <= 1))
            todo[n++] = i;
    for (uint32_t at = 0; at < n; at++) {
        for (int32_t e = out->child_offsets[todo[at]]; e < out->child_offsets[todo[at] + 1]; e++) {
            if (!seen[out->child_ids[e]])
                todo[n++] = (uint32_t)out->child_ids[e];
            seen[out->child_ids[e]] = true;
        }
    }
    for (uint32_t i = 0; i < o->edge_count; i++)
        out->several_parents += ++parents[o->edges[i].child] == 2;
    for (uint32_t i = 0; i < out->lenses; i++)
        if (!seen[i])
            out->unreachable_lenses[out->unreachable++] = i;
out:
    free(seen);
    free(todo);
    free(parents);
    return rc;
}

static int allocate(struct ordering *o)
{
    const uint32_t count = o->tree->count;
    struct hatcat_order *out = o->out;
    o->sorted = calloc(count, sizeof *o->sorted);
    o->primary = calloc(count, sizeof *o->primary);
    o->id = calloc(count, sizeof *o->id);
    o->edges = calloc(o->tree->edge_count + 1, sizeof *o->edges);
    out->concepts = calloc(count, sizeof *out->concepts);
    out->parent = calloc(count, sizeof *out->parent);
    out->child_offsets = calloc(count + 1, sizeof *out->child_offsets);
    out->child_ids = calloc(o->tree->edge_count + 1, sizeof *out->child_ids);
    out->unreachable_lenses = calloc(count, sizeof *out->unreachable_lenses);
    if (o->sorted == NULL || o->primary == NULL || o->id == NULL || o->edges == NULL || out->concepts == NULL ||
        out->parent == NULL || out->child_offsets == NULL || out->child_ids == NULL || out->unreachable_lenses == NULL)
        return lens_error_set(o->err, -ENOMEM, "no memory to order %u concepts", count);
    return 0;
}

static int make(struct ordering *o)
{
    if (o->tree->count == 0)
        return lens_error_set(o->err, -ENODATA, "there are no concepts");
    int rc = allocate(o);
    if (rc != 0)
        return rc;
    sort_lenses(o);
    if (o->out->lenses == 0)
        return lens_error_set(o->err, -ENODATA, "none of %u concepts has a lens", o->tree->count);
    rc = bridge(o);
    if (rc == 0) {
        sort_edges(o);
        rc = refuse_cycles(o);
    }
    if (rc == 0)
        rc = number_lenses(o);
    if (rc != 0)
        return rc;
    fill_tables(o);
    return count_odd_ones(o);
}

int hatcat_order_make(const struct hatcat_tree *tree, struct hatcat_order *out, struct lens_error *err)
{
    struct ordering o = {.tree = tree, .out = out, .err = err};
    memset(out, 0, sizeof *out);
    int rc = make(&o);
    free(o.sorted);
    free(o.primary);
    free(o.id);
    free(o.edges);
    if (rc != 0)
        hatcat_order_free(out);
    return rc;
}
