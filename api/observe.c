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

	schema_exit(&body_logger_schema, &a->call.logger);
	api_done(a, a->call.ret, "Logger error: ", &a->call.err);
}

void api_put_logger(struct api *a, struct call *c)
{
	if (api_parse(a, &a->metrics->api.put.logger, &body_logger_schema,
		      &c->logger, sizeof(c->logger)))
		api_run_early(a, &body_logger_schema, &c->logger, logger_work,
			      logger_done);
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

	schema_exit(&body_metrics_schema, &a->call.metrics);
	api_done(a, a->call.ret, "Metrics error: ", &a->call.err);
}

void api_put_metrics(struct api *a, struct call *c)
{
	if (api_parse(a, &a->metrics->api.put.metrics, &body_metrics_schema,
		      &c->metrics, sizeof(c->metrics)))
		api_run_early(a, &body_metrics_schema, &c->metrics,
			      metrics_work, metrics_done);
}

/* ---- PUT /serial: the file is opened at the start, as in Firecracker ---- */

void api_put_serial(struct api *a, struct call *c)
{
	struct body_serial b;

	(void)c;
	if (!api_parse(a, &a->metrics->api.put.serial, &body_serial_schema, &b,
		       sizeof(b)))
		return;
	if (api_before_start(a)) {
		config_put_serial(&a->config, &b);
		api_ok(a);
	}
	schema_exit(&body_serial_schema, &b);
}
