/* --fault-script: faults for the backend that the daemon starts with, and for the one that takes its place.
 *
 * The lines up to "[takeover]" are for the first (lens_fault_open says what they may be), those behind it for the CPU
 * backend that goes on when the first one's device is lost. Threads: the loop's. */
#ifndef LENSD_FAULT_SCRIPT_H
#define LENSD_FAULT_SCRIPT_H

#include "kernels/backend.h"

/* Wraps *backend by the script's part; it stays as it is when the script has no such part, or on error. */
int lensd_fault_script_wrap(const char *path, bool takeover, struct lens_backend **backend, struct lens_error *err);

#endif
