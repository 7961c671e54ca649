/* Memory of the emulated card and page-locked memory of the host. Both are malloc's, so that AddressSanitizer guards
 * them, and both start poisoned. */
#include "emulator.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum kind { ON_DEVICE, PAGE_LOCKED, REGISTERED };

struct range {
    char *at;
    size_t bytes;
    enum kind kind;
    int device;
    struct range *next;
};

static struct range *ranges;

static struct range **find_start(const void *memory, enum kind kind)
{
    struct range **link = &ranges;
    while (*link != NULL && ((*link)->at != memory || (*link)->kind != kind))
        link = &(*link)->next;
    return link;
}

static bool overlaps(const struct range *range, const void *memory, size_t bytes)
{
    const char *at = memory;
    return at < range->at + range->bytes && range->at < at + bytes;
}

static bool lies_in(const struct range *range, const void *memory, size_t bytes)
{
    const char *at = memory;
    return at >= range->at && bytes <= range->bytes && (size_t)(at - range->at) <= range->bytes - bytes;
}

static void add_range(void *memory, size_t bytes, enum kind kind)
{
    struct range *range = malloc(sizeof(*range));
    *range = (struct range){.at = memory, .bytes = bytes, .kind = kind, .device = emulator_device(), .next = ranges};
    ranges = range;
    emulator_alive(1);
}

static void remove_range(struct range **link)
{
    struct range *range = *link;
    *link = range->next;
    free(range);
    emulator_alive(-1);
}

static uint64_t used_on(int device)
{
    uint64_t used = emulator_memory_taken();
    for (const struct range *range = ranges; range != NULL; range = range->next)
        if (range->kind == ON_DEVICE && range->device == device)
            used += range->bytes;
    return used;
}

uint64_t emulator_bytes_allocated(void)
{
    uint64_t used = 0;
    cudaError_t error = emulator_enter(__func__);
    for (const struct range *range = ranges; range != NULL; range = range->next)
        used += range->kind == ON_DEVICE ? range->bytes : 0;
    (void)error;
    emulator_leave(cudaSuccess);
    return used;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess) {
        uint64_t used = used_on(emulator_device());
        *total = emulator_memory_total();
        *free_bytes = used < *total ? *total - used : 0;
    }
    return emulator_leave(error);
}

static cudaError_t poisoned(void **out, size_t alignment, size_t bytes, enum kind kind)
{
    if (bytes == 0)
        return cudaErrorInvalidValue;
    if (posix_memalign(out, alignment, bytes) != 0)
        return cudaErrorMemoryAllocation;
    memset(*out, EMULATOR_POISON, bytes);
    add_range(*out, bytes, kind);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    cudaError_t error = emulator_enter(__func__);
    uint64_t total = emulator_memory_total(), used = used_on(emulator_device());
    if (error == cudaSuccess && (used > total || bytes > total - used))
        error = cudaErrorMemoryAllocation;
    if (error == cudaSuccess)
        error = poisoned(out, 256, bytes, ON_DEVICE);
    return emulator_leave(error);
}

/* A lost card's memory is given back all the same, so that no test takes it for a leak. */
static cudaError_t give_back(void *memory, enum kind kind, cudaError_t error)
{
    struct range **link = find_start(memory, kind);
    if (memory == NULL)
        return error;
    if (*link == NULL)
        return error == cudaSuccess ? cudaErrorInvalidValue : error;
    remove_range(link);
    free(memory);
    return error;
}

cudaError_t cudaFree(void *memory)
{
    cudaError_t error = emulator_enter(__func__);
    return emulator_leave(give_back(memory, ON_DEVICE, error));
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned int flags)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess && flags > (cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined))
        error = cudaErrorInvalidValue;
    if (error == cudaSuccess)
        error = poisoned(out, (size_t)sysconf(_SC_PAGESIZE), bytes, PAGE_LOCKED);
    return emulator_leave(error);
}

cudaError_t cudaFreeHost(void *memory)
{
    cudaError_t error = emulator_enter(__func__);
    return emulator_leave(give_back(memory, PAGE_LOCKED, error));
}

cudaError_t cudaHostGetDevicePointer(void **out, void *memory, unsigned int flags)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess) {
        error = cudaErrorInvalidValue;
        for (const struct range *range = ranges; range != NULL && flags == 0; range = range->next)
            if (range->kind != ON_DEVICE && lies_in(range, memory, 1)) {
                *out = memory;
                error = cudaSuccess;
            }
    }
    return emulator_leave(error);
}

static bool is_mapped(void *memory, size_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)memory / page * page;
    return msync((void *)first, (uintptr_t)memory + bytes - first, MS_ASYNC) == 0;
}

static cudaError_t may_register(void *memory, size_t bytes, unsigned int flags)
{
    if (bytes == 0 || flags > (cudaHostRegisterPortable | cudaHostRegisterMapped | cudaHostRegisterReadOnly) ||
        !is_mapped(memory, bytes))
        return cudaErrorInvalidValue;
    for (const struct range *range = ranges; range != NULL; range = range->next)
        if (overlaps(range, memory, bytes))
            return range->kind == ON_DEVICE ? cudaErrorInvalidValue : cudaErrorHostMemoryAlreadyRegistered;
    return cudaSuccess;
}

cudaError_t cudaHostRegister(void *memory, size_t bytes, unsigned int flags)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess)
        error = may_register(memory, bytes, flags);
    if (error == cudaSuccess)
        add_range(memory, bytes, REGISTERED);
    return emulator_leave(error);
}

cudaError_t cudaHostUnregister(void *memory)
{
    cudaError_t error = emulator_enter(__func__);
    struct range **link = find_start(memory, REGISTERED);
    if (*link != NULL)
        remove_range(link);
    else if (error == cudaSuccess)
        error = cudaErrorHostMemoryNotRegistered;
    return emulator_leave(error);
}

/* ---- copies ----------------------------------------------------------------------------------------------------- */

/* Whether [memory, + bytes) lies where the caller says: all of it in one allocation of a card, or none of it in any. */
static bool lies_as_said(const void *memory, size_t bytes, bool on_device)
{
    bool touches = false;
    for (const struct range *range = ranges; range != NULL; range = range->next) {
        if (range->kind != ON_DEVICE)
            continue;
        if (on_device && lies_in(range, memory, bytes))
            return true;
        touches = touches || overlaps(range, memory, bytes);
    }
    return !on_device && !touches;
}

static cudaError_t copy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (bytes == 0)
        return cudaSuccess;
    if (kind == cudaMemcpyDefault || !lies_as_said(to, bytes, to_device) || !lies_as_said(from, bytes, from_device))
        return cudaErrorInvalidValue;
    memmove(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess)
        error = copy(to, from, bytes, kind);
    return emulator_leave(error);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    cudaError_t error = emulator_enter(__func__);
    (void)stream;
    if (error == cudaSuccess)
        error = copy(to, from, bytes, kind);
    return emulator_leave(error);
}

static cudaError_t fill(void *to, int value, size_t bytes)
{
    if (bytes != 0 && !lies_as_said(to, bytes, true))
        return cudaErrorInvalidValue;
    memset(to, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    cudaError_t error = emulator_enter(__func__);
    if (error == cudaSuccess)
        error = fill(to, value, bytes);
    return emulator_leave(error);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    cudaError_t error = emulator_enter(__func__);
    (void)stream;
    if (error == cudaSuccess)
        error = fill(to, value, bytes);
    return emulator_leave(error);
}
