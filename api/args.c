/* SPDX-License-Identifier: Apache-2.0 */
#include "api/args.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "api/version.h"
#include "base/num.h"

#define DEFAULT_SOCK	    "/run/firecracker.socket"
#define DEFAULT_ID	    "anonymous-instance"
#define DEFAULT_MAX_PAYLOAD "51200"

#define ID_MAX 64

#define FLAG(n, member, ...)                                          \
	{                                                             \
		.name = (n), .offset = offsetof(struct args, member), \
		__VA_ARGS__                                           \
	}

static const struct flag flags[] = {
	FLAG("api-sock", api_sock, .value = "PATH",
	     .help = "Unix socket of the API [" DEFAULT_SOCK "]"),
	FLAG("boot-timer", boot_timer,
	     .help = "Attach the device by which a guest says that it is up"),
	FLAG("config-file", config_file, .value = "PATH",
	     .help = "Start the machine that this JSON file describes"),
	FLAG("describe-snapshot", describe_snapshot, .value = "PATH",
	     .help = "Print the format version of a state file"),
	FLAG("http-api-max-payload-size", http_api_max_payload_size,
	     .value = "BYTES",
	     .help = "Largest body of a request [" DEFAULT_MAX_PAYLOAD "]"),
	FLAG("id", id, .value = "ID",
	     .help = "Name of the microVM, A-Z a-z 0-9 - [" DEFAULT_ID "]"),
	FLAG("level", level, .value = "LEVEL",
	     .help = "Off, Error, Warning, Info, Debug or Trace [Info]"),
	FLAG("log-path", log_path, .value = "PATH",
	     .help = "File or FIFO for the log [stdout]"),
	FLAG("metadata", metadata, .value = "PATH",
	     .help = "JSON file with the first contents of the MMDS"),
	FLAG("metrics-path", metrics_path, .value = "PATH",
	     .help = "File or FIFO for the metrics"),
	FLAG("mmds-size-limit", mmds_size_limit, .value = "BYTES",
	     .help = "Size of the MMDS [as the largest body]"),
	FLAG("module", module, .value = "PREFIX",
	     .help = "Log only what comes from this module"),
	FLAG("no-api", no_api, .requires = "config-file",
	     .help = "Serve no API; needs --config-file"),
	FLAG("no-seccomp", no_seccomp, .forbids = "seccomp-filter",
	     .help = "Run without filters: for debugging only"),
	FLAG("parent-cpu-time-us", parent_cpu_time_us, .value = "N",
	     .help = "CPU time of the jailer, for the metrics"),
	FLAG("seccomp-filter", seccomp_filter, .value = "PATH",
	     .forbids = "no-seccomp",
	     .help = "Filters instead of the built-in ones"),
	FLAG("show-level", show_level, .help = "Show the level in log lines"),
	FLAG("show-log-origin", show_log_origin,
	     .help = "Show the place in the source in log lines"),
	FLAG("snapshot-version", snapshot_version,
	     .help = "Print the format version of snapshots"),
	FLAG("start-time-cpu-us", start_time_cpu_us, .value = "N",
	     .help = "CPU time when the jailer started us"),
	FLAG("start-time-us", start_time_us, .value = "N",
	     .help = "Time when the jailer started us"),
};

/* Write s between quotes as Rust's Debug form does. */
static void quote(char *buf, size_t size, const char *s)
{
	size_t at = 0;

	buf[at++] = '"';
	/* Room for the longest escape, the last quote and the end. */
	for (; *s && at + 8 < size; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\') {
			buf[at++] = '\\';
			buf[at++] = *s;
		} else if (c < 0x20 || c == 0x7f) {
			at += (size_t)snprintf(buf + at, size - at, "\\u{%x}",
					       c);
		} else {
			buf[at++] = *s;
		}
	}
	buf[at++] = '"';
	buf[at] = '\0';
}

/* In the words of Firecracker's command line. */
static int refuse(struct args_fault *f, const struct flags_fault *why)
{
	char quoted[ARGS_FAULT_BYTES / 2];

	f->exit_code = ARGS_EXIT_PARSE;
	/* There, too, these newlines are printed as four characters. */
	(void)snprintf(f->text, sizeof(f->text),
		       "Arguments parsing error: %s "
		       "\\n\\nFor more information try --help.",
		       why->text);
	quote(quoted, sizeof(quoted), why->name);
	(void)snprintf(f->debug, sizeof(f->debug),
		       "ParseArguments(%s(%s%s%s%s))", why->kind, quoted,
		       why->other ? ", \"" : "", why->other ? why->other : "",
		       why->other ? "\"" : "");
	return -EINVAL;
}

int args_parse(struct args *a, int argc, char **argv, struct args_fault *f)
{
	struct flags_fault why;
	int ret;

	*a = (struct args){
		.api_sock = DEFAULT_SOCK,
		.id = DEFAULT_ID,
		.http_api_max_payload_size = DEFAULT_MAX_PAYLOAD,
	};
	ret = flags_parse(flags, ARRAY_LEN(flags), a, argc, argv, &a->extra,
			  &why);
	if (ret < 0)
		return refuse(f, &why);
	if (ret == FLAGS_HELP)
		a->action = ARGS_HELP;
	else if (ret == FLAGS_VERSION)
		a->action = ARGS_VERSION;
	else if (a->snapshot_version)
		a->action = ARGS_SNAPSHOT_VERSION;
	else if (a->describe_snapshot)
		a->action = ARGS_DESCRIBE_SNAPSHOT;
	return 0;
}

