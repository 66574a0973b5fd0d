#include "sandbox.h"

#include <errno.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

/* By name, for the numbers differ between processors, and some have not all of them. */
static const char ALLOWED[] =
    /* files: the database, pages, certificates, the resolver's settings, libraries that the resolver loads */
    "open openat close close_range read readv pread64 preadv write writev pwrite64 pwritev lseek _llseek fsync "
    "fdatasync sync_file_range ftruncate ftruncate64 fallocate fadvise64 fcntl fcntl64 flock stat stat64 lstat "
    "lstat64 fstat fstat64 newfstatat fstatat64 statx statfs fstatfs access faccessat faccessat2 readlink "
    "readlinkat getdents64 getcwd unlink unlinkat rename renameat renameat2 fchmod fchown utimensat dup dup2 dup3 "
    "pipe2 umask "
    /* the network */
    "bind listen accept accept4 connect shutdown getsockname getpeername getsockopt setsockopt socketpair send "
    "sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg sendfile sendfile64 "
    /* waiting, time */
    "poll ppoll ppoll_time64 select _newselect pselect6 epoll_create1 epoll_ctl epoll_wait epoll_pwait "
    "epoll_pwait2 eventfd2 timerfd_create timerfd_settime timerfd_gettime nanosleep clock_nanosleep clock_gettime "
    "clock_getres gettimeofday time restart_syscall "
    /* memory, but for how it is mapped (see conditions); threads */
    "brk munmap mremap madvise msync mincore mlock munlock membarrier futex futex_time64 set_robust_list "
    "get_robust_list rseq set_tid_address sched_yield sched_getaffinity sched_getparam sched_getscheduler gettid "
    "exit exit_group "
    /* signals, and what a process may know of itself */
    "rt_sigaction rt_sigprocmask rt_sigreturn sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack "
    "getpid getppid getuid geteuid getgid getegid getresuid getresgid getgroups getrandom getrusage getrlimit "
    "ugetrlimit uname sysinfo times getcpu ";

/* Nothing of ours, and no library of ours, asks for these: a fault would only hide who does. */
static const char DEADLY[] =
    "execve execveat fork vfork ptrace process_vm_readv process_vm_writev process_madvise pidfd_open pidfd_getfd "
    "pidfd_send_signal mount umount umount2 mount_setattr move_mount open_tree fsopen fsconfig fsmount fspick "
    "pivot_root chroot unshare setns bpf perf_event_open userfaultfd io_uring_setup init_module finit_module "
    "delete_module kexec_load kexec_file_load reboot swapon swapoff settimeofday clock_settime adjtimex "
    "clock_adjtime open_by_handle_at acct quotactl iopl ioperm modify_ldt personality setuid setgid setreuid "
    "setregid setresuid setresgid setgroups capset mknod mknodat ";

typedef struct maker {
    scmp_filter_ctx filter;
    bool failed;
} maker;

static void rule(maker *m, uint32_t action, const char *name, unsigned n, const struct scmp_arg_cmp *when) {
    int number = seccomp_syscall_resolve_name(name);
    /* The library's list is older than some of these; what it does not know is not allowed. */
    if (number != __NR_SCMP_ERROR && seccomp_rule_add_array(m->filter, action, number, n, when) != 0)
        m->failed = true;
}

static void rules(maker *m, uint32_t action, const char *names) {
    char name[32];
    for (size_t n; *names != 0; names += n + 1) {
        n = strcspn(names, " ");
        (void)snprintf(name, sizeof name, "%.*s", (int)n, names);
        rule(m, action, name, 0, NULL);
    }
}

static void when_equal(maker *m, const char *name, unsigned argument, uint64_t value) {
    const struct scmp_arg_cmp when = {argument, SCMP_CMP_EQ, value, 0};
    rule(m, SCMP_ACT_ALLOW, name, 1, &when);
}

