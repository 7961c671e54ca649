/* .pt files as torch 1.13 writes them; see pt_write.h. */
#include "tests/bench/support/pt_write.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ENTRIES (BENCH_PT_MAX_TENSORS + 2)

/* ---- bytes ------------------------------------------------------------------------------------------------------ */

struct bytes {
    unsigned char *data;
    size_t n, capacity;
    bool failed;
};

static void put(struct bytes *out, const void *data, size_t n)
{
    if (out->n + n > out->capacity) {
        size_t capacity = 2 * (out->n + n) + 256;
        unsigned char *grown = realloc(out->data, capacity);
        if (!grown) {
            out->failed = true;
            return;
        }
        out->data = grown;
        out->capacity = capacity;
    }
    memcpy(out->data + out->n, data, n);
    out->n += n;
}

static void put_le(struct bytes *out, uint64_t value, uint32_t n)
{
    unsigned char little[8];
    for (uint32_t i = 0; i < n; i++)
        little[i] = (unsigned char)(value >> (8 * i));
    put(out, little, n);
}

static void put_text(struct bytes *out, const char *text)
{
    put(out, text, strlen(text));
}

/* ---- pickle ----------------------------------------------------------------------------------------------------- */

static void pickle_unicode(struct bytes *out, const char *text)
{
    put_text(out, "X");
    put_le(out, strlen(text), 4);
    put_text(out, text);
}

static void pickle_int(struct bytes *out, uint64_t value)
{
    put_text(out, value < 256 ? "K" : value < 65536 ? "M" : "J");
    put_le(out, value, value < 256 ? 1 : value < 65536 ? 2 : 4);
}

static void pickle_ordered_dict(struct bytes *out)
{
    put_text(out, "ccollections\nOrderedDict\n)R");
}

static const char *storage_name(enum lens_dtype dtype)
{
    return dtype == LENS_F32 ? "FloatStorage" : dtype == LENS_F16 ? "HalfStorage" : "BFloat16Storage";
}

static uint64_t tensor_elements(const struct bench_pt_tensor *tensor)
{
    return tensor->dims == 2 ? (uint64_t)tensor->shape[0] * tensor->shape[1] : tensor->shape[0];
}

static void pickle_tensor(struct bytes *out, const struct bench_pt_tensor *tensor, uint32_t index,
                          enum lens_dtype dtype)
{
    char key[16];
    snprintf(key, sizeof key, "%u", index);
    pickle_unicode(out, tensor->name);
    put_text(out, "ctorch._utils\n_rebuild_tensor_v2\n((");
    pickle_unicode(out, "storage");
    put_text(out, "ctorch\n");
    put_text(out, storage_name(dtype));
    put_text(out, "\n");
    pickle_unicode(out, key);
    pickle_unicode(out, "cpu");
    pickle_int(out, tensor_elements(tensor));
    put_text(out, "tQ");
    pickle_int(out, 0);
    for (uint32_t d = 0; d < tensor->dims; d++)
        pickle_int(out, tensor->shape[d]);
    put_text(out, tensor->dims == 2 ? "\x86" : "\x85");
    if (tensor->dims == 2)
        pickle_int(out, tensor->shape[1]);
    pickle_int(out, 1);
    put_text(out, tensor->dims == 2 ? "\x86" : "\x85");
    put_text(out, "\x89");
    pickle_ordered_dict(out);
    put_text(out, "tR");
}

