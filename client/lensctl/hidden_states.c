/* See hidden_states.h. The .npy header is a Python dict literal; the parser here takes just the three keys numpy
 * writes, in any order, and nothing else of Python. */
#include "client/lensctl/hidden_states.h"

#include "client/lensctl/read_exactly.h"
#include "client/lensctl/safetensors_header.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NPY_HEADER_MAX 65536u
#define DIM_MAX        (1u << 20)

static const char npy_magic[6] = "\x93NUMPY";

/* Fills rows and dim from a shape, and checks that the data lies within the file. */
static int take_shape(struct hidden_states *states, const uint64_t *shape, unsigned n_dims, uint64_t file_bytes,
                      struct lens_error *err)
{
    uint64_t bytes, rows = n_dims == 2 ? shape[0] : 1, dim = n_dims == 2 ? shape[1] : shape[0];
    if (rows == 0 || dim == 0)
        return lens_error_set(err, -EBADMSG, "it holds no hidden states: its shape is [%llu, %llu]",
                              (unsigned long long)rows, (unsigned long long)dim);
    if (dim > DIM_MAX)
        return lens_error_set(err, -EBADMSG, "expected hidden states of at most %u values, found %llu", DIM_MAX,
                              (unsigned long long)dim);
    if (__builtin_mul_overflow(rows, dim * lens_dtype_bytes(states->dtype), &bytes) || states->offset > file_bytes ||
        bytes > file_bytes - states->offset)
        return lens_error_set(err, -EBADMSG,
                              "%llu rows of %llu values don't fit the file's %llu bytes: it is truncated",
                              (unsigned long long)rows, (unsigned long long)dim, (unsigned long long)file_bytes);
    states->rows = rows;
    states->dim = (uint32_t)dim;
    return 0;
}

/* ---- .npy ------------------------------------------------------------------------------------------------------- */

/* What the header says, and where reading it stands. `at` never passes `end`, where a NUL stands. */
struct npy_header {
    const char *at, *end;
    char descr[32];
    bool has_descr, has_order, has_shape;
    bool fortran_order, structured;
    uint64_t shape[SAFETENSORS_MAX_DIMS];
    unsigned n_dims;
};

static void skip_spaces(struct npy_header *h)
{
    while (*h->at == ' ' || *h->at == '\n' || *h->at == '\t')
        h->at++;
}

/* Skips spaces, then takes `c` if it stands there. */
static bool take(struct npy_header *h, char c)
{
    skip_spaces(h);
    if (*h->at != c)
        return false;
    h->at++;
    return true;
}

static bool take_word(struct npy_header *h, const char *word)
{
    size_t length = strlen(word);
    skip_spaces(h);
    if (strncmp(h->at, word, length) != 0)
        return false;
    h->at += length;
    return true;
}

/* A Python string without escapes, of less than `size` bytes. */
static bool take_string(struct npy_header *h, char *out, size_t size)
{
    skip_spaces(h);
    char quote = *h->at;
    if (quote != '\'' && quote != '"')
        return false;
    const char *start = h->at + 1, *stop = strchr(start, quote);
    if (stop == NULL || memchr(start, '\\', (size_t)(stop - start)) != NULL || (size_t)(stop - start) >= size)
        return false;
    memcpy(out, start, (size_t)(stop - start));
    out[stop - start] = '\0';
    h->at = stop + 1;
    return true;
}

static bool take_number(struct npy_header *h, uint64_t *out)
{
    skip_spaces(h);
    if (*h->at < '0' || *h->at > '9')
        return false;
    *out = 0;
    for (; *h->at >= '0' && *h->at <= '9'; h->at++) {
        if (__builtin_mul_overflow(*out, (uint64_t)10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(*h->at - '0'), out))
            return false;
    }
    if (*h->at == 'L') /* Python 2 wrote long integers so */
        h->at++;
    return true;
}

/* "(48, 64)", "(64,)" or "()". */
static bool take_tuple(struct npy_header *h)
{
    if (!take(h, '('))
        return false;
    while (!take(h, ')')) {
        if (h->n_dims == SAFETENSORS_MAX_DIMS || !take_number(h, &h->shape[h->n_dims++]))
            return false;
        if (!take(h, ','))
            return take(h, ')');
    }
    return true;
}

static bool take_entry(struct npy_header *h)
{
    char key[32];
    if (!take_string(h, key, sizeof key) || !take(h, ':'))
        return false;
    if (strcmp(key, "descr") == 0 && !h->has_descr) {
        skip_spaces(h);
        h->has_descr = true;
        h->structured = *h->at == '[';
        return h->structured || take_string(h, h->descr, sizeof h->descr);
    }
    if (strcmp(key, "fortran_order") == 0 && !h->has_order) {
        h->has_order = true;
        h->fortran_order = take_word(h, "True");
        return h->fortran_order || take_word(h, "False");
    }
    if (strcmp(key, "shape") != 0 || h->has_shape)
        return false;
    h->has_shape = true;
    return take_tuple(h);
}

