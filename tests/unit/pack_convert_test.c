/* Packs made of packs: every pair of number formats against arithmetic of this file's own, what stays the same, and
 * that nothing is left behind when something goes wrong. */
#include "proto/pack_convert.h"
#include "proto/pack_writer.h"
#include "tests/unit/support/pack_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define W1   (SMALL_H1 * SMALL_DIM)
#define W2   (SMALL_H2 * SMALL_H1)
#define SIGN (SMALL_H1 * ((SMALL_DIM + 7) / 8))

static const enum lens_dtype dtypes[] = {LENS_F32, LENS_BF16, LENS_I8, LENS_LOG8};

struct place {
    char folder[64], in[96], out[96];
};

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    temp_folder(place->folder);
    snprintf(place->in, sizeof place->in, "%s/in.pack", place->folder);
    snprintf(place->out, sizeof place->out, "%s/out.pack", place->folder);
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    remove_folder(place->folder);
    free(place);
    return 0;
}

static unsigned new_seed(void)
{
    unsigned seed = (unsigned)time(NULL);
    print_message("seed %u\n", seed);
    return seed;
}

static struct lens_pack *must_open(const char *path)
{
    struct lens_pack *pack = NULL;
    struct lens_error err = {0};
    if (lens_pack_open(path, &pack, &err) != 0 || lens_pack_verify(pack, NULL, NULL, &err) != 0)
        fail_msg("%s", err.text);
    return pack;
}

static void must_write(const struct small_pack *small, const char *path)
{
    struct lens_error err = {0};
    if (small_pack_write(small, path, &err) != 0)
        fail_msg("%s", err.text);
}

static struct lens_conversion must_convert(const char *in, const char *out, enum lens_dtype dtype)
{
    struct lens_convert_options options = {.dtype = dtype};
    struct lens_conversion done;
    struct lens_error err = {0};
    memset(&done, 0x5a, sizeof done);
    if (lens_pack_convert(in, out, &options, &done, &err) != 0)
        fail_msg("%s", err.text);
    return done;
}

/* --------------------------------------------------------------------------- formats, written down a second time */

struct stored {
    unsigned char w1[W1 * 4 + 1], sign[SIGN + 1];
};

static struct stored read_lens(const struct lens_pack *pack, uint32_t lens)
{
    struct stored out;
    struct lens_error err = {0};
    memset(&out, 0x5a, sizeof out);
    assert_int_equal(lens_pack_read_w1(pack, lens, 1, out.w1, out.sign, &err), 0);
    return out;
}

/* The weight at `i` of a stored lens, in long double where a format computes. */
static double weight(const struct lens_pack *pack, uint32_t lens, const struct stored *stored, uint32_t i)
{
    const uint32_t row = i / SMALL_DIM;
    const uint32_t column = i % SMALL_DIM;
    const size_t table = (size_t)lens * SMALL_H1 + row;
    uint32_t bits = 0;
    float value;
    if (pack->w1_dtype == LENS_F32) {
        memcpy(&value, stored->w1 + (size_t)i * 4, 4);
        return (double)value;
    }
    if (pack->w1_dtype == LENS_BF16) {
        memcpy((char *)&bits + 2, stored->w1 + (size_t)i * 2, 2);
        memcpy(&value, &bits, 4);
        return (double)value;
    }
    if (pack->w1_dtype == LENS_I8)
        return (double)(signed char)stored->w1[i] * (double)pack->w1_scale[table];
    const int code = stored->w1[i];
    const int negative = stored->sign[row * ((SMALL_DIM + 7) / 8) + column / 8] >> (column % 8) & 1;
    const long double low = (long double)pack->w1_log_min[table];
    const long double high = (long double)pack->w1_log_max[table];
    const double size = code == 0 ? 0 : (double)expl(low + (255 - code) / 254.0L * (high - low));
    return negative ? -size : size;
}

