"""The least that reading a bundle takes: unpack it, and one SHA-256 a line. ``python -m bench.unpacking FILE``.

Nothing is imported that this does not need: the process is timed as a whole, as the one beside it is.
"""

import gzip
import hashlib
import sys


def main() -> int:
    """Unpack the file that the first argument names; its number of lines must be the second."""
    sha256 = hashlib.sha256
    lines = 0
    with gzip.open(sys.argv[1]) as bundle:
        for line in bundle:
            sha256(line).digest()
            lines += 1
    return 0 if lines == int(sys.argv[2]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
