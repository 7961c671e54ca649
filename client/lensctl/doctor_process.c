/* Which process the doctor looks at; see doctor.h. */
#include "client/lensctl/doctor.h"
#include "client/lensctl/doctor_files.h"

#include <stdio.h>
#include <string.h>

bool doctor_sees_daemon(const struct doctor *doctor)
{
    char path[64], name[64];
    if (!doctor->daemon.running)
        return false;
    /* In another pid namespace that number is somebody else's, or nobody's. */
    snprintf(path, sizeof path, "/proc/%llu/comm", (unsigned long long)doctor->daemon.status.pid);
    return doctor_read(doctor->root, path, name, sizeof name) && strcmp(name, "lensd") == 0;
}

const char *doctor_process(const struct doctor *doctor, char out[32])
{
    if (doctor_sees_daemon(doctor))
        snprintf(out, 32, "%llu", (unsigned long long)doctor->daemon.status.pid);
    else
        snprintf(out, 32, "self");
    return out;
}

bool doctor_on_card(const struct doctor_daemon *daemon)
{
    return daemon->running && strcmp(daemon->backend, "cuda") == 0;
}
