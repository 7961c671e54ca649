/* Runs a trace through a policy; simulate.h says what is counted. */
#include "daemon/cache/simulate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the input -------------------------------------------------------------------------------------------------- */

static bool is_base(const struct lensd_trace *trace, uint64_t row, uint32_t lens)
{
    uint32_t layer = trace->tables.layer[lens];
    return layer < 32 && (trace->row[row].base_layers >> layer & 1) != 0;
}

/* `seen` holds row + 1 of the last row that wanted a lens. */
static void gather_rows(struct lensd_sim_input *input, uint64_t *seen)
{
    const struct lensd_trace *trace = input->trace;
    uint64_t at = 0;
    for (uint64_t r = 0; r < trace->rows; r++) {
        input->begin[r] = at;
        for (uint32_t i = 0; i < trace->row[r].n; i++) {
            uint32_t lens = lens_trace_lens(trace->words[trace->first[r] + i]);
            if (is_base(trace, r, lens) || seen[lens] == r + 1)
                continue;
            input->distinct += seen[lens] == 0;
            seen[lens] = r + 1;
            input->lens[at++] = lens;
        }
        uint32_t wanted = (uint32_t)(at - input->begin[r]);
        input->most = wanted > input->most ? wanted : input->most;
    }
    input->begin[trace->rows] = at;
}

static void find_next_uses(struct lensd_sim_input *input, uint64_t *next)
{
    memset(next, 0xff, input->trace->tables.lenses * sizeof *next);
    for (uint64_t r = input->trace->rows; r-- > 0;) {
        for (uint64_t i = input->begin[r]; i < input->begin[r + 1]; i++) {
            input->next[i] = next[input->lens[i]];
            next[input->lens[i]] = r;
        }
    }
}

int lensd_sim_open(const struct lensd_trace *trace, struct lensd_sim_input *out, struct lens_error *err)
{
    uint64_t words = 1; /* so that no allocation is empty */
    for (uint64_t r = 0; r < trace->rows; r++)
        words += trace->row[r].n;
    *out = (struct lensd_sim_input){.trace = trace};
    out->begin = calloc(trace->rows + 1, sizeof *out->begin);
    out->lens = calloc(words, sizeof *out->lens);
    out->next = calloc(words, sizeof *out->next);
    uint64_t *scratch = calloc(trace->tables.lenses, sizeof *scratch);
    bool there = out->begin != NULL && out->lens != NULL && out->next != NULL && scratch != NULL;
    if (there) {
        gather_rows(out, scratch);
        find_next_uses(out, scratch);
    } else {
        lensd_sim_close(out);
    }
    free(scratch);
    return there ? 0 : lens_error_set(err, -ENOMEM, "no memory to simulate a trace of this size");
}

void lensd_sim_close(struct lensd_sim_input *input)
{
    free(input->begin);
    free(input->lens);
    free(input->next);
    *input = (struct lensd_sim_input){0};
}

/* ---- one policy ------------------------------------------------------------------------------------------------- */

#define LOAD_THRESHOLD_LOGIT (-0.8472979f) /* of the default load_threshold, 0.3: traces don't say the session's */

struct run {
    const struct lensd_sim_input *input;
    const struct lensd_sim_config *config;
    struct lensd_cache_policy *policy;
    struct lensd_predictor *predictor; /* NULL = no prefetch */
    struct lensd_sim_figures figures;
    uint64_t row;        /* that is played, + 1 */
    uint64_t *wanted_by; /* [N] row + 1 that wanted the lens last */
    bool *unused;        /* [N] held because it was prefetched, and not wanted yet */
    uint32_t *list;      /* [N] what a row misses, then what is suggested for the next */
    uint32_t *scored;    /* [N] a row's words taken apart, for the predictor */
    float *logits;       /* [N] */
};

static bool wanted_now(const void *arg, uint32_t lens)
{
    const struct run *run = arg;
    return run->wanted_by[lens] == run->row;
}

/* Makes a place; `own`: a lens of the row itself may leave when there is no other. */
static bool make_place(struct run *run, bool own)
{
    uint32_t victim;
    if (lensd_cache_policy_size(run->policy) < run->config->capacity)
        return true;
    if (!lensd_cache_policy_victim(run->policy, wanted_now, run, &victim) &&
        !(own && lensd_cache_policy_victim(run->policy, NULL, NULL, &victim)))
        return false;
    run->figures.prefetch_wasted += run->unused[victim];
    run->unused[victim] = false;
    return true;
}

static void play_row(struct run *run)
{
    const struct lensd_sim_input *input = run->input;
    uint64_t from = input->begin[run->row - 1], to = input->begin[run->row];
    uint32_t missing = 0;
    for (uint64_t i = from; i < to; i++) {
        uint32_t lens = input->lens[i];
        run->wanted_by[lens] = run->row;
        if (!lensd_cache_policy_holds(run->policy, lens)) {
            run->list[missing++] = lens;
            continue;
        }
        lensd_cache_policy_use(run->policy, lens);
        run->figures.prefetch_used += run->unused[lens];
        run->unused[lens] = false;
    }
    for (uint32_t i = 0; i < missing; i++) {
        make_place(run, true);
        lensd_cache_policy_insert(run->policy, run->list[i], true);
    }
    const struct lens_trace_row *row = &input->trace->row[run->row - 1];
    lensd_cache_policy_row(run->policy, row->sequence, input->lens + from, (uint32_t)(to - from),
                           row->flags & LENS_TRACE_LAST);
    run->figures.rows++;
    run->figures.requests += to - from;
    run->figures.misses += missing;
    run->figures.hits += to - from - missing;
}

