/* System calls and allocation behind one thin wrapper, so that tests can make any of them fail (HOSTILE 20).
 *
 * Each function is the call of the same name; results and errno are the call's own, negative errno here instead of
 * -1. A test installs a hook that is asked before every call and may refuse it with an errno. Without a hook (the
 * daemon's normal life) the cost is one predictable branch. Threads: install the hook before starting any; calls are
 * safe from any thread as far as the call itself is. */
#ifndef LENSD_SYS_H
#define LENSD_SYS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Returns 0 to let `call` ("mmap", "calloc", ..) go ahead, or a positive errno to fail it with. */
typedef int (*lensd_sys_hook)(void *arg, const char *call);
void lensd_sys_set_hook(lensd_sys_hook hook, void *arg); /* NULL removes it */

void *lensd_calloc(size_t n, size_t size);   /* NULL on failure, zeroed */
void *lensd_aligned(size_t align, size_t n); /* NULL on failure; free with lensd_free */
void lensd_free(void *memory);

int lensd_memfd_create(const char *name, unsigned flags);
int lensd_fallocate(int fd, off_t length);
int lensd_add_seals(int fd, int seals);
int lensd_mmap_shared(int fd, size_t length, void **out);
int lensd_eventfd(unsigned initial, int flags);
int lensd_accept(int fd); /* nonblocking, close on exec */
ssize_t lensd_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t lensd_sendmsg(int fd, const struct msghdr *message, int flags);

/* Starts a thread that takes no signals: they belong to the main thread. `name` shows in ps and gdb (15 bytes). */
int lensd_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);

/* CLOCK_MONOTONIC, nanoseconds (vDSO: no system call). */
uint64_t lensd_now_ns(void);
/* CLOCK_REALTIME: nanoseconds since the epoch. */
uint64_t lensd_realtime_ns(void);

#endif
