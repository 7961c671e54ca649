/* See sealed_memory.h. */
#include "daemon/sealed_memory.h"

#include "daemon/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3; older kernels answer EINVAL */
#endif

static int open_memfd(const char *name)
{
    int fd = lensd_memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd == -EINVAL)
        fd = lensd_memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

int lensd_sealed_memory(const char *name, const char *what, uint64_t bytes, int *fd, void **base,
                        struct lens_error *err)
{
    *base = NULL;
    *fd = open_memfd(name);
    if (*fd < 0) {
        int r = *fd;
        *fd = -1;
        return lens_error_set(err, r, "creating %s: %s", what, strerror(-r));
    }
    int r = lensd_fallocate(*fd, (off_t)bytes);
    if (r == 0)
        r = lensd_add_seals(*fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    if (r == 0)
        r = lensd_mmap_shared(*fd, bytes, base);
    if (r != 0) {
        close(*fd);
        *fd = -1;
        return lens_error_set(err, r, "allocating %llu bytes of shared memory for %s: %s", (unsigned long long)bytes,
                              what, strerror(-r));
    }
    for (uint64_t at = 0; at < bytes; at += 4096)
        ((volatile unsigned char *)*base)[at] = 0;
    return 0;
}

void lensd_sealed_memory_discard(int fd, uint64_t bytes)
{
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes);
}
