/* The pickle opcodes that a state dict is made of; any other is refused with its name. Nothing here can call, import or
 * construct anything but the values of pt_machine.h. */
#include "proto/import/pt_machine.h"

#include <errno.h>
#include <string.h>

/* The next `count` bytes of the pickle; NULL (with the sentence set) at its end. */
static const unsigned char *operand(struct pt_machine *machine, size_t count)
{
    if (count > (size_t)(machine->end - machine->at)) {
        pt_fail(machine, "its pickle ends in the middle of an opcode");
        return NULL;
    }
    const unsigned char *bytes = machine->at;
    machine->at += count;
    return bytes;
}

static uint32_t little32(const unsigned char *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static int push_int(struct pt_machine *machine, int64_t number)
{
    return pt_push(machine, (struct pt_value){.kind = PT_INT, .as.integer = number});
}

static int run_proto(struct pt_machine *machine)
{
    const unsigned char *version = operand(machine, 1);
    if (version == NULL)
        return -EBADMSG;
    if (*version == 2)
        return 0;
    return lens_error_set(machine->err, -EBADMSG,
                          "its pickle has protocol %u; PyTorch's own is 2: save it again with torch.save(state_dict, "
                          "path) and no other arguments",
                          *version);
}

static int run_mark(struct pt_machine *machine)
{
    return pt_push(machine, (struct pt_value){.kind = PT_MARK});
}

static int run_stop(struct pt_machine *machine)
{
    machine->stopped = true;
    return 0;
}

static int run_none(struct pt_machine *machine)
{
    return pt_push(machine, (struct pt_value){.kind = PT_NONE});
}

static int run_newtrue(struct pt_machine *machine)
{
    return pt_push(machine, (struct pt_value){.kind = PT_BOOL, .as.integer = 1});
}

static int run_newfalse(struct pt_machine *machine)
{
    return pt_push(machine, (struct pt_value){.kind = PT_BOOL, .as.integer = 0});
}

static int run_binint(struct pt_machine *machine)
{
    const unsigned char *bytes = operand(machine, 4);
    return bytes == NULL ? -EBADMSG : push_int(machine, (int32_t)little32(bytes));
}

static int run_binint1(struct pt_machine *machine)
{
    const unsigned char *bytes = operand(machine, 1);
    return bytes == NULL ? -EBADMSG : push_int(machine, bytes[0]);
}

static int run_binint2(struct pt_machine *machine)
{
    const unsigned char *bytes = operand(machine, 2);
    return bytes == NULL ? -EBADMSG : push_int(machine, bytes[0] | bytes[1] << 8);
}

static int run_long1(struct pt_machine *machine)
{
    const unsigned char *length = operand(machine, 1);
    const unsigned char *bytes = length == NULL ? NULL : operand(machine, *length);
    if (bytes == NULL)
        return -EBADMSG;
    if (*length > 8)
        return pt_fail(machine, "its pickle holds a whole number of more than 64 bits");
    uint64_t number = *length > 0 && bytes[*length - 1] & 0x80 ? UINT64_MAX : 0;
    for (unsigned i = *length; i > 0; i--)
        number = number << 8 | bytes[i - 1];
    return push_int(machine, (int64_t)number);
}

static int run_binfloat(struct pt_machine *machine)
{
    return operand(machine, 8) == NULL ? -EBADMSG : pt_push(machine, (struct pt_value){.kind = PT_FLOAT});
}

static int run_binunicode(struct pt_machine *machine)
{
    const unsigned char *length = operand(machine, 4);
    const unsigned char *text = length == NULL ? NULL : operand(machine, little32(length));
    if (text == NULL)
        return -EBADMSG;
    struct pt_value value = {.kind = PT_TEXT};
    value.as.text.bytes = (const char *)text;
    value.as.text.length = little32(length);
    return pt_push(machine, value);
}

/* One of the two lines of GLOBAL, without its newline. */
static const char *line(struct pt_machine *machine, size_t *length)
{
    const unsigned char *start = machine->at;
    const unsigned char *end = memchr(start, '\n', (size_t)(machine->end - start));
    if (end == NULL) {
        pt_fail(machine, "its pickle ends in the middle of a global's name");
        return NULL;
    }
    *length = (size_t)(end - start);
    machine->at = end + 1;
    return (const char *)start;
}

static int run_global(struct pt_machine *machine)
{
    size_t module_length = 0;
    size_t name_length = 0;
    const char *module = line(machine, &module_length);
    const char *name = module == NULL ? NULL : line(machine, &name_length);
    return name == NULL ? -EBADMSG : pt_push_global(machine, module, module_length, name, name_length);
}

/* A new container; `places` may lie in the stack, just above its top. */
static int push_container(struct pt_machine *machine, enum pt_kind kind, const uint32_t *places, uint32_t count)
{
    uint32_t container;
    int rc = pt_new(machine, (struct pt_value){.kind = kind}, &container);
    if (rc == 0)
        rc = pt_list_append(machine, container, places, count);
    return rc != 0 ? rc : pt_push_place(machine, container);
}

static int run_empty_dict(struct pt_machine *machine)
{
    return push_container(machine, PT_DICT, NULL, 0);
}

static int run_empty_list(struct pt_machine *machine)
{
    return push_container(machine, PT_LIST, NULL, 0);
}

static int run_empty_tuple(struct pt_machine *machine)
{
    return push_container(machine, PT_TUPLE, NULL, 0);
}

static int run_tuple(struct pt_machine *machine)
{
    const uint32_t *places;
    uint32_t count;
    int rc = pt_pop_to_mark(machine, &places, &count);
    return rc != 0 ? rc : push_container(machine, PT_TUPLE, places, count);
}

static int tuple_of(struct pt_machine *machine, uint32_t count)
{
    uint32_t places[3];
    for (uint32_t i = count; i > 0; i--) {
        int rc = pt_pop(machine, &places[i - 1]);
        if (rc != 0)
            return rc;
    }
    return push_container(machine, PT_TUPLE, places, count);
}

static int run_tuple1(struct pt_machine *machine)
{
    return tuple_of(machine, 1);
}

static int run_tuple2(struct pt_machine *machine)
{
    return tuple_of(machine, 2);
}

static int run_tuple3(struct pt_machine *machine)
{
    return tuple_of(machine, 3);
}

/* Adds to the container that lies below `places` on the stack. */
static int extend(struct pt_machine *machine, enum pt_kind kind, const uint32_t *places, uint32_t count)
{
    uint32_t container;
    int rc = pt_top(machine, &container);
    if (rc != 0)
        return rc;
    if (machine->values[container].kind != kind || (kind == PT_DICT && count % 2 != 0))
        return pt_fail(machine, "its pickle adds to something that is no dict or list, or half a pair to a dict");
    return pt_list_append(machine, container, places, count);
}

static int run_append(struct pt_machine *machine)
{
    uint32_t item;
    int rc = pt_pop(machine, &item);
    return rc != 0 ? rc : extend(machine, PT_LIST, &item, 1);
}

static int run_appends(struct pt_machine *machine)
{
    const uint32_t *places;
    uint32_t count;
    int rc = pt_pop_to_mark(machine, &places, &count);
    return rc != 0 ? rc : extend(machine, PT_LIST, places, count);
}

static int run_setitem(struct pt_machine *machine)
{
    uint32_t pair[2];
    int rc = pt_pop(machine, &pair[1]);
    if (rc == 0)
        rc = pt_pop(machine, &pair[0]);
    return rc != 0 ? rc : extend(machine, PT_DICT, pair, 2);
}

static int run_setitems(struct pt_machine *machine)
{
    const uint32_t *places;
    uint32_t count;
    int rc = pt_pop_to_mark(machine, &places, &count);
    return rc != 0 ? rc : extend(machine, PT_DICT, places, count);
}

static int run_binput(struct pt_machine *machine)
{
    const unsigned char *bytes = operand(machine, 1);
    return bytes == NULL ? -EBADMSG : pt_memo_put(machine, bytes[0]);
}

static int run_long_binput(struct pt_machine *machine)
{
    const unsigned char *bytes = operand(machine, 4);
    return bytes == NULL ? -EBADMSG : pt_memo_put(machine, little32(bytes));
}

static int run_binget(struct pt_machine *machine)
{
    const unsigned char *bytes = operand(machine, 1);
    return bytes == NULL ? -EBADMSG : pt_memo_get(machine, bytes[0]);
}

static int run_long_binget(struct pt_machine *machine)
{
    const unsigned char *bytes = operand(machine, 4);
    return bytes == NULL ? -EBADMSG : pt_memo_get(machine, little32(bytes));
}

static int run_binpersid(struct pt_machine *machine)
{
    uint32_t reference;
    int rc = pt_pop(machine, &reference);
    return rc != 0 ? rc : pt_persistent(machine, reference);
}

static int run_reduce(struct pt_machine *machine)
{
    uint32_t arguments;
    uint32_t function;
    int rc = pt_pop(machine, &arguments);
    if (rc == 0)
        rc = pt_pop(machine, &function);
    return rc != 0 ? rc : pt_reduce(machine, function, arguments);
}

/* Attributes of a dict: `_metadata` of a module's state dict. Not needed. */
static int run_build(struct pt_machine *machine)
{
    uint32_t state;
    uint32_t object;
    int rc = pt_pop(machine, &state);
    if (rc == 0)
        rc = pt_top(machine, &object);
    if (rc == 0 && machine->values[object].kind != PT_DICT)
        rc = pt_fail(machine, "its pickle sets attributes (BUILD) of something that is no dict");
    return rc;
}

static const struct {
    const char *name;
    int (*run)(struct pt_machine *machine); /* NULL: known and refused */
} opcodes[256] = {
    [0x80] = {"PROTO", run_proto},
    ['('] = {"MARK", run_mark},
    ['.'] = {"STOP", run_stop},
    ['N'] = {"NONE", run_none},
    [0x88] = {"NEWTRUE", run_newtrue},
    [0x89] = {"NEWFALSE", run_newfalse},
    ['J'] = {"BININT", run_binint},
    ['K'] = {"BININT1", run_binint1},
    ['M'] = {"BININT2", run_binint2},
    [0x8a] = {"LONG1", run_long1},
    ['G'] = {"BINFLOAT", run_binfloat},
    ['X'] = {"BINUNICODE", run_binunicode},
    ['c'] = {"GLOBAL", run_global},
    ['}'] = {"EMPTY_DICT", run_empty_dict},
    [']'] = {"EMPTY_LIST", run_empty_list},
    [')'] = {"EMPTY_TUPLE", run_empty_tuple},
    ['t'] = {"TUPLE", run_tuple},
    [0x85] = {"TUPLE1", run_tuple1},
    [0x86] = {"TUPLE2", run_tuple2},
    [0x87] = {"TUPLE3", run_tuple3},
    ['a'] = {"APPEND", run_append},
    ['e'] = {"APPENDS", run_appends},
    ['s'] = {"SETITEM", run_setitem},
    ['u'] = {"SETITEMS", run_setitems},
    ['q'] = {"BINPUT", run_binput},
    ['r'] = {"LONG_BINPUT", run_long_binput},
    ['h'] = {"BINGET", run_binget},
    ['j'] = {"LONG_BINGET", run_long_binget},
    ['Q'] = {"BINPERSID", run_binpersid},
    ['R'] = {"REDUCE", run_reduce},
    ['b'] = {"BUILD", run_build},
    ['0'] = {"POP", NULL},
    ['1'] = {"POP_MARK", NULL},
    ['2'] = {"DUP", NULL},
    ['F'] = {"FLOAT", NULL},
    ['I'] = {"INT", NULL},
    ['L'] = {"LONG", NULL},
    ['P'] = {"PERSID", NULL},
    ['S'] = {"STRING", NULL},
    ['T'] = {"BINSTRING", NULL},
    ['U'] = {"SHORT_BINSTRING", NULL},
    ['V'] = {"UNICODE", NULL},
    ['d'] = {"DICT", NULL},
    ['g'] = {"GET", NULL},
    ['i'] = {"INST", NULL},
    ['l'] = {"LIST", NULL},
    ['o'] = {"OBJ", NULL},
    ['p'] = {"PUT", NULL},
    ['B'] = {"BINBYTES", NULL},
    ['C'] = {"SHORT_BINBYTES", NULL},
    [0x81] = {"NEWOBJ", NULL},
    [0x82] = {"EXT1", NULL},
    [0x83] = {"EXT2", NULL},
    [0x84] = {"EXT4", NULL},
    [0x8b] = {"LONG4", NULL},
    [0x8c] = {"SHORT_BINUNICODE", NULL},
    [0x8d] = {"BINUNICODE8", NULL},
    [0x8e] = {"BINBYTES8", NULL},
    [0x8f] = {"EMPTY_SET", NULL},
    [0x90] = {"ADDITEMS", NULL},
    [0x91] = {"FROZENSET", NULL},
    [0x92] = {"NEWOBJ_EX", NULL},
    [0x93] = {"STACK_GLOBAL", NULL},
    [0x94] = {"MEMOIZE", NULL},
    [0x95] = {"FRAME", NULL},
    [0x96] = {"BYTEARRAY8", NULL},
    [0x97] = {"NEXT_BUFFER", NULL},
    [0x98] = {"READONLY_BUFFER", NULL},
};

int pt_run(struct pt_machine *machine)
{
    while (!machine->stopped) {
        const unsigned char *opcode = operand(machine, 1);
        if (opcode == NULL)
            return -EBADMSG;
        if (opcodes[*opcode].run == NULL)
            return lens_error_set(machine->err, -EBADMSG,
                                  "its pickle uses opcode %s (0x%02x), which no state dict of tensors needs: refused",
                                  opcodes[*opcode].name != NULL ? opcodes[*opcode].name : "that doesn't exist",
                                  *opcode);
        int rc = opcodes[*opcode].run(machine);
        if (rc != 0)
            return rc;
    }
    return 0;
}