/* How far a weight may move when a row whose largest is `largest` and smallest (that isn't 0) is `smallest` is stored
 * as `dtype`: half a step, and a little for the f32 the weight passes through. */
static double half_step(enum lens_dtype dtype, double w, double largest, double smallest)
{
    const double through_f32 = fabs(w) * 0x1p-23;
    switch (dtype) {
    case LENS_F32:
        return through_f32;
    case LENS_BF16:
        return fabs(w) * 0x1p-8 + through_f32;
    case LENS_I8:
        return largest / 127 / 2 * 1.0001 + through_f32;
    default:
        return fabs(w) * (exp(log(largest / smallest) / 254 / 2) - 1) * 1.001 + fabs(w) * 1e-6;
    }
}

struct moved {
    double largest_relative, sum, largest_of_row;
    uint64_t nonzero, lost;
};

static void check_row(struct moved *moved, enum lens_dtype to, const double *old, const double *new)
{
    double largest = 0;
    double smallest = INFINITY;
    double furthest = 0;
    for (uint32_t i = 0; i < SMALL_DIM; i++) {
        largest = fmax(largest, fabs(old[i]));
        smallest = old[i] != 0 ? fmin(smallest, fabs(old[i])) : smallest;
    }
    for (uint32_t i = 0; i < SMALL_DIM; i++) {
        const double difference = fabs(new[i] - old[i]);
        if (difference > half_step(to, old[i], largest, smallest))
            fail_msg("to %s: %.9g became %.9g", lens_dtype_name(to), old[i], new[i]);
        furthest = fmax(furthest, difference);
        if (old[i] == 0)
            continue;
        moved->nonzero++;
        moved->lost += new[i] == 0;
        moved->sum += difference / fabs(old[i]);
        moved->largest_relative = fmax(moved->largest_relative, difference / fabs(old[i]));
    }
    if (largest > 0)
        moved->largest_of_row = fmax(moved->largest_of_row, furthest / largest);
}

static struct moved check_w1(const struct lens_pack *old, const struct lens_pack *new)
{
    struct moved moved = {0};
    for (uint32_t lens = 0; lens < SMALL_LENSES; lens++) {
        const struct stored a = read_lens(old, lens);
        const struct stored b = read_lens(new, lens);
        for (uint32_t row = 0; row < SMALL_H1; row++) {
            double before[SMALL_DIM];
            double after[SMALL_DIM];
            for (uint32_t i = 0; i < SMALL_DIM; i++) {
                before[i] = weight(old, lens, &a, row * SMALL_DIM + i);
                after[i] = weight(new, lens, &b, row * SMALL_DIM + i);
            }
            check_row(&moved, new->w1_dtype, before, after);
        }
    }
    return moved;
}

/* W2 is f32 in f32 packs, else bf16: rounding to the nearest that can be told by its neighbours. */
static void check_w2(const struct lens_pack *old, const struct lens_pack *new)
{
    for (uint32_t i = 0; i < SMALL_LENSES * W2; i++) {
        const uint32_t before =
            old->w2_dtype == LENS_F32 ? ((const uint32_t *)old->w2)[i] : (uint32_t)((const uint16_t *)old->w2)[i] << 16;
        if (new->w2_dtype == LENS_F32) {
            assert_int_equal(((const uint32_t *)new->w2)[i], before);
            continue;
        }
        const uint32_t down = before >> 16;
        const uint32_t rest = before & 0xffffu;
        const bool up = rest > 0x8000u || (rest == 0x8000u && (down & 1) != 0);
        assert_int_equal(((const uint16_t *)new->w2)[i], down + up);
    }
}

