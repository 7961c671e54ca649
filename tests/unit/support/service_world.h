/* A whole daemon inside the test's process, on a thread of its own, and raw clients for its socket. */
#ifndef TEST_SERVICE_WORLD_H
#define TEST_SERVICE_WORLD_H

#include "daemon/service.h"

#include <pthread.h>

struct service_world {
    char dir[64], socket[96], pack[96];
    char config[96]; /* what a reload reads: isn't there until a test writes it */
    struct lensd_arguments arguments;
    struct lensd_settings settings;
    struct lensd_service *service;
    pthread_t thread;
    int exit_code;
    unsigned fds_before; /* open descriptors of the process before the service opened */
};

/* Starts it with one small pack ("lenses") and settings given as "key=value" strings, NULL at the end. Fails the test
 * when it doesn't start. */
struct service_world *service_world_open(const char *const *settings);
/* As above, but returns NULL when lensd_service_open fails (its sentence goes to err). */
struct service_world *service_world_try(const char *const *settings, struct lens_error *err);
/* Ends it by SIGTERM; checks exit code and that no descriptor is left. */
void service_world_close(struct service_world *world);

/* Writes a pack of `lenses` lenses in a chain of families, named Concept0, Concept1, .. with `dim` inputs. */
void service_world_write_pack(const char *path, uint32_t lenses, uint32_t dim);

unsigned open_descriptors(void);

/* A client's socket. `answer` is decoded into the world's own memory: valid until the next call for this peer. */
struct peer {
    int fd;
    uint64_t next_id;
    int fds[4]; /* that came with the last answer */
    unsigned n_fds;
    struct lens_msg request, answer;
    _Alignas(16) unsigned char packet[LENS_ANSWER_MAX];
};

struct peer *peer_connect(const struct service_world *world); /* no hello yet */
struct peer *peer_greet(const struct service_world *world);   /* hello said and answered */
void peer_close(struct peer *peer);

/* The peer's request, cleared, of that type: fill it, then ask. */
struct lens_msg *peer_request(struct peer *peer, enum lens_msg_type type);
void peer_send(struct peer *peer);
/* The next packet, decoded into peer->answer. Returns its type, 0 at the end of the stream. */
enum lens_msg_type peer_receive(struct peer *peer);
enum lens_msg_type peer_ask(struct peer *peer);
/* As peer_ask, where being dropped is an answer, too. */
enum lens_msg_type peer_try(struct peer *peer);
/* Asks and expects LENS_MSG_ERROR with that code; returns the sentence, terminated. */
const char *peer_ask_refused(struct peer *peer, enum lens_fault fault);
/* Attaches with defaults; returns the session. Descriptors are in peer->fds. */
uint32_t peer_attach(struct peer *peer);

#endif
