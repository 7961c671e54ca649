/* A new file that takes another's name in one step: written under a temporary name beside it, renamed when it is whole
 * and on disk. Until then a file of the final name stays as it was. For proto/ and lensctl. One thread per
 * replacement. */
#ifndef LENS_PACK_REPLACE_H
#define LENS_PACK_REPLACE_H

#include "proto/lens_error.h"

#include <stdint.h>

struct pack_replacement {
    char *path, *temporary;
    int fd; /* O_WRONLY|O_CLOEXEC, -1 when not open */
};

#define PACK_REPLACEMENT_NONE ((struct pack_replacement){.fd = -1})

/* Creates the temporary file and reserves `bytes` for it, so that a full disk says so before the work. What
 * isn't a file (a device, a pipe, a folder) is never replaced: -EEXIST or -EISDIR. On error nothing is left, and drop
 * is still allowed. */
int pack_replacement_begin(struct pack_replacement *replacement, const char *path, uint64_t bytes,
                           struct lens_error *err);

/* fsync, rename, fsync of the folder. Frees the replacement in every case; the temporary file never stays. */
int pack_replacement_commit(struct pack_replacement *replacement, struct lens_error *err);

/* Removes the temporary file and frees; nothing happens to PACK_REPLACEMENT_NONE. */
void pack_replacement_drop(struct pack_replacement *replacement);

#endif
