/* See pack_files.h. */
#include "tests/unit/support/pack_files.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void give_up(const char *what, const char *path)
{
    perror(path);
    fprintf(stderr, "test files: %s %s\n", what, path);
    abort();
}

void temp_folder(char *path)
{
    strcpy(path, "/tmp/lens-test-XXXXXX");
    if (mkdtemp(path) == NULL)
        give_up("can't create", path);
}

static void join(char *out, size_t size, const char *folder, const char *name)
{
    if ((size_t)snprintf(out, size, "%s/%s", folder, name) >= size)
        give_up("path too long:", folder);
}

void remove_folder(const char *path)
{
    char inner[4096];
    DIR *names = opendir(path);
    for (const struct dirent *entry; names != NULL && (entry = readdir(names)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        join(inner, sizeof inner, path, entry->d_name);
        if (unlink(inner) != 0)
            remove_folder(inner);
    }
    if (names != NULL)
        closedir(names);
    rmdir(path);
}

unsigned count_names(const char *folder)
{
    unsigned count = 0;
    DIR *names = opendir(folder);
    if (names == NULL)
        give_up("can't list", folder);
    for (const struct dirent *entry; (entry = readdir(names)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(names);
    return count;
}

unsigned char *read_file(const char *path, size_t *length)
{
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fstat(fileno(file), &info) != 0)
        give_up("can't open", path);
    *length = (size_t)info.st_size;
    unsigned char *bytes = malloc(*length + 1);
    if (bytes == NULL || fread(bytes, 1, *length, file) != *length)
        give_up("can't read", path);
    fclose(file);
    return bytes;
}

void write_file(const char *path, const void *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes, 1, length, file) != length || fclose(file) != 0)
        give_up("can't write", path);
}

void copy_file(const char *from, const char *to)
{
    size_t length;
    unsigned char *bytes = read_file(from, &length);
    write_file(to, bytes, length);
    free(bytes);
}

void copy_folder(const char *from, const char *to)
{
    char source[4096];
    char target[4096];
    struct stat info;
    DIR *names = opendir(from);
    if (names == NULL || (mkdir(to, 0777) != 0 && access(to, W_OK) != 0))
        give_up("can't copy", from);
    for (const struct dirent *entry; (entry = readdir(names)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        join(source, sizeof source, from, entry->d_name);
        join(target, sizeof target, to, entry->d_name);
        if (stat(source, &info) == 0 && S_ISDIR(info.st_mode))
            copy_folder(source, target);
        else
            copy_file(source, target);
    }
    closedir(names);
}

/* ----------------------------------------------------------------------------------------------------- small packs */

static float draw(unsigned *seed)
{
    return ((float)rand_r(seed) / (float)RAND_MAX - 0.5f) * 4;
}

static void fill_lens(struct small_lens *lens, unsigned *seed)
{
    float *all = (float *)lens;
    for (size_t i = 0; i < sizeof *lens / sizeof *all; i++)
        all[i] = draw(seed);
}

static void fill_calibration(float *row, unsigned *seed)
{
    for (int i = 0; i < LENS_CALIBRATION_FIELDS; i++)
        row[i] = fabsf(draw(seed));
}

void small_pack_fill(struct small_pack *out, enum lens_dtype dtype, unsigned seed)
{
    static const int32_t parent[] = {-1, -1, 0, 0, 2, 2};
    static const int32_t child_offsets[] = {0, 3, 3, 5, 5, 5, 5};
    static const int32_t child_ids[] = {2, 3, 5, 4, 5};
    static const uint8_t layer[] = {0, 0, 1, 1, 2, 2};
    static const uint8_t role[] = {0, 1, 2, 3, 0, 0};
    static const int32_t name_offsets[] = {0, 1, 2, 3, 4, 5, 7};

    memset(out, 0, sizeof *out);
    memcpy(out->parent, parent, sizeof parent);
    memcpy(out->child_offsets, child_offsets, sizeof child_offsets);
    memcpy(out->child_ids, child_ids, sizeof child_ids);
    memcpy(out->layer, layer, sizeof layer);
    memcpy(out->role, role, sizeof role);
    memcpy(out->name_offsets, name_offsets, sizeof name_offsets);
    memcpy(out->names, "AFBCD\xc3\x89", 7);
    for (size_t i = 0; i < SMALL_LENSES * LENS_CALIBRATION_FIELDS; i++)
        out->calibration[i] = NAN;
    fill_calibration(out->calibration + (size_t)1 * LENS_CALIBRATION_FIELDS, &seed);
    fill_calibration(out->calibration + (size_t)2 * LENS_CALIBRATION_FIELDS, &seed);
    for (uint32_t i = 0; i < SMALL_LENSES; i++)
        fill_lens(&out->lens[i], &seed);
    out->plan = (struct lens_pack_plan){
        .meta = {.model_id = (char *)"test/model",
                 .source = (char *)"random weights",
                 .normalize = LENS_NORMALIZE_LAYERNORM},
        .lenses = SMALL_LENSES,
        .dim = SMALL_DIM,
        .h1 = SMALL_H1,
        .h2 = SMALL_H2,
        .w1_dtype = dtype,
        .parent = out->parent,
        .child_offsets = out->child_offsets,
        .child_ids = out->child_ids,
        .layer = out->layer,
        .role = out->role,
        .name_offsets = out->name_offsets,
        .names = out->names,
        .calibration = out->calibration,
    };
}

struct lens_weights small_weights(const struct small_lens *lens)
{
    return (struct lens_weights){lens->w1, lens->b1, lens->w2, lens->b2, lens->w3, lens->b3};
}

int small_pack_write(const struct small_pack *pack, const char *path, struct lens_error *err)
{
    struct lens_pack_writer *writer;
    int rc = lens_pack_writer_create(path, &pack->plan, &writer, err);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < pack->plan.lenses; i++) {
        struct lens_weights weights = small_weights(&pack->lens[i]);
        rc = lens_pack_writer_add(writer, &weights, err);
        if (rc != 0) {
            lens_pack_writer_abort(writer);
            return rc;
        }
    }
    return lens_pack_writer_finish(writer, err);
}
