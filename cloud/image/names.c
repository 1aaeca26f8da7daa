/* SPDX-License-Identifier: Apache-2.0 */
/* How chips and images are spelled. An image's name and tag are checked here once; what passes is
 * safe in a path and in a reference. */
#include <stdio.h>
#include <string.h>
#include "cloud/image/internal.h"

/* ours, OCI's (GOARCH), the kernel's */
static const char *const chips[IMAGE_CHIPS][3] = {
	{"x86_64", "amd64", "x86_64"},
	{"arm64", "arm64", "aarch64"},
	{"riscv64", "riscv64", "riscv64"},
};

int chip_index(const char *name)
{
	for (int i = 0; name && i < IMAGE_CHIPS; i++)
		for (int k = 0; k < 3; k++)
			if (!strcmp(chips[i][k], name))
				return i;
	return -1;
}

const char *chip_name(int chip)
{
	return chips[chip][0];
}

const char *chip_oci(int chip)
{
	return chips[chip][1];
}

const char *image_part_name(enum image_part p)
{
	static const char *const names[IMAGE_PARTS] = {"root", "kernel", "initramfs"};

	return names[p];
}

/* n bytes: letters and digits at both ends, between them also what `more` holds. */
static bool word_ok(const char *p, size_t n, const char *more)
{
	static const char ends[] = "abcdefghijklmnopqrstuvwxyz0123456789";

	if (!n || n > IMAGE_NAME_MAX || !strchr(ends, p[0]) || !strchr(ends, p[n - 1]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!strchr(ends, p[i]) && !strchr(more, p[i]))
			return false;
	return true;
}

int image_name(const char *text, char ret_name[IMAGE_REF_MAX], struct err *e)
{
	size_t n = strcspn(text, ":");
	const char *tag = text[n] ? text + n + 1 : NULL;

	/* word_ok's strchr() would take a 0 for a member, but there is none within n. */
	if (!word_ok(text, n, "-") || (tag && !word_ok(tag, strlen(tag), "-._")))
		return err_set(e, ERR_USAGE, -EINVAL,
			"image name '%.80s' is not allowed; allowed: NAME or NAME:TAG, lower-case "
			"letters, digits and '-', at most %d each",
			text, IMAGE_NAME_MAX);
	if (tag && !strcmp(tag, "latest"))
		tag = NULL;
	snprintf(ret_name, IMAGE_REF_MAX, "%.*s%s%s", (int)n, text, tag ? ":" : "", tag ? tag : "");
	return 0;
}

void image_ref(const char *project, const char *name, char ret_ref[IMAGE_REF_MAX])
{
	bool other = strcmp(project, "default") != 0;

	snprintf(ret_ref, IMAGE_REF_MAX, "%.64s%s%.128s", other ? project : "", other ? "/" : "",
		name);
}