static void check_tables(const struct lens_pack *old, const struct lens_pack *new)
{
    const size_t n = SMALL_LENSES;
    assert_memory_equal(new->b1, old->b1, n * SMALL_H1 * sizeof(float));
    assert_memory_equal(new->b2, old->b2, n * SMALL_H2 * sizeof(float));
    assert_memory_equal(new->w3, old->w3, n * SMALL_H2 * sizeof(float));
    assert_memory_equal(new->b3, old->b3, n * sizeof(float));
    assert_memory_equal(new->parent, old->parent, n * sizeof(int32_t));
    assert_memory_equal(new->child_offsets, old->child_offsets, (n + 1) * sizeof(int32_t));
    assert_memory_equal(new->child_ids, old->child_ids, (size_t)old->child_offsets[n] * sizeof(int32_t));
    assert_memory_equal(new->layer, old->layer, n);
    assert_memory_equal(new->role, old->role, n);
    assert_memory_equal(new->name_offsets, old->name_offsets, (n + 1) * sizeof(int32_t));
    assert_memory_equal(new->names, old->names, (size_t)old->name_offsets[n]);
    assert_memory_equal(new->calibration, old->calibration, n * LENS_CALIBRATION_FIELDS * sizeof(float));
    assert_string_equal(new->meta.model_id, old->meta.model_id);
    assert_string_equal(new->meta.tap_layer, old->meta.tap_layer);
    assert_string_equal(new->meta.tap_point, old->meta.tap_point);
    assert_int_equal(new->meta.normalize, old->meta.normalize);
}

static void check_figures(const struct lens_convert_error *told, const struct moved *found)
{
    assert_int_equal(told->weights, SMALL_LENSES * W1);
    assert_int_equal(told->nonzero, found->nonzero);
    assert_int_equal(told->lost, found->lost);
    assert_true(fabs(told->largest_relative - found->largest_relative) <= 1e-6);
    assert_true(fabs(told->mean_relative - found->sum / (double)found->nonzero) <= 1e-6);
    assert_true(fabs(told->largest_of_row - found->largest_of_row) <= 1e-6);
}

/* Weights of all sizes, zeros of both signs, a row of zeros and one of equal weights. */
static void vary(struct small_pack *small)
{
    for (uint32_t i = 0; i < W1; i++) {
        small->lens[1].w1[i] *= powf(10, (float)(i % 7) - 5);
        if (i / SMALL_DIM == 2)
            small->lens[1].w1[i] = i % 2 == 0 ? 0.0f : -0.0f;
        if (i / SMALL_DIM == 3)
            small->lens[1].w1[i] = i % 2 == 0 ? 0.25f : -0.25f;
    }
    small->lens[2].w1[4] = 0;
}

static void every_pair_of_formats_keeps_the_weights_within_half_a_step(void **state)
{
    const struct place *place = *state;
    const unsigned seed = new_seed();
    for (int pair = 0; pair < 16; pair++) {
        const enum lens_dtype from = dtypes[pair / 4];
        const enum lens_dtype to = dtypes[pair % 4];
        struct small_pack small;
        if (from == to)
            continue;
        small_pack_fill(&small, from, seed);
        vary(&small);
        must_write(&small, place->in);
        const struct lens_conversion done = must_convert(place->in, place->out, to);
        struct lens_pack *old = must_open(place->in);
        struct lens_pack *new = must_open(place->out);
        assert_int_equal(new->w1_dtype, to);
        assert_int_equal(new->w2_dtype, to == LENS_F32 ? LENS_F32 : LENS_BF16);
        const struct moved moved = check_w1(old, new);
        check_figures(&done.w1, &moved);
        check_w2(old, new);
        check_tables(old, new);
        assert_false(done.copied);
        assert_int_equal(done.widened, to == LENS_F32 || (to == LENS_BF16 && from != LENS_F32));
        assert_int_equal(done.bytes_before, old->file_bytes);
        assert_int_equal(done.bytes_after, new->file_bytes);
        assert_int_equal(done.lenses, SMALL_LENSES);
        lens_pack_close(old);
        lens_pack_close(new);
        assert_int_equal(count_names(place->folder), 2);
    }
}

