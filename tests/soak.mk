# SPDX-License-Identifier: Apache-2.0
# How the tests are run: part of the Makefile, behind all of BOOT.

boot = $(addprefix tests/boot/,$(addsuffix .py,$(1)))
# They count what a machine has one of: namespaces, huge pages, time to answer.
ALONE = tests/golden/run.py $(call boot,http_contract contract_epoll jailer \
	nano_pager nano_live)
# The longest first: what is shorter runs beside it.
LONGEST = $(call boot,linux_net nano nano_epoll linux_boot syscalls)
TOGETHER = $(LONGEST) $(filter-out $(ALONE) $(LONGEST),$(BOOT))

run-test:
	@tools/run-tests.sh -j 2 -t 120 $(ASAN) $(TSAN) -t 600 $(TOGETHER) \
		-j 1 $(ALONE)

# make soak [PART=N]: the long forms, in parts of at most half an hour. The last
# part has what no other has.
PARTS  = 1 2 3 4 5 6
SOAK_1 = $(ASAN) $(TSAN)
SOAK_2 = $(call boot,nano syscalls)
SOAK_3 = $(call boot,nano_epoll nano_net nano_vsock nano_mmds)
SOAK_4 = $(call boot,jailer)
SOAK_5 = $(call boot,linux_net)
SOAK_6 = $(filter-out $(foreach p,1 2 3 4 5,$(SOAK_$(p))),$(BOOT))

run-soak:
	@for p in $(or $(PART),$(PARTS)); do \
		echo "soak, part $$p:"; \
		$(MAKE) --no-print-directory run-soak-$$p || bad=1; \
	done; [ -z "$$bad" ]
$(addprefix run-soak-,$(PARTS)): run-soak-%:
	@MAYFLY_SOAK=1 tools/run-tests.sh -t 1800 \
		-j $(if $(filter 1,$*),2,1) $(SOAK_$*)

.PHONY: run-test run-soak $(addprefix run-soak-,$(PARTS))
