/* Makes the real-tree pack of PERFORMANCE.md and hidden states with planted answers (support/planted.h).
 *
 *     synth [--tree FILE.tsv] [--dim 2560 --h1 128 --h2 64] [--dtype f32|bf16|int8|log8]   (f32|f16|bf16 with --hatcat)
 *           [--pack FILE.lens] [--hatcat DIR] [--rows FILE.npy --leaves FILE.json --count 2000] [--seed 1]
 *           [--verify N]
 *
 * Any of pack, hatcat, rows and verify may be asked for at once; the same tree gives the same weights in each.
 * --verify evaluates N rows in float64, every lens from the formula, and fails unless each planted leaf is among the
 * ten best. Memory is one lens, the tree and the pack's small tables, whatever the size of the pack. */
#include "tests/bench/support/bench.h"
#include "tests/bench/support/planted.h"
#include "tests/bench/support/pt_write.h"
#include "tests/bench/support/reference64.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void show_progress(const char *what, uint32_t done, uint32_t total)
{
    if (isatty(STDERR_FILENO) && (done % 64 == 0 || done == total))
        fprintf(stderr, "\r%s %u of %u%s", what, done, total, done == total ? "\n" : "");
}

static void write_pack(const char *path, const struct bench_tree *tree, struct bench_lens *lens, enum lens_dtype dtype)
{
    struct lens_error err = {0};
    struct lens_pack_writer *writer;
    struct lens_pack_plan plan = bench_planted_plan(tree, lens->shape, dtype);
    if (lens_pack_writer_create(path, &plan, &writer, &err) < 0)
        bench_die("%s", err.text);
    for (uint32_t i = 0; i < tree->n; i++) {
        bench_lens_make(lens, tree->streams[i]);
        struct lens_weights weights = bench_lens_view(lens);
        if (lens_pack_writer_add(writer, &weights, &err) < 0) {
            lens_pack_writer_abort(writer);
            bench_die("%s", err.text);
        }
        show_progress("lens", i + 1, tree->n);
    }
    if (lens_pack_writer_finish(writer, &err) < 0)
        bench_die("%s", err.text);
}

/* ---- HatCat's layout -------------------------------------------------------------------------------------------- */

static void make_directory(const char *path)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        bench_die("the directory %s can't be made: %s", path, strerror(errno));
}

static void dump_json(const char *directory, const char *name, json_t *value)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    if (json_dump_file(value, path, JSON_INDENT(1)) != 0)
        bench_die("%s can't be written", path);
    json_decref(value);
}

static void write_hierarchy(const char *directory, const struct bench_tree *tree)
{
    json_t *up = json_object(), *down = json_object();
    for (uint32_t i = 0; i < tree->n; i++) {
        if (tree->parent[i] >= 0)
            json_object_set_new(up, tree->keys[i], json_string(tree->keys[tree->parent[i]]));
        if (tree->child_offsets[i] == tree->child_offsets[i + 1])
            continue;
        json_t *children = json_array();
        for (int32_t k = tree->child_offsets[i]; k < tree->child_offsets[i + 1]; k++)
            json_array_append_new(children, json_string(tree->keys[tree->child_ids[k]]));
        json_object_set_new(down, tree->keys[i], children);
    }
    dump_json(directory, "hierarchy.json", json_pack("{s:o,s:o}", "child_to_parent", up, "parent_to_children", down));
}

static void write_lens_file(const char *directory, const struct bench_tree *tree, uint32_t i,
                            const struct bench_lens *lens, enum lens_dtype dtype)
{
    struct bench_shape s = lens->shape;
    const struct bench_pt_tensor tensors[] = {
        {"net.0.weight", lens->w1, 2, {s.h1, s.dim}}, {"net.0.bias", lens->b1, 1, {s.h1, 0}},
        {"net.3.weight", lens->w2, 2, {s.h2, s.h1}},  {"net.3.bias", lens->b2, 1, {s.h2, 0}},
        {"net.6.weight", lens->w3, 2, {1, s.h2}},     {"net.6.bias", &lens->b3, 1, {1, 0}},
    };
    char path[4096], stem[512];
    snprintf(stem, sizeof stem, "%.*s_classifier", tree->name_offsets[i + 1] - tree->name_offsets[i],
             tree->names + tree->name_offsets[i]);
    snprintf(path, sizeof path, "%s/layer%u/%s.pt", directory, tree->layer[i], stem);
    int failed = bench_pt_write(path, stem, tensors, 6, dtype);
    if (failed < 0)
        bench_die("%s can't be written: %s", path, strerror(-failed));
}

