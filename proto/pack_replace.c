/* See pack_replace.h. Must never leave a half-written file under the final name. */
#include "proto/pack_replace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Beside the final file, so that the rename stays inside one file system. */
static int open_temporary(struct pack_replacement *replacement, const char *path, struct lens_error *err)
{
    uint32_t random;
    replacement->path = strdup(path);
    for (int attempt = 0; attempt < 16 && replacement->path != NULL; attempt++) {
        if (getrandom(&random, sizeof random, 0) != sizeof random)
            return lens_error_set(err, -errno, "no random number for a temporary name: %s", strerror(errno));
        free(replacement->temporary);
        if (asprintf(&replacement->temporary, "%s.%08" PRIx32 ".tmp", path, random) < 0) {
            replacement->temporary = NULL;
            break;
        }
        replacement->fd = open(replacement->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (replacement->fd >= 0)
            return 0;
        if (errno != EEXIST)
            return lens_error_set(err, -errno, "can't create %s: %s", replacement->temporary, strerror(errno));
    }
    return lens_error_set(err, -ENOMEM, "no memory or no free name for a temporary file");
}

static int reserve(int fd, uint64_t bytes, struct lens_error *err)
{
    if (fallocate(fd, 0, 0, (off_t)bytes) == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return lens_error_set(err, -errno, "can't reserve %" PRIu64 " bytes: %s", bytes, strerror(errno));
    if (ftruncate(fd, (off_t)bytes) != 0)
        return lens_error_set(err, -errno, "can't size the file to %" PRIu64 " bytes: %s", bytes, strerror(errno));
    return 0;
}

/* A device or a pipe would be gone: /dev/null, say, for everyone, when root writes there. */
static int refuse_others(const char *path, struct lens_error *err)
{
    struct stat st;
    if (lstat(path, &st) != 0 || S_ISREG(st.st_mode) || S_ISLNK(st.st_mode))
        return 0;
    return lens_error_set(err, S_ISDIR(st.st_mode) ? -EISDIR : -EEXIST,
                          "%s is %s, which a new file would replace: expected the name of a file", path,
                          S_ISDIR(st.st_mode)    ? "a folder"
                          : S_ISFIFO(st.st_mode) ? "a pipe"
                          : S_ISSOCK(st.st_mode) ? "a socket"
                                                 : "a device");
}

int pack_replacement_begin(struct pack_replacement *replacement, const char *path, uint64_t bytes,
                           struct lens_error *err)
{
    *replacement = PACK_REPLACEMENT_NONE;
    int rc = refuse_others(path, err);
    if (rc == 0)
        rc = open_temporary(replacement, path, err);
    if (rc == 0)
        rc = reserve(replacement->fd, bytes, err);
    if (rc != 0)
        pack_replacement_drop(replacement);
    return rc;
}

void pack_replacement_drop(struct pack_replacement *replacement)
{
    if (replacement->fd >= 0)
        close(replacement->fd);
    if (replacement->fd >= 0 && replacement->temporary != NULL)
        unlink(replacement->temporary);
    free(replacement->temporary);
    free(replacement->path);
    *replacement = PACK_REPLACEMENT_NONE;
}

/* So that the new name survives a power cut. */
static int sync_directory(const char *path, struct lens_error *err)
{
    const char *slash = strrchr(path, '/');
    char *directory = slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (directory == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a directory's name");
    int rc = 0;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL && errno != EROFS))
        rc = lens_error_set(err, -errno, "can't sync directory %s: %s", directory, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(directory);
    return rc;
}

int pack_replacement_commit(struct pack_replacement *replacement, struct lens_error *err)
{
    int rc = 0;
    if (fsync(replacement->fd) != 0)
        rc = lens_error_set(err, -errno, "can't write everything to disk: %s", strerror(errno));
    else if (rename(replacement->temporary, replacement->path) != 0)
        rc = lens_error_set(err, -errno, "can't rename %s: %s", replacement->temporary, strerror(errno));
    if (rc != 0) {
        pack_replacement_drop(replacement);
        return rc;
    }
    rc = sync_directory(replacement->path, err);
    close(replacement->fd);
    replacement->fd = -1; /* its name is the final one now */
    pack_replacement_drop(replacement);
    return rc;
}
