/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Everything about the keys is in one table. Parsing turns it into the list of keys that
 * wh_value_object() wants; defaults, printing and the walk for JSON go over it directly.
 */

#include "settings.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "quantity.h"
#include "value.h"

struct setting {
	const char *key;
	enum wh_setting_type type;
	size_t offset;     /* in struct wh_settings */
	uint64_t fallback; /* the default; names have none */
	const char *help;
	bool in_policy; /* a MigrationPolicy may have it, too */
};

#define AT(field) offsetof(struct wh_settings, field)

static const struct setting settings_table[] = {
	{ "bandwidthPerMigration", WH_SETTING_BANDWIDTH, AT(bandwidth_bps), 0,
	  "limit of each migration, bytes per second; 0 is unlimited", true },
	{ "completionTimeoutPerGiB", WH_SETTING_INTEGER, AT(completion_s_per_gib), 800,
	  "acceptable time, seconds per GiB; 0 switches the check off", true },
	{ "parallelMigrationsPerCluster", WH_SETTING_INTEGER, AT(parallel_per_cluster), 5,
	  "migrations running at once in the cluster; 0 holds all", false },
	{ "parallelOutboundMigrationsPerNode", WH_SETTING_INTEGER, AT(parallel_outbound_per_node),
	  2, "of them, leaving one node; 0 holds all of a node", false },
	{ "progressTimeout", WH_SETTING_INTEGER, AT(progress_s), 150,
	  "seconds without progress; 0 switches the check off", false },
	{ "allowPostCopy", WH_SETTING_BOOLEAN, AT(allow_post_copy), false,
	  "may switch to post-copy", true },
	{ "allowAutoConverge", WH_SETTING_BOOLEAN, AT(allow_auto_converge), false,
	  "may slow the guest's vCPUs so that it converges", true },
	{ "allowWorkloadDisruption", WH_SETTING_BOOLEAN, AT(allow_workload_disruption), false,
	  "may pause the guest to finish; as allowPostCopy if not set", true },
	{ "disableTLS", WH_SETTING_BOOLEAN, AT(disable_tls), false,
	  "plain TCP on the migration network", false },
	{ "network", WH_SETTING_NAME, AT(network), 0, "the dedicated migration network", false },
};

#define SETTINGS (sizeof(settings_table) / sizeof(settings_table[0]))

static_assert(SETTINGS <= 32, "struct wh_settings has one bit for each in @given");
static_assert(WH_SETTING_TEXT_MAX >= WH_QUANTITY_TEXT_MAX, "a quantity fits");

static int read_bandwidth(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	struct wh_error reason;

	if (node->type != WH_YAML_SCALAR)
		return wh_yaml_fail(err, node, "this is no quantity; write one such as 64Mi");
	if (wh_quantity_parse(field, node->text, &reason) < 0)
		return wh_yaml_fail(err, node, "%s", reason.text);
	return 0;
}

static int read_integer(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	uint64_t value;
	int r;

	r = wh_value_integer(&value, node, 0, UINT32_MAX, err);
	if (r < 0)
		return r;
	*(uint32_t *)field = (uint32_t)value;
	return 0;
}

static int read_boolean(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_value_boolean(field, node, err);
}

static int read_name(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_value_name(field, node, err);
}

static int (*const readers[])(void *, const struct wh_yaml_node *, struct wh_error *) = {
	[WH_SETTING_BANDWIDTH] = read_bandwidth,
	[WH_SETTING_INTEGER] = read_integer,
	[WH_SETTING_BOOLEAN] = read_boolean,
	[WH_SETTING_NAME] = read_name,
};

static const size_t sizes[] = {
	[WH_SETTING_BANDWIDTH] = sizeof(uint64_t),
	[WH_SETTING_INTEGER] = sizeof(uint32_t),
	[WH_SETTING_BOOLEAN] = sizeof(bool),
	[WH_SETTING_NAME] = WH_NAME_MAX,
};

/* A key that somebody else reads. */
static int read_nothing(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	(void)field;
	(void)node;
	(void)err;
	return 0;
}

static void set_default(struct wh_settings *settings, const struct setting *setting)
{
	void *field = (char *)settings + setting->offset;

	switch (setting->type) {
	case WH_SETTING_BANDWIDTH:
		*(uint64_t *)field = setting->fallback;
		return;
	case WH_SETTING_INTEGER:
		*(uint32_t *)field = (uint32_t)setting->fallback;
		return;
	case WH_SETTING_BOOLEAN:
		*(bool *)field = setting->fallback;
		return;
	case WH_SETTING_NAME:
		*(char *)field = '\0';
		return;
	}
}

struct wh_settings wh_settings_defaults(void)
{
	struct wh_settings settings = { 0 };

	for (size_t i = 0; i < SETTINGS; i++)
		set_default(&settings, &settings_table[i]);
	return settings;
}

static bool is_given(const struct wh_yaml_node *section, const char *key)
{
	const struct wh_yaml_node *value = wh_yaml_get(section, key);

	return value && !wh_value_is_null(value);
}

/* Read a section with the keys of the table, only those of a policy if @other_key is one more. */
static int read_section(struct wh_settings *settings, const struct wh_yaml_node *section,
                        const char *other_key, struct wh_error *err)
{
	struct wh_value_key keys[SETTINGS + 1];
	size_t count = 0;
	int r;

	for (size_t i = 0; i < SETTINGS; i++) {
		const struct setting *setting = &settings_table[i];

		if (other_key && !setting->in_policy)
			continue;
		keys[count++] = (struct wh_value_key){
			.name = setting->key,
			.read = readers[setting->type],
			.offset = setting->offset,
		};
	}
	if (other_key)
		keys[count++] = (struct wh_value_key){ .name = other_key, .read = read_nothing };

	r = wh_value_object(settings, section, keys, count, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < SETTINGS; i++)
		settings->given |= (uint32_t)is_given(section, settings_table[i].key) << i;
	if (!is_given(section, "allowWorkloadDisruption"))
		settings->allow_workload_disruption = settings->allow_post_copy;
	return 0;
}

