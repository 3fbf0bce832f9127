"""The allocators that are compared: where their libraries are, and the environment a program runs in under each."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
PEERS = {  # name: (Debian's package, library)
    # Preloaded too: a program that is linked with another allocator, as Debian's redis is with jemalloc, uses it
    # unless libc comes first.
    "glibc": ("libc6", LIBRARIES / "libc.so.6"),
    "jemalloc": ("libjemalloc2", LIBRARIES / "libjemalloc.so.2"),
    "mimalloc": ("libmimalloc2.0", LIBRARIES / "libmimalloc.so.2"),
    "tcmalloc": ("libtcmalloc-minimal4", LIBRARIES / "libtcmalloc_minimal.so.4"),
    # The proxy replaces malloc and pulls in libtbbmalloc.so.2, which does the work.
    "tbbmalloc": ("libtbbmalloc2", LIBRARIES / "libtbbmalloc_proxy.so.2"),
}
NEBULA_VARIABLES = {"NEBULA_STATS": "1", "NEBULA_STATS_FILE": "/dev/null", "NEBULA_BUDGET": "16G"}
FORMS = f"nebula, {', '.join(PEERS)}, or name=path/of/library.so"


class UnknownAllocator(Exception):
    """An allocator was asked for that is not there; the text says which and what would be accepted."""


@dataclass(frozen=True)
class Allocator:
    name: str
    library: Path | None
    version: str
    variables: dict = field(default_factory=dict)

    def environment(self, scratch):
        """What a program runs in: nothing of the caller's, so that two people measure the same."""
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(scratch), "TMPDIR": str(scratch),
                       **self.variables}
        if self.library is not None:
            environment["LD_PRELOAD"] = str(self.library)
        return environment


def package_version(package):
    query = subprocess.run(["dpkg-query", "--showformat=${Version}", "--show", package], capture_output=True, text=True)
    return query.stdout or "not installed"


def preloadable(name, library):
    library = Path(os.path.abspath(library))
    if not library.is_file():
        raise UnknownAllocator(f"allocator {name}: there is no library at {library}")
    # The loader splits LD_PRELOAD at these and knows no way to quote them.
    if any(character in " \t:" for character in str(library)):
        raise UnknownAllocator(f"allocator {name}: {library} cannot be preloaded from a path with a space or a colon")
    return as_after_boot(library)


def as_after_boot(library):
    """Drops what the kernel has cached of a library. What a linker has just written it caches in single pages, what cp or dpkg has
    written in large pieces, and each start of a program maps the ones some 40 µs slower than the others. Read from the disk again,
    as after a boot, all are alike."""
    with library.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return library


def choose(text, nebula_library):
    """The allocators of a comma-separated list, in its order. Every library given by path runs with Nebula's variables
    set: they are for comparing builds of Nebula, and no other library reads them."""
    chosen = {}
    for item in text.split(","):
        name, has_path, path = item.partition("=")
        if has_path and name and path:
            allocator = Allocator(name, preloadable(name, path), path, NEBULA_VARIABLES)
        elif item == "nebula":
            allocator = Allocator(name, preloadable(name, nebula_library), "this tree", NEBULA_VARIABLES)
        elif item in PEERS:
            package, library = PEERS[item]
            allocator = Allocator(name, preloadable(name, library), f"{package} {package_version(package)}")
        else:
            raise UnknownAllocator(f"unknown allocator '{item}'; known: {FORMS}")
        if name in chosen:
            raise UnknownAllocator(f"allocator '{name}' is named twice")
        chosen[name] = allocator
    return chosen