static void when_masked(maker *m, uint32_t action, const char *name, unsigned argument, uint64_t mask, uint64_t value) {
    const struct scmp_arg_cmp when = {argument, SCMP_CMP_MASKED_EQ, mask, value};
    rule(m, action, name, 1, &when);
}

/* What depends on how it is asked. */
static void conditions(maker *m) {
    static const int FAMILIES[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
    static const unsigned long CONTROLS[] = {FIONREAD, FIONBIO, FIOCLEX, TCGETS, TIOCGWINSZ, SIOCGIFCONF};
    const uint64_t self = (uint64_t)getpid(), thread = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD;
    for (size_t i = 0; i < sizeof FAMILIES / sizeof *FAMILIES; i++)
        when_equal(m, "socket", 0, (uint64_t)FAMILIES[i]);
    for (size_t i = 0; i < sizeof CONTROLS / sizeof *CONTROLS; i++)
        when_equal(m, "ioctl", 1, CONTROLS[i]);
    /* Threads of this process, no others. clone3 hides what it asks for in memory: as if it were not there, libc then uses clone. */
    when_masked(m, SCMP_ACT_ALLOW, "clone", 0, thread, thread);
    when_masked(m, SCMP_ACT_KILL_PROCESS, "clone", 0, CLONE_THREAD, 0);
    rule(m, SCMP_ACT_ERRNO(ENOSYS), "clone3", 0, NULL);
    /* Signals to itself: abort and raise. */
    when_equal(m, "kill", 0, self);
    when_equal(m, "tgkill", 0, self);
    when_equal(m, "rt_tgsigqueueinfo", 0, self);
    /* Memory is run or written, and what was written is never run; libraries are mapped as they are in their files. */
    static const char *const MAPS[] = {"mmap", "mmap2"};
    for (size_t i = 0; i < sizeof MAPS / sizeof *MAPS; i++) {
        when_masked(m, SCMP_ACT_ALLOW, MAPS[i], 2, PROT_EXEC, 0);
        when_masked(m, SCMP_ACT_ALLOW, MAPS[i], 2, PROT_WRITE | PROT_EXEC, PROT_EXEC);
    }
    when_masked(m, SCMP_ACT_ALLOW, "mprotect", 2, PROT_EXEC, 0);
    /* Limits may be asked for, not set. */
    when_equal(m, "prlimit64", 2, 0);
}

static bool load(void) {
    maker m = {.filter = seccomp_init(SCMP_ACT_ERRNO(EPERM))};
    if (m.filter == NULL)
        return false;
    rules(&m, SCMP_ACT_ALLOW, ALLOWED);
    rules(&m, SCMP_ACT_KILL_PROCESS, DEADLY);
    conditions(&m);
    /* A number of another processor's table, as 32-bit ones, is an attack too. */
    bool done = !m.failed && seccomp_attr_set(m.filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) == 0;
    /* Threads that there are already too. */
    done = done && seccomp_attr_set(m.filter, SCMP_FLTATR_CTL_TSYNC, 1) == 0;
    /* Best effort: the kernel notes what was refused where it keeps such notes; an old one can't, and lookups by a tree are newer too. */
    (void)seccomp_attr_set(m.filter, SCMP_FLTATR_CTL_LOG, 1);
    (void)seccomp_attr_set(m.filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    done = done && seccomp_load(m.filter) == 0;
    seccomp_release(m.filter);
    return done;
}

err sandbox_enter(sandbox_wish wish) {
#ifdef SANITIZED
    const bool possible = false; /* the sanitizers' own reports need other processes */
#else
    const bool possible = true;
#endif
    if (wish == SANDBOX_OFF || (possible && load()))
        return OK;
    log_line(wish == SANDBOX_ON ? LOG_ERROR : LOG_WARNING, "event=sandbox message=\"%s\"",
             possible ? "the kernel takes no filter of system calls" : "there is none in a build with sanitizers");
    return wish == SANDBOX_ON ? ERR_HOST : OK;
}
