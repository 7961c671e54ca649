/* See rule_names.h. */
#include "client/lensctl/rule_names.h"

#include "client/lensctl/waiting.h"
#include "client/liblens/control.h"
#include "proto/wire.h"

#include <stdlib.h>
#include <string.h>

#define ASK_AGAIN_NS UINT64_C(1000000000)
#define NAMES_MAX    4096u /* of a daemon that makes up more and more */

void rule_names_init(struct rule_names *names, const char *socket_path)
{
    *names = (struct rule_names){.socket_path = socket_path};
}

void rule_names_free(struct rule_names *names)
{
    lens_client_close(names->client);
    free(names->items);
    *names = (struct rule_names){0};
}

static const struct rule_name *find(const struct rule_names *names, uint32_t id)
{
    for (size_t i = 0; i < names->n; i++) {
        if (names->items[i].id == id)
            return &names->items[i];
    }
    return NULL;
}

/* ---- asking the daemon ------------------------------------------------------------------------------------------ */

static bool is_name(struct lens_text text)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    if (text.length == 0 || text.length >= RULE_NAME_BYTES)
        return false;
    for (uint32_t i = 0; i < text.length; i++) {
        if (memchr(allowed, text.data[i], sizeof allowed - 1) == NULL)
            return false;
    }
    return true;
}

static void add(struct rule_names *names, const struct lens_rule_row *row)
{
    if (find(names, row->id) != NULL || !is_name(row->name))
        return;
    if (names->n == names->room) {
        size_t room = names->room == 0 ? 32 : 2 * names->room;
        struct rule_name *items = room <= NAMES_MAX ? realloc(names->items, room * sizeof *items) : NULL;
        if (items == NULL)
            return; /* shown by its number */
        names->items = items;
        names->room = room;
    }
    struct rule_name *name = &names->items[names->n++];
    name->id = row->id;
    memcpy(name->text, row->name.data, row->name.length);
    name->text[row->name.length] = '\0';
}

/* A daemon that doesn't answer costs the names, not the rows. */
static void ask(struct rule_names *names)
{
    struct lens_client_error err;
    struct lens_msg msg;
    uint32_t first = 0;
    names->asked_ns = ctl_now_ns();
    if (names->client == NULL && lens_client_open(names->socket_path, &names->client, &err) != 0)
        return;
    do {
        memset(&msg, 0, sizeof msg);
        msg.type = LENS_MSG_RULES;
        msg.u.page.first = first;
        if (lens_control_call(names->client, &msg, &msg, LENS_CONTROL_TIMEOUT_MS, &err) != 0 ||
            msg.type != LENS_MSG_RULE_PAGE)
            return;
        for (uint32_t i = 0; i < msg.u.rule_page.count; i++)
            add(names, &msg.u.rule_page.rows[i]);
        first += msg.u.rule_page.count;
    } while (msg.u.rule_page.count > 0 && first < msg.u.rule_page.total && first < NAMES_MAX);
}

const char *rule_name(struct rule_names *names, uint32_t id)
{
    const struct rule_name *name = find(names, id);
    if (name == NULL && (names->asked_ns == 0 || ctl_now_ns() - names->asked_ns >= ASK_AGAIN_NS)) {
        ask(names);
        name = find(names, id);
    }
    if (name != NULL)
        return name->text;
    snprintf(names->number, sizeof names->number, "0x%08x", id);
    return names->number;
}

/* ---- showing ---------------------------------------------------------------------------------------------------- */

const char *verdict_action(uint8_t action)
{
    static const char *const words[] = {
        [LENS_VERDICT_NONE] = "none", [LENS_VERDICT_FLAG] = "flag", [LENS_VERDICT_STOP] = "stop"};
    return action < sizeof words / sizeof words[0] ? words[action] : "?";
}

json_t *verdict_json(struct rule_names *names, const struct row_verdict *verdict)
{
    if (verdict->action == LENS_VERDICT_NONE)
        return json_null();
    json_t *object = json_object();
    json_object_set_new(object, "action", json_string(verdict_action(verdict->action)));
    json_object_set_new(object, "rule", json_string(rule_name(names, verdict->rule)));
    json_object_set_new(object, "raised", json_boolean((verdict->flags & LENS_ROW_ALERT) != 0));
    return object;
}

unsigned verdict_print(const struct ctl_output *out, struct rule_names *names, const struct row_verdict *verdict)
{
    bool stop = verdict->action == LENS_VERDICT_STOP;
    char text[256];
    if (verdict->action == LENS_VERDICT_NONE)
        return 0;
    snprintf(text, sizeof text, "%s %s%s", stop ? "STOP" : "FLAG", rule_name(names, verdict->rule),
             (verdict->flags & LENS_ROW_ALERT) != 0 ? " raised" : "");
    fprintf(out->file, "  %s%s%s", ctl_style(out, stop ? CTL_RED : CTL_YELLOW), text, ctl_style(out, CTL_PLAIN));
    return 2 + (unsigned)ctl_columns(text);
}
