/* The daemon's control side, whole and in one process: who may do what, what each answer holds, and that nobody who
 * misbehaves costs anybody else anything. */
#include "tests/unit/support/service_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Settings under which the test's own user is a client (not an operator), or nobody at all. */
static const char *const as_client[] = {"ipc.admin_uids=4242", "ipc.allow_uids=self", NULL};
static const char *const as_nobody[] = {"ipc.admin_uids=4242", "ipc.allow_uids=4242", NULL};

static void assert_has(const char *sentence, const char *part)
{
    if (strstr(sentence, part) == NULL)
        fail_msg("\"%s\" doesn't say \"%s\"", sentence, part);
}

static void assert_text(struct lens_text text, const char *expected)
{
    assert_int_equal(text.length, strlen(expected));
    assert_memory_equal(text.data, expected, text.length);
}

/* The daemon still answers, and how many sessions it has. */
static uint32_t sessions_now(struct service_world *w)
{
    struct peer *peer = peer_greet(w);
    peer_request(peer, LENS_MSG_STATUS);
    assert_int_equal(peer_ask(peer), LENS_MSG_STATUS_IS);
    uint32_t n = peer->answer.u.status_is.sessions;
    peer_close(peer);
    return n;
}

static void assert_sessions_become(struct service_world *w, uint32_t expected)
{
    for (int i = 0; i < 500; i++) {
        if (sessions_now(w) == expected)
            return;
        usleep(2000);
    }
    fail_msg("expected %u sessions, found %u", expected, sessions_now(w));
}

/* The peer is told that its message was bad, and let go. */
static void assert_dropped(struct peer *peer, const char *part)
{
    assert_int_equal(peer_receive(peer), LENS_MSG_ERROR);
    assert_int_equal(peer->answer.u.fault.code, LENS_FAULT_BAD_MESSAGE);
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%.*s", (int)peer->answer.u.fault.text.length, peer->answer.u.fault.text.data);
    assert_has(sentence, part);
    assert_int_equal(peer_receive(peer), 0);
    peer_close(peer);
}

/* ---- hello ------------------------------------------------------------------------------------------------------ */

static void hello_says_who_the_daemon_is(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w);
    assert_text(peer->answer.u.hello_ok.daemon_version, LENSD_VERSION);
    assert_int_equal(peer->answer.u.hello_ok.role, LENS_PEER_OPERATOR);
    assert_int_equal(peer->answer.u.hello_ok.daemon_pid, getpid());
    peer_close(peer);
    service_world_close(w);
}

static void hello_comes_first_and_once(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_connect(w);
    peer_request(peer, LENS_MSG_STATUS);
    assert_has(peer_ask_refused(peer, LENS_FAULT_BAD_MESSAGE), "hello comes first");
    assert_int_equal(peer_receive(peer), 0);
    peer_close(peer);
    peer = peer_greet(w);
    peer_request(peer, LENS_MSG_HELLO)->u.hello.protocol_version = LENS_PROTOCOL_VERSION;
    peer_ask_refused(peer, LENS_FAULT_BAD_MESSAGE);
    peer_close(peer);
    service_world_close(w);
}

static void another_protocol_version_is_refused(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_connect(w);
    peer_request(peer, LENS_MSG_HELLO)->u.hello.protocol_version = 99;
    assert_has(peer_ask_refused(peer, LENS_FAULT_BAD_VERSION), "99");
    assert_int_equal(peer_receive(peer), 0);
    peer_close(peer);
    service_world_close(w);
}

static void strangers_hear_why_and_are_let_go(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(as_nobody);
    struct peer *peer = peer_connect(w);
    peer_request(peer, LENS_MSG_HELLO)->u.hello.protocol_version = LENS_PROTOCOL_VERSION;
    assert_has(peer_ask_refused(peer, LENS_FAULT_NOT_ALLOWED), "ipc.allow_uids");
    assert_int_equal(peer_receive(peer), 0);
    peer_close(peer);
    service_world_close(w);
}

/* ---- sessions --------------------------------------------------------------------------------------------------- */

