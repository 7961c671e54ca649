/* One client process of the soak; see soak.h. Everything it does is a function of seed, index and life, but for what
 * the clock decides (deadlines, which answers have come). Each answer is checked as it arrives. */
#include "tests/soak/soak.h"

#include "tests/bench/support/random.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PENDING     64u /* submissions in flight */
#define SEQUENCES   16u
#define PATIENCE_NS (120ull * 1000000000u) /* sanitizers on a busy machine are slow; a lost row never comes */

enum { CHANCE_LAST = 20, CHANCE_RESET = 10, CHANCE_PREWARM = 20, CHANCE_TOKENS = 100, CHANCE_BAD = 2 }; /* of 1000 */

struct pending {
    uint64_t sequence, first;
    uint64_t bad; /* bit i: row i holds NaN */
    uint32_t rows, next;
    bool token_ids, used;
};

struct sequence {
    uint64_t name;
    uint32_t stream, at, position;
};

struct client {
    struct soak_shared *shared;
    struct soak_tally *tally;
    const struct soak_rows *rows;
    uint64_t stream, draws; /* of random choices */
    struct lens_client *connection;
    struct lens_session *session;
    struct lens_session_info info;
    uint32_t max_rows;
    int miss;
    bool crowded;   /* more sequences than it asked for: some rows may be refused */
    uint64_t names; /* of sequences so far */
    struct sequence sequences[SEQUENCES];
    uint32_t n_sequences;
    struct pending pending[PENDING];
    uint32_t in_flight;
};

static uint32_t below(struct client *c, uint32_t bound)
{
    return bench_random_below(c->stream, c->draws++, bound);
}

static bool chance(struct client *c, uint32_t of_1000)
{
    return below(c, 1000) < of_1000;
}

static void count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static void give_in(struct client *c, const char *what, const struct lens_answer *a, uint32_t seen, uint32_t expected)
{
    if (a)
        soak_fail(c->shared,
                  "%s: found %u, expected %u (session %u, miss %d; row %u of %u of sequence %llu, status %u, reason "
                  "%u, flags %u, scored %u, hits %u + %u + %u, missing %u)",
                  what, seen, expected, c->info.id, c->miss, a->row, a->rows, (unsigned long long)a->sequence,
                  a->status, a->reason, a->flags, a->counts.scored, a->counts.slot_hits, a->counts.host_hits,
                  a->counts.cold, a->counts.missing);
    else
        soak_fail(c->shared, "%s: found %u, expected %u (session %u)", what, seen, expected, c->info.id);
    _exit(1);
}

