/* lensctl doctor's findings on the daemon, each both ways: what the daemon said is filled in
 * by hand, files are a tree of the test's own. */
#include "client/lensctl/doctor_http.h"
#include "tests/unit/support/doctor_rig.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- is it there, and may this user in --------------------------------------------------------------------------- */

static void not_running(struct doctor_rig *rig, int code, const char *sentence)
{
    struct doctor_daemon *daemon = &rig->doctor.daemon;
    daemon->running = false;
    daemon->code = code;
    snprintf(daemon->sentence, sizeof daemon->sentence, "%s", sentence);
    snprintf(daemon->socket, sizeof daemon->socket, "/run/lensd/lensd.sock");
    doctor_rig_run(rig, doctor_check_socket);
}

static void no_daemon_is_a_note_and_says_how_to_start_one(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_write(rig, "/proc/self/status", "Uid:\t500\t500\t500\t500\nGid:\t500\t500\t500\t500\n");
    not_running(rig, -ENOENT, "no lensd answers");
    doctor_rig_expect(rig, "daemon.running", DOCTOR_NOTE, "no lensd answers");
    doctor_rig_expect_advice(rig, "daemon.running", "lensd --pack");
    doctor_rig_write(rig, "/usr/lib/systemd/system/lensd.service", "");
    doctor_rig_write(rig, "/run/systemd/system/x", "");
    not_running(rig, -ENOENT, "no lensd answers");
    doctor_rig_expect_advice(rig, "daemon.running", "systemctl status lensd");
}

static void a_daemon_that_is_dead_stuck_or_refuses_is_a_problem(void **state)
{
    struct doctor_rig *rig = *state;
    not_running(rig, -ECONNREFUSED, "nobody listens");
    doctor_rig_expect(rig, "daemon.running", DOCTOR_PROBLEM, "nobody listens");
    doctor_rig_expect_advice(rig, "daemon.running", "killed");
    not_running(rig, -ETIMEDOUT, "no answer");
    doctor_rig_expect_advice(rig, "daemon.running", "hangs");
    not_running(rig, -EREMOTEIO, "not allowed");
    doctor_rig_expect_advice(rig, "daemon.running", "ipc.allow_uids");
    not_running(rig, -EPROTO, "another protocol");
    doctor_rig_expect_advice(rig, "daemon.running", "same release");
}

static void a_socket_or_a_folder_closed_to_this_user_is_a_problem_that_names_it(void **state)
{
    struct doctor_rig *rig = *state;
    char uid[128];
    snprintf(uid, sizeof uid, "Uid:\t%u\t%u\nGid:\t%u\t%u\n", geteuid() + 500, geteuid() + 500, getegid() + 500,
             getegid() + 500);
    doctor_rig_write(rig, "/proc/self/status", uid);
    doctor_rig_write(rig, "/run/lensd/lensd.sock", "");
    doctor_rig_mode(rig, "/run/lensd/lensd.sock", 0600);
    not_running(rig, -EACCES, "Permission denied");
    doctor_rig_expect(rig, "daemon.socket", DOCTOR_PROBLEM, "/run/lensd/lensd.sock belongs to");
    doctor_rig_expect(rig, "daemon.socket", DOCTOR_PROBLEM, "mode 0600");
    doctor_rig_mode(rig, "/run/lensd/lensd.sock", 0666);
    doctor_rig_mode(rig, "/run/lensd", 0700);
    not_running(rig, -EACCES, "Permission denied");
    doctor_rig_expect(rig, "daemon.socket", DOCTOR_PROBLEM, "/run/lensd belongs to");
    doctor_rig_mode(rig, "/run/lensd", 0755);
    not_running(rig, -ENOENT, "no lensd answers");
    doctor_rig_expect_none(rig, "daemon.socket");
}

/* ---- the service ------------------------------------------------------------------------------------------------- */

static void another_version_than_ours_is_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.version", DOCTOR_OK, LENSD_VERSION);
    snprintf(rig->doctor.daemon.version, sizeof rig->doctor.daemon.version, "0.0.7");
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.version", DOCTOR_WARNING, "the running lensd 0.0.7");
}

static void who_is_no_operator_is_told_that_figures_are_its_own(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.role", DOCTOR_OK, "operator");
    rig->doctor.daemon.is_operator = false;
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.role", DOCTOR_NOTE, "isn't an operator");
}

