/* The handful of globals that PyTorch writes into a state dict, and what "calling" them means here: describing a
 * tensor. Any other global is refused with its name. */
#include "proto/import/pt_machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    bool supported;
    enum lens_dtype dtype;
} storage_types[] = {
    {"FloatStorage", true, LENS_F32},         {"HalfStorage", true, LENS_F16},
    {"BFloat16Storage", true, LENS_BF16},     {"DoubleStorage", false, LENS_F32},
    {"LongStorage", false, LENS_F32},         {"IntStorage", false, LENS_F32},
    {"ShortStorage", false, LENS_F32},        {"CharStorage", false, LENS_F32},
    {"ByteStorage", false, LENS_F32},         {"BoolStorage", false, LENS_F32},
    {"ComplexFloatStorage", false, LENS_F32}, {"ComplexDoubleStorage", false, LENS_F32},
};

static const struct {
    const char *module, *name;
    enum pt_function function;
} functions[] = {
    {"collections", "OrderedDict", PT_ORDERED_DICT},
    {"torch._utils", "_rebuild_tensor_v2", PT_REBUILD_TENSOR},
    {"torch._utils", "_rebuild_parameter", PT_REBUILD_PARAMETER},
};

static bool same(const char *text, size_t length, const char *expected)
{
    return length == strlen(expected) && memcmp(text, expected, length) == 0;
}

static int push_function(struct pt_machine *machine, enum pt_function function, uint32_t type)
{
    struct pt_value value = {.kind = PT_GLOBAL};
    value.as.global.function = function;
    value.as.global.type = type;
    return pt_push(machine, value);
}

/* Copies for a message, with anything unprintable replaced. */
static void printable(const char *text, size_t length, char *out, size_t size)
{
    size_t n = length < size - 1 ? length : size - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    out[n] = '\0';
}

int pt_push_global(struct pt_machine *machine, const char *module, size_t module_length, const char *name,
                   size_t name_length)
{
    char shown_module[64];
    char shown_name[64];
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (same(module, module_length, functions[i].module) && same(name, name_length, functions[i].name))
            return push_function(machine, functions[i].function, 0);
    for (uint32_t i = 0; i < sizeof storage_types / sizeof storage_types[0]; i++)
        if (same(module, module_length, "torch") && same(name, name_length, storage_types[i].name))
            return push_function(machine, PT_STORAGE_TYPE, i);
    printable(module, module_length, shown_module, sizeof shown_module);
    printable(name, name_length, shown_name, sizeof shown_name);
    return lens_error_set(machine->err, -EBADMSG,
                          "its pickle names %s.%s, which no state dict of tensors needs: refused, nothing was executed",
                          shown_module, shown_name);
}

/* -------------------------------------------------------------------------------------------------------- storages */

/* Item `i` of a tuple if it is of `kind`, else NULL. */
static const struct pt_value *item(const struct pt_machine *machine, const struct pt_value *tuple, uint32_t i,
                                   enum pt_kind kind)
{
    if (tuple->kind != PT_TUPLE || i >= tuple->as.list.count)
        return NULL;
    const struct pt_value *value = &machine->values[tuple->as.list.items[i]];
    return value->kind == kind ? value : NULL;
}

static int add_storage(struct pt_machine *machine, uint32_t type, const struct pt_value *key, uint64_t elements)
{
    void *storages = machine->storages;
    int rc = pt_grow(machine, &storages, &machine->storage_capacity, machine->storage_count, PT_MAX_TENSORS,
                     sizeof *machine->storages, "storages");
    machine->storages = storages;
    if (rc != 0)
        return rc;
    struct pt_storage *storage = &machine->storages[machine->storage_count];
    storage->dtype = storage_types[type].dtype;
    storage->supported = storage_types[type].supported;
    storage->dtype_name = storage_types[type].name;
    storage->elements = elements;
    storage->key = strndup(key->as.text.bytes, key->as.text.length);
    if (storage->key == NULL)
        return lens_error_set(machine->err, -ENOMEM, "no memory for a storage's name");
    machine->storage_count++;
    return 0;
}

/* ('storage', torch.FloatStorage, key, location, elements) */
int pt_persistent(struct pt_machine *machine, uint32_t reference)
{
    const struct pt_value *tuple = &machine->values[reference];
    const struct pt_value *word = item(machine, tuple, 0, PT_TEXT);
    const struct pt_value *type = item(machine, tuple, 1, PT_GLOBAL);
    const struct pt_value *key = item(machine, tuple, 2, PT_TEXT);
    const struct pt_value *elements = item(machine, tuple, 4, PT_INT);
    if (word == NULL || !same(word->as.text.bytes, word->as.text.length, "storage") || type == NULL ||
        type->as.global.function != PT_STORAGE_TYPE || key == NULL || elements == NULL || elements->as.integer < 0)
        return pt_fail(machine, "its pickle has a persistent reference that isn't ('storage', type, key, location, n)");
    if (key->as.text.length == 0 || key->as.text.length > PT_MAX_NAME ||
        memchr(key->as.text.bytes, '\0', key->as.text.length) != NULL)
        return pt_fail(machine, "its pickle has a storage whose key is no name");
    int rc = add_storage(machine, type->as.global.type, key, (uint64_t)elements->as.integer);
    if (rc != 0)
        return rc;
    return pt_push(machine, (struct pt_value){.kind = PT_STORAGE, .as.index = machine->storage_count - 1});
}

