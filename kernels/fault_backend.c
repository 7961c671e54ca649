/* A backend that wraps another and fails by script: the way to walk every error path without broken hardware.
 *
 * Its slabs run the generic cascade of their own over the inner slab's primitives, so that faults in score happen in
 * the middle of a run. See lens_fault_open in backend.h for the script. */
#include "kernels/cascade.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum call { CALL_SLAB_CREATE, CALL_SLOT_WRITE, CALL_RUN, CALL_SCORE, CALLS };
enum fault { FAULT_NONE, FAULT_ENOMEM, FAULT_EIO, FAULT_ENODEV, FAULT_LATE, FAULT_WRONG, FAULT_SLOW };

static const char *const call_names[CALLS] = {"slab_create", "slot_write", "run", "score"};

struct rule {
    enum call call;
    uint64_t first, last; /* of the calls it is for, counted from 1 */
    enum fault fault;
    unsigned slow_ms;
};

struct fault_backend {
    struct lens_backend base;
    struct lens_backend *inner;
    struct rule *rules;
    size_t n_rules;
    pthread_mutex_t lock; /* slot_write comes from several threads */
    uint64_t count[CALLS];
    bool lost; /* after enodev every call fails */
};

struct fault_slab {
    struct lens_slab base;
    struct lens_slab *inner;
};

/* ---- the script ------------------------------------------------------------------------------------------------- */

static int parse_call(const char *word, struct rule *rule)
{
    for (int i = 0; i < CALLS; i++) {
        if (strcmp(word, call_names[i]) == 0) {
            rule->call = (enum call)i;
            return 0;
        }
    }
    return -EINVAL;
}

static int parse_nth(const char *word, struct rule *rule)
{
    char *end;
    if (strcmp(word, "*") == 0) {
        rule->first = 1;
        rule->last = UINT64_MAX;
        return 0;
    }
    if (word[0] < '0' || word[0] > '9')
        return -EINVAL;
    rule->first = rule->last = strtoull(word, &end, 10);
    if (*end == '-' && end[1] >= '0' && end[1] <= '9')
        rule->last = strtoull(end + 1, &end, 10);
    return *end == '\0' && rule->first > 0 && rule->last >= rule->first ? 0 : -EINVAL;
}

static int parse_fault(const char *word, struct rule *rule)
{
    static const struct {
        const char *name;
        enum fault fault;
    } faults[] = {{"enomem", FAULT_ENOMEM},
                  {"eio", FAULT_EIO},
                  {"enodev", FAULT_ENODEV},
                  {"late", FAULT_LATE},
                  {"wrong", FAULT_WRONG}};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        if (strcmp(word, faults[i].name) == 0)
            rule->fault = faults[i].fault;
    }
    if (strncmp(word, "slow:", 5) == 0) {
        char *end;
        unsigned long ms = strtoul(word + 5, &end, 10);
        if (end == word + 5 || *end != '\0' || ms > 60000)
            return -EINVAL;
        rule->fault = FAULT_SLOW;
        rule->slow_ms = (unsigned)ms;
    }
    bool fits = (rule->fault != FAULT_LATE || rule->call == CALL_SLOT_WRITE) &&
                (rule->fault != FAULT_WRONG || rule->call == CALL_SCORE);
    return rule->fault != FAULT_NONE && fits ? 0 : -EINVAL;
}

/* One line without its newline; 1 = a rule, 0 = nothing on it. */
static int parse_line(char *line, struct rule *rule)
{
    char *save = NULL;
    char *call = strtok_r(line, " \t\r", &save);
    if (call == NULL || call[0] == '#')
        return 0;
    char *nth = strtok_r(NULL, " \t\r", &save);
    char *fault = strtok_r(NULL, " \t\r", &save);
    *rule = (struct rule){.fault = FAULT_NONE};
    if (nth == NULL || fault == NULL || strtok_r(NULL, " \t\r", &save) != NULL)
        return -EINVAL;
    if (parse_call(call, rule) != 0 || parse_nth(nth, rule) != 0 || parse_fault(fault, rule) != 0)
        return -EINVAL;
    return 1;
}

