/* The conformance suite and the checks of checks.h on the CUDA backend, without any library but CUDA's.
 *
 *     conformance [--library build/lens_cuda.so] [--device 0] [--seed N] [--reduced] [--only NAME,..] [--in-process]
 *                 [--json FILE] [--limit SECONDS] [--list] [--cpu]
 *
 * Each check runs in a process of its own, so that one that breaks the card's context takes no other with it;
 * --in-process runs them in this one (for compute-sanitizer) and ends at the first that fails. Without a card
 * everything is waived: said so, exit 0, never "passed". --cpu runs the checks over the CPU backend: that is how a
 * change of the checks themselves is tried. The last line is "N passed, N failed, N waived". */
#include "tests/bench/support/bench.h"
#include "tests/gpu/checks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_WAIVED 77

struct settings {
    struct lens_cuda_options cuda;
    const char *only, *json;
    bool in_process;
    unsigned limit;
};

enum result { PASSED, FAILED, WAIVED, RESULTS };
static const char *const result_names[RESULTS] = {"passed", "failed", "waived"};

/* ---- the suite as checks ---------------------------------------------------------------------------------------- */

static void accuracy(const struct gpu_context *context)
{
    conformance_accuracy(context->target, context->seed, !context->reduced);
}

static void conversions(const struct gpu_context *context)
{
    conformance_conversions(context->target, context->seed);
}

static void row_invariance(const struct gpu_context *context)
{
    conformance_row_invariance(context->target, context->seed);
}

static void invalid_rows(const struct gpu_context *context)
{
    conformance_invalid_rows(context->target, context->seed);
}

static void slot_rewrite(const struct gpu_context *context)
{
    conformance_slot_rewrite(context->target, context->seed);
}

static void refusals(const struct gpu_context *context)
{
    conformance_refusals(context->target, context->seed);
}

static const struct gpu_check checks[] = {
    {"accuracy", accuracy},
    {"conversions", conversions},
    {"row_invariance", row_invariance},
    {"invalid_rows", invalid_rows},
    {"slot_rewrite", slot_rewrite},
    {"refusals", refusals},
    {"shapes", gpu_check_shapes},
    {"many_slots", gpu_check_many_slots},
    {"large_slab", gpu_check_large_slab},
    {"bad_weights", gpu_check_bad_weights},
    {"detections", gpu_check_detections},
    {"large_tree", gpu_check_large_tree},
    {"job_invariance", gpu_check_job_invariance},
    {"misses", gpu_check_misses},
    {"given_up", gpu_check_given_up},
    {"loads_while_scoring", gpu_check_loads_while_scoring},
    {"registered_rows", gpu_check_registered_rows},
    {"nothing_leaks", gpu_check_nothing_leaks},
};
#define N_CHECKS (sizeof checks / sizeof checks[0])

/* ---- the backend ------------------------------------------------------------------------------------------------ */

static int open_cuda(void *arg, uint32_t threads, struct lens_backend **out, struct lens_error *err)
{
    (void)threads; /* a card's grid is its own affair */
    return lens_cuda_load(arg, out, err);
}

static int open_cpu(void *arg, uint32_t threads, struct lens_backend **out, struct lens_error *err)
{
    (void)arg;
    return lens_cpu_open(&(struct lens_cpu_options){.threads = threads, .variant = "auto"}, out, err);
}

