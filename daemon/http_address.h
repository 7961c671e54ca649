/* Where metrics are served: what the setting http.listen means, and the listening socket itself.
 *
 *   off                 nowhere
 *   HOST:PORT           HOST is a loopback address (127.x.y.z, [::1]) or localhost; PORT 0 = any that is free
 *   unix:/path/socket   a stream socket in the file system, open to every user as loopback is; its folder may say less
 *
 * Other addresses are refused: what a daemon says of its clients isn't for the network without a proxy that knows who
 * asks. Threads: the caller's; nothing is shared. */
#ifndef LENSD_HTTP_ADDRESS_H
#define LENSD_HTTP_ADDRESS_H

#include "proto/lens_error.h"

#include <stdbool.h>
#include <sys/socket.h>

#define LENSD_HTTP_WHERE 160u

struct lensd_http_address {
    bool off;
    struct sockaddr_storage address;
    socklen_t size;
};

/* -EINVAL with a sentence that doesn't name the setting. */
int lensd_http_address_parse(const char *text, struct lensd_http_address *out, struct lens_error *err);
bool lensd_http_address_same(const struct lensd_http_address *a, const struct lensd_http_address *b);

/* A listening, nonblocking socket in *fd; `where` says what to ask, "http://127.0.0.1:9477/metrics" or
 * "unix:/path/socket", with the port that was chosen. A socket file that nobody serves any more is replaced.
 * -EADDRINUSE and what the calls say, with a sentence; nothing is left then. */
int lensd_http_address_listen(const struct lensd_http_address *address, int *fd, char where[LENSD_HTTP_WHERE],
                              struct lens_error *err);
/* Removes the socket file, if it is one. After the socket was closed. */
void lensd_http_address_remove(const struct lensd_http_address *address);

#endif
