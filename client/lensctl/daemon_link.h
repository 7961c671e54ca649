/* lensctl's side of the control connection: one request, one answer, failures said to the user. */
#ifndef LENSCTL_DAEMON_LINK_H
#define LENSCTL_DAEMON_LINK_H

#include "client/lensctl/command.h"
#include "client/liblens/control.h"

/* Connects. CTL_OK, CTL_NO_DAEMON or CTL_FAILED, said on stderr. Close with lens_client_close. */
int ctl_connect(const struct ctl *ctl, struct lens_client **out);

/* Sends `msg` and leaves the answer there, which must be of type `expected`. An enum ctl_exit, failures said. Texts of
 * the answer are views that live until the next call on this client. */
int ctl_call(struct lens_client *client, struct lens_msg *msg, enum lens_msg_type expected);

/* The same; *fd takes the descriptor that came with the answer, the caller's to close, or -1. */
int ctl_call_fd(struct lens_client *client, struct lens_msg *msg, enum lens_msg_type expected, int *fd);

/* Says what went wrong in a call of liblens that returned `code`; CTL_NO_DAEMON when there is no daemon any more. */
int ctl_link_failed(int code, const char *sentence);

/* Makes a request of type `type` in *msg, everything else zero. */
void ctl_request(struct lens_msg *msg, enum lens_msg_type type);

/* The row of pack `name` (NULL or "" = the first) in *msg's page, or NULL with *exit set. */
const struct lens_pack_row *ctl_find_pack(struct lens_client *client, const char *name, struct lens_msg *msg,
                                          int *exit_code);

/* Hands every setting of the daemon to `take`, whose row is valid until it returns. An enum ctl_exit, failures said. */
int ctl_each_setting(struct lens_client *client, void (*take)(void *arg, const struct lens_setting_row *row),
                     void *arg);

#endif
