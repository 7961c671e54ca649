/* See batch.h. From pending descriptors to jobs in flight and back; publishing is publish.c's. */
#include "daemon/batch.h"

#include "daemon/detections.h"
#include "daemon/publish.h"
#include "daemon/readings.h"
#include "daemon/sys.h"
#include "daemon/tracing.h"

#include <errno.h>
#include <string.h>

/* ---- memory ----------------------------------------------------------------------------------------------------- */

int lensd_batch_create(uint32_t max_rows, uint32_t lenses, struct lensd_batch **out)
{
    *out = NULL;
    struct lensd_batch *batch = lensd_calloc(1, sizeof *batch);
    if (batch == NULL)
        return -ENOMEM;
    batch->max_rows = max_rows;
    batch->flights = lensd_calloc(max_rows, sizeof *batch->flights);
    batch->free = lensd_calloc(max_rows, sizeof *batch->free);
    batch->run.jobs = lensd_calloc(max_rows, sizeof *batch->run.jobs);
    batch->run.misses = lensd_calloc(lenses, sizeof *batch->run.misses);
    batch->run.used = lensd_calloc(lenses, sizeof *batch->run.used);
    batch->rows = lensd_calloc(max_rows, sizeof *batch->rows);
    batch->row_used = lensd_calloc(max_rows, sizeof *batch->row_used);
    batch->detections = lensd_calloc((size_t)max_rows * LENS_MAX_TOP_K, sizeof *batch->detections);
    batch->expanded = lensd_calloc((size_t)max_rows * LENSD_EXPANDED_MAX, sizeof *batch->expanded);
    if (!batch->flights || !batch->free || !batch->run.jobs || !batch->run.misses || !batch->run.used || !batch->rows ||
        !batch->row_used || !batch->detections || !batch->expanded) {
        lensd_batch_destroy(batch);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < max_rows; i++)
        batch->free[i] = max_rows - 1 - i;
    batch->n_free = max_rows;
    *out = batch;
    return 0;
}

void lensd_batch_destroy(struct lensd_batch *batch)
{
    if (batch == NULL)
        return;
    lensd_free(batch->flights);
    lensd_free(batch->free);
    lensd_free(batch->run.jobs);
    lensd_free(batch->run.misses);
    lensd_free(batch->run.used);
    lensd_free(batch->rows);
    lensd_free(batch->row_used);
    lensd_free(batch->detections);
    lensd_free(batch->expanded);
    lensd_free(batch);
}

/* ---- picking ---------------------------------------------------------------------------------------------------- */

bool lensd_batch_intake(struct lensd_session *session)
{
    uint32_t slots = session->ring.layout.submit_slots;
    while (session->pending_head - session->pending_tail < slots) {
        uint64_t at = session->pending_head % slots;
        int r = lens_ring_server_take(&session->ring, &session->pending[at]);
        if (r == 0)
            return true;
        if (r == -EPROTO)
            return false;
        session->pending_state[at] = r == 1 ? LENSD_PENDING_READY : LENSD_PENDING_BAD;
        session->pending_head++;
    }
    return true;
}

/* The first n unused rows that follow each other; max_rows when there are none. */
static uint32_t find_rows(const struct lensd_batch *batch, uint32_t n)
{
    uint32_t length = 0;
    if (batch->n_rows == 0)
        return 0;
    for (uint32_t r = 0; r < batch->max_rows; r++) {
        length = batch->row_used[r] ? 0 : length + 1;
        if (length == n)
            return r + 1 - n;
    }
    return batch->max_rows;
}

static struct lens_row_out *take_rows(struct lensd_batch *batch, const struct lensd_session *session, uint32_t first,
                                      uint32_t n)
{
    for (uint32_t r = first; r < first + n; r++) {
        batch->row_used[r] = true;
        batch->rows[r].expanded = batch->expanded + (size_t)r * LENSD_EXPANDED_MAX;
        batch->rows[r].expanded_capacity = session->ring.layout.expanded_capacity;
        batch->rows[r].detections = batch->detections + (size_t)r * LENS_MAX_TOP_K;
        batch->rows[r].wanted = NULL; /* the views of whoever had the row before */
        batch->rows[r].logits = NULL;
        batch->rows[r].n_wanted = batch->rows[r].n_always = batch->rows[r].n_active = 0;
    }
    batch->n_rows += n;
    return batch->rows + first;
}

