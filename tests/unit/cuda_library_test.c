/* Finding and loading the CUDA backend's library: where it is looked for, and what is said when it isn't right. The
 * library here is the one of the emulated card. */
#include "kernels/backend.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Path of `name` from the folder of this program. */
static char *beside(const char *name)
{
    static char path[PATH_MAX];
    char folder[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", folder, sizeof(folder) - 1);
    assert_true(n > 0);
    folder[n] = '\0';
    *strrchr(folder, '/') = '\0';
    n = snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_true(n < (ssize_t)sizeof(path));
    return path;
}

/* NULL where there are no fibers. */
static const char *emulated_library(void)
{
    char *path = beside("../../emulated/lens_cuda.so");
    return access(path, R_OK) == 0 ? path : NULL;
}

static int load(const char *library, struct lens_error *err)
{
    struct lens_backend *backend = (struct lens_backend *)-1;
    int code = lens_cuda_load(&(struct lens_cuda_options){.library = library}, &backend, err);
    if (code == 0) {
        struct lens_device device;
        backend->ops->describe(backend, &device);
        assert_string_equal(device.backend, "cuda");
        assert_int_equal(backend->ops->api_version, LENS_BACKEND_API);
        backend->ops->close(backend);
    }
    return code;
}

static void assert_refused(const char *library, int code, const char *words)
{
    struct lens_error err = {0};
    assert_int_equal(load(library, &err), code);
    assert_int_equal(err.code, code);
    if (strstr(err.text, words) == NULL)
        fail_msg("'%s' expected in: %s", words, err.text);
}

static void missing_library_is_said_to_be_missing(void **state)
{
    (void)state;
    assert_refused("/nowhere/lens_cuda.so", -ENOENT, "/nowhere/lens_cuda.so isn't there");
    assert_refused("no_such_lens_cuda.so", -ENOENT, "no_such_lens_cuda.so isn't there");
}

static void file_that_is_no_library_is_refused(void **state)
{
    (void)state;
    char path[] = "/tmp/lens_cuda_test.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "not a library\n", 14) == 14);
    close(fd);
    assert_refused(path, -ENOTSUP, "can't be loaded");
    unlink(path);
}

static void foreign_library_is_refused(void **state)
{
    (void)state;
    assert_refused("libm.so.6", -ENOTSUP, "has no lens_cuda_open");
}

static void emulated_library_opens_a_card(void **state)
{
    (void)state;
    struct lens_error err = {0};
    if (emulated_library() == NULL) {
        print_message("skipped: no emulated card in this build\n");
        skip();
    }
    if (load(emulated_library(), &err) != 0)
        fail_msg("%s", err.text);
}

static void library_refuses_another_version_of_the_interface(void **state)
{
    (void)state;
    struct lens_error err = {0};
    struct lens_backend *backend;
    lens_cuda_open_fn open_card;
    if (emulated_library() == NULL) {
        print_message("skipped: no emulated card in this build\n");
        skip();
    }
    void *library = dlopen(emulated_library(), RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    *(void **)&open_card = dlsym(library, "lens_cuda_open");
    assert_non_null(open_card);
    const struct lens_cuda_options options = {0};
    assert_int_equal(open_card(LENS_BACKEND_API + 1, &options, &backend, &err), -ENOTSUP);
    assert_int_equal(err.code, -ENOTSUP);
    assert_int_equal(open_card(LENS_BACKEND_API - 1, &options, &backend, &err), -ENOTSUP);
    dlclose(library);
}

/* ---- the default places ----------------------------------------------------------------------------------------- */

/* Runs a copy of this program in folder/bin, which loads the default library: its exit status is 0, or the errno. */
static int load_from(const char *folder)
{
    char program[PATH_MAX], command[3 * PATH_MAX], own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof(own) - 1);
    assert_true(n > 0);
    own[n] = '\0';
    snprintf(program, sizeof(program), "%s/bin/program", folder);
    snprintf(command, sizeof(command), "cp '%s' '%s'", own, program);
    assert_int_equal(system(command), 0);
    pid_t child = fork();
    if (child == 0) {
        execl(program, program, "--load-default", (char *)NULL);
        _exit(255);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void default_library_lies_beside_the_program_or_in_its_lib_folder(void **state)
{
    (void)state;
    char folder[] = "/tmp/lens_cuda_test.XXXXXX", path[PATH_MAX], library[PATH_MAX];
    if (emulated_library() == NULL) {
        print_message("skipped: no emulated card in this build\n");
        skip();
    }
    assert_non_null(mkdtemp(folder));
    const char *const folders[] = {"bin", "lib", "lib/lensd"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    assert_int_equal(load_from(folder), ENOENT);
    assert_non_null(realpath(emulated_library(), library));
    snprintf(path, sizeof(path), "%s/lib/lensd/lens_cuda.so", folder);
    assert_int_equal(symlink(library, path), 0);
    assert_int_equal(load_from(folder), 0);
    snprintf(path, sizeof(path), "%s/bin/lens_cuda.so", folder); /* comes first, and is no library */
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(load_from(folder), ENOTSUP);
    snprintf(path, sizeof(path), "rm -r '%s'", folder);
    assert_int_equal(system(path), 0);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--load-default") == 0) {
        struct lens_error err = {0};
        return -load(NULL, &err);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_library_is_said_to_be_missing),
        cmocka_unit_test(file_that_is_no_library_is_refused),
        cmocka_unit_test(foreign_library_is_refused),
        cmocka_unit_test(emulated_library_opens_a_card),
        cmocka_unit_test(library_refuses_another_version_of_the_interface),
        cmocka_unit_test(default_library_lies_beside_the_program_or_in_its_lib_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
