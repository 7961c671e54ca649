/* liblens: send hidden states to lensd, read which concepts fire.
 *
 *     struct lens_client *client;
 *     struct lens_session *session;
 *     lens_client_open(NULL, &client, &err);
 *     lens_session_params_default(&params);
 *     lens_session_open(client, &params, &session, &err);
 *     for each token:
 *         lens_session_acquire(session, 1, LENS_TYPE_F16, 0, &slot)    // where the hidden state goes
 *         memcpy or compute into slot.rows
 *         lens_session_submit(session, &slot)
 *         lens_session_wait(session, 1000000, &result)                 // or lens_session_poll
 *         ... result.detections[0..n) ...
 *         lens_session_release(session)
 *
 * Errors: functions return 0 or a negative errno; those with `err` also leave a sentence there (err may be NULL).
 * Threads: a client and its sessions belong to one thread at a time; different clients are independent. Nothing here
 * starts a thread, installs a signal handler or allocates after lens_session_open (but for the names that
 * lens_session_concept keeps).
 * Reconnection: when the daemon goes away, answers that had arrived can still be read; then one call per session
 * returns -ENOTCONN, and submissions without an answer are gone and counted in lens_session_lost. The next calls try
 * to attach again (at most every 50 ms, and not while an answer is held), return -ENOTCONN as long as that fails, and
 * work when the daemon is back. An attempt takes at most a second (when a daemon accepts but doesn't answer; the next
 * one then waits two seconds). Sequences start afresh; slots acquired before are void.
 * Links: the FlatBuffers codec and the ring alone. */
#ifndef LENS_H
#define LENS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

#define LENS_API_VERSION 1

struct lens_client;  /* a connection to a daemon */
struct lens_session; /* an attachment to one pack, with its own shared memory */

struct lens_client_error {
    int code; /* negative errno */
    char text[512];
};

enum lens_type { LENS_TYPE_F32 = 0, LENS_TYPE_F16 = 1, LENS_TYPE_BF16 = 2 };

/* Connects to `socket_path`, or where NULL to $LENSD_SOCKET, else $XDG_RUNTIME_DIR/lensd.sock, else
 * /run/lensd/lensd.sock (also when nobody listens at the one before). -ENOENT or -ECONNREFUSED: no daemon there.
 * -ENAMETOOLONG: a path over 107 bytes. -ETIMEDOUT: it didn't answer within a second. -EREMOTEIO: it refused, `err` has
 * its sentence. -EPROTO, -EBADMSG: it speaks another protocol. The client is owned by the caller. */
int lens_client_open(const char *socket_path, struct lens_client **out, struct lens_client_error *err);
void lens_client_close(struct lens_client *client); /* closes its sessions too; NULL is fine */

/* How a session behaves; -1 (or NULL, 0 where said) means the daemon's configured default. DESIGN 4's options. */
struct lens_session_params {
    const char *pack;       /* name of a loaded pack; NULL = the only (or first) one */
    uint32_t max_rows;      /* rows of one submission, 1..64; 0 = 1 */
    uint32_t queue_depth;   /* submissions in flight; 0 = 64 */
    uint32_t result_slots;  /* unread results; 0 = enough for queue_depth */
    uint32_t max_sequences; /* 0 = 64 */
    uint32_t max_expanded;  /* expanded ids kept per result; 0 = 256 */
    int32_t top_k;          /* 1..256 */
    int32_t keep_top_k;     /* -2 = the daemon's default; -1 all, 0 none */
    int32_t max_depth, max_scored;
    float load_threshold, unload_threshold, suppress_at; /* negative = default */
    int8_t expand;                                       /* 0 threshold, 1 topk */
    int8_t report;                                       /* 0 frontier, 1 all, 2 leaves */
    int8_t rank;                                         /* 0 raw, 1 calibrated */
    int8_t uncalibrated;                                 /* 0 raw, 1 half */
    int8_t suppress_parents;                             /* 0, 1 */
    int8_t miss;                                         /* 0 wait, 1 deadline, 2 skip */
    const uint8_t *base_layers;                          /* n_base_layers of them; NULL = default */
    uint32_t n_base_layers;
    const uint32_t *pinned; /* lens ids always scored (after a swap: the lenses of the same keys); lent for the call */
    uint32_t n_pinned;
    uint32_t spin_us;  /* lens_session_wait polls so long before it sleeps; 0 = sleep at once */
    const char *label; /* shown by lensctl sessions; NULL = the process name */
    /* Which concepts: patterns of "Name:layer" with * ? [..]; one that ends in a slash and a star takes everything
     * below as well. They narrow the daemon's own lists further. Each must match something in the pack. Lent for the
     * call. include: only these and what stands above them are scored. exclude: never scored nor reported, and what is
     * reached through them alone isn't reached; a pin among them is refused. filter: only these are reported, the
     * scoring stays as it is. */
    const char *const *include, *const *exclude, *const *filter; /* n_ of each, at most 64; NULL or 0 = all */
    uint32_t n_include, n_exclude, n_filter;
};
void lens_session_params_default(struct lens_session_params *params);

/* -EINVAL: a parameter out of its bounds. -EREMOTEIO: the daemon refused (no such pack, no space, ..), `err` has its
 * sentence. Others as lens_client_open. The session is owned by the caller, and ends at latest with its client. */
int lens_session_open(struct lens_client *client, const struct lens_session_params *params, struct lens_session **out,
                      struct lens_client_error *err);
void lens_session_close(struct lens_session *session); /* NULL is fine; waits for the daemon, at most a second */

/* What the daemon gave. Strings are owned by the session, valid until it closes or reattaches. */
struct lens_session_info {
    const char *pack, *model_id, *tap_layer, *tap_point;
    uint32_t id, dim, lenses, max_rows, top_k, generation;
};
void lens_session_get_info(const struct lens_session *session, struct lens_session_info *out);

