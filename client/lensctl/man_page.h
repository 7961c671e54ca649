/* The part of lensctl(1) that comes from the command table. */
#ifndef LENSCTL_MAN_PAGE_H
#define LENSCTL_MAN_PAGE_H

#include "client/lensctl/command.h"

/* The hidden command `lensctl __man commands|flags`: all commands with their flags, or the flags that every command
 * takes, as mdoc for lensctl.1.in. An enum ctl_exit. */
int ctl_man(FILE *file, const char *part);

#endif
