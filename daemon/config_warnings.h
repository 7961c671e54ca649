/* What a configuration allows and probably doesn't mean, or what this machine can't give it: found by looking around,
 * told by --check-config, at a start and at a reload. None of it is an error: a directory may come later. */
#ifndef LENSD_CONFIG_WARNINGS_H
#define LENSD_CONFIG_WARNINGS_H

#include "daemon/arguments.h"

/* Tells each in a sentence that names the setting. Opens no pipes and waits for nothing, but reads heads of packs when
 * `packs` (a daemon that starts opens them itself). */
void lensd_config_warnings(const struct lensd_arguments *arguments, const struct lensd_settings *settings, bool packs,
                           void (*tell)(void *arg, const char *sentence), void *arg);

#endif