static struct lens_job job_of(const struct lensd_session *session, const struct lensd_sequence *sequence,
                              const struct lens_submit_descriptor *d)
{
    bool prewarm = (d->flags & LENS_SUBMIT_PREWARM) != 0; /* is there to bring its lenses in: waits in any case */
    return (struct lens_job){
        .rows = lens_ring_server_rows(&session->ring, d),
        .device_rows = lensd_session_device_rows(session, d),
        .dtype = (enum lens_dtype)d->dtype,
        .n_rows = d->rows,
        .options = &session->options,
        .base = session->binding.base,
        .n_base = session->binding.n_base,
        .pinned = session->binding.pinned,
        .n_pinned = session->binding.n_pinned,
        .kept = sequence->retained,
        .n_kept = sequence->n_retained,
        .allowed = session->binding.allowed,
        .reported = session->binding.reported,
        .give_up = session->options.miss == LENS_MISS_SKIP && !prewarm,
        .state = LENS_JOB_NEW,
        .retained = sequence->next,
        .retained_capacity = session->sequences.retained_capacity,
    };
}

/* While the breaker is open most submissions go no deeper than their active sets. */
static void heed_breaker(struct lensd_batch *batch, struct lensd_flight *flight)
{
    flight->verdict = lensd_breaker_next(&batch->breaker);
    if (flight->verdict != LENSD_BREAKER_BASE_ONLY)
        return;
    flight->base_only = *flight->job.options;
    flight->base_only.max_depth = 0;
    flight->job.options = &flight->base_only;
}

/* Puts a submission whose sequence is free in flight. */
static void add_flight(struct lensd_batch *batch, struct lensd_session *session, struct lensd_sequence *sequence,
                       uint64_t pending, const struct lens_submit_descriptor *d, uint32_t first_row)
{
    struct lensd_flight *flight = &batch->flights[batch->free[--batch->n_free]];
    if ((d->flags & LENS_SUBMIT_RESET) != 0) {
        sequence->n_retained = 0;
        sequence->judged = false;
    }
    sequence->busy = true;
    session->in_flight++;
    *flight = (struct lensd_flight){
        .job = job_of(session, sequence, d),
        .session = session,
        .sequence = sequence,
        .pending = pending,
        .prewarm = (d->flags & LENS_SUBMIT_PREWARM) != 0,
        .first_row = first_row,
    };
    if (session->options.miss == LENS_MISS_DEADLINE && !flight->prewarm)
        flight->deadline_ns = d->deadline_ns;
    flight->job.out = take_rows(batch, session, first_row, d->rows);
    if (batch->degrade && !flight->prewarm)
        heed_breaker(batch, flight);
    batch->run.jobs[batch->run.n_jobs++] = &flight->job;
}

static struct lensd_flight *flight_of(struct lens_job *job)
{
    return (struct lensd_flight *)job; /* its first member */
}

/* Rows of one session refused for each batch at most: refusals cost the engine's time, not the client's. */
#define REFUSED_ROWS_MAX LENS_MAX_ROWS
/* Submissions of busy sequences looked at for each batch at most, for the same reason. */
#define PASSED_OVER_MAX 256u

static void refuse(struct lensd_session *session, uint64_t at, enum lens_row_reason reason,
                   struct lensd_statistics *statistics)
{
    lensd_publish_refusal(session, at, reason, statistics);
    session->refused_rows += session->pending[at].rows;
}

enum offer { OFFER_NOTHING, OFFER_TAKEN, OFFER_FULL };

/* False when the rows were read elsewhere than where the pack's lenses look. */
static bool tap_fits(const struct lensd_session *session, const struct lens_submit_descriptor *d)
{
    int32_t tap = session->binding.served->tap;
    return d->tap == 0 || tap < 0 || d->tap == tap;
}

