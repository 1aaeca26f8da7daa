/* SPDX-License-Identifier: Apache-2.0 */
/* One thread does everything that reads or writes the layout, one job after another, so that
 * nothing there needs a lock. A job owns copies of all it needs; its end comes back as a message,
 * and only the control thread touches objects and operations. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cloud/control/operation.h"
#include "cloud/image/internal.h"
#include "vmm/base/cleanup.h"

#define TICK_NS 500000000ull

struct job {
	struct ev_msg msg; /* to the thread, then back */
	struct list node;  /* in images.jobs */
	struct images *im;
	enum job_kind kind;
	char project[IMAGE_REF_MAX], name[IMAGE_REF_MAX];
	char *path, *ref, *actor, *request_id;
	bool bare_metal;
	json_t *pinned; /* JOB_COLLECT */
	json_t *labels; /* NULL: as they were */
	char operation[32];
	_Atomic uint64_t done, of; /* bytes, for progress */
	/* the result */
	int error;
	struct err err;
	char index[DIGEST_LEN];
	json_t *platforms;
};

static void job_free(struct job *j)
{
	if (!j)
		return;
	free(j->path);
	free(j->ref);
	free(j->actor);
	free(j->request_id);
	json_decref(j->pinned);
	json_decref(j->labels);
	json_decref(j->platforms);
	free(j);
}

void upload_path(const char *data, const char *project, const char *name, char ret_path[PATH_MAX])
{
	snprintf(ret_path, PATH_MAX, "%s/uploads/%s@%s", data, project, name);
}

/* ---- on the job thread ---- */

/* Bytes that an import of a folder goes through: each file is read, packed and unpacked. */
static uint64_t folder_size(const char *dir)
{
	uint64_t size = 1;

	for (int chip = 0; chip < IMAGE_CHIPS; chip++)
		for (enum image_part p = 0; p < IMAGE_PARTS; p++) {
			char path[PATH_MAX];
			struct stat st;
			int n = snprintf(path, sizeof(path), "%s/%s/%s", dir, chip_name(chip),
				image_part_name(p));

			if (n < (int)sizeof(path) && stat(path, &st) == 0)
				size += st.st_size;
		}
	return size;
}

static int run_import(struct job *j)
{
	char ref[IMAGE_REF_MAX], folder[PATH_MAX];
	struct import im = {.data = j->im->data,
		.ref = ref,
		.bare_metal = j->bare_metal,
		.merge = j->kind == JOB_UPLOAD,
		.work = {&j->im->stop, &j->done}};
	int r;

	image_ref(j->project, j->name, ref);
	if (j->kind == JOB_OCI)
		return import_oci(&im, j->path, j->ref, j->index, &j->platforms, &j->err);
	if (j->kind == JOB_UPLOAD)
		upload_path(j->im->data, j->project, j->name, folder);
	else
		snprintf(folder, sizeof(folder), "%s", j->path);
	atomic_store(&j->of, folder_size(folder));
	r = import_dir(&im, folder, j->index, &j->platforms, &j->err);
	if (j->kind == JOB_UPLOAD)
		remove_tree(folder); /* whole or not, it was for this one try */
	return r;
}

static void job_over(struct ev_msg *m);

static void job_run(struct ev_msg *m)
{
	struct job *j = container_of(m, struct job, msg);
	char ref[IMAGE_REF_MAX], layout[PATH_MAX];

	if (atomic_load(&j->im->stop))
		return; /* jobs_end() frees it */
	snprintf(layout, sizeof(layout), "%s/images", j->im->data);
	image_ref(j->project, j->name, ref);
	if (j->kind == JOB_COLLECT)
		layout_collect(j->im->data, j->pinned);
	else if (j->kind == JOB_UNTAG)
		j->error = layout_set(layout, ref, NULL, &j->err);
	else
		j->error = run_import(j);
	if (atomic_load(&j->im->stop))
		return;
	j->msg.handle = job_over;
	ev_post(j->im->loop, &j->msg);
}

/* ---- on the control thread ---- */

static int put_image(struct job *j, const char **ret_id)
{
	struct objects *os = j->im->objects;
	struct obj *old = obj_find(os, KIND_IMAGE, j->project, j->name);
	char id[32];
	struct change ch = {.event = old ? "updated" : "created",
		.text = j->index,
		.actor = j->actor,
		.request_id = j->request_id,
		.expect = STORE_ANY};
	json_t *labels = j->labels ? json_incref(j->labels)
			 : old	   ? json_incref(json_object_get(old->doc, "labels"))
				   : NULL;
	struct obj *o;
	json_t *doc, *first = json_array_get(j->platforms, 0);
	int r;

	if (old && strcmp(old->name, j->name))
		old = NULL; /* the name of one is the id of another */
	if (old)
		snprintf(id, sizeof(id), "%s", old->id);
	else
		obj_new_id(KIND_IMAGE, id);
	doc = json_pack("{s:s, s:s, s:s, s:o, s:s, s:O, s:O}", "id", id, "name", j->name, "project",
		j->project, "labels", labels ? labels : json_object(), "digest", j->index, "guest",
		json_object_get(first, "guest"), "platforms", j->platforms);
	r = doc ? obj_put(os, KIND_IMAGE, doc, &ch, &o) : -ENOMEM;
	if (!r)
		*ret_id = o->id;
	return r;
}

