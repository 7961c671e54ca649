/* Every allocation and system call of the control side is made to fail once, at start and while serving: the daemon
 * answers or drops the one it happened to, leaks nothing, and serves the next client. */
#include "tests/unit/support/service_world.h"

#include "daemon/sys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Fails the call after `left` more, once (or, with `for_good`, every one from then on); negative = never. */
struct fuse {
    atomic_int left;
    atomic_bool for_good;
    atomic_int burnt;
};

static int burn(void *arg, const char *call)
{
    struct fuse *fuse = arg;
    if (atomic_load(&fuse->left) < 0)
        return 0;
    int left = atomic_fetch_sub(&fuse->left, 1);
    if (left > 0)
        return 0;
    atomic_fetch_add(&fuse->burnt, 1);
    if (atomic_load(&fuse->for_good))
        atomic_store(&fuse->left, 0);
    if (strcmp(call, "fallocate") == 0)
        return ENOSPC;
    return strcmp(call, "accept") == 0 || strcmp(call, "eventfd") == 0 ? EMFILE : ENOMEM;
}

static void light(struct fuse *fuse, int left, bool for_good)
{
    atomic_store(&fuse->burnt, 0);
    atomic_store(&fuse->for_good, for_good);
    atomic_store(&fuse->left, left);
}

static void put_out(struct fuse *fuse)
{
    atomic_store(&fuse->left, -1);
}

static int remove_hook(void **state)
{
    (void)state;
    lensd_sys_set_hook(NULL, NULL);
    return 0;
}

/* All a client does, as far as it gets; true when every answer was the good one. */
static bool exchange(const struct service_world *w)
{
    static const enum lens_msg_type asked[] = {LENS_MSG_ATTACH, LENS_MSG_STATUS, LENS_MSG_SESSIONS, LENS_MSG_CONFIG};
    struct peer *peer = peer_connect(w);
    struct lens_hello *hello = &peer_request(peer, LENS_MSG_HELLO)->u.hello;
    hello->protocol_version = LENS_PROTOCOL_VERSION;
    bool good = peer_try(peer) == LENS_MSG_HELLO_OK;
    for (size_t i = 0; good && i < sizeof asked / sizeof asked[0]; i++) {
        peer_request(peer, asked[i]);
        enum lens_msg_type type = peer_try(peer);
        good = type != 0 && type != LENS_MSG_ERROR;
    }
    if (good) {
        struct lens_load *load = &peer_request(peer, LENS_MSG_SWAP)->u.load;
        load->pack = lens_text_of(w->pack);
        good = peer_try(peer) == LENS_MSG_DONE;
    }
    peer_close(peer);
    return good;
}

static void assert_descriptors_become(unsigned expected)
{
    for (int i = 0; i < 1000 && open_descriptors() != expected; i++)
        usleep(2000);
    assert_int_equal(open_descriptors(), expected);
}

static void any_one_failure_while_serving_costs_one_client_at_most(void **state)
{
    (void)state;
    struct fuse fuse = {.left = -1};
    lensd_sys_set_hook(burn, &fuse);
    struct service_world *w = service_world_open(NULL);
    assert_true(exchange(w));
    usleep(100000); /* the daemon's end of the last connection closes */
    unsigned before = open_descriptors();
    int n = 0;
    for (bool burnt = true; burnt; n++) {
        light(&fuse, n, false);
        exchange(w);
        put_out(&fuse);
        burnt = atomic_load(&fuse.burnt) > 0;
        assert_true(exchange(w));
    }
    assert_true(n > 20);
    assert_descriptors_become(before);
    service_world_close(w);
}

static void failing_for_good_is_survived_and_ends_with_the_cause(void **state)
{
    (void)state;
    struct fuse fuse = {.left = -1};
    lensd_sys_set_hook(burn, &fuse);
    struct service_world *w = service_world_open(NULL);
    assert_true(exchange(w));
    for (int n = 0; n < 40; n += 3) {
        light(&fuse, n, true);
        exchange(w);
        put_out(&fuse);
        bool good = false; /* a paused accept is taken up again within a second */
        for (int i = 0; i < 5 && !good; i++)
            good = exchange(w);
        assert_true(good);
    }
    service_world_close(w);
}

/* Allocations of reading settings come first and are settings_test's: one for each row, the four of the world's
 * own, and the one below. */
#define SETTINGS_CALLS ((int)lensd_settings_count + 5)

static void a_start_that_fails_anywhere_leaves_nothing(void **state)
{
    (void)state;
    static const char *const settings[] = {"http.listen=127.0.0.1:0", NULL};
    struct fuse fuse = {.left = -1};
    lensd_sys_set_hook(burn, &fuse);
    int n = 0;
    for (bool burnt = true; burnt; n++) {
        struct lens_error err = {0};
        light(&fuse, n + SETTINGS_CALLS, false);
        struct service_world *w = service_world_try(settings, &err);
        put_out(&fuse);
        burnt = atomic_load(&fuse.burnt) > 0;
        if (w == NULL)
            assert_true(err.text[0] != '\0');
        else
            service_world_close(w);
    }
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(any_one_failure_while_serving_costs_one_client_at_most, remove_hook),
        cmocka_unit_test_teardown(failing_for_good_is_survived_and_ends_with_the_cause, remove_hook),
        cmocka_unit_test_teardown(a_start_that_fails_anywhere_leaves_nothing, remove_hook),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
