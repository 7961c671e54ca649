/* Reading W1 of an open pack, verifying checksums, and finding lenses by key (see pack.h). All of it works on a const
 * pack from any thread. */
#include "proto/pack_io.h"
#include "proto/pack_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

int lens_pack_read_w1(const struct lens_pack *pack, uint32_t first, uint32_t count, void *w1, void *sign,
                      struct lens_error *err)
{
    if (first > pack->lenses || count > pack->lenses - first)
        return lens_error_set(err, -ERANGE, "lenses %u to %llu of a pack with %u", first,
                              (unsigned long long)first + count, pack->lenses);
    int rc = pack_pread(pack->fd, w1, count * pack->w1_lens_bytes, pack->w1_offset + first * pack->w1_lens_bytes, err);
    if (rc == 0 && pack->w1_dtype == LENS_LOG8)
        rc = pack_pread(pack->fd, sign, count * pack->w1_sign_bytes, pack->w1_sign_offset + first * pack->w1_sign_bytes,
                        err);
    if (rc != 0)
        lens_error_prefix(err, "pack %s", pack->path);
    return rc;
}

static int read_cached(int fd, void *out, size_t bytes, uint64_t offset)
{
    struct iovec part = {out, bytes};
    ssize_t n = preadv2(fd, &part, 1, (off_t)offset, RWF_NOWAIT);
    return n == (ssize_t)bytes ? 0 : -EAGAIN;
}

int lens_pack_read_w1_cached(const struct lens_pack *pack, uint32_t first, uint32_t count, void *w1, void *sign)
{
    if (first > pack->lenses || count > pack->lenses - first)
        return -ERANGE;
    int r = read_cached(pack->fd, w1, count * pack->w1_lens_bytes, pack->w1_offset + first * pack->w1_lens_bytes);
    if (r == 0 && pack->w1_dtype == LENS_LOG8)
        r = read_cached(pack->fd, sign, count * pack->w1_sign_bytes,
                        pack->w1_sign_offset + first * pack->w1_sign_bytes);
    return r;
}

bool lens_pack_lens_intact(const struct lens_pack *pack, uint32_t lens, const void *w1, const void *sign)
{
    size_t w2_bytes = (size_t)pack->h2 * pack->h1 * lens_dtype_bytes(pack->w2_dtype);
    const char *w2 = (const char *)pack->w2 + lens * w2_bytes;
    return pack_lens_checksum(pack, lens, w1, sign, w2) == (uint64_t)pack->checksum[lens];
}

/* Codes are finite by construction; so are f32 and bf16 from our writer, but not from everybody's. */
static bool weights_are_finite(const struct lens_pack *pack, const void *w1)
{
    size_t n = (size_t)pack->h1 * pack->dim;
    bool finite = true;
    if (pack->w1_dtype == LENS_F32) {
        const uint32_t *bits = w1;
        for (size_t i = 0; i < n; i++)
            finite &= (bits[i] & 0x7f800000u) != 0x7f800000u;
    } else if (pack->w1_dtype == LENS_BF16) {
        const uint16_t *bits = w1;
        for (size_t i = 0; i < n; i++)
            finite &= (bits[i] & 0x7f80u) != 0x7f80u;
    }
    return finite;
}

int pack_verify_lens(const struct lens_pack *pack, uint32_t lens, const void *w1, const void *sign, const void *w2,
                     struct lens_error *err)
{
    char key[PACK_MAX_NAME + 5];
    if (pack_lens_checksum(pack, lens, w1, sign, w2) == (uint64_t)pack->checksum[lens])
        return 0;
    lens_pack_key(pack, lens, key, sizeof key);
    return lens_error_set(err, -EBADMSG,
                          "pack %s: the weights of lens %u (%s) don't match their checksum; the file was damaged after "
                          "it was written: import it again",
                          pack->path, lens, key);
}

static int verify_lens(const struct lens_pack *pack, uint32_t lens, char *buffer, struct lens_error *err)
{
    char key[PACK_MAX_NAME + 5];
    char *sign = buffer + pack->w1_lens_bytes;
    int rc = lens_pack_read_w1(pack, lens, 1, buffer, sign, err);
    if (rc != 0)
        return rc;
    if (!weights_are_finite(pack, buffer)) {
        lens_pack_key(pack, lens, key, sizeof key);
        return lens_error_set(err, -EBADMSG,
                              "pack %s: the weights of lens %u (%s) hold NaN or infinity, which would spoil every row "
                              "it scores: make the pack anew from sound weights",
                              pack->path, lens, key);
    }
    size_t w2_bytes = (size_t)pack->h2 * pack->h1 * lens_dtype_bytes(pack->w2_dtype);
    return pack_verify_lens(pack, lens, buffer, sign, (const char *)pack->w2 + lens * w2_bytes, err);
}

