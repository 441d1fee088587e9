"""Create, change and remove jobs. YAML, REST and the admin all come through here, as a JobSpec."""

from jobs.services.definitions.applying import cancel, look, outcome, request
from jobs.services.definitions.previewing import Preview, Skipped, Warned, preview, preview_of
from jobs.services.definitions.saving import Applied, Result, apply, remove, save
from jobs.services.definitions.writing import manifest
from jobs.store.applies import Apply

__all__ = [
    "Applied",
    "Apply",
    "Preview",
    "Result",
    "Skipped",
    "Warned",
    "apply",
    "cancel",
    "look",
    "manifest",
    "outcome",
    "preview",
    "preview_of",
    "remove",
    "request",
    "save",
]
