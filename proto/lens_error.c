/* See lens_error.h. */
#include "proto/lens_error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int lens_error_set(struct lens_error *err, int code, const char *format, ...)
{
    if (err == NULL)
        return code;
    va_list args;
    va_start(args, format);
    err->code = code;
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return code;
}

int lens_error_prefix(struct lens_error *err, const char *format, ...)
{
    if (err == NULL)
        return -EIO;
    char inner[sizeof err->text];
    memcpy(inner, err->text, sizeof inner);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    size_t used = n < 0 ? 0 : (size_t)n;
    if (used + 3 > sizeof err->text)
        return err->code;
    memcpy(err->text + used, ": ", 2);
    used += 2;
    size_t room = sizeof err->text - used - 1, length = strlen(inner);
    length = length < room ? length : room;
    memcpy(err->text + used, inner, length);
    err->text[used + length] = '\0';
    return err->code;
}
