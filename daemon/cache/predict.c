/* The predictor's counts: learning from a row, and what they suggest for the next; predict.h says what they mean. */
#include "daemon/cache/predict.h"
#include "daemon/cache/sequence_table.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define BUCKETS    4u     /* of the distance below the threshold */
#define NEAR_DECAY 0.999f /* of a bucket's counts, each time a near parent falls into it */
#define DOUBT      1.0f   /* windows without b that every a begins with: one sighting is no certainty */
#define NEAR_ROSE  0.5f   /* what every bucket begins with: one of ten rises */
#define NEAR_SEEN  5.0f

struct successor {
    uint32_t lens;
    float count; /* 0 = a free place */
};

/* What is remembered of a sequence. */
struct near_parent {
    uint32_t lens, bucket; /* of its distance below the threshold */
};

struct history {
    uint64_t last; /* its last row, among those of all; 0 = none */
    uint32_t rows; /* in the window so far */
    uint32_t at;   /* where the next row's best go in the window */
    uint32_t n_near;
    struct near_parent near[LENSD_PREDICTOR_NEAR];
};

struct claim {
    uint32_t sequence;
    uint64_t row;
};

struct lensd_predictor {
    struct lensd_predictor_config config;
    struct sequence_table sequences;
    struct history *history;     /* [sequences] */
    uint32_t *best;              /* [sequences][window][best] lenses, SEQUENCE_NONE behind the last */
    struct successor *successor; /* [N][LENSD_PREDICTOR_SUCCESSORS] */
    float *followed;             /* [N] windows that followed a, decayed like the counts */
    float rose[BUCKETS], near[BUCKETS];
    struct claim (*claim)[2]; /* [N] the last two sequences that wanted the lens, and when */
    uint64_t rows;
    /* of the row at hand */
    uint32_t row;     /* a number for it; marks of others mean nothing */
    uint32_t *wanted; /* [N] = row: newly wanted */
    uint32_t *fresh;  /* [N] the newly wanted ones */
    uint32_t n_fresh;
    uint32_t *scored;    /* [N] = row: it has a logit */
    uint32_t *suggested; /* [N] = row: among the candidates */
    uint32_t *candidate; /* [N] a heap, the most probable on top */
    float *probability;  /* [N] of the candidates */
    uint32_t n_candidates;
};

void lensd_predictor_default(struct lensd_predictor_config *out)
{
    *out = (struct lensd_predictor_config){
        .window = 4, .best = 10, .decay = 0.98f, .margin = 1.0f, .least = 0.5f, .sequences = 1024};
}

static int check_config(const struct lensd_predictor_config *config, struct lens_error *err)
{
    if (config->lenses == 0 || config->child_offsets == NULL ||
        (config->child_ids == NULL && config->child_offsets[config->lenses] != 0))
        return lens_error_set(err, -EINVAL, "a predictor needs the lenses and their hierarchy; found none");
    if (config->window == 0 || config->window > LENSD_PREDICTOR_MAX_WINDOW || config->best == 0 ||
        config->best > LENSD_PREDICTOR_MAX_BEST || config->sequences == 0 || config->sequences == SEQUENCE_NONE)
        return lens_error_set(err, -EINVAL,
                              "a predictor wants a window of 1 to %u rows, 1 to %u best lenses and at least one "
                              "sequence; found %u, %u and %u",
                              LENSD_PREDICTOR_MAX_WINDOW, LENSD_PREDICTOR_MAX_BEST, config->window, config->best,
                              config->sequences);
    if (!(config->decay > 0 && config->decay <= 1) || !(config->margin >= 0) || !(config->least >= 0))
        return lens_error_set(err, -EINVAL,
                              "a predictor wants a decay above 0 and up to 1, and no negative margin or least; found "
                              "%g, %g and %g",
                              (double)config->decay, (double)config->margin, (double)config->least);
    return 0;
}

