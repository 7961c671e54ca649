/* The HTTP server by itself: pages, limits, and ends while requests are under way. */
#include "daemon/http.h"
#include "daemon/http_address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

struct world {
    struct lensd_http *http;
    struct lensd_http_address address;
    struct sockaddr_in peer;
    unsigned delay_us; /* of each answer */
    atomic_int answers;
};

static void answer(void *arg, enum lensd_http_page page, struct lensd_http_reply *reply)
{
    static const char *const texts[] = {"index", "metrics", "health", "ready"};
    struct world *w = arg;
    usleep(w->delay_us);
    atomic_fetch_add(&w->answers, 1);
    *reply = (struct lensd_http_reply){200, "text/plain", texts[page], strlen(texts[page])};
}

static struct world *start(unsigned delay_us)
{
    struct world *w = calloc(1, sizeof *w);
    struct lens_error err = {0};
    char where[LENSD_HTTP_WHERE];
    socklen_t size = sizeof w->peer;
    int fd;
    w->delay_us = delay_us;
    assert_int_equal(lensd_http_address_parse("127.0.0.1:0", &w->address, &err), 0);
    if (lensd_http_address_listen(&w->address, &fd, where, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&w->peer, &size), 0);
    if (lensd_http_start(fd, answer, w, &w->http, &err) != 0)
        fail_msg("%s", err.text);
    return w;
}

static void stop(struct world *w)
{
    lensd_http_stop(w->http);
    free(w);
}

static int dial(const struct world *w)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&w->peer, sizeof w->peer) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* What comes back until the end, terminated; its length, -1 after a reset. */
static ssize_t read_all(int fd, char *out, size_t size)
{
    size_t used = 0;
    for (ssize_t n = 1; n > 0 && used + 1 < size;) {
        n = read(fd, out + used, size - 1 - used);
        if (n < 0)
            return -1;
        used += (size_t)n;
    }
    out[used] = '\0';
    return (ssize_t)used;
}

