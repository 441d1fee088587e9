"""`python -m benchmarks.beat`: what firing costs with a thousand to a million schedules, ours beside stock beat."""
