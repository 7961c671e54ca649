/* Configuration files as anybody may write them (HOSTILE 19): cut off anywhere, random bytes, long lines, NULs, marks
 * of other editors. Each is taken as a whole or refused with a sentence, and leaves settings that hold together. */
#include "daemon/settings.h"
#include "daemon/settings_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MUTATIONS 8000
#define SAMPLE    "config/lensd.conf"

struct rewriting {
    int fd;
    atomic_bool stop;
};

static struct lensd_settings settings;

/* The sample with every line in force. */
static char *read_sample(size_t *length)
{
    char *text = calloc(1, LENSD_FILE_MAX);
    FILE *file = fopen(SAMPLE, "re");
    assert_true(text != NULL && file != NULL);
    *length = fread(text, 1, LENSD_FILE_MAX - 1, file);
    fclose(file);
    size_t kept = 0;
    for (size_t i = 0; i < *length; i++)
        if ((kept > 0 && text[kept - 1] != '\n') || text[i] != '#' || text[i + 1] == ' ')
            text[kept++] = text[i];
    *length = kept;
    return text;
}

/* Every row has a text, and its typed value is what that text says. */
static void assert_whole(void)
{
    for (uint32_t row = 0; row < lensd_settings_count; row++) {
        const struct lensd_setting *setting = &lensd_settings_table[row];
        _Alignas(8) unsigned char value[sizeof(struct lensd_ids)] = {0};
        const void *field = (const char *)&settings + setting->offset;
        assert_non_null(settings.text[row]);
        assert_int_equal(lensd_setting_parse(setting, settings.text[row], value, NULL), 0);
        if (setting->type == LENSD_SETTING_TEXT || setting->type == LENSD_SETTING_LIST)
            assert_ptr_equal(*(char *const *)field, settings.text[row]);
        else
            assert_memory_equal(value, field, lensd_setting_size(setting->type));
    }
}

/* The text is copied to memory of its very size, so that a sanitizer sees what is read beyond it. */
static int read_exactly(const char *text, size_t length)
{
    struct lens_error err = {0};
    char *copy = malloc(length > 0 ? length : 1);
    assert_non_null(copy);
    if (length > 0)
        memcpy(copy, text, length);
    assert_int_equal(lensd_settings_init(&settings, &err), 0);
    int r = lensd_settings_read_text(&settings, "lensd.conf", copy, length, &err);
    if (r == 0)
        r = lensd_settings_check(&settings, &err);
    free(copy);
    assert_whole();
    if (r != 0) {
        assert_true(r < 0 && err.code == r);
        assert_true(err.text[0] != '\0');
    }
    lensd_settings_free(&settings);
    return r;
}

static int read_string(const char *text)
{
    return read_exactly(text, strlen(text));
}

