/* See publish.h. Nothing here blocks: a full ring drops the row and counts it, a wake-up is one call that never
 * waits, and only when the client said that it sleeps. */
#include "daemon/publish.h"

#include "daemon/sys.h"

#include <linux/futex.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void count_drop(struct lensd_session *session, struct lensd_statistics *statistics)
{
    lensd_counter_add(&session->statistics->dropped_rows, 1);
    lensd_counter_add(&statistics->dropped_rows, 1);
}

/* For whoever asks later; `detections` are the daemon's own copy, not what lies in the client's memory. */
static void remember(const struct lensd_session *session, const struct lens_result_header *header,
                     const struct lens_detection *detections, uint64_t now)
{
    if (session->events != NULL)
        lensd_events_add(session->events, session->id, session->uid, header, detections, now);
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

/* Gives finished descriptors back, oldest first. */
static void release_done(struct lensd_session *session)
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
}

/* Before the last answer of the submission at `at` shows: a client that has all its answers finds its room again. */
static void give_back(struct lensd_session *session, uint64_t at)
{
    session->pending_state[at] = LENSD_PENDING_DONE;
    release_done(session);
}

void lensd_publish_refusal(struct lensd_session *session, uint64_t at, enum lens_row_reason reason,
                           struct lensd_statistics *statistics)
{
    const struct lens_submit_descriptor *d = &session->pending[at];
    uint64_t now = lensd_now_ns();
    for (uint32_t row = 0; row < d->rows; row++) {
        struct lens_result slot;
        struct lens_result_header header = header_of(session, d, row);
        header.status = LENS_ROW_INVALID_INPUT;
        header.reason = (uint8_t)reason;
        lensd_statistics_add(session->statistics, &header);
        lensd_statistics_add(statistics, &header);
        remember(session, &header, NULL, now);
        if (row + 1 == header.rows)
            give_back(session, at);
        if (!lens_ring_server_reserve(&session->ring, &slot)) {
            count_drop(session, statistics);
            continue;
        }
        *slot.header = header;
        lens_ring_server_publish(&session->ring);
        session->wake = true;
    }
}

/* Where a job's time went until it was answered; what no stage accounts for was waiting for lenses. */
static struct lens_row_timing timing_of(const struct lensd_flight *flight, uint64_t submitted, uint64_t begin)
{
    const struct lens_job_timing *spent = &flight->job.timing;
    uint64_t running = spent->copy_in + spent->base + spent->expand + spent->select;
    uint64_t in_flight = begin - flight->picked_ns;
    return (struct lens_row_timing){
        .queue = flight->picked_ns - submitted,
        .copy_in = spent->copy_in,
        .base = spent->base,
        .load = flight->job.waited && in_flight > running ? in_flight - running : 0,
        .expand = spent->expand,
        .select = spent->select,
    };
}

/* What the rules on content say of the row, which they take in. A prompt's rows that only bring lenses near don't
 * count.
 */
static void judge(const struct lensd_flight *flight, const struct lens_row_out *out, struct lens_result_header *header)
{
    struct lensd_session *session = flight->session;
    struct lensd_sequence *sequence = flight->sequence;
    if (session->rules == NULL || flight->prewarm)
        return;
    void *state = lensd_session_rule_state(session, sequence);
    if (!sequence->judged)
        memset(state, 0, session->rule_state_bytes);
    sequence->judged = true;
    struct lensd_verdict verdict;
    lensd_rules_judge(session->rules, session->binding.rule_map, state, out, &verdict);
    header->verdict = verdict.action;
    header->verdict_rule = verdict.rule;
    header->flags |= verdict.raised ? LENS_ROW_ALERT : 0;
}

/* One row into one slot; `timing` is that of its submission, at `at`, when copying out began, at `begin`. */
static void publish_row(const struct lensd_flight *flight, uint64_t at, uint32_t row, uint64_t submitted,
                        const struct lens_row_timing *timing, uint64_t begin, struct lensd_statistics *statistics)
{
    struct lensd_session *session = flight->session;
    const struct lens_submit_descriptor *d = &session->pending[at];
    const struct lens_row_out *out = &flight->job.out[row];
    struct lens_result_header header = header_of(session, d, row);
    struct lens_result slot;
    bool room = lens_ring_server_reserve(&session->ring, &slot);
    uint32_t stored = out->n_expanded < out->expanded_capacity ? out->n_expanded : out->expanded_capacity;
    header.token_id = token_of(session, d, row);
    header.status = out->status;
    header.reason = out->reason;
    header.flags = out->flags;
    judge(flight, out, &header);
    header.expanded_stored = stored;
    header.detections = out->n_detections;
    header.counts = out->counts;
    header.timing = *timing;
    if (room) {
        memcpy(slot.expanded, out->expanded, stored * sizeof *out->expanded);
        memcpy(slot.detections, out->detections, out->n_detections * sizeof *out->detections);
    }
    uint64_t now = lensd_now_ns();
    header.timing.copy_out = now - begin;
    header.timing.total = now - submitted;
    if (room)
        *slot.header = header;
    if (row + 1 == header.rows)
        give_back(session, at);
    if (room) {
        lens_ring_server_publish(&session->ring);
        session->wake = true;
    } else {
        count_drop(session, statistics);
    }
    /* after publishing: the client needn't wait for our bookkeeping */
    lensd_statistics_add(session->statistics, &header);
    lensd_statistics_add(statistics, &header);
    remember(session, &header, out->detections, now);
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

void lensd_publish_flight(struct lensd_flight *flight, struct lensd_statistics *statistics)
{
    struct lensd_session *session = flight->session;
    struct lens_job *job = &flight->job;
    uint64_t begin = lensd_now_ns();
    uint64_t at = flight->pending % session->ring.layout.submit_slots;
    const struct lens_submit_descriptor *d = &session->pending[at];
    uint64_t submitted = submitted_at(session, d, flight->picked_ns);
    struct lens_row_timing timing = timing_of(flight, submitted, begin);
    for (uint32_t row = 0; row < job->n_rows; row++) {
        if (flight->sequence->stale)
            job->out[row].flags |= LENS_ROW_STALE;
        publish_row(flight, at, row, submitted, &timing, begin, statistics);
    }
    lensd_statistics_batch(session->statistics, job->n_rows);
    flight->sequence->stale = false;
    keep_retained(flight->sequence, job);
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
    release_done(session);
    if (session->wake)
        wake(session);
    session->wake = false;
}
