/* lensd: reads its command line and settings, then opens, runs and closes the service.
 *
 * Exit codes: 0 ok, 1 failed, 2 usage. */
#include "daemon/arguments.h"
#include "daemon/config_warnings.h"
#include "daemon/service.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define EXIT_USAGE 2

extern char **environ;

static const char usage[] = "usage: lensd [--config FILE] [--socket PATH] [--pack FILE]... [--backend auto|cpu|cuda]\n"
                            "             [--SECTION-SETTING VALUE]... [--check-config] [--version] [--help]\n";

static const char options[] =
    "\n"
    "Scores concept lenses over the hidden states that inference processes send. Runs in the foreground, ready when "
    "it\n"
    "says so; SIGTERM drains and ends it with exit code 0, SIGHUP reads the configuration again.\n"
    "\n"
    "  --config FILE\n      Settings as [section] and setting = value.\n"
    "  --socket PATH\n      Control socket; the same as --ipc-socket.\n"
    "  --pack FILE\n      A pack to serve; repeat for more. The first is what clients get unless they name one.\n"
    "  --backend auto|cpu|cuda\n      Where lenses are scored; auto takes a card where there is one, else the CPU, "
    "and\n      says why.\n"
    "  --check-config\n      Check settings, tell errors and what is odd, and end: exit code 0 when there is no "
    "error.\n"
    "  --fault-script FILE\n      For tests: make calls of the backend fail as the file says (kernels/backend.h).\n"
    "  --version\n"
    "  --help\n"
    "\n"
    "Settings. `[pool] slots` of the file is --pool-slots as a flag and LENSD_POOL_SLOTS in the environment; flags "
    "win\n"
    "over the environment, the environment over the file.\n";

static void print_line(void *arg, const char *line)
{
    fputs(line, arg);
}

static int print_help(void)
{
    printf("%s%s", usage, options);
    lensd_settings_print_help(print_line, stdout);
    printf("\nExit codes: 0 ok, 1 failed, 2 usage.\n");
    return EXIT_SUCCESS;
}

/* The parts of man pages that come from tables; not in --help, since only the build asks for them. */
static int print_man(const char *table)
{
    if (strcmp(table, "settings") == 0)
        lensd_settings_print_man(print_line, stdout);
    else if (strcmp(table, "events") == 0)
        lensd_log_events_print_man(print_line, stdout);
    else if (strcmp(table, "catalog") == 0)
        lensd_log_events_print_catalog(print_line, stdout);
    else
        return EXIT_USAGE;
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void print_warning(void *arg, const char *sentence)
{
    fprintf(arg, "lensd: warning: %s\n", sentence);
}

/* As `nginx -t`: errors were told by whoever read the settings. */
static int check_config(const struct lensd_arguments *arguments, const struct lensd_settings *settings)
{
    lensd_config_warnings(arguments, settings, true, print_warning, stderr);
    printf("lensd: the configuration%s%s is fine\n", arguments->config != NULL ? " " : "",
           arguments->config != NULL ? arguments->config : "");
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* As an event: to the journal with its priority, where stderr leads there. */
static int fail(const struct lens_error *err, int code, enum lensd_log_event event)
{
    struct lensd_log_output output;
    struct lensd_log log;
    lensd_log_init(&log, &output, LENSD_LOG_ERROR);
    lensd_log_event(&log, LENSD_LOG_ERROR, event, &(struct lensd_log_fields){.code = err->code}, "%s", err->text);
    lensd_log_close(&log);
    return code;
}

/* Sessions take descriptors; the soft limit is there for programs that use select. */
static void raise_open_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int serve(const struct lensd_arguments *arguments, struct lensd_settings *settings)
{
    struct lens_error err = {0};
    struct lensd_service *service = aligned_alloc(_Alignof(struct lensd_service), sizeof *service);
    if (service == NULL) {
        lens_error_set(&err, -ENOMEM, "no memory to start");
        return fail(&err, EXIT_FAILURE, LENSD_LOG_START_FAILED);
    }
    int code = EXIT_FAILURE;
    if (lensd_service_open(service, arguments, settings, &err) == 0) {
        code = lensd_service_run(service);
        lensd_service_close(service);
    } else {
        fail(&err, code, LENSD_LOG_START_FAILED);
    }
    free(service);
    return code;
}

static int with_settings(const struct lensd_arguments *arguments)
{
    static struct lensd_settings settings; /* main's: outlives everything */
    struct lens_error err = {0};
    if (lensd_arguments_settings(arguments, environ, &settings, &err) != 0)
        return fail(&err, EXIT_FAILURE, arguments->check_config ? LENSD_LOG_PLAIN : LENSD_LOG_START_FAILED);
    int code = arguments->check_config ? check_config(arguments, &settings) : serve(arguments, &settings);
    lensd_settings_free(&settings);
    return code;
}

int main(int argc, char *argv[])
{
    struct lensd_arguments arguments;
    struct lens_error err = {0};
    if (lensd_arguments_parse(&arguments, argc, argv, &err) != 0) {
        fprintf(stderr, "lensd: %s\n%s", err.text, usage);
        return EXIT_USAGE;
    }
    if (arguments.help)
        return print_help();
    if (arguments.print_man != NULL)
        return print_man(arguments.print_man);
    if (arguments.version) {
        printf("lensd %s\n", LENSD_VERSION);
        return EXIT_SUCCESS;
    }
    signal(SIGPIPE, SIG_IGN);
    raise_open_files();
    return with_settings(&arguments);
}
