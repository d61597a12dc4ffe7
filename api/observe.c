/* SPDX-License-Identifier: Apache-2.0 */
/*
 * observe.c: where logs, metrics and the guest's console go.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "api/endpoints.h"
#include "api/observe.h"
#include "base/fds.h"
#include "base/log.h"

/* Clients name FIFOs that nobody reads yet: opening one must not wait. */
int observe_open(const struct text *path, struct err *e)
{
	char os[96];
	int fd;

	if (strlen(path->s) != path->len)
		return err_set(e, -EINVAL,
			       "file name contained an unexpected NUL byte");
	fd = open(path->s, O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC,
		  0666);
	if (fd >= 0)
		return fd;
	err_os_text(errno, os, sizeof(os));
	return err_set(e, -errno, "%s", os);
}

int observe_logger(const struct body_logger *b, struct err *e)
{
	int fd = FD_LOG;

	if (b->log_path.s) {
		fd = observe_open(&b->log_path, e);
		if (fd >= 0)
			fd = fds_move(fd, FD_LOG, e);
		if (fd < 0)
			return err_wrap(e, "Failed to open target file: ");
		log_set_fd(FD_LOG);
	}
	log_set_level(b->has_level ? (enum log_level)b->level : LOG_INFO);
	if (b->has_show_level)
		log_set_show_level(b->show_level);
	if (b->has_show_log_origin)
		log_set_show_origin(b->show_log_origin);
	if (b->module.s)
		log_set_module(b->module.s);
	return 0;
}

int observe_metrics(struct metrics *m, const struct text *path, struct err *e)
{
	int fd = observe_open(path, e);

	/* Firecracker opens the file before it refuses to use it. */
	if (fd >= 0 && metrics_has_target(m)) {
		(void)close(fd);
		fd = err_set(e, -EEXIST,
			     "Reinitialization of metrics not allowed.");
	}
	if (fd >= 0)
		fd = fds_move(fd, FD_METRICS, e);
	if (fd < 0)
		return err_wrap(e, "Cannot initialize the metrics system due "
				   "to bad user input: ");
	metrics_set_fd(m, fd);
	return 0;
}

/* ---- PUT /logger ---- */

static void logger_work(struct job *j)
{
	struct call *c = &api_of_job(j)->call;

	c->ret = observe_logger(&c->logger, &c->err);
}

static void logger_done(struct job *j)
{
	struct api *a = api_of_job(j);

	body_logger_exit(&a->call.logger);
	api_done(a, a->call.ret, "Logger error: ", &a->call.err);
}

void api_put_logger(struct api *a, struct call *c)
{
	struct metrics_pair *count = &a->metrics->api.put.logger;

	count->count++;
	if (body_logger_parse(&c->logger, c->req->body, c->req->body_len,
			      &c->err) < 0) {
		count->fails++;
		api_fault(a, "%s", c->err.text);
	} else if (api_before_start(a)) {
		api_run_job(a, logger_work, logger_done);
	} else {
		body_logger_exit(&c->logger);
	}
}

/* ---- PUT /metrics ---- */

static void metrics_work(struct job *j)
{
	struct api *a = api_of_job(j);
	struct call *c = &a->call;

	c->ret = observe_metrics(a->metrics, &c->metrics.metrics_path, &c->err);
}

static void metrics_done(struct job *j)
{
	struct api *a = api_of_job(j);

	body_metrics_exit(&a->call.metrics);
	api_done(a, a->call.ret, "Metrics error: ", &a->call.err);
}

void api_put_metrics(struct api *a, struct call *c)
{
	struct metrics_pair *count = &a->metrics->api.put.metrics;

	count->count++;
	if (body_metrics_parse(&c->metrics, c->req->body, c->req->body_len,
			       &c->err) < 0) {
		count->fails++;
		api_fault(a, "%s", c->err.text);
	} else if (api_before_start(a)) {
		api_run_job(a, metrics_work, metrics_done);
	} else {
		body_metrics_exit(&c->metrics);
	}
}

/* ---- PUT /serial: the file is opened at the start, as in Firecracker ---- */

void api_put_serial(struct api *a, struct call *c)
{
	struct metrics_pair *count = &a->metrics->api.put.serial;
	struct body_serial b;

	count->count++;
	if (body_serial_parse(&b, c->req->body, c->req->body_len, &c->err) <
	    0) {
		count->fails++;
		api_fault(a, "%s", c->err.text);
		return;
	}
	if (api_before_start(a)) {
		config_put_serial(&a->config, &b);
		api_ok(a);
	}
	body_serial_exit(&b);
}
