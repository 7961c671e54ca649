/* Puts .pt files together byte by byte, so that a test can tell each lie on its own: a zip of stored entries and the
 * pickle of a state dict. Test support: aborts the test on overflow. */
#ifndef LENS_TEST_PT_BUILD_H
#define LENS_TEST_PT_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pt_bytes {
    unsigned char data[1 << 16];
    size_t length;
};

struct pt_entry {
    const char *name;
    const void *data;
    size_t length;
    uint32_t claimed; /* size in the directory when not 0 */
    uint32_t same_as; /* 1 + index of an entry whose bytes this one shares */
    uint32_t flags, method;
    bool bad_crc;
};

void pt_put(struct pt_bytes *to, const void *data, size_t length);
void pt_put_int(struct pt_bytes *to, uint64_t value, int size);
void pt_put_text(struct pt_bytes *to, const char *text);
void pt_zip_of(struct pt_bytes *to, const struct pt_entry *entries, size_t count);
void pt_put_unicode(struct pt_bytes *to, const char *text);
void pt_put_number(struct pt_bytes *to, int32_t value);
void pt_put_numbers(struct pt_bytes *to, const int32_t *values, int count);
void pt_put_storage(struct pt_bytes *to, const char *type, const char *key, int32_t elements);
void pt_put_tensor(struct pt_bytes *to, const char *type, int32_t elements, int32_t offset, int dims,
                   const int32_t *shape, const int32_t *stride);

#endif
