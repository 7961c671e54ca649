/* The fault-injecting backend: what a script says happens, at the call it says, and nothing else does. */
#include "tests/unit/support/conformance_rig.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

enum { LENSES = 4, ROWS = 3 };

static struct conformance_random random_state = {7};
static struct conformance_model *model;

/* A conformance target whose arg is the script. */
static int open_faulty(void *arg, uint32_t threads, struct lens_backend **out, struct lens_error *err)
{
    struct lens_backend *inner = NULL;
    int rc = lens_cpu_open(&(struct lens_cpu_options){.threads = threads, .variant = "scalar"}, &inner, err);
    if (rc == 0 && (rc = lens_fault_open(inner, arg, out, err)) != 0)
        inner->ops->close(inner);
    return rc;
}

static const struct lens_slab_config config = {
    .slots = LENSES, .dtype = LENS_F32, .compute = LENS_COMPUTE_EXACT, .max_batch_rows = ROWS, .loaders = 1};

static int make_model(void **state)
{
    (void)state;
    struct conformance_shape shape = {.lenses = LENSES, .dim = 24, .h1 = 8, .h2 = 4, .stored = LENS_F32};
    model = conformance_model_new(&shape, &random_state);
    return 0;
}

static int free_model(void **state)
{
    (void)state;
    conformance_model_free(model);
    return 0;
}

static void open_rig(struct conformance_rig *rig, char *script)
{
    struct conformance_target target = {.name = "fault", .open = open_faulty, .arg = script};
    conformance_rig_open(rig, &target, 1, model, &config);
}

/* All lenses on all rows, by hand: what run returns. */
static int run_rows(struct conformance_rig *rig, float *logits, struct lens_error *err)
{
    static float rows[ROWS * 24];
    uint32_t base[LENSES] = {0, 1, 2, 3}, misses[LENSES], used[LENSES], retained[LENSES];
    struct lens_detection detections[ROWS];
    struct lens_row_out out[ROWS];
    struct lens_cascade_options options;
    lens_options_default(&options);
    options.top_k = 1;
    options.keep_top_k = 0;
    memset(out, 0, sizeof out);
    for (uint32_t i = 0; i < ROWS * 24; i++)
        rows[i] = (float)(i % 7) - 3.0f;
    for (uint32_t r = 0; r < ROWS; r++)
        out[r].detections = &detections[r];
    struct lens_job job = {.rows = rows,
                           .dtype = LENS_F32,
                           .n_rows = ROWS,
                           .options = &options,
                           .base = base,
                           .n_base = LENSES,
                           .out = out,
                           .retained = retained,
                           .retained_capacity = LENSES};
    struct lens_batch batch = {.jobs = &(struct lens_job *){&job}, .n_jobs = 1, .misses = misses, .used = used};
    int rc = rig->backend->ops->run(rig->slab, &batch, err);
    for (uint32_t r = 0; rc == 0 && r < ROWS; r++)
        memcpy(logits + (size_t)r * LENSES, out[r].logits, LENSES * sizeof *logits);
    return rc;
}

static void expect_parse_error(char *script, const char *part)
{
    struct lens_backend *backend = NULL;
    struct lens_error err = {0};
    assert_int_equal(open_faulty(script, 1, &backend, &err), -EINVAL);
    assert_null(backend);
    if (strstr(err.text, part) == NULL)
        fail_msg("\"%s\" doesn't name \"%s\"", err.text, part);
}

static void a_bad_script_is_refused_with_its_line(void **state)
{
    (void)state;
    expect_parse_error("score 1 eio\nscore 1", "line 2");
    expect_parse_error("\n\nlaunch 1 eio", "line 3");
    expect_parse_error("score 0 eio", "line 1");
    expect_parse_error("score -1 eio", "line 1");
    expect_parse_error("score 1x eio", "line 1");
    expect_parse_error("score 3-2 eio", "line 1");
    expect_parse_error("score 0-2 eio", "line 1");
    expect_parse_error("score 2- eio", "line 1");
    expect_parse_error("score 2--3 eio", "line 1");
    expect_parse_error("score 1 late", "line 1");
    expect_parse_error("run 1 wrong", "line 1");
    expect_parse_error("run 1 slow:", "line 1");
    expect_parse_error("run 1 slow:1s", "line 1");
    expect_parse_error("run 1 eio twice", "line 1");
    expect_parse_error("run 1 fire", "fire");
}