static void attach_hands_over_sealed_memory_and_a_doorbell(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w);
    struct stat st;
    peer_attach(peer);
    const struct lens_attached *attached = &peer->answer.u.attached;
    assert_int_equal(attached->lenses, 200);
    assert_int_equal(attached->layout.dim, 16);
    assert_text(attached->pack, "lenses");
    assert_text(attached->model_id, "test");
    assert_int_equal(fstat(peer->fds[0], &st), 0);
    assert_int_equal(st.st_size, attached->layout.total_bytes);
    assert_int_equal(ftruncate(peer->fds[0], 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(peer->fds[0], F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
                     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    peer_close(peer);
    service_world_close(w);
}

static void options_not_chosen_are_the_daemons(void **state)
{
    (void)state;
    const char *const settings[] = {"cascade.top_k=7", "cascade.max_depth=3", "cascade.expand=topk", NULL};
    struct service_world *w = service_world_open(settings);
    struct peer *peer = peer_greet(w);
    struct lens_attach *attach = &peer_request(peer, LENS_MSG_ATTACH)->u.attach;
    attach->options_set = LENS_OPT_MAX_DEPTH | LENS_OPT_BASE;
    attach->options.max_depth = 9;
    attach->options.base_layers = 1;
    assert_int_equal(peer_ask(peer), LENS_MSG_ATTACHED);
    const struct lens_cascade_options *options = &peer->answer.u.attached.options;
    assert_int_equal(options->top_k, 7);
    assert_int_equal(options->expand, LENS_EXPAND_TOPK);
    assert_int_equal(options->max_depth, 9);
    assert_int_equal(options->base_layers, 1);
    assert_int_equal(peer->answer.u.attached.layout.top_k, 7);
    peer_close(peer);
    service_world_close(w);
}

static void a_session_that_can_not_be_is_refused_with_a_sentence(void **state)
{
    (void)state;
    const char *const settings[] = {"ipc.session_memory=1M", "ipc.total_memory=1M", "ipc.max_sessions=2", NULL};
    struct service_world *w = service_world_open(settings);
    struct peer *peer = peer_greet(w);
    struct lens_attach *attach = &peer_request(peer, LENS_MSG_ATTACH)->u.attach;
    attach->pack = lens_text_of("other");
    assert_has(peer_ask_refused(peer, LENS_FAULT_NO_SUCH_PACK), "other");
    attach = &peer_request(peer, LENS_MSG_ATTACH)->u.attach;
    attach->max_rows = 64;
    attach->submit_slots = 4096;
    peer_send(peer);
    assert_int_equal(peer_receive(peer), LENS_MSG_ERROR);
    attach = &peer_request(peer, LENS_MSG_ATTACH)->u.attach;
    attach->n_pinned = 1;
    attach->pinned[0] = 200;
    assert_has(peer_ask_refused(peer, LENS_FAULT_BAD_MESSAGE), "200");
    for (int i = 0; i < 2; i++) {
        attach = &peer_request(peer, LENS_MSG_ATTACH)->u.attach;
        attach->submit_slots = 2;
        attach->result_slots = 2;
        attach->expanded_capacity = 1;
        assert_int_equal(peer_ask(peer), LENS_MSG_ATTACHED);
    }
    peer_request(peer, LENS_MSG_ATTACH);
    assert_has(peer_ask_refused(peer, LENS_FAULT_NO_SPACE), "ipc.max_sessions");
    peer_close(peer);
    service_world_close(w);
}

static void clients_see_and_touch_their_own_sessions_only(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(as_client);
    struct peer *a = peer_greet(w), *b = peer_greet(w);
    uint32_t of_a = peer_attach(a), of_b = peer_attach(b);
    assert_int_not_equal(of_a, of_b);
    peer_request(a, LENS_MSG_SESSIONS);
    assert_int_equal(peer_ask(a), LENS_MSG_SESSION_PAGE);
    assert_int_equal(a->answer.u.session_page.total, 1);
    assert_int_equal(a->answer.u.session_page.rows[0].session, of_a);
    assert_text(a->answer.u.session_page.rows[0].label, "tester");
    peer_request(a, LENS_MSG_STATISTICS)->u.statistics.session = of_a;
    assert_int_equal(peer_ask(a), LENS_MSG_STATISTICS_ARE);
    peer_request(a, LENS_MSG_STATISTICS)->u.statistics.session = of_b;
    peer_ask_refused(a, LENS_FAULT_NO_SUCH_SESSION);
    peer_request(a, LENS_MSG_STATISTICS);
    peer_ask_refused(a, LENS_FAULT_NOT_ALLOWED);
    peer_request(a, LENS_MSG_DETACH)->u.detach.session = of_b;
    peer_ask_refused(a, LENS_FAULT_NO_SUCH_SESSION);
    peer_request(a, LENS_MSG_END_SEQUENCE)->u.end_sequence.session = of_b;
    peer_ask_refused(a, LENS_FAULT_NO_SUCH_SESSION);
    peer_request(a, LENS_MSG_STATUS);
    assert_int_equal(peer_ask(a), LENS_MSG_STATUS_IS);
    assert_int_equal(a->answer.u.status_is.sessions, 1);
    peer_request(a, LENS_MSG_END_SEQUENCE)->u.end_sequence.session = of_a;
    assert_int_equal(peer_ask(a), LENS_MSG_DONE);
    peer_request(a, LENS_MSG_DETACH)->u.detach.session = of_a;
    assert_int_equal(peer_ask(a), LENS_MSG_DONE);
    peer_close(a);
    peer_close(b);
    service_world_close(w);
}

static void operators_see_everyone(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *a = peer_greet(w), *b = peer_greet(w);
    peer_attach(a);
    uint32_t of_b = peer_attach(b);
    peer_request(a, LENS_MSG_SESSIONS);
    assert_int_equal(peer_ask(a), LENS_MSG_SESSION_PAGE);
    assert_int_equal(a->answer.u.session_page.total, 2);
    peer_request(a, LENS_MSG_SESSIONS)->u.page.first = 1;
    assert_int_equal(peer_ask(a), LENS_MSG_SESSION_PAGE);
    assert_int_equal(a->answer.u.session_page.count, 1);
    assert_int_equal(a->answer.u.session_page.rows[0].session, of_b);
    peer_request(a, LENS_MSG_STATISTICS)->u.statistics.session = of_b;
    assert_int_equal(peer_ask(a), LENS_MSG_STATISTICS_ARE);
    peer_close(a);
    peer_close(b);
    service_world_close(w);
}

static void operators_commands_are_refused_to_clients(void **state)
{
    (void)state;
    static const enum lens_msg_type commands[] = {LENS_MSG_LOAD, LENS_MSG_SWAP, LENS_MSG_UNLOAD, LENS_MSG_SHUTDOWN};
    struct service_world *w = service_world_open(as_client);
    struct peer *peer = peer_greet(w);
    assert_int_equal(peer->answer.u.hello_ok.role, LENS_PEER_CLIENT);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        struct lens_load *load = &peer_request(peer, commands[i])->u.load;
        if (commands[i] != LENS_MSG_SHUTDOWN)
            load->pack = lens_text_of(w->pack);
        assert_has(peer_ask_refused(peer, LENS_FAULT_NOT_ALLOWED), "ipc.admin_uids");
    }
    peer_close(peer);
    service_world_close(w);
}

static void a_connection_that_ends_frees_its_sessions(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *first = peer_greet(w);
    unsigned before = open_descriptors() - 2; /* without both ends of the first connection */
    peer_close(first);
    for (int i = 0; i < 500 && open_descriptors() != before; i++)
        usleep(2000);
    struct peer *peer = peer_greet(w);
    peer_attach(peer);
    peer_attach(peer);
    assert_int_equal(sessions_now(w), 2);
    peer_close(peer);
    assert_sessions_become(w, 0);
    for (int i = 0; i < 500 && open_descriptors() != before; i++)
        usleep(2000);
    assert_int_equal(open_descriptors(), before);
    service_world_close(w);
}

static void a_forged_ring_ends_the_connection_with_a_word(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *good = peer_greet(w), *evil = peer_greet(w);
    peer_attach(good);
    uint32_t session = peer_attach(evil);
    size_t size = evil->answer.u.attached.layout.total_bytes;
    struct lens_shm_header *header = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, evil->fds[0], 0);
    assert_ptr_not_equal(header, MAP_FAILED);
    uint64_t one = 1;
    __atomic_store_n(&header->submit_head, UINT64_MAX / 2, __ATOMIC_RELEASE);
    assert_int_equal(write(evil->fds[1], &one, sizeof one), sizeof one);
    assert_int_equal(peer_receive(evil), LENS_MSG_GOODBYE);
    assert_int_equal(evil->answer.u.goodbye.session, session);
    assert_int_equal(peer_receive(evil), 0);
    munmap(header, size);
    peer_close(evil);
    assert_sessions_become(w, 1);
    peer_close(good);
    service_world_close(w);
}

