/* lines.h - lines as people and programs type them, one by one. */
#ifndef TRIGO_LINES_H
#define TRIGO_LINES_H

#include <stdio.h>

typedef enum trigo_line { TRIGO_LINE, TRIGO_LINE_TOO_LONG, TRIGO_LINE_END } trigo_line;

/* Read a line, or what there is behind the last new line.
 *
 * line  [room] set to it, terminated, without the new line; a tab counts as a space, other control
 *       characters are dropped. Of a line that is too long nothing is kept. */
trigo_line trigo_line_read(FILE *in, char *line, size_t room);

/* Cut a line in place into words between spaces. Returns how many there are; words [most] holds no
 * more than that. */
size_t trigo_line_words(char *line, char **words, size_t most);

#endif
