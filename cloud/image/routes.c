/* SPDX-License-Identifier: Apache-2.0 */
/* /v1/images: lists and reads as every resource; making one is a job with an operation; deleting
 * takes the tag away at once and leaves its blobs to a job. */
#include "cloud/image/routes.h"
#include <stdio.h>
#include <string.h>
#include "cloud/control/control.h"
#include "cloud/control/resources.h"
#include "vmm/base/cleanup.h"

static const char *const guests[] = {"linux", "bare-metal", NULL};

static const struct field source_fields[] = {
	{"oci", F_STR, F_ADMIN, 1, 1024,
		.help = "an OCI image layout on the server: /PATH[:REFERENCE]"},
	{"dir", F_STR, F_ADMIN, 1, 1024,
		.help = "a folder on the server with CHIP/kernel, CHIP/root, CHIP/initramfs"},
	{"upload", F_BOOL, .help = "what was uploaded under this name"},
	{0},
};
static const struct field part_fields[] = {
	{"digest", F_STR, F_OUTPUT, .help = "of the packed file, as nodes have it"},
	{"size", F_INT, F_OUTPUT, 0, INT64_MAX, .help = "bytes"},
	{"packed", F_INT, F_OUTPUT, 0, INT64_MAX, .help = "bytes on the way to a node"},
	{0},
};
static const struct field platform_fields[] = {
	{"chip", F_STR, F_OUTPUT, .help = "x86_64, arm64 or riscv64"},
	{"digest", F_STR, F_OUTPUT, .help = "of its manifest"},
	{"guest", F_ENUM, F_OUTPUT, .values = guests, .help = "what boots"},
	{"root", F_OBJECT, F_OUTPUT | F_NULL, .of = part_fields, .help = "the root disk"},
	{"kernel", F_OBJECT, F_OUTPUT | F_NULL, .of = part_fields, .help = "the kernel"},
	{"initramfs", F_OBJECT, F_OUTPUT | F_NULL, .of = part_fields, .help = "the initramfs"},
	{0},
};
static const struct field image_fields[] = {
	{"name", F_STR, F_REQUIRED | F_FIXED, 1, 127,
		.help = "NAME or NAME:TAG; :latest is left out"},
	{"source", F_OBJECT, F_REQUIRED | F_FIXED, .of = source_fields, .help = "one of its keys"},
	{"guest", F_ENUM, F_FIXED, .values = guests,
		.help = "bare-metal: boots on hosts whose KVM runs no Linux, too"},
	{"labels", F_LABELS, .help = "texts by name"},
	{"id", F_STR, F_OUTPUT, .help = "its id"},
	{"project", F_STR, F_OUTPUT, .help = "its project"},
	{"created_at", F_STR, F_OUTPUT, .help = "RFC 3339"},
	{"updated_at", F_STR, F_OUTPUT, .help = "RFC 3339"},
	{"revision", F_INT, F_OUTPUT, 0, INT64_MAX, .help = "its ETag"},
	{"digest", F_STR, F_OUTPUT, .help = "of its image index"},
	{"platforms", F_OBJECTS, F_OUTPUT, .of = platform_fields,
		.help = "what it is on each chip"},
	{0},
};

/* The image that {id} names, with :latest or without; NULL after answering. */
static struct obj *named(struct call *c)
{
	char name[IMAGE_REF_MAX];

	if (!obj_find(c->control->objects, KIND_IMAGE, c->project, c->param[0]) &&
		image_name(c->param[0], name, NULL) == 0)
		return call_obj(c, KIND_IMAGE, name);
	return call_obj(c, KIND_IMAGE, c->param[0]);
}

static void get_image(struct call *c)
{
	struct obj *o = named(c);

	if (o)
		res_answer(c, 200, o);
}

