/* page.h - a page for people: one HTML file that needs nothing else.
 *
 *     kvf_output out;
 *     status = page_open(&out, path, title, NULL, err);
 *     kvf_output_print(&out, "<h1>%s</h1>\n", "what is put is HTML");
 *     page_text(&out, name);                   what others wrote is escaped
 *     ... plots (plot.h), tables (table.h) ...
 *     status = page_close(&out, err);          or kvf_output_abandon
 *
 * Every page has the style of page.css, which follows the reader's light or dark setting, a narrow
 * screen and paper. Nothing on a page names another file or an address, so it can be sent. */
#ifndef REPORT_PAGE_H
#define REPORT_PAGE_H

#include "output.h"

/* Begin a page. title may be any text; style is more CSS, or NULL. Errors: those of
 * kvf_output_open. */
kvf_status page_open(kvf_output *out, const char *path, const char *title, const char *style,
                     kvf_error *err);

/* Write any text so that it reads as itself in HTML, between tags or as a quoted attribute. Bytes
 * that are not UTF-8, and control characters, become U+FFFD. */
void page_text(kvf_output *out, const char *text);

/* One line of a list <dl class="facts">: what, as HTML, and any text. */
void page_fact(kvf_output *out, const char *name, const char *text);

/* End the page, and give the file its name. Errors: those of kvf_output_commit. */
kvf_status page_close(kvf_output *out, kvf_error *err);

#endif