static void degradation_and_fewer_slots_are_said_in_the_daemons_words(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.degraded", DOCTOR_OK, "Full service");
    doctor_rig_expect_none(rig, "daemon.memory");
    snprintf(rig->doctor.daemon.degraded, sizeof rig->doctor.daemon.degraded, "the card is lost");
    snprintf(rig->doctor.daemon.memory, sizeof rig->doctor.daemon.memory, "12 of 40 slots");
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.degraded", DOCTOR_PROBLEM, "the card is lost");
    doctor_rig_expect(rig, "daemon.memory", DOCTOR_WARNING, "12 of 40 slots");
}

static void dropped_rows_are_a_problem_and_invalid_ones_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.dropped", DOCTOR_OK, "No row");
    doctor_rig_expect_none(rig, "daemon.invalid");
    rig->doctor.daemon.status.rows = 90;
    rig->doctor.daemon.status.dropped_rows = 10;
    rig->doctor.daemon.status.invalid_rows = 3;
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.dropped", DOCTOR_PROBLEM, "10 rows were dropped, of 100");
    doctor_rig_expect(rig, "daemon.invalid", DOCTOR_WARNING, "3 rows");
}

static void rows_far_slower_than_usual_are_said_with_the_stage_that_varies(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    struct lens_stage_row *stages = rig->doctor.daemon.statistics.stages;
    stages[LENS_STAGES - 1] = (struct lens_stage_row){.count = 999, .p50 = 100000, .p99 = 9000000};
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect_none(rig, "daemon.latency"); /* too few rows */
    stages[LENS_STAGES - 1] = (struct lens_stage_row){.count = 5000, .p50 = 100000, .p99 = 300000};
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.latency", DOCTOR_OK, "100.0 us (p50) to 300.0 us");
    stages[LENS_STAGES - 1].p99 = 600000;
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.latency", DOCTOR_NOTE, "6 times");
    stages[LENS_STAGES - 1].p99 = 3000000;
    stages[0].p99 = 100000;
    stages[3] = (struct lens_stage_row){.p50 = 10000, .p99 = 2500000};
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.latency", DOCTOR_WARNING, "30 times");
    doctor_rig_expect_advice(rig, "daemon.latency", "(load)");
    stages[0].p99 = 2900000;
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect_advice(rig, "daemon.latency", "(queue)");
}

static void a_unit_that_starts_it_again_is_named(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_write(rig, "/proc/77/cgroup", "0::/system.slice/system-lensd.slice/lensd@1.service\n");
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect_none(rig, "daemon.unit"); /* no systemd here */
    doctor_rig_write(rig, "/run/systemd/system/x", "");
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.unit", DOCTOR_OK, "as lensd@1.service.");
    doctor_rig_write(rig, "/proc/77/cgroup", "0::/user.slice/user@500.service/app.slice/lensd.service\n");
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.unit", DOCTOR_OK, "as lensd.service.");
    doctor_rig_write(rig, "/proc/77/cgroup", "0::/user.slice/user-500.slice/session-3.scope\n");
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.unit", DOCTOR_NOTE, "without a unit");
    doctor_rig_write(rig, "/proc/77/cgroup", "0::/user.slice/user@500.service/app.slice/foot.scope\n");
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.unit", DOCTOR_NOTE, "without a unit");
}

/* ---- metrics ----------------------------------------------------------------------------------------------------- */

/* Answers one connection with a fixed text. */
struct listener {
    int fd;
    char where[64];
    const char *answer;
    pthread_t thread;
};

static void *answer_once(void *arg)
{
    struct listener *listener = arg;
    char request[512];
    int peer = accept(listener->fd, NULL, NULL);
    if (peer >= 0 && recv(peer, request, sizeof request, 0) > 0)
        (void)!write(peer, listener->answer, strlen(listener->answer));
    if (peer >= 0)
        close(peer);
    return NULL;
}

static void listener_open_with(struct listener *listener, const char *answer, void *(*serve)(void *arg))
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    listener->answer = answer;
    listener->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(listener->fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(listener->fd, 4), 0);
    snprintf(listener->where, sizeof listener->where, "127.0.0.1:%u", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&listener->thread, NULL, serve, listener), 0);
}

static void listener_open(struct listener *listener, const char *answer)
{
    listener_open_with(listener, answer, answer_once);
}

static void listener_close(struct listener *listener)
{
    pthread_join(listener->thread, NULL);
    close(listener->fd);
}

