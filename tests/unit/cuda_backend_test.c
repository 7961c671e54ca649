/* The host side of the CUDA backend on an emulated card: opening, memory, rows in place and copied, jobs, errors in the
 * middle of things. What the kernels compute is the conformance suite's affair. */
#include "kernels/cuda/layout.h"
#include "tests/unit/support/card_world.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static void expect_no_card(uint32_t api, uint32_t device, int code, const char *words)
{
    struct lens_backend *backend = (struct lens_backend *)&backend;
    struct lens_error err = {0};
    assert_int_equal(lens_cuda_open(api, &(struct lens_cuda_options){.device = device}, &backend, &err), code);
    assert_null(backend);
    card_expect_says(&err, code, words);
    assert_int_equal(emulator_things_alive(), 0);
}

static void a_card_that_cannot_be_used_is_refused_with_the_reason(void **state)
{
    (void)state;
    expect_no_card(LENS_BACKEND_API + 1, 0, -ENOTSUP, "version");
    expect_no_card(LENS_BACKEND_API, 7, -ENODEV, "no card 7: this machine has 1");
    card_settle("LENSD_EMULATOR_DEVICES", "-2");
    expect_no_card(LENS_BACKEND_API, 0, -ENODEV, "no CUDA driver");
    card_settle("LENSD_EMULATOR_DEVICES", "-1");
    expect_no_card(LENS_BACKEND_API, 0, -ENOTSUP, "driver is too old");
    card_settle("LENSD_EMULATOR_DEVICES", "0");
    expect_no_card(LENS_BACKEND_API, 0, -ENODEV, "no card");
    card_settle("LENSD_EMULATOR_CAPABILITY", "7.5");
    expect_no_card(LENS_BACKEND_API, 0, -ENOTSUP, "compute capability 7.5; 8.0 or higher");
    card_settle("LENSD_EMULATOR_FAULTS", "cudaFuncGetAttributes 2 209");
    expect_no_card(LENS_BACKEND_API, 0, -ENOTSUP, "no code for card 0");
    card_settle("LENSD_EMULATOR_FAULTS", "cudaMemGetInfo 1 46");
    expect_no_card(LENS_BACKEND_API, 0, -ENODEV, "the card is lost");
}

static void a_card_is_described(void **state)
{
    (void)state;
    struct lens_backend *backend;
    struct lens_device device;
    assert_int_equal(card_open(NULL, 1, &backend, NULL), 0);
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
    struct card_world w;
    struct lens_slab_size size;
    uint64_t before, after;
    card_world_open(&w, &card_usual);
    const struct lens_backend_ops *ops = w.rig.backend->ops;
    assert_int_equal(ops->slab_size(w.rig.backend, &w.model->model, &card_usual, &size, NULL), 0);
    assert_int_equal(size.slot_bytes, ops->slot_bytes(w.rig.slab));
    assert_int_equal(size.fixed_bytes + LENSES * size.slot_bytes, emulator_bytes_allocated());
    assert_int_equal(ops->memory_free(w.rig.backend, &before), 0);
    assert_int_equal(before, (1 << 30) - emulator_bytes_allocated());
    struct lens_slab *slab;
    assert_int_equal(ops->slab_create(w.rig.backend, &w.model->model, &card_usual, &slab, NULL), 0);
    ops->slab_destroy(slab);
    assert_int_equal(ops->memory_free(w.rig.backend, &after), 0);
    assert_int_equal(before, after);
    card_world_close(&w);
    assert_int_equal(emulator_things_alive(), 0);
}

