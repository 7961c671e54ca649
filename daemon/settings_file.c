/* See settings_file.h. inih splits the lines; what it would pass over in silence (long lines, unknown sections
 * without settings, NUL bytes, repeated settings) is caught here. */
#include "daemon/settings_file.h"

#include "daemon/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What goes on while a file is read: the rest of its text, the line inih is at, and the first error. */
struct reading {
    struct lensd_settings *settings;
    const char *path, *rest, *end;
    int line;
    int line_of[LENSD_SETTINGS_MAX]; /* where each setting was given, 0 = not yet */
    bool in_setting;                 /* an indented line continues a setting, whatever it begins with */
    struct lens_error *err;
    int failed; /* negative errno of the first error, which `err` describes */
};

static int fail_at(struct reading *r, int code)
{
    if (r->failed != 0)
        return 0;
    r->failed = code;
    lens_error_prefix(r->err, "%s line %d", r->path, r->line);
    return 0;
}

static bool known_section(const char *section, size_t length)
{
    for (uint32_t row = 0; row < lensd_settings_count; row++) {
        const char *key = lensd_settings_table[row].key;
        if (strcspn(key, ".") == length && strncmp(key, section, length) == 0)
            return true;
    }
    return false;
}

/* "pool, cache, ..": the table's sections, which stand together in it. */
static void list_sections(char *out, size_t size)
{
    size_t used = 0, last = 0;
    const char *before = "";
    out[0] = '\0';
    for (uint32_t row = 0; row < lensd_settings_count && used < size; row++) {
        const char *key = lensd_settings_table[row].key;
        size_t length = strcspn(key, ".");
        if (length == last && strncmp(key, before, length) == 0)
            continue;
        int n = snprintf(out + used, size - used, "%s%.*s", row > 0 ? ", " : "", (int)length, key);
        used += n > 0 ? (size_t)n : 0;
        before = key;
        last = length;
    }
}

static void check_section(struct reading *r, const char *line)
{
    size_t indent = strspn(line, " \t");
    if (indent > 0 && r->in_setting)
        return;
    line += indent;
    if (line[0] != '[')
        return;
    r->in_setting = false;
    size_t length = strcspn(line + 1, "]\n");
    if (line[1 + length] != ']' || known_section(line + 1, length))
        return;
    char known[256];
    list_sections(known, sizeof known);
    lens_error_set(r->err, -EINVAL, "no section [%.*s]: known are %s", (int)(length < 40 ? length : 40), line + 1,
                   known);
    fail_at(r, -EINVAL);
}

/* inih's fgets over memory. Stops the whole reading (returns NULL) at a line that inih would cut in two. */
static char *next_line(char *out, int size, void *stream)
{
    struct reading *r = stream;
    if (r->rest == r->end || r->failed != 0)
        return NULL;
    const char *newline = memchr(r->rest, '\n', (size_t)(r->end - r->rest));
    size_t length = (size_t)((newline != NULL ? newline + 1 : r->end) - r->rest);
    r->line++;
    if (length + 1 > (size_t)size || memchr(r->rest, '\0', length) != NULL) {
        lens_error_set(r->err, -EINVAL, "expected text of at most %d bytes a line, found %s", size - 2,
                       length + 1 > (size_t)size ? "a longer one" : "a NUL byte");
        fail_at(r, -EINVAL);
        return NULL;
    }
    memcpy(out, r->rest, length);
    out[length] = '\0';
    r->rest += length;
    check_section(r, r->line == 1 && strncmp(out, "\xef\xbb\xbf", 3) == 0 ? out + 3 : out); /* as inih passes over it */
    return r->failed != 0 ? NULL : out;
}

static int unknown_setting(struct reading *r, const char *key)
{
    const char *nearest = lensd_setting_nearest(key, strlen(key));
    if (nearest != NULL)
        lens_error_set(r->err, -EINVAL, "no setting %s: did you mean %s?", key, nearest);
    else
        lens_error_set(r->err, -EINVAL, "no setting %s: see lensd --help for all of them", key);
    return fail_at(r, -EINVAL);
}

/* A further line of a list: behind what the file gave so far, unless a stronger origin has the setting. */
static int append(struct reading *r, uint32_t row, const char *value)
{
    const struct lensd_settings *settings = r->settings;
    const char *before = settings->origin[row] == LENSD_ORIGIN_FILE ? settings->text[row] : "";
    size_t length = strlen(before), size = length + strlen(value) + 2;
    bool comma = length > 0 && before[length - 1] != ',';
    char *joined = lensd_calloc(1, size);
    if (joined == NULL)
        return lens_error_set(r->err, -ENOMEM, "no memory for %s", lensd_settings_table[row].key);
    snprintf(joined, size, "%s%s%s", before, comma ? "," : "", value);
    int result = lensd_settings_set(r->settings, row, joined, LENSD_ORIGIN_FILE, r->err);
    lensd_free(joined);
    if (result == 0 && settings->origin[row] == LENSD_ORIGIN_FILE)
        r->settings->line[row] = (uint32_t)r->line_of[row];
    return result;
}

