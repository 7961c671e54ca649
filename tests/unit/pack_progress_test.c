/* How far the opening of a pack is, as people hear of it (daemon/pack_progress.h). */
#include "daemon/pack_progress.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define THREE_SECONDS UINT64_C(3000000000)

static const char verified[] = "lenses verified", loaded[] = "lenses loaded";

static struct lensd_log_output output;

/* A log whose lines come out of *read_end. */
static struct lensd_log log_to_pipe(int *read_end)
{
    struct lensd_log log;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    lensd_log_init(&log, &output, LENSD_LOG_INFO);
    output.fd = fds[1];
    *read_end = fds[0];
    return log;
}

static void assert_logged(int read_end, const char *part)
{
    char text[1024];
    ssize_t n = read(read_end, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    if (part == NULL)
        assert_string_equal(text, "");
    else if (strstr(text, part) == NULL)
        fail_msg("no \"%s\" in \"%s\"", part, text);
}

static void the_text_follows_the_work(void **state)
{
    struct lensd_pack_progress progress;
    char text[LENSD_PROGRESS_TEXT];
    int out;
    struct lensd_log log = log_to_pipe(&out);
    (void)state;
    lensd_pack_progress_begin(&progress, &log, "/packs/real-tree.lens");
    lensd_pack_progress_text(&progress, text, sizeof text);
    assert_string_equal(text, "real-tree.lens: opening");
    lensd_pack_progress_report(&progress, verified, 10, 7947);
    lensd_pack_progress_report(&progress, loaded, 3120, 7947);
    lensd_pack_progress_text(&progress, text, sizeof text);
    assert_string_equal(text, "real-tree.lens: 3120 of 7947 lenses loaded");
    close(out);
    close(output.fd);
}

static void the_longest_sentence_fits(void **state)
{
    static const char longest[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    struct lensd_pack_progress progress;
    char text[LENSD_PROGRESS_TEXT];
    int out;
    struct lensd_log log = log_to_pipe(&out);
    (void)state;
    lensd_pack_progress_begin(&progress, &log, longest);
    lensd_pack_progress_report(&progress, verified, UINT64_MAX, UINT64_MAX);
    lensd_pack_progress_text(&progress, text, sizeof text);
    assert_non_null(strstr(text, " of 18446744073709551615 lenses verified"));
    close(out);
    close(output.fd);
}

static void lines_come_each_tenth_but_not_more_often_than_each_two_seconds(void **state)
{
    struct lensd_pack_progress progress;
    int out;
    struct lensd_log log = log_to_pipe(&out);
    (void)state;
    lensd_pack_progress_begin(&progress, &log, "p");
    lensd_pack_progress_report(&progress, loaded, 500, 1000);
    assert_logged(out, NULL); /* at once: too early */
    progress.told_ns -= THREE_SECONDS;
    lensd_pack_progress_report(&progress, loaded, 510, 1000);
    assert_logged(out, "pack p: 510 of 1000 lenses loaded, after ");
    progress.told_ns -= THREE_SECONDS;
    lensd_pack_progress_report(&progress, loaded, 609, 1000);
    assert_logged(out, NULL); /* less than a tenth since */
    lensd_pack_progress_report(&progress, loaded, 610, 1000);
    assert_logged(out, "610 of 1000");
    lensd_pack_progress_report(&progress, loaded, 900, 1000);
    assert_logged(out, NULL);
    progress.told_ns -= 4 * THREE_SECONDS;
    lensd_pack_progress_report(&progress, loaded, 611, 1000);
    assert_logged(out, "611 of 1000"); /* little, but it has been long */
    progress.told_ns -= THREE_SECONDS;
    lensd_pack_progress_report(&progress, loaded, 1000, 1000);
    assert_logged(out, NULL); /* whoever opens the pack says that it is done */
    close(out);
    close(output.fd);
}

static void another_part_begins_anew(void **state)
{
    struct lensd_pack_progress progress;
    int out;
    struct lensd_log log = log_to_pipe(&out);
    (void)state;
    lensd_pack_progress_begin(&progress, &log, "p");
    progress.told_ns -= THREE_SECONDS;
    lensd_pack_progress_report(&progress, verified, 900, 1000);
    assert_logged(out, "900 of 1000 lenses verified");
    progress.told_ns -= THREE_SECONDS;
    lensd_pack_progress_report(&progress, loaded, 100, 1000);
    assert_logged(out, "100 of 1000 lenses loaded");
    close(out);
    close(output.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_follows_the_work),
        cmocka_unit_test(the_longest_sentence_fits),
        cmocka_unit_test(lines_come_each_tenth_but_not_more_often_than_each_two_seconds),
        cmocka_unit_test(another_part_begins_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