static void import_over(struct job *j)
{
	struct objects *os = j->im->objects;
	const char *id = NULL;
	int r = j->error;

	if (!r) {
		r = put_image(j, &id);
		if (r < 0)
			err_set(&j->err, ERR_HOST, r, "the image cannot be recorded: %s",
				strerror(-r));
	}
	if (r < 0 && !j->err.text[0])
		err_set(&j->err, ERR_HOST, r, "import of %s: %s", j->name, strerror(-r));
	operation_finish(os, j->operation, r < 0 ? j->err.text : NULL,
		r < 0 ? NULL
		      : json_pack(
				"{s:s, s:s, s:s}", "id", id, "name", j->name, "digest", j->index));
	if (r < 0)
		log_line(j->im->log, LOG_WARN, "image", "%s: %s", j->name, j->err.text);
}

static void job_over(struct ev_msg *m)
{
	struct job *j = container_of(m, struct job, msg);
	struct images *im = j->im;
	bool import = j->operation[0];

	list_del(&j->node);
	im->njobs--;
	if (import)
		import_over(j);
	else if (j->error)
		log_line(im->log, LOG_WARN, "image", "%s: %s", j->name, j->err.text);
	/* What the tag was before, or what a failed import had made, is not needed now. */
	if (j->kind != JOB_COLLECT)
		images_collect(im);
	job_free(j);
}

static void tick(struct ev_timer *t)
{
	struct images *im = container_of(t, struct images, tick);

	list_for_each (at, &im->jobs) {
		struct job *j = container_of(at, struct job, node);
		uint64_t of = atomic_load(&j->of), done = atomic_load(&j->done);

		if (j->operation[0] && of)
			operation_progress(
				im->objects, j->operation, MIN(done * 50 / of, (uint64_t)99));
	}
	if (!list_empty(&im->jobs))
		ev_timer_arm(im->loop, t, ev_now_ns() + TICK_NS);
}

/* Every manifest that an instance is pinned to. */
static json_t *pinned_now(struct objects *os)
{
	json_t *list = json_array();

	for (struct obj *o = NULL; (o = obj_next(os, KIND_INSTANCE, o));) {
		json_t *digest = json_object_get(o->doc, "platform_digest");

		if (json_is_string(digest))
			json_array_append_new(list, json_string(json_string_value(digest)));
	}
	return list;
}

static int start_operation(struct images *im, struct job *j, struct err *e)
{
	char target[IMAGE_REF_MAX + 8];
	struct obj *o;
	int r;

	snprintf(target, sizeof(target), "image %.190s", j->name);
	r = operation_new(
		im->objects, j->project, "image-import", target, j->actor, j->request_id, &o);
	if (r < 0)
		return err_set(
			e, ERR_HOST, r, "the operation cannot be recorded: %s", strerror(-r));
	snprintf(j->operation, sizeof(j->operation), "%s", o->id);
	return 0;
}

static char *copied(const char *s)
{
	return s ? strdup(s) : NULL;
}

int job_start(struct images *im, const struct job_spec *s, char ret_operation[32], struct err *e)
{
	bool import = s->kind != JOB_UNTAG && s->kind != JOB_COLLECT;
	struct job *j;
	int r = 0;

	if (import && im->njobs >= IMAGE_QUEUE)
		return err_set(e, ERR_CONFLICT, -EBUSY, "%u imports wait already", im->njobs);
	j = calloc(1, sizeof(*j));
	if (!j)
		return -ENOMEM;
	j->im = im;
	j->kind = s->kind;
	j->bare_metal = s->bare_metal;
	snprintf(j->project, sizeof(j->project), "%s", s->project ? s->project : "default");
	snprintf(j->name, sizeof(j->name), "%s", s->name ? s->name : "");
	j->path = copied(s->path);
	j->ref = copied(s->ref);
	j->actor = copied(s->actor);
	j->request_id = copied(s->request_id);
	j->labels = s->labels ? json_deep_copy(s->labels) : NULL;
	if (s->kind == JOB_COLLECT)
		j->pinned = pinned_now(im->objects);
	if (import)
		r = start_operation(im, j, e);
	if (r < 0) {
		job_free(j);
		return r;
	}
	if (import && ret_operation)
		memcpy(ret_operation, j->operation, sizeof(j->operation));
	list_add(&im->jobs, &j->node);
	im->njobs++;
	j->msg.handle = job_run;
	ev_post(ev_thread_loop(im->thread), &j->msg);
	ev_timer_arm(im->loop, &im->tick, ev_now_ns() + TICK_NS);
	im->tick.fire = tick;
	return 0;
}

void images_collect(struct images *im)
{
	struct job_spec s = {.kind = JOB_COLLECT};

	job_start(im, &s, NULL, NULL);
}

void jobs_end(struct images *im)
{
	atomic_store(&im->stop, true);
	ev_thread_free(im->thread);
	im->thread = NULL;
	if (im->tick.loop)
		ev_timer_cancel(&im->tick);
	list_for_each_safe (at, &im->jobs) {
		struct job *j = container_of(at, struct job, node);

		list_del(at);
		job_free(j);
	}
}