int pack_verify_tables(const struct lens_pack *pack, struct lens_error *err)
{
    const struct pack_private *private = pack->private_state;
    uint64_t found =
        pack_tables_checksum(pack, &private->layout, private->header.metadata, private->header.metadata_count);
    if (found == (uint64_t)pack->checksum[pack->lenses])
        return 0;
    return lens_error_set(err, -EBADMSG,
                          "pack %s: the tables or the metadata don't match their checksum; the file was changed "
                          "after it was written: import it again",
                          pack->path);
}

int lens_pack_verify(const struct lens_pack *pack, lens_progress_fn progress, void *arg, struct lens_error *err)
{
    int rc = pack_verify_tables(pack, err);
    if (rc != 0)
        return rc;
    char *buffer = malloc(pack->w1_lens_bytes + pack->w1_sign_bytes);
    if (buffer == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for one lens");
    for (uint32_t i = 0; rc == 0 && i < pack->lenses; i++) {
        rc = verify_lens(pack, i, buffer, err);
        if (rc == 0 && progress != NULL)
            progress(arg, "lenses", i + 1, pack->lenses);
    }
    free(buffer);
    return rc;
}

/* ---------------------------------------------------------------------------------------------------------- names */

const char *lens_pack_name(const struct lens_pack *pack, uint32_t lens, uint32_t *length)
{
    *length = (uint32_t)(pack->name_offsets[lens + 1] - pack->name_offsets[lens]);
    return pack->names + pack->name_offsets[lens];
}

int lens_pack_key(const struct lens_pack *pack, uint32_t lens, char *out, size_t size)
{
    uint32_t length;
    const char *name = lens_pack_name(pack, lens, &length);
    return snprintf(out, size, "%.*s:%u", (int)length, name, pack->layer[lens]);
}

/* -1, 0, 1 as the name of `lens` is below, equal to or above `name`. */
static int compare_name(const struct lens_pack *pack, uint32_t lens, const char *name, size_t length)
{
    uint32_t own_length;
    const char *own = lens_pack_name(pack, lens, &own_length);
    int order = memcmp(own, name, own_length < length ? own_length : length);
    return order != 0 ? order : (own_length > length) - (own_length < length);
}

/* First place in the index whose (name, layer) is not below the one looked for. */
static uint32_t lower_bound(const struct lens_pack *pack, const char *name, size_t length, int layer)
{
    const struct pack_private *private = pack->private_state;
    uint32_t low = 0;
    uint32_t high = pack->lenses;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        uint32_t lens = private->by_key[middle];
        int order = compare_name(pack, lens, name, length);
        if (order < 0 || (order == 0 && pack->layer[lens] < layer))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The layer that `key` ends with, and the length of the name before it; -1 when it ends with none. */
static int split_key(const char *key, size_t *length)
{
    const char *colon = strrchr(key, ':');
    int layer = 0;
    if (colon == NULL || colon[1] == '\0')
        return -1;
    for (const char *at = colon + 1; *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || layer > UINT8_MAX)
            return -1;
        layer = layer * 10 + (*at - '0');
    }
    *length = (size_t)(colon - key);
    return layer <= UINT8_MAX ? layer : -1;
}

int lens_pack_find(const struct lens_pack *pack, const char *key, uint32_t *lens)
{
    const struct pack_private *private = pack->private_state;
    size_t length = 0;
    int layer = split_key(key, &length);
    if (layer >= 0) {
        uint32_t at = lower_bound(pack, key, length, layer);
        if (at < pack->lenses && compare_name(pack, private->by_key[at], key, length) == 0 &&
            pack->layer[private->by_key[at]] == layer) {
            *lens = private->by_key[at];
            return 0;
        }
    }
    length = strlen(key);
    uint32_t at = lower_bound(pack, key, length, 0);
    if (at == pack->lenses || compare_name(pack, private->by_key[at], key, length) != 0)
        return -ENOENT;
    if (at + 1 < pack->lenses && compare_name(pack, private->by_key[at + 1], key, length) == 0)
        return -ENOTUNIQ;
    *lens = private->by_key[at];
    return 0;
}
