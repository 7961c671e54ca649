/* See branch.h. */
#include "daemon/branch.h"

#include "daemon/sys.h"

#include <errno.h>

/* Breadth first, each lens once: `queue` holds those that were found. */
static uint32_t walk(const struct lens_pack *pack, uint32_t *queue, int32_t *parents)
{
    uint32_t found = 1;
    for (uint32_t at = 0; at < found; at++) {
        const int32_t *children = pack->child_ids + pack->child_offsets[queue[at]];
        uint32_t n = lens_pack_child_count(pack, queue[at]);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t child = (uint32_t)children[i];
            if (parents[child] != LENSD_BRANCH_OUT)
                continue;
            parents[child] = (int32_t)queue[at];
            queue[found++] = child;
        }
    }
    return found;
}

int lensd_branch_find(const struct lens_pack *pack, uint32_t concept, bool alone, struct lensd_branch *out)
{
    uint32_t *queue = lensd_calloc(pack->lenses, sizeof *queue);
    *out = (struct lensd_branch){lensd_calloc(pack->lenses, sizeof *out->parents), 1};
    if (queue == NULL || out->parents == NULL) {
        lensd_free(queue);
        lensd_branch_free(out);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < pack->lenses; i++)
        out->parents[i] = LENSD_BRANCH_OUT;
    out->parents[concept] = -1;
    queue[0] = concept;
    if (!alone)
        out->lenses = walk(pack, queue, out->parents);
    lensd_free(queue);
    return 0;
}

void lensd_branch_free(struct lensd_branch *branch)
{
    lensd_free(branch->parents);
    *branch = (struct lensd_branch){0};
}