static int parse_npy_header(struct npy_header *h, struct lens_error *err)
{
    bool good = take(h, '{');
    while (good && !take(h, '}')) {
        good = take_entry(h);
        if (h->structured)
            return lens_error_set(err, -ENOTSUP, "expected an array of f32 or f16, found a structured one");
        if (good && !take(h, ',')) {
            good = take(h, '}');
            break;
        }
    }
    skip_spaces(h);
    if (!good || h->at != h->end || !h->has_descr || !h->has_order || !h->has_shape)
        return lens_error_set(err, -EBADMSG,
                              "the .npy header is not the dict of descr, fortran_order and shape that "
                              "numpy writes: the file is broken");
    return 0;
}

static int take_npy_dtype(const struct npy_header *h, struct hidden_states *states, struct lens_error *err)
{
    const char *d = h->descr;
    if (strcmp(d, "<f4") == 0)
        states->dtype = LENS_F32;
    else if (strcmp(d, "<f2") == 0)
        states->dtype = LENS_F16;
    else if (d[0] == '>')
        return lens_error_set(err, -ENOTSUP,
                              "expected little-endian numbers, found '%s'; convert with "
                              "x.astype('<f4')",
                              d);
    else if (strchr(d, 'O') != NULL)
        return lens_error_set(err, -ENOTSUP,
                              "expected f32 or f16, found Python objects ('%s'), which are never "
                              "unpickled; convert with x.astype('<f4')",
                              d);
    else
        return lens_error_set(err, -ENOTSUP,
                              "expected f32 ('<f4') or f16 ('<f2'), found '%s'; convert with "
                              "x.astype('<f4'), or write bf16 as .safetensors",
                              d);
    return 0;
}

static int take_npy(const struct npy_header *h, struct hidden_states *states, uint64_t file_bytes,
                    struct lens_error *err)
{
    int r = take_npy_dtype(h, states, err);
    if (r != 0)
        return r;
    if (h->n_dims != 1 && h->n_dims != 2)
        return lens_error_set(err, -EBADMSG, "expected the shape [rows, dim] or [dim], found %u dimensions", h->n_dims);
    if (h->fortran_order && h->n_dims == 2)
        return lens_error_set(err, -ENOTSUP,
                              "expected rows that lie together (C order), found Fortran order; convert with "
                              "numpy.ascontiguousarray(x)");
    return take_shape(states, h->shape, h->n_dims, file_bytes, err);
}

/* Where the header's text begins and how long it is, by the format version. */
static int npy_header_place(int fd, uint64_t file_bytes, uint32_t *start, uint32_t *length, struct lens_error *err)
{
    unsigned char head[12] = {0};
    int r = file_bytes < sizeof head ? -EIO : read_exactly(fd, head, sizeof head, 0);
    if (r != 0)
        return lens_error_set(err, -EBADMSG, "the .npy header is truncated");
    if (head[6] < 1 || head[6] > 3)
        return lens_error_set(err, -ENOTSUP, "expected .npy format 1, 2 or 3, found %u.%u", head[6], head[7]);
    *start = head[6] == 1 ? 10 : 12;
    *length = (uint32_t)head[8] | (uint32_t)head[9] << 8;
    if (head[6] > 1)
        *length |= (uint32_t)head[10] << 16 | (uint32_t)head[11] << 24;
    if (*length > NPY_HEADER_MAX || *start + (uint64_t)*length > file_bytes)
        return lens_error_set(err, -EBADMSG,
                              "the .npy header says it is %u bytes long; at most %u and the file's %llu "
                              "are possible",
                              *length, NPY_HEADER_MAX, (unsigned long long)file_bytes);
    return 0;
}

static int open_npy(struct hidden_states *states, uint64_t file_bytes, struct lens_error *err)
{
    uint32_t start = 0, length = 0;
    int r = npy_header_place(states->fd, file_bytes, &start, &length, err);
    if (r != 0)
        return r;
    char *text = calloc(1, (size_t)length + 1);
    if (text == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for a header of %u bytes", length);
    r = read_exactly(states->fd, text, length, start);
    struct npy_header h = {.at = text, .end = text + length};
    if (r == 0)
        r = parse_npy_header(&h, err);
    else
        lens_error_set(err, r, "could not read the header: %s", strerror(-r));
    states->offset = (uint64_t)start + length;
    if (r == 0)
        r = take_npy(&h, states, file_bytes, err);
    free(text);
    return r;
}

/* ---- .safetensors ----------------------------------------------------------------------------------------------- */

static const struct safetensors_tensor *choose_tensor(const struct safetensors_header *header, struct lens_error *err)
{
    const struct safetensors_tensor *only = NULL;
    unsigned n = 0;
    for (size_t i = 0; i < header->count; i++) {
        const struct safetensors_tensor *tensor = &header->tensors[i];
        if (strcmp(tensor->name, "hidden_states") == 0)
            return tensor;
        if (tensor->n_dims == 2) {
            only = tensor;
            n++;
        }
    }
    if (n == 1)
        return only;
    lens_error_set(err, -EBADMSG,
                   "expected a tensor named hidden_states, or just one of two dimensions; found %u of "
                   "two dimensions among %zu",
                   n, header->count);
    return NULL;
}

static int take_safetensors_dtype(const struct safetensors_tensor *tensor, struct hidden_states *states,
                                  struct lens_error *err)
{
    static const struct {
        const char *name;
        enum lens_dtype dtype;
    } known[] = {{"F32", LENS_F32}, {"F16", LENS_F16}, {"BF16", LENS_BF16}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, tensor->dtype) == 0) {
            states->dtype = known[i].dtype;
            return 0;
        }
    }
    return lens_error_set(err, -ENOTSUP, "expected tensor '%s' to be F32, F16 or BF16, found %s", tensor->name,
                          tensor->dtype);
}

