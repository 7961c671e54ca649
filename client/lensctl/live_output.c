/* See live_output.h. */
#include "client/lensctl/live_output.h"

#include "client/lensctl/waiting.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

/* Looks for `events` at fd and for a signal, `timeout` nanoseconds long (-1 = for ever). *ready: fd has the events, or
 * is broken; false when the time is over. */
static enum ctl_live look(int fd, short events, int64_t timeout, int signals, bool *ready)
{
    struct pollfd fds[2] = {{.fd = signals, .events = POLLIN}, {.fd = fd, .events = events}};
    struct timespec t = {.tv_sec = timeout / (int64_t)CTL_SECOND_NS, .tv_nsec = timeout % (int64_t)CTL_SECOND_NS};
    int r = ppoll(fds, 2, timeout >= 0 ? &t : NULL, NULL);
    *ready = false;
    if (r < 0)
        return errno == EINTR ? CTL_LIVE_GOES_ON : CTL_LIVE_FAILED;
    if (fds[0].revents != 0)
        return CTL_LIVE_INTERRUPTED;
    if ((fds[1].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0)
        return CTL_LIVE_READER_GONE;
    *ready = fds[1].revents != 0;
    return CTL_LIVE_GOES_ON;
}

enum ctl_live ctl_live_write(int fd, const char *data, size_t length, int signals)
{
    while (length > 0) {
        bool ready;
        enum ctl_live live = look(fd, POLLOUT, -1, signals, &ready);
        if (live != CTL_LIVE_GOES_ON)
            return live;
        if (!ready)
            continue;
        /* A pipe that can be written to has room for so much: the write doesn't block. */
        ssize_t n = write(fd, data, length < PIPE_BUF ? length : PIPE_BUF);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return errno == EPIPE || errno == ECONNRESET ? CTL_LIVE_READER_GONE : CTL_LIVE_FAILED;
        data += n > 0 ? n : 0;
        length -= n > 0 ? (size_t)n : 0;
    }
    return CTL_LIVE_GOES_ON;
}

enum ctl_live ctl_live_wait(int fd, uint64_t moment, int signals)
{
    for (;;) {
        bool ready;
        uint64_t now = ctl_now_ns();
        enum ctl_live live = look(fd, 0, moment > now ? (int64_t)(moment - now) : 0, signals, &ready);
        if (live != CTL_LIVE_GOES_ON || now >= moment)
            return live;
    }
}