static void write_hatcat(const char *directory, const struct bench_tree *tree, struct bench_lens *lens,
                         enum lens_dtype dtype)
{
    make_directory(directory);
    for (uint32_t i = 0; i < tree->n; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/layer%u", directory, tree->layer[i]);
        if (access(path, F_OK) != 0)
            make_directory(path);
        bench_lens_make(lens, tree->streams[i]);
        write_lens_file(directory, tree, i, lens, dtype);
        show_progress("file", i + 1, tree->n);
    }
    write_hierarchy(directory, tree);
    /* Last: whoever finds pack.json finds a complete directory. */
    dump_json(directory, "pack.json",
              json_pack("{s:s,s:s,s:{s:s,s:i}}", "lens_pack_id", "real-tree", "version", "1.0.0", "model_info",
                        "model_id", "synthetic", "hidden_dim", (int)lens->shape.dim));
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static FILE *begin_npy(const char *path, uint64_t count, uint32_t dim)
{
    char header[128], dict[96];
    FILE *file = fopen(path, "wb");
    if (!file)
        bench_die("%s can't be written: %s", path, strerror(errno));
    snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %u), }",
             (unsigned long long)count, dim);
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10);
    snprintf(header + 10, sizeof header - 10, "%-117s", dict);
    header[127] = '\n';
    fwrite(header, 1, sizeof header, file);
    return file;
}

static void write_rows(const char *path, const char *leaves_path, const struct bench_tree *tree, uint32_t dim,
                       uint64_t count, uint64_t seed)
{
    struct bench_rows *rows = bench_rows_open(tree, dim, seed);
    float *row = bench_alloc(dim * sizeof *row);
    json_t *leaves = json_array();
    FILE *file = begin_npy(path, count, dim);
    for (uint64_t t = 0; t < count; t++) {
        bench_rows_next(rows, row);
        if (fwrite(row, sizeof *row, dim, file) != dim)
            bench_die("%s can't be written: %s", path, strerror(errno));
        json_array_append_new(leaves, json_pack("[s,s]", tree->keys[rows->leaves[0]], tree->keys[rows->leaves[1]]));
        show_progress("row", (uint32_t)t + 1, (uint32_t)count);
    }
    if (fclose(file) != 0)
        bench_die("%s can't be written: %s", path, strerror(errno));
    if (leaves_path && json_dump_file(leaves, leaves_path, JSON_COMPACT) != 0)
        bench_die("%s can't be written", leaves_path);
    printf("%llu rows, %llu drawn again\n", (unsigned long long)count, (unsigned long long)rows->redrawn);
    json_decref(leaves);
    free(row);
    bench_rows_close(rows);
}

static bool contains(const uint32_t *ids, uint32_t n, uint32_t id)
{
    for (uint32_t i = 0; i < n; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

static void verify(const struct bench_tree *tree, struct bench_lens *lens, uint64_t count, uint64_t seed)
{
    struct bench_rows *rows = bench_rows_open(tree, lens->shape.dim, seed);
    float *row = bench_alloc(lens->shape.dim * sizeof *row);
    uint64_t found = 0, scored = 0;
    for (uint64_t t = 0; t < count; t++) {
        uint32_t top[10], n, one;
        bench_rows_next(rows, row);
        n = bench_cascade64(tree, lens, row, top, &one);
        scored += one;
        for (int i = 0; i < BENCH_ACTIVE_LEAVES; i++)
            found += contains(top, n, rows->leaves[i]);
    }
    printf("float64: %llu of %llu planted leaves among the ten best, %.0f lenses scored a row\n",
           (unsigned long long)found, (unsigned long long)(BENCH_ACTIVE_LEAVES * count),
           (double)scored / (double)count);
    free(row);
    bench_rows_close(rows);
    if (found != BENCH_ACTIVE_LEAVES * count)
        bench_die("planted answers don't come out at dim %u", lens->shape.dim);
}

int main(int argc, char **argv)
{
    static const char *const known[] = {
        "--tree=", "--dim=",    "--h1=",    "--h2=",   "--dtype=",  "--pack=", "--hatcat=",
        "--rows=", "--leaves=", "--count=", "--seed=", "--verify=", NULL};
    bench_check_options(argc, argv, known);
    struct bench_shape shape = {(uint32_t)bench_option_u64(argc, argv, "--dim", 2560),
                                (uint32_t)bench_option_u64(argc, argv, "--h1", 128),
                                (uint32_t)bench_option_u64(argc, argv, "--h2", 64)};
    const char *dtype_text = bench_option(argc, argv, "--dtype", "bf16");
    const char *pack = bench_option(argc, argv, "--pack", NULL), *hatcat = bench_option(argc, argv, "--hatcat", NULL);
    const char *rows = bench_option(argc, argv, "--rows", NULL), *leaves = bench_option(argc, argv, "--leaves", NULL);
    uint64_t count = bench_option_u64(argc, argv, "--count", 2000), seed = bench_option_u64(argc, argv, "--seed", 1);
    uint64_t check = bench_option_u64(argc, argv, "--verify", 0);
    enum lens_dtype dtype;
    if (lens_dtype_parse(dtype_text, &dtype) < 0)
        bench_die("--dtype expects f32, f16, bf16, int8 or log8, found \"%s\"", dtype_text);
    struct bench_tree *tree = bench_tree_open(bench_tree_path(argc, argv));
    struct bench_lens *lens = bench_lens_open(shape);
    if (pack)
        write_pack(pack, tree, lens, dtype);
    if (hatcat)
        write_hatcat(hatcat, tree, lens, dtype);
    if (rows)
        write_rows(rows, leaves, tree, shape.dim, count, seed);
    if (check)
        verify(tree, lens, check, seed);
    bench_lens_close(lens);
    bench_tree_close(tree);
    return 0;
}
