"""The program of a template: a Python that has imported some modules, and forks itself into a server when asked to.

Run by its path in the server's own interpreter, environment and folder, so it imports nothing of ours.

Its arguments are the descriptor of a socket, the names of the modules with commas between, the path of the folder, and
the server's own as Python would get them. It writes lines of JSON to the socket: `{}` once it is ready, `{"pid": 17}`
for a server that it has forked, `{"pid": -1}` for one that it could not, `{"pid": 17, "code": 0}` when any child of its
has ended. A byte from the socket, with the server's stdin, stdout and stderr, asks for the next. At the socket's end it
ends, too.
"""

import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType


def main() -> None:
    """Be a template, then, in each fork, a server."""
    link, modules, cwd = socket.socket(fileno=int(sys.argv[1])), sys.argv[2], sys.argv[3]
    sys.argv = sys.argv[4:]
    del sys.orig_argv[-len(sys.argv) - 4 : -len(sys.argv)]
    if sys.argv[0] != "-m" and (pkgutil.get_importer(sys.argv[0]) or sys.argv[0].endswith(".pyc")):
        return  # a folder, an archive, or compiled: Python runs each in a way of its own
    look_beside()
    for module in modules.split(","):
        with suppress(ImportError):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # so that no fork has to copy what it never looks at again
    threads = list(Path("/proc/self/task").iterdir())
    if len(threads) == 1 and forked(link, cwd):  # a fork would have none of the others
        serve()


def look_beside() -> None:
    """Import from where the program is, or, if it is a module, from the folder."""
    if not getattr(sys.flags, "safe_path", False):  # else the first entry is no folder of the program
        sys.path[0] = str(Path.cwd() if sys.argv[0] == "-m" else Path(sys.argv[0]).resolve().parent)


def forked(link: socket.socket, cwd: str) -> bool:
    """Fork a server whenever `link` asks for one; whether this process is one, at last."""
    woken, waker = socket.socketpair()
    for each in (woken, waker):
        each.setblocking(False)  # noqa: FBT003 - the standard library's signature
    signal.signal(signal.SIGCHLD, lambda *_: None)  # ends the wait below
    signal.set_wakeup_fd(waker.fileno())
    tell(link)
    while True:
        asking, _, _ = select.select([link, woken], [], [])
        if woken in asking:
            woken.recv(4096)
            reap(link)
        if link in asking:
            asked, files, _, _ = socket.recv_fds(link, 1, 3)
            if not asked:
                return False
            server = fork(cwd, files)
            if not server:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (link, woken, waker):
                    each.close()
                return True
            tell(link, pid=server)


def fork(cwd: str, files: "list[int]") -> int:
    """Fork a server that speaks through `files`; its id, 0 in itself, -1 where there can be none."""
    begun, begins = os.pipe()
    try:
        os.chdir(cwd)  # since this process entered it, it may have been made anew, or a link to it turned elsewhere
        if sys.argv[0] != "-m":
            Path(sys.argv[0]).stat()  # or have lost the script
        server = os.fork()
    except OSError:  # whoever asked will start a program, and tell what that says
        server = -1
    if not server:
        become(files)
    for file in (begins, *files):
        os.close(file)
    if server > 0:
        os.read(begun, 1)  # ends once nobody can write: the server leads its group, so it can be ended by that
    os.close(begun)
    return server


def tell(link: socket.socket, **what: int) -> None:
    """Write a line."""
    link.sendall(json.dumps(what).encode() + b"\n")


def reap(link: socket.socket) -> None:
    """Tell of all servers that have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        tell(link, pid=pid, code=os.waitstatus_to_exitcode(status))


def become(files: "list[int]") -> None:
    """Lead a group of its own, and speak through `files`."""
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)


def serve() -> None:
    """Run the server's program as Python would."""
    look_beside()
    importlib.invalidate_caches()  # a folder may be there by now
    sys.excepthook = without_ours
    program = sys.modules["__main__"] = ModuleType("__main__")
    for name in ("__annotations__", "__builtins__", "__cached__"):  # which of these there are, Python's version decides
        if name in globals():
            vars(program)[name] = globals()[name]
    if sys.argv[0] == "-m":  # which it stays until the module is found
        # What `-m` itself does; the public `run_module` takes the module and its arguments away before its last word.
        runpy._run_module_as_main(sys.argv.pop(1))  # type: ignore[attr-defined]  # noqa: SLF001
    else:
        run_script(str(Path(sys.argv[0]).absolute()), program)


def run_script(path: str, program: ModuleType) -> None:
    """Run a script; `runpy` would not tell it its whole path, and take its module away before its last word."""
    program.__file__ = path
    program.__loader__ = SourceFileLoader("__main__", path)
    exec(compile(Path(path).read_bytes(), path, "exec", dont_inherit=True), vars(program))  # noqa: S102 - Python's own way


def without_ours(kind, error, trace):  # type: ignore[no-untyped-def]
    """Show an exception from the program's first frame on."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)  # it shows the error's own


if __name__ == "__main__":
    main()
