/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sweep.h: a good state file, of a machine with every kind of device, and loads
 * of changed ones onto a stand-in for KVM.
 */
#ifndef TESTS_SNAPSHOT_SWEEP_H
#define TESTS_SNAPSHOT_SWEEP_H

#include "tests/snapshot/machine.h"

#include <dirent.h>
#include <stdbool.h>

#include "snapshot/origin.h"

#define CONFIG	    "{}"
#define OPAQUE_STEP 61 /* of the bytes of large sections, one in so many */

struct fixture {
	struct host host;
	struct snapshot s; /* as it should be */
	uint8_t *work;	   /* room for a changed one */
	size_t len;
	bool all;
	unsigned long taken, refused;
};

static inline uint8_t *read_whole(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY);
	uint8_t *data = malloc(STATE_MAX_BYTES);
	ssize_t n;

	assert_true(fd >= 0 && data);
	n = read(fd, data, STATE_MAX_BYTES);
	assert_true(n > 0);
	(void)close(fd);
	*len = (size_t)n;
	return data;
}

#define REMOVED_CAP KVM_CAP_XCRS
#define FORCED_EDX  (1U << 4) /* FSRM in leaf 7, which the stand-in lacks */

/* A template took away a capability and gave a feature. */
static inline void apply_template(struct saved *s)
{
	struct kvm_cap_modifier mod = {.cap = REMOVED_CAP, .remove = true};
	const struct cpu_template t = {.cap = &mod, .n_cap = 1};
	const struct cpu_config cfg = {.custom = &t};

	kvm_caps_of(&s->caps, &cfg);
	cpuid_find(&s->cpuid, 7, 0)->edx |= FORCED_EDX;
	s->forced.n = 1;
	s->forced.entry[0] =
		(struct kvm_cpuid_entry2){.function = 7, .edx = FORCED_EDX};
}

/* The registers of the first machine: as KVM makes them, in all fields. */
static inline struct saved *first_registers(void)
{
	struct saved *s;
	struct err e;

	assert_int_equal(saved_new(&s, N_VCPUS, &e), 0);
	s->cpuid.n = CPUID_MAX_ENTRIES;
	assert_int_equal(fake_cpuid((struct kvm_cpuid2 *)&s->cpuid), 0);
	for (unsigned int i = 0; i < N_VCPUS; i++) {
		s->vcpu[i].tsc_khz = FAKE_TSC_KHZ;
		s->vcpu[i].xsave_bytes = FAKE_XSAVE_BYTES;
	}
	apply_template(s);
	return s;
}

static inline void make_files(struct fixture *f, const char *state,
			      const char *mem)
{
	struct saved *saved = first_registers();
	struct machine m;
	struct err e = {0};

	if (machine_build(&m, &f->host, saved, &e) < 0)
		fail_msg("%s", e.text);
	saved_free(saved);
	start_drivers(&m);
	const struct snapshot_order order = {.config = CONFIG,
					     .config_len = strlen(CONFIG),
					     .state_path = state,
					     .mem_path = mem};

	if (snapshot_create(m.vm, &order, &e) < 0)
		fail_msg("%s", e.text);
	for (unsigned int i = 0; i < m.vm->n_devs; i++)
		virtio_listen(m.vm->dev[i]);
	machine_stop(&m, &f->host);
	machine_exit(&m);
	(void)close(f->host.mem_fd);
	f->host.mem_fd = open(mem, O_RDONLY | O_CLOEXEC);
	assert_true(f->host.mem_fd >= 0);
}

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char dir[] = "/tmp/mayfly-sweep-XXXXXX";
	char path[40], mem[40];
	struct err e;

	assert_non_null(f);
	f->all = getenv("MAYFLY_SOAK") != NULL;
	host_init(&f->host);
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/state", dir);
	(void)snprintf(mem, sizeof(mem), "%s/mem", dir);
	make_files(f, path, mem);
	f->s.data = read_whole(path, &f->len);
	assert_int_equal(state_parse(&f->s.file, f->s.data, f->len, &e), 0);
	f->work = malloc(f->len + 8);
	assert_non_null(f->work);
	(void)unlink(path);
	(void)unlink(mem);
	(void)rmdir(dir);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	host_exit(&f->host);
	snapshot_exit(&f->s);
	free(f->work);
	free(f);
	return 0;
}

static inline unsigned int descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

/* ---- a load ---- */

/* What api/load.c looks at before it makes a machine. */
static inline int check_origin(const struct snapshot *s, struct err *e)
{
	static const uint32_t kinds[] = {2, 2, 1, 19};
	struct origin_file file;
	int ret = snapshot_check_host(s, e);

	if (ret == 0)
		ret = snapshot_check_devices(s, kinds, ARRAY_LEN(kinds), e);
	for (unsigned int i = 0; ret >= 0 && i < N_DRIVES; i++)
		ret = snapshot_drive(s, i, &file, e);
	return ret < 0 ? ret : 0;
}

static inline int load(const struct fixture *f, const uint8_t *data, size_t len,
		       bool resume, struct err *e)
{
	struct snapshot s = {0};
	struct saved *saved = NULL;
	struct machine m;
	int ret = snapshot_parse(&s, data, len, e);

	if (ret == 0)
		ret = check_origin(&s, e);
	if (ret == 0)
		ret = snapshot_saved(&s, N_VCPUS, &saved, e);
	if (ret < 0)
		return ret;
	ret = machine_build(&m, &f->host, saved, e);
	if (ret == 0)
		ret = snapshot_devices(&s, m.vm, e);
	if (ret == 0 && resume) {
		machine_resume(&m, &f->host);
		machine_stop(&m, &f->host);
	}
	machine_exit(&m);
	saved_free(saved);
	return ret;
}

/* One that may work; what is refused says why. */
static inline void try_load(struct fixture *f, const uint8_t *data, size_t len,
			    bool resume)
{
	struct err e = {0};

	if (load(f, data, len, resume, &e) == 0) {
		f->taken++;
	} else {
		f->refused++;
		assert_true(e.text[0]);
	}
}

/* One that must not reach KVM. */
static inline void must_refuse(const struct fixture *f, const uint8_t *data,
			       size_t len)
{
	unsigned long before = fake_kvm.calls;
	struct err e = {0};

	assert_true(load(f, data, len, false, &e) < 0);
	assert_true(e.text[0]);
	assert_int_equal(fake_kvm.calls, before);
}

static inline void put_le(uint8_t *p, uint64_t v, size_t width)
{
	for (size_t i = 0; i < width; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
