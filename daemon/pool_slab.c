/* Making a pool's slab: how many slots it gets, and what is done when the device has too little memory for them.
 *
 * Before: what pool.device_memory and (where slots weren't given as a number) the device's free memory have room for.
 * After -ENOMEM all the same, because somebody else was faster: half the slots, down to the base, the pins and one
 * family; then half the rows in a batch, down to one submission. Rows then wait for lenses more often, or for each
 * other; their answers stay the same. Later a slab of a device may give slots back: pool_resize.c. */
#include "daemon/pool_private.h"

#include <errno.h>
#include <stdio.h>

#define MIB(bytes) ((unsigned long long)((bytes) >> 20))

/* What is being made, and what it may come down to. */
struct plan {
    struct lens_model model;
    struct lens_slab_config slab;
    uint32_t wanted; /* slots */
    uint32_t least_slots, least_rows;
    uint32_t work; /* slots for what one step brings in */
};

/* The base layers, the pins of everyone, the largest family, and one slot to work with. */
static uint32_t least_slots(const struct lens_pack *pack, const struct lensd_pool_config *config, uint32_t *work)
{
    uint32_t base = 0, family = 0;
    for (uint32_t lens = 0; lens < pack->lenses; lens++) {
        uint32_t children = lens_pack_child_count(pack, lens);
        family = children > family ? children : family;
        base += pack->layer[lens] < 64 && (config->base_layers >> pack->layer[lens] & 1) != 0;
    }
    *work = family + 1;
    uint64_t least = (uint64_t)base + config->pins + *work;
    return least < pack->lenses ? (uint32_t)least : pack->lenses;
}

static void plan_init(const struct lensd_pool *pool, const struct lensd_pool_config *config, struct plan *plan)
{
    const struct lens_pack *pack = pool->pack;
    lens_model_of_pack(pack, &plan->model);
    plan->wanted = config->slots == 0 || config->slots > pack->lenses ? pack->lenses : config->slots;
    plan->slab = (struct lens_slab_config){.slots = plan->wanted,
                                           .dtype = config->dtype_set ? config->dtype : pack->w1_dtype,
                                           .compute = config->compute,
                                           .max_batch_rows = config->max_batch_rows,
                                           .loaders = 1 + (config->load_threads > 0 ? config->load_threads : 1)};
    if (!config->dtype_set && plan->slab.dtype == LENS_LOG8) /* decoded once, unless pool.dtype says otherwise */
        plan->slab.dtype = LENS_F32;
    uint32_t least = least_slots(pack, config, &plan->work);
    plan->least_slots = least < plan->wanted ? least : plan->wanted;
    plan->least_rows = config->max_batch_rows < LENS_MAX_ROWS ? config->max_batch_rows : LENS_MAX_ROWS;
}

static void say(const struct lensd_pool *pool, const struct lensd_pool_config *config, enum lensd_log_level level,
                const char *sentence)
{
    if (config->log != NULL)
        lensd_log_event(config->log, level, LENSD_LOG_SLOTS_FEWER, &(struct lensd_log_fields){.pack = pool->pack->path},
                        "pack %s: %s", pool->pack->path, sentence);
}

/* Slots that `bytes` have room for beside the tables. */
static uint64_t slots_in(uint64_t bytes, const struct lens_slab_size *size)
{
    return bytes > size->fixed_bytes ? (bytes - size->fixed_bytes) / size->slot_bytes : 0;
}

static int fit_limit(struct lensd_pool *pool, const struct lensd_pool_config *config, const struct lens_slab_size *size,
                     struct plan *plan, struct lens_error *err)
{
    uint64_t room = slots_in(config->device_memory, size);
    if (room >= plan->slab.slots)
        return 0;
    if (room == 0)
        return lens_error_set(err, -ENOSPC,
                              "pool.device_memory is %llu MiB; the tables take %llu MiB and each slot %llu KiB: raise "
                              "it, or lower engine.max_batch_rows",
                              MIB(config->device_memory), MIB(size->fixed_bytes),
                              (unsigned long long)size->slot_bytes >> 10);
    plan->slab.slots = (uint32_t)room;
    plan->least_slots = plan->least_slots < room ? plan->least_slots : (uint32_t)room;
    snprintf(pool->note, sizeof pool->note, "pool.device_memory (%llu MiB) allows %u of %u slots",
             MIB(config->device_memory), plan->slab.slots, plan->wanted);
    return 0;
}

