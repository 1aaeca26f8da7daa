/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of the page: escaping, style, tables, bars. Whatever comes from outside goes through
 * html_text(). */
#include "html.h"

#include <math.h>
#include <string.h>
#include "vmm/base/num.h"

#define BAR_WIDTH 360.0

void html_text(FILE *f, const char *text)
{
	for (const char *c = text; c && *c; c++) {
		switch (*c) {
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		case '\'':
			fputs("&#39;", f);
			break;
		default:
			fputc(*c, f);
		}
	}
}

void html_value(FILE *f, const json_t *value)
{
	if (json_is_string(value))
		html_text(f, json_string_value(value));
	else if (json_is_integer(value))
		fprintf(f, "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		fprintf(f, "%.2f", json_real_value(value));
	else if (json_is_boolean(value))
		fputs(json_is_true(value) ? "yes" : "no", f);
}

const char *html_str(const json_t *obj, const char *key)
{
	const char *s = json_string_value(json_object_get(obj, key));

	return s ? s : "";
}

static const char style[] =
	":root{color-scheme:light dark;--bg:#fbfaf7;--fg:#22252b;--dim:#6b7080;--line:#e1ded6;"
	"--box:#fff;--good:#2f7d4f;--bad:#b3382c;--soft:#a06a10;--bar:#3b6ea5}\n"
	"@media(prefers-color-scheme:dark){:root{--bg:#16181d;--fg:#e3e4e8;--dim:#979cab;"
	"--line:#2d313a;--box:#1d2027;--good:#6fc191;--bad:#ee8377;--soft:#dcae5c;--bar:#7eaee0}}\n"
	"body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;"
	"max-width:60rem;margin:0 auto;padding:1.5rem 1rem 4rem}\n"
	"h1{font-size:1.6rem;margin:.2em 0}h2{font-size:1.15rem;margin:2.2em 0 .6em;"
	"border-bottom:1px solid var(--line)}h3{font-size:.95rem;margin:1.2em 0 .3em}\n"
	".dim{color:var(--dim)}.pass{color:var(--good)}.fail{color:var(--bad)}"
	".skip{color:var(--soft)}\n"
	".tiles{display:flex;flex-wrap:wrap;gap:.6rem;margin:1.2rem 0}.tile{background:var(--box);"
	"border:1px solid var(--line);border-radius:.5rem;padding:.5rem .9rem}.tile b{display:block;"
	"font-size:1.25rem}\n"
	"table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;"
	"padding:.25rem .7rem .25rem 0;border-bottom:1px solid var(--line);"
	"overflow-wrap:anywhere}th{color:var(--dim);font-weight:500}td.n,th.n{text-align:right;"
	"white-space:nowrap;overflow-wrap:normal;font-variant-numeric:tabular-nums}\n"
	".words span{display:inline-block;font:.8rem ui-monospace,monospace;background:var(--box);"
	"border:1px solid var(--line);border-radius:.25rem;padding:0 .35rem;margin:.1rem}\n"
	"pre{font-size:.8rem;background:var(--box);border:1px solid var(--line);padding:.6rem;"
	"overflow-x:auto}details{margin:.5rem 0}summary{cursor:pointer;color:var(--dim)}\n"
	".kv th{width:14rem}.note{font-size:.8rem}.wide{overflow-x:auto}svg{display:block}svg .b{fill:var(--bar)}svg .w{stroke:var(--fg);"
	"stroke-width:1.5}\n";

void html_head(FILE *f, const char *title)
{
	fputs("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>",
		f);
	html_text(f, title);
	fprintf(f, "</title>\n<style>\n%s</style>\n", style);
}

/* "kernel_build": "kernel build". */
static void key_text(FILE *f, const char *key)
{
	for (; *key; key++) {
		char one[2] = {*key == '_' ? ' ' : *key};
		html_text(f, one);
	}
}

void html_rows(FILE *f, const json_t *obj)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)obj, key, value) {
		if (json_is_object(value) || json_is_array(value))
			continue;
		fputs("<tr><th>", f);
		key_text(f, key);
		fputs("<td>", f);
		html_value(f, value);
		fputs("\n", f);
	}
}

void html_words(FILE *f, const char *caption, const json_t *array)
{
	json_t *word;
	size_t i;

	if (!json_array_size(array))
		return;
	fputs("<h3>", f);
	html_text(f, caption);
	fprintf(f, " <span class=\"dim\">(%zu)</span></h3>\n<p class=\"words\">",
		json_array_size(array));
	json_array_foreach (array, i, word) {
		fputs("<span>", f);
		html_value(f, word);
		fputs("</span> ", f);
	}
	fputs("</p>\n", f);
}

/* ---- figures ---- */

