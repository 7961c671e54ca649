/* kernels/cuda/layout.c: every array of a slab has a place of its own, and what can't be is refused. No card needed. */
#include "kernels/cuda/layout.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

struct shape {
    uint32_t lenses, dim, h1, h2, rows, edges;
};

/* Odd sizes, ones, and the real tree's. */
static const struct shape shapes[] = {
    {1, 1, 1, 1, 1, 0},      {3, 7, 130, 12, 5, 2},        {33, 101, 24, 1, 17, 32},
    {64, 64, 16, 64, 1, 63}, {1000, 384, 128, 64, 3, 999}, {7947, 2560, 128, 64, 512, 8102},
};

static const struct {
    enum lens_dtype dtype;
    enum lens_compute compute;
    uint32_t columns, step, weight_bytes, x_bytes;
    bool scales;
} pairs[] = {
    {LENS_F32, LENS_COMPUTE_EXACT, 1, 16, 4, 4, false}, {LENS_BF16, LENS_COMPUTE_EXACT, 3, 32, 2, 2, false},
    {LENS_BF16, LENS_COMPUTE_BF16, 1, 32, 2, 2, false}, {LENS_I8, LENS_COMPUTE_EXACT, 3, 64, 1, 2, true},
    {LENS_I8, LENS_COMPUTE_INT8, 1, 64, 1, 1, true},    {LENS_FP8, LENS_COMPUTE_EXACT, 3, 64, 1, 2, true},
};

static struct lens_model model_of(const struct shape *s)
{
    return (struct lens_model){.lenses = s->lenses, .dim = s->dim, .h1 = s->h1, .h2 = s->h2};
}

static struct lens_slab_config config_of(const struct shape *s, unsigned pair)
{
    return (struct lens_slab_config){.slots = s->lenses,
                                     .dtype = pairs[pair].dtype,
                                     .compute = pairs[pair].compute,
                                     .max_batch_rows = s->rows,
                                     .loaders = 1};
}

static struct cu_slab_info info_of(const struct shape *s, unsigned pair)
{
    struct lens_model model = model_of(s);
    struct lens_slab_config config = config_of(s, pair);
    struct cu_slab_info info;
    struct lens_error err = {0};
    memset(&info, 0xa5, sizeof info);
    if (cu_slab_info_init(&model, &config, &info, &err) != 0)
        fail_msg("%s", err.text);
    return info;
}

/* ---- places ------------------------------------------------------------------------------------------------------ */

struct place {
    const char *name;
    uint64_t at, bytes;
};

static void expect_apart(const struct place *places, unsigned n, uint64_t total)
{
    for (unsigned i = 0; i < n; i++) {
        if (places[i].at % 256 != 0 || places[i].at + places[i].bytes > total)
            fail_msg("%s: %llu bytes at %llu of %llu", places[i].name, (unsigned long long)places[i].bytes,
                     (unsigned long long)places[i].at, (unsigned long long)total);
        for (unsigned k = 0; k < i; k++)
            if (places[i].at < places[k].at + places[k].bytes && places[k].at < places[i].at + places[i].bytes)
                fail_msg("%s and %s overlap", places[i].name, places[k].name);
    }
}

static void check_device(const struct shape *s, unsigned pair)
{
    struct cu_slab_info info = info_of(s, pair);
    struct cu_device_layout l;
    struct cu_host_layout host;
    cu_device_layout_init(&info, s->edges, &l);
    cu_host_layout_init(&info, &host);
    uint64_t n = s->lenses, r = s->rows, h1 = s->h1, h2 = s->h2;
    const struct place places[] = {
        {"state", l.state, sizeof(struct cu_state)},
        {"command", l.command, host.command_bytes},
        {"slot_of", l.slot_of, n * 4},
        {"rows", l.rows, r * sizeof(struct cu_row)},
        {"marks", l.marks, r * ((n + 15) / 16 * 16)},
        {"list", l.list, r * n * 4},
        {"logits", l.logits, r * n * 4},
        {"claim", l.claim, r * n * 4},
        {"order", l.order, r * n * 4},
        {"keys", l.keys, r * 3 * n * 8},
        {"wide", l.wide, r * info.k_padded * 4},
        {"x", l.x, r * pairs[pair].columns * info.k_padded * pairs[pair].x_bytes},
        {"x_scale", l.x_scale, r * 4},
        {"items[0]", l.items[0], n * sizeof(struct cu_item)},
        {"items[1]", l.items[1], n * sizeof(struct cu_item)},
        {"count", l.count, n * 4},
        {"item_rows", l.item_rows, n * r * 2},
        {"tiles_done", l.tiles_done, n * 4},
        {"hidden", l.hidden, (uint64_t)info.max_pairs * info.h1_padded * 4},
        {"used_in", l.used_in, n * 8},
        {"missing", l.missing, (n + 31) / 32 * 4},
        {"left_out", l.left_out, (n + 31) / 32 * 4},
        {"chunks", l.chunks, (uint64_t)info.n_chunks * 8},
        {"b1", l.b1, n * h1 * 4},
        {"w2t", l.w2t, n * h1 * h2 * 4},
        {"b2", l.b2, n * h2 * 4},
        {"w3", l.w3, n * h2 * 4},
        {"b3", l.b3, n * 4},
        {"child_offsets", l.child_offsets, (n + 1) * 4},
        {"child_ids", l.child_ids, (uint64_t)s->edges * 4},
        {"layer", l.layer, n},
        {"calibration", l.calibration, n * LENS_CALIBRATION_FIELDS * 4},
    };
    expect_apart(places, COUNT(places), l.bytes);
}

