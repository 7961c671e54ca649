/* See row_words.h. */
#include "client/lensctl/row_words.h"

#include "client/liblens/lens.h"
#include "proto/wire.h"

static const char *const status_names[] = {"COMPLETE", "PARTIAL", "INVALID_INPUT"};
static const char *const flag_names[] = {"CAPPED", "DEGRADED", "STALE", "ALERT"};

const char *ctl_row_status(uint8_t status)
{
    return status < sizeof status_names / sizeof status_names[0] ? status_names[status] : "?";
}

const char *ctl_row_flag(unsigned bit)
{
    return bit < sizeof flag_names / sizeof flag_names[0] ? flag_names[bit] : NULL;
}

json_t *ctl_row_flags_json(uint8_t flags)
{
    json_t *list = json_array();
    for (unsigned i = 0; ctl_row_flag(i) != NULL; i++) {
        if ((flags >> i & 1) != 0)
            json_array_append_new(list, json_string(ctl_row_flag(i)));
    }
    return list;
}

unsigned ctl_print_row_state(const struct ctl_output *out, uint8_t status, uint8_t flags, uint8_t reason,
                             uint32_t missing)
{
    char text[256];
    bool invalid = status == LENS_ROW_INVALID_INPUT;
    flags &= (uint8_t)~LENS_ROW_ALERT;
    size_t used = (size_t)snprintf(text, sizeof text, "%s", ctl_row_status(status));
    if (status == LENS_ROW_COMPLETE && flags == 0)
        return 0;
    for (unsigned i = 0; ctl_row_flag(i) != NULL; i++) {
        if ((flags >> i & 1) != 0)
            used += (size_t)snprintf(text + used, sizeof text - used, " %s", ctl_row_flag(i));
    }
    if (invalid)
        used += (size_t)snprintf(text + used, sizeof text - used, ": %s", lens_reason_text(reason));
    if (missing > 0 && used < sizeof text)
        snprintf(text + used, sizeof text - used, " (%u lenses missing)", missing);
    fprintf(out->file, "  %s%s%s", ctl_style(out, invalid ? CTL_RED : CTL_YELLOW), text, ctl_style(out, CTL_PLAIN));
    return 2 + (unsigned)ctl_columns(text);
}
