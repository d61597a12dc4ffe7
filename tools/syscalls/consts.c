/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/syscalls/table.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fds.h"
#include "base/num.h"

#define C(name)                         \
	{                               \
#name, (uint32_t)(name) \
	}

static const struct {
	const char *name;
	uint32_t value;
} consts[] = {
	/* descriptors of fixed numbers */
	C(FD_LOOP),
	C(FD_WAKE),
	C(FD_LOG),
	C(FD_METRICS),
	C(FD_API),
	C(FD_SERIAL),
	C(FD_KVM),
	C(FD_PROBE),
	C(FD_VM),
	C(FD_VSOCK),
	C(FD_BASE),
	C(FD_TAP0),
	C(FD_TAP_END),
	C(FD_VCPU0),
	C(FDS_FIRST),
	C(FDS_END),
	/* KVM */
	C(KVM_CHECK_EXTENSION),
	C(KVM_CREATE_IRQCHIP),
	C(KVM_CREATE_PIT2),
	C(KVM_CREATE_VCPU),
	C(KVM_CREATE_VM),
	C(KVM_ENABLE_CAP),
	C(KVM_GET_API_VERSION),
	C(KVM_GET_CLOCK),
	C(KVM_GET_CPUID2),
	C(KVM_GET_DEBUGREGS),
	C(KVM_GET_DIRTY_LOG),
	C(KVM_GET_IRQCHIP),
	C(KVM_GET_LAPIC),
	C(KVM_GET_MP_STATE),
	C(KVM_GET_MSRS),
	C(KVM_GET_MSR_INDEX_LIST),
	C(KVM_GET_PIT2),
	C(KVM_GET_REGS),
	C(KVM_GET_SREGS),
	C(KVM_GET_SREGS2),
	C(KVM_GET_SREGS2),
	C(KVM_GET_SUPPORTED_CPUID),
	C(KVM_GET_TSC_KHZ),
	C(KVM_GET_VCPU_EVENTS),
	C(KVM_GET_VCPU_MMAP_SIZE),
	C(KVM_GET_XCRS),
	C(KVM_GET_XSAVE),
	C(KVM_GET_XSAVE2),
	C(KVM_GET_XSAVE2),
	C(KVM_IOEVENTFD),
	C(KVM_IRQFD),
	C(KVM_IRQ_LINE),
	C(KVM_IRQ_LINE),
	C(KVM_KVMCLOCK_CTRL),
	C(KVM_RUN),
	C(KVM_SET_CLOCK),
	C(KVM_SET_CPUID2),
	C(KVM_SET_DEBUGREGS),
	C(KVM_SET_FPU),
	C(KVM_SET_GSI_ROUTING),
	C(KVM_SET_IDENTITY_MAP_ADDR),
	C(KVM_SET_IRQCHIP),
	C(KVM_SET_LAPIC),
	C(KVM_SET_MP_STATE),
	C(KVM_SET_MSRS),
	C(KVM_SET_PIT2),
	C(KVM_SET_REGS),
	C(KVM_SET_SIGNAL_MASK),
	C(KVM_SET_SREGS),
	C(KVM_SET_SREGS2),
	C(KVM_SET_SREGS2),
	C(KVM_SET_TSC_KHZ),
	C(KVM_SET_TSS_ADDR),
	C(KVM_SET_USER_MEMORY_REGION),
	C(KVM_SET_VCPU_EVENTS),
	C(KVM_SET_XCRS),
	C(KVM_SET_XSAVE),
	/* other devices */
	C(FIONBIO),
	C(FIONREAD),
	C(TCGETS),
	C(TCSETS),
	C(TCSETSF),
	C(TCSETSW),
	C(TIOCGWINSZ),
	C(TUNSETIFF),
	C(TUNSETOFFLOAD),
	C(FICLONE),
	C(TUNSETVNETHDRSZ),
	C(TUNSETVNETLE),
	C(UFFDIO_API),
	C(UFFDIO_REGISTER),
	C(UFFDIO_UNREGISTER),
	C(UFFDIO_WRITEPROTECT),
	C(USERFAULTFD_IOC_NEW),
	/* futex */
	C(FUTEX_WAIT),
	C(FUTEX_WAIT_BITSET),
	C(FUTEX_WAIT_BITSET_PRIVATE),
	C(FUTEX_WAIT_PRIVATE),
	C(FUTEX_WAKE),
	C(FUTEX_WAKE_PRIVATE),
	C(FUTEX_CLOCK_REALTIME),
	/* fcntl */
	C(F_ADD_SEALS),
	C(F_GETFD),
	C(F_GETFL),
	C(F_OFD_SETLK),
	C(F_SETFD),
	C(F_SETFL),
	C(F_DUPFD_CLOEXEC),
	C(FD_CLOEXEC),
	/* memory */
	C(PROT_NONE),
	C(PROT_READ),
	C(PROT_WRITE),
	C(PROT_EXEC),
	C(MAP_ANONYMOUS),
	C(MAP_FIXED),
	C(MAP_HUGETLB),
	C(MAP_NORESERVE),
	C(MAP_POPULATE),
	C(MAP_PRIVATE),
	C(MAP_SHARED),
	C(MAP_STACK),
	C(MADV_DONTFORK),
	C(MADV_DONTDUMP),
	C(MADV_DONTNEED),
	C(MADV_FREE),
	C(MADV_HUGEPAGE),
	C(MADV_NOHUGEPAGE),
	/* the loop */
	C(EPOLL_CTL_ADD),
	C(EPOLL_CTL_DEL),
	C(EPOLL_CTL_MOD),
	C(IORING_REGISTER_BUFFERS),
	C(IORING_REGISTER_ENABLE_RINGS),
	C(IORING_REGISTER_FILES),
	C(IORING_REGISTER_FILES2),
	C(IORING_REGISTER_FILES_UPDATE),
	C(IORING_REGISTER_PROBE),
	C(IORING_REGISTER_RESTRICTIONS),
	C(IORING_REGISTER_RING_FDS),
	C(IORING_UNREGISTER_RING_FDS),
	/* the rest */
	C(AF_UNIX),
	C(SOCK_CLOEXEC),
	C(SOCK_NONBLOCK),
	C(SOCK_STREAM),
	C(SECCOMP_SET_MODE_FILTER),
	C(PR_CAPBSET_READ),
	C(PR_GET_NAME),
	C(PR_SET_DUMPABLE),
	C(PR_SET_NAME),
	C(PR_SET_NO_NEW_PRIVS),
	C(PR_SET_TIMERSLACK),
	C(PR_SET_VMA),
	C(SIGABRT),
	C(SIGBUS),
	C(SIGHUP),
	C(SIGILL),
	C(SIGPIPE),
	C(SIGSEGV),
	C(SIGXCPU),
	C(SIGXFSZ),
	C(SIG_BLOCK),
	C(SIG_SETMASK),
	C(SIG_UNBLOCK),
};

bool consts_value(const char *text, uint32_t *value)
{
	unsigned long long n;
	char *end;

	for (size_t i = 0; i < ARRAY_LEN(consts); i++) {
		if (!strcmp(consts[i].name, text)) {
			*value = consts[i].value;
			return true;
		}
	}
	errno = 0;
	n = strtoull(text, &end, 0);
	if (errno || end == text || *end || n > UINT32_MAX)
		return false;
	*value = (uint32_t)n;
	return true;
}

const char *consts_name(const char *prefix, uint32_t value)
{
	size_t len = strlen(prefix);

	for (size_t i = 0; i < ARRAY_LEN(consts); i++) {
		if (consts[i].value == value &&
		    !strncmp(consts[i].name, prefix, len))
			return consts[i].name;
	}
	return NULL;
}
