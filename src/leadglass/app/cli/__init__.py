"""The command line: one command a file, loaded when it is called.

Exit statuses are those of the error catalogue (``base.errors``, ``docs/ERRORS.md``): 0 done, 1 unexpected, 2 usage, 3 configuration,
4 protocol, 5 the peer refused, 6 the peer is not there, 7 refused, 8 damage found, 9 a key is not there, 10 audit.
"""
