/* Which files a client may have opened as packs: those below configured directories, links followed first. */
#ifndef LENSD_PACK_PATH_H
#define LENSD_PACK_PATH_H

#include "proto/lens_error.h"

#include <stddef.h>

/* Resolves what an operator asked for: an absolute path, or one relative to any of `directories` ("DIR:DIR.."). The
 * real path goes to `out` (PATH_MAX bytes). -EACCES: not below a directory; -ENOENT and the like: isn't there.
 * Touches the file system: meant for a worker thread. */
int lensd_pack_path_resolve(const char *directories, const char *asked, char *out, struct lens_error *err);

/* `path` seen from the working directory, for whoever looks from elsewhere; links stay links. `out` has PATH_MAX bytes.
 * -ENAMETOOLONG, -errno. */
int lensd_pack_path_absolute(const char *path, char *out, struct lens_error *err);

/* Adds the directory of the pack file at `path` to a list of `size` bytes, unless it is there. -ENAMETOOLONG, -errno.
 */
int lensd_pack_path_add_directory(char *directories, size_t size, const char *path, struct lens_error *err);
/* Likewise the directories of "DIR:DIR.." that exist. */
int lensd_pack_path_add_list(char *directories, size_t size, const char *list, struct lens_error *err);

#endif
