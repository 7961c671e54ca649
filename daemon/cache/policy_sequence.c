/* Keeps what the last rows of the live sequences wanted, since their next rows mostly want the same, and of the rest
 * what sequences turn to most often. It learns both from lensd_cache_policy_row; without those calls it is plain LRU.
 *
 * A held lens is in one of three places:
 *
 * - owned: on the list of a sequence whose last row wanted it (one of the last two sequences that did).
 * - recent: it came in or was used, and no row was told of yet: prefetched, or wanted by the step that runs.
 * - cold: no live sequence's last row wanted it. A heap by how often sequences turned to the lens, each time counting
 *   half as much after HALF_LIFE rows; of equals the one used longest ago is on top.
 *
 * Victims are the top of the cold ones, then recent ones, the longest unused first, then of the owned ones the least
 * likely wanted soon: by the waits until its sequences' next turns, which the gaps between their rows tell, and by how
 * often sequences turn to it. A sequence that stays silent for much longer than the others take for their turns is
 * over, and so is, after two turns of all, the wait for a prefetched lens. */
#include "daemon/cache/policy_private.h"
#include "daemon/cache/sequence_table.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HALF_LIFE      4096.0
#define REBASE_ROWS    (1u << 20) /* weights are scaled down before they overflow: 2^256 after so many rows */
#define SEQUENCES      4096u
#define GAP_RATE       0.1  /* of the newest gap in the usual one */
#define GAP_PER_SPREAD 1.36 /* of turns by chance: e / 2 */
#define PATIENCE_ROWS  64u  /* a sequence is silent for too long after so many rows, and four turns of all */

enum place { RECENT, OWNED, COLD };

struct claim {
    uint32_t sequence;
    uint64_t row; /* holds while it is the sequence's last row */
};

struct owner {
    struct cache_list list; /* the last row's lenses at the head */
    uint64_t row;           /* its last; 0 = over */
    double gap, spread;     /* rows of all sequences from one of its rows to the next; mean distance from that */
};

struct lens_state {
    double weight;         /* how often sequences turned to it */
    uint64_t used;         /* when last, to order equals */
    uint64_t row;          /* of all, when it became recent */
    struct claim claim[2]; /* the last two sequences that wanted it, the last one first */
    uint32_t owner, at;    /* owned: by whom; cold: where in the heap */
    uint8_t place;         /* of a held lens: enum place */
};

struct by_sequence {
    struct sequence_table table;
    struct owner *owner; /* [SEQUENCES] */
    struct cache_list recent;
    struct lens_state *lens; /* [N] */
    uint32_t *heap;          /* [N] cold lenses, the first to leave on top */
    uint32_t *passed;        /* [N] taken off the heap while looking for a victim */
    uint32_t n_cold;
    uint64_t row, uses, base; /* counters; the row whose weight is 1 */
    double scale;             /* a weight times this is turns to the lens per row */
};

static void by_sequence_destroy(struct lensd_cache_policy *policy)
{
    struct by_sequence *s = policy->own;
    sequence_table_free(&s->table);
    free(s->owner);
    free(s->lens);
    free(s->heap);
    free(s->passed);
    free(s);
}

static int by_sequence_create(struct lensd_cache_policy *policy)
{
    struct by_sequence *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    policy->own = s; /* destroyed with the policy from here on */
    s->owner = calloc(SEQUENCES, sizeof *s->owner);
    s->lens = calloc(policy->lenses, sizeof *s->lens);
    s->heap = calloc(policy->lenses, sizeof *s->heap);
    s->passed = calloc(policy->lenses, sizeof *s->passed);
    cache_list_init(&s->recent);
    bool there = s->owner != NULL && s->lens != NULL && s->heap != NULL && s->passed != NULL;
    return there ? sequence_table_init(&s->table, SEQUENCES) : -ENOMEM;
}

/* ---- the heap of cold lenses ------------------------------------------------------------------------------------ */

