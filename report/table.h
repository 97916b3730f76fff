/* table.h - rows of text in columns, for a terminal or a document (Markdown) and for a page.
 *
 *     static const table_column columns[] = {{"test", true}, {"ms", false}};
 *     table t = {.columns = columns, .n_columns = 2};
 *     char(*cell)[TABLE_TEXT] = table_row(&t);
 *     if (cell) snprintf(cell[0], TABLE_TEXT, ...);     an empty cell: nothing to say
 *     table_print(&t, stdout);
 *     table_free(&t);
 *
 * A column in which every cell is empty is not shown. */
#ifndef REPORT_TABLE_H
#define REPORT_TABLE_H

#include "output.h"

#include <jansson.h>

enum { TABLE_TEXT = 64, TABLE_COLUMNS = 32 };

typedef struct table_column {
    const char *title;
    bool words; /* to the left; numbers stand to the right */
} table_column;

typedef struct table {
    const table_column *columns; /* [n_columns] borrowed */
    size_t n_columns;            /* at most TABLE_COLUMNS */
    char (*cells)[TABLE_TEXT];   /* [n_rows][n_columns] */
    size_t n_rows, room;
    bool no_memory; /* a row is missing */
} table;

/* Append a row of empty cells. Returns them, [n_columns], until the next call; NULL: no memory. */
char (*table_row(table *t))[TABLE_TEXT];
void table_print(const table *t, FILE *to);      /* as Markdown, in columns of equal width */
void table_put(const table *t, kvf_output *out); /* as HTML */
void table_free(table *t);

/* ---- rows ------------------------------------------------------------------------------------ */

/* Rows, an array of flat objects with equal keys, as a table: a column for each key, numbers with
 * four digits that count or all before the point. columns [TABLE_COLUMNS] is filled; it and the rows
 * are borrowed by the table, which is to be freed. */
table rows_table(json_t *rows, table_column *columns);

bool rows_format_known(const char *format); /* "md", "csv", "json", "jsonl" */

/* Print rows for programs, as "csv" (without what is no string or number),
 * "json" (an object of head and rows) or "jsonl" (rows that each hold the head). Borrows both. */
void rows_print(const char *format, json_t *head, json_t *rows, FILE *to);

#endif
