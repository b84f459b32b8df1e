/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Check target - what a node says of itself when a domain may come to it.
 *
 * libvirt takes a machine type by answering what it can do with it, and compares the CPU.
 */

#include "check_vm.h"

#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "files.h"
#include "forgotten.h"
#include "libvirt.h"
#include "libvirtd_started.h"
#include "network.h"

#include "wherry/assert.h"

#define QEMU_CONF     "/etc/libvirt/qemu.conf"
#define HOOKS         "/etc/libvirt/hooks"
#define APPARMOR      "/sys/kernel/security/apparmor"
#define PROFILES      "/etc/apparmor.d"
#define QEMU_CONF_MAX (1u << 20)
#define FREE_HUGE     "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
#define HUGE_BYTES    (UINT64_C(2) << 20)
#define MIB           (UINT64_C(1) << 20)

struct target_check {
	struct wh_daemon *daemon;
	struct wh_ask *ask;
	struct wh_check_list list;
	struct wh_domain_needs needs;
	char vm[WH_NAME_MAX];
};

static void end(struct target_check *c)
{
	wh_domain_needs_done(&c->needs);
	wh_check_list_done(&c->list);
	free(c);
}

static void answer(struct target_check *c)
{
	wh_ask_answer(c->ask, json_pack("{s:O}", "checks", c->list.items));
	end(c);
}

static void on_cpu(void *ctx, const char *text, const char *error)
{
	struct target_check *c = ctx;

	if (text && !strcmp(text, "yes"))
		wh_check_yes(&c->list, "cpu", "it can have the guest's CPU");
	else
		wh_check_no(&c->list, "cpu",
		            "a CPU model that both hosts have: virsh hypervisor-cpu-baseline",
		            "it cannot have the guest's CPU: %s", text ? text : error);
	answer(c);
}

/* NULL is what libvirt would choose. */
static const char *or_null(const char *text)
{
	return *text ? text : NULL;
}

static void on_machine(void *ctx, const char *text, const char *error)
{
	struct target_check *c = ctx;
	const struct wh_libvirt_cpu cpu = {
		.xml = or_null(c->needs.cpu),
		.emulator = or_null(c->needs.emulator),
		.arch = or_null(c->needs.arch),
		.machine = or_null(c->needs.machine),
		.virt_type = or_null(c->needs.type),
	};

	if (text)
		wh_check_yes(&c->list, "machine", "its QEMU has the machine %s", c->needs.machine);
	else
		wh_check_no(&c->list, "machine", "a QEMU there that is as new as the one here",
		            "its QEMU (%s) does not have the machine %s: %s", c->needs.emulator,
		            c->needs.machine, error);
	wh_libvirt_compare_cpu(c->daemon->libvirt, &cpu, on_cpu, c);
}

static uint64_t number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static uint64_t free_bytes(bool huge)
{
	wh_cleanup(wh_freep) char *text = NULL;
	size_t len;

	if (wh_file_read(huge ? FREE_HUGE : "/proc/meminfo", 1u << 16, &text, &len, NULL) < 0)
		return 0;
	return huge ? strtoull(text, NULL, 10) * HUGE_BYTES
	            : number_after(text, "MemAvailable:") * 1024;
}

static void check_memory(struct target_check *c)
{
	uint64_t there = free_bytes(c->needs.huge_pages);
	const char *kind = c->needs.huge_pages ? " of huge pages" : "";

	if (there < c->needs.memory_bytes)
		wh_check_no(&c->list, "memory", "free memory there, or another node",
		            "it has %" PRIu64 " MiB%s free, the guest has %" PRIu64 " MiB",
		            there / MIB, kind, c->needs.memory_bytes / MIB);
	else
		wh_check_yes(&c->list, "memory", "it has %" PRIu64 " MiB%s free", there / MIB,
		             kind);
}

static void check_network(struct target_check *c)
{
	const char *name = c->daemon->settings.network;
	char interface[IFNAMSIZ];
	struct wh_error err;

	if (wh_network_find(interface, c->daemon->config, name, &err) < 0)
		wh_check_no(&c->list, "network",
		            "the network in its configuration, and its device up", "%s", err.text);
	else
		wh_check_yes(&c->list, "network", "it is on the migration network%s%s",
		             *name ? " " : "", name);
	wh_check_rdma(c->daemon, &c->list);
}

static void check_name(struct target_check *c)
{
	const struct wh_domain *domain = wh_libvirt_domain(c->daemon->libvirt, c->vm);
	struct wh_error why;

	if (wh_domain_is_forgotten(c->daemon, c->vm, &why))
		wh_check_no(&c->list, "name", WH_FORGOTTEN_REMEDY, "its %s", why.text);
	else if (domain && domain->active)
		wh_check_no(&c->list, "name", "another name for one of the two",
		            "a domain called '%s' runs there already", c->vm);
	else
		wh_check_yes(&c->list, "name", "no domain called '%s' runs there", c->vm);
}

static void check_host(struct target_check *c)
{
	wh_cleanup(wh_freep) char *conf = NULL;
	size_t len;

	wh_check_kernel(&c->list);
	check_memory(c);
	check_network(c);
	if (!c->needs.files)
		return;
	if (wh_file_read(QEMU_CONF, QEMU_CONF_MAX, &conf, &len, NULL) < 0)
		conf = strdup("");
	wh_assert(conf);
	wh_check_memory_place(&c->list, conf);
}

static void check_libvirt(struct target_check *c)
{
	struct wh_libvirt *libvirt = c->daemon->libvirt;
	struct wh_error why;

	if (!libvirt || !wh_libvirt_connected(libvirt, &why)) {
		wh_check_no(
			&c->list, "libvirt",
			"'libvirt: {}' in the configuration of its wherryd, and a libvirtd that runs",
			"%s", libvirt ? why.text : "its wherryd does not use libvirt");
		answer(c);
		return;
	}
	wh_check_yes(&c->list, "libvirt", "its libvirtd answers");
	wh_check_hook(&c->list, HOOKS, wh_libvirtd_started(c->daemon->config->libvirt->socket));
	wh_check_apparmor(&c->list, APPARMOR, PROFILES);
	check_name(c);
	wh_libvirt_capabilities(libvirt, c->needs.emulator, c->needs.machine, on_machine, c);
}

void wh_check_target(struct wh_daemon *d, const json_t *request, struct wh_ask *ask)
{
	struct target_check *c = calloc(1, sizeof(*c));
	struct wh_error err;
	int r;

	wh_assert(c);
	c->daemon = d;
	c->ask = ask;
	wh_check_list_init(&c->list);
	r = wh_json_string(request, "vm", c->vm, sizeof(c->vm), &err);
	if (r == 0)
		r = wh_domain_xml_needs(&c->needs, wh_json_text(request, "xml"), &err);
	if (r < 0) {
		wh_ask_refuse(ask, &err);
		end(c);
		return;
	}
	wh_check_about(&c->list, "node %s", d->config->node);
	check_host(c);
	check_libvirt(c);
}
