/* The request for what the lenses of a branch said last. */
#include "daemon/branch.h"
#include "daemon/control.h"
#include "daemon/pins.h"
#include "daemon/readings.h"
#include "daemon/sys.h"

static void fill_row(struct lensd_service *service, const struct lensd_served_pack *served,
                     const struct lensd_branch *branch, uint32_t lens, uint64_t now_ns, struct lens_reading_row *out)
{
    *out = (struct lens_reading_row){
        .id = lens,
        .parent = branch->parents[lens],
        .layer = served->pack->layer[lens],
        .resident = lensd_control_is_resident(served, lens),
        .pinned = lensd_pins_has(served->pins, lens),
        .key = lensd_control_key(service, served->pack, lens),
    };
    lensd_readings_get(served->readings, lens, now_ns, out);
}

void lensd_control_readings(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    const struct lens_readings *asked = &request->u.readings;
    const struct lensd_served_pack *served = lensd_control_pack(service, c, asked->pack);
    struct lensd_branch branch;
    uint32_t concept;
    if (served == NULL || !lensd_control_concept(c, served, asked->concept, &concept))
        return;
    if (lensd_branch_find(served->pack, concept, false, &branch) != 0) {
        lensd_connection_fault(c, LENS_FAULT_NO_SPACE, "no memory to look at a branch of %u lenses",
                               served->pack->lenses);
        return;
    }
    struct lens_reading_page *page = &lensd_control_answer(service, LENS_MSG_READING_PAGE)->u.reading_page;
    uint32_t lenses = served->pack->lenses, lens = asked->first < lenses ? asked->first : lenses;
    uint64_t now_ns = lensd_now_ns();
    page->pack = lens_text_of(served->name);
    page->generation = served->generation;
    page->branch = concept;
    page->lenses = branch.lenses;
    for (; lens < lenses && page->count < LENS_PAGE_ROWS; lens++)
        if (lensd_branch_has(&branch, lens))
            fill_row(service, served, &branch, lens, now_ns, &page->rows[page->count++]);
    page->next = lens;
    lensd_branch_free(&branch);
    lensd_connection_send(c, &service->answer, NULL, 0);
}
