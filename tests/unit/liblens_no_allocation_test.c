/* liblens allocates nothing after a session was opened (lens.h): every heap call of the whole process is counted over
 * tokens, sleeps and requests. The fake daemon takes nothing from the heap while it serves. */
#include "tests/unit/support/liblens_rig.h"
#ifndef LENSD_SANITIZED
#include "tests/unit/support/counting_malloc.h"
#endif

#ifdef LENSD_SANITIZED

static void nothing_is_allocated_per_token(void **state)
{
    (void)state;
    skip(); /* sanitizers bring their own heap */
}

#else

static void one_token(struct rig *rig, uint64_t tag)
{
    struct lens_answer a;
    assert_int_equal(rig_send(rig, 1, tag), 0);
    assert_int_equal(lens_session_wait(rig->session, 5000000, &a), 0);
    assert_int_equal(a.tag, tag);
    lens_session_release(rig->session);
    assert_true(lens_session_arm(rig->session) >= 0);
    assert_int_equal(lens_session_poll(rig->session, &a), -EAGAIN);
}

static void nothing_is_allocated_per_token(void **state)
{
    struct rig rig;
    (void)state;
    unsigned long at_first = atomic_load(&counting_calls);
    rig_open(&rig, NULL);
    one_token(&rig, 0);
    unsigned long before = atomic_load(&counting_calls);
    assert_true(before > at_first); /* the counter counts */
    for (unsigned i = 1; i < 500; i++)
        one_token(&rig, i);
    assert_int_equal(lens_session_end_sequence(rig.session, 1, NULL), 0);
    assert_int_equal(atomic_load(&counting_calls) - before, 0);
    rig_close(&rig);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_allocated_per_token)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
