/* See pack_io.h. */
#include "proto/pack_io.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

int pack_pread(int fd, void *out, size_t count, uint64_t offset, struct lens_error *err)
{
    char *at = out;
    while (count > 0) {
        ssize_t n = pread(fd, at, count, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return lens_error_set(err, -errno, "can't read %zu bytes at %" PRIu64 ": %s", count, offset,
                                  strerror(errno));
        if (n == 0)
            return lens_error_set(err, -EIO, "the file ends at byte %" PRIu64 ", %zu bytes too early (was it cut off?)",
                                  offset, count);
        at += n;
        offset += (uint64_t)n;
        count -= (size_t)n;
    }
    return 0;
}

int pack_pwrite(int fd, const void *bytes, size_t count, uint64_t offset, struct lens_error *err)
{
    const char *at = bytes;
    while (count > 0) {
        ssize_t n = pwrite(fd, at, count, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int code = n < 0 ? errno : EIO;
            return lens_error_set(err, -code, "can't write %zu bytes at %" PRIu64 ": %s", count, offset,
                                  strerror(code));
        }
        at += n;
        offset += (uint64_t)n;
        count -= (size_t)n;
    }
    return 0;
}
