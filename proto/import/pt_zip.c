/* See pt_zip.h. */
#include "proto/import/pt_zip.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#define MAX_NAME 1024

struct pt_zip {
    zip_t *archive;
    char *folder;
    uint64_t file_bytes;
};

static const unsigned char legacy_magic[4] = {0x80, 0x02, 0x8a, 0x0a};
static const unsigned char zip_magic[4] = {'P', 'K', 3, 4};

/* What is there instead of a zip gets its own sentence. */
static int check_start(int fd, uint64_t file_bytes, struct lens_error *err)
{
    unsigned char start[4] = {0};
    if (file_bytes == 0)
        return lens_error_set(err, -EBADMSG, "it is empty (0 bytes): copy or download it again");
    ssize_t n = pread(fd, start, sizeof start, 0);
    if (n < 0)
        return lens_error_set(err, -errno, "can't read it: %s", strerror(errno));
    if (n == 4 && memcmp(start, legacy_magic, 4) == 0)
        return lens_error_set(err, -EBADMSG,
                              "it has PyTorch's legacy format from before 1.6 (starts 80 02 8a 0a): load it with "
                              "torch.load and save it again with torch.save");
    if (n != 4 || memcmp(start, zip_magic, 4) != 0)
        return lens_error_set(err, -EBADMSG,
                              "it is no .pt file: it starts %02x %02x %02x %02x, not 50 4b 03 04 as a zip does",
                              start[0], start[1], start[2], start[3]);
    return 0;
}

static int open_regular(const char *path, int *fd, uint64_t *bytes, struct lens_error *err)
{
    struct stat info;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (*fd < 0)
        return lens_error_set(err, -errno, "can't open it: %s", strerror(errno));
    if (fstat(*fd, &info) != 0)
        return lens_error_set(err, -errno, "can't stat it: %s", strerror(errno));
    if (!S_ISREG(info.st_mode))
        return lens_error_set(err, -EBADMSG, "it is not a regular file");
    *bytes = (uint64_t)info.st_size;
    return check_start(*fd, *bytes, err);
}

/* Takes over `fd` when it succeeds. */
static int open_archive(int fd, struct pt_zip *zip, struct lens_error *err)
{
    int code = 0;
    zip->archive = zip_fdopen(fd, 0, &code);
    if (zip->archive != NULL)
        return 0;
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    int rc = lens_error_set(err, code == ZIP_ER_MEMORY ? -ENOMEM : -EBADMSG,
                            "its zip directory can't be read (%s); the file has %" PRIu64
                            " bytes and was probably cut off: copy or download it again",
                            zip_error_strerror(&error), zip->file_bytes);
    zip_error_fini(&error);
    return rc;
}

static int check_entry(const struct pt_zip *zip, const zip_stat_t *stat, uint64_t *total, struct lens_error *err)
{
    const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if ((stat->valid & needed) != needed)
        return lens_error_set(err, -EBADMSG, "its zip directory is incomplete");
    if (stat->comp_method != ZIP_CM_STORE || stat->size != stat->comp_size)
        return lens_error_set(err, -EBADMSG,
                              "entry %.100s is compressed; PyTorch stores entries: load it with torch.load and save it "
                              "again with torch.save",
                              stat->name);
    if ((stat->valid & ZIP_STAT_ENCRYPTION_METHOD) && stat->encryption_method != ZIP_EM_NONE)
        return lens_error_set(err, -EBADMSG, "entry %.100s is encrypted", stat->name);
    if (stat->size > zip->file_bytes - *total)
        return lens_error_set(err, -EBADMSG,
                              "its entries claim more bytes than the whole file has (%" PRIu64
                              "): they overlap, or the file was cut off",
                              zip->file_bytes);
    *total += stat->size;
    return 0;
}

/* "{folder}/data.pkl", with one folder. */
static int take_folder(struct pt_zip *zip, const char *name, struct lens_error *err)
{
    const char *slash = strchr(name, '/');
    if (slash == NULL || strcmp(slash, "/data.pkl") != 0)
        return 0;
    if (zip->folder != NULL)
        return lens_error_set(err, -EBADMSG, "it holds more than one data.pkl");
    if (slash == name || slash - name > MAX_NAME / 4)
        return lens_error_set(err, -EBADMSG, "the folder of its data.pkl has no usable name");
    zip->folder = strndup(name, (size_t)(slash - name));
    return zip->folder != NULL ? 0 : lens_error_set(err, -ENOMEM, "no memory for a folder's name");
}

