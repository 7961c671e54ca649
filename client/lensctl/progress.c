/* See progress.h. */
#include "client/lensctl/progress.h"
#include "client/lensctl/waiting.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define SHOW_AFTER_NS 1000000000u
#define REDRAW_NS     100000000u
#define BAR_WIDTH     30u

void ctl_progress_begin(struct ctl_progress *progress)
{
    *progress = (struct ctl_progress){.terminal = isatty(STDERR_FILENO) == 1, .began_ns = ctl_now_ns()};
}

/* Whether it is time to draw. */
static bool is_due(struct ctl_progress *progress)
{
    uint64_t now = ctl_now_ns();
    if (!progress->terminal || now - progress->began_ns < SHOW_AFTER_NS || now - progress->drawn_ns < REDRAW_NS)
        return false;
    progress->drawn_ns = now;
    progress->shown = true;
    return true;
}

void ctl_progress_update(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct ctl_progress *progress = arg;
    if (total == 0 || !is_due(progress))
        return;
    double part = done < total ? (double)done / (double)total : 1.0;
    unsigned filled = (unsigned)(part * BAR_WIDTH);
    fprintf(stderr, "\r%s [", what);
    for (unsigned i = 0; i < BAR_WIDTH; i++)
        fputc(i < filled ? '#' : '.', stderr);
    fprintf(stderr, "] %3.0f%%\033[K", 100.0 * part);
    fflush(stderr);
}

void ctl_progress_note(struct ctl_progress *progress, const char *format, ...)
{
    va_list args;
    if (!is_due(progress))
        return;
    fputc('\r', stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\033[K", stderr);
    fflush(stderr);
}

void ctl_progress_end(struct ctl_progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}
