"""What learners share: rows visited for speed, parts trained, the buffer, policy gradients, measures."""
