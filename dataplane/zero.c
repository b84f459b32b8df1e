/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Zero pages.
 *
 * Most pages with contents show it in their first bytes, so each method looks at the first
 * vector alone, and at four at a time from then on.
 */

#include "zero.h"

#include <stddef.h>
#include <stdint.h>

#include "wherry/limits.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static bool always(void)
{
	return true;
}

static bool is_zero_words(const void *page)
{
	const uint64_t *w = page;

	if (w[0])
		return false;
	for (size_t i = 0; i < WH_PAGE_SIZE / sizeof(*w); i += 4)
		if (w[i] | w[i + 1] | w[i + 2] | w[i + 3])
			return false;
	return true;
}

#if defined(__x86_64__)

__attribute__((target("avx2"))) static bool is_zero_avx2(const void *page)
{
	const __m256i *v = page;

	if (!_mm256_testz_si256(v[0], v[0]))
		return false;
	for (size_t i = 0; i < WH_PAGE_SIZE / sizeof(*v); i += 4) {
		__m256i any = _mm256_or_si256(_mm256_or_si256(v[i], v[i + 1]),
		                              _mm256_or_si256(v[i + 2], v[i + 3]));

		if (!_mm256_testz_si256(any, any))
			return false;
	}
	return true;
}

__attribute__((target("avx512f"))) static bool is_zero_avx512(const void *page)
{
	const __m512i *v = page;

	if (_mm512_test_epi64_mask(v[0], v[0]))
		return false;
	for (size_t i = 0; i < WH_PAGE_SIZE / sizeof(*v); i += 4) {
		__m512i any = _mm512_or_si512(_mm512_or_si512(v[i], v[i + 1]),
		                              _mm512_or_si512(v[i + 2], v[i + 3]));

		if (_mm512_test_epi64_mask(any, any))
			return false;
	}
	return true;
}

static bool has_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}

static bool has_avx512(void)
{
	return __builtin_cpu_supports("avx512f");
}

#endif

const struct wh_zero_method wh_zero_methods[] = {
#if defined(__x86_64__)
	{ "avx512", has_avx512, is_zero_avx512 },
	{ "avx2", has_avx2, is_zero_avx2 },
#endif
	{ "words", always, is_zero_words },
	{ NULL, NULL, NULL },
};

static const struct wh_zero_method *chosen = NULL;

/* Two threads that choose at once choose the same. */
static const struct wh_zero_method *choose(void)
{
	const struct wh_zero_method *m = wh_zero_methods;

	while (!m->supported())
		m++;
	__atomic_store_n(&chosen, m, __ATOMIC_RELAXED);
	return m;
}

bool wh_page_is_zero(const void *page)
{
	const struct wh_zero_method *m = __atomic_load_n(&chosen, __ATOMIC_RELAXED);

	return (m ? m : choose())->is_zero(page);
}

static bool is_zero(const uint8_t *at, uint32_t pages)
{
	uint32_t i = 0;

	while (i < pages && wh_page_is_zero(at + (size_t)i * WH_PAGE_SIZE))
		i++;
	return i == pages;
}

uint32_t wh_pages_alike(const void *at, uint32_t count, uint32_t granule, bool *zero)
{
	const uint8_t *from = at;
	uint32_t alike = granule;

	*zero = is_zero(from, granule);
	while (alike < count && is_zero(from + (size_t)alike * WH_PAGE_SIZE, granule) == *zero)
		alike += granule;
	return alike;
}

const char *wh_zero_method(void)
{
	return choose()->name;
}
