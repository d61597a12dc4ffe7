/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c: the one place that wires everything.
 *
 * Order: first filter, command line, descriptors, log, metrics, helper thread,
 * loop, API socket, configuration file (which starts the guest), loop. Files
 * are opened here before the loop runs and on the helper thread afterwards.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "api/api.h"
#include "api/config_file.h"
#include "api/console.h"
#include "api/observe.h"
#include "api/signals.h"
#include "api/version.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/filter.h"
#include "base/log.h"
#include "base/num.h"
#include "base/utf8.h"
#include "snapshot/file.h"

/* The name of the binary in Firecracker's words, which tools look for. */
#define SELF "Firecracker"

#define FROM_JSON                                                        \
	"Failed to build MicroVM from Json: Configuration for VMM from " \
	"one single json failed: "

static int exit_with(int exit_code)
{
	if (exit_code == 0)
		log_info(SELF " exiting successfully. exit_code=0");
	else
		log_err(SELF " exiting with error. exit_code=%d", exit_code);
	return exit_code;
}

static int fail(const char *text, const char *debug, int exit_code)
{
	log_err("%s", text);
	if (debug[0])
		(void)fprintf(stderr, "Error: %s\n", debug);
	return exit_with(exit_code);
}

/* What a Firecracker that panics leaves behind. */
static int die(const char *text)
{
	log_err(SELF " panicked at %s:%d:\n%s", __FILE__, __LINE__, text);
	abort();
}

static int args_failed(const struct args_fault *f)
{
	if (f->exit_code == ARGS_ABORT)
		return die(f->text);
	return fail(f->text, f->debug, f->exit_code);
}

static int run_failed(const struct api *a, const char *why)
{
	char text[ERR_TEXT_BYTES + 64];

	(void)snprintf(text, sizeof(text), "%s error: %s",
		       a->args->no_api ? "RunWithoutApiError"
				       : "RunWithApiError",
		       why);
	return fail(text, why, 1);
}

/* --describe-snapshot: the version of the file's format. */
static int describe_snapshot(const char *path)
{
	cleanup_free char *text = NULL;
	struct state_file f;
	struct err e;
	size_t len;

	if (config_file_read(path, &text, &len, &e) < 0) {
		(void)err_wrap(&e, "When printing Snapshot Data format: "
				   "Unable to open snapshot state file: ");
	} else if (state_parse(&f, (const uint8_t *)text, len, &e) < 0) {
		(void)err_wrap(&e, "When printing Snapshot Data format: "
				   "Invalid data format version of snapshot "
				   "file: ");
	} else {
		(void)printf("v%u.%u.0\n", f.major, f.minor);
		(void)fflush(stdout);
		return exit_with(0);
	}
	return fail(e.text, e.text, 1);
}

/* --help and the like: true if that was all. */
static bool answered(const struct args *args, char **argv, int *exit_code)
{
	switch (args->action) {
	case ARGS_RUN:
		return false;
	case ARGS_HELP:
		args_print_help(stdout, argv[0]);
		*exit_code = 0;
		return true;
	case ARGS_VERSION:
		args_print_version(stdout, argv[0]);
		break;
	case ARGS_SNAPSHOT_VERSION:
		(void)printf("v%s\n", SNAPSHOT_VERSION);
		break;
	case ARGS_DESCRIBE_SNAPSHOT:
		*exit_code = describe_snapshot(args->describe_snapshot);
		return true;
	}
	(void)fflush(stdout);
	*exit_code = exit_with(0);
	return true;
}

static int set_up_log(const struct args *args, struct err *e)
{
	struct body_logger b = {
		.log_path.s = (char *)(uintptr_t)args->log_path,
		.module.s = (char *)(uintptr_t)args->module,
		.has_level = args->has_log_level,
		.level = (int)args->log_level,
		.has_show_level = true,
		.show_level = args->show_level,
		.has_show_log_origin = true,
		.show_log_origin = args->show_log_origin,
	};

	if (args->log_path)
		b.log_path.len = strlen(args->log_path);
	if (observe_logger(&b, e) < 0)
		return err_wrap(e, "Could not initialize logger: ");
	return 0;
}

static int set_up_metrics(struct api *a, const struct args *args, struct err *e)
{
	struct text path = {.s = (char *)(uintptr_t)args->metrics_path};

	if (!path.s)
		return 0;
	path.len = strlen(path.s);
	if (observe_metrics(a->metrics, &path, e) < 0)
		return err_wrap(e, "Could not initialize metrics: ");
	return 0;
}

