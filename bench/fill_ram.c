/* SPDX-License-Identifier: Apache-2.0 */

/*
 * fill_ram FILE [KIND] - overwrite a guest's RAM file with content of one kind, as long as it is.
 *
 *	random	neither compresses nor repeats (what it is without KIND)
 *	zero	each page written, with zeros
 *	half	zero and random in turns, 1 MiB of each
 *	sparse	the first 256 MiB random, the rest left as it is
 *	text	words, a few of them often and most of them rarely; zstd -1 makes a third of it
 *
 * For guests that stand still and never booted: no boot is needed to have gigabytes of a kind. The
 * content is always the same, so runs can be compared.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#define CHUNK_BYTES  (1024ul * 1024)
#define SPARSE_BYTES (256ul << 20)
#define SEED         0x2545f4914f6cdd1dull
#define WORD_BYTES   16u /* room for a word and the blank behind it */
#define LETTERS_MIN  2u
#define LETTERS_MAX  12u
#define WORDS        4096u
#define DRAWS        65536u

struct word {
	char text[WORD_BYTES];
	uint32_t len;
};

struct content {
	uint64_t random;
	uint64_t chunks; /* made so far */
	struct word words[WORDS];
	uint16_t draws[DRAWS]; /* the n-th word is there in proportion to 1 / n */
	/* The last word of a chunk is cut off, but written in full. */
	uint64_t chunk[(CHUNK_BYTES + WORD_BYTES) / sizeof(uint64_t)];
};

struct kind {
	const char *name;
	void (*make)(struct content *c); /* the next chunk */
	uint64_t bytes_max;              /* 0: as many as the file has */
};

/* Marsaglia's xorshift: a good generator is not needed, a quick one is. */
static uint64_t next_random(struct content *c)
{
	uint64_t x = c->random;

	x ^= x << 13;
	x ^= x >> 7;
	c->random = x ^ x << 17;
	return c->random;
}

static void make_random(struct content *c)
{
	for (size_t i = 0; i < CHUNK_BYTES / sizeof(c->chunk[0]); i++)
		c->chunk[i] = next_random(c);
}

static void make_zero(struct content *c)
{
	memset(c->chunk, 0, CHUNK_BYTES);
}

static void make_half(struct content *c)
{
	if (c->chunks % 2)
		make_random(c);
	else
		make_zero(c);
}

static void invent_words(struct content *c)
{
	double sum = 0;
	double until = 0;
	uint32_t draw = 0;

	for (uint32_t i = 0; i < WORDS; i++) {
		struct word *w = &c->words[i];
		uint64_t random = next_random(c);

		w->len = LETTERS_MIN + (uint32_t)(random % (LETTERS_MAX - LETTERS_MIN + 1));
		for (uint32_t k = 0; k < w->len; k++)
			w->text[k] = (char)('a' + next_random(c) % 26);
		w->text[w->len++] = ' ';
		sum += 1.0 / (i + 1);
	}
	for (uint32_t i = 0; i < WORDS; i++) {
		until += DRAWS / sum / (i + 1);
		while (draw < DRAWS && draw < until)
			c->draws[draw++] = (uint16_t)i;
	}
}

static void make_text(struct content *c)
{
	char *text = (char *)c->chunk;
	size_t at = 0;

	if (c->chunks == 0)
		invent_words(c);
	while (at < CHUNK_BYTES) {
		const struct word *w = &c->words[c->draws[next_random(c) % DRAWS]];

		memcpy(text + at, w->text, WORD_BYTES);
		at += w->len;
	}
}

static const struct kind kinds[] = {
	{ "random", make_random, 0 }, { "zero", make_zero, 0 },
	{ "half", make_half, 0 },     { "sparse", make_random, SPARSE_BYTES },
	{ "text", make_text, 0 },
};

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	return NULL;
}

/* Return: 0 or -errno. */
static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* A hugetlbfs has no write(). Return: the mapped file, NULL on any other, or MAP_FAILED. */
static char *map_hugetlb(int fd, uint64_t bytes)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return MAP_FAILED;
	if (fs.f_type != HUGETLBFS_MAGIC)
		return NULL;
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

static int fill(int fd, uint64_t bytes, const struct kind *kind)
{
	static struct content content = { .random = SEED };
	char *to = map_hugetlb(fd, bytes);

	if (to == MAP_FAILED)
		return -errno;
	if (kind->bytes_max > 0 && bytes > kind->bytes_max)
		bytes = kind->bytes_max;
	while (bytes > 0) {
		size_t len = bytes < CHUNK_BYTES ? (size_t)bytes : CHUNK_BYTES;
		int r = 0;

		kind->make(&content);
		content.chunks++;
		if (to)
			to = (char *)memcpy(to, content.chunk, len) + len;
		else
			r = write_all(fd, (const char *)content.chunk, len);
		if (r < 0)
			return r;
		bytes -= len;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct kind *kind = find_kind(argc == 3 ? argv[2] : "random");
	struct stat st;
	int fd;
	int r;

	if (argc < 2 || argc > 3 || !kind) {
		/* nowhere else to say it */
		(void)fprintf(stderr, "usage: fill_ram FILE [random | zero | half | text]\n");
		return EXIT_FAILURE;
	}

	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		perror(argv[1]);
		return EXIT_FAILURE;
	}
	r = fill(fd, (uint64_t)st.st_size, kind);
	if (r == 0 && close(fd) < 0)
		r = -errno;
	if (r < 0) {
		(void)fprintf(stderr, "%s: %s\n", argv[1], strerrordesc_np(-r)); /* as above */
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