/* A submission being written. `rows` points into shared memory: [n, dim] of the type asked for, contiguous. */
struct lens_slot {
    void *rows;
    int32_t *token_ids; /* NULL unless asked for with LENS_SLOT_TOKEN_IDS; [n] */
    uint64_t sequence;  /* set these before submit; all start at 0 */
    uint64_t tag;
    uint64_t first_position;
    uint64_t deadline_ns; /* CLOCK_MONOTONIC */
    uint32_t flags;       /* LENS_SLOT_LAST | LENS_SLOT_PREWARM | LENS_SLOT_RESET */
    uint32_t n;
    uint64_t reserved[16]; /* private */
};
enum lens_slot_flags {
    LENS_SLOT_LAST = 1, /* ends the sequence */
    LENS_SLOT_PREWARM = 2,
    LENS_SLOT_RESET = 4,    /* forget the sequence's retained set first */
    LENS_SLOT_TOKEN_IDS = 8 /* for acquire: make room for token ids */
};

/* Never blocks. -EAGAIN: the ring is full, read results first (counted in lens_session_dropped if you then drop the
 * row). -ENOTCONN: see Reconnection. -EINVAL: n or type out of range. */
int lens_session_acquire(struct lens_session *session, uint32_t n, enum lens_type type, uint32_t flags,
                         struct lens_slot *out);
/* Publishes it; a system call only when the daemon sleeps. After acquire there may be one submit or none. -ENOTCONN:
 * see Reconnection. -EINVAL: not the slot acquired last, submitted already, or unknown flags. */
int lens_session_submit(struct lens_session *session, const struct lens_slot *slot);

/* What the daemon's rules on content (its setting alerts.rules) say of a row: the strongest of the rules that are
 * raised in the row's sequence. A client that generates acts on it: STOP means that this token should be the last. */
enum lens_verdict_action { LENS_ACTION_NONE = 0, LENS_ACTION_FLAG = 1, LENS_ACTION_STOP = 2 };

struct lens_hit {
    uint32_t id;
    float score, raw, logit;
};
struct lens_answer {
    uint64_t sequence, tag, position;
    uint32_t serial, row, rows;
    int32_t token_id;
    uint8_t status; /* 0 COMPLETE, 1 PARTIAL, 2 INVALID_INPUT */
    uint8_t reason; /* for INVALID_INPUT: see lens_reason_text */
    /* 1 CAPPED; 2 DEGRADED: base, pinned and kept lenses only (the daemon's engine.degrade), or, with PARTIAL, none at
     * all; the sequence keeps what it had retained before; 4 STALE; 8 ALERT: this row raised the rule of its verdict */
    uint8_t flags;
    uint8_t verdict;       /* enum lens_verdict_action */
    uint32_t verdict_rule; /* lens_rule_id of the rule's name; 0 without a verdict */
    uint32_t generation;
    uint32_t n_hits, n_expanded_stored;
    const struct lens_hit *hits; /* best first; in shared memory, valid until lens_session_release */
    const uint32_t *expanded;    /* lens ids, likewise */
    struct {
        uint32_t scored, expanded, loaded, slot_hits, host_hits, cold, missing;
    } counts;
    struct {
        uint64_t queue, copy_in, base, load, expand, select, copy_out, total;
    } ns;
};

/* The oldest unread answer. 0, or -EAGAIN when there is none. Answers of one sequence come in order. */
int lens_session_poll(struct lens_session *session, struct lens_answer *out);
/* Waits up to timeout_us (UINT64_MAX = for ever): spins spin_us, then sleeps on a futex. -ETIMEDOUT. Checks that the
 * daemon is alive at least every 100 ms: -ENOTCONN when it is gone. */
int lens_session_wait(struct lens_session *session, uint64_t timeout_us, struct lens_answer *out);
/* Gives back the answer that poll or wait returned. */
void lens_session_release(struct lens_session *session);

/* A descriptor that becomes readable when answers wait, for event loops: call lens_session_arm, poll it, then
 * lens_session_poll until -EAGAIN, and arm again; arm as well after any other call, before polling the descriptor. It
 * is the client's, shared by its sessions (when it is readable, or arm returns 1, poll every session that is armed),
 * and a new one after a reconnection; -1 while there is no connection. arm returns 1 when answers already wait, 0 when
 * not, -ENOTCONN as other calls. */
int lens_session_fd(const struct lens_session *session);
int lens_session_arm(struct lens_session *session);

/* The daemon forgets the sequence; LENS_SLOT_LAST does the same without a round trip. -EREMOTEIO: it refused. */
int lens_session_end_sequence(struct lens_session *session, uint64_t sequence, struct lens_client_error *err);
uint64_t lens_session_dropped(const struct lens_session *session); /* acquires refused with -EAGAIN, and drops */
uint64_t lens_session_lost(const struct lens_session *session);    /* submissions without answer by reconnections */

/* "Name:layer" of a lens of the session's pack; fetched from the daemon once, then cached. Owned by the session, valid
 * until it closes, reattaches or its pack is swapped. NULL on error; -ESTALE: the answer that you hold is older than a
 * swap, and its ids mean other lenses now. */
const char *lens_session_concept(struct lens_session *session, uint32_t id, struct lens_client_error *err);

/* Sentence for a reason of INVALID_INPUT. */
const char *lens_reason_text(uint8_t reason);

/* The id of the rule of that name, as an answer's verdict_rule has it: tells one rule from another without asking the
 * daemon, which needn't have one of that name. */
uint32_t lens_rule_id(const char *name);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
#endif
