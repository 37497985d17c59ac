"""The Unified Worklist: workitems, their states, and who is told."""
