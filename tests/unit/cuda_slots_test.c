/* Lenses on their way into a card's slots: what is refused, in how few pieces they go, in turns, beside a run. */
#include "tests/unit/support/card_world.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void never(void *arg, int status)
{
    (void)arg;
    fail_msg("done was called with %d though slot_write returned an error", status);
}

static void expect_bad_write(struct card_world *w, uint32_t loader, const struct lens_slot_write *write, int code)
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
    struct card_world w;
    card_world_open(&w, &card_usual);
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
    card_settle("LENSD_EMULATOR_FAULTS", "cudaMemcpyAsync 1 1; cudaLaunchKernel 1 701; cudaEventSynchronize 3 1");
    for (unsigned i = 0; i < 3; i++)
        expect_bad_write(&w, 0, &good, -EIO);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    card_world_close(&w);
}

static void lenses_that_lie_together_go_over_in_one_piece(void **state)
{
    (void)state;
    static const struct {
        enum lens_dtype dtype;
        unsigned copies;
    } expected[] = {{LENS_F32, 1}, {LENS_BF16, 1}, {LENS_I8, 2}};
    for (unsigned i = 0; i < 3; i++) {
        struct card_world w;
        struct lens_slab_config config = card_usual;
        config.dtype = expected[i].dtype;
        card_world_open(&w, &config);
        card_settle(NULL, NULL);
        conformance_load(&w.rig, NULL, NULL, 8);
        assert_int_equal(emulator_calls("cudaMemcpyAsync"), expected[i].copies);
        assert_int_equal(emulator_calls("cudaLaunchKernel"), 1);
        card_world_close(&w);
    }
}