static void expect(struct client *c, const char *what, const struct lens_answer *a, uint32_t seen, uint32_t expected)
{
    if (seen != expected)
        give_in(c, what, a, seen, expected);
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static void check_status(struct client *c, const struct lens_answer *a, bool bad)
{
    bool refused = c->crowded && a->status == 2 && a->reason == 3;
    if (refused) {
        count(&c->tally->crowded, 1);
        return;
    }
    expect(c, "a row is INVALID_INPUT where it holds NaN, and only there", a, a->status == 2, bad);
    if (a->status == 1 && c->miss == 0)
        give_in(c, "a row of a session that waits is PARTIAL", a, 1, 0);
    expect(c, "a row is PARTIAL where lenses were missing, and only there", a, a->status == 1, a->counts.missing > 0);
    expect(c, "a row is flagged DEGRADED", a, a->flags & 2u, 0);
    count(a->status == 0 ? &c->tally->complete : a->status == 1 ? &c->tally->partial : &c->tally->invalid, 1);
}

static void check_hits(struct client *c, const struct lens_answer *a)
{
    for (uint32_t h = 0; h < a->n_hits; h++) {
        const struct lens_hit *hit = &a->hits[h];
        expect(c, "a detection's id is one of the pack's", a, hit->id < c->info.lenses, 1);
        expect(c, "a detection's raw score lies in 0..1", a, hit->raw >= 0 && hit->raw <= 1, 1);
        if (h > 0)
            expect(c, "detections come best first", a, hit->score <= a->hits[h - 1].score, 1);
    }
}

static void add_counts(struct client *c, const struct lens_answer *a)
{
    uint32_t scored = a->counts.slot_hits + a->counts.host_hits + a->counts.cold;
    expect(c, "slot hits + host hits + cold = scored", a, scored, a->counts.scored);
    count(&c->tally->scored, a->counts.scored);
    count(&c->tally->slot_hits, a->counts.slot_hits);
    count(&c->tally->host_hits, a->counts.host_hits);
    count(&c->tally->cold, a->counts.cold);
    count(&c->tally->missing, a->counts.missing);
    count(&c->tally->capped, a->flags & 1u);
    count(&c->tally->stale, a->flags >> 2 & 1u);
}

static void take_answer(struct client *c, const struct lens_answer *a)
{
    struct pending *p = &c->pending[a->tag % PENDING];
    expect(c, "an answer belongs to a submission in flight", a, a->tag < PENDING && p->used, 1);
    expect(c, "rows of a submission", a, a->rows, p->rows);
    expect(c, "rows come in order", a, a->row, p->next);
    expect(c, "the sequence is the submission's", a, a->sequence == p->sequence, 1);
    expect(c, "the position is the row's", a, a->position == p->first + a->row, 1);
    check_status(c, a, (p->bad >> a->row & 1) != 0);
    if (a->status != 2)
        expect(c, "the token id is the row's", a, (uint32_t)a->token_id, p->token_ids ? a->row : UINT32_MAX);
    check_hits(c, a);
    add_counts(c, a);
    count(&c->tally->answered, 1);
    if (++p->next == p->rows) {
        p->used = false;
        c->in_flight--;
    }
}

/* Reads what is there. */
static void read_answers(struct client *c)
{
    struct lens_answer answer;
    int r;
    while ((r = lens_session_poll(c->session, &answer)) == 0) {
        take_answer(c, &answer);
        lens_session_release(c->session);
    }
    if (r != -EAGAIN)
        give_in(c, "the session is lost; minus errno", NULL, (uint32_t)-r, 0);
}

/* Waits for one answer at least. */
static void wait_answer(struct client *c)
{
    struct lens_answer answer;
    uint64_t begin = bench_now_ns();
    int r;
    while ((r = lens_session_wait(c->session, 1000000, &answer)) == -ETIMEDOUT) {
        if (bench_now_ns() - begin > PATIENCE_NS || atomic_load(&c->shared->failed))
            give_in(c, "submissions that were never answered", NULL, c->in_flight, 0);
    }
    if (r != 0)
        give_in(c, "the session is lost; minus errno", NULL, (uint32_t)-r, 0);
    take_answer(c, &answer);
    lens_session_release(c->session);
    read_answers(c);
}

/* ---- submissions ------------------------------------------------------------------------------------------------ */

static void new_sequence(struct client *c, struct sequence *s)
{
    s->name = c->names++;
    s->stream = below(c, SOAK_STREAMS);
    s->at = below(c, SOAK_PER_STREAM);
    s->position = 0;
}

static const float *next_row(const struct client *c, struct sequence *s)
{
    uint32_t row = s->stream * SOAK_PER_STREAM + s->at;
    s->at = (s->at + 1) % SOAK_PER_STREAM;
    return c->rows->states + (size_t)row * c->rows->dim;
}

static uint32_t choose_rows(struct client *c)
{
    uint32_t kind = below(c, 4);
    uint32_t most = kind == 0 ? 1 : kind == 1 ? bench_min(8, c->max_rows) : c->max_rows;
    return 1 + below(c, most);
}

static void fill_slot(struct client *c, struct lens_slot *slot, struct sequence *s, struct pending *p)
{
    size_t row_bytes = c->rows->dim * sizeof(float);
    for (uint32_t i = 0; i < slot->n; i++) {
        float *to = (float *)slot->rows + (size_t)i * c->rows->dim;
        memcpy(to, next_row(c, s), row_bytes);
        if (chance(c, CHANCE_BAD)) {
            to[below(c, c->rows->dim)] = NAN;
            p->bad |= 1ull << i;
        }
        if (slot->token_ids)
            slot->token_ids[i] = (int32_t)i;
    }
    slot->sequence = s->name;
    slot->first_position = s->position;
    s->position += slot->n;
    if (c->miss == 1 && !chance(c, 100))
        slot->deadline_ns = bench_now_ns() + below(c, 2000000);
    slot->flags |= chance(c, CHANCE_PREWARM) ? LENS_SLOT_PREWARM : 0;
    slot->flags |= chance(c, CHANCE_RESET) ? LENS_SLOT_RESET : 0;
    slot->flags |= chance(c, CHANCE_LAST) ? LENS_SLOT_LAST : 0;
}

static uint32_t free_place(const struct client *c)
{
    uint32_t place = 0;
    while (c->pending[place].used)
        place++;
    return place;
}

/* One submission of a random sequence, of at most `most` rows. Returns how many rows it had. */
static uint32_t submit(struct client *c, uint32_t most)
{
    struct lens_slot slot;
    struct sequence *s = &c->sequences[below(c, c->n_sequences)];
    uint32_t n = bench_min(choose_rows(c), most), flags = chance(c, CHANCE_TOKENS) ? LENS_SLOT_TOKEN_IDS : 0;
    int r;
    if (c->in_flight == PENDING)
        wait_answer(c);
    while (c->in_flight == PENDING ||
           (r = lens_session_acquire(c->session, n, LENS_TYPE_F32, flags, &slot)) == -EAGAIN) {
        count(&c->tally->full, 1);
        wait_answer(c);
    }
    if (r != 0)
        give_in(c, "no room for a submission; minus errno", NULL, (uint32_t)-r, 0);
    uint32_t place = free_place(c);
    struct pending *p = &c->pending[place];
    *p = (struct pending){.sequence = s->name, .first = s->position, .rows = n, .token_ids = flags != 0, .used = true};
    fill_slot(c, &slot, s, p);
    slot.tag = place;
    count(&c->tally->submitted, n);
    c->in_flight++;
    r = lens_session_submit(c->session, &slot);
    if (r != 0)
        give_in(c, "a submission is refused; minus errno", NULL, (uint32_t)-r, 0);
    if ((slot.flags & LENS_SLOT_LAST) != 0)
        new_sequence(c, s);
    return n;
}

/* ---- sessions --------------------------------------------------------------------------------------------------- */

static void choose_params(struct client *c, struct lens_session_params *params, uint32_t *pinned, uint32_t lenses)
{
    static const uint32_t sizes[] = {1, 4, 16, 64, 64};
    static const int32_t keep[] = {-2, -2, -2, 0, 5, -1};
    static const uint8_t wide[] = {0, 1, 2};
    lens_session_params_default(params);
    params->max_rows = c->max_rows = sizes[below(c, 5)];
    params->queue_depth = 2u << below(c, 5);
    params->keep_top_k = keep[below(c, 6)];
    params->miss = (int8_t)(c->miss = (int)below(c, 3));
    params->expand = (int8_t)chance(c, 100);
    params->report = (int8_t)below(c, 3);
    params->suppress_parents = (int8_t)below(c, 2);
    params->max_scored = chance(c, 100) ? 100 : -1;
    params->spin_us = chance(c, 300) ? 20 : 0;
    params->label = "soak";
    if (chance(c, 50)) {
        params->base_layers = wide;
        params->n_base_layers = 3;
    }
    params->n_pinned = chance(c, 200) && lenses ? below(c, 9) : 0;
    for (uint32_t i = 0; i < params->n_pinned; i++)
        pinned[i] = below(c, lenses);
    params->pinned = pinned;
    c->n_sequences = 1 + below(c, SEQUENCES);
    c->crowded = chance(c, 50) && c->n_sequences > 1;
    params->max_sequences = c->crowded ? c->n_sequences - 1 : 2 * SEQUENCES;
}

/* A busy machine may keep the daemon from answering within liblens's second; liblens then takes the connection for lost
 * and waits a while itself. */
static bool try_later(struct client *c, int r)
{
    if (r != -ETIMEDOUT && r != -ENOTCONN)
        return false;
    count(&c->tally->late, 1);
    usleep(200000);
    return true;
}

static void open_session(struct client *c, const char *socket)
{
    struct lens_client_error err = {0};
    struct lens_session_params params;
    uint32_t pinned[8];
    int r = 0;
    choose_params(c, &params, pinned, 7947);
    for (int tries = 0; tries < 60; tries++) {
        r = c->connection ? 0 : lens_client_open(socket, &c->connection, &err);
        if (r == 0)
            r = lens_session_open(c->connection, &params, &c->session, &err);
        if (!try_later(c, r))
            break;
    }
    if (r != 0) {
        soak_fail(c->shared, "no session: %s", err.text);
        _exit(1);
    }
    lens_session_get_info(c->session, &c->info);
    for (uint32_t i = 0; i < c->n_sequences; i++)
        new_sequence(c, &c->sequences[i]);
    count(&c->tally->sessions, 1);
}

/* False when the daemon took too long, and the session with it. */
static bool end_some_sequence(struct client *c)
{
    struct lens_client_error err = {0};
    struct sequence *s = &c->sequences[below(c, c->n_sequences)];
    while (c->in_flight > 0)
        wait_answer(c);
    int r = lens_session_end_sequence(c->session, s->name, &err);
    if (try_later(c, r))
        return false;
    if (r != 0 && r != -EREMOTEIO) { /* refused: that sequence has had no row yet */
        soak_fail(c->shared, "a sequence can't be ended: %s", err.text);
        _exit(1);
    }
    new_sequence(c, s);
    return true;
}

/* How a session ends: mostly all answers are read; else it closes over them, or the process dies. */
static void leave(struct client *c)
{
    uint32_t how = atomic_load(&c->shared->gentle) ? 99 : below(c, 100);
    if (how < 15) {
        count(&c->tally->deaths, 1);
        kill(getpid(), SIGKILL);
    }
    while (how >= 25 && c->in_flight > 0)
        wait_answer(c);
    for (uint32_t i = 0; i < PENDING; i++) {
        if (c->pending[i].used)
            count(&c->tally->abandoned, c->pending[i].rows - c->pending[i].next);
        c->pending[i].used = false;
    }
    c->in_flight = 0;
    lens_session_close(c->session);
    c->session = NULL;
    if (chance(c, 500)) {
        lens_client_close(c->connection);
        c->connection = NULL;
    }
}

void soak_client(struct soak_shared *shared, uint32_t index, const char *socket, const struct soak_rows *rows,
                 uint64_t seed, uint64_t life)
{
    struct client *c = bench_alloc(sizeof *c);
    c->shared = shared;
    c->tally = &shared->clients[index];
    c->rows = rows;
    c->stream = bench_substream(bench_substream(seed, index), life);
    while (atomic_load(&shared->rows_left) > 0 && !atomic_load(&shared->failed)) {
        open_session(c, socket);
        for (uint32_t n = 20 + below(c, 600); n > 0 && !atomic_load(&shared->failed); n--) {
            if (atomic_load(&shared->rows_left) <= 0)
                break;
            atomic_fetch_sub(&shared->rows_left, submit(c, c->max_rows));
            read_answers(c);
            if (chance(c, 2) && !end_some_sequence(c))
                break;
        }
        leave(c);
    }
    lens_client_close(c->connection);
    free(c);
    exit(0);
}
