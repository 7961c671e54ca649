/* The conformance suite over every CPU variant, and over the CUDA backend on an emulated card. A variant the processor
 * lacks is waived, visibly, not passed. */
#include "tests/unit/support/conformance.h"
#include "tests/unit/support/emulated_card.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static uint64_t seed;

static int open_cpu(void *arg, uint32_t threads, struct lens_backend **out, struct lens_error *err)
{
    return lens_cpu_open(&(struct lens_cpu_options){.threads = threads, .variant = arg}, out, err);
}

static struct conformance_target scalar = {.name = "scalar", .open = open_cpu, .arg = "scalar"};
static struct conformance_target avx2 = {.name = "avx2", .open = open_cpu, .arg = "avx2"};
static struct conformance_target avx512 = {.name = "avx512", .open = open_cpu, .arg = "avx512"};
static struct conformance_target emulated = {.name = "emulated",
                                             .open = emulated_card_open,
                                             .pairs = conformance_cuda_pairs,
                                             .n_pairs = CONFORMANCE_MAX_PAIRS,
                                             .slow = true};

/* The test's target, or the end of the test when this machine can't run it. */
static const struct conformance_target *target_of(void **state)
{
    const struct conformance_target *target = *state;
    struct lens_backend *backend = NULL;
    struct lens_error err = {0};
    int rc = target->open(target->arg, 1, &backend, &err);
    if (rc == -ENOTSUP) {
        printf("waived: %s\n", err.text);
        skip();
    }
    if (rc != 0)
        fail_msg("%s", err.text);
    backend->ops->close(backend);
    return target;
}

static void logits_are_within_the_stated_bound(void **state)
{
    const struct conformance_target *target = target_of(state);
#ifdef LENSD_SANITIZED
    conformance_accuracy(target, seed, false);
#else
    conformance_accuracy(target, seed, target != &scalar && target != &emulated);
#endif
}

static void every_stored_dtype_fits_every_slab(void **state)
{
    conformance_conversions(target_of(state), seed);
}

static void a_row_has_the_same_bits_however_it_is_asked(void **state)
{
    conformance_row_invariance(target_of(state), seed);
}

static void rows_that_are_not_finite_hurt_no_others(void **state)
{
    conformance_invalid_rows(target_of(state), seed);
}

static void a_slot_holds_what_was_written_last(void **state)
{
    conformance_slot_rewrite(target_of(state), seed);
}

static void senseless_slabs_are_refused(void **state)
{
    conformance_refusals(target_of(state), seed);
}

#define SUITE(target)                                                                                                  \
    cmocka_unit_test_prestate(logits_are_within_the_stated_bound, target),                                             \
        cmocka_unit_test_prestate(every_stored_dtype_fits_every_slab, target),                                         \
        cmocka_unit_test_prestate(a_row_has_the_same_bits_however_it_is_asked, target),                                \
        cmocka_unit_test_prestate(rows_that_are_not_finite_hurt_no_others, target),                                    \
        cmocka_unit_test_prestate(a_slot_holds_what_was_written_last, target),                                         \
        cmocka_unit_test_prestate(senseless_slabs_are_refused, target)

int main(void)
{
    const struct CMUnitTest tests[] = {SUITE(&scalar), SUITE(&avx2), SUITE(&avx512), SUITE(&emulated)};
    seed = conformance_seed();
    return cmocka_run_group_tests_name("backend_conformance", tests, NULL, NULL);
}