static void say_metrics(struct doctor_rig *rig, const char *scheme, const char *where)
{
    snprintf(rig->doctor.daemon.metrics, sizeof rig->doctor.daemon.metrics, "%s%s%s", scheme, where,
             scheme[0] != '\0' ? "/metrics" : "");
}

static void run_with_listener(struct doctor_rig *rig, const char *answer)
{
    struct listener listener;
    listener_open(&listener, answer);
    say_metrics(rig, "http://", listener.where);
    doctor_rig_run(rig, doctor_check_service);
    listener_close(&listener);
}

static void metrics_that_are_switched_on_must_answer(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect_none(rig, "daemon.metrics");
    say_metrics(rig, "", "off");
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.metrics", DOCTOR_NOTE, "off");
    say_metrics(rig, "", "not served: Address already in use");
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.metrics", DOCTOR_WARNING, "Metrics are not served: Address");
    run_with_listener(rig, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
    doctor_rig_expect(rig, "daemon.metrics", DOCTOR_OK, "http://127.0.0.1:");
    run_with_listener(rig, "HTTP/1.1 503 Service Unavailable\r\n\r\nthe engine stands still\n");
    doctor_rig_expect(rig, "daemon.metrics", DOCTOR_WARNING, "503: the engine stands still");
    run_with_listener(rig, "220 mail.example ESMTP\r\n");
    doctor_rig_expect(rig, "daemon.metrics", DOCTOR_PROBLEM, "doesn't speak HTTP");
    say_metrics(rig, "http://", "127.0.0.1:1"); /* nobody listens on tcpmux */
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.metrics", DOCTOR_PROBLEM, "nobody answers");
    say_metrics(rig, "", "unix:/nonexistent/socket");
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.metrics", DOCTOR_PROBLEM, "nobody answers");
}

static void a_reload_that_failed_is_a_problem(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect_none(rig, "daemon.config");
    snprintf(rig->doctor.daemon.config, sizeof rig->doctor.daemon.config, "lensd.conf:3: unknown setting");
    doctor_rig_run(rig, doctor_check_service);
    doctor_rig_expect(rig, "daemon.config", DOCTOR_PROBLEM, "lensd.conf:3");
}

/* Sends a byte again and again until nobody listens any more. */
static void *answer_slowly(void *arg)
{
    struct listener *listener = arg;
    int peer = accept(listener->fd, NULL, NULL), sent = 0;
    while (sent < 300 && send(peer, "x", 1, MSG_NOSIGNAL) == 1) {
        sent++;
        usleep(100000);
    }
    close(peer);
    listener->answer = sent < 300 ? "cut off" : "read to the end";
    return NULL;
}

static void an_answer_that_trickles_is_not_waited_for(void **state)
{
    struct listener listener;
    char why[128];
    (void)state;
    listener_open_with(&listener, "", answer_slowly);
    assert_int_equal(doctor_http_get(listener.where, "/healthz", why, sizeof why), 0);
    listener_close(&listener);
    assert_string_equal(listener.answer, "cut off");
}

static void odd_addresses_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const odd[] = {"",
                                      ":",
                                      "host",
                                      ":80",
                                      "nowhere.invalid:80",
                                      "[::1",
                                      "/nonexistent/socket",
                                      "unix:/nonexistent/socket",
                                      "127.0.0.1:port",
                                      "192.0.2.1:80",
                                      "[2001:db8::1]:80"};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        char why[128] = "";
        assert_int_equal(doctor_http_get(odd[i], "/healthz", why, sizeof why), 0);
        assert_true(why[0] != '\0');
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, doctor_rig_setup, doctor_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_daemon_is_a_note_and_says_how_to_start_one),
        TEST(a_daemon_that_is_dead_stuck_or_refuses_is_a_problem),
        TEST(a_socket_or_a_folder_closed_to_this_user_is_a_problem_that_names_it),
        TEST(another_version_than_ours_is_a_warning),
        TEST(who_is_no_operator_is_told_that_figures_are_its_own),
        TEST(degradation_and_fewer_slots_are_said_in_the_daemons_words),
        TEST(dropped_rows_are_a_problem_and_invalid_ones_a_warning),
        TEST(rows_far_slower_than_usual_are_said_with_the_stage_that_varies),
        TEST(a_unit_that_starts_it_again_is_named),
        TEST(metrics_that_are_switched_on_must_answer),
        TEST(a_reload_that_failed_is_a_problem),
        TEST(odd_addresses_are_refused_with_a_reason),
        TEST(an_answer_that_trickles_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
