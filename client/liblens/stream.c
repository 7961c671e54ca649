/* The hot path: rows in, answers out. No allocation and no lock; a system call only to ring a sleeping daemon, to
 * sleep, and ten times a second to see whether the daemon is still there. */
#include "client/liblens/internal.h"

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* What a lens_slot keeps to itself. */
struct slot_private {
    uint64_t epoch; /* the session's, when it was acquired */
    uint64_t payload_offset;
    uint32_t payload_bytes, rows, serial, flags;
    uint8_t dtype;
};

_Static_assert(sizeof(struct slot_private) <= sizeof((struct lens_slot *)0)->reserved, "lens_slot holds its privates");
_Static_assert(sizeof(struct lens_hit) == sizeof(struct lens_detection) &&
                   offsetof(struct lens_hit, id) == offsetof(struct lens_detection, id) &&
                   offsetof(struct lens_hit, score) == offsetof(struct lens_detection, score) &&
                   offsetof(struct lens_hit, raw) == offsetof(struct lens_detection, raw) &&
                   offsetof(struct lens_hit, logit) == offsetof(struct lens_detection, logit),
               "hits are read in place");
_Static_assert((int)LENS_SLOT_LAST == LENS_SUBMIT_LAST && (int)LENS_SLOT_PREWARM == LENS_SUBMIT_PREWARM &&
                   (int)LENS_SLOT_RESET == LENS_SUBMIT_RESET && (int)LENS_SLOT_TOKEN_IDS == LENS_SUBMIT_TOKEN_IDS,
               "flags go out as they are");

enum { SPINS_PER_CLOCK = 64 };

static void spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* ---- rows in ---------------------------------------------------------------------------------------------------- */

int lens_session_acquire(struct lens_session *session, uint32_t n, enum lens_type type, uint32_t flags,
                         struct lens_slot *out)
{
    struct lens_submit_descriptor d;
    void *rows;
    int32_t *token_ids;
    int r = lens_session_ready(session);
    if (r != 0)
        return r;
    if ((unsigned)type > LENS_TYPE_BF16 || (flags & ~(uint32_t)LENS_SLOT_TOKEN_IDS) != 0)
        return -EINVAL;
    r = lens_ring_client_acquire(&session->ring, n, (uint8_t)type, (flags & LENS_SLOT_TOKEN_IDS) != 0, &d, &rows,
                                 &token_ids);
    if (r == -EAGAIN) {
        session->dropped++;
        lens_client_check(session->client, lens_now_ns());
        return session->state == LENS_SESSION_ATTACHED ? -EAGAIN : lens_session_report_lost(session);
    }
    if (r == -EPROTO) { /* the memory is not what a daemon writes */
        lens_client_drop(session->client);
        return lens_session_report_lost(session);
    }
    if (r != 0)
        return r;
    struct slot_private private = {.epoch = session->epoch,
                                   .payload_offset = d.payload_offset,
                                   .payload_bytes = d.payload_bytes,
                                   .rows = d.rows,
                                   .serial = d.serial,
                                   .flags = d.flags,
                                   .dtype = d.dtype};
    *out = (struct lens_slot){.rows = rows, .token_ids = token_ids, .n = n};
    memcpy(out->reserved, &private, sizeof private);
    return 0;
}

static void ring_doorbell(const struct lens_session *session)
{
    const uint64_t one = 1;
    ssize_t written = write(session->doorbell, &one, sizeof one);
    (void)written; /* EAGAIN: it rings already. A dead daemon is found by the liveness check */
}

int lens_session_submit(struct lens_session *session, const struct lens_slot *slot)
{
    struct slot_private private;
    memcpy(&private, slot->reserved, sizeof private);
    uint64_t now = lens_now_ns();
    lens_client_check(session->client, now);
    if (session->state != LENS_SESSION_ATTACHED)
        return lens_session_report_lost(session);
    if (private.epoch != session->epoch)
        return -ENOTCONN; /* acquired before a reconnection */
    if (private.serial != (uint32_t)session->ring.submit_head ||
        (slot->flags & ~(uint32_t)(LENS_SLOT_LAST | LENS_SLOT_PREWARM | LENS_SLOT_RESET)) != 0)
        return -EINVAL;
    const struct lens_submit_descriptor d = {.sequence = slot->sequence,
                                             .tag = slot->tag,
                                             .first_position = slot->first_position,
                                             .payload_offset = private.payload_offset,
                                             .submitted_ns = now,
                                             .deadline_ns = slot->deadline_ns,
                                             .payload_bytes = private.payload_bytes,
                                             .rows = private.rows,
                                             .serial = private.serial,
                                             .flags = private.flags | slot->flags,
                                             .dtype = private.dtype};
    if (lens_ring_client_submit(&session->ring, &d))
        ring_doorbell(session);
    return 0;
}

/* ---- answers out ------------------------------------------------------------------------------------------------ */

static void fill_answer(struct lens_answer *out, const struct lens_result *result)
{
    const struct lens_result_header *h = result->header;
    *out = (struct lens_answer){
        .sequence = h->sequence,
        .tag = h->tag,
        .position = h->position,
        .serial = h->serial,
        .row = h->row,
        .rows = h->rows,
        .token_id = h->token_id,
        .status = h->status,
        .reason = h->reason,
        .flags = h->flags,
        .verdict = h->verdict,
        .verdict_rule = h->verdict_rule,
        .generation = h->pack_generation,
        .n_hits = result->n_detections,
        .n_expanded_stored = result->n_expanded,
        .hits = (const struct lens_hit *)(const void *)result->detections,
        .expanded = result->expanded,
        .counts = {h->counts.scored, h->counts.expanded, h->counts.loaded, h->counts.slot_hits, h->counts.host_hits,
                   h->counts.cold, h->counts.missing},
        .ns = {h->timing.queue, h->timing.copy_in, h->timing.base, h->timing.load, h->timing.expand, h->timing.select,
               h->timing.copy_out, h->timing.total},
    };
}

