/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Libvirt - the libvirtd of this host, as wherryd uses it. Nothing but control/libvirt*.c includes libvirt's
 * headers.
 *
 * libvirt's calls wait for their answers, so threads make them, and what comes of them is told in
 * the loop. A connection that is lost is made again each few seconds; until then every call is
 * answered with the reason.
 *
 * Order: calls to one domain are made in the order in which they were asked for, one at a time, in three
 * rows that do not wait for each other: what goes to its QEMU or is about its job and its vCPUs; its
 * XML and metadata, which libvirt may hold back while a job goes on; and what ends it, for a QEMU that
 * hangs must not be waited for then. A migration is in no row, and domains do not wait for each other.
 *
 * Threads: all that is below is called in the loop's own, and calls back in it. No callback comes
 * before the call that asked for it has returned. An answer that is still due when the
 * connection is closed never comes. A callback may close it.
 */

#ifndef WH_LIBVIRT_H
#define WH_LIBVIRT_H

#include <stdbool.h>
#include <stdint.h>

#include "json.h"
#include "loop.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"

#define WH_UUID_TEXT_MAX 37u

struct wh_libvirt;

/* One domain, as it was when it was last looked at. Strings are borrowed until the next look. */
struct wh_domain {
	char name[WH_NAME_MAX];
	char uuid[WH_UUID_TEXT_MAX];
	bool active;
	bool running; /* active, and its vCPUs run */
	bool persistent;
	uint64_t memory_bytes;
	const char *metadata; /* its <wherry:vm> element as XML; "" if it has none */
};

struct wh_libvirt_handler {
	/* The list of domains is another one now, or the connection was made or lost. */
	void (*changed)(void *ctx);
	/*
	 * QEMU's own event in the domain: "STOP", "RESUME", "MIGRATION" or "BLOCK_IO_ERROR"; and "CLOSED",
	 * without data, when the domain is not active any more. @data is borrowed, and may be NULL.
	 */
	void (*event)(void *ctx, const char *domain, const char *event, const json_t *data);
	void *ctx;
};

/**
 * wh_libvirt_open() - Begin to connect, and go on until it is closed
 * @uri:	"qemu:///system", with whatever libvirt allows there
 * @handler:	copied
 *
 * Return: 0 or -errno, if there are no threads to be had.
 */
wh_must_check int wh_libvirt_open(struct wh_libvirt **ret, sd_event *loop, const char *uri,
                                  const struct wh_libvirt_handler *handler, struct wh_error *err);

/* Accepts NULL, returns NULL. Calls that do not end within a second are left to their threads. */
struct wh_libvirt *wh_libvirt_close(struct wh_libvirt *libvirt);

WH_DEFINE_CLEANUP(struct wh_libvirt, wh_libvirt_close)

/* Whether it is connected. If not, @why (may be NULL) receives words that say so. */
bool wh_libvirt_connected(const struct wh_libvirt *libvirt, struct wh_error *why);

/*
 * All domains with names that fit (a letter or digit, then letters, digits, '-', '_', '.'; less than
 * WH_NAME_MAX), in the order of names; others are logged once. Borrowed until @changed.
 */
const struct wh_domain *wh_libvirt_domains(const struct wh_libvirt *libvirt, size_t *count);
const struct wh_domain *wh_libvirt_domain(const struct wh_libvirt *libvirt, const char *name);

/* Look at them again, a moment from now. @changed comes then. */
void wh_libvirt_look(struct wh_libvirt *libvirt);

/*
 * What a call came to: @text is what was asked for, or "" if there is nothing to tell; NULL if it failed, and
 * then @error says why. A call may be made without one, if nobody cares.
 */
typedef void (*wh_libvirt_reply_fn)(void *ctx, const char *text, const char *error);

/* No answer comes with @ctx any more. What was asked for is done nevertheless. */
void wh_libvirt_forget(struct wh_libvirt *libvirt, const void *ctx);

/* Have the monitor of an active domain run one QMP command (JSON); @text is QEMU's answer, whole. */
void wh_libvirt_monitor(struct wh_libvirt *libvirt, const char *domain, const char *command,
                        wh_libvirt_reply_fn reply, void *ctx);

enum wh_domain_xml {
	WH_DOMAIN_XML_LIVE,       /* as it runs */
	WH_DOMAIN_XML_PERSISTENT, /* as it will be started next */
	WH_DOMAIN_XML_MIGRATABLE, /* live, as another libvirt would take it, secrets included */
};

