"""Whodid: an audit-log server. It records who did what, keeps it provably, and serves it."""

__version__ = "0.1.0"
