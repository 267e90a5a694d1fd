"""Batches: files of requests that are answered while nobody else waits.

Everything lies in one folder, so that any worker can go on with what another one began, after whatever end: uploads and
results (`files`), what is known of each batch (`store`), and its results line by line as they come (`results`). A run
(`run`) reads the requests (`lines`) and has each answered by whoever it is given for that. Nothing here knows HTTP.
"""

from minivault.batches.files import Files, Upload
from minivault.batches.folder import Folder, StorageUnavailable
from minivault.batches.lines import Line
from minivault.batches.run import Reply, Run
from minivault.batches.store import Batches, Kept

__all__ = ["Batches", "Files", "Folder", "Kept", "Line", "Reply", "Run", "StorageUnavailable", "Upload"]