static void a_file_cut_off_anywhere_is_taken_or_refused(void **state)
{
    (void)state;
    size_t length;
    unsigned refused = 0;
    char *text = read_sample(&length);
    assert_int_equal(read_exactly(text, length), 0);
    for (size_t cut = 0; cut < length; cut++)
        refused += read_exactly(text, cut) != 0;
    assert_in_range(refused, 100, length - 100);
    free(text);
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void bytes_changed_at_random_are_taken_or_refused(void **state)
{
    (void)state;
    size_t length;
    uint32_t seed = 5, refused = 0;
    char *text = read_sample(&length), *changed = malloc(length);
    assert_non_null(changed);
    for (int i = 0; i < MUTATIONS; i++) {
        static const char likely[] = "[]=;#\n\r\t ,:*-0.\0\"\\";
        memcpy(changed, text, length);
        for (uint32_t n = 1 + next_random(&seed) % 4; n > 0; n--) {
            uint32_t how = next_random(&seed);
            char byte = how % 2 == 0 ? (char)next_random(&seed) : likely[next_random(&seed) % sizeof likely];
            changed[next_random(&seed) % length] = byte;
        }
        refused += read_exactly(changed, length) != 0;
    }
    assert_in_range(refused, MUTATIONS / 20, MUTATIONS);
    free(changed);
    free(text);
}

static void noise_is_taken_or_refused(void **state)
{
    (void)state;
    char noise[700];
    uint32_t seed = 77;
    for (int i = 0; i < MUTATIONS; i++) {
        size_t length = next_random(&seed) % sizeof noise;
        for (size_t at = 0; at < length; at++)
            noise[at] = (char)next_random(&seed);
        read_exactly(noise, length);
    }
}

static void marks_of_other_editors_change_nothing(void **state)
{
    (void)state;
    assert_int_equal(read_string("\xef\xbb\xbf[pool]\r\nslots = 5\r\n"), 0);
    assert_int_equal(read_string("\xef\xbb\xbf[poll]\r\n"), -EINVAL); /* and hide no mistake */
    assert_int_equal(read_string("[pool]\nslots = 5"), 0);
    assert_int_equal(read_string("\n\n\t\n[pool]\n\tslots = 5\n"), 0);
    assert_int_equal(read_exactly("\xff\xfe[\0p\0o\0o\0l\0]\0", 14), -EINVAL); /* UTF-16 */
}

static void what_no_text_has_is_refused(void **state)
{
    (void)state;
    char *line = calloc(1, 100000);
    assert_non_null(line);
    strcpy(line, "[packs]\ndirectories = ");
    memset(line + strlen(line), 'a', 99000);
    assert_int_equal(read_string(line), -EINVAL);
    memset(line, '[', 99999);
    assert_int_equal(read_string(line), -EINVAL);
    assert_int_equal(read_exactly("[pool]\nslots = 1\0\n", 18), -EINVAL);
    assert_int_equal(read_exactly("\0", 1), -EINVAL);
    free(line);
}

/* Paths are bytes. */
static void a_path_that_is_not_utf8_is_a_path(void **state)
{
    (void)state;
    assert_int_equal(read_string("[packs]\ndirectories = /\xff\xfe\n"), 0);
    assert_int_equal(read_string("[pool]\nslots = \xff\n"), -EINVAL);
}

static void settings_without_end_are_refused(void **state)
{
    (void)state;
    size_t size = LENSD_FILE_MAX - 64, used = 0;
    char *text = calloc(1, size + 64);
    assert_non_null(text);
    used += (size_t)sprintf(text, "[cascade]\n");
    while (used + 64 < size)
        used += (size_t)sprintf(text + used, "exclude = Name:1\n");
    assert_int_equal(read_exactly(text, used), -EINVAL); /* a list has its bound */
    free(text);
}

/* Writes the file anew in place, again and again, of another length each time. */
static void *rewrite(void *arg)
{
    struct rewriting *work = arg;
    static char text[200000];
    memset(text, '#', sizeof text);
    memcpy(text, "[pool]\nslots = 5\n", 17);
    for (unsigned i = 0; !atomic_load(&work->stop); i++) {
        size_t length = 100000 + i % 1000 * 100;
        if (ftruncate(work->fd, 0) != 0 || pwrite(work->fd, text, length, 0) != (ssize_t)length)
            break;
    }
    return NULL;
}

/* Half of a file would be a configuration that nobody meant: it is seen that it changes, or what is there is whole. */
static void a_file_that_is_being_written_is_refused(void **state)
{
    (void)state;
    struct rewriting work = {.stop = false};
    struct lens_error err = {0};
    char path[] = "/tmp/settings-hostile-XXXXXX";
    pthread_t thread;
    int r = 0;
    work.fd = mkostemp(path, O_CLOEXEC);
    assert_true(work.fd >= 0);
    assert_int_equal(pthread_create(&thread, NULL, rewrite, &work), 0);
    for (time_t end = time(NULL) + 60; r != -EAGAIN && time(NULL) < end;) {
        assert_int_equal(lensd_settings_init(&settings, &err), 0);
        r = lensd_settings_read_file(&settings, path, &err);
        if (r == 0)
            assert_true(settings.pool.slots == 5 || settings.pool.slots == 0); /* or it was empty just then */
        lensd_settings_free(&settings);
    }
    atomic_store(&work.stop, true);
    pthread_join(thread, NULL);
    close(work.fd);
    unlink(path);
    assert_int_equal(r, -EAGAIN);
    assert_non_null(strstr(err.text, "changed while it was read"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_cut_off_anywhere_is_taken_or_refused),
        cmocka_unit_test(bytes_changed_at_random_are_taken_or_refused),
        cmocka_unit_test(noise_is_taken_or_refused),
        cmocka_unit_test(marks_of_other_editors_change_nothing),
        cmocka_unit_test(what_no_text_has_is_refused),
        cmocka_unit_test(a_path_that_is_not_utf8_is_a_path),
        cmocka_unit_test(settings_without_end_are_refused),
        cmocka_unit_test(a_file_that_is_being_written_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
