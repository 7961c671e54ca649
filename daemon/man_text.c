/* See man_text.h. */
#include "daemon/man_text.h"

#include <stdio.h>
#include <string.h>

void lensd_man_escape(const char *text, char *out, size_t size)
{
    size_t used = 0;
    if ((text[0] == '.' || text[0] == '\'') && size > 3)
        used = (size_t)snprintf(out, size, "\\&");
    for (; *text != '\0' && used + 3 < size; text++) {
        if (*text == '\\')
            used += (size_t)snprintf(out + used, size - used, "\\e");
        else if (text[0] == '-' && (text[1] == '-' || (used > 0 && out[used - 1] == '-')))
            used += (size_t)snprintf(out + used, size - used, "\\-");
        else
            out[used++] = *text;
    }
    out[used] = '\0';
}

void lensd_man_sentences(const char *text, void (*print)(void *arg, const char *line), void *arg)
{
    char line[1024], escaped[2048];
    while (*text != '\0') {
        const char *end = strstr(text, ". ");
        size_t length = end != NULL ? (size_t)(end - text) + 1 : strlen(text);
        snprintf(line, sizeof line, "%.*s", (int)length, text);
        lensd_man_escape(line, escaped, sizeof escaped);
        print(arg, escaped);
        print(arg, "\n");
        text += length;
        text += *text == ' ';
    }
}
