/* The configuration file's syntax: INI (inih), every line accounted for. */
#ifndef LENSD_SETTINGS_FILE_H
#define LENSD_SETTINGS_FILE_H

#include "daemon/settings.h"

/* As lensd_settings_read_file, from memory; `path` is only for sentences. */
int lensd_settings_read_text(struct lensd_settings *settings, const char *path, const char *text, size_t length,
                             struct lens_error *err);

#endif