int lensd_predictor_create(const struct lensd_predictor_config *config, struct lensd_predictor **out,
                           struct lens_error *err)
{
    int r = check_config(config, err);
    if (r < 0)
        return r;
    struct lensd_predictor *p = calloc(1, sizeof *p);
    uint32_t n = config->lenses;
    if (p == NULL)
        goto no_memory;
    p->config = *config;
    p->successor = calloc((size_t)n * LENSD_PREDICTOR_SUCCESSORS, sizeof *p->successor);
    p->followed = calloc(n, sizeof *p->followed);
    p->wanted = calloc(n, sizeof *p->wanted);
    p->fresh = calloc(n, sizeof *p->fresh);
    p->claim = calloc(n, sizeof *p->claim);
    p->scored = calloc(n, sizeof *p->scored);
    p->suggested = calloc(n, sizeof *p->suggested);
    p->candidate = calloc(n, sizeof *p->candidate);
    p->probability = calloc(n, sizeof *p->probability);
    p->history = calloc(config->sequences, sizeof *p->history);
    p->best = calloc((size_t)config->sequences * config->window, config->best * sizeof *p->best);
    if (p->successor == NULL || p->followed == NULL || p->wanted == NULL || p->fresh == NULL || p->claim == NULL ||
        p->scored == NULL || p->suggested == NULL || p->candidate == NULL || p->probability == NULL ||
        p->history == NULL || p->best == NULL || sequence_table_init(&p->sequences, config->sequences) < 0)
        goto no_memory;
    *out = p;
    return 0;
no_memory:
    lensd_predictor_destroy(p);
    return lens_error_set(err, -ENOMEM, "no memory for a predictor over %u lenses", n);
}

void lensd_predictor_destroy(struct lensd_predictor *p)
{
    if (p == NULL)
        return;
    sequence_table_free(&p->sequences);
    free(p->history);
    free(p->best);
    free(p->successor);
    free(p->followed);
    free(p->wanted);
    free(p->fresh);
    free(p->claim);
    free(p->scored);
    free(p->suggested);
    free(p->candidate);
    free(p->probability);
    free(p);
}

void lensd_predictor_forget(struct lensd_predictor *p, uint64_t sequence)
{
    uint32_t i = sequence_table_find(&p->sequences, sequence);
    if (i != SEQUENCE_NONE)
        sequence_table_drop(&p->sequences, i);
}

/* Its index; the longest unseen one is forgotten for an unknown one if need be. */
static uint32_t see_sequence(struct lensd_predictor *p, uint64_t name)
{
    bool fresh;
    if (p->sequences.used == p->sequences.capacity && sequence_table_find(&p->sequences, name) == SEQUENCE_NONE)
        sequence_table_drop(&p->sequences, p->sequences.oldest);
    uint32_t i = sequence_table_see(&p->sequences, name, &fresh);
    if (fresh)
        p->history[i] = (struct history){0};
    return i;
}

/* Where the best of a row in the window of a sequence stand. */
static uint32_t *best_of(const struct lensd_predictor *p, uint32_t sequence, uint32_t row)
{
    return p->best + ((size_t)sequence * p->config.window + row) * p->config.best;
}

/* ---- learning --------------------------------------------------------------------------------------------------- */

/* The sequence wants the lens in this row. True when its row before didn't. (Only the last two sequences that wanted a
 * lens are known: with more, some are taken for new that aren't.) */
static bool newly_wanted(struct lensd_predictor *p, uint32_t lens, uint32_t sequence)
{
    struct claim *claim = p->claim[lens];
    uint64_t last = p->history[sequence].last;
    bool first = claim[0].sequence == sequence && claim[0].row != 0;
    bool second = !first && claim[1].sequence == sequence && claim[1].row != 0;
    bool had = last != 0 && ((first && claim[0].row == last) || (second && claim[1].row == last));
    if (!first)
        claim[1] = claim[0];
    claim[0] = (struct claim){sequence, p->rows};
    return !had;
}

static void mark_row(struct lensd_predictor *p, const struct lensd_predictor_row *row, uint32_t sequence)
{
    if (++p->row == 0) { /* after four billion rows all marks begin anew */
        for (uint32_t i = 0; i < p->config.lenses; i++)
            p->wanted[i] = p->scored[i] = p->suggested[i] = 0;
        p->row = 1;
    }
    p->rows++;
    p->n_fresh = 0;
    for (uint32_t i = 0; i < row->n; i++) {
        uint32_t lens = row->scored[i];
        if (i < row->n_always || !isnan(row->logits[lens]))
            p->scored[lens] = p->row;
        if (i >= row->n_always && newly_wanted(p, lens, sequence)) {
            p->wanted[lens] = p->row;
            p->fresh[p->n_fresh++] = lens;
        }
    }
    p->history[sequence].last = p->rows;
}

/* The next place for a new successor from *at on: free ones first, then those of counts below 1.
 * LENSD_PREDICTOR_SUCCESSORS = none; *faded says which sort is looked for. */
