"""The folder door: files that lie on a disk come in.

**Invariant:** names of files may name patients: they leave this room only in the report to the operator who named the
folder, never in a log or in the clear part of the audit log.
"""