/* No card is no fault; a card that can't be opened is one. */
static int probe(const struct conformance_target *target)
{
    struct lens_backend *backend = NULL;
    struct lens_device device;
    struct lens_error err = {0};
    int rc = target->open(target->arg, 1, &backend, &err);
    if (rc != 0) {
        bool bare = access("/dev/nvidiactl", F_OK) != 0;
        bool waived = rc == -ENODEV || (rc == -ENOTSUP && bare);
        printf("%s: no CUDA device here: %s\n", waived ? "waived" : "FAILED", err.text);
        return waived ? EXIT_WAIVED : 1;
    }
    backend->ops->describe(backend, &device);
    printf("backend %s, %s, %s, %.1f GiB free\n", device.backend, device.name, device.variant,
           (double)device.memory_bytes / (1u << 30));
    backend->ops->close(backend);
    return 0;
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

/* The exit status of `run` in a process of its own; 128 + N when signal N ended it. */
static int in_a_child(const struct gpu_check *check, const struct gpu_context *context, unsigned limit)
{
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        bench_die("no process for a check: %s", strerror(errno));
    if (child == 0) {
        alarm(limit);
        int code = 0;
        if (check != NULL)
            check->run(context);
        else
            code = probe(context->target);
        fflush(stdout);
        _exit(code);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static enum result run_check(const struct gpu_check *check, const struct gpu_context *context,
                             const struct settings *settings, FILE *json)
{
    uint64_t began = bench_now_ns();
    int code = 0;
    printf("== %s\n", check->name);
    if (settings->in_process)
        check->run(context);
    else
        code = in_a_child(check, context, settings->limit);
    double seconds = (double)(bench_now_ns() - began) * 1e-9;
    enum result result = code == 0 ? PASSED : FAILED;
    if (code > 128)
        printf("   ended by signal %d%s\n", code - 128, code - 128 == SIGALRM ? ": over its time" : "");
    printf("   %s, %.1f s\n", result_names[result], seconds);
    if (json != NULL)
        fprintf(json, ",\n {\"check\": \"%s\", \"result\": \"%s\", \"seconds\": %.2f}", check->name,
                result_names[result], seconds);
    return result;
}

static bool wanted(const struct settings *settings, const struct gpu_check *check)
{
    size_t length = strlen(check->name);
    const char *at = settings->only;
    for (; at != NULL && *at != 0; at = strchr(at, ',') != NULL ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, check->name, length) == 0 && (at[length] == 0 || at[length] == ','))
            return true;
    return settings->only == NULL;
}

static void run_all(const struct gpu_context *context, const struct settings *settings, unsigned tally[RESULTS])
{
    FILE *json = settings->json != NULL ? fopen(settings->json, "w") : NULL;
    if (settings->json != NULL && json == NULL)
        bench_die("%s can't be written: %s", settings->json, strerror(errno));
    if (json != NULL)
        fprintf(json, "[{\"target\": \"%s\", \"seed\": %llu, \"reduced\": %s}", context->target->name,
                (unsigned long long)context->seed, context->reduced ? "true" : "false");
    int code = settings->in_process ? probe(context->target) : in_a_child(NULL, context, settings->limit);
    for (size_t i = 0; i < N_CHECKS; i++) {
        if (!wanted(settings, &checks[i]))
            continue;
        if (code != 0)
            tally[code == EXIT_WAIVED ? WAIVED : FAILED]++;
        else
            tally[run_check(&checks[i], context, settings, json)]++;
    }
    if (json != NULL) {
        fprintf(json, "]\n");
        fclose(json);
    }
}

static void list_checks(void)
{
    for (size_t i = 0; i < N_CHECKS; i++)
        printf("%s\n", checks[i].name);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {"--library=",   "--device=", "--seed=",  "--reduced", "--only=", "--json=",
                                        "--in-process", "--list",    "--limit=", "--cpu",     NULL};
    bench_check_options(argc, argv, known);
    if (bench_has_flag(argc, argv, "--list")) {
        list_checks();
        return 0;
    }
    struct settings settings = {
        .cuda = {.library = bench_option(argc, argv, "--library", NULL),
                 .device = (uint32_t)bench_option_u64(argc, argv, "--device", 0)},
        .only = bench_option(argc, argv, "--only", NULL),
        .json = bench_option(argc, argv, "--json", NULL),
        .in_process = bench_has_flag(argc, argv, "--in-process"),
        .limit = (unsigned)bench_option_u64(argc, argv, "--limit", 300),
    };
    bool cpu = bench_has_flag(argc, argv, "--cpu");
    struct conformance_target target = {.name = cpu ? "cpu" : "cuda",
                                        .open = cpu ? open_cpu : open_cuda,
                                        .arg = &settings.cuda,
                                        .pairs = cpu ? conformance_cpu_pairs : conformance_cuda_pairs,
                                        .n_pairs = CONFORMANCE_MAX_PAIRS};
    const char *seed = bench_option(argc, argv, "--seed", NULL);
    struct gpu_context context = {.target = &target,
                                  .seed = seed != NULL ? strtoull(seed, NULL, 0) : conformance_seed(),
                                  .reduced = bench_has_flag(argc, argv, "--reduced")};
    unsigned tally[RESULTS] = {0};
    if (seed != NULL)
        printf("seed %llu\n", (unsigned long long)context.seed);
    run_all(&context, &settings, tally);
    printf("%u passed, %u failed, %u waived\n", tally[PASSED], tally[FAILED], tally[WAIVED]);
    return tally[FAILED] > 0 || tally[PASSED] + tally[WAIVED] == 0;
}
