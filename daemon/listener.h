/* The control socket itself: where it is, that only one daemon has it, and accepting from it.
 *
 * Threads: the loop's. */
#ifndef LENSD_LISTENER_H
#define LENSD_LISTENER_H

#include "proto/lens_error.h"

#include <stdbool.h>
#include <sys/un.h>

struct lensd_listener {
    int fd;         /* listening, nonblocking */
    int lock_fd;    /* PATH.lock, locked as long as we are; -1 when the socket came from the service manager */
    int reserve_fd; /* given up for a moment to shed a client when descriptors run out */
    bool activated; /* the service manager's socket: not ours to remove */
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
};

/* `path` as configured: "" means $LENSD_SOCKET, else $XDG_RUNTIME_DIR/lensd.sock, else /run/lensd/lensd.sock. A
 * socket handed over by the service manager (LISTEN_FDS) wins over all. `wide`: the file is open to every user.
 * -ENAMETOOLONG, -EADDRINUSE (another daemon serves it), or what the calls say. Nothing is left on error. */
int lensd_listener_open(struct lensd_listener *listener, const char *path, bool wide, struct lens_error *err);
void lensd_listener_close(struct lensd_listener *listener);

/* Changes who may reach the socket file after a reload. */
void lensd_listener_set_wide(const struct lensd_listener *listener, bool wide);

/* The next client's descriptor, or -EAGAIN when none waits. -EMFILE: descriptors ran out, and one waiting client was
 * turned away so that the queue moves on. */
int lensd_listener_accept(struct lensd_listener *listener);

#endif
