/* Requests to pin a branch for everybody at run time, and to let it go. */
#include "daemon/control.h"
#include "daemon/pins.h"
#include "daemon/sys.h"

#include <errno.h>

#define PIN_TEXT 280u

/* The sessions of the pack and what each would have pinned. */
struct change {
    struct lensd_session **sessions;
    struct lensd_pin_list *lists;
    uint32_t n;
};

static void free_change(struct change *change)
{
    for (uint32_t i = 0; i < change->n; i++)
        lensd_free(change->lists[i].lenses);
    lensd_free(change->lists);
    lensd_free(change->sessions);
}

static int plan(const struct lensd_service *service, const struct lensd_served_pack *served,
                const struct lensd_pins *pins, struct change *out)
{
    const struct lensd_attachments *all = &service->sessions;
    *out = (struct change){lensd_calloc(all->n + 1, sizeof(struct lensd_session *)),
                           lensd_calloc(all->n + 1, sizeof(struct lensd_pin_list)), 0};
    int r = out->sessions != NULL && out->lists != NULL ? 0 : -ENOMEM;
    for (uint32_t i = 0; r == 0 && i < all->n; i++) {
        struct lensd_session *session = all->items[i].session;
        if (session->binding.served != served)
            continue;
        r = lensd_binding_pin_list(&session->binding, pins, &out->lists[out->n]);
        if (r == 0)
            out->sessions[out->n++] = session;
    }
    return r;
}

/* All sessions of the pack go on with `pins`, or none. Takes the list in any case. */
static int apply(struct lensd_service *service, struct lensd_served_pack *served, struct lensd_pins *pins,
                 struct lens_error *err)
{
    struct change change;
    int r = plan(service, served, pins, &change);
    if (r != 0)
        lens_error_set(err, r, "no memory for what the sessions would have pinned");
    else
        r = lensd_engine_repin(service->engine, served, &pins, change.sessions, change.lists, change.n, err);
    lensd_pins_free(pins); /* what the pack had, or what it didn't take */
    free_change(&change);
    return r;
}

static void refuse(struct lensd_connection *c, const struct lensd_served_pack *served, int r, const char *text)
{
    enum lens_fault fault = r == -EEXIST ? LENS_FAULT_IN_USE : lensd_control_fault_of(r);
    lensd_connection_fault(c, r == -E2BIG ? LENS_FAULT_NO_SPACE : fault, "pack %s: %s; nothing was changed",
                           served->name, text);
}

static void change_pins(struct lensd_service *service, struct lensd_connection *c, const struct lens_pin *asked,
                        bool add)
{
    struct lensd_served_pack *served = lensd_control_pack(service, c, asked->pack);
    struct lensd_pin pin = {.alone = asked->alone};
    struct lensd_pins *pins = NULL;
    struct lens_error err = {0};
    char text[PIN_TEXT];
    if (served == NULL || !lensd_control_concept(c, served, asked->concept, &pin.concept))
        return;
    uint32_t before = lensd_pins_count(served->pins);
    int r = add ? lensd_pins_add(served->pins, served->pack, pin, &pins, &err)
                : lensd_pins_remove(served->pins, served->pack, pin, &pins, &err);
    if (r == 0)
        r = apply(service, served, pins, &err);
    if (r != 0) {
        refuse(c, served, r, err.text);
        return;
    }
    uint32_t now = lensd_pins_count(served->pins);
    lensd_pin_text(pin, served->pack, text, sizeof text);
    lensd_log(&service->log, LENSD_LOG_INFO, "pack %s: %s is %s at run time; lenses pinned now: %u", served->name, text,
              add ? "pinned" : "unpinned", now);
    lensd_control_done(service, c, served->generation,
                       "pack %s: %s is %s; lenses pinned at run time: %u, before: %u; sessions: %u", served->name, text,
                       add ? "pinned" : "unpinned", now, before, served->sessions);
}

void lensd_control_pin(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    change_pins(service, c, &request->u.pin, true);
}

void lensd_control_unpin(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    change_pins(service, c, &request->u.pin, false);
}
