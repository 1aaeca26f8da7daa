/* SPDX-License-Identifier: Apache-2.0 */
/* The page, top to bottom: who, verdict, figures, tests, CPU, host, KVM. A reader in a hurry stops
 * after the tiles; long lists are folded. */
#include "html.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void tile(FILE *f, const char *class, const char *big, const char *small)
{
	fprintf(f, "<div class=\"tile\"><b class=\"%s\">", class);
	html_text(f, big);
	fputs("</b>", f);
	html_text(f, small);
	fputs("</div>\n", f);
}

static void number_tile(
	FILE *f, const char *class, const json_t *obj, const char *key, const char *small)
{
	char text[32];
	long long n = json_integer_value(json_object_get(obj, key));

	snprintf(text, sizeof(text), "%lld", n);
	tile(f, n ? class : "dim", text, small);
}

static void tiles(FILE *f, const json_t *report)
{
	const json_t *counts = json_object_get(report, "counts"),
		     *kvm = json_object_get(report, "kvm");
	const json_t *host = json_object_get(report, "host");
	const char *verdict = html_str(kvm, "verdict");
	bool linux_runs = !strcmp(verdict, "linux"), some = !strcmp(verdict, "bare-metal");

	fputs("<div class=\"tiles\">\n", f);
	tile(f,
		linux_runs ? "pass"
		: some	   ? "skip"
			   : "fail",
		linux_runs ? "runs Linux"
		: some	   ? "runs small guests"
			   : verdict,
		"/dev/kvm");
	number_tile(f, "pass", counts, "pass", "tests passed");
	number_tile(f, "fail", counts, "fail", "failed");
	number_tile(f, "skip", counts, "skip", "skipped");
	number_tile(f, "", json_object_get(report, "cpu"), "online", "CPUs");
	number_tile(f, "", host, "page_size", "bytes a page");
	fputs("</div>\n", f);
	if (!linux_runs && *html_str(kvm, "why")) {
		fputs("<p>", f);
		html_text(f, html_str(kvm, "why"));
		fputs("</p>\n", f);
	}
}

