/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Check VM - one thing after the other: the domain's XML, its QEMU, this host, and then the other node
 * is asked about itself. Whatever fails on the way is a finding; only without XML there is no answer.
 */

#include "check_vm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent.h"
#include "check.h"
#include "files.h"
#include "guest.h"
#include "job.h"
#include "libvirt.h"
#include "network.h"
#include "qmp.h"

#include "wherry/assert.h"

#define QEMU_CONF     "/etc/libvirt/qemu.conf"
#define QEMU_CONF_MAX (1u << 20)
#define SYSFS         "/sys"

struct vm_check {
	struct wh_daemon *daemon;
	struct wh_ask *ask;
	struct wh_check_list list;
	char vm[WH_NAME_MAX];
	char to[WH_NAME_MAX]; /* "" for no node */
	char *xml;            /* of a domain; owned */
	bool active;
	struct wh_qmp *qmp;       /* of one that is no domain */
	struct wh_timer patience; /* with it: a monitor has one client at a time */
	struct wh_guest guest;
};

static void end(struct vm_check *c)
{
	wh_timer_stop(&c->patience);
	c->qmp = wh_qmp_close(c->qmp);
	wh_guest_done(&c->guest);
	wh_check_list_done(&c->list);
	free(c->xml);
	free(c);
}

static void refuse(struct vm_check *c, const char *fmt, ...) wh_printf(2, 3);

static void refuse(struct vm_check *c, const char *fmt, ...)
{
	struct wh_error err;
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(err.text, sizeof(err.text), fmt, args);
	va_end(args);
	wh_ask_refuse(c->ask, &err);
	end(c);
}

static void answer(struct vm_check *c)
{
	json_t *json = json_pack("{s:s, s:s, s:s, s:b, s:O}", "vm", c->vm, "node",
	                         c->daemon->config->node, "to", c->to, "good",
	                         wh_check_is_good(c->list.items), "checks", c->list.items);

	wh_assert(json);
	wh_ask_answer(c->ask, json);
	end(c);
}

/* The other node. */

static void on_target(void *ctx, json_t *reply, const char *why)
{
	struct vm_check *c = ctx;
	const char *error = reply ? wh_json_text(reply, "error") : why;

	if (reply && json_is_true(json_object_get(reply, "ok"))) {
		(void)json_array_extend(c->list.items, json_object_get(reply, "checks"));
	} else {
		wh_check_about(&c->list, "node %s", c->to);
		wh_check_no(&c->list, "reachable", "a wherryd there: see 'wherry get nodes'", "%s",
		            error);
	}
	json_decref(reply);
	answer(c);
}

static void ask_target(struct vm_check *c)
{
	if (!*c->to || !c->xml) {
		answer(c);
		return;
	}
	wh_agent_ask(c->daemon->agent,
	             json_pack("{s:s, s:s, s:s, s:s}", "command", "check-target", "to", c->to, "vm",
	                       c->vm, "xml", c->xml),
	             on_target, c);
}

/* This host. */

static void read_conf(char **ret)
{
	size_t len;

	*ret = NULL;
	if (wh_file_read(QEMU_CONF, QEMU_CONF_MAX, ret, &len, NULL) < 0)
		*ret = strdup("");
	wh_assert(*ret);
}

/* libvirt's pid file of a domain. Return: 0 if it cannot be read. */
static pid_t pid_of(const struct vm_check *c)
{
	wh_cleanup(wh_freep) char *path = NULL;
	wh_cleanup(wh_freep) char *text = NULL;
	size_t len;

	wh_assert(asprintf(&path, "%s/%s.pid", c->daemon->config->libvirt->pids, c->vm) > 0);
	if (wh_file_read(path, 32, &text, &len, NULL) < 0)
		return 0;
	return (pid_t)strtol(text, NULL, 10);
}

