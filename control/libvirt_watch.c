/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Libvirt watch - a thread that stays connected, and knows the domains.
 *
 *	connect -> look at all domains -> wait for an event or the connection's end
 *	   ^              ^                        |              |
 *	   |              +-------- something changed             |
 *	   +------- a pause, if it could not be made -------------+
 *
 * Not all is told: a libvirtd that has just started may end domains without a word. So it is looked again
 * after 1 s, 2 s, 4 s..., and then now and then.
 *
 * libvirt's event loop calls back in its own thread. What it has to tell is put down there, and the
 * watcher does the rest: such a callback must not call libvirt. QEMU's own events are left out where
 * the driver has none, and so are keepalive and close callbacks.
 */

#include "libvirt_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>

#include "domain_xml.h"

#include "wherry/clock.h"
#include "wherry/log.h"

/*
 * Events come in bursts, most of all while a guest stands still to be handed over: libvirtd then has better
 * things to do than to answer a look. So there is one, a moment after the first of them.
 */
#define REST_NS (50 * WH_NSEC_PER_MSEC)

/*
 * What QEMU tells of that somebody here acts upon. libvirtd sends nothing else: a QEMU that waits for the other side's
 * leave to stop its guest says MIGRATION_PASS 100,000 times a second, and with those in its queue libvirtd
 * stops answering anybody.
 */
#define QEMU_EVENTS "^(STOP|RESUME|MIGRATION|BLOCK_IO_ERROR)$"

/* What is asked to be told of by one connection. */
struct listeners {
	int lifecycle; /* numbers for taking it back; -1 if there is none */
	int metadata;
	int qemu;
	bool close;
};

virConnectPtr wh_libvirt_connect(const char *uri)
{
	virConnectPtr connection = virConnectOpen(uri);

	/* A driver that has no keepalive is in this process: it cannot get lost. */
	if (connection)
		(void)virConnectSetKeepAlive(connection, WH_LIBVIRT_PROBE_S, WH_LIBVIRT_PROBES);
	return connection;
}

static void unref(void *ctx)
{
	wh_libvirt_unref(ctx);
}

void wh_libvirt_look(struct wh_libvirt *l)
{
	(void)pthread_mutex_lock(&l->lock);
	l->stale = true;
	(void)pthread_cond_broadcast(&l->changed);
	(void)pthread_mutex_unlock(&l->lock);
}

static void tell_event(struct wh_libvirt *l, virDomainPtr domain, const char *event,
                       const char *data)
{
	struct wh_libvirt_news *news = wh_libvirt_alloc(sizeof(*news));

	news->kind = WH_LIBVIRT_EVENT;
	(void)snprintf(news->domain, sizeof(news->domain), "%s", virDomainGetName(domain));
	news->event = wh_libvirt_copy(event);
	news->data = wh_libvirt_copy(data);
	wh_libvirt_tell(l, news);
}

/* A letter or digit, then letters, digits, '-', '_' and '.'. */
static bool name_fits(const char *name)
{
	static const char allowed[] =
		"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_.";
	const size_t len = strlen(name);

	return len > 0 && len < WH_NAME_MAX && strspn(name, allowed) == len &&
	       !strchr("-_.", name[0]);
}

static int on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail,
                        void *ctx)
{
	(void)connection;
	(void)detail;
	if (event == VIR_DOMAIN_EVENT_STOPPED && name_fits(virDomainGetName(domain)))
		tell_event(ctx, domain, "CLOSED", NULL);
	wh_libvirt_look(ctx);
	return 0;
}

static void on_metadata(virConnectPtr connection, virDomainPtr domain, int type,
                        const char *name_space, void *ctx)
{
	(void)connection;
	(void)domain;
	(void)type;
	(void)name_space;
	wh_libvirt_look(ctx);
}

/* NOLINTNEXTLINE(readability-function-size): what it is given is libvirt's choice */
static void on_qemu(virConnectPtr connection, virDomainPtr domain, const char *event,
                    long long seconds, unsigned int micros, const char *details, void *ctx)
{
	(void)connection;
	(void)seconds;
	(void)micros;
	if (name_fits(virDomainGetName(domain)))
		tell_event(ctx, domain, event, details);
}

static const char *reason(int close_reason)
{
	switch (close_reason) {
	case VIR_CONNECT_CLOSE_REASON_EOF:
		return "libvirtd has ended the connection";
	case VIR_CONNECT_CLOSE_REASON_KEEPALIVE:
		return "libvirtd does not answer";
	default: /* libvirt's enum, which may grow */
		return "the connection to libvirtd is lost";
	}
}

