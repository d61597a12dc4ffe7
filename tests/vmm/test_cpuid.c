/* SPDX-License-Identifier: Apache-2.0 */
/* Normalisation on made-up tables of both vendors, then KVM's own. */
#include "tests/vmm/kvm_env.h"

#include <errno.h>

#include "base/num.h"

#define NO_BRAND ((const char[CPUID_BRAND_BYTES]){0})

static void put(struct cpuid *c, uint32_t leaf, uint32_t subleaf, uint32_t eax,
		uint32_t ebx, uint32_t ecx, uint32_t edx)
{
	c->entry[c->n++] = (struct kvm_cpuid_entry2){.function = leaf,
						     .index = subleaf,
						     .eax = eax,
						     .ebx = ebx,
						     .ecx = ecx,
						     .edx = edx};
}

static void put_common(struct cpuid *c)
{
	put(c, 1, 0, 0x50657, 0xff000000, 0x80202000 | 1 << 15, 0x0f8bfbff);
	put(c, 7, 0, 1, 0, 1 << 5 | 1 << 7, 1 << 29 | 1 << 20); /* and CET */
	put(c, 0xd, 1, 0xf, 0, 0x1900, 0);
	put(c, 0xb, 0, 7, 7, 7, 99);
	put(c, 0x80000000, 0, 0x80000008, 0, 0, 0);
	put(c, 0x80000001, 0, 0, 0, 0, 0);
	put(c, 0x80000002, 0, 1, 1, 1, 1);
	put(c, 0x80000003, 0, 1, 1, 1, 1);
	put(c, 0x80000004, 0, 1, 1, 1, 1);
	put(c, 0x80000008, 0, 0x3930, 0, 0xffffffff, 0);
}

static struct cpuid intel(void)
{
	struct cpuid c = {0};

	put(&c, 0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69);
	put(&c, 4, 0, 0xffffc121, 0, 0, 0); /* L1 data */
	put(&c, 4, 1, 0xffffc143, 0, 0, 0); /* L2 */
	put(&c, 4, 2, 0xffffc163, 0, 0, 0); /* L3 */
	put(&c, 4, 3, 0, 0, 0, 0);
	put(&c, 6, 0, 0xff, 0, 0xff, 0);
	put(&c, 0xa, 0, 1, 1, 1, 1);
	put(&c, 0x1f, 0, 5, 5, 5, 99);
	put_common(&c);
	return c;
}

static struct cpuid amd(void)
{
	struct cpuid c = {0};

	put(&c, 0, 0, 0x10, 0x68747541, 0x444d4163, 0x69746e65);
	put(&c, 0x8000001d, 0, 0xffffc121, 0, 0, 0);
	put(&c, 0x8000001d, 1, 0xffffc163, 0, 0, 0);
	put(&c, 0x8000001d, 2, 0, 0, 0, 0);
	put_common(&c);
	return c;
}

static const struct kvm_cpuid_entry2 *get(struct cpuid *c, uint32_t leaf,
					  uint32_t subleaf)
{
	const struct kvm_cpuid_entry2 *x = cpuid_find(c, leaf, subleaf);

	assert_non_null(x);
	return x;
}

static uint32_t bits(uint32_t v, unsigned int low, unsigned int high)
{
	return v >> low & ((2U << (high - low)) - 1);
}

static void check_leaf1(struct cpuid *c, unsigned int n, unsigned int index)
{
	const struct kvm_cpuid_entry2 *x = get(c, 1, 0);
	uint32_t ids = bits(x->ebx, 16, 23);

	assert_int_equal(bits(x->ebx, 8, 15), 8);
	assert_true(ids >= n && ids < 2 * n && (ids & (ids - 1)) == 0);
	assert_int_equal(bits(x->ebx, 24, 31), index);
	assert_int_equal(bits(x->ecx, 15, 15), 0);
	assert_int_equal(bits(x->ecx, 24, 24), 1);
	assert_int_equal(bits(x->ecx, 31, 31), 1);
	assert_int_equal(bits(x->edx, 28, 28), n > 1);
}

