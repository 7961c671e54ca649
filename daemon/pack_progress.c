/* See pack_progress.h. */
#include "daemon/pack_progress.h"

#include "daemon/sys.h"

#include <stdio.h>
#include <string.h>

#define TELL_NS      UINT64_C(2000000000)  /* between lines, when a tenth more is done */
#define SLOW_TELL_NS UINT64_C(10000000000) /* when it is less */

void lensd_pack_progress_begin(struct lensd_pack_progress *progress, const struct lensd_log *log, const char *name)
{
    const char *file = strrchr(name, '/');
    *progress = (struct lensd_pack_progress){.log = *log};
    snprintf(progress->name, sizeof progress->name, "%s", file != NULL ? file + 1 : name);
    progress->began_ns = progress->told_ns = lensd_now_ns();
}

void lensd_pack_progress_text(const struct lensd_pack_progress *progress, char *out, size_t size)
{
    const char *what = atomic_load_explicit(&progress->what, memory_order_acquire);
    if (what == NULL)
        snprintf(out, size, "%s: opening", progress->name);
    else
        snprintf(out, size, "%s: %llu of %llu %s", progress->name,
                 (unsigned long long)atomic_load_explicit(&progress->done, memory_order_relaxed),
                 (unsigned long long)atomic_load_explicit(&progress->total, memory_order_relaxed), what);
}

void lensd_pack_progress_tell_manager(const struct lensd_pack_progress *progress)
{
    char text[LENSD_PROGRESS_TEXT], line[LENSD_PROGRESS_TEXT + 16];
    if (progress->supervisor == NULL)
        return;
    lensd_pack_progress_text(progress, text, sizeof text);
    snprintf(line, sizeof line, "Opening %s", text);
    lensd_supervisor_extend(progress->supervisor, line);
}

static void tell(struct lensd_pack_progress *progress, uint64_t now)
{
    char text[LENSD_PROGRESS_TEXT];
    lensd_pack_progress_text(progress, text, sizeof text);
    lensd_log(&progress->log, LENSD_LOG_INFO, "pack %s, after %.0f s", text, (double)(now - progress->began_ns) / 1e9);
    lensd_pack_progress_tell_manager(progress);
}

void lensd_pack_progress_report(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct lensd_pack_progress *progress = arg;
    if (what != atomic_load_explicit(&progress->what, memory_order_relaxed))
        progress->told_done = 0;
    atomic_store_explicit(&progress->done, done, memory_order_relaxed);
    atomic_store_explicit(&progress->total, total, memory_order_relaxed);
    atomic_store_explicit(&progress->what, what, memory_order_release);
    if (total == 0 || done >= total)
        return; /* the end has a line of its own */
    uint64_t now = lensd_now_ns();
    uint64_t pause = done - progress->told_done < total / 10 ? SLOW_TELL_NS : TELL_NS;
    if (now - progress->told_ns < pause)
        return;
    progress->told_ns = now;
    progress->told_done = done;
    tell(progress, now);
}
