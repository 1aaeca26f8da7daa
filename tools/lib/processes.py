# SPDX-License-Identifier: Apache-2.0
"""Ending a process with all that it started, whatever group or session that is in: a test's shell may
wait for a tool that waits for an emulator."""
import ctypes
import os
import re
import signal
import time

GRACE_S = 5


def start_of(pid):
    """(parent, when it started), or None where there is no such process (a zombie is none)."""
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as f:
            words = f.read().rpartition(')')[2].split()
    except OSError:
        return None
    return None if words[0] == 'Z' else (int(words[1]), words[19])


def tree(pid):
    """{pid: when it started} of the process and its descendants."""
    all_of = {int(p): start_of(p) for p in os.listdir('/proc') if re.fullmatch('[0-9]+', p)}
    found, new = {}, [pid]
    while new:
        found.update({p: all_of[p][1] for p in new if all_of.get(p)})
        new = [p for p, s in all_of.items() if s and s[0] in new and p not in found]
    return found


def send(sig, pids):
    """To those of them that are still the same processes; whether there were any."""
    some = False
    for pid, start in pids.items():
        now = start_of(pid)
        if now and now[1] == start:
            some = True
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass
    return some


def adopt_orphans():
    """From now on what a descendant leaves running is a child of this process: prctl(2), PR_SET_CHILD_SUBREAPER."""
    ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)


def end_children():
    """With all that they started."""
    end_these({p: s for p, s in tree(os.getpid()).items() if p != os.getpid()}, os.getpid())


def end_tree(pid):
    """SIGTERM to all, so that they clean up, and SIGKILL to what is left after GRACE_S."""
    end_these(tree(pid), pid)


def end_these(pids, root):
    send(signal.SIGTERM, pids)
    end = time.monotonic() + GRACE_S
    while time.monotonic() < end and send(0, pids):
        time.sleep(0.05)
    pids.update({p: s for p, s in tree(root).items() if p != os.getpid()})
    send(signal.SIGKILL, pids)
