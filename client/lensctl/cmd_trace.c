/* lensctl trace record: what rows ask of the cache, from the daemon's ring (proto/trace_ring.h) into a file
 * (daemon/cache/trace.h). */
#include "client/lensctl/commands.h"
#include "client/lensctl/daemon_link.h"
#include "client/lensctl/progress.h"
#include "client/lensctl/waiting.h"
#include "daemon/cache/trace.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAUSE_MS      2 /* the ring holds thousands of rows */
#define ROWS_PER_TURN 4096u
#define ALIVE_TURNS   50 /* empty turns between two looks at the connection */

enum ending { RUNNING, ALL_ROWS, ALL_SECONDS, INTERRUPTED, DAEMON_ENDED };

struct recorder {
    struct lens_client *client;
    void *memory;
    uint64_t bytes;
    struct lens_trace_consumer ring;
    uint32_t *words; /* [lenses]: a row scores each lens once at most */
    struct lensd_trace_writer *writer;
    int signals; /* a signalfd of those that end it */
    uint64_t rows, max_rows, began_ns, max_ns;
    enum ending ending;
    struct ctl_progress progress;
};

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static int map_ring(struct recorder *recorder, int fd, uint64_t bytes)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_size < 0 || (uint64_t)st.st_size < bytes)
        return ctl_fail(CTL_FAILED, "lensd sent less memory than it said: do lensctl and lensd fit together?");
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return ctl_fail(CTL_FAILED, "can't map the trace's memory: %s", strerror(errno));
    recorder->memory = memory;
    recorder->bytes = bytes;
    if (lens_trace_consumer_init(&recorder->ring, memory, bytes) != 0)
        return ctl_fail(CTL_FAILED, "lensd's trace isn't laid out as this lensctl expects: are they of one release?");
    recorder->words = calloc((size_t)recorder->ring.tables.lenses + 1, sizeof(uint32_t));
    return recorder->words != NULL ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
}

static int start(const struct ctl *ctl, struct recorder *recorder)
{
    const char *pack = ctl_value(ctl, "--pack")->text;
    struct lens_error err = {0};
    struct lens_msg msg;
    int fd;
    ctl_request(&msg, LENS_MSG_TRACE);
    msg.u.pack_ref.pack = lens_text_of(pack != NULL ? pack : "");
    int r = ctl_call_fd(recorder->client, &msg, LENS_MSG_TRACING, &fd);
    if (r == CTL_OK)
        r = map_ring(recorder, fd, msg.u.tracing.bytes);
    if (fd >= 0)
        close(fd);
    if (r == CTL_OK)
        r = ctl_watch_signals(&recorder->signals);
    if (r == CTL_OK &&
        lensd_trace_create(ctl_value(ctl, "-o")->text, &recorder->ring.tables, &recorder->writer, &err) != 0)
        r = ctl_fail(CTL_FAILED, "%s", err.text);
    return r;
}

/* ---- recording -------------------------------------------------------------------------------------------------- */

/* Writes rows that wait, a bounded number. Their number, or -1 after saying what went wrong. */
static int write_rows(struct recorder *recorder)
{
    struct lens_trace_row row;
    struct lens_error err = {0};
    unsigned n = 0;
    for (; n < ROWS_PER_TURN && (recorder->max_rows == 0 || recorder->rows < recorder->max_rows); n++) {
        int r = lens_trace_take(&recorder->ring, &row, recorder->words, recorder->ring.tables.lenses);
        if (r == 0)
            break;
        if (r < 0) {
            ctl_fail(CTL_FAILED, "lensd's trace holds what can't be a row: are lensctl and lensd of one release?");
            return -1;
        }
        if (lensd_trace_append(recorder->writer, &row, recorder->words, &err) != 0) {
            ctl_fail(CTL_FAILED, "%s", err.text);
            return -1;
        }
        recorder->rows++;
    }
    return (int)n;
}

static void show_progress(struct recorder *recorder, uint64_t elapsed_ns)
{
    uint64_t rows = recorder->rows;
    if (recorder->max_rows > 0 && (recorder->max_ns == 0 || (double)rows / (double)recorder->max_rows >=
                                                                (double)elapsed_ns / (double)recorder->max_ns))
        ctl_progress_update(&recorder->progress, "recording", rows, recorder->max_rows);
    else if (recorder->max_ns > 0)
        ctl_progress_update(&recorder->progress, "recording", elapsed_ns, recorder->max_ns);
    else
        ctl_progress_note(&recorder->progress, "recording: %llu rows, %llu left out (^C ends it)",
                          (unsigned long long)rows, (unsigned long long)lens_trace_dropped(&recorder->ring));
}

