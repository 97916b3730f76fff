/* page.c - see page.h. */
#include "report/page.h"

#include <string.h>

extern const char report_page_css[]; /* page.css */

kvf_status page_open(kvf_output *out, const char *path, const char *title, const char *style,
                     kvf_error *err)
{
    kvf_status status = kvf_output_open(out, path, err);
    if (status) return status;
    kvf_output_print(out, "<!DOCTYPE html>\n"
                          "<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
                          "<meta name=\"viewport\" content=\"width=device-width, "
                          "initial-scale=1\"/>\n<title>");
    page_text(out, title);
    kvf_output_print(out, "</title>\n<style>\n%s%s</style></head>\n<body>\n", report_page_css,
                     style ? style : "");
    return KVF_OK;
}

/* Bytes of the UTF-8 character at text, or 0: there is none. Neither long forms nor surrogates are
 * characters. */
static size_t character(const unsigned char *text)
{
    unsigned char c = text[0];
    size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : 4;
    if (n == 1) return (c >= 32 && c != 127) || c == '\n' || c == '\t';
    if (c < 0xc2 || c > 0xf4) return 0;
    for (size_t i = 1; i < n; i++)
        if ((text[i] & 0xc0) != 0x80) return 0;
    unsigned char next = text[1];
    bool bad = (c == 0xe0 && next < 0xa0) || (c == 0xed && next > 0x9f) ||
               (c == 0xf0 && next < 0x90) || (c == 0xf4 && next > 0x8f) ||
               (c == 0xc2 && next < 0xa0);
    return bad ? 0 : n;
}

void page_text(kvf_output *out, const char *text)
{
    while (*text) {
        size_t n = character((const unsigned char *)text);
        const char *safe = !n             ? "\xef\xbf\xbd"
                           : *text == '<' ? "&lt;"
                           : *text == '>' ? "&gt;"
                           : *text == '&' ? "&amp;"
                           : *text == '"' ? "&quot;"
                                          : NULL;
        if (safe)
            kvf_output_write(out, safe, strlen(safe));
        else
            kvf_output_write(out, text, n);
        text += n ? n : 1;
    }
}

void page_fact(kvf_output *out, const char *name, const char *text)
{
    kvf_output_print(out, "<dt>%s</dt><dd>", name);
    page_text(out, text);
    kvf_output_print(out, "</dd>\n");
}

kvf_status page_close(kvf_output *out, kvf_error *err)
{
    kvf_output_print(out, "</body></html>\n");
    return kvf_output_commit(out, err);
}
