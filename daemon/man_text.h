/* Tables of the program as mdoc(7), for the man pages (`lensd --print-man`). */
#ifndef LENSD_MAN_TEXT_H
#define LENSD_MAN_TEXT_H

#include <stddef.h>

/* Text as mdoc wants it: no control line by accident, no backslash that escapes, no dash that breaks. Cut at size - 1.
 */
void lensd_man_escape(const char *text, char *out, size_t size);

/* Its sentences, escaped, each on a line of its own. */
void lensd_man_sentences(const char *text, void (*print)(void *arg, const char *line), void *arg);

#endif