/* This connection is of no use any more. Calls that have not begun are answered with that. */
static void set_lost(struct wh_libvirt *l, const char *why)
{
	(void)pthread_mutex_lock(&l->lock);
	if (!l->lost) /* what is said later follows from that */
		(void)snprintf(l->down.text, sizeof(l->down.text), "%s", why);
	l->lost = true;
	(void)pthread_cond_broadcast(&l->changed);
	(void)pthread_mutex_unlock(&l->lock);
}

static void on_close(virConnectPtr connection, int close_reason, void *ctx)
{
	(void)connection;
	set_lost(ctx, reason(close_reason));
}

static void unlisten(virConnectPtr c, const struct listeners *on)
{
	if (on->qemu >= 0)
		(void)virConnectDomainQemuMonitorEventDeregister(c, on->qemu);
	if (on->metadata >= 0)
		(void)virConnectDomainEventDeregisterAny(c, on->metadata);
	if (on->lifecycle >= 0)
		(void)virConnectDomainEventDeregisterAny(c, on->lifecycle);
	if (on->close)
		(void)virConnectUnregisterCloseCallback(c, on_close);
}

static bool unsupported(void)
{
	return virGetLastErrorCode() == VIR_ERR_NO_SUPPORT;
}

/*
 * Each callback for events holds a reference, which libvirt gives back with it. That for the connection's
 * end does not: some drivers take it and forget it. Return: 0, or -1 and libvirt's error.
 */
static int listen_to(struct wh_libvirt *l, virConnectPtr c, struct listeners *ret)
{
	struct listeners on = { -1, -1, -1, false };

	on.close = virConnectRegisterCloseCallback(c, on_close, l, NULL) == 0;
	on.lifecycle = virConnectDomainEventRegisterAny(c, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
	                                                VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle),
	                                                wh_libvirt_ref(l), unref);
	if (on.lifecycle < 0)
		goto fail;
	on.metadata = virConnectDomainEventRegisterAny(c, NULL, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
	                                               VIR_DOMAIN_EVENT_CALLBACK(on_metadata),
	                                               wh_libvirt_ref(l), unref);
	if (on.metadata < 0)
		goto fail;
	on.qemu = virConnectDomainQemuMonitorEventRegister(
		c, NULL, QEMU_EVENTS, on_qemu, wh_libvirt_ref(l), unref,
		VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX);
	if (on.qemu < 0) {
		wh_libvirt_unref(l);
		if (!unsupported()) {
			unlisten(c, &on);
			return -1;
		}
	}
	*ret = on;
	return 0;

fail:
	wh_libvirt_unref(l);
	unlisten(c, &on);
	return -1;
}

/* Return: 0, or -1 and libvirt's error. */
static int describe(struct wh_domain *ret, virDomainPtr domain)
{
	virDomainInfo info;
	int persistent = virDomainIsPersistent(domain);

	if (persistent < 0 || virDomainGetInfo(domain, &info) < 0 ||
	    virDomainGetUUIDString(domain, ret->uuid) < 0)
		return -1;
	(void)snprintf(ret->name, sizeof(ret->name), "%s", virDomainGetName(domain));
	ret->active = info.state != VIR_DOMAIN_SHUTOFF;
	ret->running = info.state == VIR_DOMAIN_RUNNING || info.state == VIR_DOMAIN_BLOCKED;
	ret->persistent = persistent == 1;
	ret->memory_bytes = (uint64_t)info.maxMem << 10;
	ret->metadata = virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT,
	                                     WH_DOMAIN_XML_NAMESPACE, 0);
	if (!ret->metadata && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN_METADATA)
		return -1;
	if (!ret->metadata)
		ret->metadata = wh_libvirt_copy("");
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct wh_domain *)a)->name, ((const struct wh_domain *)b)->name);
}

/* Say so, once for each name. */
static void leave_out(struct wh_libvirt *l, const char *name)
{
	struct wh_libvirt_name **at = &l->left_out;

	for (; *at; at = &(*at)->next)
		if (!strcmp((*at)->text, name))
			return;
	*at = wh_libvirt_alloc(sizeof(**at) + strlen(name) + 1);
	memcpy((*at)->text, name, strlen(name) + 1);
	wh_log(WH_LOG_WARNING, "libvirt.name", WH_STR("domain", name));
}

static void add(struct wh_libvirt *l, struct wh_libvirt_list *list, virDomainPtr domain)
{
	struct wh_domain *item = &list->items[list->count];
	const char *name = virDomainGetName(domain);

	if (!name_fits(name))
		leave_out(l, name);
	else if (describe(item, domain) == 0)
		list->count++;
	else
		*item = (struct wh_domain){ 0 }; /* it has gone since */
}

