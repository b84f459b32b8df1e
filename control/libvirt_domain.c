/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Libvirt domain - the calls, one by one: what is asked for, and how libvirt is asked.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>

#include "domain_xml.h"
#include "libvirt_state.h"

/* What QEMU counts dirty pages in, if libvirt does not say. */
#define PAGE_BYTES 4096u

/* @text is of a call that gives one, from malloc(). */
static int give(struct wh_libvirt_call *call, char *text)
{
	call->text = text;
	return text ? 0 : -1;
}

static int make_monitor(struct wh_libvirt_call *call, virConnectPtr connection, virDomainPtr domain)
{
	(void)connection;
	return virDomainQemuMonitorCommand(domain, call->first, &call->text, 0);
}

void wh_libvirt_monitor(struct wh_libvirt *l, const char *domain, const char *command,
                        wh_libvirt_reply_fn reply, void *ctx)
{
	struct wh_libvirt_call *call = wh_libvirt_call_new(WH_LIBVIRT_RUNNING, domain);

	call->make = make_monitor;
	call->first = wh_libvirt_copy(command);
	wh_libvirt_call_ask_text(l, call, reply, ctx);
}

static int make_xml(struct wh_libvirt_call *call, virConnectPtr connection, virDomainPtr domain)
{
	(void)connection;
	return give(call, virDomainGetXMLDesc(domain, call->flags));
}

void wh_libvirt_xml(struct wh_libvirt *l, const char *domain, enum wh_domain_xml which,
                    wh_libvirt_reply_fn reply, void *ctx)
{
	static const unsigned flags[] = {
		[WH_DOMAIN_XML_LIVE] = 0,
		[WH_DOMAIN_XML_PERSISTENT] = VIR_DOMAIN_XML_INACTIVE,
		[WH_DOMAIN_XML_MIGRATABLE] = VIR_DOMAIN_XML_MIGRATABLE | VIR_DOMAIN_XML_SECURE,
	};
	struct wh_libvirt_call *call = wh_libvirt_call_new(WH_LIBVIRT_CONFIGURATION, domain);

	call->make = make_xml;
	call->flags = flags[which];
	wh_libvirt_call_ask_text(l, call, reply, ctx);
}

static int make_metadata(struct wh_libvirt_call *call, virConnectPtr connection,
                         virDomainPtr domain)
{
	const int active = virDomainIsActive(domain);
	const int persistent = virDomainIsPersistent(domain);
	const unsigned flags = (active == 1 ? VIR_DOMAIN_AFFECT_LIVE : 0u) |
	                       (persistent == 1 ? VIR_DOMAIN_AFFECT_CONFIG : 0u);

	(void)connection;
	if (active < 0 || persistent < 0)
		return -1;
	return virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT,
	                            *call->first ? call->first : NULL, "wherry",
	                            WH_DOMAIN_XML_NAMESPACE, flags);
}

void wh_libvirt_set_metadata(struct wh_libvirt *l, const char *domain, const char *xml,
                             wh_libvirt_reply_fn reply, void *ctx)
{
	struct wh_libvirt_call *call = wh_libvirt_call_new(WH_LIBVIRT_CONFIGURATION, domain);

	call->make = make_metadata;
	call->first = wh_libvirt_copy(xml);
	wh_libvirt_call_ask_text(l, call, reply, ctx);
}

static int make_capabilities(struct wh_libvirt_call *call, virConnectPtr connection,
                             virDomainPtr domain)
{
	(void)domain;
	return give(call, virConnectGetDomainCapabilities(
				  connection, *call->first ? call->first : NULL, NULL,
				  *call->second ? call->second : NULL, NULL, 0));
}

void wh_libvirt_capabilities(struct wh_libvirt *l, const char *emulator, const char *machine,
                             wh_libvirt_reply_fn reply, void *ctx)
{
	struct wh_libvirt_call *call = wh_libvirt_call_new(WH_LIBVIRT_ALONE, NULL);

	call->make = make_capabilities;
	call->first = wh_libvirt_copy(emulator);
	call->second = wh_libvirt_copy(machine);
	wh_libvirt_call_ask_text(l, call, reply, ctx);
}

/* That it is incompatible is an answer, and libvirt's error has the words. */
static int make_compare(struct wh_libvirt_call *call, virConnectPtr connection, virDomainPtr domain)
{
	const struct wh_libvirt_cpu *cpu = &call->cpu;
	int r = virConnectCompareHypervisorCPU(connection, cpu->emulator, cpu->arch, cpu->machine,
	                                       cpu->virt_type, cpu->xml,
	                                       VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE);

	(void)domain;
	if (r < 0 && virGetLastErrorCode() != VIR_ERR_CPU_INCOMPATIBLE)
		return -1;
	return give(call, wh_libvirt_copy(r < 0 ? wh_libvirt_words() : "yes"));
}

void wh_libvirt_compare_cpu(struct wh_libvirt *l, const struct wh_libvirt_cpu *cpu,
                            wh_libvirt_reply_fn reply, void *ctx)
{
	struct wh_libvirt_call *call = wh_libvirt_call_new(WH_LIBVIRT_ALONE, NULL);

	call->make = make_compare;
	call->cpu = (struct wh_libvirt_cpu){ .xml = wh_libvirt_copy(cpu->xml),
		                             .emulator = wh_libvirt_copy(cpu->emulator),
		                             .arch = wh_libvirt_copy(cpu->arch),
		                             .machine = wh_libvirt_copy(cpu->machine),
		                             .virt_type = wh_libvirt_copy(cpu->virt_type) };
	wh_libvirt_call_ask_text(l, call, reply, ctx);
}

