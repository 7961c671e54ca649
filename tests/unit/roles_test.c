/* Who may ask what: every request of the protocol, as a client, as an operator and as nobody. A request without a row
 * here fails the test: whoever adds one decides who may. */
#include "tests/unit/support/service_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

#define REQUESTS_END 64 /* answers begin here */

enum who { EVERYBODY = 1, OPERATORS };

/* Indexed by enum lens_msg_type. */
static const enum who allowed[REQUESTS_END] = {
    [LENS_MSG_HELLO] = EVERYBODY,    [LENS_MSG_ATTACH] = EVERYBODY,        [LENS_MSG_DETACH] = EVERYBODY,
    [LENS_MSG_STATUS] = EVERYBODY,   [LENS_MSG_END_SEQUENCE] = EVERYBODY,  [LENS_MSG_PACKS] = EVERYBODY,
    [LENS_MSG_CONCEPTS] = EVERYBODY, [LENS_MSG_EXPLAIN] = EVERYBODY,       [LENS_MSG_STATISTICS] = EVERYBODY,
    [LENS_MSG_SESSIONS] = EVERYBODY, [LENS_MSG_CONFIG] = EVERYBODY,        [LENS_MSG_EVENTS] = EVERYBODY,
    [LENS_MSG_RULES] = EVERYBODY,    [LENS_MSG_LOAD] = OPERATORS,          [LENS_MSG_SWAP] = OPERATORS,
    [LENS_MSG_UNLOAD] = OPERATORS,   [LENS_MSG_SHUTDOWN] = OPERATORS,      [LENS_MSG_TRACE] = OPERATORS,
    [LENS_MSG_PRELOAD] = OPERATORS,  [LENS_MSG_PIN] = OPERATORS,           [LENS_MSG_UNPIN] = OPERATORS,
    [LENS_MSG_READINGS] = OPERATORS, [LENS_MSG_RULE_READINGS] = EVERYBODY,
};

static const char *const as_client[] = {"ipc.admin_uids=4242", "ipc.allow_uids=self", NULL};
static const char *const as_nobody[] = {"ipc.admin_uids=4242", "ipc.allow_uids=4242", NULL};

static bool is_request(int type)
{
    return strcmp(lens_msg_name((enum lens_msg_type)type), "?") != 0;
}

/* Asks what nothing but the role can forbid: of the peer's own session where that matters. */
static enum lens_msg_type ask_plainly(struct peer *peer, enum lens_msg_type type, uint32_t session)
{
    struct lens_msg *request = peer_request(peer, type);
    if (type == LENS_MSG_STATISTICS)
        request->u.statistics.session = session;
    return peer_ask(peer);
}

static bool was_not_allowed(const struct peer *peer, enum lens_msg_type answer)
{
    return answer == LENS_MSG_ERROR && peer->answer.u.fault.code == LENS_FAULT_NOT_ALLOWED;
}

static bool is_in(struct lens_text sentence, const char *part)
{
    return memmem(sentence.data, sentence.length, part, strlen(part)) != NULL;
}

static void every_request_has_a_row_here(void **state)
{
    (void)state;
    for (int type = 1; type < REQUESTS_END; type++)
        if (is_request(type) != (allowed[type] != 0))
            fail_msg("%s (%d) has no row in this test, or the row has no request",
                     lens_msg_name((enum lens_msg_type)type), type);
}

/* Asks for everything in turn, each on a connection of its own: a hello that comes twice ends it. */
static void ask_all(const char *const *settings, bool operator)
{
    struct service_world *w = service_world_open(settings);
    for (int type = 1; type < REQUESTS_END; type++) {
        if (allowed[type] == 0 || (operator&& type == LENS_MSG_SHUTDOWN))
            continue;
        struct peer *peer = peer_greet(w);
        assert_int_equal(peer->answer.u.hello_ok.role, operator? LENS_PEER_OPERATOR : LENS_PEER_CLIENT);
        enum lens_msg_type answer = ask_plainly(peer, (enum lens_msg_type)type, peer_attach(peer));
        bool refused = was_not_allowed(peer, answer), expected = allowed[type] == OPERATORS && !operator;
        if (refused != expected)
            fail_msg("%s was %s", lens_msg_name((enum lens_msg_type)type), refused ? "refused" : "answered");
        assert_false(answer == LENS_MSG_ERROR && is_in(peer->answer.u.fault.text, "isn't a request"));
        if (refused)
            assert_true(is_in(peer->answer.u.fault.text, "ipc.admin_uids"));
        peer_close(peer);
    }
    service_world_close(w);
}

static void clients_may_what_is_for_everybody_and_nothing_else(void **state)
{
    (void)state;
    ask_all(as_client, false);
}

static void operators_may_everything(void **state)
{
    (void)state;
    ask_all(NULL, true);
}

static void nobody_may_anything(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(as_nobody);
    for (int type = 1; type < REQUESTS_END; type++) {
        if (allowed[type] == 0)
            continue;
        struct peer *peer = peer_connect(w);
        struct lens_msg *request = peer_request(peer, (enum lens_msg_type)type);
        if (type == LENS_MSG_HELLO)
            request->u.hello.protocol_version = LENS_PROTOCOL_VERSION;
        assert_non_null(strstr(peer_ask_refused(peer, LENS_FAULT_NOT_ALLOWED), "ipc.allow_uids"));
        assert_int_equal(peer_receive(peer), 0);
        peer_close(peer);
    }
    service_world_close(w);
}

static void nothing_is_answered_before_hello(void **state)
{
    (void)state;
    struct service_world *w = service_world_open(NULL);
    for (int type = 1; type < REQUESTS_END; type++) {
        if (allowed[type] == 0 || type == LENS_MSG_HELLO)
            continue;
        struct peer *peer = peer_connect(w);
        peer_request(peer, (enum lens_msg_type)type);
        const char *said = peer_ask_refused(peer, LENS_FAULT_BAD_MESSAGE);
        if (strstr(said, "hello comes first") == NULL)
            fail_msg("%s before hello: %s", lens_msg_name((enum lens_msg_type)type), said);
        assert_int_equal(peer_receive(peer), 0);
        peer_close(peer);
    }
    service_world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_has_a_row_here),
        cmocka_unit_test(clients_may_what_is_for_everybody_and_nothing_else),
        cmocka_unit_test(operators_may_everything),
        cmocka_unit_test(nobody_may_anything),
        cmocka_unit_test(nothing_is_answered_before_hello),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
