/* The CPU backend from inside: every kernel against plain sums over a layout packed here by the words of kernel.h
 * (also those this processor's backend wouldn't choose), packing, the team of threads, and where memory ends. */
#include "kernels/cpu/kernel.h"
#include "kernels/cpu/team.h"
#include "tests/unit/support/conformance_rig.h"

#include <emmintrin.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof(array)[0]))

static struct conformance_random dice;

static void *room(size_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 127) / 64 * 64);
    assert_non_null(memory);
    memset(memory, 0, (bytes + 127) / 64 * 64);
    return memory;
}

/* ---- kernels ---------------------------------------------------------------------------------------------------- */

/* Where element (output, d) lies in a packed matrix, in bytes. */
static size_t place(const struct cpu_kernel *k, const struct cpu_matrix *m, uint32_t output, uint32_t d)
{
    uint32_t depth = cpu_depth(k), bytes = 4 / depth, part = d % depth, lane = output % k->lanes;
    uint32_t panel = output / k->panel, left = m->padded - panel * k->panel;
    uint32_t width = left < k->panel ? left : k->panel;
    size_t unit = (size_t)panel * k->panel * m->units + (size_t)(d / depth) * width;
    size_t vector = (unit + output % k->panel / k->lanes * k->lanes) * 4;
    if (k->dtype != LENS_I8 && k->dtype != LENS_LOG8)
        return vector + (size_t)lane * 4 + (size_t)part * bytes;
    return vector + (size_t)(part / k->group) * k->lanes * k->group + (size_t)lane * k->group + part % k->group;
}

/* Where the sign of (output, d) lies among packed signs: its byte. */
static size_t sign_place(const struct cpu_kernel *k, const struct cpu_matrix *m, uint32_t output, uint32_t d)
{
    uint32_t panel = output / k->panel, left = m->padded - panel * k->panel;
    uint32_t width = left < k->panel ? left : k->panel;
    size_t unit = (size_t)panel * k->panel * cpu_sign_units(m->units) + (size_t)(d / 32) * width;
    return (unit + output % k->panel) * 4 + d % 32 / 8;
}

struct product_case {
    const struct cpu_kernel *kernel;
    struct cpu_matrix matrix;
    uint32_t n;
    uint8_t *weights, *x;
    uint8_t *signs; /* log8 */
    float *steps;   /* log8 */
    double *w, *xs; /* their values: [outputs][dim], [n][dim] */
    size_t x_stride;
};

static void put_log8(const struct product_case *c, uint32_t o, uint32_t d)
{
    int8_t code = (int8_t)(conformance_below(&dice, 8) == 0 ? CPU_LOG8_ZERO : (int)conformance_below(&dice, 255) - 127);
    bool negative = conformance_below(&dice, 2) == 1;
    double value = code == CPU_LOG8_ZERO ? 0 : exp2((double)c->steps[o] * code);
    memcpy(c->weights + place(c->kernel, &c->matrix, o, d), &code, 1);
    if (negative)
        c->signs[sign_place(c->kernel, &c->matrix, o, d)] |= (uint8_t)(1u << d % 8);
    c->w[(size_t)o * c->matrix.dim + d] = negative ? -value : value;
}

static void put_weight(const struct product_case *c, uint32_t o, uint32_t d)
{
    if (c->kernel->dtype == LENS_LOG8) {
        put_log8(c, o, d);
        return;
    }
    double value =
        c->kernel->dtype == LENS_I8 ? (double)conformance_below(&dice, 256) - 128 : conformance_normal(&dice);
    uint8_t *at = c->weights + place(c->kernel, &c->matrix, o, d);
    float f = (float)value;
    uint16_t half = lens_bf16_from_f32(f);
    int8_t code = (int8_t)value;
    const void *from = c->kernel->dtype == LENS_F32    ? (void *)&f
                       : c->kernel->dtype == LENS_BF16 ? (void *)&half
                                                       : &code;
    memcpy(at, from, lens_dtype_bytes(c->kernel->dtype));
    if (c->kernel->dtype == LENS_F32)
        value = f;
    if (c->kernel->dtype == LENS_BF16)
        value = lens_f32_from_bf16(half);
    c->w[(size_t)o * c->matrix.dim + d] = value;
}

