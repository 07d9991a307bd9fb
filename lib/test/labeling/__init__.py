"""Labels for videos without annotation: where a tracker's two directions agree on an object."""
