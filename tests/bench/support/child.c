/* Children of a benchmark; see child.h. */
#include "tests/bench/support/child.h"

#include "tests/bench/support/bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_S 600

static pid_t start(const char *const *argv, const char *log)
{
    fflush(stdout);
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        bench_die("no process for %s: %s", argv[0], strerror(errno));
    if (pid > 0)
        return pid;
    int fd = log ? open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
    if (fd >= 0) {
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
    }
    bench_unpin();
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a benchmark that dies must not leave gigabytes behind */
    if (getppid() != parent)
        _exit(127);
    execv(argv[0], (char *const *)argv);
    fprintf(stderr, "%s can't be run: %s\n", argv[0], strerror(errno));
    _exit(127);
}

pid_t bench_child_start(const char *const *argv, const char *log)
{
    return start(argv, log);
}

void bench_child_stop(pid_t pid)
{
    kill(pid, SIGTERM);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
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
    pid_t pid = start(argv, log);
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

/* Puts the engine's thread on the second processor; the rest of lensd runs where there is room. */
static void pin_engine(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    const struct dirent *task;
    while (tasks && (task = readdir(tasks)) != NULL) {
        char name[512], comm[32] = "";
        snprintf(name, sizeof name, "%s/%s/comm", path, task->d_name);
        FILE *file = fopen(name, "r");
        if (file && fgets(comm, sizeof comm, file) && strncmp(comm, "lensd-engine", 12) == 0)
            bench_pin_thread((pid_t)atoi(task->d_name), 1);
        if (file)
            fclose(file);
    }
    if (tasks)
        closedir(tasks);
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
    argv[n++] = "--http-listen"; /* flags may say otherwise: the last one counts */
    argv[n++] = "off";
    for (; *flags && n < 31; flags++)
        argv[n++] = *flags;
    argv[n] = NULL;
    unlink(daemon->log); /* else the one before is found ready */
    daemon->pid = start(argv, daemon->log);
    for (uint64_t begin = bench_now_ns(); !log_says(daemon->log, "ready on ");) {
        int status;
        if (waitpid(daemon->pid, &status, WNOHANG) == daemon->pid || bench_now_ns() - begin > READY_S * 1000000000ull) {
            print_log(daemon->log);
            bench_die("lensd did not get ready");
        }
        usleep(20000);
    }
    pin_engine(daemon->pid);
}

void bench_daemon_stop(struct bench_daemon *daemon)
{
    char lock[sizeof daemon->socket + 8];
    int status = 0;
    kill(daemon->pid, SIGTERM);
    waitpid(daemon->pid, &status, 0);
    unlink(daemon->socket);
    snprintf(lock, sizeof lock, "%s.lock", daemon->socket);
    unlink(lock);
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
