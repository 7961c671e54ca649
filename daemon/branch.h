/* A branch of a pack's hierarchy: a concept and everything below it, through any of its parents.
 *
 * Threads: any, each its own branch. */
#ifndef LENSD_BRANCH_H
#define LENSD_BRANCH_H

#include "proto/pack.h"

#define LENSD_BRANCH_OUT (-2)

struct lensd_branch {
    int32_t *parents; /* [lenses of the pack] by which a lens belongs to it: -1 = its head, LENSD_BRANCH_OUT = not */
    uint32_t lenses;  /* that belong to it */
};

/* -ENOMEM. `alone`: the concept without what is below it. */
int lensd_branch_find(const struct lens_pack *pack, uint32_t concept, bool alone, struct lensd_branch *out);
void lensd_branch_free(struct lensd_branch *branch);

static inline bool lensd_branch_has(const struct lensd_branch *branch, uint32_t lens)
{
    return branch->parents[lens] != LENSD_BRANCH_OUT;
}

#endif
