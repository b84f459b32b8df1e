/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Domain XML: rules about devices.
 *
 * The dirty tracker sees what is written through QEMU's page tables: by vCPUs, by QEMU, by the kernel
 * on its behalf. It does not see what devices write by DMA, nor other processes that map the same file.
 */

#include <stdio.h>
#include <string.h>

#include "domain_xml_rules.h"

#define UNSEEN "writes the guest's memory unseen by wherry"

/* Disks. */

void wh_rule_disk_backends(struct wh_check *check)
{
	static const char *const types[] = { "nvme", "vhostuser", "vhostvdpa" };

	for (xmlNode *n = wh_xml_first(check->devices, "disk"); n; n = wh_xml_next(n, "disk"))
		for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
			if (wh_xml_has(n, "type", types[i]))
				(void)wh_check_bad(check, WH_NATIVE_MAY,
				                   "<disk type='block'><source dev='/dev/...'/>",
				                   "what is behind disk %s (%s) " UNSEEN,
				                   wh_check_device(n).text, types[i]);
	if (!wh_check_failed(check))
		wh_check_good(check, "its disks are read and written by QEMU");
}

void wh_rule_disks_transient(struct wh_check *check)
{
	for (xmlNode *n = wh_xml_first(check->devices, "disk"); n; n = wh_xml_next(n, "disk"))
		if (wh_xml_first(n, "transient"))
			(void)wh_check_bad(check, WH_NATIVE_NO, "<disk> without <transient/>",
			                   "what is written to disk %s is to be forgotten: libvirt "
			                   "does not move that",
			                   wh_check_device(n).text);
	if (!wh_check_failed(check))
		wh_check_good(check, "no disk is transient");
}

static bool is_local_and_written(const xmlNode *disk)
{
	const xmlNode *source = wh_xml_first(disk, "source");

	if (wh_xml_first(disk, "readonly") || wh_xml_has(disk, "device", "cdrom"))
		return false;
	return *wh_xml_attr(source, "file") || *wh_xml_attr(source, "dev");
}

/* As control/job_domain_disks.c does with one that is not shared. */
static void note_disk(struct wh_check *check, const xmlNode *disk)
{
	const xmlNode *source = wh_xml_first(disk, "source");
	const struct wh_check_word format =
		wh_check_word(wh_xml_attr(wh_xml_first(disk, "driver"), "type"));
	const struct wh_check_word name = wh_check_device(disk);

	if (wh_xml_has(disk, "type", "block"))
		wh_check_note(check, "disk %s is %s: the other host must see it, too", name.text,
		              wh_check_word(wh_xml_attr(source, "dev")).text);
	else if (*format.text && strcmp(format.text, "raw") != 0)
		wh_check_note(check,
		              "disk %s is %s: the other host must see it, too, since of files only "
		              "raw ones are copied, and this is %s",
		              name.text, wh_check_word(wh_xml_attr(source, "file")).text,
		              format.text);
	else
		wh_check_note(check,
		              "disk %s is %s: if the other host does not see it, it is copied to a "
		              "new file of that name there, and this one stays, out of date",
		              name.text, wh_check_word(wh_xml_attr(source, "file")).text);
}

/* Whether a path is shared only the hosts can tell. */
void wh_rule_disks_shared(struct wh_check *check)
{
	size_t count = 0;

	for (xmlNode *n = wh_xml_first(check->devices, "disk"); n; n = wh_xml_next(n, "disk")) {
		if (!is_local_and_written(n))
			continue;
		count++;
		note_disk(check, n);
	}
	if (count == 0)
		wh_check_good(check, "no disk is a file or device of this host that is written");
}

void wh_rule_disks_direct(struct wh_check *check)
{
	size_t count = 0;

	for (xmlNode *n = wh_xml_first(check->devices, "disk"); n; n = wh_xml_next(n, "disk")) {
		const xmlNode *driver = wh_xml_first(n, "driver");

		if (!wh_xml_has(driver, "cache", "none") &&
		    !wh_xml_has(driver, "cache", "directsync") &&
		    !wh_xml_has(driver, "io", "native"))
			continue;
		count++;
		wh_check_note(check,
		              "disk %s is read with O_DIRECT, past the page tables: what it reads "
		              "into memory is copied again by the echo rule",
		              wh_check_device(n).text);
	}
	if (count == 0)
		wh_check_good(check, "no disk is read past the page tables (O_DIRECT)");
}

/* Devices of the host. */

static bool leaves_by_itself(const xmlNode *device)
{
	return wh_xml_has(wh_xml_first(device, "teaming"), "type", "transient");
}

