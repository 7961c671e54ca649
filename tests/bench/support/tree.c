/* The concept tree in pack order; see tree.h. */
#include "tests/bench/support/tree.h"

#include "tests/bench/support/bench.h"
#include "tests/bench/support/random.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    char *key, *parent; /* parent "" = root */
    int32_t parent_at;  /* in the sorted list */
};

struct entries {
    struct entry *items;
    uint32_t n, capacity;
};

static void add_entry(struct entries *list, const char *key, const char *parent)
{
    if (list->n == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 1024;
        list->items = realloc(list->items, list->capacity * sizeof *list->items);
        if (!list->items)
            bench_die("no memory for the tree");
    }
    list->items[list->n++] = (struct entry){strdup(key), strdup(parent), -1};
}

static void read_entries(const char *path, struct entries *list)
{
    char line[4096];
    FILE *file = fopen(path, "r");
    if (!file)
        bench_die("the concept tree %s can't be read: %s", path, strerror(errno));
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        char *tab = strchr(line, '\t');
        if (tab)
            *tab = 0;
        if (*line)
            add_entry(list, line, tab ? tab + 1 : "");
    }
    fclose(file);
}

/* Layer sizes of the real tree; each concept takes a random parent of the layer above that has room. */
static void generate_entries(struct entries *list)
{
    static const uint32_t sizes[] = {5, 23, 241, 1283, 2603, 2687, 1105};
    uint64_t stream = bench_stream_of("generated tree", 14), draw = 0;
    for (uint32_t layer = 0; layer < 7; layer++) {
        uint32_t above = layer ? sizes[layer - 1] : 0;
        uint32_t *children = bench_alloc((above + 1) * sizeof *children);
        for (uint32_t i = 0; i < sizes[layer]; i++) {
            char key[32], parent[32] = "";
            snprintf(key, sizeof key, "Concept%04u:%u", i, layer);
            uint32_t under = 0;
            do {
                under = layer ? bench_random_below(stream, draw++, above) : 0;
            } while (layer && children[under] == 31);
            children[under]++;
            if (layer)
                snprintf(parent, sizeof parent, "Concept%04u:%u", under, layer - 1);
            add_entry(list, key, parent);
        }
        free(children);
    }
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static void link_parents(struct entries *list)
{
    qsort(list->items, list->n, sizeof *list->items, by_key);
    for (uint32_t i = 0; i < list->n; i++) {
        struct entry *entry = &list->items[i], wanted = {.key = entry->parent};
        if (i > 0 && strcmp(entry->key, entry[-1].key) == 0)
            bench_die("the tree lists %s twice", entry->key);
        if (!*entry->parent)
            continue;
        const struct entry *parent = bsearch(&wanted, list->items, list->n, sizeof wanted, by_key);
        if (!parent)
            bench_die("%s has the parent %s, which the tree doesn't list", entry->key, entry->parent);
        entry->parent_at = (int32_t)(parent - list->items);
    }
}

/* Breadth first from the roots; siblings and roots by key. order[i] = index in the sorted list. */
static void breadth_first(const struct entries *list, uint32_t *order)
{
    uint32_t done = 0;
    for (uint32_t i = 0; i < list->n; i++) {
        if (list->items[i].parent_at < 0)
            order[done++] = i;
    }
    uint32_t *offsets = bench_alloc((list->n + 2) * sizeof *offsets), *members = bench_alloc(list->n * sizeof *members);
    for (uint32_t i = 0; i < list->n; i++) {
        if (list->items[i].parent_at >= 0)
            offsets[list->items[i].parent_at + 2]++;
    }
    for (uint32_t i = 0; i < list->n; i++)
        offsets[i + 2] += offsets[i + 1];
    for (uint32_t i = 0; i < list->n; i++) {
        if (list->items[i].parent_at >= 0)
            members[offsets[list->items[i].parent_at + 1]++] = i;
    }
    for (uint32_t i = 0; i < done; i++) {
        for (uint32_t k = offsets[order[i]]; k < offsets[order[i] + 1]; k++)
            order[done++] = members[k];
    }
    if (done != list->n)
        bench_die("the tree has a cycle: only %u of %u concepts hang below a root", done, list->n);
    free(offsets);
    free(members);
}

static struct bench_tree *new_tree(uint32_t n)
{
    struct bench_tree *tree = bench_alloc(sizeof *tree);
    tree->n = n;
    tree->keys = bench_alloc(n * sizeof *tree->keys);
    tree->streams = bench_alloc(n * sizeof *tree->streams);
    tree->parent = bench_alloc(n * sizeof *tree->parent);
    tree->layer = bench_alloc(n);
    tree->child_offsets = bench_alloc((n + 1) * sizeof *tree->child_offsets);
    tree->leaves = bench_alloc(n * sizeof *tree->leaves);
    tree->name_offsets = bench_alloc((n + 1) * sizeof *tree->name_offsets);
    return tree;
}

/* Everything that follows from keys and parents when children follow their parents in order. */
static void complete_children(struct bench_tree *tree)
{
    tree->child_ids = bench_alloc(tree->n * sizeof *tree->child_ids);
    int32_t *fill = bench_alloc((tree->n + 1) * sizeof *fill);
    for (uint32_t i = 0; i < tree->n; i++) {
        if (tree->parent[i] >= 0)
            tree->child_offsets[tree->parent[i] + 1]++;
    }
    for (uint32_t i = 0; i < tree->n; i++) {
        tree->child_offsets[i + 1] += tree->child_offsets[i];
        fill[i] = tree->child_offsets[i];
    }
    for (uint32_t i = 0; i < tree->n; i++) {
        if (tree->parent[i] >= 0)
            tree->child_ids[fill[tree->parent[i]]++] = (int32_t)i;
    }
    free(fill);
}

static void complete_names(struct bench_tree *tree)
{
    size_t total = 0;
    for (uint32_t i = 0; i < tree->n; i++)
        total += strlen(tree->keys[i]);
    tree->names = bench_alloc(total + 1);
    for (uint32_t i = 0; i < tree->n; i++) {
        const char *colon = strrchr(tree->keys[i], ':');
        int layer = colon ? atoi(colon + 1) : -1;
        if (!colon || layer < 0 || layer > 63)
            bench_die("\"%s\" should be Name:layer with a layer from 0 to 63", tree->keys[i]);
        size_t length = (size_t)(colon - tree->keys[i]);
        tree->layer[i] = (uint8_t)layer;
        tree->streams[i] = bench_stream_of(tree->keys[i], strlen(tree->keys[i]));
        memcpy(tree->names + tree->name_offsets[i], tree->keys[i], length);
        tree->name_offsets[i + 1] = tree->name_offsets[i] + (int32_t)length;
        if (tree->child_offsets[i] == tree->child_offsets[i + 1])
            tree->leaves[tree->n_leaves++] = i;
    }
}

struct bench_tree *bench_tree_open(const char *path)
{
    struct entries list = {0};
    if (path)
        read_entries(path, &list);
    else
        generate_entries(&list);
    if (list.n == 0)
        bench_die("the tree %s is empty", path ? path : "");
    link_parents(&list);
    uint32_t *order = bench_alloc(list.n * sizeof *order), *place = bench_alloc(list.n * sizeof *place);
    breadth_first(&list, order);
    struct bench_tree *tree = new_tree(list.n);
    for (uint32_t i = 0; i < list.n; i++)
        place[order[i]] = i;
    for (uint32_t i = 0; i < list.n; i++) {
        const struct entry *entry = &list.items[order[i]];
        tree->keys[i] = entry->key;
        tree->parent[i] = entry->parent_at < 0 ? -1 : (int32_t)place[entry->parent_at];
        free(entry->parent);
    }
    complete_children(tree);
    complete_names(tree);
    free(order);
    free(place);
    free(list.items);
    return tree;
}

struct bench_tree *bench_tree_of_pack(const struct lens_pack *pack)
{
    struct bench_tree *tree = new_tree(pack->lenses);
    for (uint32_t i = 0; i < pack->lenses; i++) {
        char key[1024];
        lens_pack_key(pack, i, key, sizeof key);
        tree->keys[i] = strdup(key);
        tree->parent[i] = pack->parent[i];
    }
    complete_children(tree);
    complete_names(tree);
    return tree;
}

void bench_tree_close(struct bench_tree *tree)
{
    for (uint32_t i = 0; i < tree->n; i++)
        free(tree->keys[i]);
    free(tree->keys);
    free(tree->streams);
    free(tree->parent);
    free(tree->layer);
    free(tree->child_offsets);
    free(tree->child_ids);
    free(tree->leaves);
    free(tree->name_offsets);
    free(tree->names);
    free(tree);
}

uint32_t bench_tree_path_of(const struct bench_tree *tree, uint32_t concept, uint32_t path[16])
{
    uint32_t depth = 0, n = 0;
    for (int32_t at = (int32_t)concept; at >= 0 && depth < 16; at = tree->parent[at])
        depth++;
    for (int32_t at = (int32_t)concept; n < depth; at = tree->parent[at])
        path[depth - ++n] = (uint32_t)at;
    return depth;
}
