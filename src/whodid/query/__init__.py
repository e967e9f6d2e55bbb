"""Queries: from what a caller writes to what a store is asked for."""
