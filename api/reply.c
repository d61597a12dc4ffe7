/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/quote.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/num.h"
#include "base/utf8.h"

#define THREAD "fc_api"

static void log_success(const char *status)
{
	log_line(LOG_INFO, THREAD, __FILE__, __LINE__,
		 "The request was executed successfully. Status code: %s.",
		 status);
}

void api_ok(struct api *a)
{
	api_ok_after(a, NULL);
}

void api_ok_after(struct api *a, const char *line)
{
	log_success("204 No Content");
	if (line)
		log_line(LOG_INFO, THREAD, __FILE__, __LINE__, "%s", line);
	server_reply(&a->server, 204, a->call.deprecated, NULL, 0);
}

void api_json(struct api *a, struct cJSON *tree)
{
	cleanup_free char *text = tree ? cJSON_PrintUnformatted(tree) : NULL;

	cJSON_Delete(tree);
	if (!text) {
		api_fault(a, "Out of memory (os error 12)");
		return;
	}
	log_success("200 OK");
	server_reply(&a->server, 200, a->call.deprecated, text, strlen(text));
}

static void fault(struct api *a, int status, const char *reason,
		  const char *text)
{
	size_t bad;
	/* A text that was too long for struct err may end in half a letter. */
	size_t len = utf8_prefix(text, strlen(text), &bad);
	cleanup_free char *quoted = quote_json(text, len);
	cleanup_free char *body = NULL;
	int n = -1;

	log_line(LOG_ERROR, THREAD, __FILE__, __LINE__,
		 "Received Error. Status code: %d %s. Message: %s", status,
		 reason, text);
	if (quoted)
		n = asprintf(&body, "{\"fault_message\":%s}", quoted);
	if (n < 0)
		body = NULL;
	server_reply(&a->server, status, a->call.deprecated, body,
		     body ? (size_t)n : 0);
}

void api_too_large(struct api *a, const char *text)
{
	fault(a, 413, "Payload Too Large", text);
}

void api_fault(struct api *a, const char *fmt, ...)
{
	cleanup_free char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		text = NULL;
	fault(a, 400, "Bad Request",
	      text ? text : "Out of memory (os error 12)");
}

void api_done(struct api *a, int ret, const char *prefix, const struct err *e)
{
	if (ret < 0)
		api_fault(a, "%s%s", prefix, e->text);
	else
		api_ok(a);
}

bool api_before_start(struct api *a)
{
	if (!a->vm)
		return true;
	api_fault(a, "The requested operation is not supported after starting "
		     "the microVM.");
	return false;
}

bool api_after_start(struct api *a)
{
	if (a->vm)
		return true;
	api_fault(a, "The requested operation is not supported before "
		     "starting the microVM.");
	return false;
}

struct api *api_of_job(struct job *j)
{
	return container_of(j, struct api, call.job);
}

void api_run_job(struct api *a, void (*work)(struct job *j),
		 void (*done)(struct job *j))
{
	a->call.job = (struct job){.work = work, .done = done};
	worker_submit(a->worker, &a->call.job);
}

void api_run_early(struct api *a, const struct schema *s, void *body,
		   void (*work)(struct job *j), void (*done)(struct job *j))
{
	if (api_before_start(a))
		api_run_job(a, work, done);
	else
		schema_exit(s, body);
}