/* The filters of each role: the user's, ours, or none. */
static int set_up_filters(struct api *a, const struct args *args, struct err *e)
{
	static struct filter filters[FILTER_ROLES];
	char *file;
	size_t len;
	int ret;

	if (args->no_seccomp) {
		log_warn("Running WITHOUT system call filters: --no-seccomp");
		return 0;
	}
	a->filters = filter_builtin;
	if (filter_builtin[FILTER_START].n == 0)
		log_warn("Running WITHOUT system call filters: this build has "
			 "none");
	if (!args->seccomp_filter)
		return 0;
	/* Kept: instructions stay where they were read. */
	ret = config_file_read(args->seccomp_filter, &file, &len, e);
	if (ret == 0)
		ret = filter_parse(filters, file, len, e);
	if (ret < 0)
		return err_wrap(e,
				"Seccomp error: '%s': ", args->seccomp_filter);
	filters[FILTER_PAGER] = filter_builtin[FILTER_PAGER];
	a->filters = filters;
	return 0;
}

static void on_ended(struct vm_owner *o, enum vm_end why)
{
	struct api *a = container_of(o, struct api, owner);

	log_info("Vmm is stopping.");
	serial_flush(&a->vm->serial);
	a->exit_code = why == VM_END_RESET ? 0 : 1;
	if (a->live.under_way)
		a->live.guest_ended = true;
	else
		loop_stop(a->loop);
}

/*
 * Loop and helper may wait for the server for ever, with whatever they hold:
 * only what a handler of a signal may do is done.
 */
static void on_lost(struct vm_owner *o)
{
	struct api *a = container_of(o, struct api, owner);
	uint64_t end_ns = clock_now_ns() + 10 * NS_PER_MS;

	log_err("The page server has closed its connection: the memory that "
		"it has not brought is lost");
	/* The loop may be about to write a line: let it. */
	while (metrics_flush(a->metrics) == -EBUSY && clock_now_ns() < end_ns)
		;
	console_close();
	_exit(1);
}

static int serve(struct api *a, struct err *e)
{
	int fd = server_bind(a->args->api_sock, e);

	if (fd == -EADDRINUSE)
		return err_set(e, fd,
			       "Failed to open the API socket at: %s. Check "
			       "that it is not already used.",
			       a->args->api_sock);
	if (fd < 0)
		return err_wrap(e, "Failed to bind and run the HTTP server: "
				   "IO error: ");
	log_info("Listening on API socket (\"%s\").", a->args->api_sock);
	return fd;
}

static int start_from_file(struct api *a, const char *text, size_t len,
			   struct err *e)
{
	int ret;

	ret = config_file_apply(a, text, len, e);
	if (ret < 0)
		return err_wrap(e, FROM_JSON);
	ret = start_prepare(a, e);
	start_seal(a); /* there is no second try */
	if (ret == 0)
		ret = start_build(a, e);
	if (ret == 0 && loop_enable(a->loop) < 0)
		ret = err_set(e, -EIO, "The event loop cannot be started");
	if (ret < 0) {
		start_failed(a);
		return err_wrap(e, "Failed to build MicroVM from Json: Could "
				   "not Start MicroVM from one single json: ");
	}
	ret = start_finish(a, e);
	if (ret < 0)
		return ret;
	log_info("Successfully started microvm that was configured from one "
		 "single json");
	return 0;
}

/* The first contents of the metadata service. */
static int take_metadata(struct api *a, const struct text *json, struct err *e)
{
	struct mmds_store *s = &a->config.mmds.store;
	struct err why;
	int ret = json->s ? mmds_store_put(s, json->s, json->len, &why) : 0;

	if (ret == -EINVAL) {
		(void)err_wrap(&why, "MMDS error: metadata provided not valid "
				     "json: ");
		return die(why.text);
	}
	if (ret < 0 && a->args->config_file)
		return err_set(e, ret, FROM_JSON "MMDS error: %s", why.text);
	if (ret < 0)
		return err_set(e, ret,
			       "Failed to build MicroVM: Populating MMDS from "
			       "file failed: %s..",
			       why.text);
	if (json->s)
		log_info("Successfully added metadata to mmds from file");
	return 0;
}

/* Everything up to the loop; the guest may run already. */
static int set_up(struct api *a, const struct text *config,
		  const struct text *metadata, struct err *e)
{
	int fd = -1;
	int ret;

	ret = worker_new(&a->worker, e);
	if (ret == 0)
		ret = loop_new(&a->loop, LOOP_AUTO, a->worker, e);
	if (ret < 0)
		return ret;
	worker_attach(a->worker, a->loop);
	if (!a->args->no_api) {
		fd = serve(a, e);
		if (fd < 0)
			return fd;
		server_start(&a->server, a->loop, fd,
			     a->args->max_payload_bytes, api_handle);
		log_line(LOG_INFO, "fc_api", __FILE__, __LINE__,
			 "API server started.");
	}
	ret = take_metadata(a, metadata, e);
	if (ret < 0)
		return ret;
	return config->s ? start_from_file(a, config->s, config->len, e) : 0;
}

static int finish(struct api *a)
{
	if (a->exit_code != 0) {
		(void)metrics_flush(a->metrics);
		return run_failed(
			a, a->args->no_api ? "MicroVMStopped without an error: "
					     "GenericError"
					   : "MicroVM stopped with an error: "
					     "GenericError");
	}
	log_info("Killing vCPU threads");
	(void)metrics_flush(a->metrics);
	return exit_with(0);
}