static int parse_script(const char *script, struct fault_backend *backend, struct lens_error *err)
{
    size_t lines = 1;
    for (const char *p = script; *p != '\0'; p++)
        lines += *p == '\n';
    backend->rules = calloc(lines, sizeof *backend->rules);
    char *copy = strdup(script);
    if (backend->rules == NULL || copy == NULL) {
        free(copy);
        return lens_error_set(err, -ENOMEM, "no memory for a fault script");
    }
    int r = 0;
    char *rest = copy;
    for (unsigned number = 1; r == 0 && rest != NULL; number++) {
        char *line = strsep(&rest, "\n");
        char said[128];
        snprintf(said, sizeof said, "%s", line);
        int parsed = parse_line(line, &backend->rules[backend->n_rules]);
        if (parsed < 0)
            r = lens_error_set(err, -EINVAL,
                               "line %u of the fault script: expected CALL N FAULT (slab_create|slot_write|run|score, "
                               "a number from 1, a range such as 3-7 or *, enomem|eio|enodev|late|wrong|slow:MS; late "
                               "is for slot_write, "
                               "wrong for score), found \"%s\"",
                               number, said);
        else
            backend->n_rules += (size_t)parsed;
    }
    free(copy);
    return r;
}

/* ---- injecting -------------------------------------------------------------------------------------------------- */

static void sleep_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

/* Counts a call and says which fault it meets; *slow_ms gets how long it must take first. */
static enum fault count_call(struct fault_backend *backend, enum call call, unsigned *slow_ms)
{
    uint64_t nth = ++backend->count[call];
    if (backend->lost)
        return FAULT_ENODEV;
    for (size_t i = 0; i < backend->n_rules; i++) {
        const struct rule *rule = &backend->rules[i];
        if (rule->call != call || nth < rule->first || nth > rule->last)
            continue;
        if (rule->fault == FAULT_SLOW) {
            *slow_ms += rule->slow_ms;
            continue;
        }
        backend->lost = rule->fault == FAULT_ENODEV;
        return rule->fault;
    }
    return FAULT_NONE;
}

static enum fault next_fault(struct fault_backend *backend, enum call call)
{
    unsigned slow_ms = 0;
    pthread_mutex_lock(&backend->lock);
    enum fault fault = count_call(backend, call, &slow_ms);
    pthread_mutex_unlock(&backend->lock);
    if (slow_ms > 0)
        sleep_ms(slow_ms);
    return fault;
}

/* The error of a fault that fails its call; 0 for the others. */
static int raise_fault(enum fault fault, enum call call, struct lens_error *err)
{
    const char *name = call_names[call];
    if (fault == FAULT_ENOMEM)
        return lens_error_set(err, -ENOMEM, "injected fault: %s is out of memory", name);
    if (fault == FAULT_EIO)
        return lens_error_set(err, -EIO, "injected fault: %s failed", name);
    if (fault == FAULT_ENODEV)
        return lens_error_set(err, -ENODEV, "injected fault: the device is lost (%s)", name);
    return 0;
}

static struct fault_backend *backend_of(struct lens_slab *slab)
{
    return (struct fault_backend *)slab->backend;
}

static struct lens_slab *inner_of(struct lens_slab *slab)
{
    return ((struct fault_slab *)slab)->inner;
}

static void fault_describe(struct lens_backend *base, struct lens_device *out)
{
    struct fault_backend *backend = (struct fault_backend *)base;
    backend->inner->ops->describe(backend->inner, out);
    char inner[sizeof out->backend];
    memcpy(inner, out->backend, sizeof inner);
    snprintf(out->backend, sizeof out->backend, "fault+%.25s", inner);
}

static void fault_slab_destroy(struct lens_slab *base)
{
    struct fault_slab *slab = (struct fault_slab *)base;
    lens_cascade_destroy(base);
    if (slab->inner != NULL)
        slab->inner->backend->ops->slab_destroy(slab->inner);
    free(slab);
}