static int fit_free(struct lensd_pool *pool, const struct lens_slab_size *size, struct plan *plan,
                    struct lens_error *err)
{
    uint64_t bytes = 0;
    int r = pool->backend->ops->memory_free(pool->backend, &bytes);
    if (r != 0)
        return lens_error_set(err, r, "the device doesn't say how much of its memory is free");
    uint64_t room = slots_in(bytes > LENSD_DEVICE_RESERVE ? bytes - LENSD_DEVICE_RESERVE : 0, size);
    if (room >= plan->slab.slots)
        return 0;
    plan->slab.slots = room > plan->least_slots ? (uint32_t)room : plan->least_slots;
    pool->was_short = true;
    snprintf(pool->note, sizeof pool->note, "device memory is short: %u of %u slots (%llu MiB are free)",
             plan->slab.slots, plan->wanted, MIB(bytes));
    return 0;
}

/* As many slots as there is room for. */
static int fit(struct lensd_pool *pool, const struct lensd_pool_config *config, struct plan *plan,
               struct lens_error *err)
{
    struct lens_slab_size size;
    bool limited = config->device_memory != 0, counted = config->slots == 0 && pool_has_own_memory(pool);
    if (!limited && !counted)
        return 0;
    if (pool->backend->ops->slab_size == NULL)
        return limited ? lens_error_set(err, -ENOTSUP,
                                        "this backend can't bound a slab's memory: unset "
                                        "pool.device_memory and use pool.slots")
                       : 0;
    int r = pool->backend->ops->slab_size(pool->backend, &plan->model, &plan->slab, &size, err);
    if (r == 0 && limited)
        r = fit_limit(pool, config, &size, plan, err);
    if (r == 0 && counted)
        r = fit_free(pool, &size, plan, err);
    if (r == 0 && pool->note[0] != '\0')
        say(pool, config, LENSD_LOG_WARNING, pool->note);
    return r;
}

/* Wants less; false when there is no less. */
static bool step_down(struct plan *plan)
{
    struct lens_slab_config *slab = &plan->slab;
    if (slab->slots > plan->least_slots)
        slab->slots = slab->slots / 2 > plan->least_slots ? slab->slots / 2 : plan->least_slots;
    else if (slab->max_batch_rows > plan->least_rows)
        slab->max_batch_rows =
            slab->max_batch_rows / 2 > plan->least_rows ? slab->max_batch_rows / 2 : plan->least_rows;
    else
        return false;
    return true;
}

static void note_step(struct lensd_pool *pool, const struct lensd_pool_config *config, const struct plan *plan,
                      const struct lens_error *err)
{
    pool->was_short = true;
    int used = snprintf(pool->note, sizeof pool->note, "device memory is short: %u of %u slots", plan->slab.slots,
                        plan->wanted);
    if (plan->slab.max_batch_rows < config->max_batch_rows)
        snprintf(pool->note + used, sizeof pool->note - (size_t)used, ", batches of %u rows instead of %u",
                 plan->slab.max_batch_rows, config->max_batch_rows);
    if (config->log != NULL)
        lensd_log_event(config->log, LENSD_LOG_WARNING, LENSD_LOG_SLOTS_FEWER,
                        &(struct lensd_log_fields){.pack = pool->pack->path, .code = err->code},
                        "pack %s: %s: trying %u slots and batches of %u rows", pool->pack->path, err->text,
                        plan->slab.slots, plan->slab.max_batch_rows);
}

int pool_make_slab(struct lensd_pool *pool, const struct lensd_pool_config *config, struct lens_error *err)
{
    struct plan plan;
    struct lens_error failure = {0};
    plan_init(pool, config, &plan);
    int r = fit(pool, config, &plan, err);
    if (r != 0)
        return r;
    for (;;) {
        r = pool->backend->ops->slab_create(pool->backend, &plan.model, &plan.slab, &pool->slab, &failure);
        if (r != -ENOMEM || !pool_has_own_memory(pool) || !step_down(&plan))
            break;
        note_step(pool, config, &plan, &failure);
    }
    if (r != 0)
        return lens_error_set(err, r, "%s", failure.text);
    pool->slots = pool->made = plan.slab.slots;
    pool->least = plan.least_slots;
    pool->work = plan.work;
    return 0;
}
