/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Check - whether a VM could be moved, and what is in the way: "wherry check".
 *
 *	check.c          findings, as the API has them, and what is looked at on a host
 *	check_kernel.c   what a mover needs of the kernel, tried out
 *	check_fabric.c   whether memory can go by RDMA
 *	check_memory.c   where the RAM of guests is kept
 *	check_hook.c     whether libvirt has wherry's hook
 *	check_apparmor.c whether AppArmor lets QEMU do what a migration needs
 *	check_vm.c       the request, on the node that has the VM
 *	check_target.c   and on the node that it may go to
 *
 * Threads: the loop's own.
 */

#ifndef WH_CHECK_H
#define WH_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "domain_xml.h"
#include "json.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_ask;
struct wh_config;
struct wh_daemon;

/* The findings of one check, and what they are about now. */
struct wh_check_list {
	json_t *items;                /* owned */
	char about[WH_NAME_MAX + 16]; /* "domain", "node a" */
};

void wh_check_list_init(struct wh_check_list *list);
void wh_check_about(struct wh_check_list *list, const char *fmt, ...) wh_printf(2, 3);

/* Add one thing that was looked at; @remedy NULL: it is good. @note: good, if that is heeded. */
void wh_check_yes(struct wh_check_list *list, const char *rule, const char *fmt, ...)
	wh_printf(3, 4);
void wh_check_heed(struct wh_check_list *list, const char *rule, const char *fmt, ...)
	wh_printf(3, 4);
void wh_check_no(struct wh_check_list *list, const char *rule, const char *remedy, const char *fmt,
                 ...) wh_printf(4, 5);
void wh_check_findings(struct wh_check_list *list, const struct wh_findings *findings);

/* Whether all are good. */
bool wh_check_is_good(const json_t *items);

void wh_check_list_done(struct wh_check_list *list);

/* What a mover needs of this kernel, tried out on memory of our own. */
void wh_check_kernel(struct wh_check_list *list);

/* Whether memory can go by RDMA, on the device that serves @interface; @sys: where sysfs is mounted. */
void wh_check_fabric(struct wh_check_list *list, const char *sys, const char *interface,
                     const struct wh_config *config, bool disable_tls);

/* Where libvirt's qemu.conf, of which @conf is the text, has RAM files; "" is a file that is not there. */
void wh_check_memory_dir(char *ret, size_t size, const char *conf);

/* Whether RAM files that libvirt will make, by @conf, can be mapped: they must be in memory. */
void wh_check_memory_place(struct wh_check_list *list, const char *conf);

/* The same of those that process @pid maps now. */
void wh_check_memory_files(struct wh_check_list *list, pid_t pid);

/*
 * Whether libvirt's hooks in @dir have ours. @libvirtd_started: in seconds since 1970, 0 if that is not known: it
 * knows of no first hook that is newer.
 */
void wh_check_hook(struct wh_check_list *list, const char *dir, time_t libvirtd_started);

/* @kernel: where AppArmor's securityfs is; @dir: where its profiles are. */
void wh_check_apparmor(struct wh_check_list *list, const char *kernel, const char *dir);

/* Whether QEMU, by what it answers to query-version, is new enough. */
void wh_check_qemu(struct wh_check_list *list, const json_t *version);

#endif