static uint32_t next_place(const struct successor *s, uint32_t at, bool *faded)
{
    for (;; at = 0, *faded = true) {
        for (; at < LENSD_PREDICTOR_SUCCESSORS; at++) {
            if (*faded ? s[at].count > 0 && s[at].count < 1 : s[at].count == 0)
                return at;
        }
        if (*faded)
            return at;
    }
}

/* `a` was among the best of `times` rows of the window, and this row followed. */
static void learn_successors(struct lensd_predictor *p, uint32_t a, uint32_t times)
{
    struct successor *s = p->successor + (size_t)a * LENSD_PREDICTOR_SUCCESSORS;
    float decay = times == 1 ? p->config.decay : powf(p->config.decay, (float)times);
    bool faded = false;
    p->followed[a] = p->followed[a] * decay + (float)times / (float)p->config.window;
    for (uint32_t i = 0; i < LENSD_PREDICTOR_SUCCESSORS; i++) {
        s[i].count *= decay;
        if (s[i].count > 0 && p->wanted[s[i].lens] == p->row) {
            s[i].count += (float)times;
            p->wanted[s[i].lens] = 0; /* has its count; marked again below */
        }
    }
    for (uint32_t i = 0, place = 0; i < p->n_fresh; i++) {
        uint32_t b = p->fresh[i];
        if (p->wanted[b] == p->row && place < LENSD_PREDICTOR_SUCCESSORS) {
            place = next_place(s, place, &faded);
            if (place < LENSD_PREDICTOR_SUCCESSORS)
                s[place++] = (struct successor){b, (float)times};
        }
        p->wanted[b] = p->row;
    }
}

/* Every lens of the window once, with the number of rows it was among the best of. */
static void learn_window(struct lensd_predictor *p, uint32_t sequence)
{
    uint32_t lens[LENSD_PREDICTOR_MAX_WINDOW * LENSD_PREDICTOR_MAX_BEST];
    uint32_t times[LENSD_PREDICTOR_MAX_WINDOW * LENSD_PREDICTOR_MAX_BEST];
    uint32_t n = 0;
    for (uint32_t r = 0; r < p->history[sequence].rows; r++) {
        const uint32_t *best = best_of(p, sequence, r);
        for (uint32_t k = 0; k < p->config.best && best[k] != SEQUENCE_NONE; k++) {
            uint32_t i = 0;
            while (i < n && lens[i] != best[k])
                i++;
            if (i == n) {
                lens[n] = best[k];
                times[n++] = 0;
            }
            times[i]++;
        }
    }
    for (uint32_t i = 0; i < n; i++)
        learn_successors(p, lens[i], times[i]);
}

/* Which near parents of the sequence's last row fire in this one. */
static void learn_near(struct lensd_predictor *p, const struct lensd_predictor_row *row, uint32_t sequence)
{
    const struct history *s = &p->history[sequence];
    for (uint32_t i = 0; i < s->n_near; i++) {
        uint32_t lens = s->near[i].lens, bucket = s->near[i].bucket;
        bool rose = p->scored[lens] == p->row && row->logits[lens] > row->threshold;
        p->near[bucket] = p->near[bucket] * NEAR_DECAY + 1;
        p->rose[bucket] = p->rose[bucket] * NEAR_DECAY + (rose ? 1 : 0);
    }
}

/* ---- remembering the row ---------------------------------------------------------------------------------------- */

/* The best that fired, by (logit, id), into the window's next row. */
static const uint32_t *remember_best(struct lensd_predictor *p, const struct lensd_predictor_row *row,
                                     uint32_t sequence)
{
    struct history *s = &p->history[sequence];
    uint32_t *best = best_of(p, sequence, s->at), n = 0;
    s->at = (s->at + 1) % p->config.window;
    s->rows += s->rows < p->config.window;
    for (uint32_t i = 0; i < row->n; i++) {
        uint32_t lens = row->scored[i], k = n;
        float logit = row->logits[lens];
        if (!(logit > row->threshold))
            continue;
        while (k > 0 && (logit > row->logits[best[k - 1]] || (logit == row->logits[best[k - 1]] && lens < best[k - 1])))
            k--;
        if (k == p->config.best)
            continue;
        n += n < p->config.best;
        for (uint32_t j = n - 1; j > k; j--)
            best[j] = best[j - 1];
        best[k] = lens;
    }
    if (n < p->config.best)
        best[n] = SEQUENCE_NONE;
    return best;
}

