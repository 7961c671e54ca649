/* The log: events with their fields in the journal, plain lines elsewhere, and nothing that ever waits
 * (daemon/log.h, daemon/journal.h). */
#include "daemon/journal.h"
#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY 3000 /* lines: more than a pipe or a datagram queue holds */

static char directory[] = "/tmp/log-test-XXXXXX", path[64], text[65536];
static struct lensd_log_output output;
static struct lensd_log log_;
static int journal, lines[2];

/* A journal of our own, and a pipe in stderr's place. */
static int open_log(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)state;
    strcpy(directory + sizeof directory - 7, "XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/socket", directory);
    strcpy(address.sun_path, path);
    journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(journal >= 0);
    assert_int_equal(bind(journal, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(pipe2(lines, O_CLOEXEC), 0);
    assert_int_equal(fcntl(lines[0], F_SETFL, O_NONBLOCK), 0);
    lensd_log_init(&log_, &output, LENSD_LOG_INFO);
    output.fd = lines[1];
    output.is_journal = true;
    output.journal = lensd_journal_open();
    output.path = path;
    assert_true(output.journal >= 0);
    return 0;
}

static int close_log(void **state)
{
    (void)state;
    lensd_log_close(&log_);
    close(journal);
    close(lines[0]);
    close(lines[1]);
    unlink(path);
    rmdir(directory);
    return 0;
}

/* The next entry, or "" when there is none. */
static const char *entry(void)
{
    ssize_t n = recv(journal, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static const char *written(void)
{
    ssize_t n = read(lines[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void an_event_is_an_entry_with_its_fields(void **state)
{
    (void)state;
    const struct lensd_log_fields fields = {.pack = "tree",
                                            .generation = 3,
                                            .session = 7,
                                            .client = "vllm",
                                            .pid = 42,
                                            .uid = 0,
                                            .code = -ENOSPC,
                                            .more = {{"LENSD_RULE", "fear"}}};
    lensd_log_event(&log_, LENSD_LOG_WARNING, LENSD_LOG_CLIENT_DROPPED, &fields, "dropped \"%s\"", "vllm");
    char wanted[512];
    snprintf(wanted, sizeof wanted,
             "MESSAGE=dropped \"vllm\"\nPRIORITY=4\nSYSLOG_IDENTIFIER=lensd\nLENSD_EVENT=client-dropped\n"
             "MESSAGE_ID=%s\nLENSD_PACK=tree\nLENSD_PACK_GENERATION=3\nLENSD_SESSION=7\nLENSD_CLIENT=vllm\n"
             "LENSD_CLIENT_PID=42\nLENSD_CLIENT_UID=0\nERRNO=%d\nLENSD_RULE=fear\n",
             lensd_log_events[LENSD_LOG_CLIENT_DROPPED].id, ENOSPC);
    assert_string_equal(entry(), wanted);
    assert_string_equal(written(), "");
}

static void a_plain_line_is_an_entry_without_an_event(void **state)
{
    (void)state;
    lensd_log(&log_, LENSD_LOG_INFO, "backend %s", "cpu");
    lensd_log(&log_, LENSD_LOG_DEBUG, "not at this level");
    assert_string_equal(entry(), "MESSAGE=backend cpu\nPRIORITY=6\nSYSLOG_IDENTIFIER=lensd\n");
    assert_string_equal(entry(), "");
}

static void a_name_forges_neither_a_field_nor_a_line(void **state)
{
    (void)state;
    const struct lensd_log_fields fields = {.client = "x\nPRIORITY=0\n\x1b[2J"};
    lensd_log_event(&log_, LENSD_LOG_INFO, LENSD_LOG_SESSION_ENDED, &fields, "client \"%s\" left", fields.client);
    assert_null(strstr(entry(), "\nPRIORITY=0"));
    assert_non_null(strstr(text, "LENSD_CLIENT=x?PRIORITY=0??[2J\n"));
    output.journal = -1;
    lensd_log_event(&log_, LENSD_LOG_INFO, LENSD_LOG_SESSION_ENDED, &fields, "client \"%s\" left", fields.client);
    assert_string_equal(written(), "<6>client \"x?PRIORITY=0??[2J\" left\n");
}

/* A byte that isn't UTF-8 would have journalctl show "[12B blob data]" in the message's place. */
static void what_is_not_utf8_hides_no_line(void **state)
{
    (void)state;
    char long_name[1200];
    lensd_log(&log_, LENSD_LOG_INFO, "client \"%s\"", "a\xff\xc2\x9b\xc3\xa4");
    assert_non_null(strstr(entry(), "MESSAGE=client \"a???\xc3\xa4\"\n"));
    memset(long_name, 'x', sizeof long_name);
    memcpy(long_name + 1022, "\xc3\xa4", 3); /* the line is cut in the middle of it */
    lensd_log(&log_, LENSD_LOG_INFO, "%s", long_name);
    assert_non_null(strstr(entry(), "x?\nPRIORITY"));
}

static void without_a_journal_lines_are_plain(void **state)
{
    (void)state;
    close(output.journal);
    output.journal = -1;
    output.is_journal = false;
    lensd_log_event(&log_, LENSD_LOG_ERROR, LENSD_LOG_RELOAD_FAILED, NULL, "configuration not reloaded");
    assert_string_equal(written(), "lensd: configuration not reloaded\n");
}

static void a_journal_that_is_gone_leaves_its_lines_on_stderr(void **state)
{
    (void)state;
    unlink(path);
    lensd_log_event(&log_, LENSD_LOG_ERROR, LENSD_LOG_RELOAD_FAILED, NULL, "configuration not reloaded");
    assert_string_equal(written(), "<3>configuration not reloaded\n");
    close(journal);
    journal = -1;
    lensd_log(&log_, LENSD_LOG_INFO, "refused");
    assert_string_equal(written(), "<6>refused\n");
}

/* Neither the journal nor stderr is read: nothing waits, what is lost is counted, and told when somebody reads. */
static void a_log_that_nobody_reads_never_waits_and_counts(void **state)
{
    (void)state;
    for (int i = 0; i < MANY; i++)
        lensd_log(&log_, LENSD_LOG_INFO, "%0100d", i);
    unsigned lost = atomic_load(&output.lost);
    assert_true(lost > 0);
    unsigned taken = 0;
    while (entry()[0] != '\0')
        taken++;
    for (ssize_t n; (n = read(lines[0], text, sizeof text)) > 0;)
        for (ssize_t i = 0; i < n; i++)
            taken += text[i] == '\n';
    assert_int_equal(taken + lost, MANY);
    lensd_log(&log_, LENSD_LOG_INFO, "again");
    char wanted[128];
    snprintf(wanted, sizeof wanted, "MESSAGE=%u lines were lost: nobody took them\nPRIORITY=4\n", lost);
    assert_non_null(strstr(entry(), wanted));
    assert_non_null(strstr(entry(), "MESSAGE=again\n"));
    assert_int_equal(atomic_load(&output.lost), 0);
}

static void a_field_without_room_is_left_out_whole(void **state)
{
    (void)state;
    struct lensd_journal_entry *e = calloc(1, sizeof *e);
    char *value = calloc(1, LENSD_JOURNAL_ENTRY);
    assert_true(e != NULL && value != NULL);
    memset(value, 'x', LENSD_JOURNAL_ENTRY - 20);
    lensd_journal_add(e, "A", value);
    size_t used = e->used;
    lensd_journal_add(e, "B", "0123456789012345678901234567890");
    assert_int_equal(e->used, used);
    lensd_journal_add(e, "C", "1");
    assert_memory_equal(e->text + used, "C=1\n", 4);
    free(value);
    free(e);
}

/* Lines that went to stderr, which has room for more of them than the journal may have. */
static unsigned lines_written(void)
{
    unsigned n = 0;
    for (const char *at = written(); (at = strchr(at, '\n')) != NULL; at++)
        n++;
    return n;
}

static void clients_cause_only_so_many_lines_a_second(void **state)
{
    (void)state;
    int to_journal = output.journal;
    output.journal = -1;
    for (unsigned i = 0; i < 3 * LENSD_LOG_BURST; i++)
        lensd_log_client(&log_, LENSD_LOG_INFO, LENSD_LOG_SESSION_ENDED, NULL, "left");
    unsigned told = lines_written();
    assert_true(told >= LENSD_LOG_BURST && told <= 2 * LENSD_LOG_BURST + 1); /* a second may have begun meanwhile */
    output.journal = to_journal;
    log_.second = 0;
    log_.left_out = 5;
    lensd_log_client(&log_, LENSD_LOG_INFO, LENSD_LOG_SESSION_ENDED, NULL, "left");
    assert_non_null(strstr(entry(), "MESSAGE=5 lines about clients left out"));
}

/* What isn't logged at this level takes nobody's place: a client can't hide a warning behind it. */
static void lines_below_the_level_count_for_nothing(void **state)
{
    (void)state;
    log_.level = LENSD_LOG_WARNING;
    for (unsigned i = 0; i < 3 * LENSD_LOG_BURST; i++)
        lensd_log_client(&log_, LENSD_LOG_INFO, LENSD_LOG_SESSION_ENDED, NULL, "left");
    lensd_log_client(&log_, LENSD_LOG_WARNING, LENSD_LOG_CLIENT_DROPPED, NULL, "dropped");
    assert_non_null(strstr(entry(), "MESSAGE=dropped\n"));
    assert_int_equal(log_.left_out, 0);
}

static bool is_id(const char *id)
{
    return strlen(id) == 32 && strspn(id, "0123456789abcdef") == 32;
}

static void every_event_has_a_name_and_an_id_of_its_own(void **state)
{
    (void)state;
    for (int i = LENSD_LOG_PLAIN + 1; i < LENSD_LOG_EVENTS; i++) {
        assert_non_null(lensd_log_events[i].name);
        assert_true(is_id(lensd_log_events[i].id));
        assert_true(lensd_log_events[i].meaning[0] != '\0');
        for (int j = LENSD_LOG_PLAIN + 1; j < i; j++) {
            assert_string_not_equal(lensd_log_events[i].name, lensd_log_events[j].name);
            assert_string_not_equal(lensd_log_events[i].id, lensd_log_events[j].id);
        }
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_log, close_log)
    const struct CMUnitTest tests[] = {
        T(an_event_is_an_entry_with_its_fields),
        T(a_plain_line_is_an_entry_without_an_event),
        T(a_name_forges_neither_a_field_nor_a_line),
        T(what_is_not_utf8_hides_no_line),
        T(without_a_journal_lines_are_plain),
        T(a_journal_that_is_gone_leaves_its_lines_on_stderr),
        T(a_log_that_nobody_reads_never_waits_and_counts),
        T(a_field_without_room_is_left_out_whole),
        T(clients_cause_only_so_many_lines_a_second),
        T(lines_below_the_level_count_for_nothing),
        T(every_event_has_a_name_and_an_id_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
