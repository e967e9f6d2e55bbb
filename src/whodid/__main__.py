"""``python -m whodid`` is ``whodid``."""

from whodid.cli import main

main()
