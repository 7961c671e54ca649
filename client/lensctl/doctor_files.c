/* See doctor_files.h. Control groups are in doctor_cgroup.c. */
#include "client/lensctl/doctor_files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool whole_path(const char *root, const char *path, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%s%s", root, path);
    return n > 0 && n < PATH_MAX;
}

bool doctor_read(const char *root, const char *path, char *out, size_t size)
{
    char whole[PATH_MAX];
    FILE *file = whole_path(root, path, whole) ? fopen(whole, "re") : NULL;
    if (file == NULL)
        return false;
    size_t n = fread(out, 1, size - 1, file);
    bool failed = ferror(file) != 0; /* a directory, or a file of /sys that has nothing to say */
    fclose(file);
    while (n > 0 && out[n - 1] == '\n')
        n--;
    out[n] = '\0';
    return !failed;
}

bool doctor_read_number(const char *root, const char *path, uint64_t *out)
{
    char text[64], *end;
    if (!doctor_read(root, path, text, sizeof text))
        return false;
    *out = strtoull(text, &end, 10);
    return end != text && text[0] != '-';
}

static const char *skip_blanks(const char *text)
{
    while (*text == ' ' || *text == '\t')
        text++;
    return text;
}

bool doctor_line(const char *text, const char *key, char *out, size_t size)
{
    size_t length = strlen(key);
    for (const char *line = text; line != NULL && *line != '\0';) {
        const char *next = strchr(line, '\n');
        const char *value = skip_blanks(line + strnlen(line, length));
        if (strncmp(line, key, length) == 0 && (value > line + length || *value == ':')) {
            value = skip_blanks(value + (*value == ':'));
            size_t n = next != NULL ? (size_t)(next - value) : strlen(value);
            while (n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t'))
                n--;
            snprintf(out, size, "%.*s", (int)n, value);
            return true;
        }
        line = next != NULL ? next + 1 : NULL;
    }
    return false;
}

bool doctor_line_number(const char *text, const char *key, uint64_t *out)
{
    char value[64], *end;
    if (!doctor_line(text, key, value, sizeof value))
        return false;
    *out = strtoull(value, &end, 10);
    return end != value;
}

bool doctor_chosen(const char *text, char *out, size_t size)
{
    const char *open = strchr(text, '['), *close = open != NULL ? strchr(open, ']') : NULL;
    if (close == NULL)
        return false;
    snprintf(out, size, "%.*s", (int)(close - open - 1), open + 1);
    return true;
}

unsigned doctor_count_list(const char *list)
{
    unsigned count = 0;
    while (*list >= '0' && *list <= '9') {
        char *end;
        unsigned long first = strtoul(list, &end, 10), last = first;
        if (*end == '-')
            last = strtoul(end + 1, &end, 10);
        count += last >= first ? (unsigned)(last - first + 1) : 0;
        list = *end == ',' ? end + 1 : end;
    }
    return count;
}

bool doctor_has_word(const char *text, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word)) {
        bool begins = at == text || at[-1] == ' ' || at[-1] == '\t' || at[-1] == '\n';
        if (begins && (at[length] == '\0' || at[length] == ' ' || at[length] == '\n'))
            return true;
    }
    return false;
}

bool doctor_stat(const char *root, const char *path, struct stat *out)
{
    char whole[PATH_MAX];
    return whole_path(root, path, whole) && stat(whole, out) == 0;
}

bool doctor_exists(const char *root, const char *path)
{
    struct stat st;
    return doctor_stat(root, path, &st);
}

/* ---- another process's rights ------------------------------------------------------------------------------------ */

/* The second number, the effective id, of a line of ids. */
static bool effective(const char *text, const char *key, unsigned *out)
{
    char value[128];
    return doctor_line(text, key, value, sizeof value) && sscanf(value, "%*u %u", out) == 1;
}

bool doctor_who_is(const char *root, const char *process, struct doctor_who *out)
{
    char path[64], text[DOCTOR_TEXT], groups[1024];
    unsigned uid, gid;
    snprintf(path, sizeof path, "/proc/%s/status", process);
    if (!doctor_read(root, path, text, sizeof text) || !effective(text, "Uid", &uid) || !effective(text, "Gid", &gid))
        return false;
    *out = (struct doctor_who){.uid = uid, .gid = gid};
    if (!doctor_line(text, "Groups", groups, sizeof groups))
        return true;
    for (char *at = groups, *end; out->n_groups < DOCTOR_GROUPS; at = end) {
        unsigned long group = strtoul(at, &end, 10);
        if (end == at)
            break;
        out->groups[out->n_groups++] = (gid_t)group;
    }
    return true;
}

static bool in_group(const struct doctor_who *who, gid_t group)
{
    for (unsigned i = 0; i < who->n_groups; i++) {
        if (who->groups[i] == group)
            return true;
    }
    return who->gid == group;
}

bool doctor_may(const struct doctor_who *who, const struct stat *st, unsigned want)
{
    unsigned shift = who->uid == st->st_uid ? 6 : in_group(who, st->st_gid) ? 3 : 0;
    return who->uid == 0 || ((st->st_mode >> shift) & want) == want;
}

int doctor_reach(const char *root, const char *path, const struct doctor_who *who, unsigned want, char *blocked,
                 size_t size)
{
    struct stat st;
    size_t length = strlen(path);
    for (size_t n = 1; n <= length; n++) {
        if (path[n] != '/' && path[n] != '\0')
            continue;
        bool last = n == length;
        snprintf(blocked, size, "%.*s", (int)n, path);
        if (!doctor_stat(root, blocked, &st))
            return errno == EACCES ? -EACCES : -ENOENT;
        if (!doctor_may(who, &st, last ? want : 1))
            return -EACCES;
    }
    return 0;
}