/* What the writer makes of the f32 weights and what a conversion of the f32 pack makes of them is one and the same. */
static void from_f32_the_bytes_are_those_of_a_pack_written_in_that_format(void **state)
{
    const struct place *place = *state;
    const unsigned seed = new_seed();
    for (int d = 1; d < 4; d++) {
        struct small_pack small;
        small_pack_fill(&small, LENS_F32, seed);
        vary(&small);
        must_write(&small, place->in);
        must_convert(place->in, place->out, dtypes[d]);
        small.plan.w1_dtype = dtypes[d];
        must_write(&small, place->in);
        struct lens_pack *direct = must_open(place->in);
        struct lens_pack *converted = must_open(place->out);
        for (uint32_t lens = 0; lens < SMALL_LENSES; lens++) {
            const struct stored a = read_lens(direct, lens);
            const struct stored b = read_lens(converted, lens);
            assert_memory_equal(&a, &b, sizeof a);
        }
        assert_memory_equal(direct->checksum, converted->checksum, SMALL_LENSES * sizeof(int64_t));
        lens_pack_close(direct);
        lens_pack_close(converted);
    }
}

static void widening_and_narrowing_again_loses_nothing(void **state)
{
    const struct place *place = *state;
    struct small_pack small;
    char again[128];
    snprintf(again, sizeof again, "%s/again.pack", place->folder);
    small_pack_fill(&small, LENS_BF16, new_seed());
    must_write(&small, place->in);
    must_convert(place->in, place->out, LENS_F32);
    must_convert(place->out, again, LENS_BF16);
    struct lens_pack *before = must_open(place->in);
    struct lens_pack *after = must_open(again);
    assert_memory_equal(before->checksum, after->checksum, SMALL_LENSES * sizeof(int64_t));
    lens_pack_close(before);
    lens_pack_close(after);
}

static void the_source_says_what_it_was_made_from(void **state)
{
    const struct place *place = *state;
    struct small_pack small;
    small_pack_fill(&small, LENS_F32, 3);
    small.plan.meta.created = (char *)"2025-01-01T00:00:00Z";
    must_write(&small, place->in);
    must_convert(place->in, place->out, LENS_I8);
    struct lens_pack *pack = must_open(place->out);
    assert_string_equal(pack->meta.source, "random weights; int8 from in.pack (f32, created 2025-01-01T00:00:00Z)");
    assert_string_not_equal(pack->meta.created, "2025-01-01T00:00:00Z");
    lens_pack_close(pack);
}

static bool file_holds(const char *path, const char *text)
{
    size_t length;
    unsigned char *bytes = read_file(path, &length);
    const bool found = memmem(bytes, length, text, strlen(text)) != NULL;
    free(bytes);
    return found;
}

static void metadata_of_others_is_kept(void **state)
{
    const struct place *place = *state;
    static const struct lens_pack_entry extra[] = {{"zebra", "a \"quoted\"\nline"}, {"author", "somebody"}};
    struct small_pack small;
    small_pack_fill(&small, LENS_F32, 4);
    small.plan.extra = extra;
    small.plan.extra_count = 2;
    must_write(&small, place->in);
    must_convert(place->in, place->out, LENS_LOG8);
    lens_pack_close(must_open(place->out)); /* the checksum covers them */
    assert_true(file_holds(place->out, "\"author\":\"somebody\""));
    assert_true(file_holds(place->out, "\"zebra\":\"a \\\"quoted\\\"\\nline\""));
}