static void check_host(const struct shape *s, unsigned pair)
{
    struct cu_slab_info info = info_of(s, pair);
    struct cu_host_layout l;
    cu_host_layout_init(&info, &l);
    uint64_t n = s->lenses, r = s->rows, words = (n + 31) / 32;
    const struct place places[] = {
        {"command", l.command, l.command_bytes},
        {"slot_of", l.slot_of, n * 4},
        {"staged", l.staged, r * s->dim * 4},
        {"head", l.head, sizeof(struct cu_result_head)},
        {"jobs", l.jobs, r * sizeof(struct cu_job_out)},
        {"row_results", l.row_results, r * sizeof(struct cu_row_result)},
        {"detections", l.detections, r * LENS_MAX_TOP_K * sizeof(struct lens_detection)},
        {"expanded", l.expanded, r * n * 4},
        {"list", l.list, r * n * 4},
        {"logits", l.logits, r * n * 4},
        {"retained", l.retained, r * n * 4},
        {"used", l.used, n * 4},
        {"missing", l.missing, words * 4},
        {"left_out", l.left_out, words * 4},
    };
    expect_apart(places, COUNT(places), l.bytes);
    /* every row its own job with three lists of all lenses and two bitmaps, and all lenses lost */
    uint64_t job = sizeof(struct cu_live) + sizeof(struct cu_job) + (3 * n + 2 * words) * 4;
    assert_true(l.command_bytes >= sizeof(struct cu_command) + r * job + n * 4);
    assert_true(l.command_bytes / 4 <= UINT32_MAX);
}

static void every_array_has_a_place_of_its_own(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT(shapes); i++) {
        for (unsigned pair = 0; pair < COUNT(pairs); pair++) {
            check_device(&shapes[i], pair);
            check_host(&shapes[i], pair);
        }
    }
}

/* ---- geometry ---------------------------------------------------------------------------------------------------- */

static void a_slot_holds_all_weights_and_scales(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT(shapes); i++) {
        for (unsigned p = 0; p < COUNT(pairs); p++) {
            const struct shape *s = &shapes[i];
            struct cu_slab_info info = info_of(s, p);
            assert_true(info.k_padded >= s->dim && info.k_padded - s->dim < LENS_CU_K_ALIGN);
            assert_true(info.h1_padded >= s->h1 && info.h1_padded - s->h1 < LENS_CU_TILE);
            assert_int_equal(info.k_padded % LENS_CU_K_ALIGN, 0);
            assert_int_equal(info.h1_padded, info.tiles * LENS_CU_TILE);
            assert_int_equal(info.k_padded, info.steps * pairs[p].step);
            assert_int_equal(info.columns, pairs[p].columns);
            uint64_t weights = (uint64_t)info.h1_padded * info.k_padded * pairs[p].weight_bytes;
            assert_int_equal(info.scale_offset, weights);
            assert_true(info.slot_stride >= weights + (pairs[p].scales ? info.h1_padded * 4u : 0));
            assert_int_equal(info.slot_stride % 256, 0);
            assert_true(info.slot_stride - weights < info.h1_padded * 4u + 256);
            assert_int_equal(info.words, (s->lenses + 31) / 32);
        }
    }
}

