/* A session inside the daemon: one client's attachment to one served pack, with its shared memory and sequences.
 *
 * Made and destroyed on the loop thread; between lensd_engine_attach and lensd_engine_detach the engine thread owns
 * everything but the fields marked "loop". The client can change every byte of the shared memory at any time. */
#ifndef LENSD_SESSION_H
#define LENSD_SESSION_H

#include "daemon/content.h"
#include "daemon/events.h"
#include "daemon/locked_memory.h"
#include "daemon/rules.h"
#include "daemon/sequences.h"
#include "daemon/served_pack.h"
#include "daemon/statistics.h"
#include "proto/ring.h"

#include <stdatomic.h>

#define LENSD_SEQUENCES_DEFAULT 64u
#define LENSD_SEQUENCES_MAX     65536u
#define LENSD_EXPANDED_DEFAULT  256u
#define LENSD_EXPANDED_MAX      LENS_MAX_EXPANDED

/* What depends on the pack and changes with a swap. */
struct lensd_binding {
    struct lensd_served_pack *served;
    uint32_t *base; /* ids of the base layers, ascending */
    uint32_t n_base;
    uint32_t *pinned; /* the session's own pins, what its rules on content want, what is pinned at run time (pins.h) */
    uint32_t n_pinned;
    uint32_t n_own, n_rule_pins; /* of these; the rest is pinned at run time */
    uint32_t *storage; /* for the sequences' retained sets, in the size this pack needs; NULL once they took it */
    uint32_t retained_capacity;
    struct lensd_rule_map *rule_map; /* the session's rules in terms of this pack; NULL when it has none */
    bool rows_locked;                /* the session's rows are locked for this pack's backend: its device reads them */
    uint64_t *allowed, *reported;    /* what the session's lists mean in this pack: bitmaps, NULL = all (content.h) */
    char note[LENSD_CONTENT_NOTE];   /* what of the session's lists and pins this pack lacks, "" = nothing */
};

/* Lenses that a session has pinned. */
struct lensd_pin_list {
    uint32_t *lenses;
    uint32_t n;
};

enum lensd_pending { LENSD_PENDING_READY, LENSD_PENDING_BAD, LENSD_PENDING_RUNNING, LENSD_PENDING_DONE };

struct lensd_session {
    uint32_t id;                       /* unique over the daemon's life, from 1 */
    uint32_t uid, pid;                 /* loop: of the peer */
    char label[64];                    /* loop */
    uint64_t created_ns, memory_bytes; /* loop; memory_bytes: shared memory, retained sets and bitmaps of lenses */
    int memfd, doorbell;               /* sent to the client */
    int notify_fd;                     /* the control socket, for ResultsReady packets; lent by the connection */
    struct lens_cascade_options options;
    struct lensd_content *content; /* loop: its lists of concepts and the daemon's at the attach; NULL = none */
    struct lensd_binding binding;
    struct lens_ring_server ring;
    struct lensd_locked_rows locked;        /* loop: changed only while no binding of the engine's says rows_locked */
    struct lens_submit_descriptor *pending; /* taken and not yet released: submit_slots entries, a circular queue */
    uint8_t *pending_state;                 /* enum lensd_pending */
    uint64_t pending_head;                  /* taken so far */
    uint64_t pending_tail;                  /* released so far */
    uint64_t pending_scan;                  /* looked at while the running batch was put together */
    uint32_t in_flight;                     /* submissions */
    bool held;                              /* a call waits to change the session: nothing new starts */
    uint32_t refused_rows;                  /* answered without running meanwhile */
    uint32_t passed_over;                   /* submissions of busy sequences seen meanwhile */
    bool place_to_come;                     /* a submission looked at meanwhile ends its sequence */
    struct lensd_sequences sequences;
    struct lensd_statistics *statistics;
    struct lensd_rules *rules;  /* on content, as configured when it attached; a reference; NULL = none */
    unsigned char *rule_states; /* engine: of each sequence, rule_state_bytes apart */
    size_t rule_state_bytes;
    struct lensd_events *events; /* where its answered rows are remembered besides; lent; NULL = nowhere */
    unsigned char notice[128];   /* the ResultsReady packet, encoded once */
    uint32_t notice_bytes;
    bool wake;          /* engine: results were published in this turn */
    atomic_bool broken; /* engine: the client forged its ring indices; the loop closes the session */
};

struct lensd_session_request {
    uint32_t id, uid, pid;
    const char *label;
    struct lens_ring_layout layout; /* sizes wanted; completed by create (lens_ring_layout_init) */
    uint32_t max_sequences;
    struct lens_cascade_options options;
    const uint32_t *pinned;
    uint32_t n_pinned;
    struct lensd_content_source content; /* lists of the configuration and of the client */
    const char *configured_pins;         /* keys the daemon pins for everyone, between commas; NULL = none */
    struct lensd_rules *rules;           /* the session takes a reference of its own; NULL = none */
    struct lensd_events *events;         /* lent, must outlive the session; NULL = its rows aren't remembered */
    uint64_t memory_limit; /* bytes one session may have: shared memory, retained sets and bitmaps of lenses */
};

/* Creates memory (memfd, allocated in full, sealed against shrink, grow and further seals), doorbell, sequences.
 * Pins nothing yet: lensd_engine_attach does. On error nothing is left. */
int lensd_session_create(const struct lensd_session_request *request, struct lensd_served_pack *served,
                         struct lensd_session **out, struct lens_error *err);
/* Lets the device of the pack's backend read the rows where clients write them: their area of the shared memory alone,
 * until unlock. Before attach. Takes about as long as creating the session did; 0 also where there is no need. When it
 * fails, with a sentence, rows are copied to the device instead. */
int lensd_session_lock_rows(struct lensd_session *session, struct lens_error *err);
/* After detach, or after a swap to a pack of another backend. Any number of times. */
void lensd_session_unlock_rows(struct lensd_session *session);
/* Where the device sees the rows of `d` (its own copy, checked), or NULL. Engine thread. */
const void *lensd_session_device_rows(const struct lensd_session *session, const struct lens_submit_descriptor *d);

/* Frees the pages of the shared memory, before destroy (sealed_memory.h says why). */
void lensd_session_discard_memory(const struct lensd_session *session);
void lensd_session_destroy(struct lensd_session *session); /* after detach; NULL is fine */

/* Base, lists and pins of `session` in terms of `served`: pins by key, without those that `served` lacks or the lists
 * don't allow there; `note` says what was left out. The caller owns the binding until a swap takes it. */
int lensd_binding_create(const struct lensd_session *session, struct lensd_served_pack *served,
                         struct lensd_binding *out, struct lens_error *err);
void lensd_binding_destroy(struct lensd_binding *binding);
/* What the binding would have pinned with `pins` (NULL = none) at run time: its own pins, those of its rules, and of
 * `pins` what it may score. -ENOMEM. The caller frees the lenses. */
int lensd_binding_pin_list(const struct lensd_binding *binding, const struct lensd_pins *pins,
                           struct lensd_pin_list *out);

/* The states of the session's rules in a sequence of its table. Engine thread. */
static inline void *lensd_session_rule_state(const struct lensd_session *session, const struct lensd_sequence *sequence)
{
    return session->rule_states + (size_t)(sequence - session->sequences.items) * session->rule_state_bytes;
}

#endif
