/* Running lensd, lensctl and synth from a benchmark. Dies with a sentence (and the child's log) when they fail. */
#ifndef LENS_BENCH_CHILD_H
#define LENS_BENCH_CHILD_H

#include <stdint.h>
#include <sys/types.h>

/* Runs argv (NULL-terminated; argv[0] is a path) to its end with its output in `log` (NULL: ours); *peak_kib gets the
 * most memory it had resident. Either pointer may be NULL. */
void bench_run(const char *const *argv, const char *log, uint64_t *peak_kib);

/* Starts argv with its output in `log`, to be stopped by SIGTERM. */
pid_t bench_child_start(const char *const *argv, const char *log);
void bench_child_stop(pid_t pid);

struct bench_daemon {
    pid_t pid;
    char directory[64], socket[80], log[4096];
};

/* Starts "../lensd" beside this program on a socket of its own with `pack` and further flags, waits until it says that
 * it is ready, and keeps its engine thread on the second processor. */
void bench_daemon_start(struct bench_daemon *daemon, const char *pack, const char *const *flags);
void bench_daemon_stop(struct bench_daemon *daemon);

/* The real-tree pack of a dtype beside this program: "real-tree-DTYPE.lens", made by synth when it isn't there. */
void bench_real_tree(const char *dtype, const char *tree, char *path, uint32_t size);

#endif
