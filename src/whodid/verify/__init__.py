"""Verification: whether what a log shows is what it signed. For auditors, who trust nobody but the keys that they have.

Needs no store and no server of ours: only a file, or a log's public files over HTTP. Each kind of evidence has its
numbered steps, which are checked in order; after one that fails, the rest is not.
"""

from whodid.verify.bundle import Needed, verify_bundle
from whodid.verify.live import Connection
from whodid.verify.log import verify_log
from whodid.verify.proof import is_proof, is_proof_file, verify_proof, verify_proof_file
from whodid.verify.steps import Claim, Outcome, Report, Step, Verdict
from whodid.verify.trust import Trust

__all__ = [
    "Claim",
    "Connection",
    "Needed",
    "Outcome",
    "Report",
    "Step",
    "Trust",
    "Verdict",
    "is_proof",
    "is_proof_file",
    "verify_bundle",
    "verify_log",
    "verify_proof",
    "verify_proof_file",
]
