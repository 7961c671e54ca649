/* See log.h. */
#include "daemon/log.h"

#include "daemon/sys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const lensd_log_level_names[] = {"error", "warning", "info", "debug", NULL};
const enum lensd_log_level lensd_log_levels[] = {LENSD_LOG_ERROR, LENSD_LOG_WARNING, LENSD_LOG_INFO, LENSD_LOG_DEBUG};

/* $JOURNAL_STREAM is "device:inode" of the stream journald gave; a redirected stderr no longer matches. */
static bool is_journal(int fd)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    if (stream == NULL || fstat(fd, &st) != 0)
        return false;
    char *end;
    unsigned long long device = strtoull(stream, &end, 10);
    if (*end != ':')
        return false;
    unsigned long long inode = strtoull(end + 1, &end, 10);
    return *end == '\0' && device == st.st_dev && inode == st.st_ino;
}

void lensd_log_init(struct lensd_log *log, enum lensd_log_level level)
{
    *log = (struct lensd_log){.level = level};
    log->fd = STDERR_FILENO;
    log->priorities = is_journal(STDERR_FILENO);
}

static void defuse(char *line, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    }
}

static void write_line(const struct lensd_log *log, enum lensd_log_level level, const char *format, va_list args)
{
    char line[1024];
    if (level > log->level)
        return;
    int head =
        log->priorities ? snprintf(line, sizeof line, "<%d>", (int)level) : snprintf(line, sizeof line, "lensd: ");
    size_t used = head > 0 ? (size_t)head : 0;
    vsnprintf(line + used, sizeof line - used - 1, format, args);
    size_t length = strlen(line);
    defuse(line, length);
    line[length] = '\n';
    /* A log that can't be written must not stop the daemon. */
    ssize_t written = write(log->fd, line, length + 1);
    (void)written;
}

void lensd_log(const struct lensd_log *log, enum lensd_log_level level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line(log, level, format, args);
    va_end(args);
}

void lensd_log_client(struct lensd_log *log, enum lensd_log_level level, const char *format, ...)
{
    uint64_t second = lensd_now_ns() / UINT64_C(1000000000);
    if (second != log->second) {
        if (log->left_out > 0)
            lensd_log(log, LENSD_LOG_WARNING, "%u lines about clients left out", log->left_out);
        log->second = second;
        log->lines = log->left_out = 0;
    }
    if (log->lines == LENSD_LOG_BURST) {
        log->left_out++;
        return;
    }
    log->lines++;
    va_list args;
    va_start(args, format);
    write_line(log, level, format, args);
    va_end(args);
}
