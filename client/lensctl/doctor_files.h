/* Small files of /proc, /sys and /etc below a root directory, for lensctl doctor.
 *
 * All functions take the root ("" = the machine's own) and the file's absolute path, and say false when there is
 * nothing to read: kernels differ in what they have, and containers in what they show. Threads: pure functions. */
#ifndef LENSCTL_DOCTOR_FILES_H
#define LENSCTL_DOCTOR_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#define DOCTOR_TEXT 8192 /* enough for the status files of /proc; what is longer is cut */

/* The file's text without the newline at its end; empty files count as read. */
bool doctor_read(const char *root, const char *path, char *out, size_t size);
bool doctor_read_number(const char *root, const char *path, uint64_t *out);

/* The value after "Key:" (or "Key ") at the beginning of a line of `text`, without blanks around it. */
bool doctor_line(const char *text, const char *key, char *out, size_t size);
/* The same as a number, whatever unit follows. */
bool doctor_line_number(const char *text, const char *key, uint64_t *out);

/* The word in brackets: "always [madvise] never". */
bool doctor_chosen(const char *text, char *out, size_t size);

/* How many numbers a list like "0-3,8" has. */
unsigned doctor_count_list(const char *list);

/* Whether words between blanks of `text` are `word`. */
bool doctor_has_word(const char *text, const char *word);

bool doctor_exists(const char *root, const char *path);
bool doctor_stat(const char *root, const char *path, struct stat *out);

/* ---- another process's rights ------------------------------------------------------------------------------------ */

#define DOCTOR_GROUPS 64

struct doctor_who {
    uid_t uid;
    gid_t gid;
    gid_t groups[DOCTOR_GROUPS];
    unsigned n_groups;
};

/* The effective ids of a process, "self" or a number. */
bool doctor_who_is(const char *root, const char *process, struct doctor_who *out);

/* Whether mode bits let `who` do `want` (4 read, 2 write, 1 enter; added up). Root may. Access lists aren't looked at.
 */
bool doctor_may(const struct doctor_who *who, const struct stat *st, unsigned want);

/* Whether `who` can come to `path` and do `want` there. 0, -ENOENT or -EACCES, with the part of the path that is
 * missing or closed in blocked[size]. */
int doctor_reach(const char *root, const char *path, const struct doctor_who *who, unsigned want, char *blocked,
                 size_t size);

/* ---- control groups -----------------------------------------------------------------------------------------------
 */

/* The least memory limit in bytes on the way from the process's group up, and what that group uses. False = none. */
bool doctor_cgroup_memory(const char *root, const char *process, uint64_t *limit, uint64_t *used);

/* The least quota of processor time, in processors. False = none. */
bool doctor_cgroup_cpus(const char *root, const char *process, double *cpus, uint64_t *throttled);

#endif
