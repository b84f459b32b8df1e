/* SPDX-License-Identifier: Apache-2.0 */

/*
 * QMP domain - the monitor of a libvirt domain's QEMU, which libvirt holds and passes commands to.
 *
 * It is a struct wh_qmp as any other, with what libvirt makes of it: commands are answered in order, beside
 * libvirt's own; one that libvirt refuses fails with libvirt's words. @closed is called when the domain
 * stops, and when the connection to libvirt is lost, though the domain goes on then. Events come another
 * way than answers: of an event and the answer to what caused it, either may be first.
 *
 * Threads: the loop's own.
 */

#ifndef WH_QMP_DOMAIN_H
#define WH_QMP_DOMAIN_H

#include "libvirt.h"
#include "qmp.h"

/* Where libvirt leaves the pids of the hypervisors of qemu:///system. */
#define WH_QMP_DOMAIN_PIDS "/run/libvirt/qemu"

struct wh_qmp_domain;

/*
 * Those that are open on one libvirt, zeroed but for what is set: one for each struct wh_libvirt. Whose
 * handler it is passes on all events and changes.
 */
struct wh_qmp_domains {
	sd_event *loop;
	struct wh_libvirt *libvirt;
	struct wh_qmp_domain *first;
	uint64_t told; /* how many events there were */
};

void wh_qmp_domains_event(struct wh_qmp_domains *domains, const char *domain, const char *event,
                          const json_t *data);
void wh_qmp_domains_changed(struct wh_qmp_domains *domains);

struct wh_qmp_guest {
	const char *domain; /* its name */
	pid_t pid;          /* of its QEMU, for wh_qmp_pid(); 0 if that is not needed */
};

/**
 * wh_qmp_open_domain() - The monitor of a domain
 * @ret:	receives the connection; owned by the caller, untouched on failure
 * @handler:	copied; @ready comes at once, but after this has returned
 *
 * Return: 0, or -ENOTCONN if libvirt cannot be reached.
 */
wh_must_check int wh_qmp_open_domain(struct wh_qmp **ret, struct wh_qmp_domains *domains,
                                     const struct wh_qmp_guest *guest,
                                     const struct wh_qmp_handler *handler, struct wh_error *err);

/*
 * Find the QEMU of a domain: libvirt wrote its pid to @directory/@domain.pid, and the process says that
 * it is that guest. Return: 0, -ESRCH if there is none, or -errno.
 */
wh_must_check int wh_qmp_domain_pid(pid_t *ret, const char *directory, const char *domain,
                                    struct wh_error *err);

#endif
