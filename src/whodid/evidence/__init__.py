"""Evidence: what others need to check, without trusting us, that a log is complete and unchanged."""
