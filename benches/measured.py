"""Commands and peers of the benchmarks, their output, wall time and peak memory, and lines of results."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEERS = Path(__file__).parent / "peers"


class Notes:
    """Lines of JSON that are printed, and added to a file if one is given."""

    def __init__(self, out):
        self.out = out.open("a", encoding="utf-8") if out else None

    def __call__(self, **line):
        text = json.dumps(line)
        print(text, flush=True)
        if self.out:
            print(text, file=self.out, flush=True)


def ours(*command, codes=(0,)):
    """Standard output, wall seconds and peak memory (MB) of a command, which must end with one of these codes."""
    command = list(map(str, command))
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begun = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=errors)
        # The resources of this process alone: those of all children have the largest of them.
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode not in codes:
            sys.exit(f"{' '.join(command)}\n{errors.read().decode(errors='replace')}")
        return output.read().decode(), seconds, round(used.ru_maxrss / 1024, 1)


def peer(script, *more):
    """The line of JSON that a peer prints, which must succeed."""
    command = [sys.executable, str(PEERS / script), *map(str, more)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])