static enum ending look_around(struct recorder *recorder, unsigned turn, bool wait)
{
    struct pollfd signals = {.fd = recorder->signals, .events = POLLIN};
    uint64_t elapsed = ctl_now_ns() - recorder->began_ns;
    show_progress(recorder, elapsed);
    if (recorder->max_rows > 0 && recorder->rows >= recorder->max_rows)
        return ALL_ROWS;
    if (recorder->max_ns > 0 && elapsed >= recorder->max_ns)
        return ALL_SECONDS;
    if (poll(&signals, 1, wait ? PAUSE_MS : 0) == 1)
        return INTERRUPTED;
    if (turn % ALIVE_TURNS == 0 && !lens_control_connected(recorder->client))
        return DAEMON_ENDED;
    return RUNNING;
}

static int record(struct recorder *recorder)
{
    int n = 0;
    recorder->began_ns = ctl_now_ns();
    for (unsigned turn = 1; recorder->ending == RUNNING; turn++) {
        n = write_rows(recorder);
        if (n < 0)
            return CTL_FAILED;
        recorder->ending = look_around(recorder, turn, n == 0);
    }
    /* What was there at the end: a whole ring at most, though rows may go on coming. */
    for (unsigned turn = 0; turn < recorder->ring.ring_words / ROWS_PER_TURN && n >= 0; turn++) {
        n = write_rows(recorder);
        if (n == 0)
            break;
    }
    return n < 0 ? CTL_FAILED : CTL_OK;
}

/* ---- the end ---------------------------------------------------------------------------------------------------- */

static int print_summary(const struct ctl *ctl, const struct recorder *recorder)
{
    static const char *const endings[] = {"", "rows", "seconds", "interrupted", "daemon"};
    const char *path = ctl_value(ctl, "-o")->text;
    uint64_t dropped = lens_trace_dropped(&recorder->ring);
    char bytes[32], shown[1024];
    struct stat st;
    if (stat(path, &st) != 0)
        return ctl_fail(CTL_FAILED, "%s: %s", path, strerror(errno));
    if (ctl->json) {
        json_t *object = ctl_json_new();
        ctl_json_set_text(object, "file", lens_text_of(path));
        ctl_json_set_count(object, "rows", recorder->rows);
        ctl_json_set_count(object, "dropped_rows", dropped);
        ctl_json_set_count(object, "bytes", (uint64_t)st.st_size);
        ctl_json_set_text(object, "ended_by", lens_text_of(endings[recorder->ending]));
        return ctl_json_print(&ctl->out, object, false);
    }
    fprintf(ctl->out.file, "%llu rows recorded, %llu left out; %s in %s\n", (unsigned long long)recorder->rows,
            (unsigned long long)dropped, ctl_bytes_text((uint64_t)st.st_size, bytes, sizeof bytes),
            ctl_printable(path, strlen(path), shown, sizeof shown));
    return CTL_OK;
}

static void release(struct recorder *recorder)
{
    lens_client_close(recorder->client);
    if (recorder->memory != NULL)
        munmap(recorder->memory, recorder->bytes);
    if (recorder->signals >= 0)
        close(recorder->signals);
    free(recorder->words);
}

int ctl_run_trace_record(struct ctl *ctl)
{
    struct recorder recorder = {.signals = -1};
    struct lens_error err = {0};
    recorder.max_rows = (uint64_t)ctl_value(ctl, "--rows")->number;
    recorder.max_ns = (uint64_t)ctl_value(ctl, "--seconds")->number * CTL_SECOND_NS;
    int r = ctl_connect(ctl, &recorder.client);
    if (r != CTL_OK)
        return r;
    r = start(ctl, &recorder);
    if (r == CTL_OK) {
        ctl_progress_begin(&recorder.progress);
        r = record(&recorder);
        ctl_progress_end(&recorder.progress);
    }
    if (recorder.writer != NULL && lensd_trace_close(recorder.writer, &err) != 0 && r == CTL_OK)
        r = ctl_fail(CTL_FAILED, "%s", err.text);
    if (r == CTL_OK)
        r = print_summary(ctl, &recorder);
    if (r == CTL_OK && recorder.ending == DAEMON_ENDED)
        r = ctl_fail(CTL_FAILED, "lensd ended the trace (it stops, or the pack was replaced): the file holds what came "
                                 "before");
    release(&recorder);
    return r;
}