static void check_topology(struct cpuid *c, uint32_t leaf, unsigned int n,
			   unsigned int threads, unsigned int index)
{
	const struct kvm_cpuid_entry2 *x = get(c, leaf, 0);

	assert_int_equal(x->eax, threads - 1);
	assert_int_equal(x->ebx, threads);
	assert_int_equal(x->ecx, 0x100);
	assert_int_equal(x->edx, index);
	x = get(c, leaf, 1);
	assert_int_equal(x->eax, 5);
	assert_int_equal(x->ebx, n);
	assert_int_equal(x->ecx, 0x201);
	assert_int_equal(x->edx, index);
	assert_int_equal(x->flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
}

/* Call fn for each number of vCPUs, with SMT and without. */
static void for_each_topology(void (*fn)(const struct cpu_config *cfg,
					 unsigned int threads))
{
	for (unsigned int n = 1; n <= MAX_VCPUS; n++) {
		struct cpu_config cfg = {.n_vcpus = n};

		fn(&cfg, 1);
		cfg.smt = true;
		if (n == 1 || n % 2 == 0)
			fn(&cfg, n == 1 ? 1 : 2);
	}
}

static void check_intel(const struct cpu_config *cfg, unsigned int threads)
{
	unsigned int n = cfg->n_vcpus;
	struct cpuid c = intel();

	cpuid_normalise(&c, cfg, NO_BRAND);
	for (unsigned int i = 0; i < n; i++) {
		cpuid_specialise(&c, i, cfg);
		check_leaf1(&c, n, i);
		check_topology(&c, 0xb, n, threads, i);
		check_topology(&c, 0x1f, n, threads, i);
	}
	for (unsigned int i = 0; i < 3; i++) {
		uint32_t eax = get(&c, 4, i)->eax;

		assert_int_equal(bits(eax, 14, 25),
				 i < 2 ? threads - 1 : n - 1);
		assert_int_equal(bits(eax, 26, 31), n / threads - 1);
	}
	assert_int_equal(get(&c, 4, 3)->eax, 0);
}

static void intel_topology(void **state)
{
	(void)state;
	for_each_topology(check_intel);
}

static void check_amd(const struct cpu_config *cfg, unsigned int threads)
{
	unsigned int n = cfg->n_vcpus;
	struct cpuid c = amd();
	const struct kvm_cpuid_entry2 *x;

	cpuid_normalise(&c, cfg, NO_BRAND);
	for (unsigned int i = 0; i < n; i++) {
		cpuid_specialise(&c, i, cfg);
		check_leaf1(&c, n, i);
		check_topology(&c, 0xb, n, threads, i);
		x = get(&c, 0x8000001e, 0);
		assert_int_equal(x->eax, i);
		assert_int_equal(bits(x->ebx, 0, 7), i / threads);
		assert_int_equal(bits(x->ebx, 8, 15), threads - 1);
		assert_int_equal(x->ecx, 0);
		assert_int_equal(x->flags, 0);
	}
	x = get(&c, 0x8000001d, 0);
	assert_int_equal(bits(x->eax, 14, 25), threads - 1);
	assert_int_equal(bits(x->eax, 26, 31), 0x3f);
	x = get(&c, 0x8000001d, 1);
	assert_int_equal(bits(x->eax, 14, 25), n - 1);
	x = get(&c, 0x80000008, 0);
	assert_int_equal(bits(x->ecx, 0, 7), n - 1);
	assert_int_equal(bits(x->ecx, 12, 15), 7);
	assert_null(cpuid_find(&c, 0x1f, 0));
}

static void amd_topology(void **state)
{
	(void)state;
	for_each_topology(check_amd);
}

static void intel_features(void **state)
{
	const struct cpu_config cfg = {.n_vcpus = 1};
	struct cpuid c = intel();

	(void)state;
	cpuid_normalise(&c, &cfg, NO_BRAND);
	assert_int_equal(get(&c, 6, 0)->eax, 0xfd);
	assert_int_equal(get(&c, 6, 0)->ecx, 0xf7);
	assert_int_equal(get(&c, 7, 0)->ebx, 1 << 6 | 1 << 13);
	assert_int_equal(get(&c, 7, 0)->ecx, 0);
	assert_int_equal(get(&c, 7, 0)->edx, 1 << 29);
	assert_int_equal(get(&c, 0xd, 1)->ecx, 0x100);
	assert_int_equal(get(&c, 0xa, 0)->eax, 0);
	assert_int_equal(get(&c, 0xa, 0)->edx, 0);
}

static void amd_features(void **state)
{
	const struct cpu_config cfg = {.n_vcpus = 1};
	struct cpuid c = amd();

	(void)state;
	cpuid_normalise(&c, &cfg, NO_BRAND);
	assert_int_equal(get(&c, 7, 0)->ebx, 0);
	assert_int_equal(get(&c, 7, 0)->ecx, 1 << 5);
	assert_int_equal(get(&c, 7, 0)->edx, 0);
	assert_int_equal(get(&c, 0x80000000, 0)->eax, 0x8000001e);
	assert_int_equal(get(&c, 0x80000001, 0)->ecx, 1 << 22);
}

static void check_brand(struct cpuid *c, const char *want)
{
	char text[CPUID_BRAND_BYTES + 1] = {0};

	for (uint32_t i = 0; i < 3; i++)
		memcpy(text + 16 * i, &get(c, 0x80000002 + i, 0)->eax, 16);
	assert_string_equal(text, want);
}

static void brand_keeps_only_the_frequency(void **state)
{
	static const char *const pairs[][2] = {
		{"Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz",
		 "Intel(R) Xeon(R) Processor @ 3.00GHz"},
		{"Intel(R) Xeon(R) CPU @ 2900MHz",
		 "Intel(R) Xeon(R) Processor @ 2900MHz"},
		{"Intel(R) Xeon(R) Platinum 8488C",
		 "Intel(R) Xeon(R) Processor"},
		{"Intel(R) Xeon(R) CPU @3.00GHz", "Intel(R) Xeon(R) Processor"},
		{"Intel(R) Xeon(R) CPU @ GHz", "Intel(R) Xeon(R) Processor"},
		{"3.00GHz", "Intel(R) Xeon(R) Processor"},
		{"x 3.00000000000000000000000GHz",
		 "Intel(R) Xeon(R) Processor"},
		{"", "Intel(R) Xeon(R) Processor"},
	};
	const struct cpu_config cfg = {.n_vcpus = 1};
	struct cpuid c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		char host[CPUID_BRAND_BYTES] = {0};

		memcpy(host, pairs[i][0], strlen(pairs[i][0]));
		c = intel();
		cpuid_normalise(&c, &cfg, host);
		check_brand(&c, pairs[i][1]);
	}
	c = amd();
	cpuid_normalise(&c, &cfg, NO_BRAND);
	check_brand(&c, "AMD EPYC");
}

