/* The connection to the daemon: found, kept, and made anew. Requests go out one at a time and wait for their answer;
 * notices that arrive in between are acted on at once. */
#include "client/liblens/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int lens_fail(struct lens_client_error *err, int code, const char *format, ...)
{
    if (err == NULL)
        return code;
    va_list args;
    va_start(args, format);
    err->code = code;
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return code;
}

uint64_t lens_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 * LENS_MS + (uint64_t)now.tv_nsec;
}

void lens_text_copy(char *out, size_t size, struct lens_text text)
{
    size_t n = text.length < size ? text.length : size - 1;
    if (n > 0)
        memcpy(out, text.data, n);
    out[n] = '\0';
}

/* ---- notices ---------------------------------------------------------------------------------------------------- */

void lens_client_drop(struct lens_client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    for (struct lens_session *s = client->sessions; s != NULL; s = s->next)
        lens_session_mark_lost(s);
}

static bool is_notice(const struct lens_msg *msg)
{
    return msg->type == LENS_MSG_RESULTS_READY || msg->type == LENS_MSG_GOODBYE;
}

/* ResultsReady needs no note: whoever asks looks into the ring, where the results were before the packet was sent. */
static void take_notice(struct lens_client *client, const struct lens_msg *msg)
{
    if (msg->type != LENS_MSG_GOODBYE)
        return;
    if (msg->u.goodbye.session == 0) {
        lens_client_drop(client);
        return;
    }
    for (struct lens_session *s = client->sessions; s != NULL; s = s->next) {
        if (s->id == msg->u.goodbye.session)
            lens_session_mark_lost(s);
    }
}

void lens_client_drain(struct lens_client *client)
{
    int fds[LENS_ANSWER_FDS];
    while (client->fd >= 0) {
        int n = lens_packet_receive(client->fd, client->in, sizeof client->in, 0, fds);
        if (n == -EAGAIN)
            return;
        lens_close_fds(fds);
        if (n < 0 || lens_msg_decode(client->in, (size_t)n, LENS_ANSWER_MAX, &client->scratch, NULL) != 0 ||
            !is_notice(&client->scratch)) {
            lens_client_drop(client);
            return;
        }
        take_notice(client, &client->scratch);
    }
}

