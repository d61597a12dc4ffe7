/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/dirty.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/fds.h"
#include "base/num.h"
#include "vmm/vm.h"

int dirty_arm(struct vm *vm, struct err *e)
{
	struct dirty *d = &vm->dirty;
	size_t bytes = dirty_words(&vm->mem) * sizeof(uint64_t);
	void *p;

	if (!d->marks) {
		/* Not malloc(): the vCPUs' threads may not be kept waiting. */
		p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			return err_sys(e, "Memory for marks of dirty pages");
		d->marks = p;
		d->marks_bytes = bytes;
	}
	vm->mem.marks = d->marks;
	return 0;
}

void dirty_disarm(struct vm *vm)
{
	vm->mem.marks = NULL;
}

int dirty_start(struct vm *vm, struct err *e)
{
	struct err ignored;
	int ret = vm_set_slots(vm, KVM_MEM_LOG_DIRTY_PAGES, e);

	/* All or nothing: a log of a part is of no use. */
	if (ret < 0)
		(void)vm_set_slots(vm, 0, &ignored);
	vm->dirty.logging = ret == 0;
	return ret;
}

int dirty_stop(struct vm *vm, struct err *e)
{
	vm->dirty.logging = false;
	return vm_set_slots(vm, 0, e);
}

bool dirty_on(const struct vm *vm)
{
	return vm->dirty.logging;
}

static void take_marks(const struct vm *vm, uint64_t *map)
{
	uint64_t *marks = vm->dirty.marks;

	for (size_t i = 0; marks && i < dirty_words(&vm->mem); i++) {
		if (__atomic_load_n(&marks[i], __ATOMIC_RELAXED))
			map[i] |= __atomic_exchange_n(&marks[i], 0,
						      __ATOMIC_ACQ_REL);
	}
}

/* KVM counts pages by slot; a slot that is not the last has whole words. */
static int take_log(const struct vm *vm, uint64_t *map, uint64_t *buf,
		    struct err *e)
{
	for (unsigned int i = 0; i < vm->mem.n_regions; i++) {
		const struct gmem_region *r = &vm->mem.region[i];
		size_t pages = r->bytes / DIRTY_PAGE_BYTES;
		struct kvm_dirty_log log = {.slot = i, .dirty_bitmap = buf};

		if (ioctl(FD_VM, KVM_GET_DIRTY_LOG, &log) < 0)
			return err_sys(e,
				       "Cannot read the log of writes to "
				       "memory slot %u",
				       i);
		for (size_t w = 0; w < (pages + 63) / 64; w++)
			map[w] |= buf[w];
		map += pages / 64;
	}
	return 0;
}

int dirty_fetch(struct vm *vm, uint64_t *map, struct err *e)
{
	uint64_t *buf = dirty_map(&vm->mem);
	int ret;

	if (!buf)
		return err_code(e, -ENOMEM, "Log of written pages");
	ret = take_log(vm, map, buf, e);
	free(buf);
	take_marks(vm, map);
	if (ret == 0 && dirty_note(vm, map) < 0)
		ret = err_code(e, -ENOMEM, "Log of written pages");
	return ret;
}

void dirty_keep(struct vm *vm, const uint64_t *map)
{
	uint64_t *marks = vm->dirty.marks;

	for (size_t i = 0; marks && i < dirty_words(&vm->mem); i++) {
		if (map[i])
			(void)__atomic_fetch_or(&marks[i], map[i],
						__ATOMIC_RELEASE);
	}
}

static void note(uint64_t *sum, const uint64_t *map, const struct gmem *m)
{
	if (map)
		dirty_merge(sum, map, m);
	for (size_t i = 0; !map && i < dirty_pages(m); i++)
		dirty_add(sum, i);
}

int dirty_note(struct vm *vm, const uint64_t *map)
{
	struct dirty *d = &vm->dirty;

	if (!d->told)
		d->told = dirty_map(&vm->mem);
	if (!d->stale)
		d->stale = dirty_map(&vm->mem);
	if (!d->told || !d->stale)
		return -ENOMEM;
	note(d->told, map, &vm->mem);
	note(d->stale, map, &vm->mem);
	return 0;
}

void dirty_exit(struct vm *vm)
{
	struct dirty *d = &vm->dirty;

	dirty_disarm(vm);
	if (d->marks)
		(void)munmap(d->marks, d->marks_bytes);
	if (d->aside)
		(void)munmap(d->aside, d->aside_bytes);
	free(d->told);
	free(d->stale);
	free(d->digest);
	*d = (struct dirty){0};
}
