"""What the workers of the other systems load. Each is set up as its own documentation says."""
