"""Evidence bundles and single proofs as bytes: what docs/FORMAT.md says, written and read.

They are read by people who trust nobody, from whoever hands them over. So reading takes no more than a few MiB of
memory, whatever a file says, and raises nothing but ``InvalidEvidence``. Whether it is true what a file says is not
asked here: that is ``verify``.
"""

from whodid.bundle.lines import (
    CHECK_BYTES,
    MOST_LINE_BYTES,
    BundleEntry,
    BundleHeader,
    BundleTail,
    InvalidEntry,
    PreviousProof,
    SingleProof,
    parse_header,
    parse_proof,
    parse_salt,
    render_proof,
)
from whodid.bundle.reading import BundleReader
from whodid.bundle.writing import BundleWriter, SealedEntry

__all__ = [
    "CHECK_BYTES",
    "MOST_LINE_BYTES",
    "BundleEntry",
    "BundleHeader",
    "BundleReader",
    "BundleTail",
    "BundleWriter",
    "InvalidEntry",
    "PreviousProof",
    "SealedEntry",
    "SingleProof",
    "parse_header",
    "parse_proof",
    "parse_salt",
    "render_proof",
]
