/* The command table as JSON. */
#ifndef LENSCTL_HELP_JSON_H
#define LENSCTL_HELP_JSON_H

#include "client/lensctl/command.h"

/* Owned by the caller; members are NULL-safe as jansson's are when memory runs out. */
json_t *ctl_command_json(const struct ctl_command *command);
json_t *ctl_global_flags_json(void);

#endif
