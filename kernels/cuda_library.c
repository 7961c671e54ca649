/* Finds and loads the CUDA backend, which is a shared object of its own: machines without CUDA do without it. Knows
 * nothing of CUDA. */
#include "kernels/backend.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY_NAME "lens_cuda.so"

/* Where the default library may be, as paths from the folder of the running program. */
static const char *const beside_program[] = {"/" LIBRARY_NAME, "/../lib/lensd/" LIBRARY_NAME};

/* The folder of the running program, without a slash at its end; false if it can't be told. */
static bool program_folder(char folder[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    if (n <= 0)
        return false;
    folder[n] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    return true;
}

/* Path of the default library: the first of the known places that has it, else its bare name, which the linker looks
 * up in its own ones. */
static void default_library(const char *folder, char path[PATH_MAX])
{
    for (size_t i = 0; folder != NULL && i < sizeof(beside_program) / sizeof(beside_program[0]); i++) {
        int n = snprintf(path, PATH_MAX, "%s%s", folder, beside_program[i]);
        if (n < PATH_MAX && access(path, F_OK) == 0)
            return;
    }
    snprintf(path, PATH_MAX, "%s", LIBRARY_NAME);
}

static int not_found(const char *named, const char *folder, struct lens_error *err)
{
    if (named != NULL)
        return lens_error_set(err, -ENOENT,
                              "the CUDA backend's library %s isn't there; build it on a machine with nvcc", named);
    return lens_error_set(err, -ENOENT,
                          "there is no CUDA backend: no %s in %s, in %s/../lib/lensd or where the linker looks; build "
                          "lensd on a machine with nvcc, or use the processor",
                          LIBRARY_NAME, folder, folder);
}

/* Whether dlopen failed because nothing is there, rather than because of what is. A bare name may lie anywhere: then
 * the linker's sentence is all there is to go by. */
static bool is_absent(const char *path, const char *sentence)
{
    if (strchr(path, '/') != NULL)
        return access(path, F_OK) != 0;
    size_t n = strlen(path);
    return sentence != NULL && strncmp(sentence, path, n) == 0 && strstr(sentence, "cannot open shared object file");
}

int lens_cuda_load(const struct lens_cuda_options *options, struct lens_backend **out, struct lens_error *err)
{
    char folder[PATH_MAX], found[PATH_MAX];
    const char *path = options->library;
    bool has_folder = program_folder(folder);
    if (path == NULL) {
        default_library(has_folder ? folder : NULL, found);
        path = found;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *sentence = dlerror();
        if (is_absent(path, sentence))
            return not_found(options->library, has_folder ? folder : "the program's folder", err);
        return lens_error_set(err, -ENOTSUP, "the CUDA backend can't be loaded: %s", sentence);
    }
    lens_cuda_open_fn open_card;
    *(void **)&open_card = dlsym(library, "lens_cuda_open");
    if (open_card == NULL) {
        lens_error_set(err, -ENOTSUP,
                       "%s isn't lensd's CUDA backend: it has no lens_cuda_open; name the lens_cuda.so that was built "
                       "with this lensd",
                       path);
        dlclose(library);
        return -ENOTSUP;
    }
    /* cppcheck-suppress resourceLeak ; it stays loaded for good */
    return open_card(LENS_BACKEND_API, options, out, err);
}