static void delete_image(struct call *c)
{
	struct obj *o = named(c);
	char name[IMAGE_REF_MAX], project[IMAGE_REF_MAX];
	struct job_spec s = {.kind = JOB_UNTAG, .project = project, .name = name};
	struct change ch = call_change(c, "deleted", NULL);
	int r;

	if (!o || !call_if_match(c, o))
		return;
	snprintf(name, sizeof(name), "%s", o->name);
	snprintf(project, sizeof(project), "%s", o->project);
	r = obj_delete(c->control->objects, o, &ch);
	if (r < 0) {
		res_failed(c, r);
		return;
	}
	job_start(c->control->images, &s, NULL, NULL);
	call_reply(c, 204, NULL);
}

/* Fills the job from the body's "source"; false after answering. spec's path is `path`. */
static bool read_source(struct call *c, struct job_spec *s, char path[PATH_MAX])
{
	json_t *source = json_object_get(c->body, "source");
	const char *oci = json_string_value(json_object_get(source, "oci"));
	const char *dir = json_string_value(json_object_get(source, "dir"));
	bool upload = json_is_true(json_object_get(source, "upload"));

	if (!!oci + !!dir + upload != 1) {
		call_problem(
			c, 422, "source", "source: exactly one of oci, dir, upload is allowed");
		return false;
	}
	s->kind = oci ? JOB_OCI : dir ? JOB_DIR : JOB_UPLOAD;
	s->path = path;
	if (upload) {
		upload_path(c->control->data, s->project, s->name, path);
		if (access(path, F_OK) == 0)
			return true;
		call_problem(c, 409, "source.upload",
			"nothing is uploaded for image '%s'; PUT /v1/images/%s/upload?chip=CHIP&part=kernel "
			"comes first",
			s->name, s->name);
		return false;
	}
	snprintf(path, PATH_MAX, "%s", oci ? oci : dir);
	if (path[0] != '/') {
		call_problem(c, 422, oci ? "source.oci" : "source.dir",
			"source: a path from / on is needed, on the control plane's machine");
		return false;
	}
	if (oci && strchr(path, ':')) {
		char *colon = strchr(path, ':'); /* as skopeo reads oci:PATH:REFERENCE */

		*colon = 0;
		s->ref = colon + 1;
	}
	return true;
}

static void post_image(struct call *c)
{
	char name[IMAGE_REF_MAX], path[PATH_MAX], operation[32];
	const char *guest = body_text(c, "guest");
	struct job_spec s = {.project = c->project,
		.name = name,
		.bare_metal = guest && !strcmp(guest, "bare-metal"),
		.actor = c->actor,
		.request_id = c->request_id,
		.labels = json_object_get(c->body, "labels")};
	struct err e = {0};

	if (image_name(body_text(c, "name"), name, &e) < 0) {
		call_problem(c, 422, "name", "%s", e.text);
		return;
	}
	if (!read_source(c, &s, path))
		return;
	if (job_start(c->control->images, &s, operation, &e) < 0)
		call_err(c, &e);
	else
		call_reply_obj(c, 202, obj_get(c->control->objects, KIND_OPERATION, operation));
}

const struct route image_routes[] = {
	{"GET", "/v1/images", resource_list, ROLE_PROJECT, NULL, image_fields, "images",
		.list = true},
	{"POST", "/v1/images", post_image, ROLE_PROJECT, image_fields, operation_fields,
		"make an image; an operation tells when it is there"},
	{"GET", "/v1/images/{id}", get_image, ROLE_PROJECT, NULL, image_fields, "one image"},
	{"PATCH", "/v1/images/{id}", resource_patch, ROLE_PROJECT, image_fields, image_fields,
		"change an image's labels", .patch = true},
	{"DELETE", "/v1/images/{id}", delete_image, ROLE_PROJECT, NULL, NULL, "delete an image"},
	{"PUT", "/v1/images/{id}/upload", image_upload, ROLE_PROJECT, NULL, NULL,
		"upload a part: ?chip=CHIP&part=root|kernel|initramfs[&digest=sha256:…]",
		.stream = true},
};
const unsigned image_nroutes = ARRAY_SIZE(image_routes);
