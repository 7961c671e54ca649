/* Counts heap allocations: replaces malloc and its family in the one program that includes this, in one file.
 *
 * Every call of a thread that isn't ignored counts, whoever makes it: lensd, libc, a library. The C library's own
 * allocator does the work (jemalloc, where it is linked, sits idle). Not for sanitizer builds: they bring their own.
 * Threads: any. */
#ifndef LENS_COUNTING_MALLOC_H
#define LENS_COUNTING_MALLOC_H

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t align, size_t size);
extern void __libc_free(void *memory);

static _Thread_local bool counting_ignores_this_thread;
static atomic_ulong counting_calls, counting_bytes;

static void count_allocation(size_t bytes)
{
    if (counting_ignores_this_thread)
        return;
    atomic_fetch_add_explicit(&counting_calls, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&counting_bytes, bytes, memory_order_relaxed);
}

__attribute__((visibility("default"))) void *malloc(size_t size)
{
    count_allocation(size);
    return __libc_malloc(size);
}

__attribute__((visibility("default"))) void *calloc(size_t n, size_t size)
{
    count_allocation(n * size);
    return __libc_calloc(n, size);
}

__attribute__((visibility("default"))) void *realloc(void *memory, size_t size)
{
    count_allocation(size);
    return __libc_realloc(memory, size);
}

__attribute__((visibility("default"))) void *memalign(size_t align, size_t size)
{
    count_allocation(size);
    return __libc_memalign(align, size);
}

__attribute__((visibility("default"))) void *aligned_alloc(size_t align, size_t size)
{
    return memalign(align, size);
}

__attribute__((visibility("default"))) int posix_memalign(void **out, size_t align, size_t size)
{
    void *memory = memalign(align, size);
    if (!memory)
        return ENOMEM;
    *out = memory;
    return 0;
}

/* Giving back counts too: a pair of malloc and free per token is what the hot path must not have. */
__attribute__((visibility("default"))) void free(void *memory)
{
    if (memory)
        count_allocation(0);
    __libc_free(memory);
}

#endif
