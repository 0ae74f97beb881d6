"""Runs a command and prints one line of JSON: its name, wall seconds, CPU seconds, peak memory of its largest process, exit status.

    python benches/peers/timed.py NAME COMMAND...        what the command prints goes to standard error
"""

import json
import resource
import subprocess
import sys
import time

begun = time.monotonic()
status = subprocess.run(sys.argv[2:], stdout=sys.stderr).returncode
seconds = time.monotonic() - begun
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(
    json.dumps(
        {
            "run": sys.argv[1],
            "seconds": round(seconds, 3),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 3),
            "peak_rss_mb": round(used.ru_maxrss / 1024, 1),
            "status": status,
        }
    ),
    flush=True,
)
sys.exit(status)
