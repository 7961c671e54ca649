/* One request to the daemon and its answer, over a client's socket. Internal to this repository: lensctl and the
 * sessions of liblens are built on it; it is not installed and not exported from liblens.so (link liblens.a).
 *
 * Threads: as for the client itself (lens.h): one thread at a time. */
#ifndef LENS_CONTROL_H
#define LENS_CONTROL_H

#include "client/liblens/lens.h"
#include "proto/codec.h"

#include <stdbool.h>

/* Sends `request` (its request_id is ignored; the client numbers its requests) and waits for the answer, at most
 * `timeout_ms` (LENS_CONTROL_TIMEOUT_MS but for requests that take the daemon longer: LOAD, SWAP, PRELOAD). Notices
 * that arrive meanwhile are kept. Connects anew first when the connection was lost, at most one attempt each 50 ms.
 *
 * 0: `answer` holds the answer, of any type but LENS_MSG_ERROR.
 * -EREMOTEIO: the daemon refused; `answer` is its LENS_MSG_ERROR (answer->u.fault.code is the enum lens_fault) and
 *   `err` holds its sentence.
 * -ENOENT, -ECONNREFUSED, -ENOTCONN: no daemon there, or it went away meanwhile.
 * -ETIMEDOUT: no answer in time; the connection was dropped, the next call makes a new one.
 * -EBADMSG, -EPROTO: the daemon answered something that breaks the protocol; likewise dropped.
 * -EINVAL, -EMSGSIZE: the request has a value out of bounds, or doesn't fit into LENS_REQUEST_MAX.
 *
 * Texts in `answer` are views into the client's receive buffer: valid until the next call of any function on this
 * client or its sessions. `request` and `answer` are the caller's and may be the same struct; `err` may be NULL. */
#define LENS_CONTROL_TIMEOUT_MS 1000u
int lens_control_call(struct lens_client *client, const struct lens_msg *request, struct lens_msg *answer,
                      uint32_t timeout_ms, struct lens_client_error *err);

/* As lens_control_call; *fd takes the first descriptor that came with the answer, the caller's to close, or -1. */
int lens_control_call_fd(struct lens_client *client, const struct lens_msg *request, struct lens_msg *answer, int *fd,
                         uint32_t timeout_ms, struct lens_client_error *err);

/* False when the connection is gone since the last call, whose effects on the daemon went with it. Takes in notices;
 * doesn't block, and doesn't connect anew. */
bool lens_control_connected(struct lens_client *client);

/* What the daemon said of itself when this client connected: protocol and daemon version, the peer's role, pid and
 * start time. The text is the client's, valid until it connects anew or closes. */
void lens_control_daemon(const struct lens_client *client, struct lens_hello_ok *out);

#endif
