/* See connection.h. */
#include "daemon/connection.h"

#include "daemon/control.h"
#include "daemon/service.h"
#include "daemon/sys.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What recvmsg may hand over beside a packet: the sender's credentials, which tell an empty packet from the end, and
 * nothing else. There is no room for a descriptor, so the kernel drops them all and says MSG_CTRUNC. */
union control_in {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(struct ucred))];
};
union control_out {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(2 * sizeof(int))];
};

static void on_poll(uv_poll_t *poll, int status, int events);

/* ---- opening and closing ---------------------------------------------------------------------------------------- */

static void watch(struct lensd_connection *c)
{
    int events = UV_DISCONNECT;
    if (c->unsent != NULL)
        events |= UV_WRITABLE;
    else if (!c->busy)
        events |= UV_READABLE;
    uv_poll_start(&c->poll, events, on_poll);
}

/* A last word to somebody who gets no connection; it may be lost. */
static void turn_away(struct lensd_service *service, int fd, enum lens_fault fault, const char *sentence)
{
    struct lens_msg *answer = lensd_control_answer(service, LENS_MSG_ERROR);
    answer->u.fault.code = fault;
    answer->u.fault.text = lens_text_of(sentence);
    int n = lens_msg_encode(answer, service->packet_out, sizeof service->packet_out);
    if (n > 0)
        send(fd, service->packet_out, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
}

/* The last eighth of all places is for operators; half at most goes to people who will be refused anyway. */
static bool has_room(const struct lensd_service *service, const struct lensd_peer *peer)
{
    uint32_t max = service->settings->ipc.max_connections;
    if (!peer->allowed)
        return service->n_connections < max / 2;
    return service->n_connections < (peer->role == LENS_PEER_OPERATOR ? max : max - max / 8);
}

static void link_in(struct lensd_service *service, struct lensd_connection *c)
{
    c->id = ++service->last_connection;
    c->next = service->connections;
    if (c->next != NULL)
        c->next->previous = c;
    service->connections = c;
    service->n_connections++;
}

static void unlink_from(struct lensd_service *service, struct lensd_connection *c)
{
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        service->connections = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    service->n_connections--;
}

void lensd_connection_open(struct lensd_service *service, int fd)
{
    struct lensd_peer peer;
    int on = 1;
    if (lensd_peer_identify(fd, service->settings, &peer) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) {
        close(fd);
        return;
    }
    if (!has_room(service, &peer)) {
        turn_away(service, fd, LENS_FAULT_NO_SPACE, "too many connections: close some, or raise ipc.max_connections");
        return;
    }
    struct lensd_connection *c = lensd_calloc(1, sizeof *c);
    if (c == NULL || uv_poll_init(&service->loop, &c->poll, fd) != 0) {
        lensd_free(c);
        turn_away(service, fd, LENS_FAULT_NO_SPACE, "the daemon has no memory for another connection");
        return;
    }
    c->service = service;
    c->fd = fd;
    c->peer = peer;
    c->opened_ns = lensd_now_ns();
    c->poll.data = c;
    link_in(service, c);
    watch(c);
}

/* Closing with unread packets would reset the other side before it reads our last answer. */
static void drain(int fd)
{
    char byte;
    for (int i = 0; i < 64; i++) {
        if (recv(fd, &byte, 1, MSG_DONTWAIT | MSG_TRUNC) <= 0)
            return;
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct lensd_connection *c = handle->data;
    lensd_free(c->unsent);
    lensd_free(c);
}

struct lensd_log_fields lensd_connection_fields(const struct lensd_connection *c)
{
    return (struct lensd_log_fields){.client = c->name, .pid = c->peer.pid, .uid = c->peer.uid};
}

void lensd_connection_close(struct lensd_connection *c)
{
    struct lensd_service *service = c->service;
    const struct lensd_log_fields fields = lensd_connection_fields(c);
    lensd_control_trace_left(service, c);
    uint32_t sessions = lensd_attachments_close_all(&service->sessions, service->engine, c);
    if (sessions > 0)
        lensd_log_client(&service->log, LENSD_LOG_INFO, LENSD_LOG_SESSION_ENDED, &fields,
                         "client \"%s\" (pid %u, uid %u) left; %u of its sessions ended", c->name, c->peer.pid,
                         c->peer.uid, sessions);
    unlink_from(service, c);
    uv_poll_stop(&c->poll);
    uv_close((uv_handle_t *)&c->poll, on_closed);
    drain(c->fd);
    close(c->fd);
    c->fd = -1;
}

struct lensd_connection *lensd_connection_find(const struct lensd_service *service, uint64_t id)
{
    struct lensd_connection *c = service->connections;
    while (c != NULL && c->id != id)
        c = c->next;
    return c;
}

/* ---- sending ---------------------------------------------------------------------------------------------------- */

static int send_packet(int fd, const void *packet, size_t length, const int *fds, uint32_t n_fds)
{
    struct iovec part = {(void *)packet, length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    union control_out control;
    if (n_fds > 0) {
        memset(&control, 0, sizeof control);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
    }
    ssize_t n = lensd_sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? (int)n : 0;
}

/* Keeps the packet until the client makes room; it gets nothing else meanwhile. */
static void keep_unsent(struct lensd_connection *c, const void *packet, uint32_t length, const int *fds, uint32_t n_fds)
{
    unsigned char *kept = c->unsent == NULL ? lensd_calloc(1, length) : NULL;
    if (kept == NULL) {
        c->doomed = true;
        return;
    }
    c->unsent = kept;
    memcpy(c->unsent, packet, length);
    c->unsent_bytes = length;
    c->n_unsent_fds = n_fds;
    for (uint32_t i = 0; i < n_fds; i++)
        c->unsent_fds[i] = fds[i];
    c->unsent_since_ns = lensd_now_ns();
    watch(c);
}

static void flush(struct lensd_connection *c)
{
    int r = send_packet(c->fd, c->unsent, c->unsent_bytes, c->unsent_fds, c->n_unsent_fds);
    if (r == -EAGAIN || r == -ENOBUFS)
        return;
    lensd_free(c->unsent);
    c->unsent = NULL;
    c->doomed = c->doomed || r != 0;
    if (!c->doomed)
        watch(c);
}

/* Halves a page. False when the message has no rows to spare. */
static bool shrink(struct lens_msg *msg)
{
    uint32_t *count = NULL;
    switch (msg->type) {
    case LENS_MSG_PACK_PAGE:
        count = &msg->u.pack_page.count;
        break;
    case LENS_MSG_CONCEPT_PAGE:
        count = &msg->u.concept_page.count;
        break;
    case LENS_MSG_SESSION_PAGE:
        count = &msg->u.session_page.count;
        break;
    case LENS_MSG_SETTING_PAGE:
        count = &msg->u.setting_page.count;
        break;
    case LENS_MSG_RULE_PAGE:
        count = &msg->u.rule_page.count;
        break;
    case LENS_MSG_EXPLANATION:
        count = &msg->u.explanation.count;
        break;
    default:
        return false;
    }
    if (*count < 2)
        return false;
    *count /= 2;
    if (msg->type == LENS_MSG_CONCEPT_PAGE)
        msg->u.concept_page.next = msg->u.concept_page.rows[*count].id;
    return true;
}

void lensd_connection_send(struct lensd_connection *c, struct lens_msg *msg, const int *fds, uint32_t n_fds)
{
    struct lensd_service *service = c->service;
    msg->request_id = msg->type >= LENS_MSG_RESULTS_READY ? 0 : c->request_id;
    int n = lens_msg_encode(msg, service->packet_out, sizeof service->packet_out);
    while (n == -EMSGSIZE && shrink(msg))
        n = lens_msg_encode(msg, service->packet_out, sizeof service->packet_out);
    if (n < 0) {
        lensd_log(&service->log, LENSD_LOG_ERROR, "can't encode %s: %s", lens_msg_name(msg->type), strerror(-n));
        c->doomed = true;
        return;
    }
    c->with_descriptors += n_fds > 0;
    int r = send_packet(c->fd, service->packet_out, (size_t)n, fds, n_fds);
    if (r == -EAGAIN || r == -ENOBUFS)
        keep_unsent(c, service->packet_out, (uint32_t)n, fds, n_fds);
    else if (r != 0)
        c->doomed = true;
}

bool lensd_connection_takes_descriptors(struct lensd_connection *c)
{
    int unread = 0;
    if (ioctl(c->fd, SIOCOUTQ, &unread) == 0 && unread == 0)
        c->with_descriptors = 0;
    return c->with_descriptors < LENSD_UNREAD_ATTACHED;
}

void lensd_connection_fault(struct lensd_connection *c, enum lens_fault fault, const char *format, ...)
{
    char text[768];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct lens_msg *answer = lensd_control_answer(c->service, LENS_MSG_ERROR);
    answer->u.fault.code = fault;
    answer->u.fault.text = lens_text_of(text);
    lensd_connection_send(c, answer, NULL, 0);
}

void lensd_connection_goodbye(struct lensd_connection *c, uint32_t session, const char *why)
{
    if (!c->greeted || c->unsent != NULL)
        return;
    struct lens_msg *notice = lensd_control_answer(c->service, LENS_MSG_GOODBYE);
    notice->u.goodbye.session = session;
    notice->u.goodbye.text = lens_text_of(why);
    lensd_connection_send(c, notice, NULL, 0);
}

/* ---- receiving -------------------------------------------------------------------------------------------------- */

/* Tells the peer what it did wrong and lets it go. */
static void refuse(struct lensd_connection *c, enum lens_fault fault, const char *sentence)
{
    const struct lensd_log_fields fields = lensd_connection_fields(c);
    c->request_id = 0;
    lensd_connection_fault(c, fault, "%s", sentence);
    lensd_log_client(&c->service->log, LENSD_LOG_WARNING, LENSD_LOG_CLIENT_DROPPED, &fields,
                     "dropped client \"%s\" (pid %u, uid %u): %s", c->name, c->peer.pid, c->peer.uid, sentence);
    c->doomed = true;
}

/* Descriptors have no room in control_in; should the kernel ever hand one over, it is closed here. */
static bool close_descriptors(struct msghdr *message)
{
    bool found = false;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h != NULL; h = CMSG_NXTHDR(message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        found = true;
        for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= h->cmsg_len; at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + at, sizeof fd);
            close(fd);
        }
    }
    return found;
}

static void take_packet(struct lensd_connection *c, size_t length)
{
    struct lensd_service *service = c->service;
    struct lens_error err = {0};
    if (lens_msg_decode(service->packet_in, length, LENS_REQUEST_MAX, &service->request, &err) != 0) {
        refuse(c, LENS_FAULT_BAD_MESSAGE, err.text);
        return;
    }
    c->request_id = service->request.request_id;
    lensd_control_dispatch(service, c, &service->request);
}

/* Takes one packet; false when none is there or the connection is over. */
static bool receive(struct lensd_connection *c)
{
    union control_in control;
    struct iovec part = {c->service->packet_in, sizeof c->service->packet_in};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n = lensd_recvmsg(c->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n == -EAGAIN || n == -EINTR)
        return false;
    if (n < 0) {
        c->doomed = true;
        return false;
    }
    bool descriptors = close_descriptors(&message);
    if (descriptors || (message.msg_flags & MSG_CTRUNC) != 0)
        refuse(c, LENS_FAULT_BAD_MESSAGE, "descriptors are not accepted: the daemon hands out all memory itself");
    else if ((message.msg_flags & MSG_TRUNC) != 0)
        refuse(c, LENS_FAULT_BAD_MESSAGE, "a request may have 4096 bytes, found a larger packet");
    else if (n == 0 && message.msg_controllen == 0)
        c->doomed = true; /* the end; an empty packet would carry credentials */
    else if (n == 0)
        refuse(c, LENS_FAULT_BAD_MESSAGE, "expected a message, found an empty packet");
    else
        take_packet(c, (size_t)n);
    return !c->doomed;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct lensd_connection *c = poll->data;
    if (status < 0)
        c->doomed = true;
    if (!c->doomed && c->unsent != NULL && (events & UV_WRITABLE) != 0)
        flush(c);
    bool reading = c->unsent == NULL && !c->busy;
    uint64_t end = lensd_now_ns() + LENSD_TURN_NS;
    for (uint32_t i = 0; !c->doomed && reading && i < LENSD_REQUESTS_PER_TURN; i++)
        reading = receive(c) && c->unsent == NULL && !c->busy && lensd_now_ns() < end;
    /* While nothing is read, the end of the stream shows here alone. */
    if ((events & UV_DISCONNECT) != 0 && (c->unsent != NULL || c->busy))
        c->doomed = true;
    if (c->doomed)
        lensd_connection_close(c);
    else if (c->busy)
        watch(c);
}

void lensd_connection_resume(struct lensd_connection *c)
{
    c->busy = false;
    if (c->doomed)
        lensd_connection_close(c);
    else
        watch(c);
}

static void judge(struct lensd_service *service, struct lensd_connection *c)
{
    struct lensd_peer peer;
    bool was_allowed = c->peer.allowed;
    if (lensd_peer_identify(c->fd, service->settings, &peer) != 0)
        return; /* gone: the next read says so */
    if (peer.role < c->peer.role)
        lensd_control_trace_left(service, c);
    c->peer.allowed = peer.allowed;
    c->peer.role = peer.role;
    if (peer.allowed || !was_allowed)
        return;
    const struct lensd_log_fields fields = lensd_connection_fields(c);
    lensd_log_client(&service->log, LENSD_LOG_WARNING, LENSD_LOG_CLIENT_DROPPED, &fields,
                     "dropped client \"%s\" (pid %u, uid %u): ipc.allow_uids and ipc.allow_gids no longer name it",
                     c->name, c->peer.pid, c->peer.uid);
    lensd_connection_goodbye(c, 0, "the daemon's configuration no longer lets this user in");
    lensd_connection_close(c);
}

void lensd_connections_judge(struct lensd_service *service)
{
    struct lensd_connection *next;
    for (struct lensd_connection *c = service->connections; c != NULL; c = next) {
        next = c->next;
        judge(service, c);
    }
}

void lensd_connections_sweep(struct lensd_service *service, uint64_t now_ns)
{
    struct lensd_connection *next;
    for (struct lensd_connection *c = service->connections; c != NULL; c = next) {
        next = c->next;
        if (!c->greeted && now_ns - c->opened_ns > LENSD_HELLO_TIMEOUT_NS) {
            lensd_connection_close(c);
        } else if (c->unsent != NULL && now_ns - c->unsent_since_ns > LENSD_UNREAD_TIMEOUT_NS) {
            const struct lensd_log_fields fields = lensd_connection_fields(c);
            lensd_log_client(&service->log, LENSD_LOG_WARNING, LENSD_LOG_CLIENT_DROPPED, &fields,
                             "dropped client \"%s\" (pid %u): it doesn't read its answers", c->name, c->peer.pid);
            lensd_connection_close(c);
        }
    }
}