static void put_x(const struct product_case *c, uint32_t r, uint32_t d)
{
    int code = (int)conformance_below(&dice, 255) - 127;
    float f = (float)conformance_normal(&dice);
    uint16_t half = lens_bf16_from_f32(f);
    uint8_t *row = c->x + c->x_stride * r;
    double value = code;
    switch (c->kernel->x_form) {
    case CPU_X_U8:
        row[d] = (uint8_t)(code + 128);
        break;
    case CPU_X_I16:
        ((int16_t *)row)[d] = (int16_t)code;
        break;
    case CPU_X_BF16:
        ((uint16_t *)row)[d] = half;
        value = lens_f32_from_bf16(half);
        break;
    default:
        ((float *)row)[d] = f;
        value = f;
        break;
    }
    c->xs[(size_t)r * c->matrix.dim + d] = value;
}

static void check_sum(const struct product_case *c, uint32_t o, uint32_t r, const void *acc)
{
    const double *w = c->w + (size_t)o * c->matrix.dim, *x = c->xs + (size_t)r * c->matrix.dim;
    double sum = 0, size = 0, codes = 0;
    for (uint32_t d = 0; d < c->matrix.dim; d++) {
        sum += w[d] * x[d];
        size += fabs(w[d] * x[d]);
        codes += w[d];
    }
    size_t at = (size_t)r * c->matrix.padded + o;
    if (c->kernel->integer) {
        double want = c->kernel->x_form == CPU_X_U8 ? sum + 128 * codes : sum;
        assert_true(((const int32_t *)acc)[at] == (int32_t)want);
    } else {
        double bound = (4 * sqrt(c->matrix.dim) + 8) * 0x1p-24 * size;
        if (c->kernel->dtype == LENS_LOG8)
            bound += (127 * log(2) * fabs((double)c->steps[o]) + 4) * 0x1p-24 * size;
        if (!(fabs(((const float *)acc)[at] - sum) <= bound))
            fail_msg("output %u row %u of %u x %u on %u rows: %.9g, expected %.9g +- %.2g", o, r, c->matrix.outputs,
                     c->matrix.dim, c->n, (double)((const float *)acc)[at], sum, bound);
    }
}

static void check_product(const struct cpu_kernel *kernel, uint32_t outputs, uint32_t dim, uint32_t n)
{
    struct product_case c = {.kernel = kernel, .matrix = cpu_matrix_of(kernel, outputs, dim), .n = n};
    const void *rows[CPU_ROW_CHUNK];
    c.x_stride = (size_t)c.matrix.units * cpu_depth(kernel) * cpu_x_bytes(kernel->x_form);
    c.weights = room(c.matrix.bytes);
    c.x = room(c.x_stride * n);
    c.w = room((size_t)outputs * dim * sizeof(double));
    c.xs = room((size_t)n * dim * sizeof(double));
    size_t acc_bytes = (size_t)n * c.matrix.padded * 4;
    uint8_t *acc = room(acc_bytes);
    float *scratch = room(CPU_WIDEN_FLOATS * sizeof(float));
    c.signs = room((size_t)cpu_sign_units(c.matrix.units) * c.matrix.padded * 4);
    c.steps = room(c.matrix.padded * sizeof(float));
    memset(acc, 0xff, acc_bytes); /* NaN */
    memset(scratch, 0xff, CPU_WIDEN_FLOATS * sizeof(float));
    for (uint32_t o = 0; o < outputs; o++) {
        c.steps[o] = o % 5 == 0 ? 0 : -CPU_LOG8_MAX_STEP * (float)conformance_below(&dice, 1000) / 1000;
        for (uint32_t d = 0; d < dim; d++)
            put_weight(&c, o, d);
    }
    for (uint32_t r = 0; r < n; r++) {
        rows[r] = c.x + c.x_stride * r;
        for (uint32_t d = 0; d < dim; d++)
            put_x(&c, r, d);
    }
    kernel->product(
        &(struct cpu_product){c.weights, rows, acc, scratch, n, c.matrix.units, c.matrix.padded, c.signs, c.steps});
    for (uint32_t o = 0; o < outputs; o++)
        for (uint32_t r = 0; r < n; r++)
            check_sum(&c, o, r, acc);
    free(c.weights);
    free(c.x);
    free(c.w);
    free(c.xs);
    free(acc);
    free(scratch);
    free(c.signs);
    free(c.steps);
}

