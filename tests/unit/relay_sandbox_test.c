/* The filter of system calls: what a relay does goes on, what only somebody who has taken it over would do ends it. Each look is a process
 * of its own, for there is no way out of the filter. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../server/sandbox.h"
#include "support/check.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

enum { GOOD = 0, BAD = 1, NO_FILTER = 2 };

/* What became of `act` behind the filter: its exit status, or minus the signal that ended it. */
static int behind(bool (*act)(void)) {
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(20);
        _exit(sandbox_enter(SANDBOX_ON) != OK ? NO_FILTER : act() ? GOOD : BAD);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void needs_a_filter(void) {
#ifdef SANITIZED
    skip();
#endif
}

/* ---- what a relay does */

static void *noted(void *to) {
    *(bool *)to = true;
    return NULL;
}
static bool threads(void) {
    pthread_t t;
    bool ran = false;
    return pthread_create(&t, NULL, noted, &ran) == 0 && pthread_join(t, NULL) == 0 && ran;
}

static bool files(void) {
    char name[] = "/tmp/sotto-sandbox-XXXXXX", read_back[4] = "";
    int fd = mkstemp(name);
    bool good = fd >= 0 && pwrite(fd, "abc", 4, 0) == 4 && fsync(fd) == 0 && fdatasync(fd) == 0 &&
                ftruncate(fd, 8192) == 0 && pread(fd, read_back, 4, 0) == 4;
    struct flock whole = {.l_type = F_WRLCK};
    good = good && fcntl(fd, F_SETLK, &whole) == 0;
    void *p = good ? mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    return unlink(name) == 0 && p != MAP_FAILED && munmap(p, 8192) == 0 && close(fd) == 0;
}

static bool resolver(void) {
    struct addrinfo *found = NULL, hints = {.ai_socktype = SOCK_STREAM};
    bool good = getaddrinfo("localhost", "80", &hints, &found) == 0 && found != NULL;
    if (good)
        freeaddrinfo(found);
    return good;
}

static bool connections(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof to;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), out = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    char got = 0;
    bool good = setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
                bind(listener, (struct sockaddr *)&to, n) == 0 && listen(listener, 1) == 0 &&
                getsockname(listener, (struct sockaddr *)&to, &n) == 0 &&
                connect(out, (struct sockaddr *)&to, n) == 0 && send(out, "x", 1, MSG_NOSIGNAL) == 1;
    int in = good ? accept(listener, NULL, NULL) : -1;
    return in >= 0 && recv(in, &got, 1, 0) == 1 && got == 'x';
}

static void what_a_relay_does_goes_on(void **state) {
    needs_a_filter();
    assert_int_equal(behind(threads), GOOD);
    assert_int_equal(behind(files), GOOD);
    assert_int_equal(behind(resolver), GOOD);
    assert_int_equal(behind(connections), GOOD);
}

/* ---- what is refused */

static bool refused(long result) { return result == -1 && errno == EPERM; }
static bool others_signalled(void) { return refused(kill(getppid(), 0)); }
static bool raw_socket(void) { return refused(socket(AF_PACKET, SOCK_RAW, 0)); }
static bool written_and_run(void) {
    void *both = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *one = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return both == MAP_FAILED && errno == EPERM && one != MAP_FAILED &&
           refused(mprotect(one, 4096, PROT_READ | PROT_EXEC));
}
static bool keyring(void) { return refused(syscall(SYS_keyctl, 0, -3, 0)); }
static bool limits(void) {
    struct rlimit l = {0, 0};
    return getrlimit(RLIMIT_NOFILE, &l) == 0 && refused(setrlimit(RLIMIT_NOFILE, &l));
}
static bool typed_into_a_terminal(void) { return refused(syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x")); }

static void what_it_has_no_use_for_is_refused(void **state) {
    needs_a_filter();
    assert_int_equal(behind(others_signalled), GOOD);
    assert_int_equal(behind(raw_socket), GOOD);
    assert_int_equal(behind(written_and_run), GOOD);
    assert_int_equal(behind(keyring), GOOD);
    assert_int_equal(behind(limits), GOOD);
    assert_int_equal(behind(typed_into_a_terminal), GOOD);
}

/* ---- what ends it */

static bool another_program(void) {
    char *const none[] = {NULL};
    return execve("/bin/true", none, none) == 0;
}
static bool another_process(void) { return fork() >= 0; }
static bool another_process_the_new_way(void) {
    /* struct clone_args: exit_signal is the fifth; refused as if the kernel had no such call */
    uint64_t arguments[11] = {[4] = SIGCHLD};
    return syscall(SYS_clone3, arguments, sizeof arguments) == -1 && errno == ENOSYS;
}
static bool traced(void) { return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0; }
static bool read_elsewhere(void) { return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0) == 0; }
static bool mounted(void) { return mount("none", "/tmp", "tmpfs", 0, NULL) == 0; }
static bool namespaced(void) { return syscall(SYS_unshare, 0x10000000 /* CLONE_NEWUSER */) == 0; }
static bool loaded_into_the_kernel(void) { return syscall(SYS_bpf, 0, NULL, 0) == 0; }
static bool another_user(void) { return setuid(getuid()) == 0; }

static void what_only_an_intruder_does_ends_it(void **state) {
    needs_a_filter();
    assert_int_equal(behind(another_program), -SIGSYS);
    assert_int_equal(behind(another_process), -SIGSYS);
    assert_int_equal(behind(another_process_the_new_way), GOOD);
    assert_int_equal(behind(traced), -SIGSYS);
    assert_int_equal(behind(read_elsewhere), -SIGSYS);
    assert_int_equal(behind(mounted), -SIGSYS);
    assert_int_equal(behind(namespaced), -SIGSYS);
    assert_int_equal(behind(loaded_into_the_kernel), -SIGSYS);
    assert_int_equal(behind(another_user), -SIGSYS);
}

/* Without one all of this is as the system has it. */
static bool entered_off(void) { return sandbox_enter(SANDBOX_OFF) == OK && another_process(); }
static void off_is_off(void **state) {
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(entered_off() ? GOOD : BAD);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == GOOD);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_relay_does_goes_on),
        cmocka_unit_test(what_it_has_no_use_for_is_refused),
        cmocka_unit_test(what_only_an_intruder_does_ends_it),
        cmocka_unit_test(off_is_off),
    };
    return cmocka_run_group_tests_name("relay_sandbox", tests, NULL, NULL);
}
