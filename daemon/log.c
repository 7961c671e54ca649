/* See log.h. */
#include "daemon/log.h"

#include "daemon/journal.h"
#include "daemon/sys.h"
#include "proto/pack_utf8.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024u

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

void lensd_log_init(struct lensd_log *log, struct lensd_log_output *output, enum lensd_log_level level)
{
    *log = (struct lensd_log){.level = level, .output = output};
    *output = (struct lensd_log_output){.fd = STDERR_FILENO, .journal = -1, .path = LENSD_JOURNAL_SOCKET};
    output->is_journal = is_journal(STDERR_FILENO);
    if (output->is_journal)
        output->journal = lensd_journal_open();
}

void lensd_log_close(struct lensd_log *log)
{
    if (log->output->journal >= 0)
        close(log->output->journal);
    log->output->journal = -1;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

/* False when whoever reads lets it lie: a full pipe would hold the daemon up. One line fits where poll says so. */
static bool write_text(const struct lensd_log_output *output, const char *text, size_t length)
{
    struct pollfd room = {.fd = output->fd, .events = POLLOUT};
    if (poll(&room, 1, 0) != 1 || (room.revents & POLLOUT) == 0)
        return false;
    return write(output->fd, text, length) == (ssize_t)length;
}

static bool write_line(const struct lensd_log_output *output, enum lensd_log_level level, const char *message)
{
    char line[LINE_MAX_BYTES + 16];
    int head =
        output->is_journal ? snprintf(line, sizeof line, "<%d>", (int)level) : snprintf(line, sizeof line, "lensd: ");
    size_t used = head > 0 ? (size_t)head : 0;
    snprintf(line + used, sizeof line - used - 1, "%s", message);
    size_t length = strlen(line);
    line[length] = '\n';
    return write_text(output, line, length + 1);
}

static void add_fields(struct lensd_journal_entry *entry, const struct lensd_log_fields *fields)
{
    if (fields->pack != NULL)
        lensd_journal_add(entry, "LENSD_PACK", fields->pack);
    if (fields->generation != 0)
        lensd_journal_add_number(entry, "LENSD_PACK_GENERATION", fields->generation);
    if (fields->session != 0)
        lensd_journal_add_number(entry, "LENSD_SESSION", fields->session);
    if (fields->client != NULL)
        lensd_journal_add(entry, "LENSD_CLIENT", fields->client);
    if (fields->pid != 0) {
        lensd_journal_add_number(entry, "LENSD_CLIENT_PID", fields->pid);
        lensd_journal_add_number(entry, "LENSD_CLIENT_UID", fields->uid);
    }
    if (fields->code != 0)
        lensd_journal_add_number(entry, "ERRNO", (uint64_t)(fields->code < 0 ? -(int64_t)fields->code : fields->code));
    for (uint32_t i = 0; i < LENSD_LOG_MORE && fields->more[i].name != NULL; i++)
        lensd_journal_add(entry, fields->more[i].name, fields->more[i].value);
}

static bool write_entry(const struct lensd_log_output *output, enum lensd_log_level level, enum lensd_log_event event,
                        const struct lensd_log_fields *fields, const char *message)
{
    struct lensd_journal_entry entry;
    entry.used = 0;
    lensd_journal_add(&entry, "MESSAGE", message);
    lensd_journal_add_number(&entry, "PRIORITY", (uint64_t)level);
    lensd_journal_add(&entry, "SYSLOG_IDENTIFIER", "lensd");
    if (event != LENSD_LOG_PLAIN) {
        lensd_journal_add(&entry, "LENSD_EVENT", lensd_log_events[event].name);
        lensd_journal_add(&entry, "MESSAGE_ID", lensd_log_events[event].id);
    }
    if (fields != NULL)
        add_fields(&entry, fields);
    return lensd_journal_send(output->journal, output->path, &entry) == 0;
}

/* The journal with its fields, else stderr. */
static bool deliver(const struct lensd_log_output *output, enum lensd_log_level level, enum lensd_log_event event,
                    const struct lensd_log_fields *fields, const char *message)
{
    if (output->journal >= 0 && write_entry(output, level, event, fields, message))
        return true;
    return write_line(output, level, message);
}

static void tell_lost(struct lensd_log_output *output)
{
    char message[64];
    uint32_t lost = atomic_exchange(&output->lost, 0);
    if (lost == 0)
        return;
    snprintf(message, sizeof message, "%u lines were lost: nobody took them", lost);
    if (!deliver(output, LENSD_LOG_WARNING, LENSD_LOG_PLAIN, NULL, message))
        atomic_fetch_add(&output->lost, lost);
}

static void log_message(const struct lensd_log *log, enum lensd_log_level level, enum lensd_log_event event,
                        const struct lensd_log_fields *fields, const char *format, va_list args)
{
    char message[LINE_MAX_BYTES];
    if (level > log->level)
        return;
    vsnprintf(message, sizeof message, format, args);
    pack_utf8_make_name(message,
                        strlen(message)); /* the journal hides what isn't UTF-8; a cut may leave half a character */
    tell_lost(log->output);
    if (!deliver(log->output, level, event, fields, message))
        atomic_fetch_add(&log->output->lost, 1);
}

/* ---- logging ---------------------------------------------------------------------------------------------------- */

void lensd_log(const struct lensd_log *log, enum lensd_log_level level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_message(log, level, LENSD_LOG_PLAIN, NULL, format, args);
    va_end(args);
}

void lensd_log_event(const struct lensd_log *log, enum lensd_log_level level, enum lensd_log_event event,
                     const struct lensd_log_fields *fields, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_message(log, level, event, fields, format, args);
    va_end(args);
}

void lensd_log_client(struct lensd_log *log, enum lensd_log_level level, enum lensd_log_event event,
                      const struct lensd_log_fields *fields, const char *format, ...)
{
    if (level > log->level) /* a line that nobody gets counts for nothing */
        return;
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
    log_message(log, level, event, fields, format, args);
    va_end(args);
}
