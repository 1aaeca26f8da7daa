/* SPDX-License-Identifier: Apache-2.0 */
/* A device as JSON: what was asked for (its option table writes that), who is connected, and what
 * each queue has done since the device was made. Numbers only ever grow but where "now" is said, so
 * that whoever wants rates looks twice. */
#include "offload/control_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include "vmm/base/num.h"
#include "vmm/base/opts_json.h"

#define NS_PER_S 1000000000

/* ---- what a device is doing ---- */

const char *control_health(struct served *s)
{
	struct vu_device_status st;

	vu_device_status(served_device(s), &st);
	if (st.broken || served_lost(s))
		return "broken";
	return st.running ? "running" : st.connected ? "connected" : "waiting";
}

const struct queue_stats *control_stats(struct virtio_dev *d, unsigned i)
{
	return d->ops->stats ? d->ops->stats(d, i) : NULL;
}

/* A pair of net queues has one thread; every other queue has its own. */
uint64_t control_cpu_ns(struct virtio_dev *d)
{
	unsigned step = d->type == VIRTIO_TYPE_NET ? 2 : 1;
	uint64_t ns = 0;

	for (unsigned i = 0; d->ops->cpu_ns && i < d->nqueues; i += step)
		ns += d->ops->cpu_ns(d, i);
	return ns;
}

/* ---- features, by name ---- */

struct bit_name {
	unsigned bit;
	const char *name;
};

/* virtio 1.2 §6 */
static const struct bit_name common_bits[] = {{24, "NOTIFY_ON_EMPTY"}, {26, "LOG_ALL"},
	{27, "ANY_LAYOUT"}, {28, "RING_INDIRECT_DESC"}, {29, "RING_EVENT_IDX"},
	{30, "PROTOCOL_FEATURES"}, {32, "VERSION_1"}, {33, "ACCESS_PLATFORM"}, {34, "RING_PACKED"},
	{35, "IN_ORDER"}, {36, "ORDER_PLATFORM"}, {37, "SR_IOV"}, {38, "NOTIFICATION_DATA"},
	{39, "NOTIF_CONFIG_DATA"}, {40, "RING_RESET"}, {64, NULL}};
/* §5.2.3 */
static const struct bit_name blk_bits[] = {{1, "SIZE_MAX"}, {2, "SEG_MAX"}, {4, "GEOMETRY"},
	{5, "RO"}, {6, "BLK_SIZE"}, {9, "FLUSH"}, {10, "TOPOLOGY"}, {11, "CONFIG_WCE"}, {12, "MQ"},
	{13, "DISCARD"}, {14, "WRITE_ZEROES"}, {15, "LIFETIME"}, {16, "SECURE_ERASE"}, {64, NULL}};
/* §5.1.3 */
static const struct bit_name net_bits[] = {{0, "CSUM"}, {1, "GUEST_CSUM"},
	{2, "CTRL_GUEST_OFFLOADS"}, {3, "MTU"}, {5, "MAC"}, {7, "GUEST_TSO4"}, {8, "GUEST_TSO6"},
	{9, "GUEST_ECN"}, {10, "GUEST_UFO"}, {11, "HOST_TSO4"}, {12, "HOST_TSO6"}, {13, "HOST_ECN"},
	{14, "HOST_UFO"}, {15, "MRG_RXBUF"}, {16, "STATUS"}, {17, "CTRL_VQ"}, {18, "CTRL_RX"},
	{19, "CTRL_VLAN"}, {21, "GUEST_ANNOUNCE"}, {22, "MQ"}, {23, "CTRL_MAC_ADDR"},
	{54, "GUEST_USO4"}, {55, "GUEST_USO6"}, {56, "HOST_USO"}, {57, "HASH_REPORT"},
	{59, "GUEST_HDRLEN"}, {60, "RSS"}, {61, "RSC_EXT"}, {62, "STANDBY"}, {63, "SPEED_DUPLEX"},
	{64, NULL}};
