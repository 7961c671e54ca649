/* Whether `lensctl top` has a terminal that it can draw on; see top.h. A file of its own, since term.h makes macros of
 * many common words. */
#include "client/lensctl/top.h"

#include <stdlib.h>
#include <unistd.h>

#include <curses.h>
#include <term.h>

int top_check_terminal(void)
{
    const char *name = getenv("TERM");
    int known;
    if (isatty(STDOUT_FILENO) != 1 || isatty(STDIN_FILENO) != 1)
        return ctl_fail(CTL_USAGE,
                        "top draws on a terminal and listens to its keys, found none: use `lensctl top --once` "
                        "(with --json for programs), or `lensctl dmon`");
    if (setupterm(NULL, STDOUT_FILENO, &known) != OK || cursor_address == NULL)
        return ctl_fail(CTL_USAGE,
                        "top can't draw on a terminal of type '%s': set TERM to what it is, or use "
                        "`lensctl top --once`",
                        name != NULL ? name : "");
    del_curterm(cur_term);
    return CTL_OK;
}
