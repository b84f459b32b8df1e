/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A tmpfs with huge pages, protected for the first time by UFFDIO_WRITEPROTECT: a write to a huge
 * page is reported as the small page that it touched, in this round and the next.
 */

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tap.h"
#include "tracked.h"

#define HUGE_PAGES (HUGE_BYTES / PAGE)
#define HUGE_BYTES ((size_t)2 << 20)

/* Two huge pages at an address that lets them be mapped as such, and touched. */
static char *huge_memory(int *file)
{
	char *room, *addr;
	struct stat st;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/mnt", "tmpfs", 0, "size=16m,huge=within_size") < 0)
		tap_skip_all("the right to mount a tmpfs with huge pages");
	*file = open("/mnt/ram", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	tap_need(*file >= 0 && ftruncate(*file, (off_t)(2 * HUGE_BYTES)) == 0, "RAM file");
	if (fstat(*file, &st) < 0 || st.st_blksize != (blksize_t)HUGE_BYTES)
		tap_skip_all("huge pages of a tmpfs");

	room = mmap(NULL, 3 * HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	tap_need(room != MAP_FAILED, "mmap");
	addr = room + (HUGE_BYTES - (uintptr_t)room % HUGE_BYTES) % HUGE_BYTES;
	addr = mmap(addr, 2 * HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, *file, 0);
	tap_need(addr != MAP_FAILED, "mmap of the RAM file");
	memset(addr, 'x', 2 * HUGE_BYTES);
	return addr;
}

int main(void)
{
	struct tracked t = { .pages = 2 * HUGE_PAGES };
	static bool written[2 * HUGE_PAGES];

	t.addr = huge_memory(&t.file);
	t.uffd = open_uffd(TRACK_FEATURES);
	register_wp(t.uffd, t.addr, t.pages);
	t.pagemap = open_pagemap(0);
	t.written = written;

	tracked_protect(&t);
	tap_ok(tracked_scan(&t) == 0, "nothing is written after the first protection");
	t.addr[3 * PAGE] = 'y';
	tap_ok(tracked_scan(&t) == 1 && tracked_only(&t, 3, 1), "one page of a huge page");
	t.addr[(HUGE_PAGES + 7) * PAGE] = 'y';
	tap_ok(tracked_scan(&t) == 1 && tracked_only(&t, HUGE_PAGES + 7, 1),
	       "and of another in the next round");
	return tap_done();
}
