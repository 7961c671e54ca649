/* The host side of the CUDA backend on an emulated card: opening, memory, errors in the middle of things, rows in place
 * and copied, loaders beside a run. What the kernels compute is the conformance suite's affair. */
#include "tests/gpu/emulator/emulator.h"
#include "tests/unit/support/conformance.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define LENSES 40u
#define ROWS   6u

static uint64_t seed;

/* ---- the card ---------------------------------------------------------------------------------------------------- */

/* Settings of the emulated card; all others are its own. */
static void settle(const char *name, const char *value)
{
    static const char *const names[] = {"LENSD_EMULATOR_DEVICES", "LENSD_EMULATOR_MEMORY", "LENSD_EMULATOR_CAPABILITY",
                                        "LENSD_EMULATOR_FAULTS"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    if (name != NULL)
        setenv(name, value, 1);
    emulator_reset();
}

static int fresh_card(void **state)
{
    (void)state;
    settle(NULL, NULL);
    return 0;
}

static int nothing_is_left(void **state)
{
    (void)state;
    settle(NULL, NULL);
    if (emulator_things_alive() == 0)
        return 0;
    printf("%llu things of the card are left\n", (unsigned long long)emulator_things_alive());
    return -1;
}

static int open_card(void *arg, uint32_t threads, struct lens_backend **out, struct lens_error *err)
{
    (void)arg;
    (void)threads;
    return lens_cuda_open(LENS_BACKEND_API, &(struct lens_cuda_options){.device = 0}, out, err);
}

static const struct conformance_target card = {
    .name = "emulated", .open = open_card, .pairs = conformance_cuda_pairs, .n_pairs = CONFORMANCE_MAX_PAIRS};

/* ---- a model on it ----------------------------------------------------------------------------------------------- */

struct world {
    struct conformance_random random;
    struct conformance_model *model;
    struct conformance_rig rig;
    void *rows;
};

static const struct lens_slab_config usual = {
    .slots = LENSES, .dtype = LENS_BF16, .compute = LENS_COMPUTE_EXACT, .max_batch_rows = ROWS, .loaders = 3};

static struct conformance_model *small_model(struct conformance_random *random, enum lens_dtype stored)
{
    struct conformance_shape shape = {.lenses = LENSES, .dim = 40, .h1 = 20, .h2 = 3, .stored = stored};
    return conformance_model_new(&shape, random);
}

static void open_world(struct world *w, const struct lens_slab_config *config)
{
    w->random.state = seed;
    w->model = small_model(&w->random, config->dtype);
    w->rows = conformance_rows(&w->model->shape, LENS_F32, ROWS, &w->random);
    conformance_rig_open(&w->rig, &card, 1, w->model, config);
}

static void close_world(struct world *w)
{
    conformance_rig_close(&w->rig);
    conformance_model_free(w->model);
    free(w->rows);
}

/* All rows over all lenses. */
static void ask(struct world *w, float logits[ROWS * LENSES])
{
    uint8_t status[ROWS];
    conformance_run(&w->rig, &(struct conformance_call){.rows = w->rows, .n = ROWS, .job_rows = 2}, logits, status);
}

/* A job of the first rows, with room for all it can answer. */
struct question {
    struct lens_cascade_options options;
    struct lens_job job;
    struct lens_row_out out[ROWS];
    struct lens_detection detections[ROWS][4];
    uint32_t ids[3 * LENSES], retained[LENSES];
};

static void pose(struct question *q, const void *rows, uint32_t n_rows)
{
    memset(q, 0, sizeof *q);
    lens_options_default(&q->options);
    q->options.max_depth = 0;
    q->options.top_k = 4;
    for (uint32_t i = 0; i < 3 * LENSES; i++)
        q->ids[i] = i * 7 % LENSES;
    for (uint32_t r = 0; r < ROWS; r++)
        q->out[r].detections = q->detections[r];
    q->job = (struct lens_job){.rows = rows,
                               .n_rows = n_rows,
                               .options = &q->options,
                               .base = q->ids,
                               .n_base = LENSES,
                               .out = q->out,
                               .retained = q->retained,
                               .retained_capacity = LENSES};
}

/* One run of these jobs. */
struct asked {
    int rc;
    uint32_t misses[LENSES], used[LENSES];
    struct lens_batch batch;
    struct lens_error err;
};

static int run(struct world *w, struct asked *asked, struct lens_job **jobs, uint32_t n)
{
    memset(asked, 0, sizeof *asked);
    asked->batch = (struct lens_batch){.jobs = jobs, .n_jobs = n, .misses = asked->misses, .used = asked->used};
    asked->rc = w->rig.backend->ops->run(w->rig.slab, &asked->batch, &asked->err);
    return asked->rc;
}

static void expect_says(const struct lens_error *err, int code, const char *words)
{
    assert_int_equal(err->code, code);
    if (strstr(err->text, words) == NULL)
        fail_msg("\"%s\" doesn't say \"%s\"", err->text, words);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static void expect_no_card(uint32_t api, uint32_t device, int code, const char *words)
{
    struct lens_backend *backend = (struct lens_backend *)&backend;
    struct lens_error err = {0};
    assert_int_equal(lens_cuda_open(api, &(struct lens_cuda_options){.device = device}, &backend, &err), code);
    assert_null(backend);
    expect_says(&err, code, words);
    assert_int_equal(emulator_things_alive(), 0);
}

static void a_card_that_cannot_be_used_is_refused_with_the_reason(void **state)
{
    (void)state;
    expect_no_card(LENS_BACKEND_API + 1, 0, -ENOTSUP, "version");
    expect_no_card(LENS_BACKEND_API, 7, -ENODEV, "no card 7: this machine has 1");
    settle("LENSD_EMULATOR_DEVICES", "-2");
    expect_no_card(LENS_BACKEND_API, 0, -ENODEV, "no CUDA driver");
    settle("LENSD_EMULATOR_DEVICES", "-1");
    expect_no_card(LENS_BACKEND_API, 0, -ENOTSUP, "driver is too old");
    settle("LENSD_EMULATOR_DEVICES", "0");
    expect_no_card(LENS_BACKEND_API, 0, -ENODEV, "no card");
    settle("LENSD_EMULATOR_CAPABILITY", "7.5");
    expect_no_card(LENS_BACKEND_API, 0, -ENOTSUP, "compute capability 7.5; 8.0 or higher");
    settle("LENSD_EMULATOR_FAULTS", "cudaFuncGetAttributes 2 209");
    expect_no_card(LENS_BACKEND_API, 0, -ENOTSUP, "no code for card 0");
    settle("LENSD_EMULATOR_FAULTS", "cudaMemGetInfo 1 46");
    expect_no_card(LENS_BACKEND_API, 0, -ENODEV, "the card is lost");
}

static void a_card_is_described(void **state)
{
    (void)state;
    struct lens_backend *backend;
    struct lens_device device;
    assert_int_equal(open_card(NULL, 1, &backend, NULL), 0);
    assert_int_equal(backend->ops->api_version, LENS_BACKEND_API);
    backend->ops->describe(backend, &device);
    assert_string_equal(device.backend, "cuda");
    assert_string_equal(device.name, "emulated card 0");
    assert_string_equal(device.variant, "sm_90");
    assert_int_equal(device.memory_bytes, 1 << 30);
    assert_int_equal(device.slab_dtypes, 1u << LENS_F32 | 1u << LENS_BF16 | 1u << LENS_I8 | 1u << LENS_FP8);
    backend->ops->close(backend);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void a_slab_takes_what_was_said_and_gives_it_back(void **state)
{
    (void)state;
    struct world w;
    struct lens_slab_size size;
    uint64_t before, after;
    open_world(&w, &usual);
    const struct lens_backend_ops *ops = w.rig.backend->ops;
    assert_int_equal(ops->slab_size(w.rig.backend, &w.model->model, &usual, &size, NULL), 0);
    assert_int_equal(size.slot_bytes, ops->slot_bytes(w.rig.slab));
    assert_int_equal(size.fixed_bytes + LENSES * size.slot_bytes, emulator_bytes_allocated());
    assert_int_equal(ops->memory_free(w.rig.backend, &before), 0);
    assert_int_equal(before, (1 << 30) - emulator_bytes_allocated());
    struct lens_slab *slab;
    assert_int_equal(ops->slab_create(w.rig.backend, &w.model->model, &usual, &slab, NULL), 0);
    ops->slab_destroy(slab);
    assert_int_equal(ops->memory_free(w.rig.backend, &after), 0);
    assert_int_equal(before, after);
    close_world(&w);
    assert_int_equal(emulator_things_alive(), 0);
}

static void a_card_without_room_says_how_much_was_wanted(void **state)
{
    (void)state;
    struct lens_backend *backend;
    struct lens_slab *slab;
    struct lens_error err = {0};
    struct conformance_random random = {seed};
    struct conformance_model *model = small_model(&random, LENS_BF16);
    struct lens_slab_config config = usual;
    settle("LENSD_EMULATOR_MEMORY", "8000000");
    assert_int_equal(open_card(NULL, 1, &backend, NULL), 0);
    config.slots = 100000;
    assert_int_equal(backend->ops->slab_create(backend, &model->model, &config, &slab, &err), -ENOMEM);
    assert_null(slab);
    expect_says(&err, -ENOMEM, "100000 slots need");
    expect_says(&err, -ENOMEM, "and 7.6 of its 7.6 MiB are free");
    assert_int_equal(emulator_things_alive(), 0);
    config.slots = 100;
    assert_int_equal(backend->ops->slab_create(backend, &model->model, &config, &slab, &err), 0);
    backend->ops->slab_destroy(slab);
    backend->ops->close(backend);
    conformance_model_free(model);
}

/* Fails the nth call of that name while a slab is made; true when the slab was made all the same. */
static bool is_made_despite(const char *call, unsigned nth, int error)
{
    struct lens_backend *backend;
    struct lens_slab *slab = NULL;
    struct lens_error err = {0};
    char fault[96];
    struct conformance_random random = {seed};
    struct conformance_model *model = small_model(&random, LENS_BF16);
    settle(NULL, NULL);
    assert_int_equal(open_card(NULL, 1, &backend, NULL), 0);
    snprintf(fault, sizeof fault, "%s %u %d", call, nth, error);
    settle("LENSD_EMULATOR_FAULTS", fault);
    int rc = backend->ops->slab_create(backend, &model->model, &usual, &slab, &err);
    bool reached = emulator_calls(call) >= nth;
    if (rc == 0) {
        backend->ops->slab_destroy(slab);
    } else {
        assert_int_equal(rc, error == 700 ? -ENODEV : error == 2 ? -ENOMEM : -EIO);
        assert_int_equal(err.code, rc);
        assert_null(slab);
    }
    if (emulator_things_alive() != 0)
        fail_msg("%s: %llu things are left", fault, (unsigned long long)emulator_things_alive());
    backend->ops->close(backend);
    conformance_model_free(model);
    if (rc == 0 && reached && error != 2)
        fail_msg("%s: the error was overlooked", fault);
    return rc == 0;
}

static void whatever_fails_while_a_slab_is_made_leaves_nothing_behind(void **state)
{
    (void)state;
    static const char *const calls[] = {"cudaMalloc",
                                        "cudaHostAlloc",
                                        "cudaHostGetDevicePointer",
                                        "cudaDeviceGetStreamPriorityRange",
                                        "cudaStreamCreateWithPriority",
                                        "cudaEventCreateWithFlags",
                                        "cudaMemcpy",
                                        "cudaMemcpyAsync",
                                        "cudaMemsetAsync",
                                        "cudaGraphCreate",
                                        "cudaGraphAddKernelNode",
                                        "cudaGraphConditionalHandleCreate",
                                        "cudaGraphAddNode",
                                        "cudaGraphInstantiate",
                                        "cudaGraphUpload"};
    for (unsigned i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        unsigned nth = 1;
        while (!is_made_despite(calls[i], nth, 1))
            nth++;
        assert_true(nth > 1); /* the call is made at all */
        assert_false(is_made_despite(calls[i], 1, 700));
    }
    assert_false(is_made_despite("cudaMalloc", 1, 2));
    assert_false(is_made_despite("cudaHostAlloc", 1, 2));
}

static void host_memory_is_locked_and_zeroed(void **state)
{
    (void)state;
    struct lens_backend *backend;
    assert_int_equal(open_card(NULL, 1, &backend, NULL), 0);
    unsigned char *memory = backend->ops->host_alloc(backend, 100000);
    assert_non_null(memory);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(memory[i], 0);
    backend->ops->host_free(backend, memory);
    backend->ops->host_free(backend, NULL);
    settle("LENSD_EMULATOR_FAULTS", "cudaHostAlloc 1 2");
    assert_null(backend->ops->host_alloc(backend, 100000));
    backend->ops->close(backend);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static void registered_rows_are_read_in_place_and_others_copied(void **state)
{
    (void)state;
    struct world w;
    struct question q;
    struct asked asked;
    struct lens_error err = {0};
    float logits[ROWS * LENSES];
    void *view;
    open_world(&w, &usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    ask(&w, logits);
    const struct lens_backend_ops *ops = w.rig.backend->ops;
    size_t bytes = (size_t)ROWS * 40 * sizeof(float);
    float *session = aligned_alloc(4096, 4096);
    float *elsewhere = malloc(bytes); /* NaN: must not be looked at */
    memset(elsewhere, 0xff, bytes);
    memcpy(session, w.rows, bytes);
    assert_int_equal(ops->host_register(w.rig.backend, session, 4096, &view, &err), 0);
    pose(&q, elsewhere, ROWS);
    q.job.device_rows = view;
    assert_int_equal(run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_DONE);
    for (uint32_t r = 0; r < ROWS; r++)
        assert_memory_equal(q.out[r].logits, &logits[(size_t)r * LENSES], LENSES * sizeof(float));
    assert_true(ops->host_register(w.rig.backend, session, 4096, &view, &err) < 0); /* it is, already */
    assert_null(view);
    assert_true(strlen(err.text) > 20);
    ops->host_unregister(w.rig.backend, session);
    pose(&q, session, ROWS);
    assert_int_equal(run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_DONE);
    assert_memory_equal(q.out[3].logits, &logits[(size_t)3 * LENSES], LENSES * sizeof(float));
    free(session);
    free(elsewhere);
    close_world(&w);
}

static void a_row_that_waits_is_not_read_again(void **state)
{
    (void)state;
    struct world w;
    struct question q;
    struct asked asked;
    float logits[ROWS * LENSES];
    open_world(&w, &usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    ask(&w, logits);
    lens_slab_unmap(w.rig.slab, 5);
    float *rows = malloc(ROWS * 40 * sizeof(float));
    memcpy(rows, w.rows, ROWS * 40 * sizeof(float));
    pose(&q, rows, 3);
    assert_int_equal(run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_MISSES);
    assert_int_equal(asked.batch.n_misses, 1);
    assert_int_equal(asked.misses[0], 5);
    assert_int_equal(asked.batch.n_used, LENSES - 1);
    assert_int_equal(q.job.own.blocked, 3);
    memset(rows, 0xff, ROWS * 40 * sizeof(float));
    lens_slab_map(w.rig.slab, 5, 5, LENS_FROM_HOST);
    assert_int_equal(run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_DONE);
    assert_true(q.job.waited);
    assert_int_equal(asked.batch.n_used, 1);
    for (uint32_t r = 0; r < 3; r++) {
        assert_memory_equal(q.out[r].logits, &logits[(size_t)r * LENSES], LENSES * sizeof(float));
        assert_int_equal(q.out[r].counts.host_hits, 1);
        assert_int_equal(q.out[r].counts.slot_hits, LENSES - 1);
    }
    free(rows);
    close_world(&w);
}

static void lists_with_repeats_may_be_longer_than_the_model(void **state)
{
    (void)state;
    struct world w;
    struct question q;
    struct asked asked;
    open_world(&w, &usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    pose(&q, w.rows, 2);
    q.job.n_base = 3;
    q.job.pinned = q.ids;
    q.job.n_pinned = 3 * LENSES;
    assert_int_equal(run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_DONE);
    assert_int_equal(q.out[1].n_wanted, LENSES);
    assert_int_equal(q.out[1].n_always, LENSES);
    for (uint32_t i = 0; i < LENSES; i++)
        assert_int_equal(q.out[1].wanted[i], q.ids[i]);
    close_world(&w);
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

static void jobs_that_do_not_fit_are_refused_and_all_are_forgotten(void **state)
{
    (void)state;
    struct world w;
    struct question first, second;
    struct asked asked;
    struct lens_job *jobs[] = {&first.job, &second.job};
    open_world(&w, &usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    lens_slab_unmap(w.rig.slab, 9);
    pose(&first, w.rows, 4);
    assert_int_equal(run(&w, &asked, jobs, 1), LENS_RUN_MISSES);
    pose(&second, w.rows, 3); /* 4 + 3 > 6 */
    assert_int_equal(run(&w, &asked, jobs, 2), -EINVAL);
    expect_says(&asked.err, -EINVAL, "a job of 3 rows: at least 1 and at most 2 more");
    assert_int_equal(run(&w, &asked, jobs, 1), -EINVAL); /* RUNNING, but forgotten */
    expect_says(&asked.err, -EINVAL, "forgotten");
    lens_slab_map(w.rig.slab, 9, 9, LENS_FROM_FILE);
    pose(&first, w.rows, 0);
    assert_int_equal(run(&w, &asked, jobs, 1), -EINVAL);
    pose(&first, w.rows, ROWS);
    assert_int_equal(run(&w, &asked, jobs, 1), LENS_RUN_DONE);
    assert_int_equal(first.out[5].counts.slot_hits, LENSES); /* nothing is left of the row that waited */
    assert_int_equal(run(&w, &asked, jobs, 0), LENS_RUN_DONE);
    close_world(&w);
}

static void a_job_in_flight_must_be_in_the_batch(void **state)
{
    (void)state;
    struct world w;
    struct question first, second;
    struct asked asked;
    struct lens_job *jobs[] = {&first.job, &second.job};
    open_world(&w, &usual);
    conformance_load(&w.rig, NULL, NULL, LENSES - 1);
    pose(&first, w.rows, 1);
    pose(&second, w.rows, 1);
    assert_int_equal(run(&w, &asked, jobs, 1), LENS_RUN_MISSES);
    assert_int_equal(run(&w, &asked, jobs + 1, 1), -EINVAL);
    expect_says(&asked.err, -EINVAL, "2 jobs are in flight, and 1 of them");
    close_world(&w);
}

static void lost_lenses_end_the_jobs_that_wait_for_them(void **state)
{
    (void)state;
    struct world w;
    struct question first, second;
    struct asked asked;
    struct lens_job *jobs[] = {&first.job, &second.job};
    open_world(&w, &usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    lens_slab_unmap(w.rig.slab, 7);
    lens_slab_unmap(w.rig.slab, 8);
    pose(&first, w.rows, 2);
    pose(&second, w.rows, 2);
    first.job.base = (const uint32_t[]){1, 7};
    second.job.base = (const uint32_t[]){1, 8};
    first.job.n_base = second.job.n_base = 2;
    assert_int_equal(run(&w, &asked, jobs, 2), LENS_RUN_MISSES);
    assert_int_equal(asked.batch.n_misses, 2);
    asked.batch.lost = (const uint32_t[]){7};
    asked.batch.n_lost = 1;
    assert_int_equal(w.rig.backend->ops->run(w.rig.slab, &asked.batch, &asked.err), LENS_RUN_MISSES);
    assert_int_equal(first.job.state, LENS_JOB_DONE);
    assert_int_equal(second.job.state, LENS_JOB_RUNNING);
    assert_int_equal(first.out[1].status, LENS_ROW_PARTIAL);
    assert_int_equal(first.out[1].reason, LENS_REASON_ENGINE_FAILURE);
    assert_int_equal(first.out[1].flags, LENS_ROW_DEGRADED);
    assert_null(first.out[1].logits);
    assert_false(first.job.retained_changed);
    assert_int_equal(asked.batch.n_misses, 1);
    assert_int_equal(asked.misses[0], 8);
    second.job.give_up = true;
    assert_int_equal(run(&w, &asked, jobs + 1, 1), LENS_RUN_DONE);
    assert_int_equal(second.out[0].status, LENS_ROW_PARTIAL);
    assert_int_equal(second.out[0].reason, LENS_REASON_NONE);
    assert_int_equal(second.out[0].counts.missing, 1);
    assert_true(isnan(second.out[0].logits[8]));
    assert_int_equal(asked.batch.n_misses, 0);
    assert_int_equal(asked.batch.n_left, 1);
    assert_int_equal(asked.misses[0], 8);
    close_world(&w);
}

static void times_are_those_of_the_runs_a_job_took_part_in(void **state)
{
    (void)state;
    struct world w;
    struct question waits, comes;
    struct asked asked;
    struct lens_job *jobs[] = {&waits.job, &comes.job};
    open_world(&w, &usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    lens_slab_unmap(w.rig.slab, 2);
    pose(&waits, w.rows, 1);
    pose(&comes, w.rows, 1);
    comes.job.n_base = 2; /* 0 and 7 */
    assert_int_equal(run(&w, &asked, jobs, 1), LENS_RUN_MISSES);
    struct lens_job_timing before = waits.job.timing;
    assert_true(before.copy_in > 0 && before.base > 0);
    assert_int_equal(run(&w, &asked, jobs, 2), LENS_RUN_MISSES);
    assert_true(comes.job.timing.copy_in > 0 && comes.job.timing.base > 0 && comes.job.timing.select > 0);
    assert_memory_equal(&before, &waits.job.timing, sizeof before);
    lens_slab_map(w.rig.slab, 2, 2, LENS_FROM_FILE);
    assert_int_equal(run(&w, &asked, jobs, 1), LENS_RUN_DONE);
    assert_true(waits.job.timing.expand > before.expand);
    assert_int_equal(waits.job.timing.base, before.base); /* no row came in with that run */
    close_world(&w);
}

/* ---- errors in the middle of things ------------------------------------------------------------------------------ */

static void after_an_error_in_a_run_the_slab_works_without_any_job(void **state)
{
    (void)state;
    static const char *const faults[] = {
        "cudaSetDevice 1 3",   "cudaMemcpyAsync 1 1",
        "cudaMemcpyAsync 2 1", "cudaGraphLaunch 1 1",
        "cudaGraphLaunch 1 2", "cudaGraphLaunch 1 1; cudaMemsetAsync 3 1" /* and so does the reset */};
    struct world w;
    struct question q;
    struct asked asked;
    float before[ROWS * LENSES], after[ROWS * LENSES];
    open_world(&w, &usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    ask(&w, before);
    for (unsigned i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        settle(NULL, NULL);
        lens_slab_unmap(w.rig.slab, 1);
        pose(&q, w.rows, ROWS - 1);
        assert_int_equal(run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_MISSES);
        lens_slab_map(w.rig.slab, 1, 1, LENS_FROM_FILE);
        settle("LENSD_EMULATOR_FAULTS", faults[i]);
        int rc = run(&w, &asked, &(struct lens_job *){&q.job}, 1);
        assert_int_equal(rc, strstr(faults[i], " 1 2") != NULL ? -ENOMEM : -EIO);
        assert_int_equal(asked.err.code, rc);
        assert_true(strlen(asked.err.text) > 20);
        ask(&w, after); /* as many rows as fit */
        assert_memory_equal(before, after, sizeof before);
    }
    close_world(&w);
}

static void a_lost_card_stays_lost(void **state)
{
    (void)state;
    struct world w;
    struct question q;
    struct asked asked;
    struct lens_error err = {0};
    struct lens_slab *slab;
    uint64_t bytes;
    void *view;
    open_world(&w, &usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    void *locked = w.rig.backend->ops->host_alloc(w.rig.backend, 4096);
    settle("LENSD_EMULATOR_FAULTS", "cudaGraphLaunch 1 700");
    pose(&q, w.rows, 1);
    assert_int_equal(run(&w, &asked, &(struct lens_job *){&q.job}, 1), -ENODEV);
    expect_says(&asked.err, -ENODEV, "the card is lost: an illegal memory access");
    settle(NULL, NULL); /* the emulated card is well again: what is lost is lost */
    const struct lens_backend_ops *ops = w.rig.backend->ops;
    pose(&q, w.rows, 1);
    assert_int_equal(run(&w, &asked, &(struct lens_job *){&q.job}, 1), -ENODEV);
    struct lens_slot_write write = conformance_write(w.model, 0, 0);
    assert_int_equal(ops->slot_write(w.rig.slab, 0, &write, 1, NULL, NULL, &err), -ENODEV);
    expect_says(&err, -ENODEV, "cudaErrorIllegalAddress");
    assert_int_equal(ops->slab_create(w.rig.backend, &w.model->model, &usual, &slab, &err), -ENODEV);
    assert_int_equal(ops->host_register(w.rig.backend, &w, sizeof w, &view, &err), -ENODEV);
    assert_int_equal(ops->memory_free(w.rig.backend, &bytes), -ENODEV);
    assert_null(ops->host_alloc(w.rig.backend, 4096));
    assert_int_equal(emulator_calls("cudaGraphLaunch") + emulator_calls("cudaMemcpyAsync"), 0);
    ops->host_free(w.rig.backend, locked);
    close_world(&w);
}

static void a_card_lost_under_a_loader_is_lost_for_runs_too(void **state)
{
    (void)state;
    struct world w;
    struct question q;
    struct asked asked;
    struct lens_error err = {0};
    open_world(&w, &usual);
    struct lens_slot_write write = conformance_write(w.model, 0, 0);
    settle("LENSD_EMULATOR_FAULTS", "cudaEventSynchronize 1 719");
    assert_int_equal(w.rig.backend->ops->slot_write(w.rig.slab, 1, &write, 1, NULL, NULL, &err), -ENODEV);
    pose(&q, w.rows, 1);
    assert_int_equal(run(&w, &asked, &(struct lens_job *){&q.job}, 1), -ENODEV);
    expect_says(&asked.err, -ENODEV, "cudaErrorLaunchFailure");
    close_world(&w);
}

/* ---- slots ------------------------------------------------------------------------------------------------------- */

static void never(void *arg, int status)
{
    (void)arg;
    fail_msg("done was called with %d though slot_write returned an error", status);
}

static void expect_bad_write(struct world *w, uint32_t loader, const struct lens_slot_write *write, int code)
{
    struct lens_error err = {0};
    int rc = w->rig.backend->ops->slot_write(w->rig.slab, loader, write, 1, never, NULL, &err);
    assert_int_equal(rc, code);
    assert_int_equal(err.code, code);
    assert_true(strlen(err.text) > 20);
}

static void writes_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, &usual);
    const struct lens_slot_write good = conformance_write(w.model, 0, 0);
    struct lens_slot_write bad = good;
    expect_bad_write(&w, 3, &good, -EINVAL);
    bad.slot = LENSES;
    expect_bad_write(&w, 0, &bad, -EINVAL);
    bad = good;
    bad.lens = LENSES;
    expect_bad_write(&w, 0, &bad, -EINVAL);
    bad = good;
    bad.w1 = NULL;
    expect_bad_write(&w, 0, &bad, -EINVAL);
    static const enum lens_dtype without_tables[] = {LENS_I8, LENS_LOG8, LENS_F16, LENS_FP8};
    for (unsigned i = 0; i < 4; i++) {
        bad = good;
        bad.stored = without_tables[i];
        expect_bad_write(&w, 0, &bad, -EINVAL);
    }
    settle("LENSD_EMULATOR_FAULTS", "cudaMemcpyAsync 1 1; cudaLaunchKernel 1 701; cudaEventSynchronize 3 1");
    for (unsigned i = 0; i < 3; i++)
        expect_bad_write(&w, 0, &good, -EIO);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    close_world(&w);
}

static void lenses_that_lie_together_go_over_in_one_piece(void **state)
{
    (void)state;
    static const struct {
        enum lens_dtype dtype;
        unsigned copies;
    } expected[] = {{LENS_F32, 1}, {LENS_BF16, 1}, {LENS_I8, 2}};
    for (unsigned i = 0; i < 3; i++) {
        struct world w;
        struct lens_slab_config config = usual;
        config.dtype = expected[i].dtype;
        open_world(&w, &config);
        settle(NULL, NULL);
        conformance_load(&w.rig, NULL, NULL, 8);
        assert_int_equal(emulator_calls("cudaMemcpyAsync"), expected[i].copies);
        assert_int_equal(emulator_calls("cudaLaunchKernel"), 1);
        close_world(&w);
    }
}

static void a_piece_that_the_card_refuses_goes_lens_by_lens(void **state)
{
    (void)state;
    struct world w;
    float before[ROWS * LENSES], after[ROWS * LENSES];
    open_world(&w, &usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    ask(&w, before);
    settle("LENSD_EMULATOR_FAULTS", "cudaMemcpyAsync 1 1");
    conformance_load(&w.rig, NULL, NULL, LENSES);
    assert_int_equal(emulator_calls("cudaMemcpyAsync"), 1 + 1 + 2);
    ask(&w, after);
    assert_memory_equal(before, after, sizeof before);
    close_world(&w);
}

/* With room for a few lenses at a time in a loader's staging. */
static void more_lenses_than_the_staging_holds_go_in_turns(void **state)
{
    (void)state;
    struct world w;
    struct lens_slab_size size;
    char memory[32];
    float before[ROWS * LENSES], after[ROWS * LENSES];
    open_world(&w, &usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    ask(&w, before);
    uint64_t turns = emulator_calls("cudaLaunchKernel");
    assert_int_equal(w.rig.backend->ops->slab_size(w.rig.backend, &w.model->model, &usual, &size, NULL), 0);
    close_world(&w);
    snprintf(memory, sizeof memory, "%llu",
             (unsigned long long)(size.fixed_bytes + LENSES * size.slot_bytes - 3 * 29 * 3264));
    settle("LENSD_EMULATOR_MEMORY", memory);
    open_world(&w, &usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    assert_true(emulator_calls("cudaLaunchKernel") > 4 * turns);
    ask(&w, after);
    assert_memory_equal(before, after, sizeof before);
    close_world(&w);
}

struct loading {
    pthread_t thread;
    struct world *w;
    uint32_t loader;
    atomic_uint done;
    int rc;
};

static void count_done(void *arg, int status)
{
    struct loading *loading = arg;
    assert_int_equal(status, 0);
    atomic_fetch_add(&loading->done, 1);
}

/* Writes its own third of the upper lenses, over and over. */
static void *load_again_and_again(void *arg)
{
    struct loading *loading = arg;
    struct lens_slot_write writes[4];
    for (uint32_t i = 0; i < 4; i++)
        writes[i] = conformance_write(loading->w->model, 20 + loading->loader * 4 + i, 20 + loading->loader * 4 + i);
    for (uint32_t turn = 0; turn < 20 && loading->rc == 0; turn++)
        loading->rc = loading->w->rig.backend->ops->slot_write(loading->w->rig.slab, loading->loader, writes, 4,
                                                               count_done, loading, NULL);
    return NULL;
}

static void loaders_write_beside_a_run(void **state)
{
    (void)state;
    struct world w;
    struct loading loadings[3] = {{0}};
    struct question q;
    struct asked asked;
    float before[ROWS * LENSES], after[ROWS * LENSES];
    open_world(&w, &usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    ask(&w, before);
    for (uint32_t lens = 20; lens < 32; lens++)
        lens_slab_unmap(w.rig.slab, lens);
    for (uint32_t i = 0; i < 3; i++) {
        loadings[i].w = &w;
        loadings[i].loader = i;
        assert_int_equal(pthread_create(&loadings[i].thread, NULL, load_again_and_again, &loadings[i]), 0);
    }
    static const uint32_t lower[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    for (uint32_t turn = 0; turn < 20; turn++) {
        pose(&q, w.rows, ROWS);
        q.job.base = lower;
        q.job.n_base = 10;
        assert_int_equal(run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_DONE);
        for (uint32_t r = 0; r < ROWS; r++)
            assert_memory_equal(q.out[r].logits, &before[(size_t)r * LENSES], 10 * sizeof(float));
    }
    for (uint32_t i = 0; i < 3; i++) {
        pthread_join(loadings[i].thread, NULL);
        assert_int_equal(loadings[i].rc, 0);
        assert_int_equal(loadings[i].done, 20);
    }
    for (uint32_t lens = 20; lens < 32; lens++)
        lens_slab_map(w.rig.slab, lens, lens, LENS_FROM_FILE);
    ask(&w, after);
    assert_memory_equal(before, after, sizeof before);
    close_world(&w);
}

#define ON_A_CARD(test) cmocka_unit_test_setup_teardown(test, fresh_card, nothing_is_left)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_CARD(a_card_that_cannot_be_used_is_refused_with_the_reason),
        ON_A_CARD(a_card_is_described),
        ON_A_CARD(a_slab_takes_what_was_said_and_gives_it_back),
        ON_A_CARD(a_card_without_room_says_how_much_was_wanted),
        ON_A_CARD(whatever_fails_while_a_slab_is_made_leaves_nothing_behind),
        ON_A_CARD(host_memory_is_locked_and_zeroed),
        ON_A_CARD(registered_rows_are_read_in_place_and_others_copied),
        ON_A_CARD(a_row_that_waits_is_not_read_again),
        ON_A_CARD(lists_with_repeats_may_be_longer_than_the_model),
        ON_A_CARD(jobs_that_do_not_fit_are_refused_and_all_are_forgotten),
        ON_A_CARD(a_job_in_flight_must_be_in_the_batch),
        ON_A_CARD(lost_lenses_end_the_jobs_that_wait_for_them),
        ON_A_CARD(times_are_those_of_the_runs_a_job_took_part_in),
        ON_A_CARD(after_an_error_in_a_run_the_slab_works_without_any_job),
        ON_A_CARD(a_lost_card_stays_lost),
        ON_A_CARD(a_card_lost_under_a_loader_is_lost_for_runs_too),
        ON_A_CARD(writes_that_make_no_sense_are_refused),
        ON_A_CARD(lenses_that_lie_together_go_over_in_one_piece),
        ON_A_CARD(a_piece_that_the_card_refuses_goes_lens_by_lens),
        ON_A_CARD(more_lenses_than_the_staging_holds_go_in_turns),
        ON_A_CARD(loaders_write_beside_a_run),
    };
    seed = conformance_seed();
    emulator_reset();
    printf("LENSD_EMULATOR_SEED=%llu\n", (unsigned long long)emulator_seed());
    return cmocka_run_group_tests_name("cuda_backend", tests, NULL, NULL);
}
