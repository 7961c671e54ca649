/* One client's control connection: packets in, answers out, and everything it holds freed when it goes.
 *
 * A connection has at most one request under way: while a worker does it, or its answer waits because the client
 * doesn't read, no further packet is taken (the kernel's socket buffer is the bound). Packets that break the protocol
 * are answered with an error and the connection is dropped; so is one that sends descriptors. Threads: the loop's. */
#ifndef LENSD_CONNECTION_H
#define LENSD_CONNECTION_H

#include "daemon/peer.h"
#include "proto/codec.h"

#include <uv.h>

struct lensd_service;

#define LENSD_REQUESTS_PER_TURN 8u               /* of one connection, before others have their turn; */
#define LENSD_TURN_NS           UINT64_C(100000) /* fewer where they take longer than this */
#define LENSD_HELLO_TIMEOUT_NS  UINT64_C(5000000000)
#define LENSD_UNREAD_TIMEOUT_NS UINT64_C(10000000000)
#define LENSD_UNREAD_ATTACHED   2u

struct lensd_connection {
    struct lensd_connection *next, *previous;
    struct lensd_service *service;
    uv_poll_t poll;
    int fd;
    uint64_t id; /* never used again after the connection is gone */
    struct lensd_peer peer;
    char name[64]; /* as its hello said */
    uint64_t opened_ns;
    bool greeted; /* its hello was answered */
    bool busy;    /* a worker does its request; cleared by lensd_connection_resume */
    bool doomed;  /* to be closed as soon as nobody uses it */
    uint64_t request_id;
    uint32_t with_descriptors; /* packets that carry some, since all was last seen read */

    /* An answer the client had no room for. */
    unsigned char *unsent;
    uint32_t unsent_bytes;
    int unsent_fds[2];
    uint32_t n_unsent_fds;
    uint64_t unsent_since_ns;
};

/* Takes over `fd`, or closes it and leaves a word when the peer is one too many. */
void lensd_connection_open(struct lensd_service *service, int fd);

/* Who it is, for the log; lent by the connection. */
struct lensd_log_fields lensd_connection_fields(const struct lensd_connection *connection);

/* Ends its sessions, closes its descriptor, frees it. It must not be touched afterwards. */
void lensd_connection_close(struct lensd_connection *connection);

/* Sends `msg` with the request's id (notices: id 0), `fds` beside it. Dooms the connection when that can't be. Pages
 * that don't fit a packet are cut to fewer rows. */
void lensd_connection_send(struct lensd_connection *connection, struct lens_msg *msg, const int *fds, uint32_t n_fds);

/* Whether it may be sent another packet with descriptors. Those that nobody reads count against the daemon's own limit
 * of open files, so that a few connections of hoarders would keep everyone else from attaching. */
bool lensd_connection_takes_descriptors(struct lensd_connection *connection);

/* Sends LENS_MSG_ERROR. */
void lensd_connection_fault(struct lensd_connection *connection, enum lens_fault fault, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* GOODBYE, for one session or (0) for the whole daemon. */
void lensd_connection_goodbye(struct lensd_connection *connection, uint32_t session, const char *why);

/* A worker's answer was sent: go on with the next request, or close if doomed. */
void lensd_connection_resume(struct lensd_connection *connection);

/* The connection of that id if it still lives. */
struct lensd_connection *lensd_connection_find(const struct lensd_service *service, uint64_t id);

/* The lists of who may do what have changed: every connection gets its role anew, and those that are no longer allowed
 * hear so and are dropped. */
void lensd_connections_judge(struct lensd_service *service);

/* Drops those that never said hello, or don't read their answers. */
void lensd_connections_sweep(struct lensd_service *service, uint64_t now_ns);

#endif
