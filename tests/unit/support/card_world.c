/* See card_world.h. */
#include "tests/unit/support/card_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t seed;

void card_start(void)
{
    seed = conformance_seed();
    emulator_reset();
    printf("LENSD_EMULATOR_SEED=%llu\n", (unsigned long long)emulator_seed());
}

uint64_t card_seed(void)
{
    return seed;
}

/* ---- the card ---------------------------------------------------------------------------------------------------- */

void card_settle(const char *name, const char *value)
{
    static const char *const names[] = {"LENSD_EMULATOR_DEVICES", "LENSD_EMULATOR_MEMORY", "LENSD_EMULATOR_CAPABILITY",
                                        "LENSD_EMULATOR_FAULTS"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    if (name != NULL)
        setenv(name, value, 1);
    emulator_reset();
}

int card_fresh(void **state)
{
    (void)state;
    card_settle(NULL, NULL);
    return 0;
}

int card_is_empty(void **state)
{
    (void)state;
    card_settle(NULL, NULL);
    if (emulator_things_alive() == 0)
        return 0;
    printf("%llu things of the card are left\n", (unsigned long long)emulator_things_alive());
    return -1;
}

int card_open(void *arg, uint32_t threads, struct lens_backend **out, struct lens_error *err)
{
    (void)arg;
    (void)threads;
    return lens_cuda_open(LENS_BACKEND_API, &(struct lens_cuda_options){.device = 0}, out, err);
}

static const struct conformance_target card = {
    .name = "emulated", .open = card_open, .pairs = conformance_cuda_pairs, .n_pairs = CONFORMANCE_MAX_PAIRS};

/* ---- a model on it ----------------------------------------------------------------------------------------------- */

const struct lens_slab_config card_usual = {
    .slots = LENSES, .dtype = LENS_BF16, .compute = LENS_COMPUTE_EXACT, .max_batch_rows = ROWS, .loaders = 3};

struct conformance_model *card_small_model(struct conformance_random *random, enum lens_dtype stored)
{
    struct conformance_shape shape = {.lenses = LENSES, .dim = 40, .h1 = 20, .h2 = 3, .stored = stored};
    return conformance_model_new(&shape, random);
}

void card_world_open(struct card_world *w, const struct lens_slab_config *config)
{
    w->random.state = seed;
    w->model = card_small_model(&w->random, config->dtype);
    w->rows = conformance_rows(&w->model->shape, LENS_F32, ROWS, &w->random);
    conformance_rig_open(&w->rig, &card, 1, w->model, config);
}

void card_world_close(struct card_world *w)
{
    conformance_rig_close(&w->rig);
    conformance_model_free(w->model);
    free(w->rows);
}

void card_ask(struct card_world *w, float logits[ROWS * LENSES])
{
    uint8_t status[ROWS];
    conformance_run(&w->rig, &(struct conformance_call){.rows = w->rows, .n = ROWS, .job_rows = 2}, logits, status);
}

void card_pose(struct card_question *q, const void *rows, uint32_t n_rows)
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

int card_run(struct card_world *w, struct card_asked *asked, struct lens_job **jobs, uint32_t n)
{
    memset(asked, 0, sizeof *asked);
    asked->batch = (struct lens_batch){.jobs = jobs, .n_jobs = n, .misses = asked->misses, .used = asked->used};
    return w->rig.backend->ops->run(w->rig.slab, &asked->batch, &asked->err);
}

void card_expect_says(const struct lens_error *err, int code, const char *words)
{
    assert_int_equal(err->code, code);
    if (strstr(err->text, words) == NULL)
        fail_msg("\"%s\" doesn't say \"%s\"", err->text, words);
}