static bool leaves_before(const struct by_sequence *s, uint32_t a, uint32_t b)
{
    const struct lens_state *x = &s->lens[a], *y = &s->lens[b];
    return x->weight < y->weight || (x->weight == y->weight && x->used < y->used);
}

static void heap_set(struct by_sequence *s, uint32_t i, uint32_t lens)
{
    s->heap[i] = lens;
    s->lens[lens].at = i;
}

static void heap_up(struct by_sequence *s, uint32_t i)
{
    uint32_t lens = s->heap[i];
    for (; i > 0 && leaves_before(s, lens, s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap_set(s, i, s->heap[(i - 1) / 2]);
    heap_set(s, i, lens);
}

static void heap_down(struct by_sequence *s, uint32_t i)
{
    uint32_t lens = s->heap[i];
    for (uint32_t child; (child = 2 * i + 1) < s->n_cold; i = child) {
        if (child + 1 < s->n_cold && leaves_before(s, s->heap[child + 1], s->heap[child]))
            child++;
        if (!leaves_before(s, s->heap[child], lens))
            break;
        heap_set(s, i, s->heap[child]);
    }
    heap_set(s, i, lens);
}

static void heap_push(struct by_sequence *s, uint32_t lens)
{
    heap_set(s, s->n_cold++, lens);
    heap_up(s, s->lens[lens].at);
}

static void heap_take(struct by_sequence *s, uint32_t lens)
{
    uint32_t i = s->lens[lens].at, last = s->heap[--s->n_cold];
    if (last == lens)
        return;
    heap_set(s, i, last);
    heap_up(s, i);
    heap_down(s, s->lens[last].at);
}

/* ---- places ----------------------------------------------------------------------------------------------------- */

static void take(struct lensd_cache_policy *policy, uint32_t lens)
{
    struct by_sequence *s = policy->own;
    const struct lens_state *l = &s->lens[lens];
    if (l->place == COLD)
        heap_take(s, lens);
    else
        cache_list_take(l->place == RECENT ? &s->recent : &s->owner[l->owner].list, policy->links, lens);
}

static void put_recent(struct lensd_cache_policy *policy, uint32_t lens)
{
    struct by_sequence *s = policy->own;
    s->lens[lens].place = RECENT;
    s->lens[lens].row = s->row;
    s->lens[lens].used = ++s->uses;
    cache_list_push(&s->recent, policy->links, lens);
}

static void put_owned(struct lensd_cache_policy *policy, uint32_t lens, uint32_t owner)
{
    struct by_sequence *s = policy->own;
    s->lens[lens].place = OWNED;
    s->lens[lens].owner = owner;
    cache_list_push(&s->owner[owner].list, policy->links, lens);
}

static bool claim_holds(const struct by_sequence *s, const struct claim *claim)
{
    return claim->row != 0 && s->owner[claim->sequence].row == claim->row;
}

/* Rows until the sequence's next turn, as far as its gaps can tell: what is left of the usual gap, but no less than
 * what gaps differ by (of turns that come by chance, that is the whole gap). */
static double wait_of(const struct by_sequence *s, const struct owner *owner)
{
    double left = owner->gap - (double)(s->row - owner->row), spread = owner->spread * GAP_PER_SPREAD;
    left = left > spread ? left : spread;
    return left > 1 ? left : 1;
}

/* A lens that is on no list: to a sequence whose last row wanted it, or to the cold ones. */
static void settle(struct lensd_cache_policy *policy, uint32_t lens)
{
    struct by_sequence *s = policy->own;
    struct lens_state *l = &s->lens[lens];
    for (int k = 0; k < 2; k++) {
        if (claim_holds(s, &l->claim[k])) {
            put_owned(policy, lens, l->claim[k].sequence);
            return;
        }
    }
    l->place = COLD;
    heap_push(s, lens);
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

/* The oldest lenses of an owner's list, as far as its claim on them is over. */
static void let_go(struct lensd_cache_policy *policy, uint32_t sequence)
{
    struct by_sequence *s = policy->own;
    struct owner *owner = &s->owner[sequence];
    while (owner->list.size > 0) {
        uint32_t lens = owner->list.tail;
        const struct claim *claim = s->lens[lens].claim;
        if ((claim[0].sequence == sequence && claim_holds(s, &claim[0])) ||
            (claim[1].sequence == sequence && claim_holds(s, &claim[1])))
            return;
        take(policy, lens);
        settle(policy, lens);
    }
}

static void end_sequence(struct lensd_cache_policy *policy, uint32_t sequence)
{
    struct by_sequence *s = policy->own;
    s->owner[sequence].row = 0;
    let_go(policy, sequence);
    sequence_table_drop(&s->table, sequence);
}

static uint32_t see_sequence(struct lensd_cache_policy *policy, uint64_t name)
{
    struct by_sequence *s = policy->own;
    bool fresh;
    if (s->table.used == s->table.capacity && sequence_table_find(&s->table, name) == SEQUENCE_NONE)
        end_sequence(policy, s->table.oldest);
    uint32_t sequence = sequence_table_see(&s->table, name, &fresh);
    if (fresh) {
        s->owner[sequence] = (struct owner){.gap = s->table.used, .spread = s->table.used};
        cache_list_init(&s->owner[sequence].list);
    }
    return sequence;
}

/* Lens weights are sums of 2^(row / HALF_LIFE), which orders them like decayed counts without touching any. */
static double weight_now(struct lensd_cache_policy *policy)
{
    struct by_sequence *s = policy->own;
    if (s->row - s->base >= REBASE_ROWS) {
        for (uint32_t i = 0; i < policy->lenses; i++)
            s->lens[i].weight *= exp2(-(double)REBASE_ROWS / HALF_LIFE);
        s->base += REBASE_ROWS;
    }
    double weight = exp2((double)(s->row - s->base) / HALF_LIFE);
    s->scale = M_LN2 / HALF_LIFE / weight;
    return weight;
}

/* `sequence` wants the lens in this row. True when it didn't in its row before, `last`. */
static bool claim_lens(struct by_sequence *s, uint32_t lens, uint32_t sequence, uint64_t last)
{
    struct claim *claim = s->lens[lens].claim;
    bool first = claim[0].row != 0 && claim[0].sequence == sequence;
    bool second = !first && claim[1].row != 0 && claim[1].sequence == sequence;
    bool had = last != 0 && ((first && claim[0].row == last) || (second && claim[1].row == last));
    if (!first)
        claim[1] = claim[0];
    claim[0] = (struct claim){sequence, s->row};
    return !had;
}

/* Ends what is silent for too long, and gives up on what was prefetched for it. */
static void lose_patience(struct lensd_cache_policy *policy)
{
    struct by_sequence *s = policy->own;
    uint64_t patience = PATIENCE_ROWS + 4 * (uint64_t)s->table.used;
    while (s->table.used > 0 && s->owner[s->table.oldest].row + patience < s->row)
        end_sequence(policy, s->table.oldest);
    uint64_t soon = 4 + 2 * (uint64_t)s->table.used;
    while (s->recent.size > 0 && s->lens[s->recent.tail].row + soon < s->row) {
        uint32_t lens = s->recent.tail;
        take(policy, lens);
        settle(policy, lens);
    }
}

static void by_sequence_row(struct lensd_cache_policy *policy, uint64_t name, const uint32_t *lenses, uint32_t n,
                            bool ends)
{
    struct by_sequence *s = policy->own;
    uint32_t sequence = see_sequence(policy, name);
    struct owner *owner = &s->owner[sequence];
    uint64_t last = owner->row;
    owner->row = ++s->row;
    if (last != 0) {
        double off = (double)(s->row - last) - owner->gap;
        owner->gap += GAP_RATE * off;
        owner->spread += GAP_RATE * (fabs(off) - owner->spread);
    }
    double weight = weight_now(policy);
    for (uint32_t i = 0; i < n; i++) {
        bool held = policy->state[lenses[i]] != CACHE_OUT;
        if (held)
            take(policy, lenses[i]);
        if (claim_lens(s, lenses[i], sequence, last))
            s->lens[lenses[i]].weight += weight;
        s->lens[lenses[i]].used = ++s->uses;
        if (held)
            put_owned(policy, lenses[i], sequence);
    }
    if (ends)
        end_sequence(policy, sequence);
    else
        let_go(policy, sequence);
    lose_patience(policy);
}

/* ---- the interface ---------------------------------------------------------------------------------------------- */

static void by_sequence_insert(struct lensd_cache_policy *policy, uint32_t lens)
{
    put_recent(policy, lens);
}

static void by_sequence_use(struct lensd_cache_policy *policy, uint32_t lens, bool again)
{
    struct by_sequence *s = policy->own;
    (void)again;
    if (s->lens[lens].place == OWNED)
        return;
    take(policy, lens);
    put_recent(policy, lens);
}

static uint32_t cold_victim(struct lensd_cache_policy *policy, const struct cache_filter *filter)
{
    struct by_sequence *s = policy->own;
    uint32_t found = CACHE_NONE, passed = 0;
    while (s->n_cold > 0 && found == CACHE_NONE) {
        uint32_t top = s->heap[0];
        if (cache_may_leave(filter, top)) {
            found = top;
            break;
        }
        heap_take(s, top);
        s->passed[passed++] = top;
    }
    while (passed > 0)
        heap_push(s, s->passed[--passed]);
    return found;
}

static uint32_t recent_victim(const struct lensd_cache_policy *policy, const struct cache_filter *filter)
{
    const struct by_sequence *s = policy->own;
    uint32_t lens = s->recent.tail;
    while (lens != CACHE_NONE && !cache_may_leave(filter, lens))
        lens = policy->links.newer[lens];
    return lens;
}

/* How often an owned lens is wanted per row: once in the wait of each sequence that claims it, and by those that turn
 * to it. */
static double chance(const struct by_sequence *s, uint32_t lens)
{
    const struct lens_state *l = &s->lens[lens];
    double turned_to = l->weight * s->scale;
    for (int k = 0; k < 2; k++) {
        if (claim_holds(s, &l->claim[k]))
            turned_to += 1 / wait_of(s, &s->owner[l->claim[k].sequence]);
    }
    return turned_to;
}

/* The least likely wanted soon. Looks at every owned lens, some nanoseconds each: less than the load it makes room for
 * takes, up to some thousand of them. */
static uint32_t owned_victim(const struct lensd_cache_policy *policy, const struct cache_filter *filter)
{
    const struct by_sequence *s = policy->own;
    uint32_t found = CACHE_NONE;
    double least = INFINITY;
    for (uint32_t i = s->table.newest; i != SEQUENCE_NONE && s->table.used > 0; i = s->table.link[i].older) {
        for (uint32_t lens = s->owner[i].list.head; lens != CACHE_NONE; lens = policy->links.older[lens]) {
            double c = chance(s, lens);
            if (c < least && cache_may_leave(filter, lens)) {
                found = lens;
                least = c;
            }
        }
    }
    return found;
}

static bool by_sequence_victim(struct lensd_cache_policy *policy, const struct cache_filter *filter, uint32_t *lens)
{
    uint32_t found = cold_victim(policy, filter);
    if (found == CACHE_NONE)
        found = recent_victim(policy, filter);
    if (found == CACHE_NONE)
        found = owned_victim(policy, filter);
    if (found == CACHE_NONE)
        return false;
    take(policy, found);
    *lens = found;
    return true;
}

const struct cache_ops cache_sequence_ops = {
    .create = by_sequence_create,
    .destroy = by_sequence_destroy,
    .insert = by_sequence_insert,
    .use = by_sequence_use,
    .remove = take,
    .victim = by_sequence_victim,
    .row = by_sequence_row,
};
