"""A machine with several nodes: QEMU without hardware help, Debian's cloud kernel, and of ours what the commands need.

The guest runs the commands it is given one after the other and tells on its serial line how each began, what it wrote and how
it ended. Nothing of it outlives the call.
"""

import os
import re
import shlex
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
KERNEL = ROOT / "build/guest/vmlinuz"  # scripts/setup.sh test brings it


@dataclass
class Machine:
    """One processor a node; 0 MiB: a node without memory."""

    memory: list = field(default_factory=lambda: [256] * 4)

    def options(self):
        nodes = range(len(self.memory))
        yield from ("-smp", f"{len(nodes)},sockets={len(nodes)}", "-m", f"{sum(self.memory)}M")
        for node, size in enumerate(self.memory):
            if size:
                yield from ("-object", f"memory-backend-ram,id=m{node},size={size}M")
            yield from ("-numa", f"node,nodeid={node},cpus={node}" + (f",memdev=m{node}" if size else ""))
        for a in nodes:  # in a row: the farther apart, the slower
            for b in nodes:
                yield from ("-numa", f"dist,src={a},dst={b},val={10 + 10 * abs(a - b)}")


@dataclass
class Command:
    name: str
    words: list
    variables: dict = field(default_factory=dict)
    seconds: int = 60


@dataclass
class Ending:
    status: int
    output: str


class GuestFailed(Exception):
    """The guest did not boot, hung, or lost a command; the message has its log."""


def libraries(program):
    """What the dynamic linker would load for a program or library, itself included."""
    listing = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", listing)}


def copy_into(root, path):
    target = root / str(path).lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.write_bytes(Path(path).read_bytes())
        target.chmod(0o755)


INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /groups
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
ip link set lo up
echo
. /commands
echo @finished
poweroff -f
"""


def script_of(commands):
    for command in commands:
        assignments = shlex.join(["env", *(f"{name}={value}" for name, value in command.variables.items())])
        yield f"echo '@begin {command.name}'"
        yield f"timeout -s KILL {command.seconds} {assignments} {shlex.join(map(str, command.words))} 2>&1"
        yield f"echo \"@end {command.name} $?\""


def run(machine, files, commands, seconds):
    """{name of the command: Ending}. files: programs and libraries that must be there, with what they load."""
    if not KERNEL.exists():
        raise GuestFailed(f"no kernel at {KERNEL}: scripts/setup.sh test brings it")
    with tempfile.TemporaryDirectory(prefix="nebula-guest-") as scratch:
        root = Path(scratch) / "root"
        for path in files:
            copy_into(root, path)
            for library in libraries(path):
                copy_into(root, library)
        (root / "bin").mkdir(exist_ok=True)
        copy_into(root, "/bin/busybox")
        (root / "init").write_text(INIT)
        (root / "init").chmod(0o755)
        (root / "commands").write_text("\n".join(script_of(commands)) + "\n")
        names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*"))) + "\n"
        archive = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], input=names.encode(), cwd=root, check=True,
                                 capture_output=True).stdout
        image = Path(scratch) / "initramfs"
        image.write_bytes(archive)
        emulator = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-M", "q35", "-cpu", "max", "-nodefaults", "-nographic",
                    "-no-reboot", "-serial", "stdio", *machine.options(), "-kernel", str(KERNEL), "-initrd", str(image),
                    "-append", "console=ttyS0 quiet panic=-1"]
        try:
            done = subprocess.run(emulator, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=seconds)
            log = done.stdout.decode(errors="replace")
            problem = None if "@finished" in log else f"the guest ended early, status {done.returncode}"
        except subprocess.TimeoutExpired as late:
            log = (late.stdout or b"").decode(errors="replace")
            problem = f"the guest took longer than {seconds} s"
    log = log.replace("\r", "")
    if "GUEST_LOG" in os.environ:
        Path(os.environ["GUEST_LOG"]).write_text(log)
    endings = {found[1]: Ending(int(found[3]), found[2])
               for found in re.finditer(r"@begin (\S+)\n(.*?)@end \1 (\d+)$", log, re.MULTILINE | re.DOTALL)}
    missing = [command.name for command in commands if command.name not in endings]
    if problem or missing:
        raise GuestFailed(f"{problem or 'commands that did not end: ' + ' '.join(missing)}; its log:\n{log}")
    return endings
