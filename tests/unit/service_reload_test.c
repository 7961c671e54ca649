/* A reload of a daemon with clients: who may do what is judged again (daemon/reload.h, lensd_connections_judge). */
#include "tests/unit/support/service_world.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A daemon that reads `text` at its next reload: what service_world sets holds further. */
static void write_config(struct service_world *w, const char *text)
{
    FILE *file = fopen(w->config, "we");
    assert_non_null(file);
    fprintf(file, "[http]\nlisten = off\n[log]\nlevel = error\n%s", text);
    fclose(file);
}

static void reload(struct service_world *w, const char *text)
{
    write_config(w, text);
    kill(getpid(), SIGHUP);
}

static enum lens_fault fault_of_unload(struct peer *peer)
{
    peer_request(peer, LENS_MSG_UNLOAD)->u.load.pack = lens_text_of("nothing of that name");
    return peer_ask(peer) == LENS_MSG_ERROR ? peer->answer.u.fault.code : (enum lens_fault)0;
}

static void assert_fault_becomes(struct peer *peer, enum lens_fault wanted)
{
    enum lens_fault found = (enum lens_fault)0;
    for (int i = 0; i < 5000; i++) {
        found = fault_of_unload(peer);
        if (found == wanted)
            return;
        usleep(2000);
    }
    assert_int_equal(found, wanted);
}

static void an_operator_that_is_none_any_more_goes_on_as_a_client(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w);
    peer_attach(peer);
    assert_int_equal(fault_of_unload(peer), LENS_FAULT_NO_SUCH_PACK);
    reload(w, "[ipc]\nadmin_uids = 4242\nallow_uids = self\n");
    assert_fault_becomes(peer, LENS_FAULT_NOT_ALLOWED);
    peer_request(peer, LENS_MSG_STATUS);
    assert_int_equal(peer_ask(peer), LENS_MSG_STATUS_IS);
    assert_int_equal(peer->answer.u.status_is.sessions, 1);
    reload(w, "");
    assert_fault_becomes(peer, LENS_FAULT_NO_SUCH_PACK);
    peer_close(peer);
    service_world_close(w);
}

static void a_client_that_may_no_longer_connect_hears_so_and_is_dropped(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *peer = peer_greet(w), *idle = peer_greet(w);
    peer_attach(peer);
    reload(w, "[ipc]\nadmin_uids = 4242\nallow_uids = 4242\n");
    assert_int_equal(peer_receive(peer), LENS_MSG_GOODBYE);
    assert_non_null(strstr(peer->answer.u.goodbye.text.data, "no longer lets this user in"));
    assert_int_equal(peer_receive(peer), 0);
    peer_close(peer);
    assert_int_equal(peer_receive(idle), LENS_MSG_GOODBYE);
    peer_close(idle);
    reload(w, "");
    struct peer *again = NULL;
    for (int i = 0; i < 5000 && again == NULL; i++) {
        again = peer_connect(w);
        peer_request(again, LENS_MSG_HELLO)->u.hello.protocol_version = LENS_PROTOCOL_VERSION;
        if (peer_try(again) != LENS_MSG_HELLO_OK) {
            peer_close(again);
            again = NULL;
            usleep(2000);
        }
    }
    assert_non_null(again);
    peer_request(again, LENS_MSG_STATUS);
    assert_int_equal(peer_ask(again), LENS_MSG_STATUS_IS);
    assert_int_equal(again->answer.u.status_is.sessions, 0);
    peer_close(again);
    service_world_close(w);
}

static void a_recording_ends_with_its_recorders_role(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    struct peer *recorder = peer_greet(w);
    peer_request(recorder, LENS_MSG_TRACE);
    assert_int_equal(peer_ask(recorder), LENS_MSG_TRACING);
    reload(w, "[ipc]\nadmin_uids = 4242\nallow_uids = self\n");
    assert_fault_becomes(recorder, LENS_FAULT_NOT_ALLOWED);
    reload(w, "");
    assert_fault_becomes(recorder, LENS_FAULT_NO_SUCH_PACK);
    struct peer *next = peer_greet(w); /* one recording at a time: there is none any more */
    peer_request(next, LENS_MSG_TRACE);
    assert_int_equal(peer_ask(next), LENS_MSG_TRACING);
    peer_close(next);
    peer_close(recorder);
    service_world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_operator_that_is_none_any_more_goes_on_as_a_client),
        cmocka_unit_test(a_client_that_may_no_longer_connect_hears_so_and_is_dropped),
        cmocka_unit_test(a_recording_ends_with_its_recorders_role),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
