/* See script.h. */
#include "tests/unit/support/script.h"

#include "daemon/sys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- making ----------------------------------------------------------------------------------------------------- */

static uint32_t below(unsigned *seed, uint32_t n)
{
    return (uint32_t)rand_r(seed) % n;
}

static bool one_in(unsigned *seed, uint32_t n)
{
    return below(seed, n) == 0;
}

static void random_options(struct lens_cascade_options *o, unsigned *seed)
{
    static const uint64_t base[] = {3, 3, 3, 1, 2, 4, 0};
    static const float load[] = {0.0f, 0.1f, 0.3f, 0.3f, 0.5f, 0.7f}, unload[] = {0.0f, 0.1f, 0.1f, 0.4f};
    static const uint32_t top[] = {1, 10, LENS_MAX_TOP_K}, depth[] = {0, 1, 2, 5, 5, 5}, most[] = {2, 9, 4096, 4096};
    static const int32_t keep[] = {-1, 0, 3, 30};
    lens_options_default(o);
    o->base_layers = base[below(seed, 7)];
    o->expand = one_in(seed, 3) ? LENS_EXPAND_TOPK : LENS_EXPAND_THRESHOLD;
    o->report = (enum lens_report)below(seed, 3);
    o->rank = (enum lens_rank)below(seed, 2);
    o->uncalibrated = (enum lens_uncalibrated)below(seed, 2);
    o->load_threshold = load[below(seed, 6)];
    o->unload_threshold = unload[below(seed, 4)];
    o->suppress_parents = one_in(seed, 3);
    o->top_k = top[below(seed, 3)];
    o->keep_top_k = keep[below(seed, 4)];
    o->max_depth = depth[below(seed, 6)];
    o->max_scored = most[below(seed, 4)];
}

/* "Name:layer" of some lens that has children. */
static void random_pattern(const struct lens_pack *pack, bool below_too, char *out, size_t size, unsigned *seed)
{
    uint32_t lens, length;
    do
        lens = below(seed, pack->lenses);
    while (pack->child_offsets[lens] == pack->child_offsets[lens + 1]);
    const char *name = lens_pack_name(pack, lens, &length);
    snprintf(out, size, "%.*s:%u%s", (int)length, name, pack->layer[lens], below_too ? "/*" : "");
}

static void random_content(struct script *s, const struct lens_pack *pack, unsigned *seed)
{
    if (one_in(seed, 3)) { /* pins that lists could forbid don't go with lists */
        unsigned list = below(seed, LENSD_CONTENT_LISTS);
        random_pattern(pack, list != LENSD_CONTENT_FILTER || one_in(seed, 2), s->lists[list], sizeof s->lists[list],
                       seed);
        return;
    }
    s->n_pinned = below(seed, 4);
    for (uint32_t i = 0; i < s->n_pinned; i++)
        s->pinned[i] = below(seed, pack->lenses);
}

static uint32_t random_length(unsigned *seed)
{
    uint32_t kind = below(seed, 20);
    return kind < 11 ? 1 : kind < 18 ? 2 + below(seed, 7) : 1 + below(seed, 64);
}

static void add_submission(struct script *s, uint64_t sequence, uint32_t n, uint32_t flags)
{
    s->submissions[s->n++] = (struct script_submission){sequence, s->n_rows, n, flags};
    s->n_rows += n;
}

static void random_states(struct script *s, uint32_t dim, unsigned *seed)
{
    s->rows = malloc((size_t)s->n_rows * dim * sizeof *s->rows);
    random_rows(s->rows, (size_t)s->n_rows * dim, seed);
    for (uint32_t row = 0; row < s->n_rows; row++)
        if (one_in(seed, 40))
            s->rows[(size_t)row * dim + below(seed, dim)] = NAN;
}

void script_make(struct script *s, const struct lens_pack *pack, unsigned *seed)
{
    memset(s, 0, sizeof *s);
    random_options(&s->options, seed);
    random_content(s, pack, seed);
    uint32_t sequences = 1 + below(seed, SCRIPT_SEQUENCES), n = 8 + below(seed, SCRIPT_SUBMISSIONS - 7);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t flags = one_in(seed, 9) ? LENS_SUBMIT_LAST : one_in(seed, 9) ? LENS_SUBMIT_RESET : 0;
        flags |= one_in(seed, 6) ? LENS_SUBMIT_PREWARM : 0;
        add_submission(s, below(seed, sequences), random_length(seed), flags);
    }
    random_states(s, pack->dim, seed);
}

void script_make_hasty(struct script *s, const struct lens_pack *pack, enum lens_miss miss, unsigned *seed)
{
    memset(s, 0, sizeof *s);
    random_options(&s->options, seed);
    s->options.miss = miss;
    for (uint32_t i = 0; i < SCRIPT_SUBMISSIONS; i++)
        add_submission(s, below(seed, 4), 1, LENS_SUBMIT_RESET | (one_in(seed, 5) ? LENS_SUBMIT_PREWARM : 0));
    random_states(s, pack->dim, seed);
}

void script_free(struct script *s)
{
    free(s->rows);
}