void lens_client_check(struct lens_client *client, uint64_t now_ns)
{
    if (now_ns - client->checked_ns < LENS_LIVENESS_NS)
        return;
    client->checked_ns = now_ns;
    lens_client_drain(client);
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

static int broken_connection(struct lens_client *client, int code, struct lens_client_error *err)
{
    lens_client_drop(client);
    if (code == -ETIMEDOUT)
        return lens_fail(err, code, "lensd did not answer within a second");
    if (code == -ENOTCONN)
        return lens_fail(err, code, "lensd closed the connection");
    return lens_fail(err, code, "the connection to lensd failed: %s", strerror(-code));
}

/* The answer to request `id` in client->in. Decodes straight into the caller's struct. */
static int receive_answer(struct lens_client *client, uint64_t id, struct lens_msg *answer, int fds[LENS_ANSWER_FDS],
                          uint64_t deadline_ns, struct lens_client_error *err)
{
    for (;;) {
        struct lens_error why = {0};
        int n = lens_packet_receive(client->fd, client->in, sizeof client->in, deadline_ns, fds);
        if (n < 0)
            return broken_connection(client, n, err);
        int r = lens_msg_decode(client->in, (size_t)n, LENS_ANSWER_MAX, answer, &why);
        if (r != 0) {
            lens_close_fds(fds);
            lens_client_drop(client);
            return lens_fail(err, r, "lensd sent a message this liblens can't read: %s", why.text);
        }
        if (!is_notice(answer)) {
            if (answer->request_id == id || (answer->type == LENS_MSG_ERROR && answer->request_id == 0))
                return 0;
            lens_close_fds(fds);
            lens_client_drop(client);
            return lens_fail(err, -EPROTO, "lensd answered a request that was not asked (%s)",
                             lens_msg_name(answer->type));
        }
        lens_close_fds(fds);
        take_notice(client, answer);
        if (client->fd < 0)
            return lens_fail(err, -ENOTCONN, "lensd is ending: %.*s", (int)answer->u.goodbye.text.length,
                             answer->u.goodbye.text.data);
    }
}

int lens_client_call(struct lens_client *client, const struct lens_msg *request, struct lens_msg *answer,
                     int fds[LENS_ANSWER_FDS], uint64_t deadline_ns, struct lens_client_error *err)
{
    int came[LENS_ANSWER_FDS];
    struct lens_msg *numbered = &client->scratch;
    uint64_t id = ++client->next_request;
    if (request != numbered)
        *numbered = *request;
    numbered->request_id = id;
    int n = lens_msg_encode(numbered, client->out, sizeof client->out);
    if (n < 0)
        return lens_fail(err, n,
                         n == -EMSGSIZE ? "the %s request is longer than a request may be"
                                        : "the %s request has a value out of its bounds",
                         lens_msg_name(numbered->type));
    int r = lens_packet_send(client->fd, client->out, (size_t)n, deadline_ns);
    if (r != 0)
        return broken_connection(client, r, err);
    r = receive_answer(client, id, answer, came, deadline_ns, err);
    if (r != 0)
        return r;
    if (fds != NULL)
        memcpy(fds, came, sizeof came);
    else
        lens_close_fds(came);
    if (answer->type != LENS_MSG_ERROR)
        return 0;
    return lens_fail(err, -EREMOTEIO, "%.*s", (int)answer->u.fault.text.length, answer->u.fault.text.data);
}

int lens_control_call(struct lens_client *client, const struct lens_msg *request, struct lens_msg *answer,
                      uint32_t timeout_ms, struct lens_client_error *err)
{
    uint64_t deadline = lens_now_ns() + timeout_ms * LENS_MS;
    int r = lens_client_ensure(client, deadline, err);
    return r != 0 ? r : lens_client_call(client, request, answer, NULL, deadline, err);
}

int lens_control_call_fd(struct lens_client *client, const struct lens_msg *request, struct lens_msg *answer, int *fd,
                         uint32_t timeout_ms, struct lens_client_error *err)
{
    uint64_t deadline = lens_now_ns() + timeout_ms * LENS_MS;
    int fds[LENS_ANSWER_FDS] = {-1, -1};
    int r = lens_client_ensure(client, deadline, err);
    if (r == 0)
        r = lens_client_call(client, request, answer, fds, deadline, err);
    *fd = r == 0 ? fds[0] : -1;
    if (r == 0)
        fds[0] = -1;
    lens_close_fds(fds);
    return r;
}

bool lens_control_connected(struct lens_client *client)
{
    if (client->fd >= 0)
        lens_client_drain(client);
    return client->fd >= 0;
}

void lens_control_daemon(const struct lens_client *client, struct lens_hello_ok *out)
{
    *out = client->daemon;
    out->daemon_version = lens_text_of(client->daemon_version);
}

/* ---- connecting ------------------------------------------------------------------------------------------------- */

static int add_path(struct lens_client *client, struct lens_client_error *err, const char *directory, const char *name)
{
    char *path = client->paths[client->n_paths];
    int n = snprintf(path, LENS_SOCKET_PATH, "%s%s", directory, name);
    if (n < 0 || n >= LENS_SOCKET_PATH)
        return lens_fail(err, -ENAMETOOLONG, "a socket's path may have %d bytes, found %d: %s%s", LENS_SOCKET_PATH - 1,
                         n, directory, name);
    client->n_paths++;
    return 0;
}

static int find_paths(struct lens_client *client, const char *socket_path, struct lens_client_error *err)
{
    const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
    if (socket_path == NULL)
        socket_path = secure_getenv("LENSD_SOCKET");
    if (socket_path != NULL && socket_path[0] != '\0')
        return add_path(client, err, socket_path, "");
    if (runtime != NULL && runtime[0] != '\0') {
        int r = add_path(client, err, runtime, "/lensd.sock");
        if (r != 0)
            return r;
    }
    return add_path(client, err, "/run/lensd", "/lensd.sock");
}

static int connect_somewhere(struct lens_client *client, struct lens_client_error *err)
{
    int first = 0;
    for (unsigned i = 0; i < client->n_paths; i++) {
        int fd = lens_packet_connect(client->paths[i]);
        if (fd >= 0) {
            client->fd = fd;
            return 0;
        }
        first = first == 0 || first == -ENOENT ? fd : first; /* "refused" tells more than "not there" */
    }
    return lens_fail(err, first, "no lensd answers at %s%s%s (%s); start lensd, or name its socket", client->paths[0],
                     client->n_paths > 1 ? " or " : "", client->n_paths > 1 ? client->paths[1] : "", strerror(-first));
}

static int say_hello(struct lens_client *client, uint64_t deadline_ns, struct lens_client_error *err)
{
    struct lens_msg *m = &client->scratch;
    m->type = LENS_MSG_HELLO;
    m->u.hello = (struct lens_hello){.protocol_version = LENS_PROTOCOL_VERSION,
                                     .client_name = lens_text_of(program_invocation_short_name)};
    int r = lens_client_call(client, m, m, NULL, deadline_ns, err);
    if (r != 0)
        return r;
    if (m->type != LENS_MSG_HELLO_OK)
        return lens_fail(err, -EPROTO, "lensd answered %s to hello", lens_msg_name(m->type));
    if (m->u.hello_ok.protocol_version != LENS_PROTOCOL_VERSION)
        return lens_fail(err, -EPROTO, "lensd speaks protocol %u, this liblens %u", m->u.hello_ok.protocol_version,
                         LENS_PROTOCOL_VERSION);
    client->daemon = m->u.hello_ok;
    lens_text_copy(client->daemon_version, sizeof client->daemon_version, m->u.hello_ok.daemon_version);
    client->daemon.daemon_version = lens_text_of("");
    return 0;
}

static int connect_and_greet(struct lens_client *client, uint64_t deadline_ns, struct lens_client_error *err)
{
    int r = connect_somewhere(client, err);
    if (r == 0)
        r = say_hello(client, deadline_ns, err);
    if (r == 0)
        return 0;
    lens_client_drop(client);
    client->retry_at_ns = lens_now_ns() + (r == -ETIMEDOUT ? LENS_RETRY_SILENT_NS : LENS_RETRY_NS);
    return r;
}

int lens_client_ensure(struct lens_client *client, uint64_t deadline_ns, struct lens_client_error *err)
{
    if (client->fd >= 0)
        lens_client_drain(client);
    if (client->fd >= 0)
        return 0;
    if (lens_now_ns() < client->retry_at_ns)
        return lens_fail(err, -ENOTCONN, "lensd was not there a moment ago; trying again shortly");
    return connect_and_greet(client, deadline_ns, err);
}

/* A full backlog at first contact is worth waiting for; later, the caller's token isn't. */
static int connect_first(struct lens_client *client, struct lens_client_error *err)
{
    const struct timespec pause = {.tv_nsec = 5 * (long)LENS_MS};
    uint64_t deadline = lens_now_ns() + LENS_ANSWER_TIMEOUT_NS;
    int r;
    while ((r = connect_and_greet(client, deadline, err)) == -EAGAIN && lens_now_ns() < deadline)
        nanosleep(&pause, NULL);
    return r;
}

int lens_client_open(const char *socket_path, struct lens_client **out, struct lens_client_error *err)
{
    struct lens_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return lens_fail(err, -ENOMEM, "no memory for a client");
    client->fd = -1;
    int r = find_paths(client, socket_path, err);
    if (r == 0)
        r = connect_first(client, err);
    if (r != 0) {
        free(client);
        return r;
    }
    client->checked_ns = lens_now_ns();
    *out = client;
    return 0;
}

void lens_client_close(struct lens_client *client)
{
    if (client == NULL)
        return;
    lens_client_drop(client); /* the daemon cleans up by itself: no goodbyes to wait for */
    while (client->sessions != NULL)
        lens_session_close(client->sessions);
    free(client);
}
