"""The program of a template: a Python that has imported some modules, and forks itself into a server when asked to.

Run by its path in the server's own interpreter, environment and folder, so it imports nothing of ours.

Its arguments are the descriptor of a socket, the names of the modules with commas between, and the server's own as
Python would get them. It writes lines of JSON to the socket: `{}` once it is ready, `{"pid": 17}` for a server that it
has forked, `{"pid": 17, "code": 0}` when that one has ended. A byte from the socket, with the server's stdin, stdout
and stderr, asks for the next. At the socket's end it ends, too.
"""

import builtins
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
    link, modules = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    sys.argv = sys.argv[3:]
    del sys.orig_argv[-len(sys.argv) - 3 : -len(sys.argv)]
    if sys.argv[0] != "-m" and (pkgutil.get_importer(sys.argv[0]) or sys.argv[0].endswith(".pyc")):
        return  # a folder, an archive, or compiled: Python runs each in a way of its own
    if not getattr(sys.flags, "safe_path", False):  # else its first entry is no folder of the program
        sys.path[0] = str(Path.cwd() if sys.argv[0] == "-m" else Path(sys.argv[0]).resolve().parent)
    for module in modules.split(","):
        with suppress(ImportError):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # so that no fork has to copy what it never looks at again
    threads = list(Path("/proc/self/task").iterdir())
    if len(threads) == 1 and forked(link):  # a fork would have none of the others
        serve()


def forked(link: socket.socket) -> bool:
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
            begun, begins = os.pipe()
            server = os.fork()
            if not server:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (link, woken, waker):
                    each.close()
                become(files)
                for pipe in (begun, begins):
                    os.close(pipe)
                return True
            for file in (begins, *files):
                os.close(file)
            os.read(begun, 1)  # ends once nobody can write: the server leads its group, so it can be ended by that
            os.close(begun)
            tell(link, pid=server)


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
        os.close(file)


def serve() -> None:
    """Run the server's program as Python would."""
    sys.excepthook = without_ours
    if sys.argv[0] == "-m":  # which it stays until the module is found
        runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
    else:
        run_script(str(Path(sys.argv[0]).absolute()))


def run_script(path: str) -> None:
    """Run a script; `runpy` would not tell it its whole path, and take its module away before its last word."""
    program = sys.modules["__main__"] = ModuleType("__main__")
    program.__file__ = path
    program.__loader__ = SourceFileLoader("__main__", path)
    vars(program)["__builtins__"] = builtins
    exec(compile(Path(path).read_bytes(), path, "exec", dont_inherit=True), vars(program))  # noqa: S102 - Python's own way


def without_ours(kind, error, trace):  # type: ignore[no-untyped-def]
    """Show an exception from the program's first frame on."""
    while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)  # it shows the error's own


if __name__ == "__main__":
    main()
