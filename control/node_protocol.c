/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Node protocol - two tables: the fields of each type, and how each field is read and written.
 */

#include "node_protocol.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

#include "wherry/assert.h"

enum field {
	MIN = 1 << 0,
	MAX = 1 << 1,
	VERSION = 1 << 2,
	NODE = 1 << 3,
	MIGRATION = 1 << 4,
	TOKEN = 1 << 5,
	VM = 1 << 6,
	RUN = 1 << 7,
	COMMITTED = 1 << 8,
	PORT = 1 << 9,
	REASON = 1 << 10,
	RAM = 1 << 11,
	POSTCOPY = 1 << 12,
	COUNT = 1 << 13,
	STALL = 1 << 14,
	HISTOGRAM = 1 << 15,
	STREAM = 1 << 16,
	DIRECTORY = 1 << 17,
	DISKS = 1 << 18,
	COPY = 1 << 19,
	RDMA = 1 << 20,
	NO_RDMA = 1 << 21,
};

static const struct {
	const char *name;
	unsigned fields;
	unsigned optional; /* flags of a later version: written only if set */
} types[WH_NODE_TYPES] = {
	[WH_NODE_HELLO] = { "hello", MIN | MAX | NODE, 0 },
	[WH_NODE_WELCOME] = { "welcome", VERSION | NODE, 0 },
	[WH_NODE_JOIN] = { "join", MIN | MAX | NODE, 0 },
	[WH_NODE_TUNNEL] = { "tunnel", VERSION | MIGRATION | TOKEN | RUN, STREAM },
	[WH_NODE_PREPARE] = { "prepare", MIGRATION | TOKEN | VM | RAM, POSTCOPY | RDMA },
	[WH_NODE_EXPECT] = { "expect", MIGRATION | TOKEN | VM, RAM | POSTCOPY | DISKS | RDMA },
	[WH_NODE_EXPECTED] = { "expected", DIRECTORY, COPY },
	[WH_NODE_READY] = { "ready", PORT, NO_RDMA },
	[WH_NODE_PROCEED] = { "proceed", RUN, 0 },
	[WH_NODE_LANDED] = { "landed", 0, 0 },
	[WH_NODE_STAY] = { "stay", MIGRATION | TOKEN, 0 },
	[WH_NODE_RUNNING] = { "running", 0, 0 },
	[WH_NODE_FAILED] = { "failed", REASON, 0 },
	[WH_NODE_CANCEL] = { "cancel", REASON, 0 },
	[WH_NODE_ASK] = { "ask", MIGRATION | TOKEN, 0 },
	[WH_NODE_ANSWER] = { "answer", COMMITTED, POSTCOPY },
	[WH_NODE_RESUME] = { "resume", MIGRATION | TOKEN, 0 },
	[WH_NODE_FAULTS] = { "faults", COUNT | STALL | HISTOGRAM, 0 },
	[WH_NODE_FINISHED] = { "finished", MIGRATION | TOKEN, 0 },
	[WH_NODE_CLOSED] = { "closed", 0, 0 },
	[WH_NODE_PING] = { "ping", 0, 0 },
};

/* The first is not named: version 1 knows no other. */
static const char *const streams[WH_STREAMS] = {
	[WH_STREAM_STATE] = "state",
	[WH_STREAM_LIBVIRT] = "libvirt",
	[WH_STREAM_MEMORY] = "memory",
	[WH_STREAM_DISKS] = "disks",
};

const char *wh_node_type_name(enum wh_node_type type)
{
	wh_assert(type < WH_NODE_TYPES);
	return types[type].name;
}

bool wh_node_is_name(const char *name)
{
	if (!*name || *name == '.')
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("-_.", *name))
			return false;
	return true;
}