static void check_memory(struct vm_check *c)
{
	wh_cleanup(wh_domain_needs_done) struct wh_domain_needs needs = { 0 };
	wh_cleanup(wh_freep) char *conf = NULL;

	if (c->active)
		wh_check_memory_files(&c->list, pid_of(c));
	if (wh_domain_xml_needs(&needs, c->xml, NULL) < 0 || !needs.files)
		return;
	read_conf(&conf);
	wh_check_memory_place(&c->list, conf);
}

/* The interface of the migration network, or else the one that leads to another node. */
static int find_interface(const struct wh_daemon *d, char interface[IFNAMSIZ], struct wh_error *err)
{
	int r = wh_network_find(interface, d->config, d->settings.network, err);

	if (r < 0 || *interface || d->config->node_count == 0)
		return r;
	return wh_network_towards(interface, d->config->nodes[0].address, err);
}

void wh_check_rdma(const struct wh_daemon *d, struct wh_check_list *list)
{
	char interface[IFNAMSIZ];

	if (find_interface(d, interface, NULL) == 0 && *interface)
		wh_check_fabric(list, SYSFS, interface, d->config, d->settings.disable_tls);
}

static void check_host(struct vm_check *c)
{
	wh_check_about(&c->list, "node %s", c->daemon->config->node);
	wh_check_kernel(&c->list);
	wh_check_rdma(c->daemon, &c->list);
	if (c->xml)
		check_memory(c);
	ask_target(c);
}

/* A domain. */

static void on_version(void *ctx, const char *text, const char *error)
{
	wh_cleanup(wh_json_unrefp) json_t *json = NULL;
	struct vm_check *c = ctx;
	struct wh_error err;

	if (!text)
		wh_check_no(&c->list, "qemu", "a QEMU that answers", "%s", error);
	else if (wh_json_parse(&json, text, strlen(text), &err) < 0)
		wh_check_no(&c->list, "qemu", "a QEMU that answers", "%s", err.text);
	else
		wh_check_qemu(&c->list, json_object_get(json, "return"));
	check_host(c);
}

static void on_xml(void *ctx, const char *text, const char *error)
{
	struct wh_findings findings = { 0 };
	struct vm_check *c = ctx;
	struct wh_error err;

	if (!text || wh_domain_xml_check(&findings, text, &err) < 0) {
		refuse(c, "VM '%s': %s", c->vm, text ? err.text : error);
		return;
	}
	c->xml = strdup(text);
	wh_assert(c->xml);
	wh_check_about(&c->list, "domain");
	wh_check_findings(&c->list, &findings);
	wh_findings_done(&findings);
	if (c->active)
		wh_libvirt_monitor(c->daemon->libvirt, c->vm, "{\"execute\":\"query-version\"}",
		                   on_version, c);
	else
		check_host(c);
}

static void on_xml_to_fix(void *ctx, const char *text, const char *error)
{
	wh_cleanup(wh_freep) char *fixed = NULL;
	struct vm_check *c = ctx;
	struct wh_error err;

	if (!text || wh_domain_xml_fix(&fixed, text, &err) < 0) {
		refuse(c, "VM '%s': %s", c->vm, text ? err.text : error);
		return;
	}
	wh_ask_answer(c->ask, json_pack("{s:s, s:s, s:s}", "vm", c->vm, "node",
	                                c->daemon->config->node, "xml", fixed));
	end(c);
}

static void check_domain(struct vm_check *c, const struct wh_domain *domain, bool fix)
{
	struct wh_libvirt *libvirt = c->daemon->libvirt;

	c->active = domain->active;
	if (fix)
		wh_libvirt_xml(libvirt, c->vm,
		               domain->persistent ? WH_DOMAIN_XML_PERSISTENT : WH_DOMAIN_XML_LIVE,
		               on_xml_to_fix, c);
	else
		wh_libvirt_xml(libvirt, c->vm,
		               c->active ? WH_DOMAIN_XML_LIVE : WH_DOMAIN_XML_PERSISTENT, on_xml,
		               c);
}