/* inih's callback: 1 goes on, 0 is an error. */
static int on_setting(void *user, const char *section, const char *name, const char *value)
{
    struct reading *r = user;
    char key[128];
    if (r->failed != 0)
        return 0;
    r->in_setting = true;
    if (section[0] == '\0') {
        lens_error_set(r->err, -EINVAL, "\"%.60s\" stands before the first [section]", name);
        return fail_at(r, -EINVAL);
    }
    snprintf(key, sizeof key, "%s.%s", section, name);
    int row = lensd_setting_find(key, strlen(key));
    if (row < 0 || strcmp(key, lensd_settings_table[row].key) != 0)
        return unknown_setting(r, key);
    if (r->line_of[row] != 0 && lensd_settings_table[row].type == LENSD_SETTING_LIST) {
        int result = append(r, (uint32_t)row, value);
        return result == 0 ? 1 : fail_at(r, result);
    }
    if (r->line_of[row] != 0) {
        lens_error_set(r->err, -EINVAL, "%s was given on line %d already (an indented line continues the one before)",
                       key, r->line_of[row]);
        return fail_at(r, -EINVAL);
    }
    r->line_of[row] = r->line;
    int result = lensd_settings_set(r->settings, (uint32_t)row, value, LENSD_ORIGIN_FILE, r->err);
    if (result == 0 && r->settings->origin[row] == LENSD_ORIGIN_FILE)
        r->settings->line[row] = (uint32_t)r->line;
    return result == 0 ? 1 : fail_at(r, result);
}

int lensd_settings_read_text(struct lensd_settings *settings, const char *path, const char *text, size_t length,
                             struct lens_error *err)
{
    struct lens_error local = {0};
    struct reading r = {
        .settings = settings, .path = path, .rest = text, .end = text + length, .err = err != NULL ? err : &local};
    settings->file = path;
    int line = ini_parse_stream(next_line, &r, on_setting, &r);
    if (line > 0 && (r.failed == 0 || line < r.line))
        return lens_error_set(err, -EINVAL, "%s line %d: expected [section] or setting = value", path, line);
    if (line < 0 && r.failed == 0)
        return lens_error_set(err, -ENOMEM, "%s: no memory to read it", path);
    return r.failed;
}

static int read_whole(int fd, char *out, size_t size, size_t *length)
{
    *length = 0;
    while (*length < size) {
        ssize_t n = read(fd, out + *length, size - *length);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
        *length += n > 0 ? (size_t)n : 0;
    }
    return -EFBIG;
}

/* What a path may be instead of a file; a FIFO or a device could be waited for without end, by a daemon that serves. */
static const char *kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "a directory";
    case S_IFIFO:
        return "a pipe";
    case S_IFCHR:
    case S_IFBLK:
        return "a device";
    case S_IFSOCK:
        return "a socket";
    default:
        return "something else";
    }
}

static bool same_state(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* The file's whole text. Half of a file that is being written would be a configuration that nobody meant. */
static int read_steadily(int fd, const char *path, char *text, size_t *length, struct lens_error *err)
{
    struct stat before, after;
    if (fstat(fd, &before) != 0)
        return lens_error_set(err, -errno, "can't look at the configuration %s: %s", path, strerror(errno));
    if (!S_ISREG(before.st_mode))
        return lens_error_set(err, S_ISDIR(before.st_mode) ? -EISDIR : -EINVAL,
                              "the configuration %s must be a file, found %s", path, kind_of(before.st_mode));
    int r = read_whole(fd, text, LENSD_FILE_MAX, length);
    if (r == -EFBIG)
        return lens_error_set(err, r, "%s is larger than %u bytes: is it a configuration file?", path, LENSD_FILE_MAX);
    if (r == 0 && fstat(fd, &after) != 0)
        r = -errno;
    if (r != 0)
        return lens_error_set(err, r, "can't read the configuration %s: %s", path, strerror(-r));
    if (!same_state(&before, &after))
        return lens_error_set(err, -EAGAIN, "%s changed while it was read: try again", path);
    return 0;
}

int lensd_settings_read_file(struct lensd_settings *settings, const char *path, struct lens_error *err)
{
    size_t length = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return lens_error_set(err, -errno, "can't open the configuration %s: %s", path, strerror(errno));
    char *text = lensd_calloc(1, LENSD_FILE_MAX);
    int r = text != NULL ? read_steadily(fd, path, text, &length, err)
                         : lens_error_set(err, -ENOMEM, "no memory to read %s", path);
    if (r == 0)
        r = lensd_settings_read_text(settings, path, text, length, err);
    lensd_free(text);
    close(fd);
    return r;
}
