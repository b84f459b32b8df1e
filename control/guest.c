/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Guest - a description is gathered from many small answers.
 *
 * All questions are sent at once, and those that follow from an answer as soon as it is there;
 * when none is due any more, the description is complete. The first reason to refuse is kept.
 *
 * QEMU answers in order, so the properties of memory backends need no names: @cursor counts them.
 */

#include "guest.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/assert.h"

static const char *const backend_properties[] = { "mem-path", "share", "size" };

#define PROPERTIES (sizeof(backend_properties) / sizeof(*backend_properties))

/* Devices that write guest memory where the dirty tracker of the VMM's mapping is not asked. */
static const char *const foreign_devices[] = { "vfio-", "vhost-scsi", "vhost-user-", "vhost-vdpa-",
	                                       "x-vfio-" };
static const char *const foreign_netdevs[] = { "type=vhost-user", "type=vhost-vdpa" };

/* Block drivers that keep guest memory pinned, and may write it at any time. */
static const char *const foreign_drivers[] = {
	"nvme",     "nvme-io_uring",        "virtio-blk-vfio-pci", "virtio-blk-vhost-user",
	"io_uring", "virtio-blk-vhost-vdpa"
};

/* A SCSI disk that is passed through reads past the host's page cache, whatever its cache. */
#define PASSED_THROUGH "child<scsi-block>"

static const struct {
	const char *capability;
	bool source;
	bool target;
} capabilities[] = {
	{ "events", true, true },
	{ "return-path", true, true },
	{ "x-ignore-shared", true, true },
	{ "pause-before-switchover", true, false },
	{ "late-block-activate", false, true },
};

static bool is_one_of(const char *word, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(word, list[i]))
			return true;
	return false;
}

static void refuse(struct wh_guest *g, const char *fmt, ...) wh_printf(2, 3);

/* Only the first reason is kept. */
static void refuse(struct wh_guest *g, const char *fmt, ...)
{
	va_list args;

	if (*g->refused.text)
		return;
	va_start(args, fmt);
	(void)vsnprintf(g->refused.text, sizeof(g->refused.text), fmt, args);
	va_end(args);
}

static void ask(struct wh_guest *g, const char *command, json_t *arguments, wh_qmp_reply_fn reply)
{
	g->due++;
	wh_qmp_call(g->qmp, command, arguments, reply, g);
}

/* What the pieces add up to, once all are there. */
static void check_whole(struct wh_guest *g)
{
	uint64_t bytes = wh_ram_bytes(&g->ram);

	if (*g->refused.text)
		return;
	if (g->ram.count == 0)
		refuse(g, "it has no memory-backend-file: guest RAM must be one with share=on");
	else if (bytes != g->memory_bytes)
		refuse(g,
		       "its memory backends have %" PRIu64 " bytes, the guest has %" PRIu64
		       ": all of it must be memory-backend-file,share=on",
		       bytes, g->memory_bytes);
}

/* Account for an answer that was due; every reply function ends with this. */
static void answered(struct wh_guest *g, const char *error)
{
	if (error)
		refuse(g, "QEMU does not tell what it is made of: %s", error);
	wh_assert(g->due > 0);
	if (--g->due > 0)
		return;
	check_whole(g);
	g->done(g->ctx, *g->refused.text ? g->refused.text : NULL);
}

static void on_status(void *ctx, const json_t *result, const char *error)
{
	struct wh_guest *g = ctx;

	(void)snprintf(g->run_state, sizeof(g->run_state), "%s", wh_json_text(result, "status"));
	answered(g, error);
}

static void on_migration(void *ctx, const json_t *result, const char *error)
{
	const char *status = wh_json_text(result, "status");
	struct wh_guest *g = ctx;

	(void)snprintf(g->migration, sizeof(g->migration), "%s", *status ? status : "none");
	answered(g, error);
}

static void on_memory(void *ctx, const json_t *result, const char *error)
{
	struct wh_guest *g = ctx;
	uint64_t base = 0;
	uint64_t plugged = 0;

	if (result && (wh_json_u64(result, "base-memory", INT64_MAX, &base, NULL) < 0))
		refuse(g, "QEMU does not say how much memory there is");
	if (json_object_get(result, "plugged-memory") &&
	    wh_json_u64(result, "plugged-memory", INT64_MAX, &plugged, NULL) < 0)
		refuse(g, "QEMU does not say how much memory was plugged");
	g->memory_bytes = base + plugged;
	answered(g, error);
}

static void on_block(void *ctx, const json_t *result, const char *error)
{
	struct wh_guest *g = ctx;

	if (!g->disks)
		g->disks = json_array();
	for (size_t i = 0; i < json_array_size(result); i++) {
		json_t *qdev = json_object_get(json_array_get(result, i), "qdev");

		/* One that belongs to no device of the guest does not read into its memory. */
		if (json_is_string(qdev) && json_array_append(g->disks, qdev) < 0)
			refuse(g, "out of memory");
	}
	answered(g, error);
}