static void a_card_without_room_says_how_much_was_wanted(void **state)
{
    (void)state;
    struct lens_backend *backend;
    struct lens_slab *slab;
    struct lens_error err = {0};
    struct conformance_random random = {card_seed()};
    struct conformance_model *model = card_small_model(&random, LENS_BF16);
    struct lens_slab_config config = card_usual;
    card_settle("LENSD_EMULATOR_MEMORY", "8000000");
    assert_int_equal(card_open(NULL, 1, &backend, NULL), 0);
    config.slots = 100000;
    assert_int_equal(backend->ops->slab_create(backend, &model->model, &config, &slab, &err), -ENOMEM);
    assert_null(slab);
    card_expect_says(&err, -ENOMEM, "100000 slots need");
    card_expect_says(&err, -ENOMEM, "and 7.6 of its 7.6 MiB are free");
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
    struct conformance_random random = {card_seed()};
    struct conformance_model *model = card_small_model(&random, LENS_BF16);
    card_settle(NULL, NULL);
    assert_int_equal(card_open(NULL, 1, &backend, NULL), 0);
    snprintf(fault, sizeof fault, "%s %u %d", call, nth, error);
    card_settle("LENSD_EMULATOR_FAULTS", fault);
    int rc = backend->ops->slab_create(backend, &model->model, &card_usual, &slab, &err);
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
                                        "cudaStreamSynchronize",
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
    assert_int_equal(card_open(NULL, 1, &backend, NULL), 0);
    unsigned char *memory = backend->ops->host_alloc(backend, 100000);
    assert_non_null(memory);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(memory[i], 0);
    backend->ops->host_free(backend, memory);
    backend->ops->host_free(backend, NULL);
    card_settle("LENSD_EMULATOR_FAULTS", "cudaHostAlloc 1 2");
    assert_null(backend->ops->host_alloc(backend, 100000));
    backend->ops->close(backend);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static void registered_rows_are_read_in_place_and_others_copied(void **state)
{
    (void)state;
    struct card_world w;
    struct card_question q;
    struct card_asked asked;
    struct lens_error err = {0};
    float logits[ROWS * LENSES];
    void *view;
    card_world_open(&w, &card_usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    card_ask(&w, logits);
    const struct lens_backend_ops *ops = w.rig.backend->ops;
    size_t bytes = (size_t)ROWS * 40 * sizeof(float);
    float *session = aligned_alloc(4096, 4096);
    float *elsewhere = malloc(bytes); /* NaN: must not be looked at */
    memset(elsewhere, 0xff, bytes);
    memcpy(session, w.rows, bytes);
    assert_int_equal(ops->host_register(w.rig.backend, session, 4096, &view, &err), 0);
    card_pose(&q, elsewhere, ROWS);
    q.job.device_rows = view;
    assert_int_equal(card_run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_DONE);
    for (uint32_t r = 0; r < ROWS; r++)
        assert_memory_equal(q.out[r].logits, &logits[(size_t)r * LENSES], LENSES * sizeof(float));
    assert_true(ops->host_register(w.rig.backend, session, 4096, &view, &err) < 0); /* it is, already */
    assert_null(view);
    assert_true(strlen(err.text) > 20);
    ops->host_unregister(w.rig.backend, session);
    card_pose(&q, session, ROWS);
    assert_int_equal(card_run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_DONE);
    assert_memory_equal(q.out[3].logits, &logits[(size_t)3 * LENSES], LENSES * sizeof(float));
    free(session);
    free(elsewhere);
    card_world_close(&w);
}

static void a_row_that_waits_is_not_read_again(void **state)
{
    (void)state;
    struct card_world w;
    struct card_question q;
    struct card_asked asked;
    float logits[ROWS * LENSES];
    card_world_open(&w, &card_usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    card_ask(&w, logits);
    lens_slab_unmap(w.rig.slab, 5);
    float *rows = malloc(ROWS * 40 * sizeof(float));
    memcpy(rows, w.rows, ROWS * 40 * sizeof(float));
    card_pose(&q, rows, 3);
    assert_int_equal(card_run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_MISSES);
    assert_int_equal(asked.batch.n_misses, 1);
    assert_int_equal(asked.misses[0], 5);
    assert_int_equal(asked.batch.n_used, LENSES - 1);
    assert_int_equal(q.job.own.blocked, 3);
    memset(rows, 0xff, ROWS * 40 * sizeof(float));
    lens_slab_map(w.rig.slab, 5, 5, LENS_FROM_HOST);
    assert_int_equal(card_run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_DONE);
    assert_true(q.job.waited);
    assert_int_equal(asked.batch.n_used, 1);
    for (uint32_t r = 0; r < 3; r++) {
        assert_memory_equal(q.out[r].logits, &logits[(size_t)r * LENSES], LENSES * sizeof(float));
        assert_int_equal(q.out[r].counts.host_hits, 1);
        assert_int_equal(q.out[r].counts.slot_hits, LENSES - 1);
    }
    free(rows);
    card_world_close(&w);
}

/* Lens 3 has weights that aren't numbers, lens 5 isn't there: the answer comes at once, and says so of both. */
static void a_row_that_is_invalid_before_all_its_lenses_came_has_waited(void **state)
{
    (void)state;
    struct card_world w;
    struct card_question q;
    struct card_asked asked;
    struct lens_error err = {0};
    card_world_open(&w, &card_usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    size_t bytes = (size_t)w.model->model.h1 * w.model->model.dim * sizeof(uint16_t);
    struct lens_slot_write write = conformance_write(w.model, 3, 3);
    void *nan_weights = malloc(bytes);
    write.w1 = memset(nan_weights, 0xff, bytes);
    assert_int_equal(w.rig.backend->ops->slot_write(w.rig.slab, 0, &write, 1, NULL, NULL, &err), 0);
    free(nan_weights);
    lens_slab_unmap(w.rig.slab, 5);
    card_pose(&q, w.rows, 2);
    assert_int_equal(card_run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_DONE);
    assert_int_equal(q.out[0].status, LENS_ROW_INVALID_INPUT);
    assert_int_equal(asked.batch.n_misses, 1);
    assert_int_equal(asked.misses[0], 5);
    assert_true(q.job.waited);
    assert_int_equal(q.job.own.blocked, 0);
    card_world_close(&w);
}

static void lists_with_repeats_may_be_longer_than_the_model(void **state)
{
    (void)state;
    struct card_world w;
    struct card_question q;
    struct card_asked asked;
    card_world_open(&w, &card_usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    card_pose(&q, w.rows, 2);
    q.job.n_base = 3;
    q.job.pinned = q.ids;
    q.job.n_pinned = 3 * LENSES;
    assert_int_equal(card_run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_DONE);
    assert_int_equal(q.out[1].n_wanted, LENSES);
    assert_int_equal(q.out[1].n_always, LENSES);
    for (uint32_t i = 0; i < LENSES; i++)
        assert_int_equal(q.out[1].wanted[i], q.ids[i]);
    card_world_close(&w);
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

static void jobs_that_do_not_fit_are_refused_and_all_are_forgotten(void **state)
{
    (void)state;
    struct card_world w;
    struct card_question first, second;
    struct card_asked asked;
    struct lens_job *jobs[] = {&first.job, &second.job};
    card_world_open(&w, &card_usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    lens_slab_unmap(w.rig.slab, 9);
    card_pose(&first, w.rows, 4);
    assert_int_equal(card_run(&w, &asked, jobs, 1), LENS_RUN_MISSES);
    card_pose(&second, w.rows, 3); /* 4 + 3 > 6 */
    assert_int_equal(card_run(&w, &asked, jobs, 2), -EINVAL);
    card_expect_says(&asked.err, -EINVAL, "a job of 3 rows: at least 1 and at most 2 more");
    assert_int_equal(card_run(&w, &asked, jobs, 1), -EINVAL); /* RUNNING, but forgotten */
    card_expect_says(&asked.err, -EINVAL, "forgotten");
    lens_slab_map(w.rig.slab, 9, 9, LENS_FROM_FILE);
    card_pose(&first, w.rows, 0);
    assert_int_equal(card_run(&w, &asked, jobs, 1), -EINVAL);
    card_pose(&first, w.rows, ROWS);
    assert_int_equal(card_run(&w, &asked, jobs, 1), LENS_RUN_DONE);
    assert_int_equal(first.out[5].counts.slot_hits, LENSES); /* nothing is left of the row that waited */
    assert_int_equal(card_run(&w, &asked, jobs, 0), LENS_RUN_DONE);
    card_world_close(&w);
}

static void a_job_in_flight_must_be_in_the_batch(void **state)
{
    (void)state;
    struct card_world w;
    struct card_question first, second;
    struct card_asked asked;
    struct lens_job *jobs[] = {&first.job, &second.job};
    card_world_open(&w, &card_usual);
    conformance_load(&w.rig, NULL, NULL, LENSES - 1);
    card_pose(&first, w.rows, 1);
    card_pose(&second, w.rows, 1);
    assert_int_equal(card_run(&w, &asked, jobs, 1), LENS_RUN_MISSES);
    assert_int_equal(card_run(&w, &asked, jobs + 1, 1), -EINVAL);
    card_expect_says(&asked.err, -EINVAL, "2 jobs are in flight, and 1 of them");
    card_world_close(&w);
}

static void lost_lenses_end_the_jobs_that_wait_for_them(void **state)
{
    (void)state;
    struct card_world w;
    struct card_question first, second;
    struct card_asked asked;
    struct lens_job *jobs[] = {&first.job, &second.job};
    card_world_open(&w, &card_usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    lens_slab_unmap(w.rig.slab, 7);
    lens_slab_unmap(w.rig.slab, 8);
    card_pose(&first, w.rows, 2);
    card_pose(&second, w.rows, 2);
    first.job.base = (const uint32_t[]){1, 7};
    second.job.base = (const uint32_t[]){1, 8};
    first.job.n_base = second.job.n_base = 2;
    assert_int_equal(card_run(&w, &asked, jobs, 2), LENS_RUN_MISSES);
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
    assert_int_equal(card_run(&w, &asked, jobs + 1, 1), LENS_RUN_DONE);
    assert_int_equal(second.out[0].status, LENS_ROW_PARTIAL);
    assert_int_equal(second.out[0].reason, LENS_REASON_NONE);
    assert_int_equal(second.out[0].counts.missing, 1);
    assert_true(isnan(second.out[0].logits[8]));
    assert_int_equal(asked.batch.n_misses, 0);
    assert_int_equal(asked.batch.n_left, 1);
    assert_int_equal(asked.misses[0], 8);
    card_world_close(&w);
}

static void times_are_those_of_the_runs_a_job_took_part_in(void **state)
{
    (void)state;
    struct card_world w;
    struct card_question waits, comes;
    struct card_asked asked;
    struct lens_job *jobs[] = {&waits.job, &comes.job};
    card_world_open(&w, &card_usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    lens_slab_unmap(w.rig.slab, 2);
    card_pose(&waits, w.rows, 1);
    card_pose(&comes, w.rows, 1);
    comes.job.n_base = 2; /* 0 and 7 */
    assert_int_equal(card_run(&w, &asked, jobs, 1), LENS_RUN_MISSES);
    struct lens_job_timing before = waits.job.timing;
    assert_true(before.copy_in > 0 && before.base > 0);
    assert_int_equal(card_run(&w, &asked, jobs, 2), LENS_RUN_MISSES);
    assert_true(comes.job.timing.copy_in > 0 && comes.job.timing.base > 0 && comes.job.timing.select > 0);
    assert_memory_equal(&before, &waits.job.timing, sizeof before);
    lens_slab_map(w.rig.slab, 2, 2, LENS_FROM_FILE);
    assert_int_equal(card_run(&w, &asked, jobs, 1), LENS_RUN_DONE);
    assert_true(waits.job.timing.expand > before.expand);
    assert_int_equal(waits.job.timing.base, before.base); /* no row came in with that run */
    card_world_close(&w);
}

/* Sums of the first layer are kept for 64 MiB at a time: more pairs of lens and row than fit are scored in windows. */
static void a_pass_with_more_sums_than_there_is_room_for_is_done_in_windows(void **state)
{
    (void)state;
    enum { MANY = 70, LENSES_OF_IT = 130 };
    static float together[MANY * LENSES_OF_IT], alone[LENSES_OF_IT];
    struct conformance_random random = {card_seed()};
    struct conformance_shape shape = {
        .lenses = LENSES_OF_IT, .dim = 8, .h1 = 2048, .h2 = 1, .stored = LENS_BF16, .w2_dtype = LENS_BF16};
    struct conformance_model *model = conformance_model_new(&shape, &random);
    const struct conformance_target card = {.name = "cuda", .open = card_open};
    const struct lens_slab_config config = {
        .slots = LENSES_OF_IT, .dtype = LENS_BF16, .compute = LENS_COMPUTE_BF16, .max_batch_rows = MANY, .loaders = 1};
    struct cu_slab_info info = {0};
    struct lens_error err = {0};
    assert_int_equal(cu_slab_info_init(&model->model, &config, &info, &err), 0);
    assert_true(info.max_pairs < MANY * LENSES_OF_IT); /* else this test tests nothing */
    struct conformance_rig rig;
    conformance_rig_open(&rig, &card, 1, model, &config);
    conformance_load(&rig, NULL, NULL, LENSES_OF_IT);
    float *rows = conformance_rows(&shape, LENS_F32, MANY, &random);
    struct conformance_call call = {.rows = rows, .dtype = LENS_F32, .n = MANY, .job_rows = 7};
    uint8_t status[MANY];
    conformance_run(&rig, &call, together, status);
    for (uint32_t r = 0; r < MANY; r += 23) {
        call =
            (struct conformance_call){.rows = rows + (size_t)r * shape.dim, .dtype = LENS_F32, .n = 1, .job_rows = 1};
        conformance_run(&rig, &call, alone, status);
        assert_memory_equal(alone, together + (size_t)r * LENSES_OF_IT, sizeof alone);
    }
    conformance_rig_close(&rig);
    free(rows);
    conformance_model_free(model);
}

/* ---- errors in the middle of things ------------------------------------------------------------------------------ */

static void after_an_error_in_a_run_the_slab_works_without_any_job(void **state)
{
    (void)state;
    static const char *const faults[] = {"cudaSetDevice 1 3", "cudaGraphLaunch 1 1", "cudaGraphLaunch 1 2",
                                         "cudaGraphLaunch 1 1; cudaMemsetAsync 3 1", /* and so does the reset */
                                         "cudaGraphLaunch 1 1; cudaMemcpyAsync 1 1"};
    struct card_world w;
    struct card_question q;
    struct card_asked asked;
    float before[ROWS * LENSES], after[ROWS * LENSES];
    card_world_open(&w, &card_usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    card_ask(&w, before);
    for (unsigned i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        card_settle(NULL, NULL);
        lens_slab_unmap(w.rig.slab, 1);
        card_pose(&q, w.rows, ROWS - 1);
        assert_int_equal(card_run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_MISSES);
        lens_slab_map(w.rig.slab, 1, 1, LENS_FROM_FILE);
        card_settle("LENSD_EMULATOR_FAULTS", faults[i]);
        int rc = card_run(&w, &asked, &(struct lens_job *){&q.job}, 1);
        assert_int_equal(rc, strstr(faults[i], " 1 2") != NULL ? -ENOMEM : -EIO);
        assert_int_equal(asked.err.code, rc);
        assert_true(strlen(asked.err.text) > 20);
        card_ask(&w, after); /* as many rows as fit */
        assert_memory_equal(before, after, sizeof before);
    }
    card_world_close(&w);
}

static void a_lost_card_stays_lost(void **state)
{
    (void)state;
    struct card_world w;
    struct card_question q;
    struct card_asked asked;
    struct lens_error err = {0};
    struct lens_slab *slab;
    uint64_t bytes;
    void *view;
    card_world_open(&w, &card_usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    void *locked = w.rig.backend->ops->host_alloc(w.rig.backend, 4096);
    card_settle("LENSD_EMULATOR_FAULTS", "cudaGraphLaunch 1 700");
    card_pose(&q, w.rows, 1);
    assert_int_equal(card_run(&w, &asked, &(struct lens_job *){&q.job}, 1), -ENODEV);
    card_expect_says(&asked.err, -ENODEV, "the card is lost: an illegal memory access");
    card_settle(NULL, NULL); /* the emulated card is well again: what is lost is lost */
    const struct lens_backend_ops *ops = w.rig.backend->ops;
    card_pose(&q, w.rows, 1);
    assert_int_equal(card_run(&w, &asked, &(struct lens_job *){&q.job}, 1), -ENODEV);
    struct lens_slot_write write = conformance_write(w.model, 0, 0);
    assert_int_equal(ops->slot_write(w.rig.slab, 0, &write, 1, NULL, NULL, &err), -ENODEV);
    card_expect_says(&err, -ENODEV, "cudaErrorIllegalAddress");
    assert_int_equal(ops->slab_create(w.rig.backend, &w.model->model, &card_usual, &slab, &err), -ENODEV);
    assert_int_equal(ops->host_register(w.rig.backend, &w, sizeof w, &view, &err), -ENODEV);
    assert_int_equal(ops->memory_free(w.rig.backend, &bytes), -ENODEV);
    assert_null(ops->host_alloc(w.rig.backend, 4096));
    assert_int_equal(emulator_calls("cudaGraphLaunch") + emulator_calls("cudaMemcpyAsync"), 0);
    ops->host_free(w.rig.backend, locked);
    card_world_close(&w);
}

static void a_card_lost_under_a_loader_is_lost_for_runs_too(void **state)
{
    (void)state;
    struct card_world w;
    struct card_question q;
    struct card_asked asked;
    struct lens_error err = {0};
    card_world_open(&w, &card_usual);
    struct lens_slot_write write = conformance_write(w.model, 0, 0);
    card_settle("LENSD_EMULATOR_FAULTS", "cudaEventSynchronize 1 719");
    assert_int_equal(w.rig.backend->ops->slot_write(w.rig.slab, 1, &write, 1, NULL, NULL, &err), -ENODEV);
    card_pose(&q, w.rows, 1);
    assert_int_equal(card_run(&w, &asked, &(struct lens_job *){&q.job}, 1), -ENODEV);
    card_expect_says(&asked.err, -ENODEV, "cudaErrorLaunchFailure");
    card_world_close(&w);
}

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
        ON_A_CARD(a_row_that_is_invalid_before_all_its_lenses_came_has_waited),
        ON_A_CARD(lists_with_repeats_may_be_longer_than_the_model),
        ON_A_CARD(jobs_that_do_not_fit_are_refused_and_all_are_forgotten),
        ON_A_CARD(a_job_in_flight_must_be_in_the_batch),
        ON_A_CARD(lost_lenses_end_the_jobs_that_wait_for_them),
        ON_A_CARD(times_are_those_of_the_runs_a_job_took_part_in),
        ON_A_CARD(a_pass_with_more_sums_than_there_is_room_for_is_done_in_windows),
        ON_A_CARD(after_an_error_in_a_run_the_slab_works_without_any_job),
        ON_A_CARD(a_lost_card_stays_lost),
        ON_A_CARD(a_card_lost_under_a_loader_is_lost_for_runs_too),
    };
    card_start();
    return cmocka_run_group_tests_name("cuda_backend", tests, NULL, NULL);
}
