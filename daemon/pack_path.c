/* See pack_path.h. */
#include "daemon/pack_path.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The next entry of "a:b:c" with links resolved, or false at the end. Entries that don't exist are passed over. */
static bool next_directory(const char **list, char *out)
{
    while (**list != '\0') {
        char entry[PATH_MAX];
        size_t length = strcspn(*list, ":");
        bool fits = length > 0 && length < sizeof entry;
        if (fits) {
            memcpy(entry, *list, length);
            entry[length] = '\0';
        }
        *list += length + ((*list)[length] == ':');
        if (fits && realpath(entry, out) != NULL)
            return true;
    }
    return false;
}

static bool is_below(const char *directory, const char *path)
{
    size_t length = strlen(directory);
    if (strcmp(directory, "/") == 0)
        return true;
    return strncmp(path, directory, length) == 0 && path[length] == '/';
}

static int resolve_absolute(const char *directories, const char *asked, char *out, struct lens_error *err)
{
    char directory[PATH_MAX];
    if (realpath(asked, out) == NULL)
        return lens_error_set(err, -errno, "can't find the pack %s: %s", asked, strerror(errno));
    while (next_directory(&directories, directory)) {
        if (is_below(directory, out))
            return 0;
    }
    return -EACCES;
}

static int resolve_relative(const char *directories, const char *asked, char *out, struct lens_error *err)
{
    char directory[PATH_MAX];
    const char *left = directories;
    while (next_directory(&left, directory)) {
        char path[PATH_MAX];
        int n = snprintf(path, sizeof path, "%s/%s", directory, asked);
        if (n > 0 && (size_t)n < sizeof path && realpath(path, out) != NULL)
            return resolve_absolute(directories, out, path, err) == 0 ? 0 : -EACCES;
    }
    return lens_error_set(err, -ENOENT, "no pack %s below %s", asked, directories);
}

int lensd_pack_path_resolve(const char *directories, const char *asked, char *out, struct lens_error *err)
{
    if (directories[0] == '\0')
        return lens_error_set(err, -EACCES,
                              "this daemon has no pack directories: set packs.directories to where packs may be "
                              "opened from");
    int r = asked[0] == '/' ? resolve_absolute(directories, asked, out, err)
                            : resolve_relative(directories, asked, out, err);
    if (r == -EACCES)
        lens_error_set(err, r,
                       "%s isn't below one of the pack directories (%s): move it there, or set "
                       "packs.directories",
                       asked, directories);
    return r;
}

int lensd_pack_path_absolute(const char *path, char *out, struct lens_error *err)
{
    char here[PATH_MAX] = "";
    if (path[0] != '/' && getcwd(here, sizeof here) == NULL)
        return lens_error_set(err, -errno, "can't tell where %s is: %s", path, strerror(errno));
    int n = snprintf(out, PATH_MAX, "%s%s%s", here, path[0] != '/' ? "/" : "", path);
    if (n >= 0 && n < PATH_MAX)
        return 0;
    return lens_error_set(err, -ENAMETOOLONG, "the pack's path is longer than %d bytes: %s", PATH_MAX - 1, path);
}

/* `real` has its links resolved. */
static int add_once(char *directories, size_t size, const char *real, struct lens_error *err)
{
    char known[PATH_MAX];
    const char *left = directories;
    while (next_directory(&left, known)) {
        if (strcmp(known, real) == 0)
            return 0;
    }
    size_t used = strlen(directories);
    int n = snprintf(directories + used, size - used, "%s%s", used > 0 ? ":" : "", real);
    if (n >= 0 && (size_t)n < size - used)
        return 0;
    directories[used] = '\0';
    return lens_error_set(err, -ENAMETOOLONG, "the directories of all packs to serve are longer than %zu bytes", size);
}

int lensd_pack_path_add_directory(char *directories, size_t size, const char *path, struct lens_error *err)
{
    char real[PATH_MAX];
    if (realpath(path, real) == NULL)
        return lens_error_set(err, -errno, "can't find the pack %s: %s", path, strerror(errno));
    char *slash = strrchr(real, '/');
    slash[slash == real ? 1 : 0] = '\0';
    return add_once(directories, size, real, err);
}

int lensd_pack_path_add_list(char *directories, size_t size, const char *list, struct lens_error *err)
{
    char real[PATH_MAX];
    int r = 0;
    while (r == 0 && next_directory(&list, real))
        r = add_once(directories, size, real, err);
    return r;
}
