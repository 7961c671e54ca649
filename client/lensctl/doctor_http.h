/* Asks the daemon's HTTP listener one thing, for lensctl doctor. */
#ifndef LENSCTL_DOCTOR_HTTP_H
#define LENSCTL_DOCTOR_HTTP_H

#include <stddef.h>

/* GET `path` from "ADDRESS:PORT", "[V6]:PORT", or a Unix socket "/path" or "unix:/path". The status of the answer, or 0
 * when there was none within a second or two; other machines' addresses aren't asked. why[size] takes the first line of
 * the body, or the reason. */
int doctor_http_get(const char *where, const char *path, char *why, size_t size);

#endif
