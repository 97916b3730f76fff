/* table.c - see table.h. */
#include "report/table.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "report/page.h"

char (*table_row(table *t))[TABLE_TEXT]
{
    if (t->n_rows == t->room) {
        size_t room = t->room ? 2 * t->room : 32;
        char(*cells)[TABLE_TEXT] = kvf_resize(t->cells, room * t->n_columns, sizeof *cells);
        if (!cells) {
            t->no_memory = true;
            return NULL;
        }
        t->cells = cells;
        t->room = room;
    }
    char(*row)[TABLE_TEXT] = t->cells + t->n_rows++ * t->n_columns;
    memset(row, 0, t->n_columns * sizeof *row);
    return row;
}

void table_free(table *t)
{
    kvf_free(t->cells);
    t->cells = NULL;
    t->n_rows = t->room = 0;
}

static const char *text_of(const table *t, size_t row, size_t column)
{
    return t->cells[row * t->n_columns + column];
}

/* The longest text of a column, title included; 0 if it is not shown. */
static size_t width_of(const table *t, size_t column)
{
    size_t width = 0, title = strlen(t->columns[column].title);
    for (size_t i = 0; i < t->n_rows; i++) {
        size_t n = strlen(text_of(t, i, column));
        if (n > width) width = n;
    }
    return width && width < title ? title : width;
}

/* One line of Markdown: 0 the titles, 1 the rule, then rows. */
static void print_line(const table *t, const size_t *width, size_t line, FILE *to)
{
    for (size_t c = 0; c < t->n_columns; c++) {
        if (!width[c]) continue;
        bool words = t->columns[c].words;
        if (line == 1) {
            fputs(words ? "|:" : "|-", to);
            for (size_t i = 0; i < width[c]; i++) putc('-', to);
            fputs(words ? "-" : ":", to);
        } else {
            const char *text = line ? text_of(t, line - 2, c) : t->columns[c].title;
            fprintf(to, words ? "| %-*s " : "| %*s ", (int)width[c], text);
        }
    }
    fputs("|\n", to);
}

void table_print(const table *t, FILE *to)
{
    size_t width[TABLE_COLUMNS] = {0};
    for (size_t c = 0; c < t->n_columns; c++) width[c] = width_of(t, c);
    for (size_t line = 0; line < t->n_rows + 2; line++) print_line(t, width, line, to);
}

static void put_cell(kvf_output *out, const char *tag, bool words, const char *text)
{
    kvf_output_print(out, words ? "<%s class=\"w\">" : "<%s>", tag);
    page_text(out, text);
    kvf_output_print(out, "</%s>", tag);
}

enum { MANY = 10 /* columns, for which paper needs small letters */ };

void table_put(const table *t, kvf_output *out)
{
    size_t shown = 0;
    for (size_t c = 0; c < t->n_columns; c++) shown += width_of(t, c) > 0;
    kvf_output_print(out, "<div class=\"wide\"><table%s><thead><tr>",
                     shown > MANY ? " class=\"many\"" : "");
    for (size_t c = 0; c < t->n_columns; c++)
        if (width_of(t, c)) put_cell(out, "th", t->columns[c].words, t->columns[c].title);
    kvf_output_print(out, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < t->n_rows; i++) {
        kvf_output_print(out, "<tr>");
        for (size_t c = 0; c < t->n_columns; c++)
            if (width_of(t, c)) put_cell(out, "td", t->columns[c].words, text_of(t, i, c));
        kvf_output_print(out, "</tr>\n");
    }
    kvf_output_print(out, "</tbody></table></div>\n");
    if (t->no_memory && !out->error) out->error = ENOMEM;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void format_value(const json_t *value, char text[TABLE_TEXT])
{
    double number = json_number_value(value);
    if (json_is_string(value))
        snprintf(text, TABLE_TEXT, "%s", json_string_value(value));
    else if (json_is_integer(value) || fabs(number) >= 1000)
        snprintf(text, TABLE_TEXT, "%.0f", number);
    else
        snprintf(text, TABLE_TEXT, "%.4g", number);
}

table rows_table(json_t *rows, table_column *columns)
{
    table t = {.columns = columns};
    size_t i, column;
    json_t *row, *value;
    const char *key;
    json_object_foreach(json_array_get(rows, 0), key, value) if (t.n_columns < TABLE_COLUMNS)
        columns[t.n_columns++] = (table_column){key, json_is_string(value)};
    json_array_foreach(rows, i, row)
    {
        char(*cell)[TABLE_TEXT] = table_row(&t);
        for (column = 0; cell && column < t.n_columns; column++)
            format_value(json_object_get(row, columns[column].title), cell[column]);
    }
    return t;
}

/* The scalar members of the rows, in the order of the first; names with commas or quotes do not
 * occur. */
static void print_csv(json_t *rows, FILE *to)
{
    size_t i;
    json_t *row, *value;
    const char *key, *comma = "";
    json_object_foreach(json_array_get(rows, 0), key, value)
    {
        if (json_is_array(value)) continue;
        fprintf(to, "%s%s", comma, key);
        comma = ",";
    }
    if (json_array_size(rows)) fputc('\n', to);
    json_array_foreach(rows, i, row)
    {
        comma = "";
        json_object_foreach(row, key, value)
        {
            if (json_is_array(value)) continue;
            fputs(comma, to);
            comma = ",";
            if (json_is_string(value))
                fprintf(to, strchr(json_string_value(value), ',') ? "\"%s\"" : "%s",
                        json_string_value(value));
            else if (json_is_integer(value))
                fprintf(to, "%lld", (long long)json_integer_value(value));
            else if (json_is_real(value))
                fprintf(to, "%.9g", json_real_value(value));
        }
        fputc('\n', to);
    }
}

static void print_json(json_t *head, json_t *rows, FILE *to)
{
    json_t *all = json_pack("{s:O, s:O}", "head", head, "rows", rows);
    json_dumpf(all, to, JSON_INDENT(1));
    fputc('\n', to);
    json_decref(all);
}

/* One object a line, each whole in itself: the head goes into every row. */
static void print_jsonl(json_t *head, json_t *rows, FILE *to)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        json_t *line = json_copy(row);
        json_object_set(line, "head", head);
        json_dumpf(line, to, JSON_COMPACT);
        fputc('\n', to);
        json_decref(line);
    }
}

bool rows_format_known(const char *format)
{
    static const char *const formats[] = {"md", "csv", "json", "jsonl"};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(format, formats[i])) return true;
    return false;
}

void rows_print(const char *format, json_t *head, json_t *rows, FILE *to)
{
    if (!strcmp(format, "csv")) print_csv(rows, to);
    if (!strcmp(format, "json")) print_json(head, rows, to);
    if (!strcmp(format, "jsonl")) print_jsonl(head, rows, to);
}
