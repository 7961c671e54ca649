/* See read_exactly.h. */
#include "client/lensctl/read_exactly.h"

#include <errno.h>
#include <unistd.h>

int read_exactly(int fd, void *buf, size_t length, uint64_t offset)
{
    size_t done = 0;
    while (done < length) {
        ssize_t n = pread(fd, (char *)buf + done, length - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return 0;
}
