/* See fault_script.h. */
#include "daemon/fault_script.h"

#include "daemon/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define SCRIPT_MAX 65536u
#define SECTION    "[takeover]\n"

static int read_script(const char *path, char *out, size_t size, struct lens_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, size - 1) : -1;
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return lens_error_set(err, -error, "can't read the fault script %s: %s", path, strerror(error));
    out[n] = '\0';
    return 0;
}

/* The part of the script that is asked for, or NULL. */
static const char *part_of(char *script, bool takeover)
{
    char *section = script;
    while (section != NULL && strncmp(section, SECTION, strlen(SECTION)) != 0) {
        section = strchr(section, '\n');
        section = section != NULL ? section + 1 : NULL;
    }
    if (takeover)
        return section != NULL ? section + strlen(SECTION) : NULL;
    if (section != NULL)
        *section = '\0';
    return script;
}

int lensd_fault_script_wrap(const char *path, bool takeover, struct lens_backend **backend, struct lens_error *err)
{
    char *script = lensd_calloc(1, SCRIPT_MAX);
    if (script == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for the fault script");
    int r = read_script(path, script, SCRIPT_MAX, err);
    const char *part = r == 0 ? part_of(script, takeover) : NULL;
    struct lens_backend *wrapped = NULL;
    if (part != NULL)
        r = lens_fault_open(*backend, part, &wrapped, err);
    if (r == 0 && wrapped != NULL)
        *backend = wrapped;
    lensd_free(script);
    return r;
}
