/* Asks the daemon what lensctl doctor wants to know of it. */
#ifndef LENSCTL_DOCTOR_ASK_H
#define LENSCTL_DOCTOR_ASK_H

#include "client/lensctl/doctor.h"

/* Fills *out (zeroed by the caller; free it with doctor_daemon_free). Without a daemon `running` is false and `code`
 * and `sentence` say why. -ENOMEM, or 0. */
int doctor_ask(const char *socket_path, struct doctor_daemon *out);

#endif
