/* Who is on the other side of a control socket, and what they may do (DESIGN 7). */
#ifndef LENSD_PEER_H
#define LENSD_PEER_H

#include "daemon/settings.h"

struct lensd_peer {
    uint32_t uid, gid, pid; /* as the kernel saw them at connect */
    bool allowed;           /* may connect at all */
    enum lens_role_of_peer role;
};

/* Asks the kernel (SO_PEERCRED, SO_PEERGROUPS) and the settings' lists. Negative errno when the kernel won't say. */
int lensd_peer_identify(int fd, const struct lensd_settings *settings, struct lensd_peer *out);

/* True when the lists let in anyone beside root and the daemon's own user: the socket file must be open to all then,
 * because the lists and not its mode decide. */
bool lensd_peer_lists_are_wide(const struct lensd_settings *settings);

#endif