static void a_piece_that_the_card_refuses_goes_lens_by_lens(void **state)
{
    (void)state;
    struct card_world w;
    float before[ROWS * LENSES], after[ROWS * LENSES];
    card_world_open(&w, &card_usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    card_ask(&w, before);
    card_settle("LENSD_EMULATOR_FAULTS", "cudaMemcpyAsync 1 1");
    conformance_load(&w.rig, NULL, NULL, LENSES);
    assert_int_equal(emulator_calls("cudaMemcpyAsync"), 1 + 1 + 2);
    card_ask(&w, after);
    assert_memory_equal(before, after, sizeof before);
    card_world_close(&w);
}

/* With room for a few lenses at a time in a loader's staging. */
static void more_lenses_than_the_staging_holds_go_in_turns(void **state)
{
    (void)state;
    struct card_world w;
    struct lens_slab_size size;
    char memory[32];
    float before[ROWS * LENSES], after[ROWS * LENSES];
    card_world_open(&w, &card_usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    card_ask(&w, before);
    uint64_t turns = emulator_calls("cudaLaunchKernel");
    assert_int_equal(w.rig.backend->ops->slab_size(w.rig.backend, &w.model->model, &card_usual, &size, NULL), 0);
    card_world_close(&w);
    snprintf(memory, sizeof memory, "%llu",
             (unsigned long long)(size.fixed_bytes + LENSES * size.slot_bytes - 3 * 29 * 3264));
    card_settle("LENSD_EMULATOR_MEMORY", memory);
    card_world_open(&w, &card_usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    assert_true(emulator_calls("cudaLaunchKernel") > 4 * turns);
    card_ask(&w, after);
    assert_memory_equal(before, after, sizeof before);
    card_world_close(&w);
}

struct loading {
    pthread_t thread;
    struct card_world *w;
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

static void resize(struct card_world *w, uint32_t slots, uint32_t expected)
{
    struct lens_error err = {0};
    if (w->rig.backend->ops->slab_resize(w->rig.slab, slots, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(w->rig.slab->config.slots, expected);
}

/* Lenses from `first` to before `end`, into slots from `slot` on. */
static void load_range(struct card_world *w, uint32_t first, uint32_t end, uint32_t slot)
{
    uint32_t slots[LENSES], lenses[LENSES];
    for (uint32_t i = 0; i < end - first; i++) {
        slots[i] = slot + i;
        lenses[i] = first + i;
    }
    conformance_load(&w->rig, slots, lenses, end - first);
}

static void loaders_write_beside_a_run_and_while_other_slots_come_and_go(void **state)
{
    (void)state;
    struct card_world w;
    struct loading loadings[3] = {{0}};
    struct card_question q;
    struct card_asked asked;
    float before[ROWS * LENSES], after[ROWS * LENSES];
    card_world_open(&w, &card_usual);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    card_ask(&w, before);
    for (uint32_t lens = 20; lens < LENSES; lens++)
        lens_slab_unmap(w.rig.slab, lens);
    for (uint32_t i = 0; i < 3; i++) {
        loadings[i].w = &w;
        loadings[i].loader = i;
        assert_int_equal(pthread_create(&loadings[i].thread, NULL, load_again_and_again, &loadings[i]), 0);
    }
    static const uint32_t lower[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    for (uint32_t turn = 0; turn < 20; turn++) {
        resize(&w, turn % 2 == 0 ? 32 : LENSES, turn % 2 == 0 ? 32 : LENSES);
        card_pose(&q, w.rows, ROWS);
        q.job.base = lower;
        q.job.n_base = 10;
        assert_int_equal(card_run(&w, &asked, &(struct lens_job *){&q.job}, 1), LENS_RUN_DONE);
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
    load_range(&w, 32, LENSES, 32);
    card_ask(&w, after);
    assert_memory_equal(before, after, sizeof before);
    card_world_close(&w);
}

/* ---- slots that go and come ------------------------------------------------------------------------------------- */

/* What a run of all rows over all lenses found: LENS_RUN_DONE with the logits of `expected`, or that lenses miss. */
static int ask_on(struct card_world *w, struct card_question *q, struct card_asked *asked, const float *expected)
{
    int rc = card_run(w, asked, &(struct lens_job *){&q->job}, 1);
    for (uint32_t r = 0; r < ROWS && rc == LENS_RUN_DONE; r++)
        assert_memory_equal(q->out[r].logits, &expected[(size_t)r * LENSES], LENSES * sizeof(float));
    return rc;
}

static void slots_given_back_leave_all_answers_as_they_are(void **state)
{
    (void)state;
    struct card_world w;
    struct card_question q;
    struct card_asked asked;
    float logits[ROWS * LENSES];
    card_world_open(&w, &card_usual);
    uint64_t all = emulator_bytes_allocated(), slot = w.rig.backend->ops->slot_bytes(w.rig.slab);
    uint32_t unit = w.rig.slab->slot_unit;
    assert_int_equal(unit, 2);
    conformance_load(&w.rig, NULL, NULL, LENSES);
    card_ask(&w, logits);
    for (uint32_t lens = 30; lens < LENSES; lens++)
        lens_slab_unmap(w.rig.slab, lens);
    resize(&w, 29, 30); /* whole units */
    assert_int_equal(emulator_bytes_allocated(), all - 10 * slot);

    card_pose(&q, w.rows, ROWS);
    assert_int_equal(ask_on(&w, &q, &asked, logits), LENS_RUN_MISSES); /* in flight from here on */
    assert_int_equal(asked.batch.n_misses, 10);
    for (uint32_t lens = 16; lens < 30; lens++)
        lens_slab_unmap(w.rig.slab, lens);
    resize(&w, 16, 16);
    assert_int_equal(emulator_bytes_allocated(), all - 24 * slot);
    load_range(&w, 30, 36, 10); /* in slots that others had */
    assert_int_equal(ask_on(&w, &q, &asked, logits), LENS_RUN_MISSES);
    assert_int_equal(asked.batch.n_misses, 4);
    resize(&w, 25, 26);
    load_range(&w, 36, LENSES, 22);
    assert_int_equal(ask_on(&w, &q, &asked, logits), LENS_RUN_DONE);

    resize(&w, LENSES, LENSES);
    assert_int_equal(emulator_bytes_allocated(), all);
    load_range(&w, 0, LENSES, 0);
    card_pose(&q, w.rows, ROWS);
    assert_int_equal(ask_on(&w, &q, &asked, logits), LENS_RUN_DONE);
    card_world_close(&w);
}

static void slots_that_cannot_be_had_again_leave_the_slab_as_it_was(void **state)
{
    (void)state;
    struct card_world w;
    struct lens_error err = {0};
    struct lens_slab *slab;
    float logits[ROWS * LENSES], after[ROWS * LENSES];
    card_world_open(&w, &card_usual);
    const struct lens_backend_ops *ops = w.rig.backend->ops;
    slab = w.rig.slab;
    conformance_load(&w.rig, NULL, NULL, LENSES);
    card_ask(&w, logits);
    assert_int_equal(ops->slab_resize(slab, 0, &err), -EINVAL);
    assert_int_equal(ops->slab_resize(slab, LENSES + 1, &err), -EINVAL);
    card_expect_says(&err, -EINVAL, "made with 40 slots");
    for (uint32_t lens = 20; lens < LENSES; lens++)
        lens_slab_unmap(slab, lens);
    resize(&w, 20, 20);
    struct lens_slot_write beyond = conformance_write(w.model, 20, 20);
    assert_int_equal(ops->slot_write(slab, 0, &beyond, 1, NULL, NULL, &err), -EINVAL);

    uint64_t bytes = emulator_bytes_allocated();
    for (uint32_t call = 1; call <= 10; call++) {
        char fault[64];
        snprintf(fault, sizeof fault, "cudaMalloc %u 2", call);
        card_settle("LENSD_EMULATOR_FAULTS", fault);
        assert_int_equal(ops->slab_resize(slab, LENSES, &err), -ENOMEM);
        assert_int_equal(slab->config.slots, 20);
        assert_int_equal(emulator_bytes_allocated(), bytes);
    }
    card_settle("LENSD_EMULATOR_FAULTS", "cudaMemcpyAsync 1 1"); /* the card isn't told: nothing changed */
    assert_int_equal(ops->slab_resize(slab, LENSES, &err), -EIO);
    assert_int_equal(emulator_bytes_allocated(), bytes);
    card_settle(NULL, NULL);
    resize(&w, LENSES, LENSES);
    load_range(&w, 20, LENSES, 20);
    card_ask(&w, after);
    assert_memory_equal(logits, after, sizeof logits);
    card_world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_CARD(writes_that_make_no_sense_are_refused),
        ON_A_CARD(lenses_that_lie_together_go_over_in_one_piece),
        ON_A_CARD(a_piece_that_the_card_refuses_goes_lens_by_lens),
        ON_A_CARD(more_lenses_than_the_staging_holds_go_in_turns),
        ON_A_CARD(loaders_write_beside_a_run_and_while_other_slots_come_and_go),
        ON_A_CARD(slots_given_back_leave_all_answers_as_they_are),
        ON_A_CARD(slots_that_cannot_be_had_again_leave_the_slab_as_it_was),
    };
    card_start();
    return cmocka_run_group_tests_name("cuda_slots", tests, NULL, NULL);
}
