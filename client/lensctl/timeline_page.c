/* client/lensctl/timeline.html inside the program: a browser's page around a timeline's JSON. The assembler reads the
 * file (the Makefile says that this one depends on it), so that it can be written, and looked at, as what it is. */
#include "client/lensctl/timeline_page.h"

__asm__(".section .rodata\n"
        ".global ctl_timeline_page, ctl_timeline_page_end\n"
        ".hidden ctl_timeline_page, ctl_timeline_page_end\n"
        "ctl_timeline_page: .incbin \"client/lensctl/timeline.html\"\n"
        "ctl_timeline_page_end: .byte 0\n"
        ".text\n");
