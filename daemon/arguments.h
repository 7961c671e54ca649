/* The command line of lensd, and the settings it comes to together with environment and file. */
#ifndef LENSD_ARGUMENTS_H
#define LENSD_ARGUMENTS_H

#include "daemon/settings.h"

enum lensd_backend_choice { LENSD_BACKEND_AUTO, LENSD_BACKEND_CPU, LENSD_BACKEND_CUDA };

/* All strings are argv's. */
struct lensd_arguments {
    const char *config, *fault_script;
    const char *packs[LENSD_PACKS_MAX];
    uint32_t n_packs;
    enum lensd_backend_choice backend;
    bool check_config, version, help;
    const char *print_man; /* for the build: which table of the man pages to print, or NULL */
    struct {
        uint32_t row;
        const char *text;
    } flags[LENSD_SETTINGS_MAX * 2];
    uint32_t n_flags;
};

/* -EINVAL with a sentence for a command line that can't be meant. Values of settings are checked here, too. */
int lensd_arguments_parse(struct lensd_arguments *out, int argc, char *const argv[], struct lens_error *err);

/* Flags over `environment` over the file over defaults, checked. On error nothing is left. */
int lensd_arguments_settings(const struct lensd_arguments *arguments, char *const *environment,
                             struct lensd_settings *out, struct lens_error *err);

#endif
