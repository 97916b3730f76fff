/* lines.c - see lines.h. */
#include "trigo/lines.h"

#include <stdbool.h>
#include <string.h>

trigo_line trigo_line_read(FILE *in, char *line, size_t room)
{
    size_t n = 0;
    int c, first = getc(in);
    for (c = first; c != EOF && c != '\n'; c = getc(in)) {
        if (c == '\t') c = ' ';
        if (c < ' ' || c == 127) continue;
        if (n < room) line[n] = (char)c;
        n += n < room;
    }
    bool too_long = n == room;
    line[too_long ? 0 : n] = '\0';
    if (first == EOF) return TRIGO_LINE_END;
    return too_long ? TRIGO_LINE_TOO_LONG : TRIGO_LINE;
}

size_t trigo_line_words(char *line, char **words, size_t most)
{
    size_t n = 0;
    for (char *word; (word = strsep(&line, " ")) != NULL;) {
        if (!*word) continue;
        if (n < most) words[n] = word;
        n++;
    }
    return n;
}
