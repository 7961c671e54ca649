/* For commands that go on until someone ends them: a clock, ^C as a descriptor, and waiting for a moment. */
#ifndef LENSCTL_WAITING_H
#define LENSCTL_WAITING_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define CTL_SECOND_NS UINT64_C(1000000000)

/* CLOCK_MONOTONIC. */
static inline uint64_t ctl_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * CTL_SECOND_NS + (uint64_t)t.tv_nsec;
}

/* From here on SIGINT and SIGTERM don't end lensctl: they are read from *fd, which doesn't block and is the caller's to
 * close. An enum ctl_exit, failures said. */
int ctl_watch_signals(int *fd);

/* Waits until `moment` of ctl_now_ns, or a signal at `signals`: true when it was the signal. */
bool ctl_wait_until(uint64_t moment, int signals);

#endif
