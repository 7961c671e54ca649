/* See publish.h. Nothing here blocks: a full ring drops the row and counts it, a wake-up is one call that never
 * waits, and only when the client said that it sleeps. */
#include "daemon/publish.h"

#include "daemon/sys.h"

#include <linux/futex.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void count_drop(struct lensd_batch *batch, struct lensd_session *session)
{
    uint64_t *counters[2] = {&session->statistics->dropped_rows, &batch->statistics->dropped_rows};
    for (int i = 0; i < 2; i++)
        __atomic_store_n(counters[i], *counters[i] + 1, __ATOMIC_RELAXED);
}

/* The client's clock stamp, if it can be true; else the time we saw the submission. */
static uint64_t submitted_at(const struct lensd_session *session, const struct lens_submit_descriptor *d,
                             uint64_t picked_ns)
{
    bool possible = d->submitted_ns >= session->created_ns && d->submitted_ns <= picked_ns;
    return possible ? d->submitted_ns : picked_ns;
}

static int32_t token_of(const struct lensd_session *session, const struct lens_submit_descriptor *d, uint32_t row)
{
    const unsigned char *ids = lens_ring_server_token_ids(&session->ring, d);
    int32_t id = -1;
    if (ids != NULL)
        memcpy(&id, ids + (size_t)row * sizeof id, sizeof id);
    return id;
}

static struct lens_result_header header_of(const struct lensd_session *session, const struct lens_submit_descriptor *d,
                                           uint32_t row)
{
    return (struct lens_result_header){
        .sequence = d->sequence,
        .tag = d->tag,
        .position = d->first_position + row,
        .serial = d->serial,
        .row = row,
        .rows = d->rows,
        .token_id = -1,
        .pack_generation = session->binding.served->generation,
    };
}

void lensd_publish_refusal(struct lensd_batch *batch, struct lensd_session *session,
                           const struct lens_submit_descriptor *d, enum lens_row_reason reason)
{
    for (uint32_t row = 0; row < d->rows; row++) {
        struct lens_result slot;
        struct lens_result_header header = header_of(session, d, row);
        header.status = LENS_ROW_INVALID_INPUT;
        header.reason = (uint8_t)reason;
        lensd_statistics_add(session->statistics, &header);
        lensd_statistics_add(batch->statistics, &header);
        if (!lens_ring_server_reserve(&session->ring, &slot)) {
            count_drop(batch, session);
            continue;
        }
        *slot.header = header;
        lens_ring_server_publish(&session->ring);
        session->wake = true;
    }
}

/* One row into one slot; `begin` is when copying out began. */
static void publish_row(struct lensd_batch *batch, const struct lensd_batch_entry *entry,
                        const struct lens_submit_descriptor *d, const struct lens_row_out *out, uint32_t row,
                        uint64_t begin)
{
    struct lensd_session *session = entry->session;
    const struct lens_batch_timing *timing = &batch->run.timing;
    struct lens_result_header header = header_of(session, d, row);
    struct lens_result slot;
    bool room = lens_ring_server_reserve(&session->ring, &slot);
    uint32_t stored = out->n_expanded < out->expanded_capacity ? out->n_expanded : out->expanded_capacity;
    uint64_t submitted = submitted_at(session, d, batch->picked_ns);
    header.token_id = token_of(session, d, row);
    header.status = out->status;
    header.reason = out->reason;
    header.flags = out->flags;
    header.expanded_stored = stored;
    header.detections = out->n_detections;
    header.counts = out->counts;
    header.counts.loaded = batch->loaded;
    if (room) {
        memcpy(slot.expanded, out->expanded, stored * sizeof *out->expanded);
        memcpy(slot.detections, out->detections, out->n_detections * sizeof *out->detections);
    }
    uint64_t now = lensd_now_ns();
    header.timing = (struct lens_row_timing){
        .queue = batch->picked_ns - submitted,
        .copy_in = timing->copy_in,
        .base = timing->base,
        .load = batch->load_ns,
        .expand = timing->expand,
        .select = timing->select,
        .copy_out = now - begin,
        .total = now - submitted,
    };
    if (room) {
        *slot.header = header;
        lens_ring_server_publish(&session->ring);
        session->wake = true;
    } else {
        count_drop(batch, session);
    }
    /* after publishing: the client needn't wait for our bookkeeping */
    lensd_statistics_add(session->statistics, &header);
    lensd_statistics_add(batch->statistics, &header);
}

/* The sequence goes on with what the job retained. */
static void keep_retained(struct lensd_sequence *sequence, const struct lens_job *job)
{
    sequence->busy = false;
    if (!job->retained_changed)
        return;
    uint32_t *old = sequence->retained;
    sequence->retained = sequence->next;
    sequence->next = old;
    sequence->n_retained = job->n_retained;
}

static void publish_job(struct lensd_batch *batch, uint32_t j, uint64_t begin)
{
    const struct lensd_batch_entry *entry = &batch->entries[j];
    struct lensd_session *session = entry->session;
    struct lens_job *job = &batch->jobs[j];
    uint64_t at = entry->pending % session->ring.layout.submit_slots;
    const struct lens_submit_descriptor *d = &session->pending[at];
    for (uint32_t row = 0; row < job->n_rows; row++) {
        if (entry->sequence->stale)
            job->out[row].flags |= LENS_ROW_STALE;
        publish_row(batch, entry, d, &job->out[row], row, begin);
    }
    entry->sequence->stale = false;
    keep_retained(entry->sequence, job);
    session->pending_state[at] = LENSD_PENDING_DONE;
    if ((d->flags & LENS_SUBMIT_LAST) != 0)
        lensd_sequences_end(&session->sequences, d->sequence);
}

static void count_batch(struct lensd_statistics *statistics, uint32_t rows)
{
    __atomic_store_n(&statistics->batches, statistics->batches + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&statistics->batch_rows, statistics->batch_rows + rows, __ATOMIC_RELAXED);
}

void lensd_publish_batch(struct lensd_batch *batch)
{
    uint64_t begin = lensd_now_ns();
    count_batch(batch->statistics, batch->n_rows);
    for (uint32_t j = 0; j < batch->run.n_jobs; j++) {
        count_batch(batch->entries[j].session->statistics, batch->jobs[j].n_rows);
        publish_job(batch, j, begin);
    }
    for (uint32_t j = 0; j < batch->run.n_jobs; j++)
        lensd_publish_release(batch->entries[j].session);
}

static void wake(struct lensd_session *session)
{
    enum lens_client_sleep how;
    if (!lens_ring_server_wake_due(&session->ring, &how))
        return;
    if (how == LENS_CLIENT_ON_FUTEX) {
        struct lens_shm_header *header = (struct lens_shm_header *)session->ring.base;
        /* One: a session has one reader, and thousands of waiters would all be woken on the engine's time. */
        syscall(SYS_futex, &header->result_futex, FUTEX_WAKE, 1, NULL, NULL, 0);
    } else if (session->notify_fd >= 0) {
        struct iovec part = {session->notice, session->notice_bytes};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        /* A full socket already holds a notice: nothing is lost. */
        (void)lensd_sendmsg(session->notify_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

void lensd_publish_release(struct lensd_session *session)
{
    uint32_t slots = session->ring.layout.submit_slots;
    uint64_t done = 0;
    while (session->pending_tail < session->pending_head &&
           session->pending_state[session->pending_tail % slots] == LENSD_PENDING_DONE) {
        session->pending_tail++;
        done++;
    }
    if (done > 0)
        lens_ring_server_release(&session->ring, done);
    if (session->wake)
        wake(session);
    session->wake = false;
}
