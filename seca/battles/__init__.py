"""Battles to be watched: played and recorded, then drawn from the recording alone."""