static double ns_per(const char *unit)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};

	for (unsigned i = 0; i < ARRAY_SIZE(units); i++)
		if (!strcmp(unit, units[i].unit))
			return units[i].ns;
	return 0; /* no time */
}

static double in_ns(const json_t *metric, const char *key)
{
	return json_number_value(json_object_get(metric, key)) * ns_per(html_str(metric, "unit"));
}

static void amount(FILE *f, const json_t *metric, const char *key)
{
	double ns = in_ns(metric, key);

	if (!ns_per(html_str(metric, "unit"))) {
		fprintf(f, "%.0f ", json_number_value(json_object_get(metric, key)));
		html_text(f, html_str(metric, "unit"));
	} else if (ns < 1e4) {
		fprintf(f, "%.0f ns", ns);
	} else if (ns < 1e7) {
		fprintf(f, "%.1f µs", ns / 1e3);
	} else {
		fprintf(f, "%.1f ms", ns / 1e6);
	}
}

/* Whole decades around all times, so that bars of two pages are alike. */
struct scale {
	double low, high; /* powers of ten */
};

static struct scale scale_of(const json_t *metrics)
{
	struct scale s = {12, 0};
	json_t *m;
	size_t i;

	json_array_foreach (metrics, i, m) {
		double low = in_ns(m, "min"), high = in_ns(m, "max");
		if (low >= 1)
			s.low = MIN(s.low, floor(log10(low)));
		if (high >= 1)
			s.high = MAX(s.high, ceil(log10(high)));
	}
	s.high = MAX(s.high, s.low + 1);
	return s;
}

static double x_of(const struct scale *s, double ns)
{
	double x = ns < 1 ? 0 : (log10(ns) - s->low) / (s->high - s->low) * BAR_WIDTH;

	return MIN(MAX(x, 2.0), BAR_WIDTH);
}

static void bar(FILE *f, const json_t *m, const struct scale *s)
{
	double low = x_of(s, in_ns(m, "min")), high = x_of(s, in_ns(m, "max"));

	fprintf(f,
		"<svg width=\"%.0f\" height=\"14\" role=\"img\" aria-label=\"bar\">"
		"<rect class=\"b\" y=\"2\" width=\"%.1f\" height=\"10\" rx=\"2\"/>"
		"<line class=\"w\" x1=\"%.1f\" x2=\"%.1f\" y1=\"7\" y2=\"7\"/></svg>",
		BAR_WIDTH, x_of(s, in_ns(m, "median")), low, high);
}

/* What the guest-tests' figures are, for who has not read them. */
static const char *meaning(const char *name)
{
	static const char *const known[][2] = {
		{"clock-read", "reading the clock; contained in the other figures"},
		{"exit-kernel", "leaving the guest to the host's kernel and back"},
		{"exit-mmio", "access to a device of the VMM through memory"},
		{"exit-pio", "access to a device of the VMM through a port"},
		{"exit-absent", "access to an address where nothing is"},
		{"ipi-round-trip", "an interrupt to another CPU and one back"},
		{"irq-line", "from a write to the serial port to its interrupt's handler"},
		{"irq-msix", "a whole request to a device that answers by message"},
		{"irq-virtio-line", "a whole request to a device that answers by line"},
		{"start-to-power-off", "the VMM from start to end, the guest powers off at once"},
		{"timer-busy", "how late the timer's handler runs while the CPU computes"},
		{"timer-sleep", "how late the timer's handler runs when the CPU slept"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(name, known[i][0]))
			return known[i][1];
	return "";
}

void html_figures(FILE *f, const json_t *metrics)
{
	struct scale s = scale_of(metrics);
	json_t *m;
	size_t i;

	if (!json_array_size(metrics)) {
		fputs("<p>No test has measured anything.</p>\n", f);
		return;
	}
	fputs("<p class=\"dim\">Bars: the median, on a logarithmic scale. The thin line goes from the "
	      "least to the most of all runs.</p>\n<div class=\"wide\"><table>\n"
	      "<tr><th>figure<th>test<th class=\"n\">median<th><th class=\"n\">runs\n",
		f);
	json_array_foreach (metrics, i, m) {
		fputs("<tr><td>", f);
		html_text(f, html_str(m, "name"));
		fputs("<div class=\"dim note\">", f);
		html_text(f, meaning(html_str(m, "name")));
		fputs("</div><td class=\"dim\">", f);
		html_text(f, html_str(m, "test"));
		fputs("<td class=\"n\">", f);
		amount(f, m, "median");
		fputs("<td>", f);
		if (ns_per(html_str(m, "unit")))
			bar(f, m, &s);
		fputs("<td class=\"n\">", f);
		html_value(f, json_object_get(m, "runs"));
		fputs("\n", f);
	}
	fputs("</table></div>\n", f);
}
