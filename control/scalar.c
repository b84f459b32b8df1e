/* SPDX-License-Identifier: Apache-2.0 */

#include "scalar.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Characters of a number: more than any sensible one has. With what JSON adds there is room. */
#define NUMBER_LEN_MAX 64u

#define DIGITS "0123456789_"

static const struct {
	const char *text;
	enum wh_scalar_type type;
} words[] = {
	{ "", WH_SCALAR_NULL },       { "~", WH_SCALAR_NULL },      { "null", WH_SCALAR_NULL },
	{ "Null", WH_SCALAR_NULL },   { "NULL", WH_SCALAR_NULL },   { "true", WH_SCALAR_TRUE },
	{ "True", WH_SCALAR_TRUE },   { "TRUE", WH_SCALAR_TRUE },   { "false", WH_SCALAR_FALSE },
	{ "False", WH_SCALAR_FALSE }, { "FALSE", WH_SCALAR_FALSE }, { "y", WH_SCALAR_YES },
	{ "Y", WH_SCALAR_YES },       { "yes", WH_SCALAR_YES },     { "Yes", WH_SCALAR_YES },
	{ "YES", WH_SCALAR_YES },     { "on", WH_SCALAR_YES },      { "On", WH_SCALAR_YES },
	{ "ON", WH_SCALAR_YES },      { "n", WH_SCALAR_NO },        { "N", WH_SCALAR_NO },
	{ "no", WH_SCALAR_NO },       { "No", WH_SCALAR_NO },       { "NO", WH_SCALAR_NO },
	{ "off", WH_SCALAR_NO },      { "Off", WH_SCALAR_NO },      { "OFF", WH_SCALAR_NO },
	{ ".inf", WH_SCALAR_NUMBER }, { ".Inf", WH_SCALAR_NUMBER }, { ".INF", WH_SCALAR_NUMBER },
	{ ".nan", WH_SCALAR_NUMBER }, { ".NaN", WH_SCALAR_NUMBER }, { ".NAN", WH_SCALAR_NUMBER },
};

static const struct base {
	const char *prefix;
	const char *digits;
	int base;
} bases[] = {
	{ "0x", "0123456789abcdefABCDEF_", 16 },
	{ "0X", "0123456789abcdefABCDEF_", 16 },
	{ "0o", "01234567_", 8 },
	{ "0O", "01234567_", 8 },
	{ "0b", "01_", 2 },
	{ "0B", "01_", 2 },
	{ "0", "01234567_", 8 },
};

/* The base of a whole number with a prefix, after its sign; NULL if it has none. */
static const struct base *find_base(const char *number)
{
	for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
		const char *rest = number + strlen(bases[i].prefix);

		if (!strncmp(number, bases[i].prefix, strlen(bases[i].prefix)) && *rest &&
		    strspn(rest, bases[i].digits) == strlen(rest))
			return &bases[i];
	}
	return NULL;
}

static bool is_decimal(const char *c)
{
	if (!isdigit((unsigned char)*c) && !(*c == '.' && isdigit((unsigned char)c[1])))
		return false;
	c += strspn(c, DIGITS);
	if (*c == '.')
		c += 1 + strspn(c + 1, DIGITS);
	if (*c == 'e' || *c == 'E') {
		c += 1 + (c[1] == '+' || c[1] == '-');
		if (!isdigit((unsigned char)*c))
			return false;
		c += strspn(c, DIGITS);
	}
	return !*c;
}

static const char *after_sign(const char *text)
{
	return text + (*text == '-' || *text == '+');
}

enum wh_scalar_type wh_scalar_type(const char *text)
{
	const char *number = after_sign(text);

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcmp(text, words[i].text))
			return words[i].type;
	}
	if (find_base(number) || is_decimal(number) || !strcasecmp(number, ".inf"))
		return WH_SCALAR_NUMBER;
	return WH_SCALAR_STRING;
}

static int whole_number(char ret[WH_SCALAR_NUMBER_MAX], const char *number, int base, bool negative)
{
	const uint64_t max = (uint64_t)INT64_MAX + negative;
	uint64_t value;

	errno = 0;
	value = strtoull(number, NULL, base);
	if (errno || value > max)
		return -ERANGE;
	(void)snprintf(ret, WH_SCALAR_NUMBER_MAX, "%s%" PRIu64, negative && value > 0 ? "-" : "",
	               value);
	return 0;
}

/* JSON wants digits on both sides of the point, and no zero in front. */
static int fraction(char ret[WH_SCALAR_NUMBER_MAX], const char *number, bool negative)
{
	const size_t zeros = strspn(number, "0");
	const char *whole = number + zeros;
	const size_t whole_len = strspn(whole, DIGITS);
	const char *point = whole + whole_len;
	const size_t fraction_len = *point == '.' ? strspn(point + 1, DIGITS) : 0;
	const char *exponent = point + (*point == '.') + fraction_len;
	const char *end = fraction_len || *exponent ? exponent : ".0";

	if (!isfinite(strtod(number, NULL)))
		return -ERANGE;
	if (!fraction_len && !*exponent && whole_number(ret, number, 10, negative) == 0)
		return 0; /* "5." */
	(void)snprintf(ret, WH_SCALAR_NUMBER_MAX, "%s%.*s%s%.*s%s", negative ? "-" : "",
	               whole_len ? (int)whole_len : 1, whole_len ? whole : "0",
	               fraction_len ? "." : "", (int)fraction_len, point + 1, end);
	return 0;
}

int wh_scalar_number(char ret[WH_SCALAR_NUMBER_MAX], const char *text)
{
	const bool negative = *text == '-';
	const struct base *base;
	char number[NUMBER_LEN_MAX + 1];
	size_t len = 0;

	if (strlen(text) > NUMBER_LEN_MAX)
		return -ERANGE;
	for (const char *c = after_sign(text); *c; c++) {
		if (*c != '_')
			number[len++] = *c;
	}
	number[len] = '\0';

	base = find_base(number);
	if (base)
		return whole_number(ret, number + strlen(base->prefix), base->base, negative);
	if (!is_decimal(number)) /* infinite, or nothing but underscores after a prefix */
		return -ERANGE;
	if (number[strspn(number, DIGITS)])
		return fraction(ret, number, negative);
	return whole_number(ret, number, 10, negative);
}