/* What the plan relies on: one item, whatever its rows, fits `hidden`. */
/* A chunk isn't large unless a slot is, and there are enough of them to give back some. */
static void chunks_hold_all_slots(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 15, 16, 17, 70, 1000, 7947, 100000};
    struct lens_error err = {0};
    for (unsigned i = 0; i < COUNT(counts); i++) {
        struct cu_slab_info info;
        uint64_t bytes = 0, most = 0;
        const struct lens_model model = {.lenses = 8000, .dim = 2560, .h1 = 128, .h2 = 64, .w2_dtype = LENS_F32};
        const struct lens_slab_config config = {
            .slots = counts[i], .dtype = LENS_BF16, .max_batch_rows = 64, .loaders = 1};
        assert_int_equal(cu_slab_info_init(&model, &config, &info, &err), 0);
        for (uint32_t chunk = 0; chunk < info.n_chunks; chunk++) {
            assert_true(cu_chunk_bytes(&info, chunk) > 0);
            most = cu_chunk_bytes(&info, chunk) > most ? cu_chunk_bytes(&info, chunk) : most;
            bytes += cu_chunk_bytes(&info, chunk);
        }
        assert_int_equal(bytes, counts[i] * info.slot_stride);
        assert_true(most <= (uint64_t)128 << 20);
        assert_int_equal(cu_chunk_bytes(&info, 0), most);
        assert_true(info.n_chunks >= (counts[i] < 16 ? counts[i] : 16));
        assert_true(counts[i] > 1000 || info.n_chunks <= 32);
    }
}

static void hidden_holds_at_least_one_lens_of_all_rows(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT(shapes); i++) {
        struct cu_slab_info info = info_of(&shapes[i], 1);
        assert_true(info.max_pairs >= shapes[i].rows);
        assert_true(info.max_pairs <= (uint64_t)shapes[i].rows * shapes[i].lenses);
    }
}

static void the_real_tree_takes_what_the_design_says(void **state)
{
    (void)state;
    struct cu_slab_info info = info_of(&shapes[5], 1);
    struct cu_device_layout l;
    cu_device_layout_init(&info, shapes[5].edges, &l);
    assert_int_equal(info.slot_stride, 2560 * 128 * 2);
    assert_int_equal(info.tiles, 8);
    assert_int_equal(info.steps, 80);
    assert_true(l.bytes < (uint64_t)1 << 30); /* beside 5.2 GB of slots */
}

static void tables_of_w2_count_their_own_dtype(void **state)
{
    (void)state;
    struct lens_model model = model_of(&shapes[4]);
    struct lens_slab_config config = config_of(&shapes[4], 0);
    struct cu_slab_info info;
    struct cu_device_layout wide, narrow;
    assert_int_equal(cu_slab_info_init(&model, &config, &info, NULL), 0);
    assert_int_equal(info.w2_bf16, 0);
    cu_device_layout_init(&info, 0, &wide);
    model.w2_dtype = LENS_BF16;
    assert_int_equal(cu_slab_info_init(&model, &config, &info, NULL), 0);
    assert_int_equal(info.w2_bf16, 1);
    cu_device_layout_init(&info, 0, &narrow);
    assert_int_equal(wide.b2 - wide.w2t, 2 * (narrow.b2 - narrow.w2t));
}

static void stored_lenses_are_counted_with_their_tables(void **state)
{
    (void)state;
    struct lens_model model = {.lenses = 1, .dim = 45, .h1 = 24, .h2 = 4};
    assert_int_equal(cu_stored_bytes(&model, LENS_F32), 24 * 45 * 4);
    assert_int_equal(cu_stored_bytes(&model, LENS_BF16), 24 * 45 * 2);
    assert_int_equal(cu_stored_bytes(&model, LENS_I8), 24 * 45 + 24 * 4);
    assert_int_equal(cu_stored_bytes(&model, LENS_LOG8), 24 * 45 + 24 * 6 + 24 * 8);
    model.dim = 1; /* log8 ranges weigh more than f32 weights */
    for (unsigned dtype = 0; dtype < LENS_DTYPES; dtype++)
        assert_true(cu_staged_bytes(&model) >= cu_stored_bytes(&model, (enum lens_dtype)dtype) + 48);
}

/* ---- grids ------------------------------------------------------------------------------------------------------- */

static void grids_fit_the_card_and_the_work(void **state)
{
    (void)state;
    struct cu_slab_info info = info_of(&shapes[5], 1);
    struct cu_grids grids;
    cu_grids_init(&info, &(struct cu_card){132, 2}, &grids);
    assert_int_equal(grids.score, 264);
    assert_true(grids.rows >= 1 && grids.rows <= 512);
    cu_grids_init(&info, &(struct cu_card){1, 0}, &grids);
    assert_int_equal(grids.score, 1);
    assert_true(grids.rows >= 1);
    info = info_of(&shapes[0], 1);
    cu_grids_init(&info, &(struct cu_card){132, 2}, &grids);
    assert_int_equal(grids.score, 1);
    assert_int_equal(grids.rows, 1);
}

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static void expect_refusal(struct lens_model model, struct lens_slab_config config, int code)
{
    struct cu_slab_info info;
    struct lens_error err = {0};
    assert_int_equal(cu_slab_info_init(&model, &config, &info, &err), code);
    assert_int_equal(err.code, code);
    assert_true(strlen(err.text) > 20);
}

