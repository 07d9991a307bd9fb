"""The tracker side of the VOT toolkit: the TraX protocol, and workspaces. Nothing of the toolkit (GPL) is imported."""
