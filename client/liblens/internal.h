/* What the files of liblens share. Not installed.
 *
 * client.c   the connection: open, reconnect, requests and answers, notices
 * packet.c   one packet out, one packet in, descriptors with it
 * session.c  attach, reattach, detach
 * stream.c   the hot path: acquire, submit, poll, wait, release, arm
 * concepts.c names of lenses, cached
 *
 * Threads: none of its own; a client and its sessions belong to one thread at a time. */
#ifndef LENS_INTERNAL_H
#define LENS_INTERNAL_H

#include "client/liblens/control.h"
#include "client/liblens/lens.h"
#include "proto/codec.h"
#include "proto/ring.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LENS_SOCKET_PATHS = 2,  /* places to look for the daemon */
    LENS_SOCKET_PATH = 108, /* bytes of a socket's path, with its NUL */
    LENS_INFO_TEXT = 256,   /* bytes of a pack's name, model and tap, with the NUL */
    LENS_ANSWER_FDS = 2,    /* memory, doorbell */
};

#define LENS_MS                UINT64_C(1000000)
#define LENS_ANSWER_TIMEOUT_NS (1000 * LENS_MS) /* one request, connection included */
#define LENS_RETRY_NS          (50 * LENS_MS)   /* between attempts to connect or attach */
#define LENS_RETRY_SILENT_NS   (2000 * LENS_MS) /* .. after a daemon that took the connection but never answered */
#define LENS_LIVENESS_NS       (100 * LENS_MS)  /* between looks at the socket */

struct lens_client {
    int fd; /* -1: not connected */
    unsigned n_paths;
    char paths[LENS_SOCKET_PATHS][LENS_SOCKET_PATH];
    uint64_t next_request;
    uint64_t retry_at_ns; /* no attempt to connect before */
    uint64_t checked_ns;  /* last look at the socket */
    struct lens_session *sessions;
    struct lens_hello_ok daemon;
    char daemon_version[LENS_INFO_TEXT];
    struct lens_msg scratch; /* requests of ours and notices between calls */
    _Alignas(8) unsigned char out[LENS_REQUEST_MAX];
    _Alignas(8) unsigned char in[LENS_ANSWER_MAX];
};

enum lens_session_state {
    LENS_SESSION_ATTACHED,
    LENS_SESSION_LOST,     /* the daemon went away: -ENOTCONN is due, answers that had arrived can still be read */
    LENS_SESSION_DETACHED, /* said so: the next call may attach again */
};

struct lens_concept_cache {
    char **names; /* by lens id; NULL = not fetched */
    uint32_t count;
    uint32_t generation;
};

struct lens_session {
    struct lens_session *next;
    struct lens_client *client;
    enum lens_session_state state;
    uint32_t id;
    uint32_t lenses, generation;
    uint64_t epoch;       /* counts attachments: a slot of an earlier one is void */
    uint64_t retry_at_ns; /* no attempt to attach before */
    uint64_t spin_ns;
    struct lens_ring_client ring;
    uint64_t *payload_ends; /* the ring's, payload_slots of them */
    uint32_t payload_slots;
    void *memory; /* stays mapped while detached, until the next attachment replaces it */
    size_t memory_bytes;
    int doorbell;
    bool held;                 /* an answer is lent to the caller */
    bool held_last;            /* .. and it is its submission's last */
    bool armed;                /* waits for a ResultsReady packet */
    uint64_t answered;         /* submissions of this attachment answered in full */
    uint64_t dropped, lost;    /* of earlier attachments and refused acquires; of earlier attachments */
    struct lens_attach attach; /* the parameters, replayed at each attachment; its texts are the three below */
    char wanted_pack[LENS_INFO_TEXT], label[64];
    char *patterns; /* of include, exclude, filter, one behind the other; NULL = none */
    char pack[LENS_INFO_TEXT], model_id[LENS_INFO_TEXT], tap_layer[LENS_INFO_TEXT], tap_point[LENS_INFO_TEXT];
    struct lens_concept_cache concepts;
};

/* Fills `err` (if not NULL) and returns `code`. */
int lens_fail(struct lens_client_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

uint64_t lens_now_ns(void); /* CLOCK_MONOTONIC */

/* Copies a text into out[size], cut if longer. */
void lens_text_copy(char *out, size_t size, struct lens_text text);

/* ---- packet.c --------------------------------------------------------------------------------------------------- */

/* Connects to a SEQPACKET socket without blocking. A descriptor, or -EAGAIN when the daemon's backlog is full. */
int lens_packet_connect(const char *path);

/* Sends buf[length], waiting for room until the deadline. -ETIMEDOUT, -ENOTCONN. */
int lens_packet_send(int fd, const void *buf, size_t length, uint64_t deadline_ns);

/* Receives one packet into buf[size]; waits until the deadline (0 = doesn't wait). Its length, -EAGAIN (deadline 0) or
 * -ETIMEDOUT, -ENOTCONN at the end, -EPROTO when it is longer than the buffer or brings too many descriptors.
 * Descriptors that came along go to fds[LENS_ANSWER_FDS], -1 where there is none; the caller closes them. */
int lens_packet_receive(int fd, void *buf, size_t size, uint64_t deadline_ns, int fds[LENS_ANSWER_FDS]);

void lens_close_fds(int fds[LENS_ANSWER_FDS]);

/* ---- client.c --------------------------------------------------------------------------------------------------- */

/* Connects and says hello if need be and if it is time. */
int lens_client_ensure(struct lens_client *client, uint64_t deadline_ns, struct lens_client_error *err);

/* As lens_control_call on a live connection; `fds` (or NULL) takes the answer's descriptors. */
int lens_client_call(struct lens_client *client, const struct lens_msg *request, struct lens_msg *answer,
                     int fds[LENS_ANSWER_FDS], uint64_t deadline_ns, struct lens_client_error *err);

/* Takes notices that wait on the socket, without blocking; notices its end. */
void lens_client_drain(struct lens_client *client);

/* lens_client_drain, but at most once in LENS_LIVENESS_NS. */
void lens_client_check(struct lens_client *client, uint64_t now_ns);

/* Closes the connection; all its sessions are lost. */
void lens_client_drop(struct lens_client *client);

/* ---- session.c -------------------------------------------------------------------------------------------------- */

/* The daemon's end of the session is gone. */
void lens_session_mark_lost(struct lens_session *session);

/* 0 when the session is attached, now or again. -ENOTCONN: says a loss once, then while attaching again fails. */
int lens_session_ready(struct lens_session *session);

/* A loss was told to the caller: what was under way is counted as lost. Returns -ENOTCONN. */
int lens_session_report_lost(struct lens_session *session);

/* ---- concepts.c ------------------------------------------------------------------------------------------------- */

void lens_concepts_clear(struct lens_concept_cache *cache);

#endif