void wh_node_token_format(char text[WH_TOKEN_TEXT_MAX], const uint8_t token[WH_TOKEN_BYTES])
{
	for (size_t i = 0; i < WH_TOKEN_BYTES; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", token[i]);
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int wh_node_token_parse(uint8_t ret[WH_TOKEN_BYTES], const char *text)
{
	uint8_t token[WH_TOKEN_BYTES];

	if (strlen(text) != WH_TOKEN_TEXT_MAX - 1)
		return -EPROTO;
	for (size_t i = 0; i < WH_TOKEN_BYTES; i++) {
		int high = nibble(text[2 * i]);
		int low = nibble(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EPROTO;
		token[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(ret, token, sizeof(token));
	return 0;
}

static int get_version(const json_t *json, const char *key, uint32_t *ret, struct wh_error *err)
{
	uint64_t value;
	int r = wh_json_u64(json, key, UINT16_MAX, &value, err);

	if (r == 0)
		*ret = (uint32_t)value;
	return r;
}

static int get_min(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	return get_version(json, "min", &m->version_min, err);
}

static int get_max(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	int r = get_version(json, "max", &m->version_max, err);

	if (r == 0 && m->version_max < m->version_min)
		return wh_fail(err, -EPROTO, "'max' must not be below 'min'");
	return r;
}

static int get_chosen(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	int r = get_version(json, "version", &m->version_max, err);

	m->version_min = m->version_max;
	return r;
}

static int get_name(const json_t *json, const char *key, char ret[WH_NAME_MAX],
                    struct wh_error *err)
{
	int r = wh_json_string(json, key, ret, WH_NAME_MAX, err);

	if (r == 0 && !wh_node_is_name(ret))
		return wh_fail(err, -EPROTO, "'%s' must be a name of letters, digits, - _ and .",
		               key);
	return r;
}

static int get_node(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	return get_name(json, "node", m->node, err);
}

static int get_migration(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	return get_name(json, "migration", m->migration, err);
}

static int get_vm(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	return get_name(json, "vm", m->vm, err);
}

static int get_token(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	char text[WH_TOKEN_TEXT_MAX];
	int r = wh_json_string(json, "token", text, sizeof(text), err);

	if (r == 0 && wh_node_token_parse(m->token, text) < 0)
		return wh_fail(err, -EPROTO, "'token' must be %u hex digits", 2 * WH_TOKEN_BYTES);
	return r;
}

static int get_running(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	return wh_json_bool(json, "running", &m->running, err);
}

static int get_committed(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	return wh_json_bool(json, "committed", &m->committed, err);
}

static int get_postcopy(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	return wh_json_bool(json, "postcopy", &m->postcopy, err);
}

static int get_stream(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	const char *name = wh_json_text(json, "stream");

	for (enum wh_stream s = WH_STREAM_LIBVIRT; s < WH_STREAMS; s++) {
		if (!strcmp(name, streams[s])) {
			m->stream = s;
			return 0;
		}
	}
	return wh_fail(err, -EPROTO, "'stream' must be libvirt, memory or disks");
}

/* Whether @path begins at the root, and never goes back towards it. */
static bool is_path(const char *path)
{
	size_t len = strlen(path);

	if (path[0] != '/' || strstr(path, "/../"))
		return false;
	return len < 3 || strcmp(path + len - 3, "/..") != 0;
}

/* Sockets are made in it, and their paths have their bounds: the names of files are ours. */
static int get_directory(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	int r = wh_json_string(json, "directory", m->directory, sizeof(m->directory), err);

	if (r == 0 && !is_path(m->directory))
		return wh_fail(err, -EPROTO, "'directory' must be an absolute path");
	return r;
}

static int get_disk(const json_t *json, struct wh_node_disk *ret, struct wh_error *err)
{
	int r;

	if (json_object_size(json) != 4)
		return wh_fail(err, -EPROTO,
		               "a disk has 'target', 'path', 'format' and 'bytes', nothing else");
	r = get_name(json, "target", ret->target, err);
	if (r == 0)
		r = wh_json_string(json, "path", ret->path, sizeof(ret->path), err);
	if (r == 0)
		r = get_name(json, "format", ret->format, err);
	if (r == 0)
		r = wh_json_u64(json, "bytes", INT64_MAX, &ret->bytes, err);
	if (r == 0 && !is_path(ret->path))
		return wh_fail(err, -EPROTO, "'path' must be an absolute path");
	return r;
}

static int get_disks(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	const json_t *disks = json_object_get(json, "disks");
	size_t count = json_array_size(disks);

	if (count < 1 || count > WH_DISKS_MAX)
		return wh_fail(err, -EPROTO, "'disks' must be a list of 1 to %u disks",
		               WH_DISKS_MAX);
	for (size_t i = 0; i < count; i++) {
		int r = get_disk(json_array_get(disks, i), &m->disks[i], err);

		if (r < 0)
			return wh_context(err, r, "'disks', entry %zu", i + 1);
		for (size_t k = 0; k < i; k++)
			if (!strcmp(m->disks[i].target, m->disks[k].target))
				return wh_fail(err, -EPROTO, "disk '%s' is there twice",
				               m->disks[i].target);
	}
	m->disk_count = (uint32_t)count;
	return 0;
}

static int get_copy(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	const json_t *names = json_object_get(json, "copy");
	size_t count = json_array_size(names);

	if (count < 1 || count > WH_DISKS_MAX)
		return wh_fail(err, -EPROTO, "'copy' must be a list of 1 to %u names",
		               WH_DISKS_MAX);
	for (size_t i = 0; i < count; i++) {
		const char *name = json_string_value(json_array_get(names, i));

		if (!name || !wh_node_is_name(name) || strlen(name) >= WH_NAME_MAX)
			return wh_fail(err, -EPROTO, "'copy' must be a list of disks' names");
		(void)snprintf(m->disks[i].target, WH_NAME_MAX, "%s", name);
	}
	m->disk_count = (uint32_t)count;
	return 0;
}

static int get_count(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	return wh_json_u64(json, "count", INT64_MAX, &m->faults, err);
}

static int get_stall(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	return wh_json_u64(json, "stall_ns", INT64_MAX, &m->stall_ns, err);
}

static int get_histogram(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	const json_t *list = json_object_get(json, "ns_log2");

	if (json_array_size(list) != WH_FAULT_BUCKETS)
		return wh_fail(err, -EPROTO, "'ns_log2' must be a list of %u numbers",
		               WH_FAULT_BUCKETS);
	for (size_t i = 0; i < WH_FAULT_BUCKETS; i++) {
		const json_t *value = json_array_get(list, i);

		if (!json_is_integer(value) || json_integer_value(value) < 0)
			return wh_fail(err, -EPROTO, "'ns_log2' must be a list of whole numbers");
		m->fault_ns_log2[i] = (uint64_t)json_integer_value(value);
	}
	return 0;
}

static int get_port(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	uint64_t port;
	int r = wh_json_u64(json, "port", UINT16_MAX, &port, err);

	if (r == 0 && port == 0)
		return wh_fail(err, -EPROTO, "'port' must not be 0");
	if (r == 0)
		m->port = (uint16_t)port;
	return r;
}

/* It goes to logs and terminals. */
static int get_words(const json_t *json, const char *key, char ret[WH_ERROR_TEXT_MAX],
                     struct wh_error *err)
{
	int r = wh_json_string(json, key, ret, WH_ERROR_TEXT_MAX, err);

	for (char *c = ret; r == 0 && *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = ' ';
	return r;
}

static int get_reason(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	return get_words(json, "reason", m->reason, err);
}

static int get_no_rdma(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	int r = get_words(json, "no_rdma", m->no_rdma, err);

	return r == 0 && !*m->no_rdma ? wh_fail(err, -EPROTO, "'no_rdma' must say why") : r;
}

static int get_rdma(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	const json_t *rdma = json_object_get(json, "rdma");
	uint64_t pairs;
	int r;

	if (json_object_size(rdma) != 2)
		return wh_fail(err, -EPROTO, "'rdma' has 'pairs' and 'chunk_bytes', nothing else");
	r = wh_json_u64(rdma, "pairs", WH_RDMA_PAIRS_MAX, &pairs, err);
	if (r == 0)
		r = wh_json_u64(rdma, "chunk_bytes", WH_RDMA_CHUNK_BYTES_MAX, &m->rdma_chunk_bytes,
		                err);
	if (r < 0)
		return r;
	if (pairs == 0)
		return wh_fail(err, -EPROTO, "'pairs' must not be 0");
	if (m->rdma_chunk_bytes < WH_RDMA_CHUNK_BYTES_MIN ||
	    (m->rdma_chunk_bytes & (m->rdma_chunk_bytes - 1)) != 0)
		return wh_fail(err, -EPROTO, "'chunk_bytes' must be a power of two from %llu",
		               WH_RDMA_CHUNK_BYTES_MIN);
	m->rdma_pairs = (uint32_t)pairs;
	return 0;
}

static int get_block(const json_t *json, struct wh_worker_region *ret, struct wh_error *err)
{
	int r;

	if (json_object_size(json) != 2)
		return wh_fail(err, -EPROTO, "a RAM block has 'id' and 'bytes', nothing else");
	r = wh_json_string(json, "id", ret->name, sizeof(ret->name), err);
	if (r < 0)
		return r;
	r = wh_json_u64(json, "bytes", INT64_MAX, &ret->bytes, err);
	if (r < 0)
		return r;
	if (!*ret->name || ret->bytes == 0 || ret->bytes % WH_PAGE_SIZE)
		return wh_fail(err, -EPROTO, "a RAM block needs an id and whole pages");
	return 0;
}

static int get_ram(const json_t *json, struct wh_node_message *m, struct wh_error *err)
{
	const json_t *ram = json_object_get(json, "ram");
	size_t count = json_array_size(ram);

	if (count < 1 || count > WH_REGIONS_MAX)
		return wh_fail(err, -EPROTO, "'ram' must be a list of 1 to %u RAM blocks",
		               WH_REGIONS_MAX);
	for (size_t i = 0; i < count; i++) {
		int r = get_block(json_array_get(ram, i), &m->ram[i], err);

		if (r < 0)
			return wh_context(err, r, "'ram', entry %zu", i + 1);
		for (size_t k = 0; k < i; k++)
			if (!strcmp(m->ram[i].name, m->ram[k].name))
				return wh_fail(err, -EPROTO, "RAM block '%s' is there twice",
				               m->ram[i].name);
	}
	m->ram_count = (uint32_t)count;
	return 0;
}

static json_t *put_token(const struct wh_node_message *m)
{
	char text[WH_TOKEN_TEXT_MAX];

	wh_node_token_format(text, m->token);
	return json_string(text);
}

static json_t *put_ram(const struct wh_node_message *m)
{
	json_t *ram = m->ram_count ? json_array() : NULL;

	for (uint32_t i = 0; i < m->ram_count; i++)
		(void)json_array_append_new(ram, json_pack("{s:s, s:I}", "id", m->ram[i].name,
		                                           "bytes", (json_int_t)m->ram[i].bytes));
	return ram;
}

static json_t *put_min(const struct wh_node_message *m)
{
	return json_integer(m->version_min);
}

static json_t *put_max(const struct wh_node_message *m)
{
	return json_integer(m->version_max);
}

static json_t *put_node(const struct wh_node_message *m)
{
	return json_string(m->node);
}

static json_t *put_migration(const struct wh_node_message *m)
{
	return json_string(m->migration);
}

static json_t *put_vm(const struct wh_node_message *m)
{
	return json_string(m->vm);
}

static json_t *put_running(const struct wh_node_message *m)
{
	return json_boolean(m->running);
}

static json_t *put_committed(const struct wh_node_message *m)
{
	return json_boolean(m->committed);
}

static json_t *put_postcopy(const struct wh_node_message *m)
{
	return m->postcopy ? json_true() : NULL;
}

static json_t *put_stream(const struct wh_node_message *m)
{
	return m->stream == WH_STREAM_STATE ? NULL : json_string(streams[m->stream]);
}

static json_t *put_directory(const struct wh_node_message *m)
{
	return json_string(m->directory);
}

static json_t *put_disks(const struct wh_node_message *m)
{
	json_t *list = m->disk_count ? json_array() : NULL;

	for (uint32_t i = 0; i < m->disk_count; i++) {
		const struct wh_node_disk *d = &m->disks[i];

		(void)json_array_append_new(list,
		                            json_pack("{s:s, s:s, s:s, s:I}", "target", d->target,
		                                      "path", d->path, "format", d->format, "bytes",
		                                      (json_int_t)d->bytes));
	}
	return list;
}

static json_t *put_copy(const struct wh_node_message *m)
{
	json_t *list = m->disk_count ? json_array() : NULL;

	for (uint32_t i = 0; i < m->disk_count; i++)
		(void)json_array_append_new(list, json_string(m->disks[i].target));
	return list;
}

static json_t *put_count(const struct wh_node_message *m)
{
	return wh_json_number(m->faults);
}

static json_t *put_stall(const struct wh_node_message *m)
{
	return wh_json_number(m->stall_ns);
}

static json_t *put_histogram(const struct wh_node_message *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < WH_FAULT_BUCKETS; i++)
		(void)json_array_append_new(list, wh_json_number(m->fault_ns_log2[i]));
	return list;
}

static json_t *put_port(const struct wh_node_message *m)
{
	return json_integer(m->port);
}

/* Words may be cut in the middle of a character; JSON has no half ones. */
static json_t *put_words(const char *words)
{
	json_t *text = json_string(words);

	return text ? text : json_string("(unreadable)");
}

static json_t *put_reason(const struct wh_node_message *m)
{
	return put_words(m->reason);
}

static json_t *put_no_rdma(const struct wh_node_message *m)
{
	return *m->no_rdma ? put_words(m->no_rdma) : NULL;
}

static json_t *put_rdma(const struct wh_node_message *m)
{
	if (m->rdma_pairs == 0)
		return NULL;
	return json_pack("{s:i, s:I}", "pairs", (int)m->rdma_pairs, "chunk_bytes",
	                 (json_int_t)m->rdma_chunk_bytes);
}

/*
 * Order matters where a check compares two fields: 'min' is read before 'max'. An optional field
 * is put as NULL where it is not to be written.
 */
static const struct {
	enum field field;
	const char *key;
	int (*get)(const json_t *json, struct wh_node_message *m, struct wh_error *err);
	json_t *(*put)(const struct wh_node_message *m);
} fields[] = {
	{ MIN, "min", get_min, put_min },
	{ MAX, "max", get_max, put_max },
	{ VERSION, "version", get_chosen, put_max },
	{ NODE, "node", get_node, put_node },
	{ MIGRATION, "migration", get_migration, put_migration },
	{ TOKEN, "token", get_token, put_token },
	{ VM, "vm", get_vm, put_vm },
	{ RUN, "running", get_running, put_running },
	{ COMMITTED, "committed", get_committed, put_committed },
	{ PORT, "port", get_port, put_port },
	{ REASON, "reason", get_reason, put_reason },
	{ RAM, "ram", get_ram, put_ram },
	{ POSTCOPY, "postcopy", get_postcopy, put_postcopy },
	{ COUNT, "count", get_count, put_count },
	{ STALL, "stall_ns", get_stall, put_stall },
	{ HISTOGRAM, "ns_log2", get_histogram, put_histogram },
	{ STREAM, "stream", get_stream, put_stream },
	{ DIRECTORY, "directory", get_directory, put_directory },
	{ DISKS, "disks", get_disks, put_disks },
	{ COPY, "copy", get_copy, put_copy },
	{ RDMA, "rdma", get_rdma, put_rdma },
	{ NO_RDMA, "no_rdma", get_no_rdma, put_no_rdma },
};

#define FIELDS (sizeof(fields) / sizeof(*fields))

static int find_type(const json_t *json, enum wh_node_type *ret, struct wh_error *err)
{
	char name[WH_NAME_MAX];
	int r = wh_json_string(json, "type", name, sizeof(name), err);

	if (r < 0)
		return r;
	for (enum wh_node_type t = 0; t < WH_NODE_TYPES; t++) {
		if (!strcmp(name, types[t].name)) {
			*ret = t;
			return 0;
		}
	}
	return wh_fail(err, -EPROTO, "unknown type of message");
}

/* Whether @field is to be read from @json, which is a message of @type. */
static bool expects(const json_t *json, enum wh_node_type type, size_t field)
{
	if (types[type].optional & fields[field].field)
		return json_object_get(json, fields[field].key) != NULL;
	return (types[type].fields & fields[field].field) != 0;
}

int wh_node_parse(struct wh_node_message *ret, const char *line, size_t len, struct wh_error *err)
{
	wh_cleanup(wh_json_unrefp) json_t *json = NULL;
	struct wh_node_message msg = { 0 };
	size_t expected = 1;
	int r;

	r = wh_json_parse(&json, line, len, err);
	if (r < 0)
		return r;
	r = find_type(json, &msg.type, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < FIELDS; i++) {
		if (!expects(json, msg.type, i))
			continue;
		expected++;
		r = fields[i].get(json, &msg, err);
		if (r < 0)
			return wh_context(err, r, "message '%s'", types[msg.type].name);
	}
	if (json_object_size(json) != expected)
		return wh_fail(err, -EPROTO, "message '%s' has fields that it should not have",
		               types[msg.type].name);
	*ret = msg;
	return 0;
}

char *wh_node_format(const struct wh_node_message *msg)
{
	wh_cleanup(wh_json_unrefp) json_t *json = json_pack("{s:s}", "type", types[msg->type].name);
	char *line;

	for (size_t i = 0; i < FIELDS; i++)
		if ((types[msg->type].fields | types[msg->type].optional) & fields[i].field)
			(void)json_object_set_new(json, fields[i].key, fields[i].put(msg));
	line = wh_json_line(json);
	wh_assert(line); /* a few KiB: without them nothing else works either */
	return line;
}