/* QEMU's vhost-user.rst, "Protocol features" */
static const struct bit_name protocol_bits[] = {{0, "MQ"}, {1, "LOG_SHMFD"}, {2, "RARP"},
	{3, "REPLY_ACK"}, {4, "MTU"}, {5, "BACKEND_REQ"}, {6, "CROSS_ENDIAN"},
	{7, "CRYPTO_SESSION"}, {8, "PAGEFAULT"}, {9, "CONFIG"}, {10, "BACKEND_SEND_FD"},
	{11, "HOST_NOTIFIER"}, {12, "INFLIGHT_SHMFD"}, {13, "RESET_DEVICE"},
	{14, "INBAND_NOTIFICATIONS"}, {15, "CONFIGURE_MEM_SLOTS"}, {16, "STATUS"}, {17, "XEN_MMAP"},
	{18, "SHARED_OBJECT"}, {19, "DEVICE_STATE"}, {20, "GET_VRING_BASE_INFLIGHT"}, {64, NULL}};

static const char *name_of(const struct bit_name *t, unsigned bit)
{
	while (t->bit < 64 && t->bit != bit)
		t++;
	return t->name;
}

static json_t *bit_names(uint64_t bits, const struct bit_name *own, const struct bit_name *shared)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < 64; i++) {
		const char *name = name_of(own, i);

		if (!(bits >> i & 1))
			continue;
		if (!name)
			name = name_of(shared, i);
		json_array_append_new(list, name ? json_string(name) : json_sprintf("BIT_%u", i));
	}
	return list;
}

static json_t *features_json(struct virtio_dev *d, const struct vu_device_status *st)
{
	const struct bit_name *own = d->type == VIRTIO_TYPE_NET ? net_bits : blk_bits;

	return json_pack("{s:o, s:o, s:o}", "offered",
		bit_names(virtio_dev_features(d), own, common_bits), "acknowledged",
		bit_names(st->features, own, common_bits), "protocol",
		bit_names(st->protocol, protocol_bits, protocol_bits));
}

/* ---- queues ---- */

/* The buckets that hold something, [[bound, count], …]: whoever looks twice has the latencies of
 * the time between. */
static json_t *buckets_json(const struct histogram *h)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t n = count_get(&h->bucket[i]);

		if (n)
			json_array_append_new(list,
				json_pack("[I, I]", (json_int_t)histogram_bound(i), (json_int_t)n));
	}
	return list;
}

static json_t *latency_json(const struct histogram *h)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:o}", "count", (json_int_t)histogram_count(h),
		"p50_ns", (json_int_t)histogram_quantile(h, 500), "p99_ns",
		(json_int_t)histogram_quantile(h, 990), "p999_ns",
		(json_int_t)histogram_quantile(h, 999), "buckets", buckets_json(h));
}

static void add_count(json_t *o, const char *name, const dev_count *c)
{
	json_object_set_new(o, name, json_integer((json_int_t)count_get(c)));
}

static void add_stats(json_t *o, const struct queue_stats *q)
{
	add_count(o, "requests", &q->requests);
	add_count(o, "reads", &q->reads);
	add_count(o, "writes", &q->writes);
	add_count(o, "flushes", &q->flushes);
	add_count(o, "others", &q->others);
	add_count(o, "read_bytes", &q->read_bytes);
	add_count(o, "written_bytes", &q->written_bytes);
	add_count(o, "errors", &q->errors);
	add_count(o, "dropped", &q->dropped);
	add_count(o, "kicks", &q->kicks);
	add_count(o, "interrupts", &q->interrupts);
	add_count(o, "poll_ns", &q->poll_ns);
	add_count(o, "poll_hits", &q->poll_hits);
	add_count(o, "in_flight", &q->in_flight);
	json_object_set_new(o, "latency", latency_json(&q->latency));
}

static json_t *queue_json(struct virtio_dev *d, unsigned i, const struct vu_device_status *st)
{
	const struct queue_stats *q = control_stats(d, i);
	uint64_t cpu = d->ops->cpu_ns ? d->ops->cpu_ns(d, i) : 0;
	json_t *o = json_pack("{s:i, s:b, s:b, s:i, s:I}", "index", (int)i, "running",
		st->queue[i].running, "enabled", st->queue[i].enabled, "size",
		(int)st->queue[i].size, "cpu_ns", (json_int_t)cpu);

	if (o && q)
		add_stats(o, q);
	return o;
}

static json_t *queues_json(struct virtio_dev *d, const struct vu_device_status *st)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < d->nqueues; i++)
		json_array_append_new(list, queue_json(d, i, st));
	return list;
}

/* ---- the device ---- */