__attribute__((format(printf, 2, 3))) static int panic(struct args_fault *f,
						       const char *fmt, ...)
{
	va_list ap;

	f->exit_code = ARGS_ABORT;
	f->debug[0] = '\0';
	va_start(ap, fmt);
	(void)vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static bool is_id_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '-';
}

/* Bytes of the UTF-8 character at s, or 1 where it is none. */
static int char_bytes(const char *s)
{
	unsigned char lead = (unsigned char)*s;
	int n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;

	for (int i = 1; i < n; i++) {
		if (((unsigned char)s[i] & 0xc0) != 0x80)
			return 1;
	}
	return n;
}

static int check_id(const char *id, struct args_fault *f)
{
	size_t len = strlen(id);

	if (len < 1 || len > ID_MAX)
		return panic(f, "Invalid instance ID: InvalidLen(%zu, 1, %d)",
			     len, ID_MAX);
	/* Only ASCII passes, so the index of the byte is the character's. */
	for (size_t i = 0; i < len; i++) {
		if (!is_id_char(id[i]))
			return panic(f,
				     "Invalid instance ID: "
				     "InvalidChar('%s%.*s', %zu)",
				     id[i] == '\'' || id[i] == '\\' ? "\\" : "",
				     char_bytes(id + i), id + i, i);
	}
	return 0;
}

static int check_level(struct args *a, struct args_fault *f)
{
	char quoted[ARGS_FAULT_BYTES / 2];

	if (!a->level)
		return 0;
	a->has_log_level = log_level_parse(a->level, &a->log_level);
	if (a->has_log_level)
		return 0;
	f->exit_code = ARGS_EXIT_LEVEL;
	(void)snprintf(f->text, sizeof(f->text),
		       "Invalid value for logger level: Failed to parse string "
		       "to level filter: %s.Possible values: [Error, Warning, "
		       "Info, Debug]",
		       a->level);
	quote(quoted, sizeof(quoted), a->level);
	(void)snprintf(f->debug, sizeof(f->debug),
		       "InvalidLogLevel(LevelFilterFromStrError(%s))", quoted);
	return -EINVAL;
}

int args_check_identity(struct args *a, struct args_fault *f)
{
	int ret = check_id(a->id, f);

	return ret < 0 ? ret : check_level(a, f);
}

/* Rust's FromStr for unsigned integers; returns NULL or the kind of its error.
 */
static const char *parse_number(const char *s, uint64_t *out)
{
	uint64_t n = 0;

	if (!*s)
		return "Empty";
	if (*s == '+' && s[1])
		s++;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return "InvalidDigit";
		if (!num_mul(n, 10, &n) ||
		    !num_add(n, (uint64_t)(*s - '0'), &n))
			return "PosOverflow";
	}
	*out = n;
	return NULL;
}

static int check_number(const char *name, const char *type, const char *text,
			uint64_t *out, struct args_fault *f)
{
	const char *kind = text ? parse_number(text, out) : NULL;

	if (!kind)
		return 0;
	return panic(f,
		     "'%s' parameter expected to be of '%s' type.: "
		     "ParseIntError { kind: %s }",
		     name, type, kind);
}

int args_check_numbers(struct args *a, struct args_fault *f)
{
	uint64_t payload = 0, mmds = 0;
	int ret;

	ret = check_number("http-api-max-payload-size", "usize",
			   a->http_api_max_payload_size, &payload, f);
	if (ret < 0)
		return ret;
	mmds = payload;
	ret = check_number("mmds-size-limit", "usize", a->mmds_size_limit,
			   &mmds, f);
	if (ret < 0)
		return ret;
	a->max_payload_bytes = payload;
	a->max_mmds_bytes = mmds;
	/* Only the API's metrics use the others. */
	if (a->no_api)
		return 0;
	ret = check_number("start-time-us", "u64", a->start_time_us,
			   &a->process_start_us, f);
	if (ret < 0)
		return ret;
	ret = check_number("start-time-cpu-us", "u64", a->start_time_cpu_us,
			   &a->process_start_cpu_us, f);
	if (ret < 0)
		return ret;
	return check_number("parent-cpu-time-us", "u64", a->parent_cpu_time_us,
			    &a->parent_cpu_us, f);
}

void args_print_version(FILE *out, const char *argv0)
{
	if (flags_started_as(argv0, "firecracker"))
		(void)fprintf(out, "Firecracker v" FIRECRACKER_VERSION "\n\n");
	else
		(void)fprintf(out, "mayfly v" MAYFLY_VERSION
				   " (Firecracker API v" FIRECRACKER_VERSION
				   ")\n\n");
}

void args_print_help(FILE *out, const char *argv0)
{
	args_print_version(out, argv0);
	(void)fprintf(out,
		      "Run one microVM, driven by an API on a Unix socket.\n\n"
		      "Every flag may be given once; values stand in a word of "
		      "their own.\n\n");
	flags_print_help(flags, ARRAY_LEN(flags), out);
}
