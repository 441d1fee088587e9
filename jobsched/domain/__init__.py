"""Pure rules: states, schedules, retries, specs. No I/O and no clock: `now` is always a parameter."""