static void the_same_format_is_a_copy_byte_for_byte(void **state)
{
    const struct place *place = *state;
    for (int d = 0; d < 4; d++) {
        struct small_pack small;
        size_t lengths[2];
        small_pack_fill(&small, dtypes[d], 5);
        must_write(&small, place->in);
        const struct lens_conversion done = must_convert(place->in, place->out, dtypes[d]);
        unsigned char *before = read_file(place->in, &lengths[0]);
        unsigned char *after = read_file(place->out, &lengths[1]);
        assert_true(done.copied && !done.widened);
        assert_int_equal(lengths[0], lengths[1]);
        assert_memory_equal(before, after, lengths[0]);
        assert_int_equal(done.bytes_after, lengths[1]);
        free(before);
        free(after);
    }
}

/* -------------------------------------------------------------------------------------------- when it goes wrong */

/* Refused with that code and sentence, and the older file of the output's name is as it was. */
static void expect_refused(const struct place *place, const struct lens_convert_options *options, int code,
                           const char *sentence)
{
    struct lens_conversion done;
    struct lens_error err = {0};
    size_t length;
    write_file(place->out, "older", 5);
    int rc = lens_pack_convert(place->in, place->out, options, &done, &err);
    if (rc != code || strstr(err.text, sentence) == NULL)
        fail_msg("gave %d \"%s\", expected %d \"%s\"", rc, err.text, code, sentence);
    assert_int_equal(err.code, rc);
    unsigned char *bytes = read_file(place->out, &length);
    assert_int_equal(length, 5);
    assert_memory_equal(bytes, "older", 5);
    free(bytes);
    assert_int_equal(count_names(place->folder), 2);
}

static void make_input(const struct place *place, enum lens_dtype dtype)
{
    struct small_pack small;
    small_pack_fill(&small, dtype, 6);
    must_write(&small, place->in);
}

static void a_cut_input_is_refused_wherever_it_was_cut(void **state)
{
    const struct place *place = *state;
    size_t length;
    make_input(place, LENS_F32);
    unsigned char *bytes = read_file(place->in, &length);
    const struct lens_convert_options options = {.dtype = LENS_I8};
    for (size_t cut = 0; cut < length; cut += length / 40 + 1) {
        struct lens_conversion done;
        struct lens_error err = {0};
        write_file(place->in, bytes, cut);
        assert_true(lens_pack_convert(place->in, place->out, &options, &done, &err) < 0);
        assert_true(err.text[0] != '\0');
        assert_int_equal(count_names(place->folder), 1);
    }
    free(bytes);
}

struct cutter {
    const char *path;
    off_t bytes;
};

static void cut_the_file(void *arg, const char *what, uint64_t done, uint64_t total)
{
    const struct cutter *cutter = arg;
    (void)what;
    (void)total;
    if (done == 3)
        assert_int_equal(truncate(cutter->path, cutter->bytes), 0);
}

static void an_input_that_shrinks_while_it_is_read_is_an_error(void **state)
{
    const struct place *place = *state;
    make_input(place, LENS_F32);
    struct cutter cutter = {place->in, 4096 + W1 * 4 * 4};
    const struct lens_convert_options options = {.dtype = LENS_BF16, .progress = cut_the_file, .progress_arg = &cutter};
    expect_refused(place, &options, -EIO, "was it cut off?");
}

static void damage_is_not_given_a_new_checksum(void **state)
{
    const struct place *place = *state;
    for (int same = 0; same < 2; same++) {
        make_input(place, LENS_LOG8);
        struct lens_pack *pack = must_open(place->in);
        const struct lens_convert_options options = {.dtype = same ? LENS_LOG8 : LENS_BF16};
        const off_t weight_at = (off_t)(pack->w1_offset + 2 * pack->w1_lens_bytes + 5);
        unsigned char byte;
        lens_pack_close(pack);
        int fd = open(place->in, O_RDWR | O_CLOEXEC);
        assert_int_equal(pread(fd, &byte, 1, weight_at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, weight_at), 1);
        expect_refused(place, &options, -EBADMSG, "the weights of lens 2 (B:1) don't match their checksum");
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, weight_at), 1);
        close(fd);
        must_convert(place->in, place->out, options.dtype);
    }
}