static void check_kernel(const struct cpu_kernel *kernel)
{
    static const uint32_t outputs[] = {1, 15, 16, 24, 40, 64, 100, 112, 128, 130, 300},
                          rows[] = {1, 2, 3, 4, 7, 13, 64};
    static const uint32_t dims[] = {1, 2, 3, 5, 31, 64, 65, 130, 517};
    for (uint32_t i = 0; i < COUNT(outputs); i++)
        for (uint32_t k = 0; k < COUNT(dims); k++)
            check_product(kernel, outputs[i], dims[k], rows[(i + k) % COUNT(rows)]);
    check_product(kernel, 128, 2560, 9);
}

static const struct {
    enum lens_dtype dtype;
    enum lens_compute compute;
} pairs[] = {{LENS_F32, LENS_COMPUTE_EXACT},  {LENS_BF16, LENS_COMPUTE_EXACT}, {LENS_I8, LENS_COMPUTE_EXACT},
             {LENS_LOG8, LENS_COMPUTE_EXACT}, {LENS_BF16, LENS_COMPUTE_BF16},  {LENS_I8, LENS_COMPUTE_INT8}};

static void skip_without(const char *what, bool has)
{
    if (!has) {
        printf("waived: this processor has no %s\n", what);
        skip();
    }
}

static void scalar_kernels_sum_right(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < COUNT(pairs); i++)
        check_kernel(cpu_variant_scalar.kernel(pairs[i].dtype, pairs[i].compute));
}

static void avx2_kernels_sum_right(void **state)
{
    (void)state;
    skip_without("avx2 or fma", __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
    for (uint32_t i = 0; i < COUNT(pairs); i++)
        check_kernel(cpu_variant_avx2.kernel(pairs[i].dtype, pairs[i].compute));
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
}

static void avx512_kernels_sum_right(void **state)
{
    (void)state;
    skip_without("avx512", has_avx512());
    for (uint32_t i = 0; i < COUNT(pairs); i++)
        check_kernel(cpu_avx512_base_kernel(pairs[i].dtype, pairs[i].compute));
}

static void vnni_sums_are_exact(void **state)
{
    (void)state;
    skip_without("avx512vnni", has_avx512() && __builtin_cpu_supports("avx512vnni"));
    check_kernel(&cpu_kernel_avx512vnni);
}

static void bf16_instructions_sum_right(void **state)
{
    (void)state;
    skip_without("avx512bf16", has_avx512() && __builtin_cpu_supports("avx512bf16"));
    check_kernel(&cpu_kernel_avx512bf16);
}

/* ---- packing ---------------------------------------------------------------------------------------------------- */

static void check_pack(const struct cpu_variant *variant, uint32_t lanes, uint32_t group, uint32_t first, uint32_t n)
{
    uint8_t *bytes = room((size_t)lanes * (first + n) * 4), *out = room((size_t)n * lanes * 8);
    const void *rows[CPU_MAX_LANES];
    size_t stride = (size_t)lanes * 8; /* as if another vector stood between */
    for (size_t i = 0; i < (size_t)lanes * (first + n) * 4; i++)
        bytes[i] = (uint8_t)conformance_bits(&dice);
    for (uint32_t l = 0; l < lanes; l++)
        rows[l] = bytes + (size_t)l * (first + n) * 4;
    variant->pack(rows, first, n, group, out, stride);
    _mm_sfence();
    for (uint32_t u = 0; u < n; u++) {
        for (uint32_t lane = 0; lane < lanes; lane++) {
            for (uint32_t b = 0; b < 4; b++) {
                size_t at = u * stride + (size_t)(b / group) * lanes * group + (size_t)lane * group + b % group;
                assert_int_equal(out[at], ((const uint8_t *)rows[lane])[(size_t)(first + u) * 4 + b]);
            }
        }
    }
    free(bytes);
    free(out);
}

static void packing_puts_every_byte_where_the_layout_says(void **state)
{
    (void)state;
    bool avx2 = __builtin_cpu_supports("avx2") != 0;
    for (uint32_t group = 1; group <= 4; group *= 2) {
        for (uint32_t n = 1; n < 70; n += 11) {
            if (avx2)
                check_pack(&cpu_variant_avx2, 8, group, n % 5, n);
            if (has_avx512())
                check_pack(&cpu_variant_avx512, 16, group, n % 5, n);
        }
    }
}

/* ---- the team --------------------------------------------------------------------------------------------------- */

struct tally {
    atomic_int pieces[512];
    atomic_int inside[8]; /* calls running per worker */
    atomic_int overlaps;
};

static void count_piece(void *arg, uint32_t index, uint32_t worker)
{
    struct tally *tally = arg;
    if (atomic_fetch_add(&tally->inside[worker], 1) != 0)
        atomic_fetch_add(&tally->overlaps, 1);
    atomic_fetch_add(&tally->pieces[index], 1);
    atomic_fetch_sub(&tally->inside[worker], 1);
}

static void every_piece_is_done_once(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        struct cpu_team *team = NULL;
        static struct tally tally;
        assert_int_equal(cpu_team_open(threads, &team, NULL), 0);
        for (uint32_t round = 0; round < 300; round++) {
            uint32_t n = conformance_below(&dice, 513);
            memset(&tally, 0, sizeof tally);
            cpu_team_run(team, count_piece, &tally, n);
            for (uint32_t i = 0; i < 512; i++)
                assert_int_equal(tally.pieces[i], i < n);
            assert_int_equal(tally.overlaps, 0);
            if (round % 50 == 0)
                usleep(2000); /* long enough for workers to sleep */
        }
        cpu_team_close(team);
    }
}