static void ask(const struct world *w, const char *request, char *out, size_t size)
{
    int fd = dial(w);
    assert_true(fd >= 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    if (read_all(fd, out, size) < 0)
        out[0] = '\0';
    close(fd);
}

static void each_page_is_asked_for_by_its_path(void **state)
{
    (void)state;
    static const char *const pages[][2] = {
        {"/", "index"}, {"/metrics", "metrics"}, {"/healthz", "health"}, {"/readyz", "ready"}};
    struct world *w = start(0);
    char request[128], reply[2048];
    for (int i = 0; i < 4; i++) {
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", pages[i][0]);
        ask(w, request, reply, sizeof reply);
        assert_int_equal(strncmp(reply, "HTTP/1.1 200", 12), 0);
        assert_string_equal(strstr(reply, "\r\n\r\n") + 4, pages[i][1]);
    }
    ask(w, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n", reply, sizeof reply);
    assert_int_equal(strncmp(reply, "HTTP/1.1 404", 12), 0);
    ask(w, "GET /metrics HTTP/1.0\r\n\r\n", reply, sizeof reply);
    assert_non_null(strstr(reply, " 200 "));
    stop(w);
}

static void a_second_request_on_a_connection_is_not_answered(void **state)
{
    (void)state;
    struct world *w = start(0);
    char reply[4096];
    ask(w, "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", reply, sizeof reply);
    assert_int_equal(atomic_load(&w->answers), 1);
    stop(w);
}

static void the_oldest_goes_when_there_is_no_place_left(void **state)
{
    (void)state;
    struct world *w = start(0);
    int peers[2 * LENSD_HTTP_CONNECTIONS];
    char reply[2048];
    for (size_t i = 0; i < 2 * LENSD_HTTP_CONNECTIONS; i++)
        peers[i] = dial(w);
    ask(w, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", reply, sizeof reply);
    assert_int_equal(strncmp(reply, "HTTP/1.1 200", 12), 0);
    assert_true(read(peers[0], reply, 1) <= 0); /* the first one was closed */
    for (size_t i = 0; i < 2 * LENSD_HTTP_CONNECTIONS; i++)
        close(peers[i]);
    stop(w);
}

static void stopping_closes_those_that_wait_and_those_that_talk(void **state)
{
    (void)state;
    struct world *w = start(50000);
    int idle = dial(w), asking[3];
    char byte;
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    for (int i = 0; i < 3; i++) {
        asking[i] = dial(w);
        assert_int_equal(send(asking[i], request, sizeof request - 1, MSG_NOSIGNAL), (ssize_t)sizeof request - 1);
    }
    usleep(20000);
    lensd_http_stop(w->http);
    w->http = NULL;
    int answered = atomic_load(&w->answers);
    usleep(100000);
    assert_int_equal(atomic_load(&w->answers), answered);
    assert_true(read(idle, &byte, 1) <= 0);
    assert_true(dial(w) < 0);
    close(idle);
    for (int i = 0; i < 3; i++)
        close(asking[i]);
    free(w);
}

struct asker {
    struct world *world;
    atomic_bool *ended;
    pthread_t thread;
};

static void *keep_asking(void *arg)
{
    struct asker *asker = arg;
    char reply[2048];
    while (!atomic_load(asker->ended)) {
        int fd = dial(asker->world);
        if (fd < 0)
            continue;
        (void)!send(fd, "GET /metrics HTTP/1.1\r\n\r\n", 25, MSG_NOSIGNAL);
        (void)read_all(fd, reply, sizeof reply);
        close(fd);
    }
    return NULL;
}

static void starts_and_stops_while_others_ask(void **state)
{
    (void)state;
    atomic_bool ended = false;
    for (int round = 0; round < 10; round++) {
        struct world *w = start(100);
        struct asker askers[3];
        atomic_store(&ended, false);
        for (int i = 0; i < 3; i++) {
            askers[i] = (struct asker){.world = w, .ended = &ended};
            assert_int_equal(pthread_create(&askers[i].thread, NULL, keep_asking, &askers[i]), 0);
        }
        while (atomic_load(&w->answers) < 5)
            usleep(1000);
        lensd_http_stop(w->http);
        atomic_store(&ended, true);
        for (int i = 0; i < 3; i++)
            pthread_join(askers[i].thread, NULL);
        free(w);
    }
}

/* ---- addresses -------------------------------------------------------------------------------------------------- */

static int parse(const char *text, struct lensd_http_address *out)
{
    struct lens_error err = {0};
    int r = lensd_http_address_parse(text, out, &err);
    assert_int_equal(r != 0, err.text[0] != '\0');
    return r;
}

static void addresses_of_this_machine_are_taken_and_no_others(void **state)
{
    (void)state;
    static const char *const good[] = {"off",         "127.0.0.1:9477", "127.1.2.3:0",
                                       "localhost:1", "[::1]:65535",    "unix:/a/b.sock"};
    static const char *const bad[] = {"",           "on",        "0.0.0.0:1",     "[::]:1",          "[::1]",
                                      "127.0.0.1",  "127.0.0.1", "127.1:1",       "127.0.0.1:",      "128.0.0.1:1",
                                      "localhost:", "unix:a",    "[127.0.0.1]:1", "127.0.0.1:70000", "127.0.0.1: 1",
                                      "[]:1",       "[:1",       "::1:1"};
    struct lensd_http_address address;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (parse(good[i], &address) != 0)
            fail_msg("\"%s\" was refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (parse(bad[i], &address) == 0)
            fail_msg("\"%s\" was taken", bad[i]);
}

static void the_same_address_is_known_in_other_words(void **state)
{
    (void)state;
    struct lensd_http_address a, b, c, d, off;
    parse("127.0.0.1:80", &a);
    parse("localhost:80", &b);
    parse("127.0.0.1:81", &c);
    parse("unix:/a", &d);
    parse("off", &off);
    assert_true(lensd_http_address_same(&a, &b));
    assert_false(lensd_http_address_same(&a, &c));
    assert_false(lensd_http_address_same(&a, &d));
    assert_false(lensd_http_address_same(&a, &off));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_page_is_asked_for_by_its_path),
        cmocka_unit_test(a_second_request_on_a_connection_is_not_answered),
        cmocka_unit_test(the_oldest_goes_when_there_is_no_place_left),
        cmocka_unit_test(stopping_closes_those_that_wait_and_those_that_talk),
        cmocka_unit_test(starts_and_stops_while_others_ask),
        cmocka_unit_test(addresses_of_this_machine_are_taken_and_no_others),
        cmocka_unit_test(the_same_address_is_known_in_other_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