int wh_settings_parse(struct wh_settings *ret, const struct wh_yaml_node *section,
                      struct wh_error *err)
{
	struct wh_settings settings = wh_settings_defaults();
	int r;

	if (section && !wh_value_is_null(section)) {
		r = read_section(&settings, section, NULL, err);
		if (r < 0)
			return r;
	}

	*ret = settings;
	return 0;
}

static uint32_t bit_of(size_t offset)
{
	size_t i = 0;

	while (settings_table[i].offset != offset) /* ends: callers name fields of the table */
		i++;
	return UINT32_C(1) << i;
}

int wh_settings_parse_policy(struct wh_settings *ret, const struct wh_yaml_node *spec,
                             const char *other_key, struct wh_error *err)
{
	struct wh_settings settings = wh_settings_defaults();
	int r;

	r = read_section(&settings, spec, other_key, err);
	if (r < 0)
		return r;
	if (settings.given & bit_of(AT(allow_post_copy)))
		settings.given |= bit_of(AT(allow_workload_disruption));

	*ret = settings;
	return 0;
}

void wh_settings_override(struct wh_settings *settings, const struct wh_settings *over)
{
	for (size_t i = 0; i < SETTINGS; i++) {
		const struct setting *setting = &settings_table[i];

		if (over->given >> i & 1)
			memcpy((char *)settings + setting->offset,
			       (const char *)over + setting->offset, sizes[setting->type]);
	}
	settings->given |= over->given;
}

static uint64_t number_of(const struct setting *setting, const void *field)
{
	switch (setting->type) {
	case WH_SETTING_BANDWIDTH:
		return *(const uint64_t *)field;
	case WH_SETTING_INTEGER:
		return *(const uint32_t *)field;
	case WH_SETTING_BOOLEAN:
		return *(const bool *)field;
	case WH_SETTING_NAME:
		return 0;
	}
	return 0;
}

bool wh_settings_at(const struct wh_settings *settings, size_t index, struct wh_setting_value *ret)
{
	const struct setting *setting;
	const void *field;

	if (index >= SETTINGS)
		return false;

	setting = &settings_table[index];
	field = (const char *)settings + setting->offset;
	*ret = (struct wh_setting_value){
		.key = setting->key,
		.help = setting->help,
		.type = setting->type,
		.given = settings->given >> index & 1,
		.number = number_of(setting, field),
		.name = setting->type == WH_SETTING_NAME ? field : NULL,
	};
	return true;
}

bool wh_settings_equal(const struct wh_settings *a, const struct wh_settings *b)
{
	struct wh_setting_value one;
	struct wh_setting_value other;

	for (size_t i = 0; wh_settings_at(a, i, &one) && wh_settings_at(b, i, &other); i++)
		if (one.number != other.number || (one.name && strcmp(one.name, other.name) != 0))
			return false;
	return a->given == b->given;
}

static const struct setting *find_setting(const char *key)
{
	for (size_t i = 0; i < SETTINGS; i++)
		if (!strcmp(settings_table[i].key, key))
			return &settings_table[i];
	return NULL;
}

/* Return: false if it does not fit. */
static bool set_field(void *field, const struct wh_setting_value *value)
{
	switch (value->type) {
	case WH_SETTING_BANDWIDTH:
		*(uint64_t *)field = value->number;
		return true;
	case WH_SETTING_INTEGER:
		if (value->number > UINT32_MAX)
			return false;
		*(uint32_t *)field = (uint32_t)value->number;
		return true;
	case WH_SETTING_BOOLEAN:
		*(bool *)field = value->number != 0;
		return true;
	case WH_SETTING_NAME:
		if (strlen(value->name) >= WH_NAME_MAX)
			return false;
		memcpy(field, value->name, strlen(value->name) + 1);
		return true;
	}
	return false;
}

bool wh_settings_set(struct wh_settings *settings, const struct wh_setting_value *value)
{
	const struct setting *setting = find_setting(value->key);
	uint32_t bit;

	if (!setting || setting->type != value->type ||
	    !set_field((char *)settings + setting->offset, value))
		return false;
	bit = UINT32_C(1) << (setting - settings_table);
	settings->given = value->given ? settings->given | bit : settings->given & ~bit;
	return true;
}

void wh_setting_format(char text[WH_SETTING_TEXT_MAX], const struct wh_setting_value *value)
{
	switch (value->type) {
	case WH_SETTING_BANDWIDTH:
		wh_quantity_format(text, value->number);
		return;
	case WH_SETTING_INTEGER:
		(void)snprintf(text, WH_SETTING_TEXT_MAX, "%" PRIu64, value->number);
		return;
	case WH_SETTING_BOOLEAN:
		(void)snprintf(text, WH_SETTING_TEXT_MAX, "%s", value->number ? "true" : "false");
		return;
	case WH_SETTING_NAME:
		(void)snprintf(text, WH_SETTING_TEXT_MAX, "%s", value->name);
		return;
	}
}

void wh_settings_print(const struct wh_settings *settings, FILE *out)
{
	struct wh_setting_value value;

	/* The result of fprintf() is left to the caller, who asks ferror() once. */
	for (size_t i = 0; wh_settings_at(settings, i, &value); i++) {
		char text[WH_SETTING_TEXT_MAX];

		wh_setting_format(text, &value);
		(void)fprintf(out, "%s: %s  # %s\n", value.key, *text ? text : "\"\"",
		              value.given ? "set" : "default");
	}
}
