/* See pt_build.h. */
#include "tests/unit/support/pt_build.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <string.h>

/* ------------------------------------------------------------------------------------------------------ a tiny zip */

void pt_put(struct pt_bytes *to, const void *data, size_t length)
{
    assert_true(to->length + length <= sizeof to->data);
    if (length > 0)
        memcpy(to->data + to->length, data, length);
    to->length += length;
}

void pt_put_int(struct pt_bytes *to, uint64_t value, int size)
{
    unsigned char little[8];
    for (int i = 0; i < size; i++)
        little[i] = (unsigned char)(value >> (8 * i));
    pt_put(to, little, (size_t)size);
}

void pt_put_text(struct pt_bytes *to, const char *text)
{
    pt_put(to, text, strlen(text));
}

static uint32_t crc_of(const unsigned char *data, size_t length)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void put_header(struct pt_bytes *to, const struct pt_entry *e, bool central, uint32_t offset)
{
    const uint32_t size = e->claimed != 0 ? e->claimed : (uint32_t)e->length;
    pt_put_int(to, central ? 0x02014b50 : 0x04034b50, 4);
    if (central)
        pt_put_int(to, 20, 2);
    pt_put_int(to, 20, 2);
    pt_put_int(to, e->flags, 2);
    pt_put_int(to, e->method, 2);
    pt_put_int(to, 0x210000, 4);
    pt_put_int(to, crc_of(e->data, e->length) ^ (e->bad_crc ? 1 : 0), 4);
    pt_put_int(to, size, 4);
    pt_put_int(to, size, 4);
    pt_put_int(to, strlen(e->name), 2);
    pt_put_int(to, 0, 2);
    if (central) {
        pt_put_int(to, 0, 6); /* comment, disk, internal attributes */
        pt_put_int(to, 0, 4);
        pt_put_int(to, offset, 4);
    }
    pt_put_text(to, e->name);
}

void pt_zip_of(struct pt_bytes *to, const struct pt_entry *entries, size_t count)
{
    uint32_t offsets[16];
    to->length = 0;
    for (size_t i = 0; i < count; i++) {
        offsets[i] = entries[i].same_as != 0 ? offsets[entries[i].same_as - 1] : (uint32_t)to->length;
        if (entries[i].same_as != 0)
            continue;
        put_header(to, &entries[i], false, 0);
        pt_put(to, entries[i].data, entries[i].length);
    }
    const uint32_t directory = (uint32_t)to->length;
    for (size_t i = 0; i < count; i++)
        put_header(to, &entries[i], true, offsets[i]);
    const uint32_t directory_bytes = (uint32_t)to->length - directory;
    pt_put_int(to, 0x06054b50, 4);
    pt_put_int(to, 0, 4);
    pt_put_int(to, count, 2);
    pt_put_int(to, count, 2);
    pt_put_int(to, directory_bytes, 4);
    pt_put_int(to, directory, 4);
    pt_put_int(to, 0, 2);
}

/* -------------------------------------------------------------------------------------------------------- a pickle */

void pt_put_unicode(struct pt_bytes *to, const char *text)
{
    pt_put_text(to, "X");
    pt_put_int(to, strlen(text), 4);
    pt_put_text(to, text);
}

void pt_put_number(struct pt_bytes *to, int32_t value)
{
    pt_put_text(to, "J");
    pt_put_int(to, (uint32_t)value, 4);
}

void pt_put_numbers(struct pt_bytes *to, const int32_t *values, int count)
{
    pt_put_text(to, "(");
    for (int i = 0; i < count; i++)
        pt_put_number(to, values[i]);
    pt_put_text(to, "t");
}

/* ('storage', torch.{type}, key, 'cpu', elements) as a persistent id */
void pt_put_storage(struct pt_bytes *to, const char *type, const char *key, int32_t elements)
{
    pt_put_text(to, "(");
    pt_put_unicode(to, "storage");
    pt_put_text(to, "ctorch\n");
    pt_put_text(to, type);
    pt_put_text(to, "\n");
    pt_put_unicode(to, key);
    pt_put_unicode(to, "cpu");
    pt_put_number(to, elements);
    pt_put_text(to, "tQ");
}

void pt_put_tensor(struct pt_bytes *to, const char *type, int32_t elements, int32_t offset, int dims,
                   const int32_t *shape, const int32_t *stride)
{
    pt_put_text(to, "ctorch._utils\n_rebuild_tensor_v2\n(");
    pt_put_storage(to, type, "0", elements);
    pt_put_number(to, offset);
    pt_put_numbers(to, shape, dims);
    pt_put_numbers(to, stride, dims);
    pt_put_text(to, "\x89"
                    "ccollections\nOrderedDict\n)RtR");
}
