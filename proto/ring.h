/* The two rings of a session: submissions to the daemon, results back. Single producer and single consumer each.
 *
 * The same code serves both sides. Geometry lives in private memory of each side (struct lens_ring_layout); only the
 * indices, flags, descriptors, payload and result slots are shared. Nothing here makes a system call, allocates or
 * blocks; sleeping and waking are the caller's (the functions say when a wake-up is due).
 *
 * Payload. The payload area is a ring of bytes; a position counts the bytes ever passed, skipped ones included, and
 * lies at area[position % payload_bytes]. A submission is contiguous: one that would run over the area's end starts
 * at the next multiple of payload_bytes instead, and the bytes before it are skipped. Its descriptor says the position
 * it starts at; the bytes are the client's again when the descriptor is given back (submit_tail).
 *
 * Sleep and wake. A sleeper announces itself by an atomic exchange on its flag and then looks for work once more; the
 * other side publishes and then reads the flag by an atomic read-modify-write. Whichever comes second on the flag sees
 * all that the first did before: either the sleeper finds the work or the publisher finds the sleeper.
 *
 * Threads: one thread per side and ring. Errors: negative errno. */
#ifndef LENS_RING_H
#define LENS_RING_H

#include "proto/wire.h"

#include <stdbool.h>
#include <stddef.h>

/* Sizes and places; computed by the daemon from what a client asked for, copied to the client in the attach answer. */
struct lens_ring_layout {
    uint32_t dim;      /* elements of one row */
    uint32_t max_rows; /* 1..LENS_MAX_ROWS */
    uint32_t top_k;    /* 1..LENS_MAX_TOP_K */
    uint32_t expanded_capacity;
    uint32_t submit_slots; /* power of two, 2..4096 */
    uint32_t result_slots; /* power of two, >= max_rows, 2..65536 */
    uint32_t result_stride;
    uint64_t payload_bytes; /* multiple of 64; at least two largest submissions */
    uint64_t submit_offset, result_offset, payload_offset, total_bytes;
};

/* Fills stride, payload size (0 = large enough for submit_slots single f32 rows with token ids and two largest
 * submissions), offsets and total (a multiple of 4096). -EINVAL with no change when a field is out of the ranges above
 * or the total passes `limit` bytes. */
int lens_ring_layout_init(struct lens_ring_layout *layout, uint64_t limit);

/* Bytes of a submission's payload: rows * dim * element size [+ token ids at the next boundary], rounded up to 64.
 * 0 when dtype isn't one of a row's (F32, F16, BF16) or the bytes pass UINT32_MAX. */
uint64_t lens_payload_bytes(uint32_t dim, uint32_t rows, uint8_t dtype, bool token_ids);

/* A result slot in place. */
struct lens_result {
    struct lens_result_header *header;
    uint32_t *expanded;                /* header->expanded_stored of them */
    struct lens_detection *detections; /* header->detections of them */
    uint32_t n_expanded, n_detections; /* set by lens_ring_client_peek: the header's counts, read once and clamped */
};

/* ---- daemon side ------------------------------------------------------------------------------------------------ */

struct lens_ring_server {
    struct lens_ring_layout layout;
    unsigned char *base;   /* the mapping; lent, stays alive until the owner unmaps it */
    uint64_t submit_next;  /* next descriptor to copy */
    uint64_t submit_done;  /* descriptors given back */
    uint64_t payload_next; /* end of the last good payload: the next starts there or up to one ring length further */
    uint64_t result_next;
};

/* Writes the header page of a fresh zeroed mapping and starts both rings at 0. */
void lens_ring_server_init(struct lens_ring_server *ring, const struct lens_ring_layout *layout, void *base);

/* Copies the next descriptor once and validates the copy: rows, dtype, flags, adapter, reserved bytes, payload length
 * and place (the tap is the pack's matter: not looked at here). 1 = a descriptor, 0 = none, -EBADMSG = a descriptor
 * that breaks the rules (`out` holds it with rows clamped to 1..max_rows; its payload must not be read), -EPROTO = the
 * indices themselves are forged (the session must be closed). A returned descriptor (1 or -EBADMSG) is owed to
 * lens_ring_server_release in order. */
int lens_ring_server_take(struct lens_ring_server *ring, struct lens_submit_descriptor *out);