static void pickle_state(struct bytes *out, const struct bench_pt_tensor *tensors, uint32_t n, enum lens_dtype dtype)
{
    put_text(out, "\x80\x02");
    pickle_ordered_dict(out);
    put_text(out, "q");
    put_le(out, 0, 1);
    put_text(out, "(");
    for (uint32_t i = 0; i < n; i++)
        pickle_tensor(out, &tensors[i], i, dtype);
    put_text(out, "u.");
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

uint16_t bench_f16_from_f32(float value)
{
    uint32_t bits = lens_f32_bits(value), sign = (bits >> 16) & 0x8000u;
    float magnitude = fabsf(value);
    if (isnan(value))
        return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 65520.0f)
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x1p-14f) /* subnormal: a multiple of 2^-24 */
        return (uint16_t)(sign | (uint32_t)lrintf(magnitude * 0x1p24f));
    uint32_t rounded = (bits & 0x7fffffffu) + 0xfffu + ((bits >> 13) & 1u);
    return (uint16_t)(sign | ((rounded - (112u << 23)) >> 13));
}

static void put_values(struct bytes *out, const float *values, uint64_t n, enum lens_dtype dtype)
{
    if (dtype == LENS_F32) {
        put(out, values, n * sizeof *values);
        return;
    }
    uint16_t block[512];
    for (uint64_t i = 0; i < n;) {
        uint32_t m = n - i < 512 ? (uint32_t)(n - i) : 512;
        for (uint32_t k = 0; k < m; k++)
            block[k] = dtype == LENS_BF16 ? lens_bf16_from_f32(values[i + k]) : bench_f16_from_f32(values[i + k]);
        put(out, block, m * sizeof *block);
        i += m;
    }
}

/* ---- zip -------------------------------------------------------------------------------------------------------- */

/* CRC-32 by eight bytes at a time; the tables are made for each file: 2048 entries, far less work than its data. */
static void crc_tables(uint32_t table[8][256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++) {
        for (int t = 1; t < 8; t++)
            table[t][i] = table[0][table[t - 1][i] & 255] ^ (table[t - 1][i] >> 8);
    }
}

static uint32_t crc32_of(uint32_t table[8][256], const unsigned char *p, size_t n)
{
    uint32_t crc = 0xffffffffu;
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + 4, 4);
        low ^= crc;
        crc = table[7][low & 255] ^ table[6][(low >> 8) & 255] ^ table[5][(low >> 16) & 255] ^ table[4][low >> 24] ^
              table[3][high & 255] ^ table[2][(high >> 8) & 255] ^ table[1][(high >> 16) & 255] ^ table[0][high >> 24];
    }
    for (; n > 0; n--, p++)
        crc = table[0][(crc ^ *p) & 255] ^ (crc >> 8);
    return ~crc;
}

struct entry {
    char name[256];
    uint64_t offset, size;
    uint32_t crc;
};

struct zip {
    struct bytes out;
    struct entry entries[MAX_ENTRIES];
    uint32_t n;
    const char *archive;
    uint32_t crc_table[8][256];
};

/* Flags 0x808: UTF-8 name, sizes in a descriptor behind the data. An "FB" extra field moves the data to 64 bytes. */
static void begin_entry(struct zip *zip, const char *name)
{
    struct entry *entry = &zip->entries[zip->n];
    snprintf(entry->name, sizeof entry->name, "%s/%s", zip->archive, name);
    entry->offset = zip->out.n;
    size_t name_length = strlen(entry->name), head = zip->out.n + 30 + name_length + 4;
    uint32_t padding = (uint32_t)((64 - head % 64) % 64);
    put_le(&zip->out, 0x04034b50u, 4);
    put_le(&zip->out, 0, 2);
    put_le(&zip->out, 0x808, 2);
    put_le(&zip->out, 0, 2 + 2 + 2); /* stored; no time */
    put_le(&zip->out, 0, 4);
    put_le(&zip->out, 0, 8);
    put_le(&zip->out, name_length, 2);
    put_le(&zip->out, padding + 4, 2);
    put_text(&zip->out, entry->name);
    put_text(&zip->out, "FB");
    put_le(&zip->out, padding, 2);
    for (uint32_t i = 0; i < padding; i++)
        put_text(&zip->out, "Z");
}