/* One of the configuration: what would keep its migration from starting. */

static void on_described(void *ctx, const char *why)
{
	struct vm_check *c = ctx;

	wh_timer_stop(&c->patience);
	wh_check_about(&c->list, "guest");
	if (why)
		wh_check_no(&c->list, "guest", "start its QEMU as docs/configuration.md says", "%s",
		            why);
	else
		wh_check_yes(&c->list, "guest",
		             "its RAM is in shared files, and nothing else writes it");
	check_host(c);
}

static void on_ready(void *ctx)
{
	struct vm_check *c = ctx;

	wh_guest_describe(&c->guest, c->qmp);
}

static void on_closed(void *ctx, const char *why)
{
	struct vm_check *c = ctx;

	refuse(c, "VM '%s': its QEMU cannot be asked: %s", c->vm, why);
}

static void on_patience_over(void *ctx)
{
	struct vm_check *c = ctx;

	refuse(c,
	       "VM '%s': its QEMU does not answer; maybe it is being migrated, or asked by others",
	       c->vm);
}

static void check_guest(struct vm_check *c, const struct wh_vm *vm)
{
	const struct wh_qmp_handler handler = { .ready = on_ready, .closed = on_closed, .ctx = c };
	struct wh_error err;

	c->guest.done = on_described;
	c->guest.ctx = c;
	c->patience = (struct wh_timer){ .fired = on_patience_over, .ctx = c };
	if (wh_qmp_open(&c->qmp, c->daemon->loop, vm->qmp, &handler, &err) < 0)
		refuse(c, "VM '%s' does not run on node %s: %s", c->vm, c->daemon->config->node,
		       err.text);
	else
		wh_timer_start(&c->patience, c->daemon->loop, WH_QMP_REPLY_NS);
}

/* The request. */

static const struct wh_domain *find_domain(const struct wh_daemon *d, const char *vm)
{
	return d->libvirt ? wh_libvirt_domain(d->libvirt, vm) : NULL;
}

bool wh_check_has_vm(const struct wh_daemon *d, const char *vm)
{
	const struct wh_vm *known = wh_find_vm(d->config, vm);
	struct stat st;

	return (known && stat(known->qmp, &st) == 0) || find_domain(d, vm);
}

static int parse(struct vm_check *c, const json_t *request, struct wh_error *err)
{
	int r = wh_json_string(request, "vm", c->vm, sizeof(c->vm), err);

	if (r == 0 && json_object_get(request, "to"))
		r = wh_json_string(request, "to", c->to, sizeof(c->to), err);
	if (r == 0 && !strcmp(c->to, c->daemon->config->node))
		r = wh_fail(err, -EINVAL, "VM '%s' is on node %s already", c->vm, c->to);
	return r;
}

static void start(struct vm_check *c, bool fix)
{
	const struct wh_domain *domain = find_domain(c->daemon, c->vm);
	const struct wh_vm *vm = wh_find_vm(c->daemon->config, c->vm);

	if (vm && (fix || *c->to))
		refuse(c, "VM '%s' is one of the configuration: it has no XML%s", c->vm,
		       fix ? "" : " that another node could be asked about");
	else if (vm)
		check_guest(c, vm);
	else if (domain)
		check_domain(c, domain, fix);
	else
		refuse(c, "there is no VM '%s' on node %s", c->vm, c->daemon->config->node);
}

void wh_check_request(struct wh_daemon *d, const json_t *request, struct wh_ask *ask)
{
	struct vm_check *c = calloc(1, sizeof(*c));
	struct wh_error err;

	wh_assert(c);
	c->daemon = d;
	c->ask = ask;
	wh_check_list_init(&c->list);
	if (parse(c, request, &err) < 0)
		refuse(c, "%s", err.text);
	else
		start(c, json_is_true(json_object_get(request, "fix")));
}
