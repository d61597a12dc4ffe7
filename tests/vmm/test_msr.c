/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/vmm/kvm_env.h"

#include "base/num.h"

#define MSR_SYSENTER_CS	  0x174
#define MSR_MISC_ENABLE	  0x1a0
#define MSR_PAT		  0x277
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MSR_EFER	  0xc0000080

static uint64_t get_msr(int vcpu_fd, uint32_t index)
{
	struct {
		uint32_t n, padding;
		struct kvm_msr_entry entry;
	} m = {.n = 1, .entry = {.index = index}};

	assert_int_equal(ioctl(vcpu_fd, KVM_GET_MSRS, &m), 1);
	return m.entry.data;
}

static void vcpu_init(struct kvm_env *k, const struct cpu_config *cfg)
{
	struct cpu_host host;
	struct cpuid c;
	struct err e;

	kvm_env_init(k, MIB);
	assert_int_equal(cpu_host_read(&host, k->kvm_fd, &e), 0);
	assert_int_equal(cpuid_build(&c, &host, cfg, &e), 0);
	assert_int_equal(cpuid_set(&c, k->vcpu_fd[0], 0, cfg, &e), 0);
}

static void boot_values_are_set(void **state)
{
	const struct cpu_config cfg = {.n_vcpus = 1};
	struct kvm_env k;
	struct err e;

	(void)state;
	vcpu_init(&k, &cfg);
	assert_int_equal(msr_set_boot(k.vcpu_fd[0], &cfg, &e), 0);
	assert_int_equal(get_msr(k.vcpu_fd[0], MSR_MISC_ENABLE) & 1, 1);
	assert_int_equal(get_msr(k.vcpu_fd[0], MSR_MTRR_DEF_TYPE), 0x806);
	assert_int_equal(get_msr(k.vcpu_fd[0], MSR_SYSENTER_CS), 0);
	kvm_env_exit(&k);
}

static void template_changes_bits_of_boot_values(void **state)
{
	struct msr_modifier mod[] = {
		{MSR_MTRR_DEF_TYPE, {0xff, 0x5}},
		{MSR_PAT, {0xff, 0x4}},
		{MSR_SYSENTER_CS, {UINT64_MAX, 0x10}},
	};
	const struct cpu_template t = {.msr = mod, .n_msr = 3};
	const struct cpu_config cfg = {.n_vcpus = 1, .custom = &t};
	struct kvm_env k;
	struct err e;
	uint64_t pat;

	(void)state;
	vcpu_init(&k, &cfg);
	pat = get_msr(k.vcpu_fd[0], MSR_PAT);
	assert_int_equal(msr_set_boot(k.vcpu_fd[0], &cfg, &e), 0);
	assert_int_equal(get_msr(k.vcpu_fd[0], MSR_MTRR_DEF_TYPE), 0x805);
	assert_int_equal(get_msr(k.vcpu_fd[0], MSR_PAT),
			 (pat & ~UINT64_C(0xff)) | 4);
	assert_int_equal(get_msr(k.vcpu_fd[0], MSR_SYSENTER_CS), 0x10);
	kvm_env_exit(&k);
}

/* More modifiers than go to KVM at once; the last one is wrong. */
static void unknown_msr_is_named(void **state)
{
	struct msr_modifier mod[70];
	struct cpu_template t = {.msr = mod, .n_msr = 69};
	const struct cpu_config cfg = {.n_vcpus = 1, .custom = &t};
	struct kvm_env k;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(mod); i++)
		mod[i] = (struct msr_modifier){MSR_PAT, {0, 0}};
	mod[69].index = 0xdeadbeef;
	vcpu_init(&k, &cfg);
	assert_int_equal(msr_set_boot(k.vcpu_fd[0], &cfg, &e), 0);
	t.n_msr = 70;
	assert_true(msr_set_boot(k.vcpu_fd[0], &cfg, &e) < 0);
	assert_string_equal(
		e.text,
		"System configuration error: Failed to create guest config: "
		"KVM vcpu ioctl failed: Failed to get KVM vcpu msr: "
		"0xdeadbeef");
	kvm_env_exit(&k);
}

static void refused_value_is_named(void **state)
{
	struct msr_modifier mod = {MSR_EFER, {0, 2}}; /* reserved */
	const struct cpu_template t = {.msr = &mod, .n_msr = 1};
	const struct cpu_config cfg = {.n_vcpus = 1, .custom = &t};
	struct kvm_env k;
	struct err e;

	(void)state;
	vcpu_init(&k, &cfg);
	assert_true(msr_set_boot(k.vcpu_fd[0], &cfg, &e) < 0);
	assert_string_equal(e.text, "System configuration error: Failed to set "
				    "KVM vcpu msr: 0xc0000080");
	kvm_env_exit(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(boot_values_are_set),
		cmocka_unit_test(template_changes_bits_of_boot_values),
		cmocka_unit_test(unknown_msr_is_named),
		cmocka_unit_test(refused_value_is_named),
	};

	if (kvm_missing())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