/* Look at all domains. Return: 0, or -1 and libvirt's error. */
static int look(struct wh_libvirt *l, virConnectPtr c, struct wh_libvirt_list *ret)
{
	struct wh_libvirt_list list = { 0 };
	virDomainPtr *domains;
	int count = virConnectListAllDomains(c, &domains, 0);

	if (count < 0)
		return -1;
	list.items = wh_libvirt_alloc(((size_t)count + 1) * sizeof(*list.items));
	for (int i = 0; i < count; i++) {
		add(l, &list, domains[i]);
		(void)virDomainFree(domains[i]);
	}
	free(domains);
	qsort(list.items, list.count, sizeof(*list.items), by_name);
	*ret = list;
	return 0;
}

static void tell_list(struct wh_libvirt *l, struct wh_libvirt_list *list)
{
	struct wh_libvirt_news *news = wh_libvirt_alloc(sizeof(*news));

	news->kind = WH_LIBVIRT_LIST;
	news->list = *list;
	wh_libvirt_tell(l, news);
}

static void tell_lost(struct wh_libvirt *l)
{
	struct wh_libvirt_news *news = wh_libvirt_alloc(sizeof(*news));

	news->kind = WH_LIBVIRT_LOST;
	(void)pthread_mutex_lock(&l->lock);
	news->why = l->down;
	(void)pthread_mutex_unlock(&l->lock);
	wh_libvirt_tell(l, news);
}

/* Note that a list was got. Return: whether that is still so: the connection may be lost since. */
static bool set_up(struct wh_libvirt *l)
{
	bool up;

	(void)pthread_mutex_lock(&l->lock);
	up = !l->lost;
	if (up)
		l->down = (struct wh_error){ 0 };
	(void)pthread_mutex_unlock(&l->lock);
	return up;
}

/* Return: true if it is time to look again, false if the connection or all is over. */
static bool wait_for_change(struct wh_libvirt *l, uint64_t until_ns)
{
	uint64_t rest_until_ns;
	bool again;

	(void)pthread_mutex_lock(&l->lock);
	while (!l->stale && !l->lost && !l->closed && wh_libvirt_wait(l, until_ns))
		; /* something else changed */
	rest_until_ns = wh_now_ns(&wh_clock_monotonic) + REST_NS;
	while (l->stale && !l->lost && !l->closed && wh_libvirt_wait(l, rest_until_ns))
		; /* not yet */
	again = !l->lost && !l->closed;
	l->stale = false;
	(void)pthread_mutex_unlock(&l->lock);
	return again;
}

static void stay(struct wh_libvirt *l, virConnectPtr c)
{
	uint64_t pause_ns = WH_LIBVIRT_LOOK_FIRST_NS;
	uint64_t until_ns = wh_now_ns(&wh_clock_monotonic) + pause_ns;
	struct wh_libvirt_list list;

	/* This ends when the connection is lost or the object is closed. */
	do {
		if (wh_now_ns(&wh_clock_monotonic) >= until_ns) {
			pause_ns = pause_ns < WH_LIBVIRT_LOOK_MAX_NS ? pause_ns * 2 : pause_ns;
			until_ns = wh_now_ns(&wh_clock_monotonic) + pause_ns;
		}
		if (look(l, c, &list) < 0) {
			set_lost(l, wh_libvirt_words());
			return;
		}
		/* Those it could not ask about any more would seem to have gone. */
		if (virConnectIsAlive(c) != 1)
			set_lost(l, reason(VIR_CONNECT_CLOSE_REASON_EOF));
		if (!set_up(l)) {
			wh_libvirt_list_done(&list);
			return;
		}
		tell_list(l, &list);
	} while (wait_for_change(l, until_ns));
}

/* One connection, from its begin to its end. */
static void serve(struct wh_libvirt *l)
{
	struct listeners on;
	virConnectPtr c;

	(void)pthread_mutex_lock(&l->lock);
	l->lost = false;
	l->stale = false;
	(void)pthread_mutex_unlock(&l->lock);

	c = wh_libvirt_connect(l->uri);
	if (!c) {
		set_lost(l, wh_libvirt_words());
		return;
	}
	if (listen_to(l, c, &on) == 0) {
		stay(l, c);
		unlisten(c, &on);
	} else {
		set_lost(l, wh_libvirt_words());
	}
	(void)virConnectClose(c);
}

void wh_libvirt_watch(struct wh_libvirt *l)
{
	bool closed;

	do {
		uint64_t until_ns;

		serve(l);
		until_ns = wh_now_ns(&wh_clock_monotonic) + WH_LIBVIRT_RETRY_NS;
		tell_lost(l);
		(void)pthread_mutex_lock(&l->lock);
		while (!l->closed && wh_libvirt_wait(l, until_ns))
			; /* something else changed */
		closed = l->closed;
		(void)pthread_mutex_unlock(&l->lock);
	} while (!closed);
}
