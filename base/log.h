/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h: one line a call, in Firecracker's format:
 *
 *	2026-09-01T10:11:12.123456789 [id:thread:LEVEL:file:line] message
 *
 * LEVEL and file:line appear when asked for. Lines go to stdout until a target
 * is set; a target that does not take a line at once (a FIFO that is full, a
 * reader that went away) loses it and the loss is counted. Guest bytes never go
 * into a message. Any thread; set up by the loop thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level {
	LOG_OFF,
	LOG_ERROR,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG,
	LOG_TRACE,
};

/* Counters of this process, read by the metrics. */
struct log_counts {
	uint64_t missed;       /* lines that the target did not take */
	uint64_t rate_limited; /* lines that a rate limit held back */
};

/* Per call site budget: LOG_BURST lines in any LOG_BURST_NS. */
#define LOG_BURST    10
#define LOG_BURST_NS (5 * UINT64_C(1000000000))

struct log_limit {
	uint64_t start_ns;
	uint32_t used;
	uint32_t held;
};

/*
 * Read the time zone, once, while files may still be opened: later lines open
 * nothing and take no lock, so they may come from a signal handler.
 */
void log_init(void);

/* The name that log lines carry; copied, at most 64 bytes. */
void log_set_id(const char *id);

/* The name of the calling thread ("main", "fc_api", "fc_vcpu 0"): static. */
void log_set_thread(const char *name);

void log_set_level(enum log_level level);
void log_set_show_level(bool on);
void log_set_show_origin(bool on);

/*
 * Only messages of modules whose name starts with this prefix are logged; NULL
 * for all. The names are "firecracker" (api/) and "vmm" (the rest).
 */
void log_set_module(const char *prefix);

/* Descriptor that lines are written to, not owned. */
void log_set_fd(int fd);

/* "Warn", "warning", "INFO"...; returns false if text names no level. */
bool log_level_parse(const char *text, enum log_level *level);

struct log_counts log_counts(void);

/* Whether this call site may log now; counts what it holds back. */
bool log_allowed(struct log_limit *limit);

/*
 * thread overrides the name of the calling thread when not NULL: requests of
 * the API are logged as "fc_api", as clients expect, whoever serves them.
 */
__attribute__((format(printf, 5, 6))) void log_line(enum log_level level,
						    const char *thread,
						    const char *file, int line,
						    const char *fmt, ...);

#define log_err(...)  log_line(LOG_ERROR, NULL, __FILE__, __LINE__, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, NULL, __FILE__, __LINE__, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, NULL, __FILE__, __LINE__, __VA_ARGS__)
#define log_debug(...) \
	log_line(LOG_DEBUG, NULL, __FILE__, __LINE__, __VA_ARGS__)

/* For everything that a guest can provoke. */
#define log_limited(level, ...)                                     \
	do {                                                        \
		static struct log_limit limit_;                     \
		if (log_allowed(&limit_))                           \
			log_line((level), NULL, __FILE__, __LINE__, \
				 __VA_ARGS__);                      \
	} while (0)

#endif
