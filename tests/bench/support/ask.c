/* Asking a running lensd; see ask.h. */
#include "tests/bench/support/ask.h"

#include "tests/bench/support/bench.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static pid_t start(char *const *argv, int output, int other_end)
{
    pid_t pid;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclose(&actions, other_end);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    int failed = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        bench_die("%s can't be run: %s", argv[0], strerror(failed));
    return pid;
}

/* NULL when lensctl fails. */
static json_t *ask_once(const char *socket, const char *command, const char *argument)
{
    char lensctl[4096];
    int ends[2], status = 0;
    json_error_t wrong;
    bench_path_beside("../lensctl", lensctl, sizeof lensctl);
    const char *argv[] = {lensctl, "--json", "--socket", socket, command, argument, NULL};
    if (pipe(ends) != 0)
        bench_die("no pipe: %s", strerror(errno));
    pid_t pid = start((char *const *)argv, ends[1], ends[0]);
    close(ends[1]);
    FILE *file = fdopen(ends[0], "r");
    json_t *answer = file ? json_loadf(file, 0, &wrong) : NULL;
    if (file)
        fclose(file);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && !answer)
        bench_die("lensctl %s didn't answer in JSON: %s", command, wrong.text);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return answer;
    json_decref(answer);
    return NULL;
}

json_t *bench_ask(const char *socket, const char *command, const char *argument)
{
    json_t *answer = ask_once(socket, command, argument);
    /* A busy daemon may take more than lensctl's second; asking again changes nothing. */
    for (int tries = 0; !answer && !argument && tries < 5; tries++) {
        usleep(200000);
        answer = ask_once(socket, command, argument);
    }
    if (!answer)
        bench_die("lensctl %s %s failed", command, argument ? argument : "");
    return answer;
}

double bench_asked(const json_t *answer, const char *key)
{
    const json_t *value = json_object_get(answer, key);
    if (!json_is_number(value))
        bench_die("lensctl's answer has no number \"%s\"", key);
    return json_number_value(value);
}
