"""Importing: files of records, as an export or the compatible platform's API gives them, into an account's log.

``files`` reads bytes, ``splitting`` finds the records in them, ``loading`` appends those to the log. All of it in flat
memory, however long a file is.
"""

from whodid.importing.files import RecordFile
from whodid.importing.loading import Loader, Retries, Tally

__all__ = ["Loader", "RecordFile", "Retries", "Tally"]