static void *run_beside(void *arg)
{
    struct cpu_team *team = arg;
    static struct tally tally;
    for (int i = 0; i < 200; i++) {
        memset(&tally, 0, sizeof tally);
        cpu_team_run(team, count_piece, &tally, 40);
        for (int k = 0; k < 40; k++)
            if (tally.pieces[k] != 1)
                return &tally;
    }
    return NULL;
}

static void two_slabs_may_use_one_team(void **state)
{
    (void)state;
    struct cpu_team *team = NULL;
    pthread_t other;
    static struct tally tally;
    void *failed = NULL;
    assert_int_equal(cpu_team_open(3, &team, NULL), 0);
    assert_int_equal(pthread_create(&other, NULL, run_beside, team), 0);
    for (int i = 0; i < 200; i++) {
        memset(&tally, 0, sizeof tally);
        cpu_team_run(team, count_piece, &tally, 60);
        for (int k = 0; k < 60; k++)
            assert_int_equal(tally.pieces[k], 1);
    }
    pthread_join(other, &failed);
    assert_null(failed);
    cpu_team_close(team);
}

/* ---- the backend ------------------------------------------------------------------------------------------------ */

static void senseless_backends_are_refused(void **state)
{
    (void)state;
    struct lens_backend *backend = NULL;
    struct lens_error err = {0};
    assert_int_equal(lens_cpu_open(&(struct lens_cpu_options){.threads = 0, .variant = "auto"}, &backend, &err),
                     -EINVAL);
    assert_int_equal(lens_cpu_open(&(struct lens_cpu_options){.threads = 1, .variant = "mmx"}, &backend, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "mmx"));
    assert_null(backend);
}

static int open_auto(void *arg, uint32_t threads, struct lens_backend **out, struct lens_error *err)
{
    return lens_cpu_open(&(struct lens_cpu_options){.threads = threads, .variant = arg}, out, err);
}

/* Two pages of which the second can't be touched: a copy of `bytes` that ends where memory ends. */
struct cliff {
    char *pages;
    size_t bytes;
};

