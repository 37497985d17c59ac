"""Leadglass: an encryption-first PACS and vendor-neutral archive.

The house has floors, and imports go down only: ``app > doors > archive > store > (wire | dicom | trust) > base``.
Read ``docs/ARCHITECTURE.md`` first.
"""

__version__ = "0.1.0"
