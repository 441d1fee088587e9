"""The engine of jobsched: what a run is, how it is performed, how it is reached. Knows no framework."""