static void sizes_of_nothing_are_refused(void **state)
{
    (void)state;
    const struct lens_model model = {.lenses = 3, .dim = 8, .h1 = 4, .h2 = 2};
    const struct lens_slab_config config = {.slots = 2, .max_batch_rows = 1, .loaders = 1};
    for (unsigned i = 0; i < 4; i++) {
        struct lens_model bad = model;
        *(uint32_t *[]){&bad.lenses, &bad.dim, &bad.h1, &bad.h2}[i] = 0;
        expect_refusal(bad, config, -EINVAL);
    }
    for (unsigned i = 0; i < 3; i++) {
        struct lens_slab_config bad = config;
        *(uint32_t *[]){&bad.slots, &bad.max_batch_rows, &bad.loaders}[i] = 0;
        expect_refusal(model, bad, -EINVAL);
    }
}

static void what_32_bits_cannot_count_is_refused(void **state)
{
    (void)state;
    const struct lens_model fine = {.lenses = 7947, .dim = 2560, .h1 = 128, .h2 = 64};
    const struct lens_slab_config config = {.slots = 2, .max_batch_rows = 512, .loaders = 1};
    struct lens_slab_config many = config;
    struct cu_slab_info info;
    assert_int_equal(cu_slab_info_init(&fine, &config, &info, NULL), 0);
    many.max_batch_rows = 65536; /* item_rows are 16 bits */
    expect_refusal((struct lens_model){.lenses = 1, .dim = 8, .h1 = 4, .h2 = 2}, many, -EINVAL);
    many.max_batch_rows = 65535;
    expect_refusal((struct lens_model){.lenses = 20000, .dim = 8, .h1 = 4, .h2 = 2}, many, -EINVAL);
    expect_refusal((struct lens_model){.lenses = 2, .dim = 30000, .h1 = 4, .h2 = 2}, many, -EINVAL);
    expect_refusal((struct lens_model){.lenses = 2, .dim = UINT32_MAX, .h1 = 4, .h2 = 2}, config, -EINVAL);
    expect_refusal((struct lens_model){.lenses = 2, .dim = 8, .h1 = UINT32_MAX, .h2 = 2}, config, -EINVAL);
    expect_refusal((struct lens_model){.lenses = 2, .dim = 8, .h1 = 65536, .h2 = 65536}, config, -EINVAL);
    expect_refusal((struct lens_model){.lenses = 0x80000000u, .dim = 8, .h1 = 4, .h2 = 1}, config, -EINVAL);
    many = config;
    many.slots = 0x80000000u; /* bit 31 says where a lens came from */
    expect_refusal(fine, many, -EINVAL);
}

static void pairs_without_a_product_are_refused(void **state)
{
    (void)state;
    const struct lens_model model = {.lenses = 3, .dim = 8, .h1 = 4, .h2 = 2};
    for (unsigned dtype = 0; dtype < LENS_DTYPES; dtype++) {
        for (unsigned compute = 0; compute <= LENS_COMPUTE_INT8; compute++) {
            struct lens_slab_config config = {
                .slots = 1, .dtype = dtype, .compute = compute, .max_batch_rows = 1, .loaders = 1};
            bool known = false;
            for (unsigned i = 0; i < COUNT(pairs); i++)
                known = known || (pairs[i].dtype == config.dtype && pairs[i].compute == config.compute);
            if (!known)
                expect_refusal(model, config, -ENOTSUP);
        }
    }
    struct lens_slab_config int8 = {
        .slots = 1, .dtype = LENS_I8, .compute = LENS_COMPUTE_INT8, .max_batch_rows = 1, .loaders = 1};
    expect_refusal((struct lens_model){.lenses = 3, .dim = 131073, .h1 = 4, .h2 = 2}, int8, -ENOTSUP);
    expect_refusal((struct lens_model){.lenses = 3, .dim = 8, .h1 = 4, .h2 = 2, .w2_dtype = LENS_I8}, int8, -ENOTSUP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_array_has_a_place_of_its_own),
        cmocka_unit_test(a_slot_holds_all_weights_and_scales),
        cmocka_unit_test(chunks_hold_all_slots),
        cmocka_unit_test(hidden_holds_at_least_one_lens_of_all_rows),
        cmocka_unit_test(the_real_tree_takes_what_the_design_says),
        cmocka_unit_test(tables_of_w2_count_their_own_dtype),
        cmocka_unit_test(stored_lenses_are_counted_with_their_tables),
        cmocka_unit_test(grids_fit_the_card_and_the_work),
        cmocka_unit_test(sizes_of_nothing_are_refused),
        cmocka_unit_test(what_32_bits_cannot_count_is_refused),
        cmocka_unit_test(pairs_without_a_product_are_refused),
    };
    return cmocka_run_group_tests_name("cuda_layout", tests, NULL, NULL);
}
