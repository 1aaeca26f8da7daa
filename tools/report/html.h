/* SPDX-License-Identifier: Apache-2.0 */
/* A report as one page for people: no scripts, nothing fetched, light and dark. */
#ifndef REPORT_HTML_H
#define REPORT_HTML_H

#include <jansson.h>
#include <stdio.h>

/* Writes the page of a report. Returns 0 or a negative errno. */
int html_write(const json_t *report, FILE *f);

/* ---- html_parts.c ---- */

/* Text with what HTML gives a meaning to escaped, right in text and in quoted attributes. NULL
 * writes nothing. */
void html_text(FILE *f, const char *text);
/* The string or number at key as text; nothing when it is not there. */
void html_value(FILE *f, const json_t *value);
const char *html_str(const json_t *obj, const char *key); /* "" when it is not there */
void html_head(FILE *f, const char *title);
/* Rows of what is a string or number in obj. */
void html_rows(FILE *f, const json_t *obj);
/* The words of an array, as small boxes, with a caption. */
void html_words(FILE *f, const char *caption, const json_t *array);
/* A bar for each figure, on one logarithmic scale for those that are times. */
void html_figures(FILE *f, const json_t *metrics);

#endif
