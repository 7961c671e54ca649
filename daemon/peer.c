/* See peer.h. */
#include "daemon/peer.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define GROUPS_MAX 256

/* A peer in more groups than GROUPS_MAX counts with its primary one alone. */
static bool in_allowed_group(int fd, const struct lensd_ids *allowed, uint32_t gid)
{
    gid_t groups[GROUPS_MAX];
    socklen_t size = sizeof groups;
    if (lensd_ids_have(allowed, gid))
        return true;
    if (allowed->n == 0 || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) != 0)
        return false;
    for (size_t i = 0; i < size / sizeof groups[0]; i++) {
        if (lensd_ids_have(allowed, groups[i]))
            return true;
    }
    return false;
}

int lensd_peer_identify(int fd, const struct lensd_settings *settings, struct lensd_peer *out)
{
    struct ucred who;
    socklen_t size = sizeof who;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0)
        return -errno;
    *out = (struct lensd_peer){.uid = who.uid, .gid = who.gid, .pid = (uint32_t)who.pid};
    bool admin = lensd_ids_have(&settings->ipc.admin_uids, who.uid);
    out->role = admin ? LENS_PEER_OPERATOR : LENS_PEER_CLIENT;
    out->allowed = admin || lensd_ids_have(&settings->ipc.allow_uids, who.uid) ||
                   in_allowed_group(fd, &settings->ipc.allow_gids, who.gid);
    return 0;
}

static bool has_others(const struct lensd_ids *list)
{
    for (uint32_t i = 0; i < list->n; i++) {
        if (list->ids[i] != 0 && list->ids[i] != geteuid())
            return true;
    }
    return list->any;
}

bool lensd_peer_lists_are_wide(const struct lensd_settings *settings)
{
    const struct lensd_ids *groups = &settings->ipc.allow_gids;
    return groups->any || groups->n > 0 || has_others(&settings->ipc.allow_uids) ||
           has_others(&settings->ipc.admin_uids);
}
