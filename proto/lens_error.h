/* What went wrong, as a sentence for a person: what was expected, what was found, what to do.
 *
 * Inside lensd functions return 0 or a negative errno. Functions at an edge (files, sockets, users) also take a
 * `struct lens_error *`, which may be NULL, and fill it exactly when they return a negative errno.
 * Threads: a lens_error belongs to its caller; nothing here is shared. */
#ifndef LENS_ERROR_H
#define LENS_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

struct lens_error {
    int code;       /* negative errno, or 0 when nothing was set */
    char text[512]; /* UTF-8 sentence without a trailing newline; cut at the end if longer */
};

/* Fills `err` (if not NULL) and returns `code`, so that callers can write `return lens_error_set(...)`. */
int lens_error_set(struct lens_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "context: " before what is there: callers add what they were doing. Returns err->code (or -EIO on NULL). */
int lens_error_prefix(struct lens_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif
#endif
