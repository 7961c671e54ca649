/* Limits of control groups, versions 1 and 2; see doctor_files.h.
 *
 * A limit holds for a group and all below it, so each group from the process's own up to the root counts. In a
 * container the path in /proc may be the host's, which isn't mounted there: then the root is what is left of it. */
#include "client/lensctl/doctor_files.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a controller's files are: below /sys/fs/cgroup for version 2, /sys/fs/cgroup/NAME for version 1. */
static const char *find_group(const char *root, const char *process, const char *controller, char *group, size_t size)
{
    char path[64], text[DOCTOR_TEXT];
    const char *version = NULL;
    snprintf(path, sizeof path, "/proc/%s/cgroup", process);
    if (!doctor_read(root, path, text, sizeof text))
        return NULL;
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        char *names = strchr(line, ':'), *where = names != NULL ? strchr(names + 1, ':') : NULL;
        if (where == NULL)
            continue;
        *where = '\0';
        char list[256];
        snprintf(list, sizeof list, ",%s,", names + 1);
        char wanted[32];
        snprintf(wanted, sizeof wanted, ",%s,", controller);
        bool first = strstr(list, wanted) != NULL, second = names[1] == '\0' && version == NULL;
        if (!first && !second)
            continue;
        version = first ? controller : "";
        snprintf(group, size, "%s", where + 1);
        if (first)
            break;
    }
    return version;
}

/* The path of `file` in the group, or NULL when it doesn't fit. */
static const char *group_file(char out[PATH_MAX], const char *controller, const char *group, const char *file)
{
    int n = snprintf(out, PATH_MAX, "/sys/fs/cgroup%s%s%s/%s", controller[0] != '\0' ? "/" : "", controller,
                     strcmp(group, "/") == 0 ? "" : group, file);
    return n < PATH_MAX ? out : NULL;
}

/* Cuts the last part of the group off; false when there is none. */
static bool go_up(char *group)
{
    char *slash = strrchr(group, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    return true;
}

bool doctor_cgroup_memory(const char *root, const char *process, uint64_t *limit, uint64_t *used)
{
    char group[1024], path[PATH_MAX];
    const char *controller = find_group(root, process, "memory", group, sizeof group);
    if (controller == NULL)
        return false;
    bool first = controller[0] != '\0';
    *limit = UINT64_MAX;
    *used = 0;
    do {
        uint64_t bytes, now;
        if (group_file(path, controller, group, first ? "memory.limit_in_bytes" : "memory.max") == NULL ||
            !doctor_read_number(root, path, &bytes) || bytes >= *limit)
            continue;
        *limit = bytes;
        group_file(path, controller, group, first ? "memory.usage_in_bytes" : "memory.current");
        *used = doctor_read_number(root, path, &now) ? now : 0;
    } while (go_up(group));
    return *limit < (uint64_t)1 << 60; /* version 1 writes a huge number where there is none */
}

/* Processors that one group's quota allows; false = it has none. */
static bool read_quota(const char *root, const char *controller, const char *group, double *cpus)
{
    char path[PATH_MAX], text[64];
    double quota, period;
    if (controller[0] == '\0')
        return group_file(path, controller, group, "cpu.max") != NULL && doctor_read(root, path, text, sizeof text) &&
               sscanf(text, "%lf %lf", &quota, &period) == 2 && period > 0 && (*cpus = quota / period, true);
    uint64_t of, in;
    if (group_file(path, controller, group, "cpu.cfs_quota_us") == NULL || !doctor_read_number(root, path, &of) ||
        group_file(path, controller, group, "cpu.cfs_period_us") == NULL || !doctor_read_number(root, path, &in) ||
        in == 0)
        return false;
    *cpus = (double)of / (double)in;
    return true;
}

bool doctor_cgroup_cpus(const char *root, const char *process, double *cpus, uint64_t *throttled)
{
    char group[1024], path[PATH_MAX], text[DOCTOR_TEXT];
    const char *controller = find_group(root, process, "cpu", group, sizeof group);
    bool any = false;
    *throttled = 0;
    if (controller == NULL)
        return false;
    do {
        double here;
        if (!read_quota(root, controller, group, &here) || (any && here >= *cpus))
            continue;
        any = true;
        *cpus = here;
        group_file(path, controller, group, "cpu.stat");
        if (!doctor_read(root, path, text, sizeof text) || !doctor_line_number(text, "nr_throttled", throttled))
            *throttled = 0;
    } while (go_up(group));
    return any;
}