/* All nodes and not only disks: where an image is of several, the file below has O_DIRECT. */
static void on_nodes(void *ctx, const json_t *result, const char *error)
{
	struct wh_guest *g = ctx;

	for (size_t i = 0; i < json_array_size(result); i++) {
		const json_t *node = json_array_get(result, i);
		const char *driver = wh_json_text(node, "drv");

		if (json_is_true(json_object_get(json_object_get(node, "cache"), "direct")))
			g->direct_io = true;
		if (is_one_of(driver, foreign_drivers,
		              sizeof(foreign_drivers) / sizeof(*foreign_drivers)))
			refuse(g, "block driver %s writes guest memory unseen by the dirty tracker",
			       driver);
	}
	answered(g, error);
}

static void on_devices(void *ctx, const json_t *result, const char *error)
{
	struct wh_guest *g = ctx;

	for (size_t i = 0; i < json_array_size(result); i++) {
		const char *type = wh_json_text(json_array_get(result, i), "type");
		size_t skip = strlen("child<");

		if (strncmp(type, "child<", skip) != 0)
			continue;
		if (!strcmp(type, PASSED_THROUGH))
			g->direct_io = true;
		for (size_t k = 0; k < sizeof(foreign_devices) / sizeof(*foreign_devices); k++)
			if (!strncmp(type + skip, foreign_devices[k], strlen(foreign_devices[k])))
				refuse(g,
				       "device %s writes guest memory unseen by the dirty tracker",
				       type + skip);
	}
	answered(g, error);
}

static void on_network(void *ctx, const json_t *result, const char *error)
{
	const char *text = json_string_value(result);
	struct wh_guest *g = ctx;

	for (size_t k = 0; text && k < sizeof(foreign_netdevs) / sizeof(*foreign_netdevs); k++)
		if (strstr(text, foreign_netdevs[k]))
			refuse(g, "a netdev of %s writes guest memory unseen by the dirty tracker",
			       foreign_netdevs[k]);
	answered(g, error);
}

static void keep_property(struct wh_guest *g, const char *name, const json_t *value)
{
	switch (g->cursor % PROPERTIES) {
	case 0:
		free(g->path);
		g->path = strdup(json_is_string(value) ? json_string_value(value) : "");
		break;
	case 1:
		if (!json_is_true(value))
			refuse(g, "RAM block '%s' is not shared: it must have share=on", name);
		break;
	default:
		if (!g->path || json_integer_value(value) <= 0 ||
		    wh_ram_add(&g->ram, name, g->path, (uint64_t)json_integer_value(value)) < 0)
			refuse(g, "RAM block '%s' cannot be described", name);
	}
	g->cursor++;
}

static void on_property(void *ctx, const json_t *result, const char *error)
{
	struct wh_guest *g = ctx;

	keep_property(g, g->names[g->cursor / PROPERTIES], result);
	answered(g, error);
}

static void ask_backend(struct wh_guest *g, const char *name)
{
	char path[sizeof("/objects/") + WH_NAME_MAX];

	if (strlen(name) >= WH_NAME_MAX || g->name_count == WH_REGIONS_MAX) {
		refuse(g, "RAM block '%s' has too long a name, or is one too many", name);
		return;
	}
	(void)snprintf(g->names[g->name_count++], WH_NAME_MAX, "%s", name);
	(void)snprintf(path, sizeof(path), "/objects/%s", name);
	for (size_t i = 0; i < PROPERTIES; i++)
		ask(g, "qom-get",
		    json_pack("{s:s, s:s}", "path", path, "property", backend_properties[i]),
		    on_property);
}

static void on_objects(void *ctx, const json_t *result, const char *error)
{
	static const char prefix[] = "child<memory-backend-";
	struct wh_guest *g = ctx;

	for (size_t i = 0; i < json_array_size(result); i++) {
		const json_t *object = json_array_get(result, i);
		const char *type = wh_json_text(object, "type");

		if (strncmp(type, prefix, strlen(prefix)) != 0)
			continue;
		if (!strcmp(type, "child<memory-backend-file>"))
			ask_backend(g, wh_json_text(object, "name"));
		else
			refuse(g,
			       "RAM block '%s' is no memory-backend-file: it must be one, with "
			       "share=on, on tmpfs or hugetlbfs",
			       wh_json_text(object, "name"));
	}
	answered(g, error);
}

