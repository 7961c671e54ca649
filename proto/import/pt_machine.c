/* See pt_machine.h. Every count is bounded here, so that no pickle can use more memory than a few times PT_MAX_VALUES
 * entries, whatever it repeats. */
#include "proto/import/pt_machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int pt_fail(struct pt_machine *machine, const char *sentence)
{
    return lens_error_set(machine->err, -EBADMSG, "%s", sentence);
}

void pt_machine_free(struct pt_machine *machine)
{
    for (uint32_t i = 0; i < machine->value_count; i++) {
        struct pt_value *value = &machine->values[i];
        if (value->kind == PT_TUPLE || value->kind == PT_LIST || value->kind == PT_DICT)
            free(value->as.list.items);
    }
    for (uint32_t i = 0; i < machine->storage_count; i++)
        free(machine->storages[i].key);
    free(machine->storages);
    free(machine->tensors);
    free(machine->values);
    free(machine->stack);
    free(machine->memo);
    memset(machine, 0, sizeof *machine);
}

int pt_grow(struct pt_machine *machine, void **array, uint32_t *capacity, uint32_t count, uint32_t limit, size_t size,
            const char *what)
{
    if (count < *capacity)
        return 0;
    if (count >= limit)
        return lens_error_set(machine->err, -EBADMSG, "its pickle has more than %u %s", limit, what);
    uint32_t wanted = *capacity == 0 ? 16 : *capacity * 2;
    wanted = wanted > limit ? limit : wanted;
    void *larger = realloc(*array, wanted * size);
    if (larger == NULL)
        return lens_error_set(machine->err, -ENOMEM, "no memory for %u %s of a pickle", wanted, what);
    *array = larger;
    *capacity = wanted;
    return 0;
}

int pt_push_place(struct pt_machine *machine, uint32_t place)
{
    void *stack = machine->stack;
    int rc = pt_grow(machine, &stack, &machine->stack_capacity, machine->stack_count, PT_MAX_VALUES,
                     sizeof *machine->stack, "values on its stack");
    machine->stack = stack;
    if (rc == 0)
        machine->stack[machine->stack_count++] = place;
    return rc;
}

int pt_new(struct pt_machine *machine, struct pt_value value, uint32_t *place)
{
    void *values = machine->values;
    int rc = pt_grow(machine, &values, &machine->value_capacity, machine->value_count, PT_MAX_VALUES,
                     sizeof *machine->values, "values");
    machine->values = values;
    if (rc != 0)
        return rc;
    *place = machine->value_count++;
    machine->values[*place] = value;
    return 0;
}

int pt_push(struct pt_machine *machine, struct pt_value value)
{
    uint32_t place;
    int rc = pt_new(machine, value, &place);
    return rc != 0 ? rc : pt_push_place(machine, place);
}

int pt_top(struct pt_machine *machine, uint32_t *place)
{
    if (machine->stack_count == 0)
        return pt_fail(machine, "its pickle takes more from the stack than it put there");
    *place = machine->stack[machine->stack_count - 1];
    if (machine->values[*place].kind == PT_MARK)
        return pt_fail(machine, "its pickle takes a mark where a value should be");
    return 0;
}

int pt_pop(struct pt_machine *machine, uint32_t *place)
{
    int rc = pt_top(machine, place);
    if (rc == 0)
        machine->stack_count--;
    return rc;
}

int pt_pop_to_mark(struct pt_machine *machine, const uint32_t **places, uint32_t *count)
{
    uint32_t at = machine->stack_count;
    while (at > 0 && machine->values[machine->stack[at - 1]].kind != PT_MARK)
        at--;
    if (at == 0)
        return pt_fail(machine, "its pickle looks for a mark that isn't on the stack");
    *places = machine->stack + at;
    *count = machine->stack_count - at;
    machine->stack_count = at - 1;
    return 0;
}

int pt_list_append(struct pt_machine *machine, uint32_t list, const uint32_t *places, uint32_t count)
{
    struct pt_value *value = &machine->values[list];
    uint32_t needed;
    if (count == 0)
        return 0;
    if (__builtin_add_overflow(value->as.list.count, count, &needed) || needed > PT_MAX_VALUES)
        return pt_fail(machine, "a container in its pickle is too large");
    if (needed > value->as.list.capacity) {
        uint32_t wanted = needed > 2 * value->as.list.capacity ? needed : 2 * value->as.list.capacity;
        uint32_t *larger = realloc(value->as.list.items, wanted * sizeof *larger);
        if (larger == NULL)
            return lens_error_set(machine->err, -ENOMEM, "no memory for a container of %u values", wanted);
        value->as.list.items = larger;
        value->as.list.capacity = wanted;
    }
    memcpy(value->as.list.items + value->as.list.count, places, count * sizeof *places);
    value->as.list.count = needed;
    return 0;
}

static int memo_reserve(struct pt_machine *machine, uint32_t at)
{
    if (at >= PT_MAX_VALUES)
        return pt_fail(machine, "its pickle remembers a value under a number that is too large");
    if (at < machine->memo_capacity)
        return 0;
    uint32_t wanted = machine->memo_capacity == 0 ? 64 : machine->memo_capacity;
    while (wanted <= at)
        wanted *= 2;
    uint32_t *larger = realloc(machine->memo, wanted * sizeof *larger);
    if (larger == NULL)
        return lens_error_set(machine->err, -ENOMEM, "no memory for a memo of %u values", wanted);
    memset(larger + machine->memo_capacity, 0, (wanted - machine->memo_capacity) * sizeof *larger);
    machine->memo = larger;
    machine->memo_capacity = wanted;
    return 0;
}

int pt_memo_put(struct pt_machine *machine, uint32_t at)
{
    uint32_t place = 0;
    int rc = pt_top(machine, &place);
    if (rc == 0)
        rc = memo_reserve(machine, at);
    if (rc == 0)
        machine->memo[at] = place + 1;
    return rc;
}

int pt_memo_get(struct pt_machine *machine, uint32_t at)
{
    if (at >= machine->memo_capacity || machine->memo[at] == 0)
        return pt_fail(machine, "its pickle asks for a value that it never remembered");
    return pt_push_place(machine, machine->memo[at] - 1);
}
