/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the first round relies upon: in a RAM file on tmpfs, SEEK_DATA skips memory that the guest
 * never touched, and looking at such memory costs nothing if it is done by pread().
 */

#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tap.h"

#define PAGE  ((size_t)4096)
#define PAGES 4096u

struct ram {
	int file; /* on /dev/shm, without a name */
	char *addr;
};

static struct ram open_ram(void)
{
	struct ram ram = { .file = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) };

	if (ram.file < 0)
		tap_skip_all("a tmpfs at /dev/shm");
	tap_need(ftruncate(ram.file, (off_t)(PAGES * PAGE)) == 0, "ftruncate");
	ram.addr = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ram.file, 0);
	tap_need(ram.addr != MAP_FAILED, "mmap");
	(void)madvise(ram.addr, PAGES * PAGE, MADV_NOHUGEPAGE); /* facts are about single pages */
	return ram;
}

static uint64_t allocated_bytes(const struct ram *ram)
{
	struct stat st;

	tap_need(fstat(ram->file, &st) == 0, "fstat");
	return (uint64_t)st.st_blocks * 512;
}

/* The next page from @page on that is there (SEEK_DATA) or not (SEEK_HOLE); -1 if none is. */
static long next(const struct ram *ram, size_t page, int whence)
{
	off_t found = lseek(ram->file, (off_t)(page * PAGE), whence);

	return found < 0 ? -1 : (long)(found / (off_t)PAGE);
}

static void skips_untouched_memory(const struct ram *ram)
{
	tap_ok(next(ram, 0, SEEK_DATA) < 0 && errno == ENXIO, "a file never written has no data");

	ram->addr[1000 * PAGE] = 1;
	ram->addr[1001 * PAGE] = 1;
	ram->addr[3000 * PAGE] = 1;

	tap_ok(next(ram, 0, SEEK_DATA) == 1000, "SEEK_DATA finds the first page written");
	tap_ok(next(ram, 1000, SEEK_HOLE) == 1002, "SEEK_HOLE finds its end, to the page");
	tap_ok(next(ram, 1002, SEEK_DATA) == 3000, "SEEK_DATA goes on behind the hole");
	tap_ok(next(ram, 3001, SEEK_DATA) < 0 && errno == ENXIO, "and says ENXIO at the end");
	tap_ok(next(ram, 3001, SEEK_HOLE) == 3001, "SEEK_HOLE in a hole stays where it is");
}

static void sees_pages_of_zeros_as_data(const struct ram *ram)
{
	ram->addr[2000 * PAGE] = 0;

	tap_ok(next(ram, 1002, SEEK_DATA) == 2000, "a page written with zeros is data");
}

static void reading_holes(const struct ram *ram)
{
	uint64_t before = allocated_bytes(ram);
	char page[4096];

	tap_need(pread(ram->file, page, sizeof(page), 100 * PAGE) == sizeof(page), "pread");
	tap_ok(allocated_bytes(ram) == before, "pread() of a hole allocates nothing");
	tap_ok(next(ram, 0, SEEK_DATA) == 1000, "and leaves the hole a hole");

	page[0] = *(volatile char *)(ram->addr + 100 * PAGE);
	tap_ok(page[0] == 0 && allocated_bytes(ram) > before,
	       "reading a hole through the mapping ALLOCATES a page");
	tap_ok(next(ram, 0, SEEK_DATA) <= 100, "and makes it data");
}

static void punched_pages_are_holes(const struct ram *ram)
{
	tap_need(fallocate(ram->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
	                   (off_t)(PAGES * PAGE)) == 0,
	         "fallocate");

	tap_ok(next(ram, 0, SEEK_DATA) < 0 && allocated_bytes(ram) == 0, "punched pages are holes");
}

int main(void)
{
	struct ram ram = open_ram();

	skips_untouched_memory(&ram);
	sees_pages_of_zeros_as_data(&ram);
	reading_holes(&ram);
	punched_pages_are_holes(&ram);
	return tap_done();
}
