/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A quantity is computed as a school child would: its digits are kept one by one, a binary
 * suffix multiplies them by 1024 a few times, a decimal one moves the point. What is left of the
 * point is the value; anything but zeros to the right of it rounds up. So there is no rounding
 * anywhere on the way.
 */

#include "quantity.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "wherry/limits.h"

/* Six times 1024 adds 19 digits to those of the text. */
#define DIGITS_MAX (WH_QUANTITY_LEN_MAX + 20)

/* An exponent beyond this makes any number of digits too large or too small. */
#define EXPONENT_MAX 1000

/* Kubernetes keeps quantities in signed integers, and so does JSON. */
#define VALUE_MAX ((uint64_t)INT64_MAX)

struct decimal {
	uint8_t digits[DIGITS_MAX]; /* the most significant first */
	size_t count;
	int point; /* digits before the decimal point; may lie outside of them */
};

struct suffix {
	const char *name;
	int times_1024; /* powers */
	int times_10;
};

static const struct suffix suffixes[] = {
	{ "", 0, 0 },   { "n", 0, -9 }, { "u", 0, -6 }, { "m", 0, -3 },
	{ "k", 0, 3 },  { "M", 0, 6 },  { "G", 0, 9 },  { "T", 0, 12 },
	{ "P", 0, 15 }, { "E", 0, 18 }, { "Ki", 1, 0 }, { "Mi", 2, 0 },
	{ "Gi", 3, 0 }, { "Ti", 4, 0 }, { "Pi", 5, 0 }, { "Ei", 6, 0 },
};

#define SUFFIXES (sizeof(suffixes) / sizeof(suffixes[0]))

/* Take the digits and the point off the front of *@text. Return: whether there was a digit. */
static bool take_number(const char **text, struct decimal *number)
{
	const char *c = *text;
	bool fraction = false;

	/* The caller has bounded the length, so the digits fit. */
	for (; isdigit((unsigned char)*c) || (*c == '.' && !fraction); c++) {
		if (*c == '.') {
			fraction = true;
			continue;
		}
		number->digits[number->count++] = (uint8_t)(*c - '0');
		if (!fraction)
			number->point++;
	}
	*text = c;
	return number->count > 0;
}

/* Return: whether @text is a whole number. Far too large ones stay at EXPONENT_MAX. */
static bool read_exponent(const char *text, int *ret)
{
	const bool negative = *text == '-';
	int value = 0;

	if (*text == '-' || *text == '+')
		text++;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (!isdigit((unsigned char)*text))
			return false;
		if (value < EXPONENT_MAX)
			value = value * 10 + (*text - '0');
	}
	*ret = negative ? -value : value;
	return true;
}

/* Return: whether @text is a suffix. */
static bool read_suffix(const char *text, struct suffix *ret)
{
	int exponent;

	for (size_t i = 0; i < SUFFIXES; i++) {
		if (!strcmp(text, suffixes[i].name)) {
			*ret = suffixes[i];
			return true;
		}
	}
	if ((*text != 'e' && *text != 'E') || !read_exponent(text + 1, &exponent))
		return false;
	*ret = (struct suffix){ .name = text, .times_10 = exponent };
	return true;
}

static void multiply_by_1024(struct decimal *number)
{
	unsigned int carry = 0;
	uint8_t head[4]; /* a carry is below 1024, so it has four digits at most */
	size_t extra = 0;

	for (size_t i = number->count; i-- > 0;) {
		const unsigned int product = number->digits[i] * 1024u + carry;

		number->digits[i] = (uint8_t)(product % 10);
		carry = product / 10;
	}
	for (; carry > 0; carry /= 10)
		head[extra++] = (uint8_t)(carry % 10);

	memmove(number->digits + extra, number->digits, number->count);
	for (size_t i = 0; i < extra; i++)
		number->digits[i] = head[extra - 1 - i];
	number->count += extra;
	number->point += (int)extra;
}

/* The value, rounded up. Return: 0, or -ERANGE if it is above VALUE_MAX. */
static int round_up(const struct decimal *number, uint64_t *ret)
{
	const int count = (int)number->count;
	uint64_t value = 0;

	for (int i = 0; i < number->point; i++) {
		const uint64_t digit = i < count ? number->digits[i] : 0;

		if (value > (VALUE_MAX - digit) / 10)
			return -ERANGE;
		value = value * 10 + digit;
	}
	for (int i = number->point < 0 ? 0 : number->point; i < count; i++) {
		if (number->digits[i] == 0)
			continue;
		if (value == VALUE_MAX)
			return -ERANGE;
		value++;
		break;
	}
	*ret = value;
	return 0;
}

/* Whether the value is above 0 and below 1. */
static bool below_one(const struct decimal *number)
{
	bool zero = true;

	for (size_t i = 0; i < number->count; i++) {
		if (number->digits[i] == 0)
			continue;
		if ((int)i < number->point)
			return false;
		zero = false;
	}
	return !zero;
}