static void an_empty_script_changes_nothing(void **state)
{
    (void)state;
    struct conformance_rig plain, faulty;
    float want[ROWS * LENSES], got[ROWS * LENSES];
    struct lens_error err = {0};
    struct lens_device device;
    open_rig(&plain, "");
    open_rig(&faulty, "# nothing\n\n  \n");
    faulty.backend->ops->describe(faulty.backend, &device);
    assert_string_equal(device.backend, "fault+cpu");
    conformance_load(&plain, NULL, NULL, LENSES);
    conformance_load(&faulty, NULL, NULL, LENSES);
    assert_int_equal(run_rows(&plain, want, &err), LENS_RUN_DONE);
    assert_int_equal(run_rows(&faulty, got, &err), LENS_RUN_DONE);
    assert_memory_equal(got, want, sizeof got);
    conformance_rig_close(&plain);
    conformance_rig_close(&faulty);
}

static void slab_create_fails_when_told_to(void **state)
{
    (void)state;
    struct lens_backend *backend = NULL;
    struct lens_slab *slab = NULL;
    struct lens_error err = {0};
    assert_int_equal(open_faulty("slab_create 1 enomem", 1, &backend, &err), 0);
    assert_non_null(backend);
    assert_int_equal(backend->ops->slab_create(backend, &model->model, &config, &slab, &err), -ENOMEM);
    assert_null(slab);
    assert_non_null(strstr(err.text, "slab_create"));
    assert_int_equal(backend->ops->slab_create(backend, &model->model, &config, &slab, &err), 0);
    backend->ops->slab_destroy(slab);
    backend->ops->close(backend);
}

static void note(void *arg, int status)
{
    int *calls = arg;
    calls[0]++;
    calls[1] = status;
}

static void a_failed_write_is_returned_or_reported(void **state)
{
    (void)state;
    struct conformance_rig rig;
    struct lens_error err = {0};
    int calls[2] = {0, 0};
    open_rig(&rig, "slot_write 2 eio\nslot_write 3 late");
    conformance_load(&rig, NULL, NULL, LENSES);
    struct lens_slot_write write = conformance_write(model, 1, 3);
    assert_int_equal(rig.backend->ops->slot_write(rig.slab, 0, &write, 1, note, calls, &err), -EIO);
    assert_int_equal(calls[0], 0);
    assert_int_equal(rig.backend->ops->slot_write(rig.slab, 0, &write, 1, note, calls, &err), 0);
    assert_int_equal(calls[0], 1);
    assert_int_equal(calls[1], -EIO);
    conformance_load(&rig, NULL, NULL, LENSES);
    conformance_rig_close(&rig);
}

static void a_score_fails_inside_a_run_and_the_slab_goes_on(void **state)
{
    (void)state;
    struct conformance_rig rig;
    struct lens_error err = {0};
    float first[ROWS * LENSES], third[ROWS * LENSES];
    open_rig(&rig, "score 2 eio\nrun 4 enomem");
    conformance_load(&rig, NULL, NULL, LENSES);
    assert_int_equal(run_rows(&rig, first, &err), LENS_RUN_DONE);
    assert_int_equal(run_rows(&rig, third, &err), -EIO);
    assert_int_equal(err.code, -EIO);
    assert_int_equal(run_rows(&rig, third, &err), LENS_RUN_DONE);
    assert_memory_equal(first, third, sizeof first);
    assert_int_equal(run_rows(&rig, third, &err), -ENOMEM);
    conformance_rig_close(&rig);
}

