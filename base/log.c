/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/num.h"

#define ID_BYTES     65
#define MODULE_BYTES 128
#define LINE_BYTES   1024

/*
 * The one module with state of its own: a line can come from anywhere. It is
 * set up by the loop thread; other threads only read it.
 */
static struct {
	char id[ID_BYTES];
	char module[MODULE_BYTES];
	int fd;
	enum log_level level;
	bool show_level;
	bool show_origin;
	long gmt_offset_s;
	uint64_t missed;
	uint64_t rate_limited;
} state = {.id = "anonymous-instance", .fd = 1, .level = LOG_INFO};

static _Thread_local const char *thread_name = "main";

static const char *const level_names[] = {
	[LOG_OFF] = "OFF",   [LOG_ERROR] = "ERROR", [LOG_WARN] = "WARN",
	[LOG_INFO] = "INFO", [LOG_DEBUG] = "DEBUG", [LOG_TRACE] = "TRACE",
};

void log_init(void)
{
	struct timespec now = clock_wall();
	struct tm tm;

	if (localtime_r(&now.tv_sec, &tm))
		state.gmt_offset_s = tm.tm_gmtoff;
}

void log_set_id(const char *id)
{
	(void)snprintf(state.id, sizeof(state.id), "%s", id);
}

void log_set_thread(const char *name)
{
	thread_name = name;
}

void log_set_level(enum log_level level)
{
	__atomic_store_n(&state.level, level, __ATOMIC_RELAXED);
}

void log_set_show_level(bool on)
{
	state.show_level = on;
}

void log_set_show_origin(bool on)
{
	state.show_origin = on;
}

void log_set_module(const char *prefix)
{
	(void)snprintf(state.module, sizeof(state.module), "%s",
		       prefix ? prefix : "");
}

void log_set_fd(int fd)
{
	__atomic_store_n(&state.fd, fd, __ATOMIC_RELAXED);
}

bool log_level_parse(const char *text, enum log_level *level)
{
	if (!strcasecmp(text, "warning")) {
		*level = LOG_WARN;
		return true;
	}
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
		if (!strcasecmp(text, level_names[i])) {
			*level = (enum log_level)i;
			return true;
		}
	}
	return false;
}

struct log_counts log_counts(void)
{
	return (struct log_counts){
		.missed = __atomic_load_n(&state.missed, __ATOMIC_RELAXED),
		.rate_limited =
			__atomic_load_n(&state.rate_limited, __ATOMIC_RELAXED),
	};
}

/*
 * Threads may race for the last place in a window: one line more or less does
 * no harm, so the fields are only kept whole, not in step.
 */
bool log_allowed(struct log_limit *limit)
{
	uint64_t now = clock_now_ns();
	uint64_t start = __atomic_load_n(&limit->start_ns, __ATOMIC_RELAXED);

	if (start == 0 || now - start >= LOG_BURST_NS) {
		__atomic_store_n(&limit->start_ns, now, __ATOMIC_RELAXED);
		__atomic_store_n(&limit->used, 0, __ATOMIC_RELAXED);
	}
	if (__atomic_fetch_add(&limit->used, 1, __ATOMIC_RELAXED) < LOG_BURST)
		return true;
	(void)__atomic_fetch_add(&state.rate_limited, 1, __ATOMIC_RELAXED);
	return false;
}

/* Clients filter by the paths of Firecracker's modules. */
static bool module_matches(const char *file)
{
	const char *module = strncmp(file, "api/", 4) ? "vmm" : "firecracker";

	return !strncmp(module, state.module, strlen(state.module));
}

/*
 * Year, month and day of a number of days since 1970-01-01 (proleptic Gregorian
 * calendar, eras of 400 years that start in March). gmtime_r() would take a
 * lock, and a line may come from a signal handler.
 */
static void civil_date(int64_t days, int *year, int *month, int *day)
{
	int64_t z = days + 719468;
	int64_t era = z / 146097;
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;

	*day = (int)(doy - (153 * mp + 2) / 5 + 1);
	*month = (int)(mp < 10 ? mp + 3 : mp - 9);
	*year = (int)(yoe + era * 400 + (*month <= 2));
}

static size_t format_head(char *buf, size_t size, enum log_level level,
			  const char *thread, const char *file, int line)
{
	struct timespec now = clock_wall();
	int64_t s = (int64_t)now.tv_sec + state.gmt_offset_s;
	int second = (int)(s % 86400);
	char origin[128] = "";
	int year, month, day, n;

	civil_date(s / 86400, &year, &month, &day);
	if (state.show_origin)
		(void)snprintf(origin, sizeof(origin), ":%s:%d", file, line);
	n = snprintf(buf, size,
		     "%04d-%02d-%02dT%02d:%02d:%02d.%09ld [%s:%s%s%s%s] ", year,
		     month, day, second / 3600, second / 60 % 60, second % 60,
		     now.tv_nsec, state.id, thread ? thread : thread_name,
		     state.show_level ? ":" : "",
		     state.show_level ? level_names[level] : "", origin);
	return MIN((size_t)(n > 0 ? n : 0), size - 1);
}

/* What clients and snapshots name must not look like lines of ours. */
static void keep_one_line(char *text, const char *end)
{
	for (; text < end; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
	}
}

static void put_line(const char *text, size_t len)
{
	int fd = __atomic_load_n(&state.fd, __ATOMIC_RELAXED);
	ssize_t n = write(fd, text, len);

	if (n != (ssize_t)len)
		(void)__atomic_fetch_add(&state.missed, 1, __ATOMIC_RELAXED);
}

void log_line(enum log_level level, const char *thread, const char *file,
	      int line, const char *fmt, ...)
{
	char fixed[LINE_BYTES];
	cleanup_free char *large = NULL;
	char *text = fixed;
	size_t head, end, size = sizeof(fixed);
	va_list ap, again;
	int n;

	if (level > __atomic_load_n(&state.level, __ATOMIC_RELAXED) ||
	    !module_matches(file))
		return;
	head = format_head(fixed, size, level, thread, file, line);
	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(fixed + head, size - head, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n >= size - head - 1) {
		/* Only a client's request makes a line this long. */
		size = head + (size_t)n + 2;
		large = malloc(size);
		if (large) {
			memcpy(large, fixed, head);
			(void)vsnprintf(large + head, size - head, fmt, again);
			text = large;
		} else {
			n = (int)(sizeof(fixed) - head - 2);
		}
	}
	va_end(again);
	end = head + (size_t)MAX(n, 0);
	if (!strchr(fmt, '\n'))
		keep_one_line(text + head, text + end);
	text[end] = '\n';
	put_line(text, end + 1);
}
