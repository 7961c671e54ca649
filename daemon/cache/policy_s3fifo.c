/* S3-FIFO (Yang et al., SOSP 2023): a small first-in-first-out list (a tenth of the capacity) that new lenses go
 * through, a main one for those used at least twice meanwhile, and a ghost list of names that left the small one (as
 * many as the main list has places), whose lenses go to the main list when they come back. In the main list a lens
 * used since is put back in front, and loses one of at most three marks. */
#include "daemon/cache/policy_private.h"

#include <errno.h>
#include <stdlib.h>

#define MOST_MARKS 3u

enum place { NOWHERE, SMALL, MAIN, GHOST };

struct s3fifo {
    struct cache_list list[GHOST + 1]; /* by enum place */
    uint8_t *marks;                    /* [N] uses, at most MOST_MARKS */
    uint8_t place[];                   /* [N] */
};

static uint32_t small_target(const struct lensd_cache_policy *policy)
{
    uint32_t tenth = policy->capacity / 10;
    return tenth > 0 ? tenth : 1;
}

static uint32_t ghost_limit(const struct lensd_cache_policy *policy)
{
    return policy->capacity > small_target(policy) ? policy->capacity - small_target(policy) : 0;
}

static int s3fifo_create(struct lensd_cache_policy *policy)
{
    struct s3fifo *s = calloc(1, sizeof *s + policy->lenses);
    if (s == NULL)
        return -ENOMEM;
    s->marks = calloc(policy->lenses, sizeof *s->marks);
    if (s->marks == NULL) {
        free(s);
        return -ENOMEM;
    }
    for (int place = NOWHERE; place <= GHOST; place++)
        cache_list_init(&s->list[place]);
    policy->own = s;
    return 0;
}

static void s3fifo_destroy(struct lensd_cache_policy *policy)
{
    struct s3fifo *s = policy->own;
    free(s->marks);
    free(s);
}

static void move(struct lensd_cache_policy *policy, uint32_t lens, enum place to)
{
    struct s3fifo *s = policy->own;
    if (s->place[lens] != NOWHERE)
        cache_list_take(&s->list[s->place[lens]], policy->links, lens);
    s->place[lens] = (uint8_t)to;
    if (to != NOWHERE)
        cache_list_push(&s->list[to], policy->links, lens);
}

static void trim_ghosts(struct lensd_cache_policy *policy)
{
    struct s3fifo *s = policy->own;
    while (s->list[GHOST].size > ghost_limit(policy))
        move(policy, s->list[GHOST].tail, NOWHERE);
}

static void s3fifo_insert(struct lensd_cache_policy *policy, uint32_t lens)
{
    struct s3fifo *s = policy->own;
    s->marks[lens] = 0;
    move(policy, lens, s->place[lens] == GHOST ? MAIN : SMALL);
}

static void s3fifo_use(struct lensd_cache_policy *policy, uint32_t lens, bool again)
{
    struct s3fifo *s = policy->own;
    if (again && s->marks[lens] < MOST_MARKS)
        s->marks[lens]++;
}

static void s3fifo_remove(struct lensd_cache_policy *policy, uint32_t lens)
{
    move(policy, lens, NOWHERE);
}

static bool leave_small(struct lensd_cache_policy *policy, const struct cache_filter *filter, uint32_t *lens)
{
    struct s3fifo *s = policy->own;
    for (uint32_t at = s->list[SMALL].tail, newer; at != CACHE_NONE; at = newer) {
        newer = policy->links.newer[at];
        if (!cache_may_leave(filter, at))
            continue;
        if (s->marks[at] < 2) {
            move(policy, at, GHOST);
            trim_ghosts(policy);
            *lens = at;
            return true;
        }
        s->marks[at] = 0;
        move(policy, at, MAIN);
    }
    return false;
}

static bool leave_main(struct lensd_cache_policy *policy, const struct cache_filter *filter, uint32_t *lens)
{
    struct s3fifo *s = policy->own;
    for (unsigned lap = 0; lap <= MOST_MARKS; lap++) {
        uint32_t at = s->list[MAIN].tail, newer;
        for (uint32_t left = s->list[MAIN].size; left > 0; left--, at = newer) {
            newer = policy->links.newer[at];
            if (!cache_may_leave(filter, at))
                continue;
            if (s->marks[at] == 0) {
                move(policy, at, NOWHERE);
                *lens = at;
                return true;
            }
            s->marks[at]--;
            move(policy, at, MAIN);
        }
    }
    return false;
}

static bool s3fifo_victim(struct lensd_cache_policy *policy, const struct cache_filter *filter, uint32_t *lens)
{
    const struct s3fifo *s = policy->own;
    bool small_first = s->list[SMALL].size >= small_target(policy);
    if (small_first && leave_small(policy, filter, lens))
        return true;
    return leave_main(policy, filter, lens) || (!small_first && leave_small(policy, filter, lens)) ||
           (!small_first && leave_main(policy, filter, lens));
}

const struct cache_ops cache_s3fifo_ops = {
    .create = s3fifo_create,
    .destroy = s3fifo_destroy,
    .resize = trim_ghosts,
    .insert = s3fifo_insert,
    .use = s3fifo_use,
    .remove = s3fifo_remove,
    .victim = s3fifo_victim,
};