/* --------------------------------------------------------------------------------------------------------- tensors */

/* A tuple of `*dims` sizes. */
static int take_sizes(const struct pt_machine *machine, const struct pt_value *tuple, uint32_t *dims, uint64_t *out)
{
    if (tuple == NULL || tuple->as.list.count > LENS_PT_MAX_DIMS)
        return -EBADMSG;
    *dims = tuple->as.list.count;
    for (uint32_t i = 0; i < *dims; i++) {
        const struct pt_value *size = item(machine, tuple, i, PT_INT);
        if (size == NULL || size->as.integer < 0)
            return -EBADMSG;
        out[i] = (uint64_t)size->as.integer;
    }
    return 0;
}

/* Do all elements lie inside the storage, and are there no more of them than it has? (An expanded tensor, with a
 * stride of 0, could otherwise ask for any amount of memory.) */
static bool fits_storage(const struct lens_pt_tensor *tensor, uint64_t elements)
{
    uint64_t count = 1;
    uint64_t last = tensor->storage_offset;
    for (uint32_t i = 0; i < tensor->dims; i++) {
        uint64_t reach;
        if (__builtin_mul_overflow(count, tensor->shape[i], &count))
            return false;
        if (tensor->shape[i] == 0)
            return true;
        if (__builtin_mul_overflow(tensor->shape[i] - 1, tensor->stride[i], &reach) ||
            __builtin_add_overflow(last, reach, &last))
            return false;
    }
    return last < elements && count <= elements;
}

static int add_tensor(struct pt_machine *machine, const struct lens_pt_tensor *tensor)
{
    void *tensors = machine->tensors;
    int rc = pt_grow(machine, &tensors, &machine->tensor_capacity, machine->tensor_count, PT_MAX_TENSORS,
                     sizeof *machine->tensors, "tensors");
    machine->tensors = tensors;
    if (rc != 0)
        return rc;
    machine->tensors[machine->tensor_count] = *tensor;
    return pt_push(machine, (struct pt_value){.kind = PT_TENSOR, .as.index = machine->tensor_count++});
}

/* _rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, backward_hooks[, metadata]) */
static int rebuild_tensor(struct pt_machine *machine, const struct pt_value *arguments)
{
    struct lens_pt_tensor tensor = {0};
    uint32_t strides = 0;
    const struct pt_value *storage = item(machine, arguments, 0, PT_STORAGE);
    const struct pt_value *offset = item(machine, arguments, 1, PT_INT);
    if (storage == NULL || offset == NULL || offset->as.integer < 0 ||
        take_sizes(machine, item(machine, arguments, 2, PT_TUPLE), &tensor.dims, tensor.shape) != 0 ||
        take_sizes(machine, item(machine, arguments, 3, PT_TUPLE), &strides, tensor.stride) != 0 ||
        strides != tensor.dims)
        return pt_fail(machine, "its pickle rebuilds a tensor from something else than a storage, an offset and up to "
                                "4 sizes and strides");
    const struct pt_storage *from = &machine->storages[storage->as.index];
    tensor.storage = storage->as.index;
    tensor.storage_offset = (uint64_t)offset->as.integer;
    tensor.dtype = from->dtype;
    tensor.unsupported_dtype = !from->supported;
    tensor.dtype_name = from->dtype_name;
    if (!fits_storage(&tensor, from->elements))
        return lens_error_set(machine->err, -EBADMSG,
                              "a tensor in it reaches outside its storage %.40s, which has %llu elements", from->key,
                              (unsigned long long)from->elements);
    return add_tensor(machine, &tensor);
}

int pt_reduce(struct pt_machine *machine, uint32_t function, uint32_t arguments)
{
    const struct pt_value *called = &machine->values[function];
    const struct pt_value *tuple = &machine->values[arguments];
    if (called->kind != PT_GLOBAL || tuple->kind != PT_TUPLE)
        return pt_fail(machine, "its pickle calls something that is no function, or without a tuple of arguments");
    switch (called->as.global.function) {
    case PT_ORDERED_DICT:
        if (tuple->as.list.count != 0)
            return pt_fail(machine, "its pickle builds an OrderedDict from arguments, which PyTorch doesn't");
        return pt_push(machine, (struct pt_value){.kind = PT_DICT});
    case PT_REBUILD_TENSOR:
        return rebuild_tensor(machine, tuple);
    case PT_REBUILD_PARAMETER:
        if (item(machine, tuple, 0, PT_TENSOR) == NULL)
            return pt_fail(machine, "its pickle builds a Parameter from something that is no tensor");
        return pt_push_place(machine, tuple->as.list.items[0]);
    default:
        return pt_fail(machine, "its pickle calls a storage type");
    }
}