static void check_hostdev(struct wh_check *check, const xmlNode *device)
{
	struct wh_check_word type = wh_check_word(wh_xml_attr(device, "type"));

	if (!strcmp(type.text, "usb"))
		(void)wh_check_bad(
			check, WH_NATIVE_CAN, "without this <hostdev>",
			"USB device %s is plugged into this host: the guest would lose it",
			wh_check_device(device).text);
	else if (!strcmp(type.text, "pci") || !strcmp(type.text, "mdev"))
		(void)wh_check_bad(check, leaves_by_itself(device) ? WH_NATIVE_CAN : WH_NATIVE_MAY,
		                   "without this <hostdev>",
		                   "%s is a device of this host (VFIO, %s): it " UNSEEN,
		                   wh_check_device(device).text, type.text);
	else
		(void)wh_check_bad(check, WH_NATIVE_NO, "without this <hostdev>",
		                   "%s is a device of this host (%s), and stays here",
		                   wh_check_device(device).text, type.text);
}

void wh_rule_hostdev(struct wh_check *check)
{
	for (xmlNode *n = wh_xml_first(check->devices, "hostdev"); n; n = wh_xml_next(n, "hostdev"))
		check_hostdev(check, n);
	for (xmlNode *n = wh_xml_first(check->devices, "interface"); n;
	     n = wh_xml_next(n, "interface"))
		if (wh_xml_has(n, "type", "hostdev"))
			(void)wh_check_bad(
				check, leaves_by_itself(n) ? WH_NATIVE_CAN : WH_NATIVE_MAY,
				"<interface type='bridge'><source bridge='...'/>",
				"interface %s is a device of this host (VFIO): it " UNSEEN,
				wh_check_device(n).text);
	if (!wh_check_failed(check))
		wh_check_good(check, "it has no device of this host");
}

/* Devices that other processes, or hardware, serve from the guest's memory. */

void wh_rule_interfaces(struct wh_check *check)
{
	static const char *const types[] = { "vhostuser", "vdpa" };

	for (xmlNode *n = wh_xml_first(check->devices, "interface"); n;
	     n = wh_xml_next(n, "interface"))
		for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
			if (wh_xml_has(n, "type", types[i]))
				(void)wh_check_bad(
					check, WH_NATIVE_MAY,
					"<interface type='bridge'><source bridge='...'/>",
					"what is behind interface %s (%s) " UNSEEN,
					wh_check_device(n).text, types[i]);
	if (!wh_check_failed(check))
		wh_check_good(check, "no interface is served by another process or by hardware");
}

void wh_rule_filesystems(struct wh_check *check)
{
	for (xmlNode *n = wh_xml_first(check->devices, "filesystem"); n;
	     n = wh_xml_next(n, "filesystem")) {
		if (wh_xml_has(wh_xml_first(n, "driver"), "type", "virtiofs"))
			(void)wh_check_bad(check, WH_NATIVE_MAY, "without this <filesystem>",
			                   "virtiofsd, which serves '%s', " UNSEEN,
			                   wh_check_device(n).text);
		else
			(void)wh_check_bad(check, WH_NATIVE_NO, "without this <filesystem>",
			                   "'%s' is a directory of this host: QEMU does not leave "
			                   "while it is mounted",
			                   wh_check_device(n).text);
	}
	if (!wh_check_failed(check))
		wh_check_good(check, "no directory of this host is mounted in it");
}

void wh_rule_video(struct wh_check *check)
{
	for (xmlNode *n = wh_xml_first(check->devices, "video"); n; n = wh_xml_next(n, "video")) {
		const xmlNode *model = wh_xml_first(n, "model");

		if (wh_xml_has(wh_xml_first(model, "acceleration"), "accel3d", "yes"))
			(void)wh_check_bad(
				check, WH_NATIVE_NO,
				"<model type='virtio'><acceleration accel3d='no'/></model>",
				"video %s draws with this host's GPU (accel3d), whose state "
				"QEMU does not move",
				wh_check_device(n).text);
		else if (wh_xml_has(wh_xml_first(n, "driver"), "name", "vhostuser"))
			(void)wh_check_bad(check, WH_NATIVE_MAY, "<video> without this <driver>",
			                   "what is behind video %s (vhostuser) " UNSEEN,
			                   wh_check_device(n).text);
	}
	if (!wh_check_failed(check))
		wh_check_good(check, "its display is QEMU's own");
}

void wh_rule_tpm(struct wh_check *check)
{
	for (xmlNode *n = wh_xml_first(check->devices, "tpm"); n; n = wh_xml_next(n, "tpm"))
		if (wh_xml_has(wh_xml_first(n, "backend"), "type", "passthrough"))
			(void)wh_check_bad(check, WH_NATIVE_NO,
			                   "<tpm><backend type='emulator' version='2.0'/></tpm>",
			                   "its TPM is this host's, and the keys in it stay here");
	if (!wh_check_failed(check))
		wh_check_good(check, "it does not use this host's TPM");
}
