/* Children of a benchmark; see child.h. */
#include "tests/bench/support/child.h"

#include "tests/bench/support/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_S 600

static pid_t start(const char *const *argv, const char *log, int processor)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        bench_die("no process for %s: %s", argv[0], strerror(errno));
    if (pid > 0)
        return pid;
    int fd = log ? open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
    if (fd >= 0) {
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
    }
    if (processor >= 0)
        bench_pin((uint32_t)processor);
    execv(argv[0], (char *const *)argv);
    fprintf(stderr, "%s can't be run: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static void print_log(const char *log)
{
    char line[1024];
    FILE *file = log ? fopen(log, "r") : NULL;
    while (file && fgets(line, sizeof line, file))
        fputs(line, stderr);
    if (file)
        fclose(file);
}

void bench_run(const char *const *argv, const char *log, uint64_t *peak_kib)
{
    int status;
    struct rusage usage;
    pid_t pid = start(argv, log, -1);
    while (wait4(pid, &status, 0, &usage) < 0) {
        if (errno != EINTR)
            bench_die("%s can't be waited for: %s", argv[0], strerror(errno));
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        print_log(log);
        bench_die("%s failed", argv[0]);
    }
    if (peak_kib)
        *peak_kib = (uint64_t)usage.ru_maxrss;
}

static bool log_says(const char *log, const char *text)
{
    char line[1024];
    bool found = false;
    FILE *file = fopen(log, "r");
    while (file && !found && fgets(line, sizeof line, file))
        found = strstr(line, text) != NULL;
    if (file)
        fclose(file);
    return found;
}

void bench_daemon_start(struct bench_daemon *daemon, const char *pack, const char *const *flags)
{
    const char *argv[32], *temporary = getenv("TMPDIR");
    char lensd[4096];
    uint32_t n = 0;
    bench_path_beside("../lensd", lensd, sizeof lensd);
    bench_path_beside("lensd.log", daemon->log, sizeof daemon->log);
    snprintf(daemon->directory, sizeof daemon->directory, "%s/lensd-bench-XXXXXX",
             temporary && strlen(temporary) < 32 ? temporary : "/tmp");
    if (!mkdtemp(daemon->directory))
        bench_die("no directory for a socket: %s", strerror(errno));
    snprintf(daemon->socket, sizeof daemon->socket, "%s/s", daemon->directory);
    argv[n++] = lensd;
    argv[n++] = "--socket";
    argv[n++] = daemon->socket;
    argv[n++] = "--pack";
    argv[n++] = pack;
    for (; *flags && n < 31; flags++)
        argv[n++] = *flags;
    argv[n] = NULL;
    daemon->pid = start(argv, daemon->log, bench_cpus() > 1 ? 1 : -1);
    for (uint64_t begin = bench_now_ns(); !log_says(daemon->log, "ready on ");) {
        int status;
        if (waitpid(daemon->pid, &status, WNOHANG) == daemon->pid || bench_now_ns() - begin > READY_S * 1000000000ull) {
            print_log(daemon->log);
            bench_die("lensd did not get ready");
        }
        usleep(20000);
    }
}

void bench_daemon_stop(struct bench_daemon *daemon)
{
    int status = 0;
    kill(daemon->pid, SIGTERM);
    waitpid(daemon->pid, &status, 0);
    unlink(daemon->socket);
    rmdir(daemon->directory);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        print_log(daemon->log);
        bench_die("lensd did not end cleanly");
    }
}

void bench_real_tree(const char *dtype, const char *tree, char *path, uint32_t size)
{
    char name[64], synth[4096];
    snprintf(name, sizeof name, "real-tree-%s.lens", dtype);
    bench_path_beside(name, path, size);
    bench_path_beside("synth", synth, sizeof synth);
    if (access(path, R_OK) == 0)
        return;
    printf("making %s ..\n", path);
    const char *argv[] = {synth, "--dtype", dtype, "--pack", path, tree ? "--tree" : NULL, tree, NULL};
    bench_run(argv, NULL, NULL);
}
