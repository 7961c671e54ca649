/* What all policies have in common: who is held, the quotas of layers, and handing calls to the kind's own file. */
#include "daemon/cache/policy_private.h"

#include <errno.h>
#include <stdlib.h>

const char *const lensd_cache_policy_names[] = {"lru", "hatcat", "sieve", "s3fifo", "sequence", NULL};

static const struct cache_ops *const kinds[] = {
    [LENSD_CACHE_LRU] = &cache_lru_ops,           [LENSD_CACHE_HATCAT] = &cache_hatcat_ops,
    [LENSD_CACHE_SIEVE] = &cache_sieve_ops,       [LENSD_CACHE_S3FIFO] = &cache_s3fifo_ops,
    [LENSD_CACHE_SEQUENCE] = &cache_sequence_ops,
};
#define KINDS (sizeof kinds / sizeof kinds[0])
_Static_assert(sizeof lensd_cache_policy_names / sizeof lensd_cache_policy_names[0] == KINDS + 1,
               "every kind has a name");

void cache_list_init(struct cache_list *list)
{
    *list = (struct cache_list){CACHE_NONE, CACHE_NONE, 0};
}

void cache_list_push(struct cache_list *list, struct cache_links links, uint32_t lens)
{
    links.newer[lens] = CACHE_NONE;
    links.older[lens] = list->head;
    if (list->head != CACHE_NONE)
        links.newer[list->head] = lens;
    else
        list->tail = lens;
    list->head = lens;
    list->size++;
}

void cache_list_take(struct cache_list *list, struct cache_links links, uint32_t lens)
{
    uint32_t newer = links.newer[lens], older = links.older[lens];
    if (newer != CACHE_NONE)
        links.older[newer] = older;
    else
        list->head = older;
    if (older != CACHE_NONE)
        links.newer[older] = newer;
    else
        list->tail = newer;
    list->size--;
}

static bool over_quota(const struct lensd_cache_policy *policy, uint32_t layer)
{
    float share = policy->quotas.share[layer];
    return share > 0 && (float)policy->held_of_layer[layer] > share * (float)policy->capacity;
}

static bool any_over_quota(const struct lensd_cache_policy *policy)
{
    for (uint32_t layer = 0; policy->layer != NULL && layer < LENSD_CACHE_LAYERS; layer++) {
        if (over_quota(policy, layer))
            return true;
    }
    return false;
}

bool cache_may_leave(const struct cache_filter *filter, uint32_t lens)
{
    if (filter->over_quota_only && !over_quota(filter->policy, filter->policy->layer[lens]))
        return false;
    return filter->protect == NULL || !filter->protect(filter->arg, lens);
}

static int check_config(const struct lensd_cache_config *config, struct lens_error *err)
{
    if ((unsigned)config->kind >= KINDS)
        return lens_error_set(err, -EINVAL, "a cache policy is one of 0..%zu, found %u", KINDS - 1,
                              (unsigned)config->kind);
    if (config->lenses == 0 || config->lenses == CACHE_NONE)
        return lens_error_set(err, -EINVAL, "a cache policy orders 1 to %u lenses, found %u", CACHE_NONE - 1,
                              config->lenses);
    if (config->quotas != NULL && config->layer == NULL)
        return lens_error_set(err, -EINVAL, "quotas of layers need each lens's layer; give `layer`");
    return 0;
}

int lensd_cache_policy_create(const struct lensd_cache_config *config, struct lensd_cache_policy **out,
                              struct lens_error *err)
{
    int r = check_config(config, err);
    if (r < 0)
        return r;
    struct lensd_cache_policy *policy = calloc(1, sizeof *policy);
    if (policy == NULL)
        goto no_memory;
    policy->ops = kinds[config->kind];
    policy->lenses = config->lenses;
    policy->capacity = config->capacity;
    if (config->quotas != NULL) {
        policy->layer = config->layer;
        policy->quotas = *config->quotas;
    }
    policy->links.newer = calloc(config->lenses, sizeof *policy->links.newer);
    policy->links.older = calloc(config->lenses, sizeof *policy->links.older);
    policy->state = calloc(config->lenses, sizeof *policy->state);
    if (policy->links.newer == NULL || policy->links.older == NULL || policy->state == NULL ||
        policy->ops->create(policy) < 0)
        goto no_memory;
    *out = policy;
    return 0;
no_memory:
    lensd_cache_policy_destroy(policy);
    return lens_error_set(err, -ENOMEM, "no memory for a cache policy over %u lenses", config->lenses);
}

void lensd_cache_policy_destroy(struct lensd_cache_policy *policy)
{
    if (policy == NULL)
        return;
    if (policy->own != NULL)
        policy->ops->destroy(policy);
    free(policy->links.newer);
    free(policy->links.older);
    free(policy->state);
    free(policy);
}

void lensd_cache_policy_resize(struct lensd_cache_policy *policy, uint32_t capacity)
{
    policy->capacity = capacity;
    if (policy->ops->resize != NULL)
        policy->ops->resize(policy);
}

static void count(struct lensd_cache_policy *policy, uint32_t lens, int change)
{
    policy->size += (uint32_t)change;
    if (policy->layer != NULL)
        policy->held_of_layer[policy->layer[lens]] += (uint32_t)change;
}

void lensd_cache_policy_insert(struct lensd_cache_policy *policy, uint32_t lens, bool wanted)
{
    if (policy->state[lens] != CACHE_OUT)
        return;
    policy->state[lens] = wanted ? CACHE_HELD : CACHE_UNWANTED;
    count(policy, lens, 1);
    policy->ops->insert(policy, lens);
}

void lensd_cache_policy_use(struct lensd_cache_policy *policy, uint32_t lens)
{
    if (policy->state[lens] == CACHE_OUT)
        return;
    bool again = policy->state[lens] == CACHE_HELD;
    policy->state[lens] = CACHE_HELD;
    policy->ops->use(policy, lens, again);
}

void lensd_cache_policy_row(struct lensd_cache_policy *policy, uint64_t sequence, const uint32_t *lenses, uint32_t n,
                            bool ends)
{
    if (policy->ops->row != NULL)
        policy->ops->row(policy, sequence, lenses, n, ends);
}

void lensd_cache_policy_remove(struct lensd_cache_policy *policy, uint32_t lens)
{
    if (policy->state[lens] == CACHE_OUT)
        return;
    policy->ops->remove(policy, lens);
    policy->state[lens] = CACHE_OUT;
    count(policy, lens, -1);
}

bool lensd_cache_policy_victim(struct lensd_cache_policy *policy, lensd_cache_protect_fn protect, const void *arg,
                               uint32_t *lens)
{
    struct cache_filter filter = {policy, protect, arg, any_over_quota(policy)};
    bool found = policy->ops->victim(policy, &filter, lens);
    if (!found && filter.over_quota_only) {
        filter.over_quota_only = false;
        found = policy->ops->victim(policy, &filter, lens);
    }
    if (found) {
        policy->state[*lens] = CACHE_OUT;
        count(policy, *lens, -1);
    }
    return found;
}

bool lensd_cache_policy_holds(const struct lensd_cache_policy *policy, uint32_t lens)
{
    return policy->state[lens] != CACHE_OUT;
}

uint32_t lensd_cache_policy_size(const struct lensd_cache_policy *policy)
{
    return policy->size;
}
