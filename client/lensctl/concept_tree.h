/* The concepts of a loaded pack as the daemon lists them: keys, parents, for paths and for finding ids.
 *
 * Fetched page by page over the control connection. Threads: one thread per tree. */
#ifndef LENSCTL_CONCEPT_TREE_H
#define LENSCTL_CONCEPT_TREE_H

#include "client/lensctl/daemon_link.h"

struct concept {
    uint32_t id;
    int32_t parent; /* id, -1 = root */
    uint32_t children;
    uint8_t layer, role, calibrated, resident;
    char *key; /* "Name:layer" */
};

struct concept_tree {
    struct concept *concepts; /* concepts[id] is the concept with that id */
    size_t count;
    char *pack;           /* its name */
    uint32_t lenses, dim; /* of the whole pack */
    uint32_t generation;
};

/* Fetches all concepts of `pack` (NULL = the first). An enum ctl_exit; on failure the tree is empty. */
int concept_tree_fetch(struct lens_client *client, const char *pack, struct concept_tree *out);
void concept_tree_free(struct concept_tree *tree);

/* The key of an id, or "?" for one that the tree doesn't have. */
const char *concept_tree_key(const struct concept_tree *tree, uint32_t id);

/* The keys from the root to `id` itself, as a list. */
json_t *concept_tree_path(const struct concept_tree *tree, uint32_t id);

/* The id of "Name:layer", of "Name" when one layer has it, or of a decimal id; text need not end in NUL.
 * -ENOENT none, -ENOTUNIQ several. */
int concept_tree_find(const struct concept_tree *tree, const char *text, size_t length, uint32_t *id);

#endif