/* Shows the predictor the row that was played; run->list gets what it suggests. */
static uint32_t ask_predictor(struct run *run)
{
    const struct lensd_trace *trace = run->input->trace;
    const struct lens_trace_row *row = &trace->row[run->row - 1];
    const uint32_t *words = trace->words + trace->first[run->row - 1];
    uint32_t always = 0;
    for (uint32_t i = 0; i < row->n; i++) {
        run->scored[i] = lens_trace_lens(words[i]);
        run->logits[run->scored[i]] = lens_trace_logit(words[i]);
        always += always == i && is_base(trace, run->row - 1, run->scored[i]);
    }
    const struct lensd_predictor_row seen = {.sequence = row->sequence,
                                             .scored = run->scored,
                                             .n = row->n,
                                             .n_always = always,
                                             .logits = run->logits,
                                             .threshold = LOAD_THRESHOLD_LOGIT};
    uint32_t n = lensd_predictor_row(run->predictor, &seen, run->list, trace->tables.lenses);
    if (row->flags & LENS_TRACE_LAST)
        lensd_predictor_forget(run->predictor, row->sequence);
    return n;
}

static void prefetch(struct run *run)
{
    uint32_t n = ask_predictor(run), left = run->config->prefetch;
    for (uint32_t i = 0; i < n && left > 0; i++) {
        if (lensd_cache_policy_holds(run->policy, run->list[i]))
            continue;
        if (!make_place(run, false))
            return;
        lensd_cache_policy_insert(run->policy, run->list[i], false);
        run->unused[run->list[i]] = true;
        run->figures.prefetched++;
        left--;
    }
}

static int open_run(struct run *run, struct lens_error *err)
{
    const struct lens_trace_tables *tables = &run->input->trace->tables;
    const struct lensd_cache_config config = {run->config->kind, tables->lenses, run->config->capacity, tables->layer,
                                              run->config->quotas};
    int r = lensd_cache_policy_create(&config, &run->policy, err);
    if (r == 0 && run->config->predictor != NULL) {
        struct lensd_predictor_config predictor = *run->config->predictor;
        predictor.lenses = tables->lenses;
        predictor.child_offsets = tables->child_offsets;
        predictor.child_ids = tables->child_ids;
        r = lensd_predictor_create(&predictor, &run->predictor, err);
    }
    return r;
}

static bool allocate_run(struct run *run, uint32_t lenses)
{
    run->wanted_by = calloc(lenses, sizeof *run->wanted_by);
    run->unused = calloc(lenses, sizeof *run->unused);
    run->list = calloc(lenses, sizeof *run->list);
    run->scored = calloc(lenses, sizeof *run->scored);
    run->logits = calloc(lenses, sizeof *run->logits);
    return run->wanted_by != NULL && run->unused != NULL && run->list != NULL && run->scored != NULL &&
           run->logits != NULL;
}

static void close_run(struct run *run)
{
    lensd_cache_policy_destroy(run->policy);
    lensd_predictor_destroy(run->predictor);
    free(run->wanted_by);
    free(run->unused);
    free(run->list);
    free(run->scored);
    free(run->logits);
}

int lensd_sim_run(const struct lensd_sim_input *input, const struct lensd_sim_config *config,
                  struct lensd_sim_figures *out, struct lens_error *err)
{
    struct run run = {.input = input, .config = config};
    if (config->capacity == 0)
        return lens_error_set(err, -EINVAL, "a cache to simulate holds at least one lens, found 0");
    int r = open_run(&run, err);
    if (r == 0 && allocate_run(&run, input->trace->tables.lenses)) {
        for (run.row = 1; run.row <= input->trace->rows; run.row++) {
            play_row(&run);
            if (run.predictor != NULL)
                prefetch(&run);
        }
        *out = run.figures;
    } else if (r == 0) {
        r = lens_error_set(err, -ENOMEM, "no memory to simulate %u lenses", input->trace->tables.lenses);
    }
    close_run(&run);
    return r;
}

/* ---- ratios ----------------------------------------------------------------------------------------------------- */

static double ratio(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

double lensd_sim_miss_ratio(const struct lensd_sim_figures *figures)
{
    return ratio(figures->misses, figures->requests);
}

double lensd_sim_precision(const struct lensd_sim_figures *figures)
{
    return ratio(figures->prefetch_used, figures->prefetched);
}

double lensd_sim_recall(const struct lensd_sim_figures *figures)
{
    return ratio(figures->prefetch_used, figures->prefetch_used + figures->misses);
}
