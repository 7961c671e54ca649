/* See emulated_card.h. */
#include "tests/unit/support/emulated_card.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN true
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN true
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN false
#endif

/* From BUILD/tests/unit/NAME to the library. */
static int library_path(char path[PATH_MAX])
{
    static const char from_here[] = "../../emulated/lens_cuda.so";
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - sizeof from_here);
    if (n <= 0)
        return -errno;
    path[n] = '\0';
    char *name = strrchr(path, '/') + 1;
    memcpy(name, from_here, sizeof from_here);
    return 0;
}

int emulated_card_open(void *arg, uint32_t threads, struct lens_backend **out, struct lens_error *err)
{
    char path[PATH_MAX];
    (void)arg;
    (void)threads;
    *out = NULL;
    if (UNDER_TSAN)
        return lens_error_set(err, -ENOTSUP, "no emulated card under ThreadSanitizer: its threads are fibers");
    int rc = library_path(path);
    if (rc != 0)
        return lens_error_set(err, rc, "can't tell where this program lies: %s", strerror(-rc));
    return lens_cuda_load(&(struct lens_cuda_options){.library = path}, out, err);
}
