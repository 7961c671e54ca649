#include "tests/bench/support/trace_synth.h"

#include "tests/bench/support/bench.h"
#include "tests/bench/support/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LEAVES       2
#define MAX_DEPTH    5
#define LOAD_LOGIT   (-0.84729786f) /* 0.3 */
#define UNLOAD_LOGIT (-2.19722458f) /* 0.1 */
#define MAX_KEEP     256

struct sequence {
    uint64_t name;
    uint32_t leaves[LEAVES], retained[MAX_KEEP], n_retained;
};

enum mark { ACTIVE = 1, SIBLING = 2 };

struct maker {
    const struct bench_tree *tree;
    const struct bench_trace_plan *plan;
    uint64_t draws, stream, names;
    struct sequence *sequences;
    uint8_t *mark;    /* [n] enum mark of the row's concepts */
    bool *done;       /* [n] scored in this row */
    float *logit;     /* [n] of the scored */
    uint32_t *scored; /* [n] */
    uint32_t n_scored;
    struct lensd_trace *out;
    uint64_t words, word_capacity;
};

static uint32_t draw(struct maker *m, uint32_t bound)
{
    return bench_random_below(m->stream, m->draws++, bound);
}

static double draw_normal(struct maker *m)
{
    double u = 1 - bench_random_unit(m->stream, m->draws), v = bench_random_unit(m->stream, m->draws + 1);
    m->draws += 2;
    return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

/* ---- what a sequence thinks of ---------------------------------------------------------------------------------- */

static bool is_leaf(const struct bench_tree *tree, uint32_t concept)
{
    return tree->child_offsets[concept] == tree->child_offsets[concept + 1];
}

/* As planted rows move: half the time to a childless sibling if a few tries find one, else to any leaf. */
static uint32_t moved_leaf(struct maker *m, uint32_t leaf)
{
    const struct bench_tree *tree = m->tree;
    int32_t parent = tree->parent[leaf];
    for (int tries = draw(m, 2) == 0 && parent >= 0 ? 8 : 0; tries > 0; tries--) {
        uint32_t first = (uint32_t)tree->child_offsets[parent], end = (uint32_t)tree->child_offsets[parent + 1];
        uint32_t other = (uint32_t)tree->child_ids[first + draw(m, end - first)];
        if (other != leaf && is_leaf(tree, other))
            return other;
    }
    return tree->leaves[draw(m, tree->n_leaves)];
}

static void begin_sequence(struct maker *m, struct sequence *s)
{
    *s = (struct sequence){.name = ++m->names};
    s->leaves[0] = m->tree->leaves[draw(m, m->tree->n_leaves)];
    do
        s->leaves[1] = m->tree->leaves[draw(m, m->tree->n_leaves)];
    while (s->leaves[1] == s->leaves[0]);
}

static void move_leaves(struct maker *m, struct sequence *s)
{
    for (int i = 0; i < LEAVES; i++) {
        if (draw(m, 10) < 7)
            continue;
        do
            s->leaves[i] = moved_leaf(m, s->leaves[i]);
        while (s->leaves[0] == s->leaves[1]);
    }
}

static void mark_concepts(struct maker *m, const struct sequence *s)
{
    const struct bench_tree *tree = m->tree;
    memset(m->mark, 0, tree->n);
    for (int i = 0; i < LEAVES; i++) {
        uint32_t path[16], depth = bench_tree_path_of(tree, s->leaves[i], path);
        for (uint32_t k = 0; k < depth; k++) {
            m->mark[path[k]] |= ACTIVE;
            int32_t parent = tree->parent[path[k]];
            for (int32_t e = parent < 0 ? 0 : tree->child_offsets[parent];
                 parent >= 0 && e < tree->child_offsets[parent + 1]; e++)
                m->mark[tree->child_ids[e]] |= SIBLING;
        }
    }
}

static float draw_logit(struct maker *m, uint32_t concept)
{
    double noise = m->plan->noise, logit;
    if (m->mark[concept] & ACTIVE) {
        do
            logit = 4.5 + 1.5 * draw_normal(m);
        while (logit <= (double)LOAD_LOGIT);
        return (float)logit;
    }
    if (noise > 0)
        return (float)((m->mark[concept] & SIBLING ? -3 : -7) + 2 * noise * draw_normal(m));
    double z = draw_normal(m);
    return (float)(-9 + 1.5 * (z > 0 ? z : 0));
}

/* ---- the cascade ------------------------------------------------------------------------------------------------ */

static bool is_base(const struct maker *m, uint32_t concept)
{
    return m->tree->layer[concept] < 32 && (m->plan->base_layers >> m->tree->layer[concept] & 1) != 0;
}

static void score(struct maker *m, uint32_t concept)
{
    if (m->done[concept])
        return;
    m->done[concept] = true;
    m->logit[concept] = draw_logit(m, concept);
    m->scored[m->n_scored++] = concept;
}

/* Returns the size of the active set. */
static uint32_t cascade(struct maker *m, const struct sequence *s)
{
    const struct bench_tree *tree = m->tree;
    m->n_scored = 0;
    memset(m->done, 0, tree->n * sizeof *m->done);
    for (uint32_t c = 0; c < tree->n; c++) {
        if (is_base(m, c))
            score(m, c);
    }
    for (uint32_t i = 0; i < s->n_retained; i++)
        score(m, s->retained[i]);
    uint32_t active = m->n_scored, begin = 0;
    for (int depth = 0; depth < MAX_DEPTH && begin < m->n_scored; depth++) {
        uint32_t end = m->n_scored;
        for (uint32_t i = begin; i < end; i++) {
            uint32_t c = m->scored[i];
            if (m->logit[c] <= LOAD_LOGIT)
                continue;
            for (int32_t e = tree->child_offsets[c]; e < tree->child_offsets[c + 1]; e++)
                score(m, (uint32_t)tree->child_ids[e]);
        }
        begin = end;
    }
    return active;
}

static void retain(struct maker *m, struct sequence *s)
{
    s->n_retained = 0;
    for (uint32_t i = 0; i < m->n_scored; i++) {
        uint32_t c = m->scored[i], k = s->n_retained;
        if (is_base(m, c) || m->logit[c] < UNLOAD_LOGIT)
            continue;
        while (k > 0 && (m->logit[c] > m->logit[s->retained[k - 1]] ||
                         (m->logit[c] == m->logit[s->retained[k - 1]] && c < s->retained[k - 1])))
            k--;
        if (k == m->plan->keep)
            continue;
        s->n_retained += s->n_retained < m->plan->keep;
        for (uint32_t j = s->n_retained - 1; j > k; j--)
            s->retained[j] = s->retained[j - 1];
        s->retained[k] = c;
    }
}

/* ---- the trace -------------------------------------------------------------------------------------------------- */

static void *copy_of(const void *data, size_t bytes)
{
    void *copy = malloc(bytes > 0 ? bytes : 1);
    if (copy == NULL)
        bench_die("no memory for a trace");
    memcpy(copy, data, bytes);
    return copy;
}

static void *grow(void *memory, uint64_t n, size_t size)
{
    void *grown = reallocarray(memory, n, size);
    if (grown == NULL)
        bench_die("no memory for a trace");
    return grown;
}

static void write_row(struct maker *m, uint64_t row, const struct sequence *s, uint32_t active, bool last)
{
    struct lensd_trace *out = m->out;
    if (m->words + m->n_scored > m->word_capacity) {
        m->word_capacity = 2 * (m->words + m->n_scored);
        out->words = grow(out->words, m->word_capacity, sizeof *out->words);
    }
    out->row[row] =
        (struct lens_trace_row){m->n_scored, active, s->name, m->plan->base_layers, last ? LENS_TRACE_LAST : 0};
    out->first[row] = m->words;
    for (uint32_t i = 0; i < m->n_scored; i++)
        out->words[m->words++] = lens_trace_word(m->scored[i], m->logit[m->scored[i]]);
}

static void make_row(struct maker *m, uint64_t row)
{
    uint32_t turn = m->plan->by_chance ? draw(m, m->plan->sequences) : (uint32_t)(row % m->plan->sequences);
    struct sequence *s = &m->sequences[turn];
    bool last = m->plan->length > 0 && draw(m, m->plan->length) == 0;
    mark_concepts(m, s);
    write_row(m, row, s, cascade(m, s), last);
    if (last) {
        begin_sequence(m, s);
        return;
    }
    retain(m, s);
    move_leaves(m, s);
}

void bench_trace_make(const struct bench_tree *tree, const struct bench_trace_plan *plan, struct lensd_trace *out)
{
    if (plan->keep > MAX_KEEP)
        bench_die("at most %d lenses are kept, found %u", MAX_KEEP, plan->keep);
    struct maker m = {.tree = tree, .plan = plan, .stream = bench_substream(plan->seed, 9), .out = out};
    uint32_t edges = (uint32_t)tree->child_offsets[tree->n];
    *out = (struct lensd_trace){.rows = plan->rows};
    out->tables = (struct lens_trace_tables){tree->n, edges, copy_of(tree->layer, tree->n),
                                             copy_of(tree->child_offsets, (tree->n + 1) * sizeof(int32_t)),
                                             copy_of(tree->child_ids, edges * sizeof(int32_t))};
    out->row = grow(NULL, plan->rows, sizeof *out->row);
    out->first = grow(NULL, plan->rows, sizeof *out->first);
    m.sequences = bench_alloc(plan->sequences * sizeof *m.sequences);
    m.mark = bench_alloc(tree->n);
    m.done = bench_alloc(tree->n * sizeof *m.done);
    m.logit = bench_alloc(tree->n * sizeof *m.logit);
    m.scored = bench_alloc(tree->n * sizeof *m.scored);
    for (uint32_t i = 0; i < plan->sequences; i++)
        begin_sequence(&m, &m.sequences[i]);
    for (uint64_t row = 0; row < plan->rows; row++)
        make_row(&m, row);
    free(m.sequences);
    free(m.mark);
    free(m.done);
    free(m.logit);
    free(m.scored);
}
