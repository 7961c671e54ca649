/* A row's status and flags in words, as all commands that show rows say them. */
#ifndef LENSCTL_ROW_WORDS_H
#define LENSCTL_ROW_WORDS_H

#include "client/lensctl/output.h"

#include <stdint.h>

/* "COMPLETE", "PARTIAL", "INVALID_INPUT"; "?" for another. */
const char *ctl_row_status(uint8_t status);

/* The name of flag bit `bit`: "CAPPED", ..; NULL after the last. */
const char *ctl_row_flag(unsigned bit);

/* The names of all flags that are set, as a list. */
json_t *ctl_row_flags_json(uint8_t flags);

/* In a line of text: two spaces, then what isn't as it should be; nothing for a complete row without a flag. ALERT
 * isn't said here: verdict_print (rule_names.h) does. `missing`: lenses that weren't there in time. Returns the columns
 * it took. */
unsigned ctl_print_row_state(const struct ctl_output *out, uint8_t status, uint8_t flags, uint8_t reason,
                             uint32_t missing);

#endif