uint32_t script_pinned(const struct script *const *scripts, uint32_t n, const struct lens_pack *pack)
{
    uint32_t pinned = 0;
    for (uint32_t lens = 0; lens < pack->lenses; lens++) {
        bool any = false;
        for (uint32_t i = 0; i < n; i++) {
            any = any || (scripts[i]->options.base_layers >> pack->layer[lens] & 1) != 0;
            for (uint32_t k = 0; k < scripts[i]->n_pinned; k++)
                any = any || scripts[i]->pinned[k] == lens;
        }
        pinned += any;
    }
    return pinned;
}

/* ---- playing ---------------------------------------------------------------------------------------------------- */

void play_open(struct play *play, struct engine_world *w, const struct script *script, enum lens_miss miss, uint32_t id)
{
    memset(play, 0, sizeof *play);
    play->script = script;
    struct lens_cascade_options options = script->options;
    options.miss = miss;
    struct lensd_session_request request = session_request_of(&options, SCRIPT_SEQUENCES);
    request.id = id;
    request.layout.result_slots = 256;
    request.pinned = script->pinned;
    request.n_pinned = script->n_pinned;
    for (unsigned list = 0; list < LENSD_CONTENT_LISTS; list++)
        request.content.configured[list] = script->lists[list];
    make_ring_client(w, &request, &play->client);
    const struct lens_ring_layout *layout = &play->client.ring.layout;
    memset(play->client.ring.base + layout->result_offset, 0xa5, (size_t)layout->result_slots * layout->result_stride);
    for (uint32_t i = 0; i < SCRIPT_SEQUENCES; i++)
        play->last_serial[i] = UINT32_MAX;
}

static uint64_t mix(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ p[i]) * UINT64_C(1099511628211);
    return hash;
}

static uint64_t digest_of(const struct lens_result *r)
{
    const struct lens_result_header *h = r->header;
    const uint32_t figures[] = {h->status,          h->reason,     h->flags,       h->counts.scored,
                                h->counts.expanded, r->n_expanded, r->n_detections};
    uint64_t hash = mix(UINT64_C(14695981039346656037), figures, sizeof figures);
    hash = mix(hash, &h->sequence, sizeof h->sequence);
    hash = mix(hash, r->expanded, r->n_expanded * sizeof *r->expanded);
    return mix(hash, r->detections, r->n_detections * sizeof *r->detections);
}

/* Takes one result; the slot is poisoned again. */
static bool take_result(struct play *play)
{
    struct lens_result r;
    if (!lens_ring_client_peek(&play->client.ring, &r))
        return false;
    const struct lens_result_header *h = r.header;
    assert_true(h->serial < play->submitted);
    const struct script_submission *submission = &play->script->submissions[h->serial];
    assert_true(h->row < submission->n);
    assert_int_equal(h->sequence, submission->sequence);
    uint32_t *last = &play->last_serial[h->sequence];
    assert_true(*last == UINT32_MAX || *last <= h->serial); /* a sequence's rows come in order */
    *last = h->serial;
    struct script_answer *answer = &play->answers[submission->first + h->row];
    assert_false(answer->seen);
    *answer = (struct script_answer){digest_of(&r), h->counts.missing, h->counts.scored, h->status, h->flags, true};
    play->received++;
    memset(r.header, 0xa5, play->client.ring.layout.result_stride);
    lens_ring_client_release(&play->client.ring);
    return true;
}

static uint32_t rows_submitted(const struct play *play)
{
    if (play->submitted == 0)
        return 0;
    const struct script_submission *last = &play->script->submissions[play->submitted - 1];
    return last->first + last->n;
}

static bool submit_next(struct play *play, uint32_t ahead, uint64_t deadline_ns)
{
    const struct script *s = play->script;
    if (play->submitted == s->n)
        return false;
    uint32_t oldest = play->submitted > ahead ? play->submitted - ahead : 0;
    if (play->submitted >= ahead && play->received < s->submissions[oldest].first + s->submissions[oldest].n)
        return false;
    const struct script_submission *submission = &s->submissions[play->submitted];
    const float *rows = s->rows + (size_t)submission->first * play->client.ring.layout.dim;
    uint64_t deadline = deadline_ns > 0 ? lensd_now_ns() + deadline_ns : 0;
    int r = submit_rows_until(&play->client, submission->sequence, rows, submission->n, submission->flags, deadline);
    if (r == 0)
        play->submitted++;
    else
        assert_int_equal(r, -EAGAIN);
    return r == 0;
}

void play_all(struct play *plays, uint32_t n, uint32_t ahead, uint64_t deadline_ns, unsigned *seed)
{
    uint64_t give_up = lensd_now_ns() + UINT64_C(60000000000);
    for (bool all = false; !all;) {
        bool any = false;
        all = true;
        for (uint32_t i = 0, start = below(seed, n); i < n; i++) {
            struct play *play = &plays[(start + i) % n];
            any = submit_next(play, ahead, deadline_ns) || any;
            while (take_result(play))
                any = true;
            all = all && play->submitted == play->script->n && play->received == rows_submitted(play);
        }
        if (!any && lensd_now_ns() > give_up)
            fail_msg("rows without an answer after a minute");
        if (!any)
            sched_yield();
    }
    struct lens_result extra;
    for (uint32_t i = 0; i < n; i++)
        assert_false(lens_ring_client_peek(&plays[i].client.ring, &extra));
}
