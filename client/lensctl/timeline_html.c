/* A timeline as a page of HTML: timeline.html with the JSON in its place; see timeline.h.
 *
 * Tokens and names may hold anything, "</script>" included: the JSON is written in ASCII, with <, > and & escaped, so
 * that nothing in it can end the element it stands in; the page puts texts into the document as text only. */
#include "client/lensctl/timeline.h"
#include "client/lensctl/timeline_page.h"
#include "proto/pack_replace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARK   "@TIMELINE@" /* where the data goes */
#define DIGITS 4            /* of a number: more than a colour or a reader needs */

/* Such characters stand inside strings only, so an escape is the same JSON. */
static char *escape_markup(const char *json, size_t *length)
{
    size_t n = strlen(json), extra = 0;
    for (size_t i = 0; i < n; i++)
        extra += strchr("<>&", json[i]) != NULL ? 5 : 0;
    char *out = malloc(n + extra + 1), *to = out;
    for (size_t i = 0; out != NULL && i < n; i++) {
        if (strchr("<>&", json[i]) != NULL)
            to += sprintf(to, "\\u%04x", (unsigned)(unsigned char)json[i]);
        else
            *to++ = json[i];
    }
    if (out != NULL)
        *to = '\0';
    *length = n + extra;
    return out;
}

static int write_all(int fd, const char *data, size_t length, struct lens_error *err)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return lens_error_set(err, n < 0 ? -errno : -EIO, "can't write the page: %s",
                                  strerror(n < 0 ? errno : EIO));
        data += n;
        length -= (size_t)n;
    }
    return 0;
}

static int write_page(const char *path, const char *data, size_t length, uint64_t *bytes, struct lens_error *err)
{
    struct pack_replacement file;
    const char *mark = strstr(ctl_timeline_page, MARK);
    if (mark == NULL)
        return lens_error_set(err, -EINVAL, "the page has no place for the data: this lensctl was built wrongly");
    size_t before = (size_t)(mark - ctl_timeline_page), after = (size_t)(ctl_timeline_page_end - mark) - strlen(MARK);
    *bytes = before + length + after;
    int r = pack_replacement_begin(&file, path, *bytes, err);
    if (r != 0)
        return r;
    r = write_all(file.fd, ctl_timeline_page, before, err);
    if (r == 0)
        r = write_all(file.fd, data, length, err);
    if (r == 0)
        r = write_all(file.fd, mark + strlen(MARK), after, err);
    if (r == 0)
        return pack_replacement_commit(&file, err);
    pack_replacement_drop(&file);
    return r;
}

int timeline_write_html(json_t *json, const char *path, uint64_t *bytes, struct lens_error *err)
{
    size_t length = 0;
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(DIGITS));
    char *safe = text == NULL ? NULL : escape_markup(text, &length);
    json_decref(json);
    free(text);
    int r = safe == NULL ? lens_error_set(err, -ENOMEM, "no memory for the page's data")
                         : write_page(path, safe, length, bytes, err);
    free(safe);
    return r;
}
