/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pause.c: PATCH /vm. A pause parks the vCPUs, then drains the devices; a
 * resume goes the other way.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "api/endpoints.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "virtio/pause.h"

#define PAUSE_NS (2 * NS_PER_S)

#define LATE                                                         \
	"Drives did not end their requests within 2 s; the microVM " \
	"goes on."

void api_took(struct api *a, const char *action, uint64_t *vmm_us,
	      uint64_t *api_us)
{
	uint64_t us = (clock_now_ns() - a->call.start_ns) / NS_PER_US;
	char line[96];

	*api_us = us;
	if (vmm_us) {
		*vmm_us = us;
		log_info("'%s' VMM action took %" PRIu64 " us.", action, us);
	}
	(void)snprintf(line, sizeof(line),
		       "'%s' API request took %" PRIu64 " us.", action, us);
	api_ok_after(a, line);
}

/* What a drive does may take for ever, and every other request waits. */
static void on_late(struct loop_timer *t)
{
	struct api *a = container_of(t, struct api, pause_timer);

	virtio_resume_all(a->vm);
	vm_run(a->vm);
	if (a->live.under_way)
		api_live_failed(a, -ETIMEDOUT, LATE);
	else
		api_fault(a, "Internal VMM error: %s", LATE);
}

void api_parked(struct vm_owner *o)
{
	struct api *a = container_of(o, struct api, owner);

	for (unsigned int i = 0; i < a->vm->cfg.cpu.n_vcpus; i++)
		vcpu_note_pause(&a->vm->vcpu[i]);
	a->pause_timer.fn = on_late;
	loop_timer_set(a->loop, &a->pause_timer, clock_now_ns() + PAUSE_NS);
	virtio_pause_all(a->vm);
}

void api_drained(struct vm_owner *o)
{
	struct api *a = container_of(o, struct api, owner);
	struct metrics_api *m = &a->metrics->api;

	loop_timer_stop(a->loop, &a->pause_timer);
	if (a->live.under_way) {
		api_live_paused(a);
		return;
	}
	api_took(a, "pause vm", &m->latencies_us.vmm_pause_vm,
		 &m->latencies_us.pause_vm);
}

void api_resume(struct api *a)
{
	if (a->vm->state != VM_PAUSED)
		return;
	virtio_resume_all(a->vm);
	vm_run(a->vm);
}

static void resume_vm(struct api *a)
{
	struct metrics_api *m = &a->metrics->api;

	api_resume(a);
	api_took(a, "resume vm", &m->latencies_us.vmm_resume_vm,
		 &m->latencies_us.resume_vm);
}

static void pause_vm(struct api *a)
{
	if (a->vm->state == VM_PAUSED)
		api_drained(&a->owner);
	else
		vm_pause(a->vm);
}

void api_patch_vm(struct api *a, struct call *c)
{
	int state;

	(void)c;
	if (!api_parse(a, NULL, &body_vm_schema, &state, sizeof(state)) ||
	    !api_after_start(a))
		return;
	if (state == BODY_VM_PAUSED)
		pause_vm(a);
	else
		resume_vm(a);
}