void wh_guest_describe(struct wh_guest *g, struct wh_qmp *qmp)
{
	g->qmp = qmp;
	ask(g, "query-status", NULL, on_status);
	ask(g, "query-migrate", NULL, on_migration);
	ask(g, "query-memory-size-summary", NULL, on_memory);
	ask(g, "query-block", NULL, on_block);
	ask(g, "query-named-block-nodes", json_pack("{s:b}", "flat", true), on_nodes);
	ask(g, "qom-list", json_pack("{s:s}", "path", "/machine/peripheral"), on_devices);
	ask(g, "qom-list", json_pack("{s:s}", "path", "/machine/peripheral-anon"), on_devices);
	ask(g, "human-monitor-command", json_pack("{s:s}", "command-line", "info network"),
	    on_network);
	ask(g, "qom-list", json_pack("{s:s}", "path", "/objects"), on_objects);
}

void wh_guest_done(struct wh_guest *g)
{
	wh_ram_done(&g->ram);
	json_decref(g->disks);
	g->disks = NULL;
	free(g->path);
	g->path = NULL;
}

bool wh_guest_migration_over(const char *status)
{
	static const char *const over[] = { "none", "completed", "failed", "cancelled" };

	return is_one_of(status, over, sizeof(over) / sizeof(*over));
}

bool wh_guest_never_left(const char *status)
{
	static const char *const before[] = { "none", "setup", "active", "pre-switchover" };

	return is_one_of(status, before, sizeof(before) / sizeof(*before));
}

static void add_capability(json_t *list, const char *name, bool on)
{
	(void)json_array_append_new(list, json_pack("{s:s, s:b}", "capability", name, "state", on));
}

/*
 * A source with switchover-ack goes on until its destination allows it to stop the guest, or the guest
 * stands still. Ours never allows it: there this capability is off.
 */
static void set_hold(struct wh_qmp *qmp, bool on, wh_qmp_reply_fn reply, void *ctx)
{
	json_t *list = json_array();

	add_capability(list, "switchover-ack", on);
	wh_qmp_call(qmp, "migrate-set-capabilities", json_pack("{s:o}", "capabilities", list),
	            reply, ctx);
}

static void set_capabilities(struct wh_qmp *qmp, const bool *on, wh_qmp_reply_fn reply, void *ctx)
{
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof(capabilities) / sizeof(*capabilities); i++)
		add_capability(list, capabilities[i].capability, on[i]);
	wh_qmp_call(qmp, "migrate-set-capabilities", json_pack("{s:o}", "capabilities", list),
	            reply, ctx);
}

void wh_guest_prepare(struct wh_qmp *qmp, enum wh_worker_role role, wh_qmp_reply_fn reply,
                      void *ctx)
{
	bool on[sizeof(capabilities) / sizeof(*capabilities)];

	for (size_t i = 0; i < sizeof(on) / sizeof(*on); i++)
		on[i] = role == WH_ROLE_SOURCE ? capabilities[i].source : capabilities[i].target;
	if (role == WH_ROLE_TARGET)
		set_hold(qmp, false, NULL, NULL);
	set_capabilities(qmp, on, reply, ctx);
}

void wh_guest_hold(struct wh_qmp *qmp, wh_qmp_reply_fn reply, void *ctx)
{
	set_hold(qmp, true, reply, ctx);
}

void wh_guest_restore(struct wh_qmp *qmp, wh_qmp_reply_fn reply, void *ctx)
{
	const bool off[sizeof(capabilities) / sizeof(*capabilities)] = { false };

	set_hold(qmp, false, NULL, NULL); /* first: it needs one of the others. May be unknown */
	set_capabilities(qmp, off, reply, ctx);
}

void wh_guest_threads_freep(pid_t **threads)
{
	free(*threads);
}

int wh_guest_threads(const json_t *vcpus, pid_t **ret, size_t *ret_count, struct wh_error *err)
{
	size_t count = json_array_size(vcpus);
	wh_cleanup(wh_guest_threads_freep) pid_t *threads = NULL;

	if (count == 0 || count > WH_VCPUS_MAX)
		return wh_fail(err, -EPROTO, "QEMU names %zu vCPUs", count);
	threads = calloc(count, sizeof(*threads));
	if (!threads)
		return wh_fail(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		uint64_t tid;
		int r = wh_json_u64(json_array_get(vcpus, i), "thread-id", INT_MAX, &tid, err);

		if (r < 0)
			return wh_context(err, r, "vCPU %zu", i);
		threads[i] = (pid_t)tid;
	}
	*ret = wh_steal(threads);
	*ret_count = count;
	return 0;
}

void wh_guest_migrate(struct wh_qmp *qmp, const char *command, const char *path,
                      wh_qmp_reply_fn reply, void *ctx)
{
	char uri[WH_ERROR_TEXT_MAX];

	(void)snprintf(uri, sizeof(uri), "unix:%s", path);
	wh_qmp_call(qmp, command, json_pack("{s:s}", "uri", uri), reply, ctx);
}