static void full_and_empty_tables_are_survived(void **state)
{
	const struct cpu_config cfg = {.n_vcpus = 2};
	struct cpuid c = {0};

	(void)state;
	cpuid_normalise(&c, &cfg, NO_BRAND);
	check_topology(&c, 0xb, 2, 1, 0);
	c = amd();
	while (c.n < CPUID_MAX_ENTRIES)
		put(&c, 0x100 + c.n, 0, 0, 0, 0, 0);
	cpuid_normalise(&c, &cfg, NO_BRAND);
	assert_int_equal(c.n, CPUID_MAX_ENTRIES);
}

static void custom_template_changes_bits(void **state)
{
	struct cpuid_modifier mod[] = {
		{.leaf = 7, .set = 1 << 1, .reg = {[1] = {0xff, 0xa5}}},
		{.leaf = 4,
		 .subleaf = 1,
		 .flags = 1,
		 .set = 1 << 0 | 1 << 2 | 1 << 3,
		 .reg = {{0xffffffff, 7}, {0, 0}, {1, 1}, {2, 2}}},
	};
	struct cpu_template t = {.cpuid = mod, .n_cpuid = 2};
	const struct cpu_config cfg = {.n_vcpus = 1, .custom = &t};
	struct cpuid c = intel();
	struct err e;

	(void)state;
	assert_int_equal(template_apply_cpuid(&c, &cfg, &e), 0);
	assert_int_equal(get(&c, 7, 0)->ebx, 0xa5);
	assert_int_equal(get(&c, 7, 0)->eax, 1);
	assert_int_equal(get(&c, 4, 1)->eax, 7);
	assert_int_equal(get(&c, 4, 1)->ecx, 1);
	assert_int_equal(get(&c, 4, 1)->edx, 2);
	assert_int_equal(get(&c, 4, 1)->flags, 1);
	mod[0].leaf = 0xdead;
	assert_true(template_apply_cpuid(&c, &cfg, &e) < 0);
	assert_string_equal(
		e.text,
		"System configuration error: Failed to create guest config: "
		"Template changes a CPUID entry not supported by KVM: Leaf: "
		"dead, Subleaf: 0");
}