static uint64_t number(virTypedParameterPtr params, int count, const char *name)
{
	unsigned long long value = 0;

	(void)virTypedParamsGetULLong(params, count, name, &value); /* one that is not there is 0 */
	return value;
}

static struct wh_libvirt_job read_job(virTypedParameterPtr p, int count)
{
	const uint64_t page_bytes = number(p, count, VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE);
	const uint64_t dirty_pages = number(p, count, VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE);

	return (struct wh_libvirt_job){
		.active = true,
		.memory_total_bytes = number(p, count, VIR_DOMAIN_JOB_MEMORY_TOTAL),
		.memory_left_bytes = number(p, count, VIR_DOMAIN_JOB_MEMORY_REMAINING),
		.memory_done_bytes = number(p, count, VIR_DOMAIN_JOB_MEMORY_PROCESSED),
		.disk_total_bytes = number(p, count, VIR_DOMAIN_JOB_DISK_TOTAL),
		.disk_left_bytes = number(p, count, VIR_DOMAIN_JOB_DISK_REMAINING),
		.disk_done_bytes = number(p, count, VIR_DOMAIN_JOB_DISK_PROCESSED),
		.dirty_bps = dirty_pages * (page_bytes ? page_bytes : PAGE_BYTES),
		.rounds = number(p, count, VIR_DOMAIN_JOB_MEMORY_ITERATION),
	};
}

static bool in_postcopy(virDomainPtr domain)
{
	int state;
	int reason;

	return virDomainGetState(domain, &state, &reason, 0) == 0 && state == VIR_DOMAIN_PAUSED &&
	       (reason == VIR_DOMAIN_PAUSED_POSTCOPY ||
	        reason == VIR_DOMAIN_PAUSED_POSTCOPY_FAILED);
}

static int make_job(struct wh_libvirt_call *call, virConnectPtr connection, virDomainPtr domain)
{
	virTypedParameterPtr params = NULL;
	int count = 0;
	int type;

	(void)connection;
	if (virDomainGetJobStats(domain, &type, &params, &count, 0) < 0)
		return -1;
	if (type == VIR_DOMAIN_JOB_BOUNDED || type == VIR_DOMAIN_JOB_UNBOUNDED) {
		call->job = read_job(params, count);
		call->job.postcopy = in_postcopy(domain);
	}
	virTypedParamsFree(params, count);
	return 0;
}

static void answer_job(const struct wh_libvirt_call *call)
{
	call->job_reply(call->ctx, call->error ? NULL : &call->job, call->error);
}

void wh_libvirt_job(struct wh_libvirt *l, const char *domain,
                    void (*reply)(void *ctx, const struct wh_libvirt_job *job, const char *error),
                    void *ctx)
{
	struct wh_libvirt_call *call = wh_libvirt_call_new(WH_LIBVIRT_RUNNING, domain);

	call->make = make_job;
	call->job_reply = reply;
	call->answer = answer_job;
	call->ctx = ctx;
	wh_libvirt_call_ask(l, call);
}

static int make_plain(struct wh_libvirt_call *call, virConnectPtr connection, virDomainPtr domain)
{
	(void)connection;
	return call->plain(domain);
}

/* A call that takes nothing but the domain. */
static struct wh_libvirt_call *plain(enum wh_libvirt_row_kind row, const char *domain,
                                     int (*function)(virDomainPtr domain))
{
	struct wh_libvirt_call *call = wh_libvirt_call_new(row, domain);

	call->make = make_plain;
	call->plain = function;
	return call;
}

static int start_postcopy(virDomainPtr domain)
{
	return virDomainMigrateStartPostCopy(domain, 0);
}

void wh_libvirt_abort(struct wh_libvirt *l, const char *domain, wh_libvirt_reply_fn reply,
                      void *ctx)
{
	wh_libvirt_call_ask_text(l, plain(WH_LIBVIRT_RUNNING, domain, virDomainAbortJob), reply,
	                         ctx);
}

void wh_libvirt_postcopy(struct wh_libvirt *l, const char *domain, wh_libvirt_reply_fn reply,
                         void *ctx)
{
	wh_libvirt_call_ask_text(l, plain(WH_LIBVIRT_RUNNING, domain, start_postcopy), reply, ctx);
}

void wh_libvirt_suspend(struct wh_libvirt *l, const char *domain, wh_libvirt_reply_fn reply,
                        void *ctx)
{
	wh_libvirt_call_ask_text(l, plain(WH_LIBVIRT_RUNNING, domain, virDomainSuspend), reply,
	                         ctx);
}

void wh_libvirt_resume(struct wh_libvirt *l, const char *domain, wh_libvirt_reply_fn reply,
                       void *ctx)
{
	wh_libvirt_call_ask_text(l, plain(WH_LIBVIRT_RUNNING, domain, virDomainResume), reply, ctx);
}

void wh_libvirt_destroy(struct wh_libvirt *l, const char *domain, wh_libvirt_reply_fn reply,
                        void *ctx)
{
	wh_libvirt_call_ask_text(l, plain(WH_LIBVIRT_ENDING, domain, virDomainDestroy), reply, ctx);
}

void wh_libvirt_undefine(struct wh_libvirt *l, const char *domain, wh_libvirt_reply_fn reply,
                         void *ctx)
{
	wh_libvirt_call_ask_text(l, plain(WH_LIBVIRT_ENDING, domain, virDomainUndefine), reply,
	                         ctx);
}
