"""A page that shows an episode, who was credited with what in it, and whether that is right."""
