/* See batch.h. From pending descriptors to a filled struct lens_batch; publishing is publish.c's. */
#include "daemon/batch.h"

#include "daemon/publish.h"
#include "daemon/sys.h"

#include <errno.h>
#include <string.h>

int lensd_batch_init(struct lensd_batch *batch, uint32_t max_rows, struct lensd_statistics *statistics)
{
    memset(batch, 0, sizeof *batch);
    batch->max_rows = max_rows;
    batch->statistics = statistics;
    batch->jobs = lensd_calloc(max_rows, sizeof *batch->jobs);
    batch->entries = lensd_calloc(max_rows, sizeof *batch->entries);
    batch->deadlines = lensd_calloc(max_rows, sizeof *batch->deadlines);
    batch->rows = lensd_calloc(max_rows, sizeof *batch->rows);
    batch->detections = lensd_calloc((size_t)max_rows * LENS_MAX_TOP_K, sizeof *batch->detections);
    batch->expanded = lensd_calloc((size_t)max_rows * LENSD_EXPANDED_MAX, sizeof *batch->expanded);
    if (batch->jobs && batch->entries && batch->deadlines && batch->rows && batch->detections && batch->expanded)
        return 0;
    lensd_batch_free(batch);
    return -ENOMEM;
}

void lensd_batch_free(struct lensd_batch *batch)
{
    lensd_free(batch->jobs);
    lensd_free(batch->entries);
    lensd_free(batch->deadlines);
    lensd_free(batch->rows);
    lensd_free(batch->detections);
    lensd_free(batch->expanded);
    lensd_free(batch->misses);
    memset(batch, 0, sizeof *batch);
}

int lensd_batch_reserve(struct lensd_batch *batch, uint32_t lenses)
{
    if (lenses <= batch->misses_size)
        return 0;
    uint32_t *misses = lensd_calloc(lenses, sizeof *misses);
    if (misses == NULL)
        return -ENOMEM;
    lensd_free(batch->misses);
    batch->misses = misses;
    batch->misses_size = lenses;
    return 0;
}

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

/* Adds a submission whose sequence is free to the batch. */
static void add_job(struct lensd_batch *batch, struct lensd_session *session, struct lensd_sequence *sequence,
                    uint64_t pending, const struct lens_submit_descriptor *d)
{
    uint32_t j = batch->run.n_jobs++;
    batch->entries[j] = (struct lensd_batch_entry){session, sequence, pending};
    batch->deadlines[j] = d->deadline_ns;
    struct lens_row_out *rows = batch->rows + batch->n_rows;
    for (uint32_t i = 0; i < d->rows; i++) {
        uint32_t r = batch->n_rows + i;
        rows[i].expanded = batch->expanded + (size_t)r * LENSD_EXPANDED_MAX;
        rows[i].expanded_capacity = session->ring.layout.expanded_capacity;
        rows[i].detections = batch->detections + (size_t)r * LENS_MAX_TOP_K;
    }
    batch->n_rows += d->rows;
    if ((d->flags & LENS_SUBMIT_RESET) != 0)
        sequence->n_retained = 0;
    sequence->busy = true;
    batch->jobs[j] = (struct lens_job){
        .rows = lens_ring_server_rows(&session->ring, d),
        .dtype = (enum lens_dtype)d->dtype,
        .n_rows = d->rows,
        .options = &session->options,
        .base = session->binding.base,
        .n_base = session->binding.n_base,
        .pinned = session->binding.pinned,
        .n_pinned = session->binding.n_pinned,
        .kept = sequence->retained,
        .n_kept = sequence->n_retained,
        .out = rows,
        .retained = sequence->next,
        .retained_capacity = session->sequences.retained_capacity,
    };
}

/* Rows of one session refused for each batch at most: refusals cost the engine's time, not the client's. */
#define REFUSED_ROWS_MAX LENS_MAX_ROWS

static void refuse(struct lensd_batch *batch, struct lensd_session *session, uint64_t at, enum lens_row_reason reason)
{
    const struct lens_submit_descriptor *d = &session->pending[at];
    lensd_publish_refusal(batch, session, d, reason);
    session->pending_state[at] = LENSD_PENDING_DONE;
    session->refused_rows += d->rows;
}

enum offer { OFFER_NOTHING, OFFER_TAKEN, OFFER_FULL };

/* False when the rows were read elsewhere than where the pack's lenses look. */
static bool tap_fits(const struct lensd_session *session, const struct lens_submit_descriptor *d)
{
    int32_t tap = session->binding.served->tap;
    return d->tap == 0 || tap < 0 || d->tap == tap;
}

