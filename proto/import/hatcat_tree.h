/* The concepts of a HatCat pack, which of them have a lens, and the hierarchy over those in pack order (DESIGN 3).
 * Private to proto/import. Threads: one thread per import. */
#ifndef LENS_IMPORT_HATCAT_TREE_H
#define LENS_IMPORT_HATCAT_TREE_H

#include "proto/lens_error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct hatcat_concept {
    char *key; /* "Name:layer" */
    uint32_t name_length;
    uint8_t layer;
    bool listed;    /* by hierarchy.json */
    int32_t parent; /* concept, by child_to_parent; -1 = none */
    char *path;     /* of the .pt that holds its lens; NULL = it has none */
    bool banked;    /* the .pt is a bank {name: tensors} */
    int rank;       /* of the layout that `path` comes from; lower wins */
};

struct hatcat_edge {
    uint32_t parent, child;
};

struct hatcat_tree {
    struct hatcat_concept *concepts;
    uint32_t count, capacity;
    struct hatcat_edge *edges; /* of both maps; may repeat */
    uint32_t edge_count, edge_capacity;
    json_t *by_key; /* key -> concept */
};

/* Reads hierarchy.json (an absent one lists nothing). Free with hatcat_tree_free also after an error. */
int hatcat_tree_load(const char *directory, struct hatcat_tree *tree, struct lens_error *err);
void hatcat_tree_free(struct hatcat_tree *tree);

/* The concept of that key, made when there is none yet. -EBADMSG when it isn't "Name:layer" with a layer of 0..255. */
int hatcat_tree_intern(struct hatcat_tree *tree, const char *key, uint32_t *concept, struct lens_error *err);
/* The same from its parts; `where` is the file or map that named it, for the sentence. */
int hatcat_tree_intern_name(struct hatcat_tree *tree, const char *name, size_t length, unsigned layer,
                            uint32_t *concept, struct lens_error *err);
bool hatcat_tree_find(const struct hatcat_tree *tree, const char *key, uint32_t *concept);

/* The lenses in pack order, as the pack's tables want them. Everything owned. */
struct hatcat_order {
    uint32_t lenses;
    uint32_t *concepts; /* [N] concept of each lens */
    int32_t *parent;    /* [N] */
    int32_t *child_offsets, *child_ids;
    uint32_t without_lens, not_listed, several_parents;
    uint32_t unreachable; /* from layers 0 and 1 */
    uint32_t *unreachable_lenses;
};

/* -ELOOP with a sentence that names the concepts of a cycle; -ENODATA when no concept has a lens. */
int hatcat_order_make(const struct hatcat_tree *tree, struct hatcat_order *out, struct lens_error *err);
void hatcat_order_free(struct hatcat_order *order);

#endif