/* ---- packets that break the rules ------------------------------------------------------------------------------- */

static void descriptors_are_closed_and_their_sender_dropped(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    peer_close(peer_greet(w));
    for (unsigned n = 1; n <= 253; n += 63) {
        struct peer *peer = peer_greet(w);
        unsigned before = open_descriptors();
        int fds[253] = {0};
        for (unsigned i = 0; i < n; i++)
            fds[i] = STDERR_FILENO;
        union {
            struct cmsghdr header;
            char bytes[CMSG_SPACE(sizeof fds)];
        } control = {.header = {CMSG_LEN(n * sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
        memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
        struct iovec part = {"hello", 5};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(n * sizeof(int))};
        assert_int_equal(sendmsg(peer->fd, &message, 0), 5);
        assert_int_equal(peer_receive(peer), LENS_MSG_ERROR);
        assert_int_equal(peer_receive(peer), 0);
        assert_int_equal(open_descriptors(), before - 1); /* only the daemon's end of this connection went */
        peer_close(peer);
    }
    service_world_close(w);
}

static void empty_oversized_and_senseless_packets_are_refused(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    static unsigned char bytes[60000];
    struct peer *peer = peer_greet(w);
    assert_int_equal(send(peer->fd, bytes, 0, 0), 0);
    assert_dropped(peer, "empty packet");
    peer = peer_greet(w);
    assert_int_equal(send(peer->fd, bytes, sizeof bytes, 0), sizeof bytes);
    assert_dropped(peer, "4096");
    for (size_t length = 1; length < 4096; length = length * 3 + 1) {
        peer = peer_greet(w);
        for (size_t i = 0; i < length; i++)
            bytes[i] = (unsigned char)rand();
        assert_int_equal(send(peer->fd, bytes, length, 0), length);
        assert_dropped(peer, "");
    }
    peer = peer_greet(w); /* answers aren't requests */
    peer_request(peer, LENS_MSG_DONE);
    peer_send(peer);
    assert_int_equal(peer_receive(peer), LENS_MSG_ERROR);
    peer_close(peer);
    assert_int_equal(sessions_now(w), 0);
    service_world_close(w);
}

static void who_does_not_read_gets_no_more_and_hurts_nobody(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *slow = peer_greet(w);
    unsigned sent = 0;
    peer_request(slow, LENS_MSG_CONFIG);
    int n = lens_msg_encode(&slow->request, slow->packet, LENS_REQUEST_MAX);
    assert_true(n > 0);
    while (send(slow->fd, slow->packet, (size_t)n, MSG_DONTWAIT) == n && sent < 100000)
        sent++;
    usleep(100000);
    while (send(slow->fd, slow->packet, (size_t)n, MSG_DONTWAIT) == n && sent < 100000)
        sent++;
    assert_true(sent > 10 && sent < 100000);
    assert_int_equal(sessions_now(w), 0); /* others are served */
    for (unsigned i = 0; i < sent; i++)
        assert_int_equal(peer_receive(slow), LENS_MSG_SETTING_PAGE);
    peer_request(slow, LENS_MSG_STATUS);
    assert_int_equal(peer_ask(slow), LENS_MSG_STATUS_IS);
    peer_close(slow);
    service_world_close(w);
}

static void connections_are_bounded_and_operators_keep_a_place(void **state)
{
    (void)state;
    const char *const settings[] = {"ipc.max_connections=8", "ipc.admin_uids=4242", "ipc.allow_uids=self", NULL};
    struct service_world *w = service_world_open(settings);
    struct peer *peers[7];
    for (int i = 0; i < 7; i++)
        peers[i] = peer_greet(w);
    struct peer *late = peer_connect(w);
    assert_int_equal(peer_receive(late), LENS_MSG_ERROR);
    assert_int_equal(late->answer.u.fault.code, LENS_FAULT_NO_SPACE);
    assert_int_equal(peer_receive(late), 0);
    peer_close(late);
    for (int i = 0; i < 7; i++)
        peer_close(peers[i]);
    assert_sessions_become(w, 0);
    service_world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_says_who_the_daemon_is),
        cmocka_unit_test(hello_comes_first_and_once),
        cmocka_unit_test(another_protocol_version_is_refused),
        cmocka_unit_test(strangers_hear_why_and_are_let_go),
        cmocka_unit_test(attach_hands_over_sealed_memory_and_a_doorbell),
        cmocka_unit_test(options_not_chosen_are_the_daemons),
        cmocka_unit_test(a_session_that_can_not_be_is_refused_with_a_sentence),
        cmocka_unit_test(clients_see_and_touch_their_own_sessions_only),
        cmocka_unit_test(operators_see_everyone),
        cmocka_unit_test(operators_commands_are_refused_to_clients),
        cmocka_unit_test(a_connection_that_ends_frees_its_sessions),
        cmocka_unit_test(a_forged_ring_ends_the_connection_with_a_word),
        cmocka_unit_test(descriptors_are_closed_and_their_sender_dropped),
        cmocka_unit_test(empty_oversized_and_senseless_packets_are_refused),
        cmocka_unit_test(who_does_not_read_gets_no_more_and_hurts_nobody),
        cmocka_unit_test(connections_are_bounded_and_operators_keep_a_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
