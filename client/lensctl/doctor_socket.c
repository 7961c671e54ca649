/* Whether a daemon is there and lets this user in; see doctor.h. */
#include "client/lensctl/doctor.h"
#include "client/lensctl/doctor_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where lensctl looked: what was named, or the user's place and then the system's. */
static unsigned places(const struct doctor_daemon *daemon, char out[2][PATH_MAX])
{
    const char *named = daemon->socket[0] != '\0' ? daemon->socket : getenv("LENSD_SOCKET");
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    unsigned n = 0;
    if (named != NULL && named[0] != '\0') {
        snprintf(out[0], PATH_MAX, "%s", named);
        return 1;
    }
    if (runtime != NULL && runtime[0] == '/')
        snprintf(out[n++], PATH_MAX, "%s/lensd.sock", runtime);
    snprintf(out[n++], PATH_MAX, "/run/lensd/lensd.sock");
    return n;
}

static bool has_unit(const char *root)
{
    static const char *const folders[] = {"/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
                                          "/usr/local/lib/systemd/system"};
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        snprintf(path, sizeof path, "%s/lensd.service", folders[i]);
        if (doctor_exists(root, path))
            return true;
    }
    return false;
}

static void say_not_there(struct doctor *doctor)
{
    doctor_find(&doctor->report, "daemon.running", DOCTOR_NOTE, "No daemon runs: only the machine was looked at. %s",
                doctor->daemon.sentence);
    if (has_unit(doctor->root) && doctor_exists(doctor->root, "/run/systemd/system"))
        doctor_advise(&doctor->report, "lensd.service is installed: systemctl status lensd says why it isn't running, "
                                       "systemctl start lensd starts it.");
    else
        doctor_advise(&doctor->report, "Start one: lensd --pack FILE.");
}

/* A socket that this user may not open, found among the places that were tried. */
static bool say_closed(struct doctor *doctor, unsigned n, char paths[2][PATH_MAX])
{
    struct doctor_who who;
    char blocked[PATH_MAX];
    if (!doctor_who_is(doctor->root, "self", &who))
        return false;
    for (unsigned i = 0; i < n; i++) {
        if (doctor_reach(doctor->root, paths[i], &who, 2, blocked, sizeof blocked) != -EACCES)
            continue;
        struct stat st;
        if (!doctor_stat(doctor->root, blocked, &st))
            continue;
        doctor_find(&doctor->report, "daemon.socket", DOCTOR_PROBLEM,
                    "%s is closed to this user (uid %u): %s belongs to uid %u with mode %04o.", paths[i],
                    (unsigned)who.uid, blocked, (unsigned)st.st_uid, (unsigned)st.st_mode & 07777u);
        doctor_advise(&doctor->report,
                      "Let its operator add uid %u to ipc.allow_uids (or a group to ipc.allow_gids) and reload lensd, "
                      "which opens the socket then; folders on the way need x for others.",
                      (unsigned)who.uid);
        return true;
    }
    return false;
}

static void say_not_answering(struct doctor *doctor)
{
    int code = doctor->daemon.code;
    doctor_find(&doctor->report, "daemon.running", DOCTOR_PROBLEM, "%s", doctor->daemon.sentence);
    if (code == -ECONNREFUSED)
        doctor_advise(&doctor->report, "lensd was killed and left its socket: its log (journalctl -u lensd) or dmesg "
                                       "(out of memory?) say why. Start it again; it takes the socket's place.");
    else if (code == -ETIMEDOUT)
        doctor_advise(&doctor->report, "It hangs or is stopped: look at its log, at /proc/PID/stack, and restart it.");
    else if (code == -EREMOTEIO)
        doctor_advise(&doctor->report, "Let its operator add uid %u to ipc.allow_uids and reload lensd.",
                      (unsigned)geteuid());
    else
        doctor_advise(&doctor->report, "Use lensctl and lensd of the same release.");
}

void doctor_check_socket(struct doctor *doctor)
{
    char paths[2][PATH_MAX];
    const struct doctor_daemon *daemon = &doctor->daemon;
    if (daemon->running) {
        doctor_find(&doctor->report, "daemon.running", DOCTOR_OK, "lensd %s answers, pid %llu.", daemon->version,
                    (unsigned long long)daemon->status.pid);
        return;
    }
    if (say_closed(doctor, places(daemon, paths), paths))
        return;
    if (daemon->code == -ENOENT)
        say_not_there(doctor);
    else
        say_not_answering(doctor);
}