static float distance_below(const struct lensd_predictor_row *row, uint32_t lens)
{
    return row->threshold - row->logits[lens];
}

/* The nearest of those at most `margin` below the threshold that have children. */
static void remember_near(struct lensd_predictor *p, const struct lensd_predictor_row *row, uint32_t sequence)
{
    struct history *s = &p->history[sequence];
    const int32_t *offsets = p->config.child_offsets;
    s->n_near = 0;
    for (uint32_t i = 0; i < row->n; i++) {
        uint32_t lens = row->scored[i], k = s->n_near;
        float below = distance_below(row, lens);
        if (!(below >= 0 && below < p->config.margin) || offsets[lens] == offsets[lens + 1])
            continue;
        while (k > 0 && below < distance_below(row, s->near[k - 1].lens))
            k--;
        if (k == LENSD_PREDICTOR_NEAR)
            continue;
        s->n_near += s->n_near < LENSD_PREDICTOR_NEAR;
        for (uint32_t j = s->n_near - 1; j > k; j--)
            s->near[j] = s->near[j - 1];
        uint32_t bucket = (uint32_t)(below / p->config.margin * BUCKETS);
        s->near[k] = (struct near_parent){lens, bucket < BUCKETS ? bucket : BUCKETS - 1};
    }
}

/* ---- suggesting ------------------------------------------------------------------------------------------------- */

static void consider(struct lensd_predictor *p, uint32_t lens, float probability)
{
    if (probability < p->config.least || p->scored[lens] == p->row)
        return;
    if (p->suggested[lens] != p->row) {
        p->suggested[lens] = p->row;
        p->candidate[p->n_candidates++] = lens;
        p->probability[lens] = probability;
    } else if (probability > p->probability[lens]) {
        p->probability[lens] = probability;
    }
}

static bool before(const struct lensd_predictor *p, uint32_t a, uint32_t b)
{
    float x = p->probability[a], y = p->probability[b];
    return x > y || (x == y && a < b);
}

static void sift_down(struct lensd_predictor *p, uint32_t i)
{
    uint32_t lens = p->candidate[i];
    for (uint32_t child; (child = 2 * i + 1) < p->n_candidates; i = child) {
        if (child + 1 < p->n_candidates && before(p, p->candidate[child + 1], p->candidate[child]))
            child++;
        if (!before(p, p->candidate[child], lens))
            break;
        p->candidate[i] = p->candidate[child];
    }
    p->candidate[i] = lens;
}

static void gather(struct lensd_predictor *p, const uint32_t *best, const struct history *s)
{
    p->n_candidates = 0;
    for (uint32_t k = 0; k < p->config.best && best[k] != SEQUENCE_NONE; k++) {
        const struct successor *successor = p->successor + (size_t)best[k] * LENSD_PREDICTOR_SUCCESSORS;
        for (uint32_t i = 0; i < LENSD_PREDICTOR_SUCCESSORS; i++) {
            if (successor[i].count > 0)
                consider(p, successor[i].lens, fminf(1, successor[i].count / (p->followed[best[k]] + DOUBT)));
        }
    }
    for (uint32_t i = 0; i < s->n_near; i++) {
        uint32_t lens = s->near[i].lens, bucket = s->near[i].bucket;
        float rises = (p->rose[bucket] + NEAR_ROSE) / (p->near[bucket] + NEAR_SEEN);
        for (int32_t e = p->config.child_offsets[lens]; e < p->config.child_offsets[lens + 1]; e++)
            consider(p, (uint32_t)p->config.child_ids[e], rises);
    }
}

uint32_t lensd_predictor_row(struct lensd_predictor *p, const struct lensd_predictor_row *row, uint32_t *out,
                             uint32_t capacity)
{
    uint32_t n = 0, sequence = see_sequence(p, row->sequence);
    mark_row(p, row, sequence);
    learn_window(p, sequence);
    learn_near(p, row, sequence);
    remember_near(p, row, sequence);
    gather(p, remember_best(p, row, sequence), &p->history[sequence]);
    for (uint32_t i = p->n_candidates / 2; i-- > 0;)
        sift_down(p, i);
    for (; n < capacity && p->n_candidates > 0; n++) {
        out[n] = p->candidate[0];
        p->candidate[0] = p->candidate[--p->n_candidates];
        sift_down(p, 0);
    }
    return n;
}
