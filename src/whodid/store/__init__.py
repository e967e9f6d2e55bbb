"""Stores: where accounts, their logs, users and tokens are kept. ``base`` has the promises, the others keep them."""
