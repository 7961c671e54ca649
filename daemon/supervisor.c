/* See supervisor.h. */
#include "daemon/supervisor.h"

#include "daemon/sys.h"
#include "proto/pack_utf8.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#define MORE_US UINT64_C(30000000) /* of time that is asked for at once */

void lensd_supervisor_init(struct lensd_supervisor *supervisor)
{
    memset(supervisor, 0, sizeof *supervisor);
    if (sd_watchdog_enabled(0, &supervisor->watchdog_us) <= 0)
        supervisor->watchdog_us = 0;
}

uint64_t lensd_supervisor_interval_ms(const struct lensd_supervisor *supervisor)
{
    uint64_t third = supervisor->watchdog_us / 3000;
    if (third == 0 || third > 1000)
        return 1000;
    return third;
}

/* Takes the line, which may name files: a line feed would begin another message, and what isn't UTF-8, by its name or
 * because it was cut, would be passed over. True when it differs from the last. */
static bool take_line(struct lensd_supervisor *supervisor, const char *line)
{
    char taken[sizeof supervisor->status];
    snprintf(taken, sizeof taken, "%s", line);
    pack_utf8_make_name(taken, strlen(taken));
    if (strcmp(taken, supervisor->status) == 0)
        return false;
    memcpy(supervisor->status, taken, sizeof taken);
    return true;
}

void lensd_supervisor_extend(struct lensd_supervisor *supervisor, const char *line)
{
    take_line(supervisor, line);
    sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%llu\nSTATUS=%s", (unsigned long long)MORE_US, supervisor->status);
}

void lensd_supervisor_ready(struct lensd_supervisor *supervisor, const char *line)
{
    take_line(supervisor, line);
    sd_notifyf(0, "READY=1\nSTATUS=%s", supervisor->status);
}

void lensd_supervisor_reloading(void)
{
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reading the configuration",
               (unsigned long long)(lensd_now_ns() / 1000));
}

void lensd_supervisor_stopping(struct lensd_supervisor *supervisor, uint32_t drain_ms)
{
    take_line(supervisor, "Draining");
    sd_notifyf(0, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%llu\nSTATUS=%s",
               (unsigned long long)(MORE_US + UINT64_C(1000) * drain_ms), supervisor->status);
}

void lensd_supervisor_status(struct lensd_supervisor *supervisor, const char *line)
{
    if (take_line(supervisor, line))
        sd_notifyf(0, "STATUS=%s", supervisor->status);
}

void lensd_supervisor_feed(struct lensd_supervisor *supervisor, uint64_t heartbeat)
{
    if (supervisor->watchdog_us == 0 || heartbeat == supervisor->fed_heartbeat)
        return;
    supervisor->fed_heartbeat = heartbeat;
    sd_notify(0, "WATCHDOG=1");
}
