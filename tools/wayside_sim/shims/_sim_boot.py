"""What a board's built-in start does: mount the flash, run boot.py, then main.py, then wait as the REPL would."""

import gc
import sys
import vfs


import _sim

import machine
import select
import time

import _sim_micropython
import _sim_sys
import _sim_tasks
from _sim_flash import Flash

sys.modules["_asyncio"] = _sim_tasks
sys.modules["micropython"] = _sim_micropython
sys.modules["sys"] = _sim_sys


def _start():
    _sim.hello()
    flash = Flash()
    prog = int(_sim.config[11])
    # mtime would come from the host's clock, and no two runs would be the same.
    try:
        fs = vfs.VfsLfs2(flash, progsize=prog, readsize=prog, lookahead=32, mtime=False)
    except OSError:
        vfs.VfsLfs2.mkfs(flash, progsize=prog, readsize=prog, lookahead=32)
        fs = vfs.VfsLfs2(flash, progsize=prog, readsize=prog, lookahead=32, mtime=False)
    vfs.umount("/")
    vfs.mount(fs, "/")
    if _sim.rom is not None:
        vfs.umount("/rom")
    sys.path[:] = ["", ".frozen", "/lib"]
    gc.collect()
    _sim.shim_bytes = gc.mem_alloc() - _sim.bare


def _run(name):
    try:
        open(name).close()
    except OSError:
        return
    try:
        execfile(name)
    except SystemExit:
        machine.soft_reset()
    except BaseException as e:
        sys.print_exception(e)


def _repl():
    print("MicroPython on a simulated board\n>>> ", end="")
    while True:
        _sim.wait(-1, 0)


_start()
_run("boot.py")
_run("main.py")
_repl()
