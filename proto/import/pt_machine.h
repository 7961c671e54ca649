/* The values and the stack of the pickle interpreter. Private to pt_*.c: pt_machine.c keeps them, pt_opcodes.c runs the
 * opcodes, pt_rebuild.c knows PyTorch's globals, pt_pickle.c turns the result into a state dict. */
#ifndef LENS_IMPORT_PT_MACHINE_H
#define LENS_IMPORT_PT_MACHINE_H

#include "proto/import/pt_pickle.h"

#include <stdint.h>

#define PT_MAX_VALUES (1u << 20) /* values ever made; also the deepest stack and the largest memo */

enum pt_kind {
    PT_NONE,
    PT_BOOL,
    PT_INT,
    PT_FLOAT, /* its number is not kept: nothing needs it */
    PT_TEXT,
    PT_TUPLE,
    PT_LIST,
    PT_DICT,
    PT_GLOBAL,
    PT_STORAGE,
    PT_TENSOR,
    PT_MARK
};

enum pt_function { PT_ORDERED_DICT, PT_REBUILD_TENSOR, PT_REBUILD_PARAMETER, PT_STORAGE_TYPE };

struct pt_value {
    enum pt_kind kind;
    union {
        int64_t integer; /* PT_INT, PT_BOOL */
        struct {
            const char *bytes; /* inside the pickle, not terminated */
            uint32_t length;
        } text;
        struct {
            uint32_t *items; /* places of values; a dict has key, value, key, value .. */
            uint32_t count, capacity;
        } list; /* PT_TUPLE, PT_LIST, PT_DICT */
        struct {
            enum pt_function function;
            uint32_t type; /* PT_STORAGE_TYPE: which, see pt_storage_type */
        } global;
        uint32_t index; /* PT_STORAGE, PT_TENSOR: in machine.storages or machine.tensors */
    } as;
};

struct pt_machine {
    const unsigned char *at, *end;
    struct pt_value *values; /* places are stable, addresses are not */
    uint32_t value_count, value_capacity;
    uint32_t *stack;
    uint32_t stack_count, stack_capacity;
    uint32_t *memo; /* place + 1; 0 = never set */
    uint32_t memo_capacity;
    struct pt_storage *storages;
    uint32_t storage_count, storage_capacity;
    struct lens_pt_tensor *tensors; /* without names */
    uint32_t tensor_count, tensor_capacity;
    uint32_t visited; /* entries of dicts that were walked for the result */
    bool stopped;
    struct lens_error *err;
};

void pt_machine_free(struct pt_machine *machine);

/* All return 0 or a negative errno with the sentence set in machine->err. */
int pt_new(struct pt_machine *machine, struct pt_value value, uint32_t *place); /* not on the stack */
int pt_push(struct pt_machine *machine, struct pt_value value);
int pt_push_place(struct pt_machine *machine, uint32_t place);
int pt_pop(struct pt_machine *machine, uint32_t *place);
int pt_top(struct pt_machine *machine, uint32_t *place); /* stays on the stack */
/* Takes everything above the topmost mark, and the mark. *places lie in the stack until the next push. */
int pt_pop_to_mark(struct pt_machine *machine, const uint32_t **places, uint32_t *count);
int pt_list_append(struct pt_machine *machine, uint32_t list, const uint32_t *places, uint32_t count);
int pt_memo_put(struct pt_machine *machine, uint32_t at);
int pt_memo_get(struct pt_machine *machine, uint32_t at);
int pt_fail(struct pt_machine *machine, const char *sentence); /* -EBADMSG */

/* Makes room for one more in a growing array of at most `limit`. */
int pt_grow(struct pt_machine *machine, void **array, uint32_t *capacity, uint32_t count, uint32_t limit, size_t size,
            const char *what);

/* Runs opcodes up to STOP. */
int pt_run(struct pt_machine *machine);

/* A global by name, pushed; any other is refused with its name. */
int pt_push_global(struct pt_machine *machine, const char *module, size_t module_length, const char *name,
                   size_t name_length);
/* Calls function with arguments (REDUCE) or resolves a storage reference (BINPERSID); pushes the result. */
int pt_reduce(struct pt_machine *machine, uint32_t function, uint32_t arguments);
int pt_persistent(struct pt_machine *machine, uint32_t reference);

#endif