static int take_tokens(const struct safetensors_header *header, struct hidden_states *states, struct lens_error *err)
{
    const char *text = json_string_value(json_object_get(header->metadata, "tokens"));
    if (text == NULL)
        return 0;
    json_t *tokens = json_loads(text, 0, NULL);
    bool good = json_is_array(tokens) && json_array_size(tokens) == states->rows;
    for (size_t i = 0; good && i < json_array_size(tokens); i++)
        good = json_is_string(json_array_get(tokens, i));
    if (!good) {
        json_decref(tokens);
        return lens_error_set(err, -EBADMSG,
                              "expected the metadata 'tokens' to be a JSON list of %llu texts, one for "
                              "each row",
                              (unsigned long long)states->rows);
    }
    states->tokens = tokens;
    return 0;
}

static int open_safetensors(struct hidden_states *states, uint64_t file_bytes, struct lens_error *err)
{
    struct safetensors_header header;
    int r = safetensors_header_read(states->fd, file_bytes, &header, err);
    if (r != 0)
        return r;
    const struct safetensors_tensor *tensor = choose_tensor(&header, err);
    r = tensor == NULL ? -EBADMSG : take_safetensors_dtype(tensor, states, err);
    if (r == 0 && tensor->n_dims != 1 && tensor->n_dims != 2)
        r = lens_error_set(err, -EBADMSG,
                           "expected tensor '%s' to have the shape [rows, dim] or [dim], found %u "
                           "dimensions",
                           tensor->name, tensor->n_dims);
    if (r == 0) {
        states->offset = tensor->offset;
        r = take_shape(states, tensor->shape, tensor->n_dims, file_bytes, err);
    }
    if (r == 0)
        r = take_tokens(&header, states, err);
    safetensors_header_free(&header);
    return r;
}

/* ---- both ------------------------------------------------------------------------------------------------------- */

static int open_any(struct hidden_states *states, struct lens_error *err)
{
    struct stat st;
    char magic[sizeof npy_magic] = {0};
    if (fstat(states->fd, &st) != 0)
        return lens_error_set(err, -errno, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return lens_error_set(err, -EINVAL, "expected a file of hidden states, found something that isn't a file");
    uint64_t file_bytes = (uint64_t)st.st_size;
    if (file_bytes < sizeof magic || read_exactly(states->fd, magic, sizeof magic, 0) != 0)
        return lens_error_set(err, -EBADMSG, "expected .npy or .safetensors, found only %llu bytes",
                              (unsigned long long)file_bytes);
    if (memcmp(magic, npy_magic, sizeof magic) == 0)
        return open_npy(states, file_bytes, err);
    int r = open_safetensors(states, file_bytes, err);
    return r == 0 ? 0 : lens_error_prefix(err, "read as .safetensors, since it doesn't begin like a .npy");
}

int hidden_states_open(const char *path, struct hidden_states *out, struct lens_error *err)
{
    *out = (struct hidden_states){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (out->fd < 0)
        return lens_error_set(err, -errno, "%s: %s", path, strerror(errno));
    int r = open_any(out, err);
    if (r == 0)
        return 0;
    lens_error_prefix(err, "%s", path);
    hidden_states_close(out);
    return r;
}

void hidden_states_close(struct hidden_states *states)
{
    if (states->fd >= 0)
        close(states->fd);
    json_decref(states->tokens);
    *states = (struct hidden_states){.fd = -1};
}

int hidden_states_read(const struct hidden_states *states, uint64_t first, uint32_t count, void *to,
                       struct lens_error *err)
{
    if (first > states->rows || count > states->rows - first)
        return lens_error_set(err, -EINVAL, "there are only %llu rows", (unsigned long long)states->rows);
    uint64_t row_bytes = (uint64_t)states->dim * lens_dtype_bytes(states->dtype);
    int r = read_exactly(states->fd, to, count * row_bytes, states->offset + first * row_bytes);
    if (r != 0)
        return lens_error_set(err, r, "could not read row %llu: %s", (unsigned long long)first,
                              r == -EIO ? "the file is shorter than it was when it was opened" : strerror(-r));
    return 0;
}

const char *hidden_states_token(const struct hidden_states *states, uint64_t row)
{
    return states->tokens != NULL ? json_string_value(json_array_get(states->tokens, (size_t)row)) : NULL;
}
