/* From the pickle's last value to the names and places of its tensors; see pt_pickle.h. */
#include "proto/import/pt_pickle.h"

#include "proto/import/pt_machine.h"
#include "proto/pack_utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void pt_state_free(struct pt_state *state)
{
    for (size_t i = 0; i < state->storage_count; i++)
        free(state->storages[i].key);
    for (size_t i = 0; i < state->tensor_count; i++)
        free((char *)state->tensors[i].name);
    free(state->storages);
    free(state->tensors);
    memset(state, 0, sizeof *state);
}

static int check_key(struct pt_machine *machine, const struct pt_value *key)
{
    if (key->kind != PT_TEXT || key->as.text.length > PT_MAX_NAME / 2 - 1 ||
        !pack_utf8_is_name(key->as.text.bytes, key->as.text.length))
        return pt_fail(machine, "a key of its state dict is no text, too long, or holds control characters");
    return 0;
}

/* Adds `tensor` as "key", or "outer/key" in a bank. */
static int add_named(struct pt_machine *machine, const struct pt_value *outer, const struct pt_value *key,
                     const struct pt_value *tensor, struct pt_state *out)
{
    char name[PT_MAX_NAME];
    if (out->tensor_count == PT_MAX_TENSORS)
        return pt_fail(machine, "its state dict names too many tensors");
    snprintf(name, sizeof name, "%.*s%s%.*s", outer != NULL ? (int)outer->as.text.length : 0,
             outer != NULL ? outer->as.text.bytes : "", outer != NULL ? "/" : "", (int)key->as.text.length,
             key->as.text.bytes);
    if ((out->tensor_count & (out->tensor_count - 1)) == 0) { /* a power of two: double */
        size_t wanted = out->tensor_count == 0 ? 1 : out->tensor_count * 2;
        struct lens_pt_tensor *larger = realloc(out->tensors, wanted * sizeof *larger);
        if (larger == NULL)
            return lens_error_set(machine->err, -ENOMEM, "no memory for %zu tensors", wanted);
        out->tensors = larger;
    }
    struct lens_pt_tensor *added = &out->tensors[out->tensor_count];
    *added = machine->tensors[tensor->as.index];
    added->name = strdup(name);
    if (added->name == NULL)
        return lens_error_set(machine->err, -ENOMEM, "no memory for a tensor's name");
    out->tensor_count++;
    return 0;
}

/* Entries that are neither tensors nor dicts of tensors (a step count, None) are passed over. */
static int add_dict(struct pt_machine *machine, const struct pt_value *outer, const struct pt_value *dict,
                    struct pt_state *out)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < dict->as.list.count; i += 2) {
        const struct pt_value *key = &machine->values[dict->as.list.items[i]];
        const struct pt_value *value = &machine->values[dict->as.list.items[i + 1]];
        /* One dict may be named in many places: the work counts, not the dict. */
        rc = machine->visited++ < PT_MAX_VALUES ? check_key(machine, key) : pt_fail(machine, "its dicts are too large");
        if (rc == 0 && value->kind == PT_TENSOR)
            rc = add_named(machine, outer, key, value, out);
        else if (rc == 0 && value->kind == PT_DICT && outer != NULL)
            rc = pt_fail(machine, "its dicts are nested deeper than a bank's {concept: {key: tensor}}");
        else if (rc == 0 && value->kind == PT_DICT)
            rc = add_dict(machine, key, value, out);
    }
    return rc;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Two of a name: which one PyTorch would take is not ours to guess. */
static int check_unique(const struct pt_state *state, struct lens_error *err)
{
    const char **names = malloc((state->tensor_count + 1) * sizeof *names);
    int rc = 0;
    if (names == NULL)
        return lens_error_set(err, -ENOMEM, "no memory for %zu names", state->tensor_count);
    for (size_t i = 0; i < state->tensor_count; i++)
        names[i] = state->tensors[i].name;
    qsort(names, state->tensor_count, sizeof *names, compare_names);
    for (size_t i = 1; rc == 0 && i < state->tensor_count; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            rc = lens_error_set(err, -EBADMSG, "its state dict has two tensors named %.100s", names[i]);
    free(names);
    return rc;
}

static int take_state(struct pt_machine *machine, struct pt_state *out)
{
    uint32_t place;
    int rc = pt_pop(machine, &place);
    if (rc != 0)
        return rc;
    if (machine->values[place].kind != PT_DICT)
        return pt_fail(machine, "it holds no state dict: save model.state_dict(), not the model or a single tensor");
    rc = add_dict(machine, NULL, &machine->values[place], out);
    if (rc != 0)
        return rc;
    out->storages = machine->storages;
    out->storage_count = machine->storage_count;
    machine->storages = NULL;
    machine->storage_count = 0;
    return check_unique(out, machine->err);
}

int pt_pickle_read(const unsigned char *bytes, size_t length, struct pt_state *out, struct lens_error *err)
{
    struct pt_machine machine = {.at = bytes, .end = bytes + length, .err = err};
    memset(out, 0, sizeof *out);
    int rc = pt_run(&machine);
    if (rc == 0)
        rc = take_state(&machine, out);
    if (rc != 0)
        pt_state_free(out);
    pt_machine_free(&machine);
    return rc;
}
