/* One packet out, one packet in, over a SEQPACKET socket that never blocks: waiting is done in poll, up to a deadline.
 * No signals: a dead peer is -ENOTCONN. */
#include "client/liblens/internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int lens_packet_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, length);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int r = -errno;
    close(fd);
    return r;
}

/* 0 when the socket may be ready, -ETIMEDOUT. */
static int wait_until(int fd, short events, uint64_t deadline_ns)
{
    uint64_t now = lens_now_ns();
    if (now >= deadline_ns)
        return -ETIMEDOUT;
    struct pollfd p = {.fd = fd, .events = events};
    int ms = (int)((deadline_ns - now + LENS_MS - 1) / LENS_MS);
    if (poll(&p, 1, ms) < 0 && errno != EINTR)
        return -errno;
    return 0;
}

int lens_packet_send(int fd, const void *buf, size_t length, uint64_t deadline_ns)
{
    for (;;) {
        if (send(fd, buf, length, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return 0;
        if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
            return errno == EPIPE || errno == ECONNRESET ? -ENOTCONN : -errno;
        int r = wait_until(fd, POLLOUT, deadline_ns);
        if (r != 0)
            return r;
    }
}

static void take_fds(struct msghdr *message, int fds[LENS_ANSWER_FDS])
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t bytes = c->cmsg_len - CMSG_LEN(0);
        memcpy(fds, CMSG_DATA(c), bytes < LENS_ANSWER_FDS * sizeof(int) ? bytes : LENS_ANSWER_FDS * sizeof(int));
    }
}

int lens_packet_receive(int fd, void *buf, size_t size, uint64_t deadline_ns, int fds[LENS_ANSWER_FDS])
{
    _Alignas(struct cmsghdr) unsigned char control[CMSG_SPACE(LENS_ANSWER_FDS * sizeof(int))];
    for (int i = 0; i < LENS_ANSWER_FDS; i++)
        fds[i] = -1;
    for (;;) {
        struct iovec piece = {.iov_base = buf, .iov_len = size};
        struct msghdr message = {
            .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n >= 0) {
            take_fds(&message, fds);
            if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
                lens_close_fds(fds);
                return -EPROTO;
            }
            return n == 0 ? -ENOTCONN : (int)n; /* the daemon sends no empty packets: 0 is the end */
        }
        if (errno != EAGAIN && errno != EINTR)
            return errno == ECONNRESET ? -ENOTCONN : -errno;
        if (deadline_ns == 0)
            return -EAGAIN;
        int r = wait_until(fd, POLLIN, deadline_ns);
        if (r != 0)
            return r;
    }
}

void lens_close_fds(int fds[LENS_ANSWER_FDS])
{
    for (int i = 0; i < LENS_ANSWER_FDS; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}
