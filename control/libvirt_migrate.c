/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Libvirt migrate - one call of libvirt that moves a domain, told in typed parameters.
 *
 * VIR_MIGRATE_UNSAFE is never among its flags: what libvirt holds for unsafe is an error with words.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libvirt_state.h"

#define MIB_BYTES (1ull << 20)

struct params {
	virTypedParameterPtr items;
	int count;
	int size;
	int result; /* 0, or -1 once one could not be added */
};

static void add(struct params *p, const char *name, const char *value)
{
	if (value && virTypedParamsAddString(&p->items, &p->count, &p->size, name, value) < 0)
		p->result = -1;
}

/* A parameter for each of "vda,vdb". */
static void add_each(struct params *p, const char *name, const char *list)
{
	char *names = wh_libvirt_copy(list);
	char *rest;

	for (char *s = names ? strtok_r(names, ",", &rest) : NULL; s;
	     s = strtok_r(NULL, ",", &rest))
		add(p, name, s);
	free(names);
}

static void add_disks(struct params *p, const struct wh_libvirt_migration *m)
{
	const unsigned long long mib_ps = m->disk_bps / MIB_BYTES + (m->disk_bps % MIB_BYTES > 0);

	add(p, VIR_MIGRATE_PARAM_DISKS_URI, m->disks_uri);
	add_each(p, VIR_MIGRATE_PARAM_MIGRATE_DISKS, m->disks);
	if (mib_ps > 0 && virTypedParamsAddULLong(&p->items, &p->count, &p->size,
	                                          VIR_MIGRATE_PARAM_BANDWIDTH, mib_ps) < 0)
		p->result = -1;
}

static unsigned flags_of(const struct wh_libvirt_migration *m)
{
	unsigned flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER;

	if (m->disks_uri)
		flags |= VIR_MIGRATE_NON_SHARED_DISK;
	if (m->persistent)
		flags |= VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE;
	if (m->postcopy)
		flags |= VIR_MIGRATE_POSTCOPY;
	if (m->auto_converge)
		flags |= VIR_MIGRATE_AUTO_CONVERGE;
	return flags;
}

static int make_migration(struct wh_libvirt_call *call, virConnectPtr connection,
                          virDomainPtr domain)
{
	const struct wh_libvirt_migration *m = &call->migration;
	struct params p = { 0 };
	int r;

	(void)connection;
	add(&p, VIR_MIGRATE_PARAM_URI, m->memory_uri);
	add(&p, VIR_MIGRATE_PARAM_DEST_XML, m->live_xml);
	if (m->persistent)
		add(&p, VIR_MIGRATE_PARAM_PERSIST_XML, m->persistent_xml);
	if (m->disks_uri)
		add_disks(&p, m);
	r = p.result < 0 ? -1
	                 : virDomainMigrateToURI3(domain, m->destination, p.items,
	                                          (unsigned)p.count, flags_of(m));
	virTypedParamsFree(p.items, p.count);
	return r;
}

void wh_libvirt_migration_done(struct wh_libvirt_migration *m)
{
	free((char *)m->destination);
	free((char *)m->memory_uri);
	free((char *)m->disks_uri);
	free((char *)m->live_xml);
	free((char *)m->persistent_xml);
	free((char *)m->disks);
}

void wh_libvirt_migrate(struct wh_libvirt *l, const struct wh_libvirt_migration *migration,
                        wh_libvirt_reply_fn reply, void *ctx)
{
	struct wh_libvirt_call *call = wh_libvirt_call_new(WH_LIBVIRT_ALONE, migration->domain);

	call->make = make_migration;
	call->migration = *migration;
	call->migration.domain = call->domain;
	call->migration.destination = wh_libvirt_copy(migration->destination);
	call->migration.memory_uri = wh_libvirt_copy(migration->memory_uri);
	call->migration.disks_uri = wh_libvirt_copy(migration->disks_uri);
	call->migration.live_xml = wh_libvirt_copy(migration->live_xml);
	call->migration.persistent_xml = wh_libvirt_copy(migration->persistent_xml);
	call->migration.disks = wh_libvirt_copy(migration->disks);
	wh_libvirt_call_ask_text(l, call, reply, ctx);
}
