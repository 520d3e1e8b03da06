"""Credit held against the truth: steps forked, some agents held to what they did, and played to the end."""
