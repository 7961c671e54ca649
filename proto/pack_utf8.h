/* Checks text that ends up on people's terminals and in logs. Pure. */
#ifndef LENS_PACK_UTF8_H
#define LENS_PACK_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Well-formed UTF-8 (no overlong forms, surrogates or code points past U+10FFFF) without control characters. */
bool pack_utf8_is_name(const char *text, size_t length);

/* Makes it so: every byte of what isn't becomes '?'. */
void pack_utf8_make_name(char *text, size_t length);

#endif