void wh_libvirt_xml(struct wh_libvirt *libvirt, const char *domain, enum wh_domain_xml which,
                    wh_libvirt_reply_fn reply, void *ctx);

/*
 * Replace the <wherry:vm> element in the metadata, live and persistent; "" removes it. libvirt wants it, and
 * gives it, without prefix and namespace: <vm namespace="prod"><label key="a" value="b"/></vm>.
 */
void wh_libvirt_set_metadata(struct wh_libvirt *libvirt, const char *domain, const char *xml,
                             wh_libvirt_reply_fn reply, void *ctx);

/* What this host can run: <domainCapabilities> of an emulator and machine type; "" for defaults. */
void wh_libvirt_capabilities(struct wh_libvirt *libvirt, const char *emulator, const char *machine,
                             wh_libvirt_reply_fn reply, void *ctx);

/* A CPU, by the parts of a domain's XML. Those that are NULL are what libvirt would choose. */
struct wh_libvirt_cpu {
	const char *xml;       /* its <cpu> element */
	const char *emulator;  /* <emulator> */
	const char *arch;      /* <type arch=""> */
	const char *machine;   /* <type machine=""> */
	const char *virt_type; /* <domain type="">: "kvm" or "qemu" */
};

/* Whether a guest can have that CPU here: @text is "yes", or in words what is missing. */
void wh_libvirt_compare_cpu(struct wh_libvirt *libvirt, const struct wh_libvirt_cpu *cpu,
                            wh_libvirt_reply_fn reply, void *ctx);

struct wh_libvirt_migration {
	const char *domain;
	const char *destination;    /* URI of the other libvirtd, as the one here reaches it */
	const char *memory_uri;     /* "unix:///PATH" that QEMU's stream goes to */
	const char *disks_uri;      /* the same for disks; NULL: they are shared, none is copied */
	const char *live_xml;       /* the domain at the destination; NULL as it is */
	const char *persistent_xml; /* its configuration there; NULL as it is; only if persistent */
	const char *disks;          /* with disks_uri: targets to copy, "vda,vdb"; NULL for all */
	uint64_t disk_bps; /* bytes per second, 0 for no limit; libvirt rounds it up to MiB,
	                               and holds QEMU's stream to it as well */
	bool persistent;   /* define it there, and undefine it here */
	bool postcopy;     /* it may be switched */
	bool auto_converge;
};

/*
 * Move a domain, peer to peer and live. All is copied. @reply comes when libvirt has ended it, @text is ""
 * if it was moved. It does not end if this object is closed: libvirtd goes on.
 */
void wh_libvirt_migrate(struct wh_libvirt *libvirt, const struct wh_libvirt_migration *migration,
                        wh_libvirt_reply_fn reply, void *ctx);

struct wh_libvirt_job {
	bool active;
	bool postcopy;
	uint64_t memory_total_bytes;
	uint64_t memory_left_bytes;
	uint64_t memory_done_bytes; /* sent so far, pages that were sent again included */
	uint64_t disk_total_bytes;
	uint64_t disk_left_bytes;
	uint64_t disk_done_bytes;
	uint64_t dirty_bps;
	uint64_t rounds;
};

/* @job is NULL if the call failed. A domain without a job is one that is not active. */
void wh_libvirt_job(struct wh_libvirt *libvirt, const char *domain,
                    void (*reply)(void *ctx, const struct wh_libvirt_job *job, const char *error),
                    void *ctx);

/* Of a job in the domain. */
void wh_libvirt_abort(struct wh_libvirt *libvirt, const char *domain, wh_libvirt_reply_fn reply,
                      void *ctx);
void wh_libvirt_postcopy(struct wh_libvirt *libvirt, const char *domain, wh_libvirt_reply_fn reply,
                         void *ctx);

/* Of the domain. */
void wh_libvirt_suspend(struct wh_libvirt *libvirt, const char *domain, wh_libvirt_reply_fn reply,
                        void *ctx);
void wh_libvirt_resume(struct wh_libvirt *libvirt, const char *domain, wh_libvirt_reply_fn reply,
                       void *ctx);
void wh_libvirt_destroy(struct wh_libvirt *libvirt, const char *domain, wh_libvirt_reply_fn reply,
                        void *ctx);
void wh_libvirt_undefine(struct wh_libvirt *libvirt, const char *domain, wh_libvirt_reply_fn reply,
                         void *ctx);

#endif
