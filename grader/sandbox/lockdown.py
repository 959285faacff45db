"""Shut a Linux process in: no network, no new processes, no files but those named, bounded memory and time.

Landlock for files, a seccomp filter for system calls, resource limits for the rest. No privileges are needed, and
nothing can be undone from inside. Where there is no Landlock, root can step down to a user who may read as little. Uses
ctypes only, because a hand-in's process must not depend on packages.
"""

import ctypes
import errno
import os
import platform
import resource
import shutil
import signal
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
READ = 0b1101  # execute, read a file, read a folder
ALL_V1 = (1 << 13) - 1  # every right of Landlock's first version
MEMORY, FILE_BYTES, FILES = 2 * 2**30, 64 * 2**20, 64

# System calls by machine: number of each name.
CALLS = {
    "x86_64": (0xC000003E, {
        "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "clone3": 435,
        "kill": 62, "tkill": 200, "tgkill": 234, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297,
        "socket": 41, "connect": 42, "socketpair": 53, "bind": 49, "ptrace": 101, "process_vm_readv": 310,
        "process_vm_writev": 311, "pidfd_open": 434, "pidfd_send_signal": 424, "pidfd_getfd": 438,
        "io_uring_setup": 425, "setsid": 112, "setpgid": 109, "unshare": 272, "mount": 165, "bpf": 321,
        "perf_event_open": 298, "keyctl": 250, "prlimit64": 302, "setpriority": 141, "shmget": 29, "msgget": 68,
    }),
    "aarch64": (0xC00000B7, {
        "clone": 220, "execve": 221, "execveat": 281, "clone3": 435, "kill": 129, "tkill": 130, "tgkill": 131,
        "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "socket": 198, "connect": 203, "socketpair": 199,
        "bind": 200, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "pidfd_open": 434,
        "pidfd_send_signal": 424, "pidfd_getfd": 438, "io_uring_setup": 425, "setsid": 157, "setpgid": 154,
        "unshare": 97, "mount": 40, "bpf": 280, "perf_event_open": 241, "keyctl": 219, "prlimit64": 261,
        "setpriority": 140, "shmget": 194, "msgget": 186,
    }),
}  # fmt: skip
# Allowed towards oneself, as abort() needs them, but not with SIGKILL: who dies of that was killed by the machine. The
# number says where among the arguments the signal stands.
OWN_PID = {"kill": 24, "tgkill": 32, "rt_sigqueueinfo": 24, "rt_tgsigqueueinfo": 32}
CLONE_THREAD = 0x10000


def missing() -> str:
    """Why this machine cannot shut a process in; empty where it can."""
    if sys.platform != "linux":
        return f"this is {sys.platform}, and only Linux has Landlock and seccomp"
    if platform.machine() not in CALLS:
        return f"no list of system calls for {platform.machine()}"
    if LIBC.syscall(LANDLOCK_CREATE, None, 0, 1) < 1:
        return "this kernel has no Landlock (Linux 5.13 or newer, switched on)"
    return ""


def shut_in(readable: Iterable[Path], writable: Path, seconds: int) -> None:
    """Never again read anything but ``readable``, write anything but ``writable``, or talk to anybody."""
    limit(seconds)
    if LIBC.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    _landlock(readable, writable)
    _seccomp()


def step_down(user: int, group: int, seconds: int) -> None:
    """For root where there is no Landlock: become ``user``, who owns nothing, with the limits and the filter.

    What is kept from that user is kept by the modes of files.
    """
    limit(seconds)
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
    if LIBC.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if platform.machine() in CALLS:
        with suppress(OSError):  # not every container has it
            _seccomp()


def sweep(user: int) -> None:
    """End what runs as ``user``, and delete what it left where everybody may write."""
    child = os.fork()
    if child == 0:
        try:
            os.setuid(user)
            os.kill(-1, signal.SIGKILL)  # of everything that this user may signal, and so of itself
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    for top in ("/tmp", "/var/tmp", "/dev/shm"):
        for entry in os.scandir(top) if os.path.isdir(top) else ():
            if entry.stat(follow_symlinks=False).st_uid == user:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)


def limit(seconds: int) -> None:
    """Never again use more processor time, memory, file size or files than a hand-in may."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, used + MEMORY), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, FILES), (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        resource.setrlimit(what, (most, most))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a full file is an OSError, not a death


def _landlock(readable: Iterable[Path], writable: Path) -> None:
    ruleset = LIBC.syscall(LANDLOCK_CREATE, ctypes.byref(ctypes.c_uint64(ALL_V1)), 8, 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    for path, rights in [*((path, READ) for path in readable), (writable, ALL_V1)]:
        try:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EACCES):
                continue
            raise
        is_folder = os.path.isdir(path)
        rule = struct.pack("=Qi", rights if is_folder else rights & ~(1 << 3) & 0b111, handle)
        if LIBC.syscall(LANDLOCK_ADD, ruleset, 1, rule, 0):
            raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
        os.close(handle)
    if LIBC.syscall(LANDLOCK_RESTRICT, ruleset, 0):
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(ruleset)


def _seccomp() -> None:
    """A filter in classic BPF: load the call's number, jump on the forbidden ones."""
    architecture, calls = CALLS[platform.machine()]
    load, equal, bits, give = 0x20, 0x15, 0x45, 0x06
    allow, refuse, unknown, kill = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS, 0x80000000
    program = [(load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, kill), (load, 0, 0, 0)]
    if platform.machine() == "x86_64":
        program += [(bits, 0, 1, 0x40000000), (give, 0, 0, kill)]  # the x32 interface has numbers of its own
    for name, number in calls.items():
        if name == "clone":  # threads may start, processes may not
            inside = [(load, 0, 0, 16), (bits, 1, 0, CLONE_THREAD), (give, 0, 0, refuse), (give, 0, 0, allow)]
        elif name in OWN_PID:
            inside = [(load, 0, 0, 16), (equal, 0, 2, os.getpid()), (load, 0, 0, OWN_PID[name])]
            inside += [(equal, 0, 1, signal.SIGKILL), (give, 0, 0, refuse), (give, 0, 0, allow)]
        else:
            inside = [(give, 0, 0, unknown if name == "clone3" else refuse)]
        program += [(equal, 0, len(inside), number), *inside]
    program.append((give, 0, 0, allow))
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    if LIBC.prctl(SET_SECCOMP, FILTER, head, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")