/* Offers the batch the session's oldest submission that may run now. */
static enum offer offer_one(struct lensd_batch *batch, struct lensd_session *session)
{
    uint32_t slots = session->ring.layout.submit_slots;
    for (; session->pending_scan < session->pending_head; session->pending_scan++) {
        if (session->refused_rows >= REFUSED_ROWS_MAX)
            return OFFER_NOTHING;
        uint64_t at = session->pending_scan % slots;
        const struct lens_submit_descriptor *d = &session->pending[at];
        bool ready = session->pending_state[at] == LENSD_PENDING_READY;
        if (session->pending_state[at] == LENSD_PENDING_BAD || (ready && !tap_fits(session, d))) {
            refuse(batch, session, at, LENS_REASON_BAD_DESCRIPTOR);
            continue;
        }
        if (!ready)
            continue;
        struct lensd_sequence *sequence = lensd_sequences_get(&session->sequences, d->sequence);
        if (sequence == NULL && !session->place_to_come) {
            refuse(batch, session, at, LENS_REASON_TOO_MANY_SEQUENCES);
            continue;
        }
        if (sequence != NULL && !sequence->busy && d->rows > batch->max_rows - batch->n_rows)
            return OFFER_FULL;
        session->place_to_come = session->place_to_come || (d->flags & LENS_SUBMIT_LAST) != 0;
        if (sequence == NULL || sequence->busy)
            continue;
        add_job(batch, session, sequence, session->pending_scan, d);
        session->pending_state[at] = LENSD_PENDING_RUNNING;
        session->pending_scan++;
        return OFFER_TAKEN;
    }
    return OFFER_NOTHING;
}

/* One submission of each session in turn, until nobody has any or the batch is full. Returns whose turn is next. */
static uint32_t fill(struct lensd_batch *batch, struct lensd_session **sessions, uint32_t n, uint32_t start,
                     const struct lensd_served_pack *pack)
{
    bool progress = true;
    while (progress) {
        progress = false;
        for (uint32_t i = 0; i < n; i++) {
            struct lensd_session *session = sessions[(start + i) % n];
            if (session->binding.served != pack)
                continue;
            enum offer offer = offer_one(batch, session);
            if (offer == OFFER_FULL)
                return start + i;
            progress = progress || offer == OFFER_TAKEN;
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

bool lensd_batch_assemble(struct lensd_batch *batch, struct lensd_session **sessions, uint32_t n, uint32_t start,
                          const struct lensd_served_pack *pack)
{
    batch->run.n_jobs = 0;
    batch->n_rows = 0;
    batch->picked_ns = lensd_now_ns();
    for (uint32_t i = 0; i < n; i++) {
        sessions[i]->pending_scan = sessions[i]->pending_tail;
        sessions[i]->refused_rows = 0;
        sessions[i]->place_to_come = false;
    }
    uint32_t turn = fill(batch, sessions, n, start, pack);
    uint32_t next = turn_of_others(sessions, n, start, pack, turn); /* below 2n */
    batch->next_start = next < n ? next : next - n;
    for (uint32_t i = 0; i < n; i++)
        lensd_publish_release(sessions[i]);
    return batch->run.n_jobs > 0;
}

static int run(struct lensd_batch *batch, struct lensd_served_pack *pack)
{
    batch->run.jobs = batch->jobs;
    batch->run.misses = batch->misses;
    batch->run.misses_capacity = batch->misses_size;
    batch->run.stage = 0;
    struct lens_error failure = {0};
    int r = lensd_pool_run(pack->pool, &batch->run, batch->deadlines, &batch->load_ns, &batch->loaded, &failure);
    if (r < 0)
        batch->failure = failure;
    return r;
}

/* Answers for a batch that the backend could not run. */
static void mark_failed(struct lensd_batch *batch)
{
    for (uint32_t r = 0; r < batch->n_rows; r++) {
        struct lens_row_out *row = &batch->rows[r];
        row->status = LENS_ROW_PARTIAL;
        row->reason = LENS_REASON_ENGINE_FAILURE;
        row->flags = LENS_ROW_DEGRADED;
        row->n_expanded = 0;
        row->n_detections = 0;
        row->counts = (struct lens_row_counts){0};
    }
    for (uint32_t j = 0; j < batch->run.n_jobs; j++)
        batch->jobs[j].retained_changed = false;
}

int lensd_batch_execute(struct lensd_batch *batch, struct lensd_served_pack *pack)
{
    int r = run(batch, pack);
    if (r < 0)
        mark_failed(batch);
    lensd_publish_batch(batch);
    return r < 0 ? r : 0;
}