/* RFC 3339, by the host's clock of now. */
static json_t *since_json(uint64_t connected_ns)
{
	time_t t = time(NULL) - (time_t)((ev_now_ns() - connected_ns) / NS_PER_S);
	char text[32];
	struct tm tm;

	if (!connected_ns || !gmtime_r(&t, &tm))
		return json_null();
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

/* A path or an id need not be UTF-8, JSON must. */
static json_t *text_json(const char *text)
{
	json_t *v = text ? json_string(text) : NULL;

	return v ? v : json_null();
}

static json_t *front_end_json(const struct vu_device_status *st)
{
	uint64_t ns = st->connected ? ev_now_ns() - st->connected_ns : 0;

	return json_pack("{s:b, s:I, s:o, s:f, s:i, s:I}", "connected", st->connected,
		"connections", (json_int_t)st->connections, "connected_since",
		since_json(st->connected ? st->connected_ns : 0), "connected_seconds",
		(double)ns / NS_PER_S, "memory_regions", (int)st->regions, "memory_bytes",
		(json_int_t)st->memory);
}

json_t *control_device_json(struct served *s)
{
	const struct served_config *c = served_config(s);
	const struct served_type *t = served_type_of(c->type);
	struct virtio_dev *d = vu_device_virtio(served_device(s));
	struct vu_device_status st;
	json_t *o;

	vu_device_status(served_device(s), &st);
	o = json_pack("{s:o, s:s, s:o, s:s, s:o, s:o, s:o, s:I, s:o}", "id", text_json(c->id),
		"type", t->name, "socket", text_json(c->socket), "health", control_health(s),
		"config", opts_to_json(&t->table, c), "front_end", front_end_json(&st), "features",
		features_json(d, &st), "cpu_ns", (json_int_t)control_cpu_ns(d), "queues",
		queues_json(d, &st));
	if (o && c->type == VIRTIO_TYPE_BLOCK) {
		json_object_set_new(o, "size", json_integer((json_int_t)served_size(s)));
		json_object_set_new(o, "engine", text_json(served_engine(s)));
	}
	return o;
}

json_t *control_devices_json(const struct served_set *set)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < set->n; i++)
		json_array_append_new(list, control_device_json(set->at[i]));
	return list;
}

/* ---- the reverse ---- */

static int take_type(json_t *o, const struct served_type **ret_type, struct err *e)
{
	const json_t *v = json_object_get(o, "type");

	if (!json_is_string(v))
		return err_set(
			e, ERR_USAGE, -EINVAL, "type: missing; allowed: virtio-blk, virtio-net");
	*ret_type = served_type_named(json_string_value(v), json_string_length(v), e);
	if (!*ret_type)
		return -EINVAL;
	return json_object_del(o, "type");
}

/* Descriptors have numbers of this process's here: one comes with the request. */
static int check_sources(const json_t *o, struct err *e)
{
	const char *socket = json_string_value(json_object_get(o, "socket"));
	const json_t *fd = json_object_get(o, "fd");

	if (fd && !json_is_null(fd))
		return err_set(e, ERR_USAGE, -EINVAL,
			"fd: comes with the request (SCM_RIGHTS); leave it out of the body");
	if (!socket || !strncmp(socket, "fd=", 3))
		return err_set(e, ERR_USAGE, -EINVAL, "socket: %s; give a path to listen on",
			socket ? "a descriptor is not taken here" : "missing");
	return 0;
}

static int fill(const json_t *o, const struct served_type *t, int fd, struct served_config *c,
	struct err *e)
{
	const struct opts_json how = {.strict = true};
	int r = check_sources(o, e);

	served_config_init(c, t->type);
	if (r == 0)
		r = opts_from_json(&t->table, o, "", &how, c, e);
	c->fd = fd;
	if (r == 0)
		r = served_config_check(c, e);
	if (r < 0)
		served_config_fini(c);
	return r;
}

int control_device_config(const json_t *o, int fd, struct served_config *ret_config, struct err *e)
{
	const struct served_type *t = NULL;
	json_t *rest = json_copy((json_t *)o);
	int r = rest ? take_type(rest, &t, e) : -ENOMEM;

	if (r == 0)
		r = fill(rest, t, fd, ret_config, e);
	json_decref(rest);
	return r;
}