static void end_entry(struct zip *zip, size_t start)
{
    struct entry *entry = &zip->entries[zip->n++];
    entry->size = zip->out.n - start;
    entry->crc = zip->out.failed ? 0 : crc32_of(zip->crc_table, zip->out.data + start, entry->size);
    put_le(&zip->out, 0x08074b50u, 4);
    put_le(&zip->out, entry->crc, 4);
    put_le(&zip->out, entry->size, 4);
    put_le(&zip->out, entry->size, 4);
}

static void put_central(struct bytes *out, const struct entry *entry)
{
    put_le(out, 0x02014b50u, 4);
    put_le(out, 0, 4);
    put_le(out, 0x808, 2);
    put_le(out, 0, 2 + 2 + 2);
    put_le(out, entry->crc, 4);
    put_le(out, entry->size, 4);
    put_le(out, entry->size, 4);
    put_le(out, strlen(entry->name), 2);
    put_le(out, 0, 8); /* extra, comment, disk, internal attributes */
    put_le(out, 0, 4);
    put_le(out, entry->offset, 4);
    put_text(out, entry->name);
}

static void put_end(struct zip *zip)
{
    uint64_t directory = zip->out.n;
    for (uint32_t i = 0; i < zip->n; i++)
        put_central(&zip->out, &zip->entries[i]);
    uint64_t size = zip->out.n - directory, end64 = zip->out.n;
    put_le(&zip->out, 0x06064b50u, 4); /* ZIP64 end record */
    put_le(&zip->out, 44, 8);
    put_le(&zip->out, 0x031e, 2);
    put_le(&zip->out, 45, 2);
    put_le(&zip->out, 0, 8);
    put_le(&zip->out, zip->n, 8);
    put_le(&zip->out, zip->n, 8);
    put_le(&zip->out, size, 8);
    put_le(&zip->out, directory, 8);
    put_le(&zip->out, 0x07064b50u, 4); /* its locator */
    put_le(&zip->out, 0, 4);
    put_le(&zip->out, end64, 8);
    put_le(&zip->out, 1, 4);
    put_le(&zip->out, 0x06054b50u, 4);
    put_le(&zip->out, 0, 4);
    put_le(&zip->out, zip->n, 2);
    put_le(&zip->out, zip->n, 2);
    put_le(&zip->out, size, 4);
    put_le(&zip->out, directory, 4);
    put_le(&zip->out, 0, 2);
}

static int write_file(const char *path, const struct bytes *content)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        return -errno;
    setvbuf(file, NULL, _IONBF, 0);
    size_t written = fwrite(content->data, 1, content->n, file);
    int failed = written == content->n ? 0 : -(errno ? errno : EIO);
    if (fclose(file) != 0 && failed == 0)
        failed = -errno;
    return failed;
}

int bench_pt_write(const char *path, const char *archive, const struct bench_pt_tensor *tensors, uint32_t n,
                   enum lens_dtype dtype)
{
    if (n > BENCH_PT_MAX_TENSORS || (dtype != LENS_F32 && dtype != LENS_F16 && dtype != LENS_BF16))
        return -EINVAL;
    struct zip *zip = calloc(1, sizeof *zip);
    if (!zip)
        return -ENOMEM;
    zip->archive = archive;
    crc_tables(zip->crc_table);
    begin_entry(zip, "data.pkl");
    size_t start = zip->out.n;
    pickle_state(&zip->out, tensors, n, dtype);
    end_entry(zip, start);
    for (uint32_t i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "data/%u", i);
        begin_entry(zip, name);
        start = zip->out.n;
        put_values(&zip->out, tensors[i].values, tensor_elements(&tensors[i]), dtype);
        end_entry(zip, start);
    }
    begin_entry(zip, "version");
    start = zip->out.n;
    put_text(&zip->out, "3\n");
    end_entry(zip, start);
    put_end(zip);
    int failed = zip->out.failed ? -ENOMEM : write_file(path, &zip->out);
    free(zip->out.data);
    free(zip);
    return failed;
}
