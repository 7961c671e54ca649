/* See supervisor.h. */
#include "daemon/supervisor.h"

#include "daemon/sys.h"

#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

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

void lensd_supervisor_starting(struct lensd_supervisor *supervisor, const char *line)
{
    sd_notify(0, "EXTEND_TIMEOUT_USEC=30000000");
    lensd_supervisor_status(supervisor, line);
}

void lensd_supervisor_ready(void)
{
    sd_notify(0, "READY=1");
}

void lensd_supervisor_reloading(void)
{
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(lensd_now_ns() / 1000));
}

void lensd_supervisor_stopping(void)
{
    sd_notify(0, "STOPPING=1\nSTATUS=Draining");
}

void lensd_supervisor_status(struct lensd_supervisor *supervisor, const char *line)
{
    if (strncmp(supervisor->status, line, sizeof supervisor->status - 1) == 0)
        return;
    snprintf(supervisor->status, sizeof supervisor->status, "%s", line);
    sd_notifyf(0, "STATUS=%s", supervisor->status);
}

void lensd_supervisor_feed(struct lensd_supervisor *supervisor, uint64_t heartbeat)
{
    if (supervisor->watchdog_us == 0 || heartbeat == supervisor->fed_heartbeat)
        return;
    supervisor->fed_heartbeat = heartbeat;
    sd_notify(0, "WATCHDOG=1");
}