static void *at_cliff(struct cliff *cliff, const void *data, size_t bytes)
{
    size_t page = 4096, before = (bytes + page - 1) / page * page;
    cliff->bytes = before + page;
    cliff->pages = mmap(NULL, cliff->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(cliff->pages != MAP_FAILED);
    assert_int_equal(mprotect(cliff->pages + before, page, PROT_NONE), 0);
    return memcpy(cliff->pages + before - bytes, data, bytes);
}

static void write_from_cliff(struct conformance_rig *rig, const struct conformance_shape *shape)
{
    struct cliff cliffs[2] = {{0}};
    struct lens_error err = {0};
    struct lens_slot_write w = conformance_write(rig->model, 0, 0);
    size_t codes = (size_t)shape->h1 * shape->dim * lens_dtype_bytes(shape->stored);
    w.w1 = at_cliff(&cliffs[0], w.w1, codes);
    if (w.sign != NULL)
        w.sign = at_cliff(&cliffs[1], w.sign, (size_t)shape->h1 * ((shape->dim + 7) / 8));
    assert_int_equal(rig->backend->ops->slot_write(rig->slab, 0, &w, 1, NULL, NULL, &err), 0);
    munmap(cliffs[0].pages, cliffs[0].bytes);
    if (w.sign != NULL)
        munmap(cliffs[1].pages, cliffs[1].bytes);
}

static void stage_from_cliff(struct conformance_rig *rig, const struct conformance_shape *shape)
{
    static const enum lens_dtype dtypes[] = {LENS_F32, LENS_F16, LENS_BF16};
    for (uint32_t i = 0; i < COUNT(dtypes); i++) {
        struct cliff cliff;
        void *row = conformance_rows(shape, dtypes[i], 1, &dice);
        void *source = at_cliff(&cliff, row, (size_t)shape->dim * lens_dtype_bytes(dtypes[i]));
        assert_int_equal(rig->backend->ops->stage(rig->slab, 0, source, dtypes[i]), 0);
        assert_int_equal(rig->backend->ops->stage(rig->slab, 1, source, dtypes[i]), -EINVAL);
        munmap(cliff.pages, cliff.bytes);
        free(row);
    }
}

static void nothing_is_read_beyond_its_end(void **state)
{
    (void)state;
    static const enum lens_dtype stored[] = {LENS_F32, LENS_BF16, LENS_I8, LENS_LOG8};
    static const uint32_t dims[] = {1, 13, 36, 100};
    const struct conformance_target target = {.name = "auto", .open = open_auto, .arg = "auto"};
    for (uint32_t i = 0; i < COUNT(stored) * COUNT(dims) * COUNT(pairs); i++) {
        struct conformance_shape shape = {.lenses = 1, .h1 = 19, .h2 = 3};
        shape.dim = dims[i % COUNT(dims)];
        shape.stored = stored[i / COUNT(dims) % COUNT(stored)];
        uint32_t pair = i / COUNT(dims) / COUNT(stored);
        struct lens_slab_config config = {
            .slots = 1, .dtype = pairs[pair].dtype, .compute = pairs[pair].compute, .max_batch_rows = 1, .loaders = 1};
        struct conformance_model *model = conformance_model_new(&shape, &dice);
        struct conformance_rig rig;
        conformance_rig_open(&rig, &target, 1, model, &config);
        write_from_cliff(&rig, &shape);
        stage_from_cliff(&rig, &shape);
        conformance_rig_close(&rig);
        conformance_model_free(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalar_kernels_sum_right),
        cmocka_unit_test(avx2_kernels_sum_right),
        cmocka_unit_test(avx512_kernels_sum_right),
        cmocka_unit_test(vnni_sums_are_exact),
        cmocka_unit_test(bf16_instructions_sum_right),
        cmocka_unit_test(packing_puts_every_byte_where_the_layout_says),
        cmocka_unit_test(every_piece_is_done_once),
        cmocka_unit_test(two_slabs_may_use_one_team),
        cmocka_unit_test(senseless_backends_are_refused),
        cmocka_unit_test(nothing_is_read_beyond_its_end),
    };
    dice.state = conformance_seed();
    return cmocka_run_group_tests_name("cpu_kernels", tests, NULL, NULL);
}
