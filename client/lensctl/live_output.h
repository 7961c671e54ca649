/* Output of commands that go on until someone ends them, to a reader that may be slow or go away: neither holds up ^C.
 * SIGPIPE must be ignored. One thread. */
#ifndef LENSCTL_LIVE_OUTPUT_H
#define LENSCTL_LIVE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ctl_live {
    CTL_LIVE_GOES_ON,
    CTL_LIVE_INTERRUPTED, /* a signal waits at `signals` (waiting.h) */
    CTL_LIVE_READER_GONE,
    CTL_LIVE_FAILED, /* errno says why */
};

/* Writes it all, however long the reader takes, unless something else comes first. */
enum ctl_live ctl_live_write(int fd, const char *data, size_t length, int signals);

/* Waits until `moment` of ctl_now_ns, unless something else comes first. */
enum ctl_live ctl_live_wait(int fd, uint64_t moment, int signals);

#endif
