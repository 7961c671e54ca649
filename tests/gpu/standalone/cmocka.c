/* See cmocka.h beside this file. */
#include <cmocka.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void standalone_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("%s:%d: ", file, line);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
    _Exit(1);
}

void standalone_expect_equal(const char *file, int line, const char *what, long long a, long long b)
{
    if (a != b)
        standalone_fail(file, line, "%s: %lld, expected %lld", what, a, b);
}

void standalone_expect_same_bytes(const char *file, int line, const char *what, const void *a, const void *b, size_t n)
{
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < n; i++)
        if (x[i] != y[i])
            standalone_fail(file, line, "%s: byte %zu of %zu is %02x, expected %02x", what, i, n, x[i], y[i]);
}
