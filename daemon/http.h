/* A small HTTP server for a few read-only pages: libmicrohttpd on one thread of its own, over a socket of ours.
 *
 * Whoever asks may be anybody on this machine, and hostile: GET and HEAD only, no request bodies, one request a
 * connection, LENSD_HTTP_CONNECTIONS at once (fewer where descriptors are few). A connection may last LENSD_HTTP_OLD_NS
 * however it trickles; when there is no place left, the oldest one goes for the new. Accepting never spins when
 * descriptors run out.
 *
 * Threads: start and stop on any one thread; `answer` is called on the server's, one request at a time. */
#ifndef LENSD_HTTP_H
#define LENSD_HTTP_H

#include "proto/lens_error.h"

#include <stddef.h>
#include <stdint.h>

#define LENSD_HTTP_CONNECTIONS 32u
#define LENSD_HTTP_OLD_NS      UINT64_C(10000000000)
#define LENSD_HTTP_MEMORY      8192u /* bytes of one request's line and headers, roughly */

enum lensd_http_page { LENSD_HTTP_INDEX, LENSD_HTTP_METRICS, LENSD_HTTP_HEALTHZ, LENSD_HTTP_READYZ };

struct lensd_http_reply {
    unsigned status;
    const char *type; /* Content-Type */
    const char *text; /* read before `answer` is called again */
    size_t length;
};

typedef void lensd_http_answer_fn(void *arg, enum lensd_http_page page, struct lensd_http_reply *reply);

struct lensd_http;

/* `fd` listens and is nonblocking; it is the server's from now on, also on error. */
int lensd_http_start(int fd, lensd_http_answer_fn *answer, void *arg, struct lensd_http **out, struct lens_error *err);
/* Ends all connections and the thread: after it returns `answer` is not called. NULL is fine. */
void lensd_http_stop(struct lensd_http *http);

#endif
