/* The system-call wrapper: results are negative errno, and a hook can refuse any call. */
#include "daemon/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

struct refusal {
    const char *call;
    int error;
    unsigned asked;
};

static int refuse_one(void *arg, const char *call)
{
    struct refusal *refusal = arg;
    refusal->asked++;
    return strcmp(call, refusal->call) == 0 ? refusal->error : 0;
}

static int remove_hook(void **state)
{
    (void)state;
    lensd_sys_set_hook(NULL, NULL);
    return 0;
}

static void memory_comes_zeroed_and_aligned(void **state)
{
    (void)state;
    unsigned char *zeroed = lensd_calloc(100, 7);
    assert_non_null(zeroed);
    for (size_t i = 0; i < 700; i++)
        assert_int_equal(zeroed[i], 0);
    lensd_free(zeroed);
    void *aligned = lensd_aligned(4096, 100);
    assert_non_null(aligned);
    assert_int_equal((uintptr_t)aligned % 4096, 0);
    lensd_free(aligned);
}

static void a_memfd_is_allocated_mapped_and_sealed(void **state)
{
    (void)state;
    int fd = lensd_memfd_create("sys-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(lensd_fallocate(fd, 8192), 0);
    assert_int_equal(lensd_add_seals(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    assert_int_equal(lensd_add_seals(fd, F_SEAL_WRITE), -EPERM);
    assert_int_equal(ftruncate(fd, 0), -1);
    void *memory = NULL;
    assert_int_equal(lensd_mmap_shared(fd, 8192, &memory), 0);
    memset(memory, 1, 8192);
    munmap(memory, 8192);
    close(fd);
}

static void errors_are_negative_errno(void **state)
{
    (void)state;
    struct msghdr message = {0};
    void *memory = NULL;
    assert_int_equal(lensd_fallocate(-1, 4096), -EBADF);
    assert_int_equal(lensd_add_seals(-1, 0), -EBADF);
    assert_int_equal(lensd_mmap_shared(-1, 4096, &memory), -EBADF);
    assert_int_equal(lensd_accept(-1), -EBADF);
    assert_int_equal(lensd_recvmsg(-1, &message, 0), -EBADF);
    assert_int_equal(lensd_sendmsg(-1, &message, 0), -EBADF);
    assert_int_equal(lensd_memfd_create("x", ~0u), -EINVAL);
    assert_int_equal(lensd_eventfd(0, -1), -EINVAL);
}

static void packets_pass(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    char sent[] = "four", received[8];
    struct iovec out = {sent, 4}, in = {received, sizeof received};
    struct msghdr message = {.msg_iov = &out, .msg_iovlen = 1};
    assert_int_equal(lensd_sendmsg(pair[0], &message, MSG_DONTWAIT), 4);
    message.msg_iov = &in;
    assert_int_equal(lensd_recvmsg(pair[1], &message, MSG_DONTWAIT), 4);
    assert_int_equal(lensd_recvmsg(pair[1], &message, MSG_DONTWAIT), -EAGAIN);
    close(pair[0]);
    close(pair[1]);
}

static void the_hook_refuses_each_call_with_its_errno(void **state)
{
    (void)state;
    struct refusal refusal = {.error = ENFILE};
    struct msghdr message = {0};
    void *memory = NULL;
    lensd_sys_set_hook(refuse_one, &refusal);
    refusal.call = "calloc";
    assert_null(lensd_calloc(1, 1));
    refusal.call = "aligned";
    assert_null(lensd_aligned(64, 64));
    refusal.call = "memfd_create";
    assert_int_equal(lensd_memfd_create("x", 0), -ENFILE);
    refusal.call = "fallocate";
    assert_int_equal(lensd_fallocate(-1, 1), -ENFILE);
    refusal.call = "add_seals";
    assert_int_equal(lensd_add_seals(-1, 0), -ENFILE);
    refusal.call = "mmap";
    assert_int_equal(lensd_mmap_shared(-1, 1, &memory), -ENFILE);
    refusal.call = "eventfd";
    assert_int_equal(lensd_eventfd(0, 0), -ENFILE);
    refusal.call = "accept";
    assert_int_equal(lensd_accept(-1), -ENFILE);
    refusal.call = "recvmsg";
    assert_int_equal(lensd_recvmsg(-1, &message, 0), -ENFILE);
    refusal.call = "sendmsg";
    assert_int_equal(lensd_sendmsg(-1, &message, 0), -ENFILE);
    assert_int_equal(refusal.asked, 10);
}

static void the_hook_lets_other_calls_through(void **state)
{
    (void)state;
    struct refusal refusal = {.call = "mmap", .error = ENOMEM};
    lensd_sys_set_hook(refuse_one, &refusal);
    void *memory = lensd_calloc(1, 16);
    assert_non_null(memory);
    lensd_free(memory);
    int fd = lensd_eventfd(0, 0);
    assert_true(fd >= 0);
    close(fd);
}

static void the_clock_goes_forward(void **state)
{
    (void)state;
    uint64_t before = lensd_now_ns();
    assert_true(before > 0);
    assert_true(lensd_now_ns() >= before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_comes_zeroed_and_aligned),
        cmocka_unit_test(a_memfd_is_allocated_mapped_and_sealed),
        cmocka_unit_test(errors_are_negative_errno),
        cmocka_unit_test(packets_pass),
        cmocka_unit_test_teardown(the_hook_refuses_each_call_with_its_errno, remove_hook),
        cmocka_unit_test_teardown(the_hook_lets_other_calls_through, remove_hook),
        cmocka_unit_test(the_clock_goes_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
