/* The concept tree of the real-tree pack, in pack order (DESIGN 3): read from a file of
 * "Name:layer<TAB>Parent:layer" lines, generated with the real tree's layer sizes, or taken from a pack. */
#ifndef LENS_BENCH_TREE_H
#define LENS_BENCH_TREE_H

#include "proto/pack.h"

struct bench_tree {
    uint32_t n;
    char **keys;                        /* "Name:layer" */
    uint64_t *streams;                  /* random stream of each concept, from its key alone */
    int32_t *parent;                    /* -1 = root */
    int32_t *child_offsets, *child_ids; /* [n+1], [edges] ascending */
    uint8_t *layer;
    uint32_t *leaves; /* concepts without children */
    uint32_t n_leaves;
    int32_t *name_offsets; /* as a pack wants them: names without layer */
    char *names;
};

/* `path` NULL = generate. Dies with a sentence on a bad file. */
struct bench_tree *bench_tree_open(const char *path);
struct bench_tree *bench_tree_of_pack(const struct lens_pack *pack);
void bench_tree_close(struct bench_tree *tree);

/* Root first, the concept itself last; returns how many (at most 16). */
uint32_t bench_tree_path_of(const struct bench_tree *tree, uint32_t concept, uint32_t path[16]);

#endif