static int check_entries(struct pt_zip *zip, struct lens_error *err)
{
    const zip_int64_t count = zip_get_num_entries(zip->archive, 0);
    uint64_t total = 0;
    for (zip_int64_t i = 0; i < count; i++) {
        zip_stat_t stat;
        if (zip_stat_index(zip->archive, (zip_uint64_t)i, 0, &stat) != 0)
            return lens_error_set(err, -EBADMSG, "entry %lld of its zip can't be read: %s", (long long)i,
                                  zip_strerror(zip->archive));
        int rc = check_entry(zip, &stat, &total, err);
        if (rc == 0)
            rc = take_folder(zip, stat.name, err);
        if (rc != 0)
            return rc;
    }
    if (zip->folder == NULL)
        return lens_error_set(err, -EBADMSG, "it is a zip, but none that torch.save wrote: it has no data.pkl");
    return 0;
}

int pt_zip_open(const char *path, struct pt_zip **out, struct lens_error *err)
{
    int fd = -1;
    *out = NULL;
    struct pt_zip *zip = calloc(1, sizeof *zip);
    if (zip == NULL)
        return lens_error_set(err, -ENOMEM, "no memory to open it");
    int rc = open_regular(path, &fd, &zip->file_bytes, err);
    if (rc == 0)
        rc = open_archive(fd, zip, err);
    if (rc != 0 && fd >= 0)
        close(fd);
    if (rc == 0)
        rc = check_entries(zip, err);
    if (rc != 0) {
        pt_zip_close(zip);
        return rc;
    }
    *out = zip;
    return 0;
}

void pt_zip_close(struct pt_zip *zip)
{
    if (zip == NULL)
        return;
    if (zip->archive != NULL)
        zip_discard(zip->archive);
    free(zip->folder);
    free(zip);
}

const char *pt_zip_folder(const struct pt_zip *zip)
{
    return zip->folder;
}

int pt_zip_find(struct pt_zip *zip, const char *name, uint64_t *index, uint64_t *bytes)
{
    char path[MAX_NAME];
    zip_stat_t stat;
    int length = snprintf(path, sizeof path, "%s/%s", zip->folder, name);
    if (length < 0 || (size_t)length >= sizeof path)
        return -ENOENT;
    zip_int64_t at = zip_name_locate(zip->archive, path, 0);
    if (at < 0 || zip_stat_index(zip->archive, (zip_uint64_t)at, 0, &stat) != 0)
        return -ENOENT;
    *index = (uint64_t)at;
    *bytes = stat.size;
    return 0;
}

static int entry_error(struct pt_zip *zip, uint64_t index, zip_file_t *file, struct lens_error *err)
{
    const char *name = zip_get_name(zip->archive, index, 0);
    return lens_error_set(err, -EBADMSG, "entry %.100s can't be read: %s", name != NULL ? name : "?",
                          file != NULL ? zip_file_strerror(file) : zip_strerror(zip->archive));
}

static int read_all(zip_file_t *file, char *out, uint64_t count)
{
    while (count > 0) {
        zip_int64_t n = zip_fread(file, out, count);
        if (n <= 0)
            return -EBADMSG;
        out += n;
        count -= (uint64_t)n;
    }
    return 0;
}

int pt_zip_read(struct pt_zip *zip, uint64_t index, uint64_t offset, uint64_t count, void *out, struct lens_error *err)
{
    char past_end;
    zip_stat_t stat;
    if (zip_stat_index(zip->archive, index, 0, &stat) != 0 || offset > stat.size || count > stat.size - offset)
        return lens_error_set(err, -EBADMSG, "an entry of its zip is shorter than a tensor needs");
    zip_file_t *file = zip_fopen_index(zip->archive, index, 0);
    int rc = 0;
    if (file == NULL)
        return entry_error(zip, index, NULL, err);
    if (offset != 0 && zip_fseek(file, (zip_int64_t)offset, SEEK_SET) != 0)
        rc = -EBADMSG;
    if (rc == 0)
        rc = read_all(file, out, count);
    /* libzip compares the CRC-32 when it meets the end of an entry that it read whole. */
    if (rc == 0 && count == stat.size && zip_fread(file, &past_end, 1) != 0)
        rc = -EBADMSG;
    if (rc != 0)
        rc = entry_error(zip, index, file, err);
    zip_fclose(file);
    return rc;
}
