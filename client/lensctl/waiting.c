/* See waiting.h. */
#include "client/lensctl/waiting.h"

#include "client/lensctl/command.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

int ctl_watch_signals(int *fd)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    *fd = sigprocmask(SIG_BLOCK, &set, NULL) == 0 ? signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK) : -1;
    return *fd >= 0 ? CTL_OK : ctl_fail(CTL_FAILED, "can't watch for ^C: %s", strerror(errno));
}

bool ctl_wait_until(uint64_t moment, int signals)
{
    struct pollfd fd = {.fd = signals, .events = POLLIN};
    for (;;) {
        uint64_t now = ctl_now_ns(), left = moment > now ? moment - now : 0;
        struct timespec t = {.tv_sec = (time_t)(left / CTL_SECOND_NS), .tv_nsec = (long)(left % CTL_SECOND_NS)};
        int r = ppoll(&fd, 1, &t, NULL);
        if (r > 0)
            return true;
        if (r == 0 && left == 0)
            return false;
    }
}