/* Puts the session's submission at `at` in flight if its sequence is free and there is room. */
static enum offer offer(struct lensd_batch *batch, struct lensd_session *session, uint64_t at,
                        struct lensd_statistics *statistics)
{
    const struct lens_submit_descriptor *d = &session->pending[at];
    struct lensd_sequence *sequence = lensd_sequences_get(&session->sequences, d->sequence);
    if (sequence == NULL && !session->place_to_come) {
        refuse(session, at, LENS_REASON_TOO_MANY_SEQUENCES, statistics);
        return OFFER_NOTHING;
    }
    uint32_t first_row = batch->max_rows;
    if (sequence != NULL && !sequence->busy) {
        first_row = find_rows(batch, d->rows);
        if (first_row == batch->max_rows)
            return OFFER_FULL;
    }
    session->place_to_come = session->place_to_come || (d->flags & LENS_SUBMIT_LAST) != 0;
    if (first_row == batch->max_rows)
        return OFFER_NOTHING;
    add_flight(batch, session, sequence, session->pending_scan, d, first_row);
    session->pending_state[at] = LENSD_PENDING_RUNNING;
    return OFFER_TAKEN;
}

/* Offers the batch the session's oldest submission that may run now. */
static enum offer offer_one(struct lensd_batch *batch, struct lensd_session *session,
                            struct lensd_statistics *statistics)
{
    uint32_t slots = session->ring.layout.submit_slots;
    for (; session->pending_scan < session->pending_head; session->pending_scan++) {
        if (session->refused_rows >= REFUSED_ROWS_MAX)
            return OFFER_NOTHING;
        uint64_t at = session->pending_scan % slots;
        const struct lens_submit_descriptor *d = &session->pending[at];
        enum lensd_pending state = session->pending_state[at];
        if (state == LENSD_PENDING_RUNNING)
            session->place_to_come = session->place_to_come || (d->flags & LENS_SUBMIT_LAST) != 0;
        if (state == LENSD_PENDING_BAD || (state == LENSD_PENDING_READY && !tap_fits(session, d))) {
            refuse(session, at, LENS_REASON_BAD_DESCRIPTOR, statistics);
            continue;
        }
        if (state != LENSD_PENDING_READY)
            continue;
        if (session->passed_over == PASSED_OVER_MAX)
            return OFFER_NOTHING;
        enum offer made = offer(batch, session, at, statistics);
        if (made == OFFER_FULL)
            return made;
        if (made == OFFER_TAKEN) {
            session->pending_scan++;
            return made;
        }
        session->passed_over++;
    }
    return OFFER_NOTHING;
}

/* One submission of each session in turn, until nobody has any or the batch is full. Returns whose turn is next. */
static uint32_t fill(struct lensd_served_pack *pack, struct lensd_session **sessions, uint32_t n, uint32_t start,
                     struct lensd_statistics *statistics)
{
    bool progress = true;
    while (progress) {
        progress = false;
        for (uint32_t i = 0; i < n; i++) {
            struct lensd_session *session = sessions[(start + i) % n];
            if (session->binding.served != pack || session->held)
                continue;
            enum offer made = offer_one(pack->batch, session, statistics);
            if (made == OFFER_FULL)
                return start + i;
            progress = progress || made == OFFER_TAKEN;
        }
    }
    return start + 1;
}

/* Sessions of other packs that were passed over come before `turn`. */
static uint32_t turn_of_others(struct lensd_session **sessions, uint32_t n, uint32_t start,
                               const struct lensd_served_pack *pack, uint32_t turn)
{
    for (uint32_t i = 1; i < n; i++) {
        const struct lensd_session *session = sessions[(start + i) % n];
        if (session->binding.served != pack && session->pending_head != session->pending_tail)
            return start + i;
    }
    return turn;
}

