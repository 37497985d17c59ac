"""What survives a power cut: sealed packs (``vault``), what finds them (``index``), work that is owed (``jobs``).

**Invariant:** only ``archive`` and ``app.compose`` come in here.
"""