/* The suffix that @wrong seems to mean, apart from its case and words for bytes. NULL if none. */
static const struct suffix *likely_suffix(const char *wrong)
{
	for (size_t i = 0; i < SUFFIXES; i++) {
		const struct suffix *known = &suffixes[i];
		const char *rest = wrong + strlen(known->name);

		/* Nobody means a fraction of a byte. */
		if (known->times_10 < 0 ||
		    strncasecmp(wrong, known->name, strlen(known->name)) != 0)
			continue;
		if (!*rest || !strcmp(rest, "B") || !strcmp(rest, "B/s") || !strcmp(rest, "Bps"))
			return known;
	}
	return NULL;
}

static int fail_suffix(const char *text, const char *wrong, struct wh_error *err)
{
	const struct suffix *likely = likely_suffix(wrong);
	const int len = (int)(wrong - text);

	if (strpbrk(text, " \t\n"))
		return wh_fail(err, -EINVAL, "'%s' has a blank inside; write it without", text);
	if (*wrong == 'e' || (*wrong == 'E' && !likely))
		return wh_fail(err, -EINVAL, "'%s' needs a whole number after the %c, as in 1e3",
		               text, *wrong);
	if (likely && likely->times_10 > 0)
		return wh_fail(err, -EINVAL,
		               "'%s' has an unknown unit; write %.*s%s (powers of 1000) "
		               "or %.*s%ci (powers of 1024)",
		               text, len, text, likely->name, len, text,
		               toupper((unsigned char)likely->name[0]));
	if (likely)
		return wh_fail(err, -EINVAL, "'%s' has an unknown unit; write %.*s%s", text, len,
		               text, likely->name);
	if (strchr(wrong, 'b'))
		return wh_fail(err, -EINVAL,
		               "'%s' seems to count bits; write bytes per second, "
		               "such as 8M for 64 Mbit/s",
		               text);
	return wh_fail(err, -EINVAL,
	               "'%s' has an unknown unit; write a number and one of k M G T P E "
	               "or Ki Mi Gi Ti Pi Ei",
	               text);
}

/* Read @text apart from its sign, which is @text[0] if @unsigned_text is the next character. */
static int read_decimal(const char *text, const char *unsigned_text, struct decimal *number,
                        struct wh_error *err)
{
	struct suffix suffix;

	if (!take_number(&unsigned_text, number))
		return wh_fail(err, -EINVAL,
		               "'%s' does not begin with a number; write one such as 64Mi", text);
	if (!read_suffix(unsigned_text, &suffix))
		return fail_suffix(text, unsigned_text, err);

	for (int i = 0; i < suffix.times_1024; i++)
		multiply_by_1024(number);
	number->point += suffix.times_10;
	return 0;
}

static int fail_below_one(const char *text, struct wh_error *err)
{
	const size_t len = strlen(text);

	if (text[len - 1] == 'm')
		return wh_fail(err, -ERANGE,
		               "'%s' is less than 1 byte, since m is a thousandth; "
		               "you probably mean %.*sM",
		               text, (int)len - 1, text);
	return wh_fail(err, -ERANGE, "'%s' is less than 1 byte; write at least 1, or 0", text);
}

int wh_quantity_parse(uint64_t *ret, const char *text, struct wh_error *err)
{
	const bool has_sign = *text == '-' || *text == '+';
	struct decimal number = { 0 };
	uint64_t value;
	int r;

	if (strlen(text) > WH_QUANTITY_LEN_MAX)
		return wh_fail(err, -EINVAL, "'%.20s...' is too long; write at most %u characters",
		               text, WH_QUANTITY_LEN_MAX);
	r = read_decimal(text, text + has_sign, &number, err);
	if (r < 0)
		return r;
	if (round_up(&number, &value) < 0)
		return wh_fail(err, -ERANGE, "'%s' is too large; write at most 9223372036854775807",
		               text);
	if (*text == '-' && value > 0)
		return wh_fail(err, -ERANGE, "'%s' is negative; write 0 or more", text);
	if (below_one(&number))
		return fail_below_one(text, err);

	*ret = value;
	return 0;
}

/* @value in the largest unit of @base that it is a whole number of. Return: that number. */
static uint64_t in_largest_unit(uint64_t value, uint64_t base, size_t *ret_power)
{
	size_t power = 0;

	/* Ends: a non-zero value below 2^63 has at most 6 such factors. */
	while (value > 0 && value % base == 0) {
		value /= base;
		power++;
	}
	*ret_power = power;
	return value;
}

void wh_quantity_format(char text[WH_QUANTITY_TEXT_MAX], uint64_t value)
{
	static const char *const binary[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
	static const char *const decimal[] = { "", "k", "M", "G", "T", "P", "E" };
	size_t power_1024;
	size_t power_1000;
	const uint64_t in_1024 = in_largest_unit(value, 1024, &power_1024);
	const uint64_t in_1000 = in_largest_unit(value, 1000, &power_1000);

	(void)snprintf(text, WH_QUANTITY_TEXT_MAX, "%" PRIu64 "%s",
	               in_1024 <= in_1000 ? in_1024 : in_1000,
	               in_1024 <= in_1000 ? binary[power_1024] : decimal[power_1000]);
}