bool lensd_batch_assemble(struct lensd_served_pack *pack, struct lensd_session **sessions, uint32_t n, uint32_t start,
                          struct lensd_statistics *statistics)
{
    struct lensd_batch *batch = pack->batch;
    uint32_t before = batch->run.n_jobs;
    for (uint32_t i = 0; i < n; i++) {
        sessions[i]->pending_scan = sessions[i]->pending_tail;
        sessions[i]->refused_rows = 0;
        sessions[i]->passed_over = 0;
        sessions[i]->place_to_come = false;
    }
    uint32_t turn = fill(pack, sessions, n, start, statistics);
    uint32_t next = turn_of_others(sessions, n, start, pack, turn); /* below 2n */
    batch->next_start = next < n ? next : next - n;
    for (uint32_t i = 0; i < n; i++)
        lensd_publish_release(sessions[i]);
    if (batch->run.n_jobs == before)
        return false;
    uint64_t now = lensd_now_ns(), loads = lensd_pool_loads(pack->pool);
    batch->assembled_ns = now;
    for (uint32_t j = before; j < batch->run.n_jobs; j++) {
        flight_of(batch->run.jobs[j])->picked_ns = now;
        flight_of(batch->run.jobs[j])->loads = loads;
    }
    return true;
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

uint64_t lensd_batch_next_deadline(const struct lensd_batch *batch)
{
    uint64_t first = 0;
    for (uint32_t j = 0; j < batch->run.n_jobs; j++) {
        const struct lensd_flight *flight = flight_of(batch->run.jobs[j]);
        bool waits = flight->deadline_ns != 0 && !flight->job.give_up;
        if (waits && (first == 0 || flight->deadline_ns < first))
            first = flight->deadline_ns;
    }
    return first;
}

bool lensd_batch_due(const struct lensd_served_pack *pack)
{
    if (lensd_pool_ready(pack->pool) || lensd_served_pack_is_lost(pack))
        return true;
    uint64_t deadline = lensd_batch_next_deadline(pack->batch);
    return deadline != 0 && lensd_now_ns() >= deadline;
}

static void give_up_where_due(struct lensd_batch *batch)
{
    if (lensd_batch_next_deadline(batch) == 0)
        return;
    uint64_t now = lensd_now_ns();
    for (uint32_t j = 0; j < batch->run.n_jobs; j++) {
        struct lensd_flight *flight = flight_of(batch->run.jobs[j]);
        if (flight->deadline_ns != 0 && now >= flight->deadline_ns)
            flight->job.give_up = true;
    }
}

/* Answers for what the backend could not run: every job in flight. */
static void mark_failed(struct lensd_batch *batch)
{
    for (uint32_t j = 0; j < batch->run.n_jobs; j++) {
        struct lens_job *job = batch->run.jobs[j];
        job->state = LENS_JOB_DONE;
        job->retained_changed = false;
        job->waited = false;
        for (uint32_t i = 0; i < job->n_rows; i++)
            lens_row_out_fail(&job->out[i]);
    }
}

/* What was answered from the active set alone says so, and leaves R as it was. */
static void mark_degraded(struct lensd_flight *flight)
{
    if (flight->verdict != LENSD_BREAKER_BASE_ONLY)
        return;
    flight->job.retained_changed = false;
    for (uint32_t i = 0; i < flight->job.n_rows; i++)
        if (flight->job.out[i].status != LENS_ROW_INVALID_INPUT)
            flight->job.out[i].flags |= LENS_ROW_DEGRADED;
}

/* Times of what was really scored: a row without logits cost less. */
static bool tells_latency(const struct lensd_flight *flight)
{
    for (uint32_t i = 0; i < flight->job.n_rows; i++)
        if (flight->job.out[i].logits == NULL || flight->job.out[i].status == LENS_ROW_INVALID_INPUT)
            return false;
    return true;
}

/* True when the breaker opened or closed by what the answered submissions took. */
static bool note_latency(struct lensd_batch *batch, uint64_t now)
{
    bool turned = false;
    for (uint32_t j = 0; j < batch->run.n_jobs; j++) {
        const struct lensd_flight *flight = flight_of(batch->run.jobs[j]);
        if (flight->job.state == LENS_JOB_DONE && !flight->prewarm && tells_latency(flight))
            turned = lensd_breaker_note(&batch->breaker, flight->verdict, flight->job.n_rows, now - flight->picked_ns,
                                        now) != turned;
    }
    return turned;
}

/* Tells the pool what the answered rows wanted; their views are valid until the next run. */
static void note_rows(const struct lensd_served_pack *pack, const struct lensd_flight *flight, bool last, uint64_t now)
{
    uint64_t key = lensd_sequences_key(&flight->session->sequences, flight->sequence->name);
    for (uint32_t i = 0; i < flight->job.n_rows; i++) {
        if (pack->detections != NULL)
            lensd_detections_note(pack->detections, &flight->job.out[i]);
        if (pack->readings != NULL)
            lensd_readings_note(pack->readings, &flight->job.out[i], now);
        lensd_pool_note_row(pack->pool, key, &flight->job.out[i], flight->job.options->load_threshold,
                            last && i + 1 == flight->job.n_rows);
    }
}

static void trace(const struct lensd_served_pack *pack, const struct lensd_flight *flight, bool last)
{
    struct lens_trace_row row = {
        .sequence = lensd_sequences_key(&flight->session->sequences, flight->sequence->name),
        .base_layers = (uint32_t)flight->job.options->base_layers,
        .flags = flight->prewarm ? LENS_TRACE_PREWARM : 0,
    };
    for (uint32_t i = 0; i < flight->job.n_rows; i++) {
        const struct lens_row_out *out = &flight->job.out[i];
        row.flags |= last && i + 1 == flight->job.n_rows ? LENS_TRACE_LAST : 0;
        row.n = out->n_wanted;
        row.n_active = out->n_active;
        bool ends = (row.flags & LENS_TRACE_LAST) != 0; /* an end is told of, also of a row without answer */
        if (out->logits != NULL || ends)
            lensd_tracing_row(pack->tracing, &row, out->wanted, out->logits);
    }
}

/* What an answered submission leaves to do: nobody waits for it any more. */
static void land(struct lensd_served_pack *pack, struct lensd_flight *flight, uint64_t now)
{
    struct lensd_batch *batch = pack->batch;
    struct lensd_session *session = flight->session;
    const struct lens_submit_descriptor *d = &session->pending[flight->pending % session->ring.layout.submit_slots];
    bool last = (d->flags & LENS_SUBMIT_LAST) != 0;
    note_rows(pack, flight, last, now);
    if (pack->tracing != NULL)
        trace(pack, flight, last);
    if (last)
        lensd_sequences_end(&session->sequences, d->sequence);
    for (uint32_t r = flight->first_row; r < flight->first_row + flight->job.n_rows; r++)
        batch->row_used[r] = false;
    batch->n_rows -= flight->job.n_rows;
    session->in_flight--;
    batch->free[batch->n_free++] = (uint32_t)(flight - batch->flights);
}

/* Publishes what is done, all of it before anything else, and takes it out of flight. True when the breaker turned. */
static bool land_done(struct lensd_served_pack *pack, struct lensd_statistics *statistics)
{
    struct lensd_batch *batch = pack->batch;
    uint64_t loads = lensd_pool_loads(pack->pool);
    uint32_t kept = 0, rows = 0;
    for (uint32_t j = 0; j < batch->run.n_jobs; j++) {
        struct lens_job *job = batch->run.jobs[j];
        if (job->state != LENS_JOB_DONE)
            continue;
        for (uint32_t i = 0; i < job->n_rows; i++)
            job->out[i].counts.loaded = (uint32_t)(loads - flight_of(job)->loads);
        mark_degraded(flight_of(job));
        lensd_publish_flight(flight_of(job), statistics);
        rows += job->n_rows;
    }
    for (uint32_t j = 0; j < batch->run.n_jobs; j++)
        if (batch->run.jobs[j]->state == LENS_JOB_DONE)
            lensd_publish_release(flight_of(batch->run.jobs[j])->session);
    uint64_t now = lensd_now_ns(); /* what is answered; the rest is bookkeeping */
    bool turned = batch->degrade && note_latency(batch, now);
    for (uint32_t j = 0; j < batch->run.n_jobs; j++) {
        struct lens_job *job = batch->run.jobs[j];
        if (job->state == LENS_JOB_DONE)
            land(pack, flight_of(job), now);
        else
            batch->run.jobs[kept++] = job;
    }
    batch->run.n_jobs = kept;
    if (rows > 0)
        lensd_statistics_batch(statistics, rows);
    return turned;
}

bool lensd_batch_allow_degrade(struct lensd_batch *batch, bool degrade)
{
    bool turned = batch->degrade && !degrade && lensd_breaker_reset(&batch->breaker);
    batch->degrade = degrade;
    return turned;
}

/* A pool whose device is lost is not run any more: nothing of it would come. */
static int run_pool(struct lensd_served_pack *pack, struct lens_error *failure)
{
    if (!lensd_served_pack_is_lost(pack))
        return lensd_pool_run(pack->pool, &pack->batch->run, failure);
    return lens_error_set(failure, -ENODEV, "pack %s: its device is lost", pack->name);
}

int lensd_batch_execute(struct lensd_served_pack *pack, struct lensd_statistics *statistics, bool *turned)
{
    struct lensd_batch *batch = pack->batch;
    struct lens_error failure = {0};
    give_up_where_due(batch);
    int r = run_pool(pack, &failure);
    if (r < 0) {
        batch->failure = failure;
        mark_failed(batch);
    }
    *turned = land_done(pack, statistics);
    return r < 0 ? r : 0;
}
