/* See sys.h. One function per call, nothing else: no retries, no logging, no state but the test's hook. */
#include "daemon/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Set by tests before any thread starts and only read afterwards: the one exception to "no globals", because a hook
 * handed through every call would put the test into every signature. */
static lensd_sys_hook test_hook;
static void *test_hook_arg;

void lensd_sys_set_hook(lensd_sys_hook hook, void *arg)
{
    test_hook = hook;
    test_hook_arg = arg;
}

/* The positive errno to fail `call` with, or 0. */
static int refused(const char *call)
{
    if (__builtin_expect(test_hook == NULL, 1))
        return 0;
    return test_hook(test_hook_arg, call);
}

void *lensd_calloc(size_t n, size_t size)
{
    return refused("calloc") != 0 ? NULL : calloc(n, size);
}

void *lensd_aligned(size_t align, size_t n)
{
    void *memory;
    if (refused("aligned") != 0 || posix_memalign(&memory, align, n) != 0)
        return NULL;
    return memory;
}

void lensd_free(void *memory)
{
    free(memory);
}

int lensd_memfd_create(const char *name, unsigned flags)
{
    int error = refused("memfd_create");
    if (error != 0)
        return -error;
    int fd = memfd_create(name, flags);
    return fd < 0 ? -errno : fd;
}

int lensd_fallocate(int fd, off_t length)
{
    int error = refused("fallocate");
    if (error != 0)
        return -error;
    return fallocate(fd, 0, 0, length) < 0 ? -errno : 0;
}

int lensd_add_seals(int fd, int seals)
{
    int error = refused("add_seals");
    if (error != 0)
        return -error;
    return fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

int lensd_mmap_shared(int fd, size_t length, void **out)
{
    int error = refused("mmap");
    if (error != 0)
        return -error;
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    *out = memory;
    return 0;
}

int lensd_eventfd(unsigned initial, int flags)
{
    int error = refused("eventfd");
    if (error != 0)
        return -error;
    int fd = eventfd(initial, flags);
    return fd < 0 ? -errno : fd;
}

int lensd_accept(int fd)
{
    int error = refused("accept");
    if (error != 0)
        return -error;
    int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return accepted < 0 ? -errno : accepted;
}

ssize_t lensd_recvmsg(int fd, struct msghdr *message, int flags)
{
    int error = refused("recvmsg");
    if (error != 0)
        return -error;
    ssize_t n = recvmsg(fd, message, flags);
    return n < 0 ? -errno : n;
}

ssize_t lensd_sendmsg(int fd, const struct msghdr *message, int flags)
{
    int error = refused("sendmsg");
    if (error != 0)
        return -error;
    ssize_t n = sendmsg(fd, message, flags);
    return n < 0 ? -errno : n;
}

int lensd_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0)
        pthread_setname_np(*thread, name);
    return -r;
}

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t lensd_now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t lensd_realtime_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}
