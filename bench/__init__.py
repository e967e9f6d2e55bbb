"""Speed and size of Whodid, measured: ``python -m bench``. README.md here tells what and how."""