/* True when an answer was there. Answers that had arrived before a loss are still read. */
static bool take_answer(struct lens_session *session, struct lens_answer *out)
{
    struct lens_result result;
    if (session->state == LENS_SESSION_DETACHED || !lens_ring_client_peek(&session->ring, &result))
        return false;
    fill_answer(out, &result);
    session->held = true;
    session->held_last = out->row + 1 == out->rows;
    session->armed = false;
    session->generation = out->generation;
    return true;
}

int lens_session_poll(struct lens_session *session, struct lens_answer *out)
{
    if (take_answer(session, out))
        return 0;
    lens_client_check(session->client, lens_now_ns());
    int r = lens_session_ready(session);
    return r == 0 ? -EAGAIN : r;
}

static bool answer_waits(struct lens_session *session)
{
    struct lens_result result;
    return lens_ring_client_peek(&session->ring, &result);
}

/* Until an answer waits or the time comes. */
static void spin(struct lens_session *session, uint64_t until_ns)
{
    for (unsigned i = 1; !answer_waits(session); i++) {
        if (i % SPINS_PER_CLOCK == 0 && lens_now_ns() >= until_ns)
            return;
        spin_pause();
    }
}

static void sleep_on_futex(struct lens_session *session, uint64_t ns)
{
    uint32_t value;
    uint32_t *word = lens_ring_client_set_sleeping(&session->ring, LENS_CLIENT_ON_FUTEX, &value);
    if (!answer_waits(session)) {
        struct timespec span = {.tv_sec = (time_t)(ns / (1000 * LENS_MS)), .tv_nsec = (long)(ns % (1000 * LENS_MS))};
        syscall(SYS_futex, word, FUTEX_WAIT, value, &span, NULL, 0); /* woken, late or too late: the caller looks */
    }
    lens_ring_client_set_sleeping(&session->ring, LENS_CLIENT_AWAKE, NULL);
}

static uint64_t after(uint64_t now_ns, uint64_t ns)
{
    return ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + ns;
}

int lens_session_wait(struct lens_session *session, uint64_t timeout_us, struct lens_answer *out)
{
    uint64_t now = lens_now_ns();
    uint64_t deadline = timeout_us > UINT64_MAX / 1000 ? UINT64_MAX : after(now, timeout_us * 1000);
    uint64_t spin_until = after(now, session->spin_ns);
    for (;;) {
        if (take_answer(session, out))
            return 0;
        lens_client_check(session->client, now);
        int r = lens_session_ready(session);
        if (r != 0)
            return r;
        if (now >= deadline)
            return -ETIMEDOUT;
        if (now < spin_until)
            spin(session, spin_until < deadline ? spin_until : deadline);
        else
            sleep_on_futex(session, deadline - now < LENS_LIVENESS_NS ? deadline - now : LENS_LIVENESS_NS);
        now = lens_now_ns();
    }
}

void lens_session_release(struct lens_session *session)
{
    if (!session->held)
        return;
    session->held = false;
    session->answered += session->held_last;
    if (session->state != LENS_SESSION_DETACHED)
        lens_ring_client_release(&session->ring);
}

/* ---- event loops ------------------------------------------------------------------------------------------------ */

int lens_session_fd(const struct lens_session *session)
{
    return session->client->fd;
}

/* Sessions share the socket, so a packet taken off it may have been another session's only wake-up: its answers count
 * as well. */
int lens_session_arm(struct lens_session *session)
{
    lens_client_drain(session->client);
    int r = lens_session_ready(session);
    if (r != 0)
        return r;
    lens_ring_client_set_sleeping(&session->ring, LENS_CLIENT_ON_SOCKET, NULL);
    session->armed = true;
    for (struct lens_session *s = session->client->sessions; s != NULL; s = s->next) {
        if (s->armed && answer_waits(s))
            return 1;
    }
    return 0;
}

/* ---- counts and sentences --------------------------------------------------------------------------------------- */

uint64_t lens_session_dropped(const struct lens_session *session)
{
    bool live = session->state != LENS_SESSION_DETACHED;
    return session->dropped + (live ? lens_ring_client_dropped(&session->ring) : 0);
}

uint64_t lens_session_lost(const struct lens_session *session)
{
    return session->lost;
}

const char *lens_reason_text(uint8_t reason)
{
    switch ((enum lens_row_reason)reason) {
    case LENS_REASON_NONE:
        return "the row is valid";
    case LENS_REASON_NOT_FINITE:
        return "the row holds NaN or infinity, or a logit came out as not a number";
    case LENS_REASON_BAD_DESCRIPTOR:
        return "the submission's rows, type, flags, offset or length are out of range";
    case LENS_REASON_TOO_MANY_SEQUENCES:
        return "the session has too many sequences: end some, or attach with a larger max_sequences";
    case LENS_REASON_ENGINE_FAILURE:
        return "the device failed on this batch; the row was not scored";
    }
    return "unknown reason";
}

uint32_t lens_rule_id(const char *name)
{
    return lens_rule_id_of(name);
}