static int fault_slab_create(struct lens_backend *base, const struct lens_model *model,
                             const struct lens_slab_config *config, struct lens_slab **out, struct lens_error *err)
{
    struct fault_backend *backend = (struct fault_backend *)base;
    *out = NULL;
    int r = raise_fault(next_fault(backend, CALL_SLAB_CREATE), CALL_SLAB_CREATE, err);
    if (r != 0)
        return r;
    struct fault_slab *slab = calloc(1, sizeof *slab);
    if (slab == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a slab");
    slab->base = (struct lens_slab){.backend = base, .model = *model, .config = *config};
    r = backend->inner->ops->slab_create(backend->inner, model, config, &slab->inner, err);
    if (r == 0)
        r = lens_cascade_create(&slab->base, err);
    if (r != 0) {
        fault_slab_destroy(&slab->base);
        return r;
    }
    slab->base.slot_of = slab->inner->slot_of; /* one set of maps */
    slab->base.lens_in = slab->inner->lens_in;
    slab->base.source = slab->inner->source;
    *out = &slab->base;
    return 0;
}

struct late_report {
    lens_slot_done_fn done;
    void *arg;
};

static void report_late(void *arg, int status)
{
    (void)status;
    struct late_report *report = arg;
    if (report->done != NULL)
        report->done(report->arg, -EIO);
}

static int fault_slot_write(struct lens_slab *base, uint32_t loader, const struct lens_slot_write *writes, uint32_t n,
                            lens_slot_done_fn done, void *arg, struct lens_error *err)
{
    struct lens_slab *inner = inner_of(base);
    enum fault fault = next_fault(backend_of(base), CALL_SLOT_WRITE);
    int r = raise_fault(fault, CALL_SLOT_WRITE, err);
    if (r != 0)
        return r;
    if (fault != FAULT_LATE)
        return inner->backend->ops->slot_write(inner, loader, writes, n, done, arg, err);
    struct late_report report = {done, arg}; /* the inner backends' writes are done when they return */
    return inner->backend->ops->slot_write(inner, loader, writes, n, report_late, &report, err);
}

static uint64_t fault_slot_bytes(const struct lens_slab *base)
{
    const struct lens_slab *inner = ((const struct fault_slab *)base)->inner;
    return inner->backend->ops->slot_bytes(inner);
}

static int fault_run(struct lens_slab *base, struct lens_batch *batch, struct lens_error *err)
{
    int r = raise_fault(next_fault(backend_of(base), CALL_RUN), CALL_RUN, err);
    if (r == 0)
        return lens_cascade_run(base, batch, err);
    lens_cascade_forget(base);
    return r;
}

static int fault_stage(struct lens_slab *base, uint32_t row, const void *source, enum lens_dtype dtype)
{
    struct lens_slab *inner = inner_of(base);
    return inner->backend->ops->stage(inner, row, source, dtype);
}

static int fault_score(struct lens_slab *base, const struct lens_score_item *items, uint32_t n_items,
                       const uint32_t *rows, float *logits, struct lens_error *err)
{
    struct lens_slab *inner = inner_of(base);
    enum fault fault = next_fault(backend_of(base), CALL_SCORE);
    int r = raise_fault(fault, CALL_SCORE, err);
    if (r == 0)
        r = inner->backend->ops->score(inner, items, n_items, rows, logits, err);
    if (r == 0 && fault == FAULT_WRONG && n_items > 0)
        logits[items[0].first] += 1000.0f;
    return r;
}

static void fault_close(struct lens_backend *base)
{
    struct fault_backend *backend = (struct fault_backend *)base;
    backend->inner->ops->close(backend->inner);
    pthread_mutex_destroy(&backend->lock);
    free(backend->rules);
    free(backend);
}

int lens_fault_open(struct lens_backend *inner, const char *script, struct lens_backend **out, struct lens_error *err)
{
    static const struct lens_backend_ops ops = {
        .api_version = LENS_BACKEND_API,
        .describe = fault_describe,
        .slab_create = fault_slab_create,
        .slab_destroy = fault_slab_destroy,
        .slot_write = fault_slot_write,
        .run = fault_run,
        .slot_bytes = fault_slot_bytes,
        .close = fault_close,
        .stage = fault_stage,
        .score = fault_score,
    };
    if (inner->ops->stage == NULL || inner->ops->score == NULL)
        return lens_error_set(err, -ENOTSUP, "faults can only be injected into a backend with primitives");
    struct fault_backend *backend = calloc(1, sizeof *backend);
    if (backend == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a backend");
    int r = parse_script(script, backend, err);
    if (r != 0) {
        free(backend->rules);
        free(backend);
        return r;
    }
    pthread_mutex_init(&backend->lock, NULL);
    backend->base.ops = &ops;
    backend->inner = inner;
    *out = &backend->base; /* may be where `inner` came from */
    return 0;
}
