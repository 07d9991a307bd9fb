"""OSTrack with a memory: a dynamic template, a carried token, and target presence. See docs/memory.md."""