static void static_templates_fit_no_cpu(void **state)
{
	const char *vendor = "Failed to get CPU template: CPU vendor "
			     "mismatched between actual CPU and CPU template.";
	const char *model = "Failed to get CPU template: The current CPU model "
			    "is not permitted to apply the CPU template.";
	struct cpu_config cfg = {.n_vcpus = 1};
	struct err e;

	(void)state;
	for (int i = CPU_TEMPLATE_C3; i <= CPU_TEMPLATE_T2A; i++) {
		struct cpuid on_intel = intel();
		struct cpuid on_amd = amd();
		bool is_amd = i == CPU_TEMPLATE_T2A;

		cfg.name = (enum cpu_template_name)i;
		assert_true(template_apply_cpuid(&on_intel, &cfg, &e) < 0);
		assert_string_equal(e.text, is_amd ? vendor : model);
		assert_true(template_apply_cpuid(&on_amd, &cfg, &e) < 0);
		assert_string_equal(e.text, is_amd ? model : vendor);
	}
}

/* What KVM says it gives the guest is what was asked for. */
static void kvm_takes_the_table(void **state)
{
	struct cpu_config cfg = {.n_vcpus = 2};
	struct cpu_host host;
	struct cpuid c, back;
	struct kvm_env k;
	struct err e;

	(void)state;
	kvm_env_init(&k, MIB);
	assert_int_equal(cpu_check_caps(k.kvm_fd, &cfg, &e), 0);
	assert_int_equal(cpu_host_read(&host, k.kvm_fd, &e), 0);
	for (int smt = 0; smt < 2; smt++) {
		cfg.smt = smt;
		assert_int_equal(cpuid_build(&c, &host, &cfg, &e), 0);
		for (unsigned int i = 0; i < 2; i++) {
			assert_int_equal(
				cpuid_set(&c, k.vcpu_fd[i], i, &cfg, &e), 0);
			back.n = CPUID_MAX_ENTRIES;
			assert_int_equal(
				ioctl(k.vcpu_fd[i], KVM_GET_CPUID2, &back), 0);
			check_leaf1(&back, 2, i);
			check_topology(&back, 0xb, 2, smt ? 2 : 1, i);
			assert_non_null(cpuid_find(&back, 0x40000000, 0));
		}
	}
	kvm_env_exit(&k);
}

static void missing_capabilities_are_named(void **state)
{
	struct kvm_cap_modifier cap = {.cap = 99999};
	struct cpu_template t = {.cap = &cap, .n_cap = 1};
	const struct cpu_config cfg = {.n_vcpus = 1, .custom = &t};
	struct err e;
	int fd;

	(void)state;
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(cpu_check_caps(fd, &cfg, &e) < 0);
	assert_string_equal(e.text,
			    "Kvm error: Missing KVM capabilities: 0x1869f");
	cap.remove = true;
	assert_int_equal(cpu_check_caps(fd, &cfg, &e), 0);
	close(fd);

	/* A descriptor that has no capabilities at all. */
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_true(cpu_check_caps(fd, &cfg, &e) < 0);
	assert_string_equal(e.text, "Kvm error: Missing KVM capabilities: 0x0");
	cap.cap = 0;
	assert_true(cpu_check_caps(fd, &cfg, &e) < 0);
	assert_string_equal(e.text,
			    "Kvm error: Missing KVM capabilities: 0x24");
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(intel_topology),
		cmocka_unit_test(amd_topology),
		cmocka_unit_test(intel_features),
		cmocka_unit_test(amd_features),
		cmocka_unit_test(brand_keeps_only_the_frequency),
		cmocka_unit_test(full_and_empty_tables_are_survived),
		cmocka_unit_test(custom_template_changes_bits),
		cmocka_unit_test(static_templates_fit_no_cpu),
	};
	const struct CMUnitTest with_kvm[] = {
		cmocka_unit_test(kvm_takes_the_table),
		cmocka_unit_test(missing_capabilities_are_named),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	if (failed)
		return failed;
	if (kvm_missing())
		return 77;
	return cmocka_run_group_tests(with_kvm, NULL, NULL);
}
