/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Settings - how migrations are to be done: HyperConverged.spec.liveMigrationConfig.
 *
 * Keys, units and defaults are docs/semantics.md section 1; the table in settings.c is the only
 * place where code knows them. A settings object is a plain value: copy it to fix it for a
 * migration.
 */

#ifndef WH_SETTINGS_H
#define WH_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"

struct wh_yaml_node;

struct wh_settings {
	uint64_t bandwidth_bps;              /* bytes per second of one migration, 0 is unlimited */
	uint32_t completion_s_per_gib;       /* 0 switches the check off */
	uint32_t progress_s;                 /* 0 switches the check off */
	uint32_t parallel_per_cluster;       /* 0 holds all */
	uint32_t parallel_outbound_per_node; /* 0 holds all */
	bool allow_post_copy;
	bool allow_auto_converge;
	bool allow_workload_disruption;
	bool disable_tls;
	char network[WH_NAME_MAX]; /* "" if no migration network is named */
	uint32_t given;            /* bit i: key i of the table was written, not defaulted */
};

struct wh_settings wh_settings_defaults(void);

/**
 * wh_settings_parse() - Read the migration section of a manifest
 * @ret:	receives its settings, with the defaults of keys that are absent or null; untouched
 *		on failure
 * @section:	the section; NULL or a null value count as an empty one
 * @err:	receives "FILE:LINE:COLUMN: what is wrong; what would be right"
 *
 * Return: 0; -EINVAL for an unknown key or a value that is not allowed.
 */
wh_must_check int wh_settings_parse(struct wh_settings *ret, const struct wh_yaml_node *section,
                                    struct wh_error *err);

/**
 * wh_settings_parse_policy() - Read the keys that a MigrationPolicy's spec may have
 * @ret:	receives them; only those in @ret->given count. allowWorkloadDisruption is in it,
 *		too, if only allowPostCopy was written, since that sets both
 * @spec:	a mapping
 * @other_key:	a key of @spec that is known and left to the caller
 *
 * Return: as wh_settings_parse().
 */
wh_must_check int wh_settings_parse_policy(struct wh_settings *ret, const struct wh_yaml_node *spec,
                                           const char *other_key, struct wh_error *err);

/* Let the keys that are given in @over replace those of @settings. */
void wh_settings_override(struct wh_settings *settings, const struct wh_settings *over);

enum wh_setting_type {
	WH_SETTING_BANDWIDTH, /* a quantity, bytes per second */
	WH_SETTING_INTEGER,
	WH_SETTING_BOOLEAN,
	WH_SETTING_NAME,
};

/* One setting, as a walk over the table sees it. */
struct wh_setting_value {
	const char *key; /* "bandwidthPerMigration" */
	const char *help;
	enum wh_setting_type type;
	bool given;       /* written in the manifest, not defaulted */
	uint64_t number;  /* BANDWIDTH, INTEGER; BOOLEAN as 0 and 1 */
	const char *name; /* NAME: borrowed from the settings, "" if there is none */
};

/*
 * Look at setting @index: for (i = 0; wh_settings_at(&settings, i, &value); i++).
 * Return: false past the last one, and then @ret is untouched.
 */
bool wh_settings_at(const struct wh_settings *settings, size_t index, struct wh_setting_value *ret);

/* Whether all values are the same, and were given alike. */
bool wh_settings_equal(const struct wh_settings *a, const struct wh_settings *b);

/*
 * The reverse: let the setting of @value's key have its value and its @given. Return: false if
 * there is no such key, or the value is too large for it; @settings is untouched then.
 */
bool wh_settings_set(struct wh_settings *settings, const struct wh_setting_value *value);

/* Room for any formatted value, with the final NUL. */
#define WH_SETTING_TEXT_MAX WH_NAME_MAX

/* Write @value as a manifest would: 64Mi, 800, true, migration. No name is "". */
void wh_setting_format(char text[WH_SETTING_TEXT_MAX], const struct wh_setting_value *value);

/* Write one line for each setting: "key: value  # set", or "# default" at its end. */
void wh_settings_print(const struct wh_settings *settings, FILE *out);

#endif
