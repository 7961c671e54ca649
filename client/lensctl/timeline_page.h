/* timeline.html as it is in the program: from ctl_timeline_page up to ctl_timeline_page_end, where a NUL stands. */
#ifndef LENSCTL_TIMELINE_PAGE_H
#define LENSCTL_TIMELINE_PAGE_H

extern const char ctl_timeline_page[], ctl_timeline_page_end[];

#endif