/* What the CPU calls itself, wherever its chip says that. */
static const char *model(const json_t *report)
{
	const json_t *cpu = json_object_get(report, "cpu"),
		     *fields = json_object_get(cpu, "fields");
	static const char *const keys[] = {"model name", "Model", "uarch", "CPU part"};

	for (unsigned i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		if (*html_str(fields, keys[i]))
			return html_str(fields, keys[i]);
	return *html_str(cpu, "vendor") ? html_str(cpu, "vendor") : html_str(report, "chip");
}

static void evidence(FILE *f, const json_t *test)
{
	static const char *const parts[][2] = {
		{"vmm_says", "VMM"}, {"serial", "serial port"}, {"crash_text", "crash"}};
	const json_t *crash = json_object_get(test, "crash");

	for (unsigned i = 0; i < 3; i++) {
		if (!*html_str(test, parts[i][0]))
			continue;
		fprintf(f, "<details><summary>%s</summary><pre>", parts[i][1]);
		html_text(f, html_str(test, parts[i][0]));
		fputs("</pre></details>", f);
	}
	if (crash) {
		char *text = json_dumps(crash, JSON_INDENT(1));
		fputs("<details><summary>crash report, raw</summary><pre>", f);
		html_text(f, text);
		fputs("</pre></details>", f);
		free(text);
	}
}

static void tests(FILE *f, const json_t *report)
{
	json_t *t;
	size_t i;

	fputs("<h2>Tests</h2>\n<div class=\"wide\"><table>\n"
	      "<tr><th>test<th>result<th>why<th class=\"n\">seconds\n",
		f);
	json_array_foreach (json_object_get(report, "tests"), i, t) {
		fputs("<tr><td>", f);
		html_text(f, html_str(t, "name"));
		fputs("<td class=\"", f);
		html_text(f, html_str(t, "result"));
		fputs("\">", f);
		html_text(f, html_str(t, "result"));
		fputs("<td>", f);
		html_text(f, html_str(t, "reason"));
		evidence(f, t);
		fputs("<td class=\"n\">", f);
		html_value(f, json_object_get(t, "seconds"));
		fputs("\n", f);
	}
	fputs("</table></div>\n", f);
}

static void table(FILE *f, const char *folded, const json_t *obj)
{
	if (!json_object_size(obj))
		return;
	if (folded) {
		fputs("<details><summary>", f);
		html_text(f, folded);
		fputs("</summary>", f);
	}
	fputs("<table class=\"kv\">\n", f);
	html_rows(f, obj);
	fputs("</table>\n", f);
	if (folded)
		fputs("</details>\n", f);
}

static bool has_word(const json_t *array, const char *word)
{
	json_t *w;
	size_t i;

	json_array_foreach (array, i, w)
		if (!strcmp(json_string_value(w), word))
			return true;
	return false;
}

/* The words of a that b has not. */
static json_t *without(const json_t *a, const json_t *b)
{
	json_t *rest = json_array(), *w;
	size_t i;

	json_array_foreach (a, i, w)
		if (!has_word(b, json_string_value(w)))
			json_array_append(rest, w);
	return rest;
}

static void cpu(FILE *f, const json_t *report)
{
	const json_t *c = json_object_get(report, "cpu");

	fputs("<h2>CPU</h2>\n", f);
	table(f, NULL, c);
	html_words(f, "Caches of CPU 0", json_object_get(c, "caches"));
	html_words(f, "Features that Linux names", json_object_get(c, "features"));
	table(f, "all that Linux says of one CPU", json_object_get(c, "fields"));
}

static void guest_cpu(FILE *f, const json_t *report)
{
	const json_t *guest = json_object_get(json_object_get(report, "kvm"), "guest_cpu");
	const json_t *of_guest = json_object_get(guest, "features");
	json_t *lost;

	if (!json_object_size(guest))
		return;
	fputs("<h2>The CPU that KVM gives a guest</h2>\n", f);
	table(f, NULL, guest);
	html_words(f, "Features", of_guest);
	lost = without(json_object_get(json_object_get(report, "cpu"), "features"), of_guest);
	if (json_array_size(of_guest))
		html_words(f, "Named by the host's Linux, not among the guest's", lost);
	json_decref(lost);
	html_words(f, "SBI extensions", json_object_get(guest, "sbi_extensions"));
	html_words(f, "SVE vector lengths, bits", json_object_get(guest, "sve_vector_bits"));
	html_words(f, "Page sizes", json_object_get(guest, "page_sizes"));
	table(f, "registers", json_object_get(guest, "registers"));
	table(f, "feature MSRs", json_object_get(guest, "feature_msrs"));
}

/* Capabilities that are there, "NAME" or "NAME = number"; the others folded. */
static void capabilities(FILE *f, const json_t *caps)
{
	json_t *yes = json_array(), *no = json_array(), *value;
	const char *key;

	json_object_foreach ((json_t *)caps, key, value) {
		long long n = json_integer_value(value);
		if (n > 1)
			json_array_append_new(yes, json_sprintf("%s = %lld", key, n));
		else
			json_array_append_new(n ? yes : no, json_string(key));
	}
	html_words(f, "Capabilities", yes);
	fputs("<details><summary>capabilities that are not there</summary>\n", f);
	html_words(f, "Not there", no);
	fputs("</details>\n", f);
	json_decref(yes);
	json_decref(no);
}

static void kvm(FILE *f, const json_t *report)
{
	const json_t *k = json_object_get(report, "kvm"), *module;
	const char *name;

	fputs("<h2>KVM</h2>\n", f);
	table(f, NULL, k);
	html_words(f, "Devices in the kernel", json_object_get(k, "devices"));
	if (json_object_size(json_object_get(k, "capabilities")))
		capabilities(f, json_object_get(k, "capabilities"));
	json_object_foreach (json_object_get(k, "parameters"), name, module)
		table(f, name, module);
}

int html_write(const json_t *report, FILE *f)
{
	html_head(f, model(report));
	fputs("<h1>", f);
	html_text(f, model(report));
	fputs("</h1>\n<p class=\"dim\">", f);
	html_text(f, html_str(report, "chip"));
	fputs(" · Linux ", f);
	html_text(f, html_str(json_object_get(report, "host"), "kernel"));
	fputs(" · ", f);
	html_text(f, html_str(report, "vmm"));
	fputs(" · ", f);
	html_text(f, html_str(report, "made"));
	fputs("</p>\n", f);
	tiles(f, report);
	fputs("<h2>Figures</h2>\n", f);
	html_figures(f, json_object_get(report, "metrics"));
	tests(f, report);
	cpu(f, report);
	fputs("<h2>Host</h2>\n", f);
	table(f, NULL, json_object_get(report, "host"));
	table(f, "vulnerabilities, as Linux sees them",
		json_object_get(json_object_get(report, "host"), "vulnerabilities"));
	kvm(f, report);
	guest_cpu(f, report);
	fputs("</html>\n", f);
	return ferror(f) ? -EIO : 0;
}
