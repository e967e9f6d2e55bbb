"""Files of stores: how they are named, and what they weigh."""

from pathlib import Path


def store_url(file: Path) -> str:
    """How a store in a file is named."""
    return f"sqlite:///{file.absolute()}"


def on_disk_bytes(file: Path) -> int:
    """What a store takes on disk: the file, and what lies beside it (write-ahead log, lock)."""
    return sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*"))
