"""OSTrack with a memory: a dynamic template, a token that is carried along, and presence. See docs/memory.md."""