/* A file that an option names, if it does. It must be text. */
static void read_file(const char *path, const char *what, struct text *t)
{
	struct err e;
	size_t bad;
	int ret = path ? config_file_read(path, &t->s, &t->len, &e) : 0;

	if (ret == 0 && path && utf8_prefix(t->s, t->len, &bad) < t->len)
		ret = err_set(&e, -EILSEQ,
			      "stream did not contain valid UTF-8");
	if (ret == 0)
		return;
	(void)err_wrap(&e, "Unable to open or read from the %s file: ", what);
	(void)die(e.text);
}

static int run(struct api *a)
{
	struct text metadata = {0}, config = {0};
	struct err e;
	int ret;

	read_file(a->args->metadata, "mmds content", &metadata);
	read_file(a->args->config_file, "configuration", &config);
	ret = set_up(a, &config, &metadata, &e);
	text_exit(&config);
	text_exit(&metadata);
	if (ret < 0)
		return run_failed(a, e.text);
	ret = loop_run(a->loop);
	if (ret < 0) {
		(void)err_code(&e, ret, "Event loop");
		return run_failed(a, e.text);
	}
	return finish(a);
}

static void note_start(struct api *a, const struct args *args)
{
	uint64_t now_us = clock_now_ns() / NS_PER_US;
	uint64_t cpu_us = clock_process_cpu_us();
	struct metrics_api *m = &a->metrics->api;

	a->start_us = args->process_start_us ? args->process_start_us : now_us;
	a->start_cpu_us = args->process_start_cpu_us;
	if (args->process_start_us && now_us > args->process_start_us)
		m->process.startup_us = now_us - args->process_start_us;
	if (args->process_start_us)
		m->process.startup_cpu_us = cpu_us -
					    args->process_start_cpu_us +
					    args->parent_cpu_us;
}

static int start(struct api *a, struct args *args)
{
	struct args_fault fault;
	struct err e;

	if (args_check_identity(args, &fault) < 0) {
		/* What is wrong is the id, or something after it. */
		if (fault.exit_code != ARGS_ABORT)
			log_set_id(args->id);
		return args_failed(&fault);
	}
	log_set_id(args->id);
	if (set_up_log(args, &e) < 0)
		return fail(e.text, e.text, 1);
	log_info("Running " SELF " v%s", FIRECRACKER_VERSION);
	if (set_up_metrics(a, args, &e) < 0)
		return fail(e.text, e.text, 1);
	if (args_check_numbers(args, &fault) < 0)
		return args_failed(&fault);
	mmds_init(&a->config.mmds, args->max_mmds_bytes);
	metrics_attach_mmds(a->metrics, &a->config.mmds.counts);
	if (set_up_filters(a, args, &e) < 0)
		return fail(e.text, e.text, 1);
	note_start(a, args);
	return run(a);
}

/* Too large for a stack; one a process, which ends with it. */
static struct metrics metrics;
static struct args args;
static struct api api = {
	.args = &args,
	.metrics = &metrics,
	.owner = {.ended = on_ended,
		  .parked = api_parked,
		  .drained = api_drained,
		  .lost = on_lost},
};

/*
 * Asked before the command line is parsed, which is done under the filter. No
 * option takes a value that begins with "--", so this word is the switch.
 */
static bool wants_filter(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (!strcmp(argv[i], "--no-seccomp"))
			return false;
	}
	return true;
}

static int first_filter(void)
{
	int ret = filter_first(&filter_builtin[FILTER_START]);
	struct err e;

	if (ret < 0)
		(void)err_code(&e, ret,
			       "Failed to add the first system call filter");
	return ret < 0 ? fail(e.text, e.text, 1) : 0;
}

int main(int argc, char **argv)
{
	struct args_fault fault;
	int exit_code;
	struct err e;

	if (wants_filter(argc, argv) && first_filter() != 0)
		return 1;
	/* One heap, which grows by brk(): others take further system calls. */
	(void)mallopt(M_ARENA_MAX, 1);
	(void)mallopt(M_MMAP_MAX, 0);
	log_init();
	if (args_parse(&args, argc, argv, &fault) < 0)
		return args_failed(&fault);
	if (answered(&args, argv, &exit_code))
		return exit_code;
	if (fds_init(&e) < 0)
		return fail(e.text, e.text, 1);
	/* A kernel before 6.14 names who is executed by descriptor after that.
	 */
	(void)prctl(PR_SET_NAME, program_invocation_short_name);
	config_init(&api.config);
	metrics_init(&metrics);
	signals_init(&metrics);
	console_open_output();
	exit_code = start(&api, &args);
	console_close();
	/* Threads may still run: end them with the process, not one by one. */
	_exit(exit_code);
}