static void a_disk_without_room_says_so_and_keeps_nothing(void **state)
{
    const struct place *place = *state;
    struct rlimit old;
    make_input(place, LENS_I8);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    const struct rlimit low = {.rlim_cur = 4096, .rlim_max = old.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    for (int d = 0; d < 4; d++) {
        const struct lens_convert_options options = {.dtype = dtypes[d]};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
        expect_refused(place, &options, -EFBIG, "File too large");
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    }
    signal(SIGXFSZ, handler);
}

struct patience {
    int asked, until;
};

static bool out_of_patience(void *arg)
{
    struct patience *patience = arg;
    return ++patience->asked >= patience->until;
}

static void an_interrupted_conversion_leaves_nothing(void **state)
{
    const struct place *place = *state;
    make_input(place, LENS_F32);
    for (int d = 0; d < 4; d++) {
        for (int until = 1; until <= (int)SMALL_LENSES; until++) {
            struct patience patience = {0, until};
            const struct lens_convert_options options = {
                .dtype = dtypes[d], .cancelled = out_of_patience, .cancelled_arg = &patience};
            expect_refused(place, &options, -ECANCELED, "interrupted after ");
            assert_int_equal(patience.asked, until);
        }
    }
}

static void the_input_is_never_replaced(void **state)
{
    const struct place *place = *state;
    const struct lens_convert_options options = {.dtype = LENS_I8};
    struct lens_conversion done;
    struct lens_error err = {0};
    make_input(place, LENS_F32);
    assert_int_equal(symlink(place->in, place->out), 0);
    const char *const names[] = {place->in, place->out};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lens_pack_convert(place->in, names[i], &options, &done, &err), -EINVAL);
        assert_non_null(strstr(err.text, "are the same file"));
    }
    struct lens_pack *pack = must_open(place->in);
    assert_int_equal(pack->w1_dtype, LENS_F32);
    lens_pack_close(pack);
}

static void formats_that_no_pack_has_are_refused(void **state)
{
    const struct place *place = *state;
    struct lens_convert_options options = {.dtype = LENS_F16};
    make_input(place, LENS_F32);
    expect_refused(place, &options, -EINVAL, "no pack stores its weights as f16");
    options.dtype = LENS_FP8; /* only in slots */
    expect_refused(place, &options, -EINVAL, "no pack stores its weights as fp8");
    options.dtype = LENS_DTYPES;
    expect_refused(place, &options, -EINVAL, "no pack stores its weights as ?");
}

static void a_weight_the_new_format_can_not_hold_is_refused_by_name(void **state)
{
    const struct place *place = *state;
    const struct lens_convert_options options = {.dtype = LENS_BF16};
    struct small_pack small;
    small_pack_fill(&small, LENS_F32, 8);
    small.lens[3].w1[SMALL_DIM + 2] = 3.4e38f;
    must_write(&small, place->in);
    expect_refused(place, &options, -EDOM, "lens C:1: w1[1,2] = 3.4e+38 is too large for bf16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_pair_of_formats_keeps_the_weights_within_half_a_step, setup, teardown),
        cmocka_unit_test_setup_teardown(from_f32_the_bytes_are_those_of_a_pack_written_in_that_format, setup, teardown),
        cmocka_unit_test_setup_teardown(widening_and_narrowing_again_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(the_source_says_what_it_was_made_from, setup, teardown),
        cmocka_unit_test_setup_teardown(metadata_of_others_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_format_is_a_copy_byte_for_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cut_input_is_refused_wherever_it_was_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(an_input_that_shrinks_while_it_is_read_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_is_not_given_a_new_checksum, setup, teardown),
        cmocka_unit_test_setup_teardown(a_disk_without_room_says_so_and_keeps_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(an_interrupted_conversion_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(the_input_is_never_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(formats_that_no_pack_has_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_weight_the_new_format_can_not_hold_is_refused_by_name, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
