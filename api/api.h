/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.h: the controller: requests come in, the configuration grows, the guest
 * starts, replies go out.
 *
 * One request is handled at a time. Its handler either answers at once or
 * starts work elsewhere (a job on the helper thread, a device, the vCPUs) and
 * answers when that is done; until then no other request is looked at, so the
 * configuration has one user at any time: the loop, or the job of the request.
 *
 * Handlers run in this order: the body is parsed (errors of the request come
 * first), the phase is checked, then the request is carried out.
 */
#ifndef API_API_H
#define API_API_H

#include <stdbool.h>
#include <stddef.h>

#include "api/args.h"
#include "api/body_snapshot.h"
#include "api/config.h"
#include "api/load.h"
#include "api/metrics.h"
#include "api/server.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/worker.h"
#include "vmm/probe.h"
#include "vmm/vm.h"

struct cJSON;
struct live;

#define PATH_TOKENS 4

/* A part of the request's path, not NUL-terminated. */
struct token {
	const char *text;
	size_t len;
};

/* The request that is being handled. */
struct call {
	const struct http_request *req;
	struct token token[PATH_TOKENS]; /* absent ones have text NULL */
	bool deprecated;		 /* the reply says so */
	uint64_t start_ns;
	struct job job;
	int ret; /* of the job */
	struct err err;
	union { /* what the job works on */
		struct body_boot_source boot_source;
		struct body_logger logger;
		struct body_metrics metrics;
		struct {
			struct body_drive body;
			struct drive_file file;
		} drive;
		struct body_net net;
		struct body_vsock vsock;
		struct {
			struct body_create body;
			char *config; /* as /vm/config shows it */
		} create;
		struct {
			struct body_load body;
			struct load files;
		} load;
	};
};

/* A snapshot of a guest that runs on, as long as it is being made. */
struct api_live {
	bool under_way;
	bool armed;	  /* dirty_arm() was for this */
	bool guest_ended; /* the loop stops when this is done */
	struct live *live;
	uint64_t pause_ns;
	uint64_t pause_us;
	char report[160];
};

struct api {
	struct server server;
	struct loop *loop;
	struct worker *worker;
	const struct args *args;
	struct metrics *metrics;
	struct config config;
	struct vm *vm;		/* NULL until the guest was started */
	struct vm *vm_starting; /* while it is being built */
	struct load *load;	/* what it is built from; NULL: it boots */
	struct vm_owner owner;
	char *root_arg;	   /* for the guest's command line */
	uint64_t start_us; /* of the process, CLOCK_MONOTONIC */
	uint64_t start_cpu_us;
	struct blk_swap swap; /* of PATCH /drives */
	struct api_live live;
	struct call call;
	struct probe probe;
	struct loop_timer flush_timer; /* of the metrics, once a minute */
	struct loop_timer pause_timer; /* a pause that takes too long */
	int exit_code;		       /* once the loop has stopped */
	const struct filter *filters;  /* one a role; NULL: none */
};

typedef void api_handler(struct api *a, struct call *c);

/* ---- routing (route.c) ---- */

/* For struct server. */
void api_handle(struct server *s, struct http_request *r);

/* What is after the resource in the path must be an id; answers if not. */
bool api_check_id(struct api *a, struct metrics_pair *count);
bool api_same_id(const struct call *c, const struct text *id);

/*
 * Count the request and fill *to from its body; answers if it is bad. count may
 * be NULL.
 */
bool api_parse(struct api *a, struct metrics_pair *count,
	       const struct schema *s, void *to, size_t to_bytes);

/* The request uses what is deprecated: it is counted, and the reply says so. */
void api_deprecated(struct api *a);

/* Whether a token is that word. */
bool token_is(const struct token *t, const char *s);

/* Answer that there is no such resource or method. */
void api_unknown_path(struct api *a, const struct call *c);

/* ---- replies: exactly one a request (reply.c) ---- */

void api_ok(struct api *a); /* 204 */
/* The same after one more log line: the client has not got the reply yet. */
void api_ok_after(struct api *a, const char *line);
void api_json(struct api *a, struct cJSON *tree); /* 200; takes the tree */

/* 413 with the text. */
void api_too_large(struct api *a, const char *text);

/* 400 with the text. */
__attribute__((format(printf, 2, 3))) void api_fault(struct api *a,
						     const char *fmt, ...);

/* 204 if ret is 0, otherwise the fault "<prefix><text of e>". */
void api_done(struct api *a, int ret, const char *prefix, const struct err *e);

/* Answers and returns false unless the guest has (not) been started. */
bool api_before_start(struct api *a);
bool api_after_start(struct api *a);

/*
 * Carry out work on the helper thread, then done on the loop, which answers.
 */
void api_run_job(struct api *a, void (*work)(struct job *j),
		 void (*done)(struct job *j));
struct api *api_of_job(struct job *j);

/* The same with a body, before the start; else answers and frees it. */
void api_run_early(struct api *a, const struct schema *s, void *body,
		   void (*work)(struct job *j), void (*done)(struct job *j));

/* 204, and how long it took: in the log and in the metrics (vmm_us or NULL). */
void api_took(struct api *a, const char *action, uint64_t *vmm_us,
	      uint64_t *api_us);

/* ---- pause.c ---- */

void api_resume(struct api *a); /* from a pause; otherwise nothing */

/* For struct vm_owner. */
void api_parked(struct vm_owner *o);
void api_drained(struct vm_owner *o);

/* ---- snapshot.c ---- */

int api_sync_drives(const struct config *c, struct err *e);
void api_created(struct job *j); /* the reply to /snapshot/create */

/* ---- snapshot_live.c ---- */

void api_live_create(struct api *a);
/* For pause.c: the pause that it asked for is there, or fails. */
void api_live_paused(struct api *a);
void api_live_failed(struct api *a, int code, const char *why);

/* What /vm/config shows and a snapshot keeps (info.c). NULL: no memory. */
struct cJSON *print_vm_config(const struct config *cfg);

/* ---- the guest's life (start.c), also without a request ---- */

/*
 * In this order, on the loop, the helper thread (or before the loop runs), and
 * the loop. After an error call start_failed() on the loop; then all may be
 * tried again. Texts lack the prefix of the endpoint. With a->load the machine
 * is that of the snapshot, and paused. After an error of start_finish(), which
 * has stopped the loop, there is no other try.
 */
int start_prepare(struct api *a, struct err *e);
int start_build(struct api *a, struct err *e);

/*
 * With a page server, between these two, when nothing of the guest's memory has
 * to be read any more before it runs: from now on its end is the process's.
 */
int start_watch(struct api *a, struct err *e);
int start_finish(struct api *a, struct err *e);
void start_failed(struct api *a);

/*
 * No start is tried after this one, so the helper thread can have its filter:
 * while others are busy, for start_finish() waits for that. Any thread.
 */
void start_seal(struct api *a);

#endif