static void a_wrong_score_is_off_by_a_thousand_once(void **state)
{
    (void)state;
    struct conformance_rig rig;
    struct lens_error err = {0};
    float right[ROWS * LENSES], wrong[ROWS * LENSES];
    int off = 0;
    open_rig(&rig, "score 2 wrong");
    conformance_load(&rig, NULL, NULL, LENSES);
    assert_int_equal(run_rows(&rig, right, &err), LENS_RUN_DONE);
    assert_int_equal(run_rows(&rig, wrong, &err), LENS_RUN_DONE);
    for (int i = 0; i < ROWS * LENSES; i++)
        off += fabsf(wrong[i] - right[i]) > 900.0f;
    assert_int_equal(off, 1);
    assert_int_equal(run_rows(&rig, wrong, &err), LENS_RUN_DONE);
    assert_memory_equal(right, wrong, sizeof right);
    conformance_rig_close(&rig);
}

static void a_lost_device_stays_lost(void **state)
{
    (void)state;
    struct conformance_rig rig;
    struct lens_error err = {0};
    float logits[ROWS * LENSES];
    open_rig(&rig, "score 2 enodev");
    conformance_load(&rig, NULL, NULL, LENSES);
    assert_int_equal(run_rows(&rig, logits, &err), LENS_RUN_DONE);
    assert_int_equal(run_rows(&rig, logits, &err), -ENODEV);
    assert_int_equal(run_rows(&rig, logits, &err), -ENODEV);
    struct lens_slot_write write = conformance_write(model, 0, 0);
    assert_int_equal(rig.backend->ops->slot_write(rig.slab, 0, &write, 1, NULL, NULL, &err), -ENODEV);
    struct lens_slab *second = NULL;
    assert_int_equal(rig.backend->ops->slab_create(rig.backend, &model->model, &config, &second, &err), -ENODEV);
    conformance_rig_close(&rig);
}

static void slow_calls_take_their_time_and_succeed(void **state)
{
    (void)state;
    struct conformance_rig rig;
    struct lens_error err = {0};
    struct timespec before, after;
    float logits[ROWS * LENSES];
    open_rig(&rig, "run * slow:20");
    conformance_load(&rig, NULL, NULL, LENSES);
    clock_gettime(CLOCK_MONOTONIC, &before);
    assert_int_equal(run_rows(&rig, logits, &err), LENS_RUN_DONE);
    clock_gettime(CLOCK_MONOTONIC, &after);
    double ms = (double)(after.tv_sec - before.tv_sec) * 1e3 + (double)(after.tv_nsec - before.tv_nsec) * 1e-6;
    assert_true(ms >= 19.0);
    conformance_rig_close(&rig);
}

static void a_range_meets_each_of_its_calls_and_no_other(void **state)
{
    (void)state;
    struct conformance_rig rig;
    struct lens_error err = {0};
    float logits[ROWS * LENSES];
    open_rig(&rig, "run 2-4 eio");
    conformance_load(&rig, NULL, NULL, LENSES);
    for (int i = 1; i <= 6; i++)
        assert_int_equal(run_rows(&rig, logits, &err), i >= 2 && i <= 4 ? -EIO : LENS_RUN_DONE);
    conformance_rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_script_is_refused_with_its_line),
        cmocka_unit_test(an_empty_script_changes_nothing),
        cmocka_unit_test(slab_create_fails_when_told_to),
        cmocka_unit_test(a_failed_write_is_returned_or_reported),
        cmocka_unit_test(a_score_fails_inside_a_run_and_the_slab_goes_on),
        cmocka_unit_test(a_wrong_score_is_off_by_a_thousand_once),
        cmocka_unit_test(a_lost_device_stays_lost),
        cmocka_unit_test(a_range_meets_each_of_its_calls_and_no_other),
        cmocka_unit_test(slow_calls_take_their_time_and_succeed),
    };
    return cmocka_run_group_tests_name("fault_backend", tests, make_model, free_model);
}
