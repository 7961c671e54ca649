/* Patterns of names, with fnmatch's meaning (flags 0) over bytes: * ? [..] [!..] [a-z] [[:class:]] and \ before what
 * stands for itself. A [ that isn't closed stands for itself; a \ at the end matches nothing.
 *
 * Not fnmatch itself, because clients write the patterns: glibc reads a bracket again for every place of the text it is
 * tried at, so that 255 bytes of "[[[[.." cost a hundred microseconds a name. Here a pattern is read once, and trying
 * it takes at most length * length steps of the name, whatever the pattern. Pure. */
#ifndef LENSD_GLOB_H
#define LENSD_GLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LENSD_GLOB_MAX  511u                       /* bytes of a pattern */
#define LENSD_GLOB_SETS ((LENSD_GLOB_MAX + 2) / 3) /* "[a]" is the shortest */

struct lensd_glob {
    uint16_t n, sets;
    bool never;                     /* matches nothing */
    uint16_t steps[LENSD_GLOB_MAX]; /* a byte, the number of a set, any byte, any bytes */
    uint64_t members[LENSD_GLOB_SETS][4];
};

/* `pattern` has at most LENSD_GLOB_MAX bytes. */
void lensd_glob_read(struct lensd_glob *glob, const char *pattern, size_t length);
/* Whether the whole text matches. */
bool lensd_glob_matches(const struct lensd_glob *glob, const char *text, size_t length);

#endif
