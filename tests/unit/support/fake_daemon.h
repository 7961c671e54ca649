/* A daemon of one thread for tests of liblens: speaks the protocol through codec and ring, scores nothing, and
 * misbehaves when told to. Every row is answered with one detection (id = first byte of the row, score = 0.5) and one
 * expanded id (the submission's serial). */
#ifndef LENS_TEST_FAKE_DAEMON_H
#define LENS_TEST_FAKE_DAEMON_H

#include "proto/codec.h"
#include "proto/ring.h"

#include <pthread.h>
#include <stdatomic.h>

enum { FAKE_CONNECTIONS = 4, FAKE_SESSIONS = 4, FAKE_DIM = 32, FAKE_LENSES = 150 };

/* What it does wrong; set at any time. */
struct fake_faults {
    atomic_bool silent;        /* answers no request */
    atomic_bool garbage;       /* answers with bytes that are no message */
    atomic_bool wrong_id;      /* answers with another request id */
    atomic_bool chatty;        /* sends notices of other sessions before each answer */
    atomic_bool refuse_attach; /* no space */
    atomic_bool unsealed, short_memory, no_fds, many_fds, wrong_layout;
    atomic_bool hold;    /* takes no submissions */
    atomic_int delay_ms; /* before looking at submissions */
};

struct fake_session {
    uint32_t id; /* 0 = free */
    int connection, memfd, doorbell;
    void *memory;
    struct lens_ring_server ring;
};

struct fake_daemon {
    pthread_t thread;
    char path[108];
    int listener, stop;
    int connections[FAKE_CONNECTIONS];
    struct fake_session sessions[FAKE_SESSIONS];
    struct fake_faults faults;
    atomic_uint generation;   /* of its pack */
    atomic_int accepted;      /* connections so far */
    atomic_int concept_pages; /* asked for */
    atomic_int ended, detached;
    atomic_int say_goodbye_to;               /* a session id: send it a goodbye, once; -1 = the whole daemon */
    atomic_int served;                       /* rows answered */
    struct lens_attach attach;               /* the last one; read it when an answer came */
    char pack[64], label[64], patterns[256]; /* "include A:1 exclude B:1 filter": those asked for */
    /* Its events: numbers event_first..event_end-1, each a row with one detection, of lens number % FAKE_LENSES. */
    atomic_ullong event_first, event_end;
    atomic_int event_pages;      /* asked for */
    atomic_ullong start_time_ns; /* what it says of itself: another value is another daemon */
    uint32_t next_session;
    struct lens_msg msg; /* its thread's */
    _Alignas(8) unsigned char packet[LENS_ANSWER_MAX];
};

/* Listens at `path` and serves. The caller owns it; stop closes all connections at once, like a crash. */
void fake_daemon_start(struct fake_daemon *d, const char *path);
void fake_daemon_stop(struct fake_daemon *d);

#endif