/* The rows of a validated descriptor, in shared memory: read once. Token ids (or NULL) likewise. */
const void *lens_ring_server_rows(const struct lens_ring_server *ring, const struct lens_submit_descriptor *d);
const void *lens_ring_server_token_ids(const struct lens_ring_server *ring, const struct lens_submit_descriptor *d);

/* Gives back the oldest `count` taken descriptors and their payload (at most those taken). */
void lens_ring_server_release(struct lens_ring_server *ring, uint64_t count);

/* The next free result slot to fill, or false when the ring is full or the client's index is forged (the drop is then
 * counted in the header). Fill it (write only: the client can change what is there), then publish. */
bool lens_ring_server_reserve(struct lens_ring_server *ring, struct lens_result *out);
void lens_ring_server_publish(struct lens_ring_server *ring);

/* True when the client sleeps; clears its flag, bumps the futex word and says how to wake it. */
bool lens_ring_server_wake_due(struct lens_ring_server *ring, enum lens_client_sleep *how);

/* Says to the client that doorbells are needed (true) or not (false). After true, look for work once more before
 * really sleeping. */
void lens_ring_server_set_sleeping(struct lens_ring_server *ring, bool sleeping);

/* Descriptors that the client submitted and that weren't given back yet, by the indices in shared memory: a figure for
 * people, at most submit_slots whatever the client writes there. Any thread. */
uint32_t lens_ring_server_depth(const struct lens_ring_server *ring);

/* True when a descriptor waits. One load. */
bool lens_ring_server_pending(const struct lens_ring_server *ring);

/* ---- client side ------------------------------------------------------------------------------------------------ */

struct lens_ring_client {
    struct lens_ring_layout layout;
    unsigned char *base;        /* lent, as above */
    uint64_t *slot_payload_end; /* per submit slot: payload position after it; caller gives submit_slots of them */
    uint64_t submit_head;
    uint64_t payload_head;
    uint64_t payload_tail;
    uint64_t released; /* descriptors seen given back */
    uint64_t result_tail;
    uint64_t results_owed; /* results of published submissions not yet read: never more than result_slots */
};

/* Checks magic, version and that the header's geometry equals `layout`, is what lens_ring_layout_init makes of it, and
 * fits `mapped` bytes. -EPROTO if not.
 * `slot_payload_end` has layout->submit_slots entries, owned by the caller. */
int lens_ring_client_init(struct lens_ring_client *ring, const struct lens_ring_layout *layout, void *base,
                          uint64_t mapped, uint64_t *slot_payload_end);

/* Room for a submission of `rows`: *rows_out is where the hidden states go (and *tokens_out the ids, if asked; else
 * NULL). Nothing is taken until submit. -EAGAIN when a ring is full or more results would be owed than result_slots,
 * -EINVAL on bad rows or dtype, -EPROTO when the daemon's index is impossible. `descriptor` comes back with rows,
 * dtype, flags (TOKEN_IDS), serial and payload fields filled, the others zero. */
int lens_ring_client_acquire(struct lens_ring_client *ring, uint32_t rows, uint8_t dtype, bool token_ids,
                             struct lens_submit_descriptor *descriptor, void **rows_out, int32_t **tokens_out);

/* Publishes the acquired descriptor (at most one submit per acquire). Returns true when the daemon sleeps and the
 * doorbell must be written. */
bool lens_ring_client_submit(struct lens_ring_client *ring, const struct lens_submit_descriptor *descriptor);

/* The oldest unread result, in place and valid until release; false when there is none. Counts are clamped to the
 * slot's capacities. */
bool lens_ring_client_peek(struct lens_ring_client *ring, struct lens_result *out);
void lens_ring_client_release(struct lens_ring_client *ring);

/* Before sleeping: announce how, then peek once more; after waking: LENS_CLIENT_AWAKE. Returns the futex word to
 * wait on (its value from before the announcement is in *value, unless that is NULL). */
uint32_t *lens_ring_client_set_sleeping(struct lens_ring_client *ring, enum lens_client_sleep how, uint32_t *value);

/* Results the daemon had to drop so far, as the daemon says. */
uint64_t lens_ring_client_dropped(const struct lens_ring_client *ring);

#endif
